//! What waits for its interval from the first flow on.

use super::correlate::Totals;
use super::fold::{Folder, Intervals, SECOND_NS as SECOND};
use crate::model::ledger::tests::ledger;
use crate::model::{Class, Flow, FlowId, Mark, Origin, Receipts, RoundTrip, Whose};
use crate::testkit::{flow, pod};
use jiff::Timestamp;
use std::time::Duration;

fn folder(each: bool) -> Folder {
    let (denied, other) = (Duration::from_secs(10), Duration::from_secs(60));
    Folder::new(Intervals { denied, other, each, own_at_once: false })
}

/// Allowed, between two pods of which so much is known.
fn between(source: (&str, Origin), destination: (&str, Origin), id: u128, class: Class) -> Flow {
    let whose = |origin| Whose { origin: Some(origin), ..Whose::default() };
    let (from, to) = (pod(source.0), pod(destination.0));
    Flow {
        source_whose: whose(source.1),
        destination_whose: whose(destination.1),
        id: FlowId(id),
        class,
        ..flow(from.ip("10.0.0.1").party(), to.ip("10.0.0.2").party(), 80)
    }
}

#[test]
fn only_what_is_allowed_between_own_pods_of_one_namespace_waits_from_the_first_on() {
    let own = Origin::FirstParty;
    let (web, db, far) = ("shop/web", "shop/db", "data/db");
    let rows = [
        ("own, of one namespace", (web, own), (db, own), Class::Allowed, true),
        ("unrestricted", (web, own), (db, own), Class::Unrestricted, false),
        ("denied", (web, own), (db, own), Class::PolicyNotEnforced, false),
        ("of two namespaces", (web, own), (far, own), Class::Allowed, false),
        ("from a third party", (web, Origin::ThirdParty), (db, own), Class::Allowed, false),
        ("to a third party", (web, own), (db, Origin::ThirdParty), Class::Allowed, false),
        ("to the platform", (web, own), (db, Origin::Platform), Class::Allowed, false),
        ("to whose is not known", (web, own), (db, Origin::Unknown), Class::Allowed, false),
    ];
    for (name, source, destination, class, waits) in rows {
        let (mut folder, mut written) = (folder(false), Vec::new());
        folder.fold(between(source, destination, 1, class), 0, &mut written);
        assert_eq!(written.is_empty(), waits, "{name}");
        folder.fold(between(source, destination, 2, class), SECOND, &mut written);
        folder.finish(&mut written);
        let counts: Vec<u64> = written.iter().map(|flow| flow.count).collect();
        assert_eq!(counts, if waits { vec![2] } else { vec![1, 1] }, "{name}");
        assert_eq!(written[0].id, FlowId(1), "{name}");
    }
}

#[test]
fn what_waits_is_written_after_the_interval_with_its_sums_and_its_receipt() {
    let ledger = ledger(8);
    let (mut folder, mut written) = (folder(false), Vec::new());
    let own =
        |id| between(("shop/web", Origin::FirstParty), ("shop/db", Origin::FirstParty), id, Class::Allowed);
    let fold = |folder: &mut Folder, id: u64, now_ns, written: &mut Vec<Flow>| {
        let receipts = Receipts::of(ledger, id, false);
        folder.fold(Flow { receipts, ..own(id.into()) }, now_ns, written)
    };
    assert_eq!(fold(&mut folder, 1, 0, &mut written), 1, "the next record stands for it");
    let srtt = RoundTrip { sum_us: 30, connections: 1 };
    let totals = Totals { duration_ns: Some(5), bytes_sent: 10, bytes_received: 20, retransmits: 1, srtt };
    folder.close(FlowId(1), Timestamp::from_second(9).unwrap(), &totals, Receipts::of(ledger, 2, false));
    folder.tick(60 * SECOND - 1, &mut written);
    assert!(written.is_empty());
    folder.tick(60 * SECOND, &mut written);
    assert_eq!((written.len(), written[0].count, written[0].update), (1, 1, false));
    assert_eq!(written[0].bytes_sent, Some(10));
    assert_eq!([1, 2].map(|sequence| ledger.mark(sequence)), [Mark::Open; 2], "not told yet");
    written.clear();
    assert_eq!([1, 2].map(|sequence| ledger.mark(sequence)), [Mark::Told; 2]);
    // Quiet for an interval and forgotten: the next one waits again.
    folder.tick(120 * SECOND, &mut written);
    fold(&mut folder, 3, 121 * SECOND, &mut written);
    assert!(written.is_empty());
}

#[test]
fn what_waits_is_written_before_the_ring_writes_over_its_event() {
    let ledger = ledger(8);
    let (mut folder, mut written) = (folder(false), Vec::new());
    let own = ("shop/web", Origin::FirstParty);
    let flow = between(own, ("shop/db", Origin::FirstParty), 3, Class::Allowed);
    folder.fold(Flow { receipts: Receipts::of(ledger, 3, false), ..flow }, 0, &mut written);
    folder.write_before(3, &mut written);
    assert!(written.is_empty());
    folder.write_before(4, &mut written);
    assert_eq!((written.len(), written[0].id), (1, FlowId(3)));
}

#[test]
fn an_ordinary_key_that_is_held_for_a_close_waits_again() {
    let (mut folder, mut written) = (folder(false), Vec::new());
    let own =
        |id| between(("shop/web", Origin::FirstParty), ("shop/db", Origin::FirstParty), id, Class::Allowed);
    folder.fold(own(1), 0, &mut written);
    folder.tick(60 * SECOND, &mut written);
    folder.tick(120 * SECOND, &mut written);
    written.clear();
    folder.fold(own(2), 130 * SECOND, &mut written);
    assert!(written.is_empty());
    folder.tick(190 * SECOND - 1, &mut written);
    assert!(written.is_empty());
    folder.tick(190 * SECOND, &mut written);
    assert_eq!((written.len(), written[0].count), (1, 1));
    let totals = Totals { duration_ns: Some(5), bytes_sent: 10, ..Totals::default() };
    folder.close(FlowId(1), Timestamp::from_second(9).unwrap(), &totals, Receipts::untracked());
    folder.finish(&mut written);
    assert_eq!(
        (written.len(), written[1].count, written[1].bytes_sent),
        (2, 0, Some(10)),
        "its close is awaited still"
    );
}

#[test]
fn the_first_of_all_is_written_at_once_where_that_is_asked_for() {
    let (denied, other) = (Duration::from_secs(10), Duration::from_secs(60));
    for (each, own_at_once) in [(true, false), (false, true)] {
        let mut folder = Folder::new(Intervals { denied, other, each, own_at_once });
        let mut written = Vec::new();
        let own = ("shop/web", Origin::FirstParty);
        folder.fold(between(own, ("shop/db", Origin::FirstParty), 1, Class::Allowed), 0, &mut written);
        assert_eq!(written.len(), 1);
    }
}
