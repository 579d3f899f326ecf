use super::*;
use crate::model::{Decision, Direction, Protocol, State};
use crate::model::{Loss, LossCause, LossStage};
use crate::record::tests::{encoder, flow, run};
use crate::record::{Agent, AgentEvent, Encoder, Formats, Gap, Labelling, Line};
use proptest::prelude::*;

fn written(line: &Line, seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    line.append_to(seq, &mut out);
    out
}

fn flow_line() -> String {
    String::from_utf8(written(&encoder().flow(&flow()).unwrap(), 7)).unwrap()
}

#[test]
fn a_flow_is_read_as_it_was_written() {
    let line = flow_line();
    let row = Row::read(line.as_bytes()).unwrap();
    let flow = flow();
    assert_eq!((&*row.kind, row.seq, &*row.node, &*row.run), ("flow", Some(7), "worker-1", "7f3a"));
    assert_eq!((row.time, row.begins()), (flow.last, flow.first));
    assert_eq!((row.class, row.severity), (Some(flow.class), Some(flow.class.severity())));
    let told = row.flow.as_ref().unwrap();
    assert_eq!((told.direction, told.protocol, told.count), (Direction::Egress, Protocol::Tcp, flow.count));
    let (source, verdict) = (row.source.as_ref().unwrap(), row.verdict.as_ref().unwrap());
    assert_eq!((source.kind, source.namespace.as_deref()), (EndKindRow::Pod, Some("shop")));
    assert_eq!(source.workload.as_ref().map(|owner| &*owner.name), Some("web"));
    assert!(source.labels.0.iter().any(|(key, value)| (&**key, &**value) == ("app", "web")));
    assert_eq!(verdict.decision, flow.verdict.decision);
    assert_eq!(row.outcome.as_ref().unwrap().state, flow.outcome.state);
    // Nothing of it was copied.
    assert!(matches!(source.namespace.as_ref().unwrap().0, std::borrow::Cow::Borrowed(_)));
}

#[test]
fn every_word_of_the_model_is_read() {
    for state in [State::Established, State::Received, State::Unknown, State::Pending] {
        for decision in [Decision::Allow, Decision::Deny, Decision::Mixed, Decision::Unknown] {
            let mut flow = flow();
            (flow.outcome.state, flow.verdict.decision) = (state, decision);
            flow.class = Class::of(&flow.verdict, &flow.outcome);
            let line = written(&encoder().flow(&flow).unwrap(), 1);
            let row = Row::read(&line).unwrap();
            assert_eq!(row.outcome.unwrap().state, state);
            assert_eq!(row.verdict.unwrap().decision, decision);
            assert_eq!(row.class, Some(flow.class));
        }
    }
}

#[test]
fn what_is_no_flow_is_read_too() {
    let time = flow().last;
    let later = time + jiff::SignedDuration::from_secs(9);
    let loss = Loss {
        stage: LossStage::Kernel,
        cause: LossCause::RingFull,
        what: "attempt",
        class: Some(Class::Allowed),
        count: 12,
        first: time,
        last: later,
    };
    let line = written(&encoder().loss(&loss).unwrap(), 2);
    let row = Row::read(&line).unwrap();
    assert_eq!((row.time, row.begins()), (later, time));
    let told = row.loss.unwrap();
    assert_eq!((&*told.stage, &*told.cause, told.count), ("kernel", "ring_full", 12));
    let gap = Gap { from: time, to: later, reason: "killed".into() };
    for (event, expected) in [(AgentEvent::Gap(gap), "gap"), (AgentEvent::Start(Box::default()), "start")] {
        let line = written(&encoder().agent(&Agent { time, event }).unwrap(), 3);
        let row = Row::read(&line).unwrap();
        assert_eq!(&*row.agent.as_ref().unwrap().event, expected);
        assert_eq!(LineHead::read(&line).unwrap().kind, row.kind);
    }
}

#[test]
fn what_is_no_record_says_why() {
    let line = flow_line();
    let ecs = Encoder::new(run(), Labelling::default()).in_formats(Formats::from(Format::Ecs));
    let ecs = String::from_utf8(written(&{ ecs }.flow(&flow()).unwrap(), 1)).unwrap();
    for (name, text, expected) in [
        ("no JSON", "hello".to_owned(), "not JSON: "),
        ("torn", line[..line.len() / 2].to_owned(), "not JSON: EOF"),
        ("no record", r#"{"a":1}"#.to_owned(), "no record of flowlog: missing field"),
        ("a newer one", line.replacen("\"v\":1", "\"v\":2", 1), "of schema version 2: this flowlog reads 1"),
        ("no class", line.replace("\"class\"", "\"klass\""), "a `flow` without `class`"),
        ("no loss", line.replace("\"kind\":\"flow\"", "\"kind\":\"loss\""), "a `loss` without `loss`"),
        ("a word of nobody's", line.replace("\"dropped\"", "\"vanished\""), "unknown variant `vanished`"),
        ("ECS", ecs, "in the format `ecs`: flowlog's own commands read its own format alone"),
    ] {
        let told = Row::read(text.as_bytes()).unwrap_err();
        assert!(told.contains(expected), "{name}: {told}");
    }
    // A kind that is not known may have anything.
    assert!(Row::read(line.replace("\"kind\":\"flow\"", "\"kind\":\"weather\"").as_bytes()).is_ok());
}

#[test]
fn a_head_is_the_same_however_the_line_is_written() {
    let line = flow_line();
    let spaced = line.replace("\",\"", "\" , \"");
    let escaped = line.replacen("worker-1", "worker\\u002d1", 1);
    let head = LineHead::read(line.as_bytes()).unwrap();
    assert_eq!((head.seq, &*head.node, head.cluster.as_deref()), (7, "worker-1", Some("prod")));
    assert_eq!(head.time(), Some(flow().last));
    for other in [&spaced, &escaped] {
        assert_eq!(LineHead::read(other.as_bytes()).as_ref(), Some(&head), "{other}");
    }
    assert_eq!(LineHead::read(b"{\"v\":1,\"seq\":1}"), None);
    assert_eq!(LineHead::read(line.replacen("\"v\":1", "\"v\":2", 1).as_bytes()), None);
}

proptest! {
    #[test]
    fn a_head_never_differs_from_the_whole(cut in 0..2_000_usize, put in ".{0,8}", at in 0..400_usize) {
        let line = flow_line();
        let at = line.floor_char_boundary(at);
        let forged = format!("{}{put}{}", &line[..at], &line[at..]);
        let forged = &forged.as_bytes()[..forged.len().min(forged.len().saturating_sub(cut % 3))];
        if let Ok(row) = Row::read(forged) {
            let head = LineHead::read(forged);
            match row.seq {
                None => prop_assert_eq!(head, None),
                Some(seq) => {
                    let head = head.unwrap();
                    prop_assert_eq!((head.seq, &head.kind, &head.node, &head.run), (seq, &row.kind, &row.node, &row.run));
                    prop_assert_eq!(head.time(), Some(row.time));
                }
            }
        }
    }
}
