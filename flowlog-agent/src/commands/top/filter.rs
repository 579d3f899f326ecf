//! What the user filters by while he looks: a text, or conditions as outputs and `--not` have them.

use super::model::Edge;
use crate::commands::observing::{RowFacts, read_pair};
use crate::record::row::Row;
use crate::selection::{Condition, Selection};

/// Keys of which a row cannot answer: it stands for attempts that differ in them.
const OF_FLOWS: [&str; 4] = ["pod", "labels", "namespace_labels", "cidr"];

/// What is asked for. Of several words all must hold.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) written: String,
    texts: Vec<(bool, String)>,
    selection: Selection,
    /// It asks for what only single flows have.
    of_flows: Option<String>,
}

impl Filter {
    /// `web !kube-system class=denied_attempt !port=53`; the error says what is wrong with it.
    pub(super) fn read(written: &str) -> Result<Option<Self>, String> {
        let (mut texts, mut allow, mut of_flows) = (Vec::new(), Vec::new(), None);
        let mut selection = Selection::default();
        for word in written.split_whitespace() {
            let (holds, rest) = match word.strip_prefix('!') {
                Some(rest) => (false, rest),
                None => (true, word),
            };
            if rest.is_empty() {
                return Err("`!` needs a word behind it that is not to be there".to_owned());
            }
            let Some((key, _)) = rest.split_once('=') else {
                texts.push((holds, rest.to_lowercase()));
                continue;
            };
            let condition = read_pair(rest).map_err(|error| error.to_string())?;
            let own = key.rsplit('.').next().unwrap_or(key);
            if OF_FLOWS.contains(&own) || key == "source.port" {
                of_flows = Some(key.to_owned());
            }
            if holds { allow.push(condition) } else { selection.deny.push(condition) }
        }
        if texts.is_empty() && allow.is_empty() && selection.deny.is_empty() {
            return Ok(None);
        }
        selection.allow = allow;
        Ok(Some(Self { written: written.trim().to_owned(), texts, selection, of_flows }))
    }

    /// What it asks for that only single flows have.
    pub(super) fn asks_of_flows(&self) -> Option<&str> {
        self.of_flows.as_deref()
    }

    /// Whether what is counted together is asked for.
    pub(super) fn picks(&self, edge: &Edge) -> bool {
        let key = &edge.key;
        let names = [&key.source, &key.destination, &key.vendor, &key.policy];
        let mut text = key.class.as_str().to_owned();
        for name in names.into_iter().flatten() {
            text.push('\n');
            text.push_str(&name.to_lowercase());
        }
        if !self.has_texts(&text) {
            return false;
        }
        if self.selection.is_everything() {
            return true;
        }
        // What others are is not known, which speaks for showing them: the last record is that of one of them.
        let is_one = names.iter().all(|name| name.is_some());
        let Some((_, line)) = edge.lines.back().filter(|_| is_one) else { return true };
        Row::read(line).map_or(true, |row| self.wants(&row))
    }

    /// Whether a single flow is; `text` is what is shown of it.
    pub(super) fn picks_flow(&self, row: &Row<'_>, text: &str) -> bool {
        self.has_texts(&text.to_lowercase()) && self.wants(row)
    }

    fn has_texts(&self, text: &str) -> bool {
        self.texts.iter().all(|(holds, word)| text.contains(word) == *holds)
    }

    /// Every condition is to hold.
    fn wants(&self, row: &Row<'_>) -> bool {
        let facts = RowFacts(row);
        let each =
            |condition: &Condition| Selection { allow: vec![condition.clone()], ..Selection::default() };
        let deny = Selection { allow: Vec::new(), ..self.selection.clone() };
        deny.wants(&facts) && self.selection.allow.iter().all(|condition| each(condition).wants(&facts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_it_is_said() {
        for (written, expected) in [
            ("class=denied", "which is not a class"),
            ("clas=allowed", "did you mean `class`?"),
            ("port=x", "which is no port"),
            ("class=", "has no value"),
            ("!", "`!` needs a word"),
        ] {
            let error = Filter::read(written).unwrap_err();
            assert!(error.contains(expected), "{written}: {error}");
        }
        assert!(Filter::read("  ").unwrap().is_none());
        let filter = Filter::read("web source.port=1").unwrap().unwrap();
        assert_eq!(filter.asks_of_flows(), Some("source.port"));
        assert_eq!(Filter::read("!web port=1").unwrap().unwrap().asks_of_flows(), None);
    }

    #[test]
    fn all_words_must_hold() {
        let line = br#"{"v":1,"seq":1,"kind":"flow","time":"2026-11-30T08:00:00Z","node":"n","run":"r",
            "flow":{"id":"00000000000000000000000000000007","direction":"egress","protocol":"tcp","count":1,
            "first":"2026-11-30T08:00:00Z"},"source":{"kind":"pod","namespace":"shop","pod":"web-1"},
            "destination":{"kind":"external","ip":"192.0.2.1","port":443},"verdict":{"decision":"deny",
            "egress":{"decision":"deny","basis":"isolated"},"ingress":{"decision":"allow","basis":"unselected"}},
            "outcome":{"state":"dropped"},"class":"denied_attempt"}"#;
        let row = Row::read(line).unwrap();
        for (written, expected) in [
            ("WEB", true),
            ("web nothing", false),
            ("!web", false),
            ("!db port=443", true),
            ("port=443 class=allowed", false),
            ("namespace=shop !port=443", false),
            ("source.namespace=sh* destination.cidr=192.0.2.0/24", true),
        ] {
            let filter = Filter::read(written).unwrap().unwrap();
            assert_eq!(filter.picks_flow(&row, "shop/web-1 → 192.0.2.1:443"), expected, "{written}");
        }
    }

    #[test]
    fn what_others_are_is_asked_of_none_of_their_records() {
        use crate::commands::top::model::{By, Limits, Model, Scope, Window};
        use crate::commands::top::told::Told;
        let line = |name: &str| {
            format!(
                r#"{{"v":1,"seq":1,"kind":"flow","time":"2026-11-30T08:00:00Z","node":"n","run":"r","flow":{{"id":"7",
                "direction":"egress","protocol":"tcp","count":1,"first":"2026-11-30T08:00:00Z"}},"source":{{"kind":"pod",
                "namespace":"{name}","pod":"web-1"}},"destination":{{"kind":"external","ip":"192.0.2.1","port":443}},
                "verdict":{{"decision":"deny","egress":{{"decision":"deny","basis":"isolated"}},"ingress":{{"decision":
                "allow","basis":"unselected"}}}},"outcome":{{"state":"dropped"}},"class":"denied_attempt"}}"#
            )
        };
        let mut model = Model::new(Limits { names: 1, edges: 8, lines: 8 });
        let mut now = None;
        for name in ["a", "b", "c"] {
            let line = line(name);
            let told = Told::of(&Row::read(line.as_bytes()).unwrap(), line.as_bytes()).unwrap();
            now = Some(told.time);
            model.take(told, now.unwrap());
        }
        let filter = Filter::read("source.namespace=b").unwrap().unwrap();
        let picks = |edge: &_| filter.picks(edge);
        let scope = Scope { window: Window::One, now: now.unwrap(), path: &[], all: false, picks: &picks };
        let rows: Vec<String> = model.rows(By::Source, &scope).iter().map(|row| row.key.text()).collect();
        assert_eq!(rows, ["(others)"]);
    }
}
