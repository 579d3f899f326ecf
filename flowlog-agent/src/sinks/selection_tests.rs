//! Each output is given what its selection wants, nothing else, and the books say so.

use super::tests::{LONG, encoder, gap, read};
use super::*;
use crate::model::ledger::tests::ledger;
use crate::model::{Class, Flow, FlowId, Loss, LossCause, LossStage, Mark, Receipts};
use crate::record::Mask;
use crate::selection::{Condition, Only};
use crate::testkit::{external, flow, pod, unknown};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::Value;
use std::fs;

const NAMESPACES: [&str; 3] = ["shop", "shop-test", "data"];
const PORTS: [u16; 3] = [53, 443, 5432];

/// A flow as the oracle knows it: who is not known has `?` as namespace, who is outside none.
#[derive(Clone, Debug)]
struct Case {
    class: Class,
    source: &'static str,
    destination: &'static str,
    port: u16,
    count: u64,
}

/// One condition, plainly.
#[derive(Clone, Debug)]
struct Asked {
    classes: Vec<Class>,
    either: Option<&'static str>,
    destination: Option<&'static str>,
    ports: Vec<u16>,
}

#[derive(Clone, Debug)]
struct Wish {
    only: Vec<Class>,
    allow: Vec<Asked>,
    deny: Vec<Asked>,
    format: Format,
}

fn party(namespace: &str) -> crate::model::Party {
    match namespace {
        "?" => unknown(Some("10.9.9.9")),
        "" => external("192.0.2.1"),
        name => pod(&format!("{name}/web-0")).ip("10.244.0.1").party(),
    }
}

fn flow_of(case: &Case, id: u128) -> Flow {
    let Case { class, source, destination, port, count } = case.clone();
    Flow { id: FlowId(id), class, count, ..flow(party(source), party(destination), port) }
}

/// Slow and obvious: `None` is not known.
fn holds(asked: &Asked, case: &Case) -> Option<bool> {
    let is_in = |pattern: &str, namespace: &str| match (pattern, namespace) {
        (_, "?") => None,
        (_, "") => Some(false),
        ("shop*", name) => Some(name.starts_with("shop")),
        (pattern, name) => Some(pattern == name),
    };
    let mut parts = Vec::new();
    if !asked.classes.is_empty() {
        parts.push(Some(asked.classes.contains(&case.class)));
    }
    if !asked.ports.is_empty() {
        parts.push(Some(asked.ports.contains(&case.port)));
    }
    parts.extend(asked.destination.map(|pattern| is_in(pattern, case.destination)));
    parts.extend(asked.either.map(|pattern| {
        let ends = [is_in(pattern, case.source), is_in(pattern, case.destination)];
        if ends.contains(&Some(true)) {
            Some(true)
        } else if ends.contains(&None) {
            None
        } else {
            Some(false)
        }
    }));
    if parts.contains(&Some(false)) {
        Some(false)
    } else if parts.contains(&None) {
        None
    } else {
        Some(true)
    }
}

fn is_wanted(wish: &Wish, case: &Case) -> bool {
    let only = wish.only.is_empty() || wish.only.contains(&case.class);
    let allowed = wish.allow.is_empty() || wish.allow.iter().any(|asked| holds(asked, case) != Some(false));
    let denied = wish.deny.iter().any(|asked| holds(asked, case) == Some(true));
    only && allowed && !denied
}

/// The same in the words of a user.
fn written(asked: &Asked) -> Condition {
    let words = |all: Vec<String>| all;
    let mut keys: Vec<(&str, Vec<String>)> = Vec::new();
    let classes: Vec<String> = asked.classes.iter().map(|class| class.as_str().to_owned()).collect();
    let ports: Vec<String> = asked.ports.iter().map(ToString::to_string).collect();
    for (key, values) in [("class", classes), ("port", ports)] {
        if !values.is_empty() {
            keys.push((key, words(values)));
        }
    }
    keys.extend(asked.either.map(|pattern| ("namespace", vec![pattern.to_owned()])));
    keys.extend(asked.destination.map(|pattern| ("destination.namespace", vec![pattern.to_owned()])));
    Condition::read("", keys.iter().map(|(key, values)| (*key, values.as_slice()))).unwrap()
}

fn request(wish: &Wish, to: &str) -> Request {
    let only: Vec<&str> = wish.only.iter().map(|class| class.as_str()).collect();
    let selection = Selection {
        only: if only.is_empty() { Only::All } else { Only::read("only", &only).unwrap() },
        allow: wish.allow.iter().map(written).collect(),
        deny: wish.deny.iter().map(written).collect(),
    };
    Request { to: format!("{}={to}", wish.format.as_str()), selection, ..Request::default() }
}

fn cases() -> impl Strategy<Value = Vec<Case>> {
    let namespace = || select(vec!["shop", "shop-test", "data", "?", ""]);
    let case = (select(Class::ALL.to_vec()), namespace(), namespace(), select(PORTS.to_vec()), 0_u64..4);
    let case = case.prop_map(|(class, source, destination, port, count)| Case {
        class,
        source,
        destination,
        port,
        count,
    });
    prop::collection::vec(case, 1..40)
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let namespace = || select(NAMESPACES.into_iter().chain(["shop*"]).collect::<Vec<_>>());
    let asked = (
        subsequence(Class::ALL.to_vec(), 0..4),
        prop::option::of(namespace()),
        prop::option::of(namespace()),
        subsequence(PORTS.to_vec(), 0..2),
    );
    let asked = asked
        .prop_map(|(classes, either, destination, ports)| Asked { classes, either, destination, ports })
        .prop_filter("it asks for something", |asked| {
            !(asked.classes.is_empty() && asked.ports.is_empty())
                || asked.either.is_some()
                || asked.destination.is_some()
        });
    let asked = || prop::collection::vec(asked.clone(), 0..3);
    let only = prop_oneof![Just(Vec::new()), subsequence(Class::ALL.to_vec(), 1..5)];
    let wish = (only, asked(), asked(), select(Format::ALL.to_vec()));
    let wish = wish.prop_map(|(only, allow, deny, format)| Wish { only, allow, deny, format });
    prop::collection::vec(wish, 1..4)
}

/// The id of a flow, in whichever format it is.
fn id(line: &Value) -> Option<u128> {
    let own = [line, &line["flowlog"], &line["unmapped"]["flowlog"]];
    let id = own.into_iter().find_map(|own| own["flow"]["id"].as_str())?;
    u128::from_str_radix(id, 16).ok()
}

fn loss() -> Loss {
    let now = Timestamp::UNIX_EPOCH;
    let (stage, cause) = (LossStage::Decode, LossCause::UnknownEvent);
    Loss { stage, cause, what: "event", class: None, count: 1, first: now, last: now }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_flow_is_in_exactly_the_outputs_that_want_it(cases in cases(), wishes in wishes()) {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize| folder.path().join(number.to_string());
        let requests: Vec<Request> = wishes.iter().enumerate()
            .map(|(number, wish)| request(wish, path(number).to_str().unwrap())).collect();
        let mut encoder = encoder().in_formats(formats(&requests));
        let sinks = Sinks::start(&requests, &encoder, QueueLimits::default(), None).unwrap();
        let (mut recorded, mut unselected) = (0, 0);
        for (number, case) in cases.iter().enumerate() {
            let flow = flow_of(case, u128::try_from(number).unwrap());
            let wanted = sinks.wanted(&flow);
            if wanted == Wanted::BY_NONE {
                unselected += case.count;
                continue;
            }
            recorded += case.count;
            let line = encoder.flow_for(&flow, sinks.formats(wanted)).unwrap().wanted(wanted);
            // A loss is told to everybody, whatever they want.
            sinks.offer([line, encoder.loss(&loss()).unwrap()]);
        }
        let counters = sinks.finish(LONG);
        let wanted_by = |wish: &Wish| -> Vec<usize> {
            (0..cases.len()).filter(|case| is_wanted(wish, &cases[*case])).collect()
        };
        let any: std::collections::BTreeSet<usize> = wishes.iter().flat_map(wanted_by).collect();
        let count = |numbers: &mut dyn Iterator<Item = usize>| numbers.map(|number| cases[number].count).sum::<u64>();
        prop_assert_eq!(recorded, count(&mut any.iter().copied()));
        prop_assert_eq!(recorded + unselected, count(&mut (0..cases.len())));
        for (number, (wish, request)) in wishes.iter().zip(&requests).enumerate() {
            let text = fs::read_to_string(path(number)).unwrap();
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let expected = wanted_by(wish);
            let got: Vec<usize> = lines.iter().filter_map(id).map(|id| usize::try_from(id).unwrap()).collect();
            prop_assert_eq!(&got, &expected, "output {}", number);
            prop_assert_eq!(lines.len() - got.len(), any.len(), "a loss for each flow that anybody wanted");
            let of = counters[&request.to];
            prop_assert_eq!(of.attempts, count(&mut expected.iter().copied()));
            prop_assert_eq!(of.attempts + of.lost_attempts + of.unselected, recorded, "{:?}", of);
        }
    }
}

/// Two files, of which the second wants denials alone, or the first.
fn two(folder: &std::path::Path, ledger: &'static Ledger, denials_first: bool) -> Sinks {
    let denials = Selection { only: Only::read("only", &["denials"]).unwrap(), ..Selection::default() };
    let request = |name: &str, selection: Selection| Request {
        to: folder.join(name).to_str().unwrap().to_owned(),
        selection,
        ..Request::default()
    };
    let mut requests = [request("all", Selection::default()), request("denials", denials)];
    if denials_first {
        requests.reverse();
    }
    Sinks::start(&requests, &encoder(), QueueLimits::default(), Some(ledger)).unwrap()
}

#[test]
fn an_event_is_told_when_the_last_output_that_wants_it_has_written_it() {
    for denials_first in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(8);
        let sinks = two(folder.path(), ledger, denials_first);
        let mut encoder = encoder();
        for (sequence, class) in [(0, Class::Allowed), (1, Class::DeniedAttempt), (2, Class::Allowed)] {
            let flow = Flow { class, ..flow(party("shop"), party("data"), 443) };
            let line = encoder.flow(&flow).unwrap().wanted(sinks.wanted(&flow));
            let line = line.with(Receipts::of(ledger, sequence, false));
            assert_eq!(ledger.mark(sequence), Mark::Open);
            sinks.offer([line, gap(0)]);
        }
        let counters = sinks.finish(LONG);
        let marks: Vec<Mark> = (0..4).map(|sequence| ledger.mark(sequence)).collect();
        assert_eq!(marks, [Mark::Told, Mark::Told, Mark::Told, Mark::Open], "{denials_first}");
        let lines = |name: &str| read(&fs::read_to_string(folder.path().join(name)).unwrap()).len();
        assert_eq!((lines("all"), lines("denials")), (6, 4));
        let unselected: Vec<u64> = counters.values().map(|sink| sink.unselected).collect();
        assert_eq!(unselected, [0, 2]);
    }
}

#[test]
fn an_output_does_not_show_what_it_is_told_to_leave_out() {
    let folder = tempfile::tempdir().unwrap();
    let request = |name: &str, mask: Mask| Request {
        to: folder.path().join(name).to_str().unwrap().to_owned(),
        mask,
        ..Request::default()
    };
    let mask = Mask::read("", &["source.labels", "flow.family"]).unwrap();
    let requests = [request("whole", Mask::default()), request("masked", mask.clone())];
    let sinks = Sinks::start(&requests, &encoder(), QueueLimits::default(), None).unwrap();
    let source = pod("shop/web").label("app", "web").ip("10.244.0.1").party();
    sinks.offer([encoder().flow(&flow(source, party("data"), 443)).unwrap(), gap(1)]);
    let counters = sinks.finish(LONG);
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let [mut whole, masked] = ["whole", "masked"].map(|name| read(&text(name)));
    assert_eq!(whole[0]["source"]["labels"]["app"], "web");
    whole[0]["source"].as_object_mut().unwrap().remove("labels");
    whole[0]["flow"].as_object_mut().unwrap().remove("family");
    whole[0]["masked"] = true.into();
    assert_eq!(whole, masked);
    let bytes = counters[&requests[1].to].bytes;
    assert_eq!(bytes, u64::try_from(text("masked").len()).unwrap());
    let foreign = Request { to: "ecs=x.json".to_owned(), mask, ..Request::default() };
    let error = Sinks::start(&[foreign], &encoder().in_formats(Format::Ecs), QueueLimits::default(), None);
    assert!(error.unwrap_err().to_string().starts_with("output `ecs=x.json` leaves parts of records out"));
}

#[test]
fn more_outputs_than_a_line_can_be_marked_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let to = |number: usize| folder.path().join(number.to_string()).to_str().unwrap().into();
    let requests: Vec<Request> = (0..65).map(to).collect();
    let error = Sinks::start(&requests, &encoder(), QueueLimits::default(), None).unwrap_err().to_string();
    assert_eq!(error, "65 outputs are configured: there may be 64");
}
