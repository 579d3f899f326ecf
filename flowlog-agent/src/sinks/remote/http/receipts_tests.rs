use super::server::{Kind, Server};
use super::tests::{quick, sinks, told};
use crate::sinks::remote::Remote;
use crate::sinks::tests::{LONG, gap, only, wait_until};
use crate::sinks::{QueueLimits, Sinks};
use std::collections::BTreeSet;
use std::time::Duration;

/// A collector that acknowledges when it was asked so often.
fn collector(after: usize) -> Server {
    let server = Server::start(Kind::Splunk);
    server.state.lock().unwrap().acknowledged_after = Some(after);
    server
}

fn brought(server: &Server, remote: &Remote) -> Sinks {
    sinks(Kind::Splunk, server, remote, QueueLimits::default())
}

#[test]
fn a_batch_is_written_once_it_is_acknowledged() {
    let server = collector(usize::MAX);
    let sinks = brought(&server, &quick());
    for number in 0..50 {
        sinks.offer([gap(number)]);
    }
    wait_until("the collector has it", || server.taken().len() == 50);
    assert!(!sinks.flush(Duration::from_millis(500)), "nobody has it to keep");
    assert_eq!(only(sinks.counters()).lines, 0);
    server.state.lock().unwrap().acknowledged_after = Some(1);
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    assert_eq!((counters.lines, counters.lost_lines, counters.failures), (50, 0, 0));
    assert_eq!((server.taken().len(), told(&server.taken()).len()), (50, 50), "each once");
    let state = server.state.lock().unwrap();
    assert!(state.unacknowledged.is_empty());
    let channels: BTreeSet<&String> =
        state.requests.iter().map(|(_, headers, _)| &headers["x-splunk-request-channel"]).collect();
    assert_eq!(channels.len(), 1, "{channels:?}");
}

#[test]
fn what_is_not_acknowledged_in_time_is_sent_again_under_its_numbers() {
    let server = collector(usize::MAX);
    // Thirty times this is the limit.
    let remote = Remote { timeout: Duration::from_millis(100), ..quick() };
    let sinks = brought(&server, &remote);
    sinks.offer([gap(0)]);
    wait_until("it comes again", || server.taken().len() == 2);
    assert_eq!(only(sinks.counters()).failures, 1);
    server.state.lock().unwrap().acknowledged_after = Some(1);
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    assert_eq!((counters.lines, counters.lost_lines), (1, 0));
    let taken = server.taken();
    assert_eq!(taken[0], taken[1], "under the same run and number");
}

#[test]
fn a_collector_that_acknowledges_no_more_gets_it_again_and_is_believed() {
    let server = collector(usize::MAX);
    let sinks = brought(&server, &quick());
    sinks.offer([gap(0)]);
    wait_until("the collector has it", || server.taken().len() == 1);
    server.state.lock().unwrap().acknowledged_after = None;
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    assert_eq!((counters.lines, counters.lost_lines, counters.failures), (1, 0, 1));
    assert_eq!(server.taken().len(), 2);
}

#[test]
fn posts_go_on_while_receipts_are_waited_for() {
    let server = collector(2);
    let remote = Remote { batch_bytes: 16_384, ..quick() };
    let sinks = brought(&server, &remote);
    sinks.offer([gap(0)]);
    assert!(sinks.flush(LONG));
    for number in 1..2_000 {
        sinks.offer([gap(number)]);
    }
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    assert_eq!((counters.lines, counters.lost_lines), (2_000, 0));
    assert_eq!((server.taken().len(), told(&server.taken()).len()), (2_000, 2_000), "each once");
    let most = server.state.lock().unwrap().most_unacknowledged;
    assert!((4..=40).contains(&most), "{most} posts at a time");
}

#[test]
fn an_end_does_not_wait_for_receipts_and_counts_what_has_none() {
    let server = collector(usize::MAX);
    let sinks = brought(&server, &quick());
    sinks.offer([gap(0)]);
    wait_until("the collector has it", || server.taken().len() == 1);
    let counters = only(sinks.finish(Duration::from_millis(500)));
    assert_eq!((counters.lines, counters.lost_lines), (0, 1));
}
