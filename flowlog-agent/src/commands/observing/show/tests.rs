use super::*;
use proptest::prelude::*;
use serde_json::json;
use unicode_width::UnicodeWidthStr;

const FORMS: [Form; 4] = [Form::Compact, Form::Wide, Form::Table, Form::Json];

/// A record with this text wherever a text stands.
fn line(kind: &str, text: &str) -> String {
    let end = |kind: &str| {
        json!({"kind": kind, "ip": "10.0.0.1", "port": 80, "namespace": text, "pod": text, "node": text, "vendor": text,
            "workload": {"kind": text, "name": text}, "service": {"namespace": text, "name": text}, "labels": {text: text},
            "names": [{"name": text}], "network": text, "container": text, "image": text, "reason": text})
    };
    let side = json!({"decision": "deny", "basis": text, "policies": [{"kind": text, "namespace": text, "name": text}]});
    let time = "2026-11-30T08:00:00Z";
    let mut record =
        json!({"v": 1, "seq": 1, "kind": kind, "time": time, "node": text, "run": text, "severity": "high"});
    let parts = match kind {
        "loss" => {
            json!({"loss": {"stage": text, "cause": text, "what": text, "count": 2, "first": time, "last": time}})
        }
        "agent" => {
            json!({"agent": {"event": text, "version": text, "hooks": [{"name": text, "state": text}], "reason": text,
            "gap": {"from": time, "to": time, "reason": text}, "snapshot": {"state": text, "revision": 1}}})
        }
        "finding" => json!({"source": end("pod"), "destination": end("node"),
            "finding": {"id": text, "title": text, "subject": text, "object": text, "count": 2, "first": time}}),
        kind => {
            json!({"source": end(kind), "destination": end(kind), "class": "denied_attempt", "kind": "flow",
            "flow": {"direction": "ingress", "protocol": "tcp", "count": 2, "first": time},
            "dialed": {"ip": "10.0.0.9", "port": 1, "service": {"namespace": text, "name": text}},
            "process": {"comm": text}, "verdict": {"decision": "deny", "egress": side, "ingress": side},
            "outcome": {"state": "dropped", "errno": text, "drop": {"reason": text, "where": text}},
            "attribution": {"how": text}})
        }
    };
    for (key, value) in parts.as_object().unwrap() {
        record[key] = value.clone();
    }
    record.to_string()
}

fn shown(look: Look, line: &str) -> String {
    let row = Row::read(line.as_bytes()).unwrap();
    let notice = look.note(row.time, "gap", &format!("{}: {}", &*row.node, &*row.run));
    let (mut table, mut all) = (Table::default(), String::new());
    for out in [look.show(&row, line.as_bytes()), notice] {
        match out {
            Out::Line(line) => all.push_str(&String::from_utf8(line).unwrap()),
            Out::Notice(text) => all.push_str(&(text + "\n")),
            Out::Cells(cells, style) => assert_eq!(table.add(cells, style, Some(80), look.colour), None),
        }
    }
    if !table.is_empty() {
        all.push_str(&table.page(Some(80), look.colour));
    }
    all
}

proptest! {
    #[test]
    fn no_text_of_a_record_acts_on_a_terminal(
        text in prop_oneof![
            any::<String>(),
            "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{2028}-\u{202e}\u{2066}-\u{2069}\u{200b}\u{feff}\u{61c}a\"\\\\\\[]{1,12}",
        ],
        kind in prop::sample::select(vec!["pod", "service", "node", "external", "local", "unknown", "loss", "agent", "finding"]),
    ) {
        let line = line(kind, &text);
        for form in FORMS {
            let look = Look { form, colour: false, terminal: true };
            let told = shown(look, &line);
            // JSON has its own escapes, and names what has no width.
            let acts = |c: char| c != '\n' && match form {
                Form::Json => c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c),
                _ => shown::is_hidden(c),
            };
            prop_assert!(!told.chars().any(acts), "{:?}: {:?}", form, told);
            // One line each, and titles.
            let lines = if form == Form::Table { 3 } else { 2 };
            prop_assert_eq!(told.lines().count(), lines, "{:?}: {}", form, told);
        }
    }
}

#[test]
fn colours_are_all_that_colours_add() {
    for kind in ["pod", "loss", "agent", "finding"] {
        for form in FORMS {
            let line = line(kind, "shop");
            let [plain, coloured] =
                [false, true].map(|colour| shown(Look { form, colour, terminal: true }, &line));
            assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain, "{kind} {form:?}");
            assert_eq!(coloured != plain, form != Form::Json, "{kind} {form:?}");
        }
    }
}

#[test]
fn a_table_is_no_wider_than_the_terminal() {
    let mut table = Table::default();
    for text in ["a", "a-name-that-is-longer-than-its-column-can-ever-be", "größe-日本語-名前-とても長い"]
    {
        for kind in ["pod", "external", "finding", "loss"] {
            let line = line(kind, text);
            let row = Row::read(line.as_bytes()).unwrap();
            let look = Look { form: Form::Table, colour: false, terminal: true };
            let Out::Cells(cells, style) = look.show(&row, line.as_bytes()) else { panic!("no cells") };
            table.add(cells, style, None, false);
        }
    }
    let rows = table.clone();
    for width in [80, 100, 132, 160, 200] {
        table = rows.clone();
        let page = table.page(Some(width), false);
        let widest = page.lines().map(UnicodeWidthStr::width).max().unwrap();
        assert!(widest <= width, "{widest} of {width}:\n{page}");
        assert!(page.contains(":80"), "the port is what is left of a name:\n{page}");
    }
}

#[test]
fn who_stands_at_an_end_is_told_by_its_kind() {
    let told = |kind: &str| {
        let line = line(kind, "x");
        let row = Row::read(line.as_bytes()).unwrap();
        destination(row.destination.as_ref().unwrap(), crate::model::Protocol::Udp)
    };
    for (kind, expected) in [
        ("pod", "x/x:80/udp [x]"),
        ("service", "service x/x:80/udp [x]"),
        ("node", "node x:80/udp [x]"),
        ("external", "x (10.0.0.1):80/udp [x]"),
        ("local", "local:80/udp [x]"),
        ("unknown", "unknown 10.0.0.1:80/udp [x]"),
    ] {
        assert_eq!(told(kind), expected);
    }
    let bare = r#"{"kind":"external","ip":"2001:db8::1","port":443}"#;
    let end: EndRow<'_> = serde_json::from_str(bare).unwrap();
    assert_eq!(destination(&end, crate::model::Protocol::Tcp), "[2001:db8::1]:443");
}

#[test]
fn what_was_lost_is_told_in_words_that_people_know() {
    let time = "2026-11-30T08:00:00Z";
    let told = |what: &str, count: u64| {
        let loss = json!({"stage": "kernel", "cause": "ring_full", "what": what, "count": count, "first": time, "last": time});
        let loss = loss.to_string();
        loss_text("n1", &serde_json::from_str(&loss).unwrap())
    };
    for (what, count, expected) in [
        ("attempt", 1, "n1 lost 1 attempt ("),
        ("attempt", 3, "n1 lost 3 attempts ("),
        ("sent", 1, "n1 lost 1 datagram sent on a connected socket ("),
        ("sent_to", 3, "n1 lost 3 datagrams sent without a connection ("),
        ("established", 2, "n1 lost 2 outcomes (established) ("),
        ("syn_retransmit", 2, "n1 lost 2 repeated SYNs ("),
        ("arrived", 2, "n1 lost 2 packets that arrived ("),
        // Of a build that is newer.
        ("tunnel_end", 2, "n1 lost 2 × tunnel end ("),
    ] {
        let told = told(what, count);
        assert!(told.starts_with(expected), "{told}");
    }
}
