//! Elasticsearch's and OpenSearch's bulk interface: each record is created under an id of its own, so that one that is sent
//! again is there once.

use super::client::{Answer, Client};
use super::post::{Post, Protocol, by_status};
use crate::record::Line;
use crate::sinks::output::Framer;
use crate::sinks::remote::halving::Said;
use crate::sinks::remote::place::Place;
use crate::sinks::{Opening, SinkError, SinkKind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

pub(in crate::sinks) const KIND: SinkKind = SinkKind {
    name: "elastic",
    takes: |place| place.starts_with("elastic+http://") || place.starts_with("elastic+https://"),
    open: |opening| Ok(Box::new(open(opening)?)),
    #[cfg(test)]
    fixture: || super::tests::fixture("elastic+http", "/flows", super::server::Kind::Elastic),
    #[cfg(test)]
    consumer: false,
};

/// Of each item of the answer no more than is read.
const ASKED: &str = "_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";

struct Elastic {
    /// What ids of this output begin with: nobody else's do.
    ids: String,
}

/// What it answers.
#[derive(Deserialize)]
struct Told {
    errors: bool,
    #[serde(default)]
    items: Vec<BTreeMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    error: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
}

fn open(opening: &Opening<'_>) -> Result<Post, SinkError> {
    let place = Place::of(opening.place())?;
    let index = place.path.trim_matches('/');
    let is_name = |letter: char| letter.is_ascii_graphic() && !"/?#\\\"*<>|,".contains(letter);
    if index.is_empty() || !index.chars().all(is_name) {
        let why = format!("it has to end with an index or a data stream, as in {}/flowlog", opening.place());
        return Err(SinkError::Place { output: opening.place().to_owned(), why });
    }
    Ok(Post {
        client: Client::new(opening, &place, "ApiKey", "application/x-ndjson")?,
        path: format!("/{index}/{ASKED}"),
        protocol: Arc::new(Elastic { ids: format!("{}-{}", opening.run.id, opening.number) }),
        batch_bytes: opening.remote().batch_bytes,
        linger: opening.remote().linger,
        asked: None,
    })
}

impl Framer for Elastic {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, r#"{{"create":{{"_id":"{}-{seq}"}}}}"#, self.ids);
        line.append_to(seq, out);
    }
}

impl Protocol for Elastic {
    fn judge(&self, answer: &Answer, lines: usize) -> Said {
        if !answer.status.is_success() {
            return by_status(answer);
        }
        let told: Told = match serde_json::from_slice(&answer.body) {
            Ok(told) => told,
            Err(error) => return Said::NotNow(format!("its answer is none of a bulk request: {error}")),
        };
        if !told.errors {
            return Said::Taken;
        }
        if told.items.len() != lines {
            return Said::NotNow(format!("it answered for {} records of {lines}", told.items.len()));
        }
        of_items(told.items.iter().map(|item| item.values().next()))
    }
}

/// Where one of them is not taken now, all are sent again: those that are there are known by their ids.
fn of_items<'a>(items: impl Iterator<Item = Option<&'a Item>>) -> Said {
    let (mut refused, mut why) = (Vec::new(), String::new());
    for (place, item) in items.enumerate() {
        let Some(item) = item else { return Said::NotNow("an item of its answer is empty".to_owned()) };
        match item.status {
            200..=299 | 409 => {}
            400 | 413 | 422 => {
                refused.push(place);
                why = item.told();
            }
            _ => return Said::NotNow(item.told()),
        }
    }
    if refused.is_empty() { Said::Taken } else { Said::Without(refused, why) }
}

impl Item {
    fn told(&self) -> String {
        let Some(Trouble { kind, reason }) = &self.error else { return format!("status {}", self.status) };
        let [kind, reason] = [kind, reason].map(|text| text.as_deref().unwrap_or("-"));
        let reason: String = reason.chars().filter(|letter| !letter.is_control()).take(200).collect();
        format!("status {}: {kind}: {reason}", self.status)
    }
}
