use super::*;
use crate::sinks::tests::{Fixture, LONG, encoder, gap, start, wait_until};
use crate::sinks::{QueueLimits, Request, Standing, open};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// librdkafka's mock cluster, and a consumer of its own (`tests/consumers/kafka.py`).
struct Cluster {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    brokers: String,
}

impl Cluster {
    fn start() -> Self {
        let name = "FLOWLOG_CONSUMERS_PYTHON";
        let python =
            std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test` sets it"));
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/consumers/kafka.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut cluster = Self { child, stdin, stdout, brokers: String::new() };
        cluster.brokers = cluster.next().as_str().unwrap().to_owned();
        cluster
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// All until so many different messages are there, or what there is after 20 s: partition, key, time, value.
    fn consume(&mut self, count: usize) -> Vec<(i64, String, i64, String)> {
        writeln!(self.stdin, "{count}").unwrap();
        serde_json::from_value(self.next()).unwrap()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    fn output(&self) -> Box<dyn Output> {
        let remote = Remote {
            timeout: Duration::from_secs(2),
            linger: Duration::from_millis(50),
            batch_bytes: 32_768,
            ..Remote::default()
        };
        let request = Request { remote, ..Request::from(&*format!("kafka://{}/flowlog", self.brokers)) };
        open(&Opening { request: &request, run: encoder().run(), number: 0 }).unwrap().1
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn place(place: &str, remote: &Remote) -> Result<Kafka, SinkError> {
    let request = Request { remote: remote.clone(), ..Request::from(place) };
    Kafka::open(&Opening { request: &request, run: encoder().run(), number: 0 })
}

#[test]
fn a_topic_has_to_be_named_and_a_password_stays_hidden() {
    for wrong in ["kafka://a:9092", "kafka://a:9092/", "kafka://a/b/c", "kafka://a/b c"] {
        let error = place(wrong, &Remote::default()).err().unwrap().to_string();
        assert!(error.contains("has to end with a topic"), "{wrong}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "hush").unwrap();
    let remote = Remote { user: Some(("me".to_owned(), file)), ..Remote::default() };
    let error = place("kafka://broker.example.com/flowlog", &remote).err().unwrap().to_string();
    assert!(error.contains("use kafkas") && !error.contains("hush"), "{error}");
    let several = place("kafka://a,b:9093,[::1]/flowlog", &Remote::default()).unwrap();
    let hosts: Vec<String> = several.place.hosts.iter().map(Host::authority).collect();
    assert_eq!(hosts, ["a:9092", "b:9093", "[::1]:9092"]);
}

/// What Kafka's own test has of its hash (`UtilsTest.testMurmur2`).
#[test]
fn keys_are_hashed_as_kafka_hashes_them() {
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
    }
    assert_eq!(partition_of(b"abc", 0), None);
}

#[test]
fn a_cluster_that_is_away_is_no_loss() {
    let mut output = place(
        "kafka://127.0.0.1:1/flowlog",
        &Remote { timeout: Duration::from_millis(300), ..Remote::default() },
    )
    .unwrap();
    let bytes = [0; 20];
    let begin = Instant::now();
    let failed = output.write(Batch { bytes: &bytes, ends: &[20] }, Duration::ZERO);
    assert!(matches!(failed, Err(WriteError::Failed { written: 0, .. })), "{failed:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn kafka_takes_every_line_in_order_under_the_key_of_its_node() {
    let mut cluster = Cluster::start();
    let (sinks, _) = start(cluster.output(), QueueLimits::default());
    for number in 0..3_000 {
        sinks.offer([gap(number)]);
    }
    assert!(sinks.flush(LONG));
    let counters = sinks.finish(LONG).into_values().next().unwrap();
    assert_eq!((counters.lines, counters.lost_lines, counters.failures), (3_000, 0, 0));
    let got = cluster.consume(3_000);
    assert_eq!(got.len(), 3_000);
    for ((partition, key, time, value), seq) in got.iter().zip(1_u64..) {
        assert_eq!((*partition, &**key), (got[0].0, "worker-1"));
        let record: Value = serde_json::from_str(value).unwrap();
        assert_eq!(record["seq"], json!(seq), "in order");
        let own: jiff::Timestamp = record["time"].as_str().unwrap().parse().unwrap();
        assert_eq!(*time, own.as_millisecond());
    }
}

#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn kafka_that_stands_still_loses_nothing() {
    let mut cluster = Cluster::start();
    let (sinks, _) = start(cluster.output(), QueueLimits::default());
    for number in 0..500 {
        sinks.offer([gap(number)]);
    }
    assert!(sinks.flush(LONG));
    cluster.signal(nix::sys::signal::Signal::SIGSTOP);
    for number in 500..1_000 {
        sinks.offer([gap(number)]);
    }
    wait_until("it is noticed", || sinks.counters().values().any(|counters| counters.failures > 0));
    cluster.signal(nix::sys::signal::Signal::SIGCONT);
    assert!(sinks.flush(LONG), "it recovers by itself");
    let counters = sinks.finish(LONG).into_values().next().unwrap();
    assert_eq!(counters.lost_lines, 0);
    let got = cluster.consume(1_000);
    let numbers: std::collections::BTreeSet<u64> = got
        .iter()
        .map(|(.., value)| serde_json::from_str::<Value>(value).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=1_000).collect());
}

pub(in crate::sinks) fn fixture() -> Fixture {
    let mut cluster = Cluster::start();
    let output = cluster.output();
    let read_back = move || {
        // As many as the shared test writes.
        let got = cluster.consume(3_001);
        got.into_iter().map(|(.., value)| format!("{value}\n")).collect()
    };
    Fixture { output, framed: true, read_back: Box::new(read_back) }
}

#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn a_topic_is_found_or_missed_without_a_message() {
    let mut cluster = Cluster::start();
    for (topic, standing) in [("flowlog", Standing::Fine), ("none-such", Standing::Away)] {
        let remote = Remote { timeout: Duration::from_secs(3), ..Remote::default() };
        let request = Request { remote, ..Request::from(&*format!("kafka://{}/{topic}", cluster.brokers)) };
        let found = crate::sinks::probe(&[request], encoder().run()).unwrap();
        let last = found[0].steps.last().unwrap();
        assert_eq!((last.name, last.standing), ("topic", standing), "{found:?}");
    }
    assert!(cluster.consume(0).is_empty());
}
