use super::server::{Fault, Kind, POISON, Server};
use crate::model::{Class, LossCause};
use crate::record::{Line, SinkCounters};
use crate::sinks::remote::Remote;
use crate::sinks::tests::{Fixture, LONG, encoder, flow, gap, only, start, wait_until};
use crate::sinks::{Opening, QueueLimits, Request, SinkError, Sinks, Standing, open, probe};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message as _;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

pub(super) fn quick() -> Remote {
    Remote { timeout: Duration::from_millis(700), linger: Duration::from_millis(20), ..Remote::default() }
}

fn output(place: &str, remote: &Remote) -> Result<Box<dyn crate::sinks::output::Output>, SinkError> {
    let request = Request { remote: remote.clone(), ..Request::from(place) };
    open(&Opening { request: &request, run: encoder().run(), number: 3 }).map(|(_, output)| output)
}

fn place(kind: Kind, port: u16) -> String {
    let (scheme, path) = match kind {
        Kind::Lines => ("http", "/in?x=1"),
        Kind::Splunk => ("splunk+http", ""),
        Kind::Elastic => ("elastic+http", "/flows"),
        Kind::Otlp => ("otlp+http", ""),
    };
    format!("{scheme}://127.0.0.1:{port}{path}")
}

pub(super) fn sinks(kind: Kind, server: &Server, remote: &Remote, limits: QueueLimits) -> Sinks {
    start(output(&place(kind, server.port), remote).unwrap(), limits).0
}

pub(super) fn fixture(scheme: &str, path: &str, kind: Kind) -> Fixture {
    let server = Server::start(kind);
    let output = output(&format!("{scheme}://127.0.0.1:{}{path}", server.port), &quick()).unwrap();
    let read_back = move || server.taken().iter().map(|line| format!("{line}\n")).collect();
    Fixture { output, framed: true, read_back: Box::new(read_back) }
}

const ALL: [Kind; 4] = [Kind::Lines, Kind::Splunk, Kind::Elastic, Kind::Otlp];

/// Which gaps were told, each once however often it came.
pub(super) fn told(lines: &[String]) -> BTreeSet<u64> {
    let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let gaps =
        parsed.filter_map(|line| line["agent"]["gap"]["reason"].as_str()?.rsplit(' ').next()?.parse().ok());
    gaps.collect()
}

fn lost(lines: &[String], cause: LossCause) -> u64 {
    let cause = serde_json::to_value(cause).unwrap();
    let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed
        .filter(|line| line["loss"]["cause"] == cause)
        .map(|line| line["loss"]["count"].as_u64().unwrap())
        .sum()
}

fn poison() -> Line {
    let gap = crate::record::Gap {
        from: jiff::Timestamp::UNIX_EPOCH,
        to: jiff::Timestamp::UNIX_EPOCH,
        reason: POISON.to_owned(),
    };
    let event = crate::record::AgentEvent::Gap(gap);
    encoder().agent(&crate::record::Agent { time: jiff::Timestamp::UNIX_EPOCH, event }).unwrap()
}

#[test]
fn whatever_goes_wrong_for_a_while_loses_nothing() {
    for kind in ALL {
        let faults = [
            Fault::Status(503, ""),
            Fault::Status(429, "retry-after: 0\r\n"),
            Fault::Status(500, ""),
            Fault::Status(401, ""),
            Fault::Status(404, ""),
            Fault::Status(302, "location: http://127.0.0.1:1/\r\n"),
            Fault::Stall,
            Fault::Disconnect,
        ];
        // Each waits a second for its next try: all at a time.
        std::thread::scope(|scope| {
            for fault in faults {
                scope.spawn(move || loses_nothing(kind, &fault));
            }
        });
    }
}

fn loses_nothing(kind: Kind, fault: &Fault) {
    let server = Server::start(kind);
    server.fail([fault.clone()]);
    let sinks = sinks(kind, &server, &quick(), QueueLimits::default());
    for number in 0..50 {
        sinks.offer([gap(number)]);
    }
    assert!(sinks.flush(LONG), "{kind:?} {fault:?}");
    let counters = only(sinks.finish(LONG));
    let taken = server.taken();
    assert_eq!(told(&taken), (0..50).collect(), "{kind:?} {fault:?}");
    assert_eq!(taken.len(), 50, "{kind:?} {fault:?}: nothing comes twice that was not taken");
    assert_eq!((counters.lines, counters.lost_lines, counters.failures), (50, 0, 1), "{kind:?} {fault:?}");
}

#[test]
fn what_was_taken_without_an_answer_is_sent_again_and_elastic_has_it_once() {
    for kind in ALL {
        let server = Server::start(kind);
        server.fail([Fault::TakeAndDisconnect]);
        let sinks = sinks(kind, &server, &quick(), QueueLimits::default());
        sinks.offer([gap(0)]);
        assert!(sinks.flush(LONG), "{kind:?}");
        let counters = only(sinks.finish(LONG));
        let times = if kind == Kind::Elastic { 1 } else { 2 };
        assert_eq!(server.taken().len(), times, "{kind:?}");
        assert_eq!((counters.lines, counters.lost_lines), (1, 0));
    }
}

#[test]
fn one_line_that_is_never_taken_costs_itself_alone_and_is_told() {
    for kind in ALL {
        let server = Server::start(kind);
        // All in one batch: the first try finds the server away.
        server.fail([Fault::Status(503, "")]);
        let sinks = sinks(kind, &server, &quick(), QueueLimits::default());
        for number in 0..40 {
            sinks.offer([gap(number)]);
        }
        sinks.offer([poison()]);
        for number in 40..100 {
            sinks.offer([gap(number)]);
        }
        assert!(sinks.flush(LONG), "{kind:?}");
        let counters = only(sinks.finish(LONG));
        let taken = server.taken();
        assert_eq!(told(&taken), (0..100).collect(), "{kind:?}");
        assert_eq!(lost(&taken, LossCause::Refused), 1, "{kind:?}");
        assert_eq!(counters.lost_lines, 1, "{kind:?}");
        assert_eq!(counters.lines, 101, "{kind:?}: a hundred, and the loss");
        let parsed: Vec<Value> = taken.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers: BTreeSet<u64> = parsed.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers.len(), 101, "{kind:?}: no number is given twice");
        assert!(!numbers.contains(&41) && numbers.contains(&102), "{kind:?}: its own number is the gap");
    }
}

#[test]
fn attempts_of_a_refused_flow_are_counted_as_lost() {
    let server = Server::start(Kind::Lines);
    server.state.lock().unwrap().most_bytes = Some(100);
    let sinks = sinks(Kind::Lines, &server, &quick(), QueueLimits::default());
    sinks.offer([flow(Class::DeniedAttempt, 7)]);
    wait_until("it is refused", || only(sinks.counters()).lost_lines == 1);
    server.state.lock().unwrap().most_bytes = None;
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    assert_eq!((counters.attempts, counters.lost_attempts), (0, 7));
    assert_eq!(lost(&server.taken(), LossCause::Refused), 7);
}

#[test]
fn a_batch_that_is_too_large_goes_in_parts_and_later_ones_are_smaller() {
    for kind in ALL {
        let server = Server::start(kind);
        server.state.lock().unwrap().most_bytes = Some(40_000);
        server.fail([Fault::Status(503, "")]);
        let sinks = sinks(kind, &server, &quick(), QueueLimits::default());
        for number in 0..2_000 {
            sinks.offer([gap(number)]);
        }
        assert!(sinks.flush(LONG), "{kind:?}");
        let counters = only(sinks.finish(LONG));
        assert_eq!(told(&server.taken()), (0..2_000).collect(), "{kind:?}");
        assert_eq!((counters.lines, counters.lost_lines), (2_000, 0), "{kind:?}");
    }
}

#[test]
fn elastic_refuses_some_records_of_a_request_and_takes_others() {
    for status in [429, 503, 404] {
        let server = Server::start(Kind::Elastic);
        server.fail([Fault::Status(503, ""), Fault::Some(status), Fault::Some(status)]);
        let sinks = sinks(Kind::Elastic, &server, &quick(), QueueLimits::default());
        for number in 0..30 {
            sinks.offer([gap(number)]);
        }
        assert!(sinks.flush(LONG), "{status}");
        let counters = only(sinks.finish(LONG));
        let taken = server.taken();
        assert_eq!((told(&taken).len(), taken.len()), (30, 30), "{status}: each once");
        assert_eq!((counters.lines, counters.lost_lines), (30, 0), "{status}");
    }
}

#[test]
fn an_answer_that_is_none_of_its_protocol_is_no_answer() {
    for body in ["", "<html>", r#"{"errors":true,"items":[]}"#, r#"{"took":3}"#] {
        let server = Server::start(Kind::Elastic);
        server.fail([Fault::Answer(200, body.to_owned())]);
        let sinks = sinks(Kind::Elastic, &server, &quick(), QueueLimits::default());
        sinks.offer([gap(0)]);
        assert!(sinks.flush(LONG), "{body}");
        assert_eq!(only(sinks.finish(LONG)).failures, 1, "{body}");
        assert_eq!(server.taken().len(), 1, "{body}");
    }
}

#[test]
fn splunk_refuses_the_index_and_no_line_pays_for_it() {
    let server = Server::start(Kind::Splunk);
    let body = r#"{"text":"Incorrect index","code":7,"invalid-event-number":0}"#.to_owned();
    server.fail([Fault::Answer(400, body)]);
    let sinks = sinks(Kind::Splunk, &server, &quick(), QueueLimits::default());
    sinks.offer([gap(0)]);
    assert!(sinks.flush(LONG));
    assert_eq!(only(sinks.finish(LONG)).lost_lines, 0);
    assert_eq!(server.taken().len(), 1);
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let server = Server::start(Kind::Splunk);
    server.fail([Fault::Status(429, "retry-after: 3\r\n")]);
    let sinks = sinks(Kind::Splunk, &server, &quick(), QueueLimits::default());
    let begin = Instant::now();
    sinks.offer([gap(0)]);
    assert!(sinks.flush(LONG));
    assert!(begin.elapsed() >= Duration::from_millis(2_900), "{:?}", begin.elapsed());
    sinks.finish(LONG);
    assert_eq!((server.requests(), server.taken().len()), (2, 1));
}

#[test]
fn a_token_is_read_again_when_it_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "old").unwrap();
    let remote = Remote { token_file: Some(file.clone()), ..quick() };
    for (kind, word) in
        [(Kind::Splunk, "Splunk"), (Kind::Elastic, "ApiKey"), (Kind::Lines, "Bearer"), (Kind::Otlp, "Bearer")]
    {
        fs::write(&file, "old").unwrap();
        let server = Server::start(kind);
        server.state.lock().unwrap().pass = Some(format!("{word} new-one"));
        let sinks = sinks(kind, &server, &remote, QueueLimits::default());
        sinks.offer([gap(0)]);
        wait_until("the old one is refused", || server.requests() > 0);
        fs::write(folder.path().join("next"), "new-one\n").unwrap();
        fs::rename(folder.path().join("next"), &file).unwrap();
        assert!(sinks.flush(LONG), "{kind:?}");
        assert_eq!(only(sinks.finish(LONG)).lost_lines, 0, "{kind:?}");
        assert_eq!(server.taken().len(), 1, "{kind:?}");
    }
}

#[test]
fn a_secret_does_not_cross_the_network_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "hush").unwrap();
    let remote = Remote { token_file: Some(file), ..quick() };
    let error = output("splunk+http://siem.example.com:8088", &remote).err().unwrap().to_string();
    assert!(error.contains("use https") && !error.contains("hush"), "{error}");
    assert!(output("splunk+http://[::1]:8088", &remote).is_ok());
}

#[test]
fn a_post_says_what_it_is_and_can_be_compressed() {
    let server = Server::start(Kind::Lines);
    let remote = Remote { compressed: true, ..quick() };
    let sinks = sinks(Kind::Lines, &server, &remote, QueueLimits::default());
    sinks.offer([gap(0)]);
    assert!(sinks.flush(LONG));
    sinks.finish(LONG);
    let state = server.state.lock().unwrap();
    let (path, headers, lines) = &state.requests[0];
    assert_eq!((&**path, *lines), ("/in?x=1", 1));
    assert_eq!(headers["content-type"], "application/x-ndjson");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["host"], format!("127.0.0.1:{}", server.port));
}

#[test]
fn an_index_has_to_be_named() {
    for place in
        ["elastic+http://h:9200", "elastic+http://h:9200/", "elastic+http://h/a/b", "elastic+http://h/a*"]
    {
        let error = output(place, &quick()).err().unwrap().to_string();
        assert!(error.contains("has to end with an index or a data stream"), "{place}: {error}");
    }
}

fn steps(kind: Kind, server: &Server, remote: &Remote) -> Vec<(&'static str, Standing, String)> {
    let request = Request { remote: remote.clone(), ..Request::from(&*place(kind, server.port)) };
    let found = probe(&[request], encoder().run()).unwrap();
    let steps = found.into_iter().flat_map(|found| found.steps);
    steps.map(|step| (step.name, step.standing, step.found)).collect()
}

fn of(steps: &[(&'static str, Standing, String)]) -> Vec<(&'static str, Standing)> {
    steps.iter().map(|(name, standing, _)| (*name, *standing)).collect()
}

#[test]
fn one_that_takes_lines_is_found_to_without_a_line() {
    use Standing::Fine;
    for (kind, expected) in [
        (Kind::Lines, &["connection", "answer"][..]),
        (Kind::Splunk, &["connection", "health", "token", "acknowledge"]),
        (Kind::Elastic, &["connection", "answer", "index"]),
        (Kind::Otlp, &["connection", "answer"]),
    ] {
        let server = Server::start(kind);
        let steps = steps(kind, &server, &quick());
        let expected: Vec<_> = expected.iter().map(|name| (*name, Fine)).collect();
        assert_eq!(of(&steps), expected, "{kind:?}: {steps:?}");
        assert_eq!(server.taken().len(), 0, "{kind:?}");
    }
}

#[test]
fn what_an_output_lacks_is_found_and_what_to_do_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "old").unwrap();
    let remote = Remote { token_file: Some(file), ..quick() };
    for kind in [Kind::Splunk, Kind::Elastic, Kind::Otlp] {
        let server = Server::start(kind);
        server.state.lock().unwrap().pass = Some("another".to_owned());
        let steps = steps(kind, &server, &remote);
        assert_eq!(steps.last().unwrap().1, Standing::Away, "{kind:?}: {steps:?}");
        assert!(steps.last().unwrap().2.contains("Invalid token"), "{kind:?}: {steps:?}");
    }
    let server = Server::start(Kind::Elastic);
    for (may, there, expected) in [
        (Some(true), true, Standing::Fine),
        (Some(false), true, Standing::Away),
        (Some(true), false, Standing::Fine),
    ] {
        {
            let mut state = server.state.lock().unwrap();
            (state.may_create, state.has_index) = (may, there);
        }
        let steps = steps(Kind::Elastic, &server, &quick());
        assert_eq!(of(&steps)[2..], [("rights", expected), ("index", Standing::Fine)], "{steps:?}");
        assert_eq!(steps[3].2.contains("is not there"), !there, "{steps:?}");
        assert!(steps[1].2.contains("8.15.0, cluster logs"), "{steps:?}");
    }
    let server = Server::start(Kind::Splunk);
    server.state.lock().unwrap().ill = true;
    assert_eq!(of(&steps(Kind::Splunk, &server, &quick()))[1], ("health", Standing::Away));
    let server = Server::start(Kind::Otlp);
    server.fail([Fault::Stall]);
    let late = steps(Kind::Otlp, &server, &quick());
    assert!(late.last().unwrap().2.contains("it took longer than"), "{late:?}");
}

#[test]
fn lines_wait_for_others_to_go_with_them_and_not_for_long() {
    let server = Server::start(Kind::Lines);
    let remote = Remote { linger: Duration::from_millis(1_500), ..quick() };
    let sinks = sinks(Kind::Lines, &server, &remote, QueueLimits::default());
    for number in 0..400 {
        sinks.offer([gap(number)]);
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(sinks.flush(LONG));
    sinks.finish(LONG);
    assert_eq!(told(&server.taken()), (0..400).collect());
    // The first goes at once, where nothing went before.
    assert!((1..=3).contains(&server.requests()), "{} requests", server.requests());
}

#[test]
fn whoever_waits_for_all_does_not_wait_for_more() {
    let server = Server::start(Kind::Lines);
    let remote = Remote { linger: Duration::from_secs(600), ..quick() };
    let sinks = sinks(Kind::Lines, &server, &remote, QueueLimits::default());
    for number in 0..3 {
        sinks.offer([gap(number)]);
        assert!(sinks.flush(LONG));
        assert_eq!(server.taken().len(), number + 1);
    }
    sinks.finish(LONG);
}

#[test]
fn a_full_batch_does_not_wait() {
    let server = Server::start(Kind::Lines);
    let remote = Remote { linger: Duration::from_secs(600), batch_bytes: 32_768, ..quick() };
    let sinks = sinks(Kind::Lines, &server, &remote, QueueLimits::default());
    for number in 0..2_000 {
        sinks.offer([gap(number)]);
    }
    wait_until("full batches go", || server.taken().len() > 1_500);
    // At the end what is left goes, too.
    let SinkCounters { lines, lost_lines, .. } = only(sinks.finish(LONG));
    assert_eq!((lines, lost_lines), (2_000, 0));
}

#[test]
fn a_server_that_refuses_for_long_costs_what_does_not_fit_and_exactly_that() {
    let server = Server::start(Kind::Elastic);
    server.fail(std::iter::repeat_n(Fault::Status(503, ""), 3));
    let sinks = sinks(Kind::Elastic, &server, &quick(), QueueLimits { lines: 80, bytes: 1 << 20 });
    for _ in 0..500 {
        sinks.offer([flow(Class::Allowed, 2)]);
        sinks.offer([flow(Class::DeniedAttempt, 1)]);
    }
    assert!(sinks.flush(LONG), "it recovers by itself");
    let counters = only(sinks.finish(LONG));
    let taken: Vec<Value> = server.taken().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (class, all) in [("allowed", 1_000), ("denied_attempt", 500)] {
        let count = |kind: &str, pointer: &str| -> u64 {
            let of = taken.iter().filter(|line| line["class"] == class || line["loss"]["class"] == class);
            of.filter(|line| line["kind"] == kind)
                .map(|line| line.pointer(pointer).unwrap().as_u64().unwrap())
                .sum()
        };
        let lost = count("loss", "/loss/count");
        assert!(lost > 0, "{class}");
        assert_eq!(count("flow", "/flow/count") + lost, all, "{class}");
    }
    assert_eq!(counters.attempts + counters.lost_attempts, 1_500);
}

/// It does not say which: as many as it says are told as lost.
#[test]
fn what_a_collector_rejects_is_counted() {
    let server = Server::start(Kind::Otlp);
    let partial = ExportLogsPartialSuccess { rejected_log_records: 2, error_message: "too old".to_owned() };
    let told = ExportLogsServiceResponse { partial_success: Some(partial) };
    let told = String::from_utf8(told.encode_to_vec()).unwrap();
    server.fail([Fault::Status(503, ""), Fault::Answer(200, told)]);
    let sinks = sinks(Kind::Otlp, &server, &quick(), QueueLimits::default());
    for number in 0..10 {
        sinks.offer([gap(number)]);
    }
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    assert_eq!((counters.lines, counters.lost_lines), (9, 2), "eight, and the loss");
    assert_eq!(lost(&server.taken(), LossCause::Refused), 2);
}

/// rotel, a collector that is not ours, takes the lines and hands them on to the server of these tests.
#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn an_otlp_collector_takes_every_line() {
    let server = Server::start(Kind::Otlp);
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let name = "FLOWLOG_ROTEL";
    let program =
        std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test` sets it"));
    let folder = tempfile::tempdir().unwrap();
    let mut collector = std::process::Command::new(program)
        .current_dir(folder.path())
        .args(["start", "--otlp-http-endpoint", &format!("127.0.0.1:{port}"), "--exporter", "otlp"])
        .args(["--otlp-grpc-endpoint", "127.0.0.1:0", "--otlp-exporter-protocol", "http"])
        .args([
            "--otlp-exporter-endpoint",
            &format!("http://127.0.0.1:{}", server.port),
            "--logs-batch-timeout",
            "100ms",
        ])
        .spawn()
        .unwrap();
    wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let remote = Remote { compressed: true, ..quick() };
    let sinks =
        start(output(&format!("otlp+http://127.0.0.1:{port}"), &remote).unwrap(), QueueLimits::default()).0;
    for number in 0..1_000 {
        sinks.offer([gap(number)]);
    }
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    assert_eq!((counters.lines, counters.lost_lines, counters.failures), (1_000, 0, 0));
    wait_until("all came through", || server.taken().len() >= 1_000);
    collector.kill().unwrap();
    collector.wait().unwrap();
    assert_eq!(told(&server.taken()), (0..1_000).collect());
}
