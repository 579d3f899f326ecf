//! Kafka from a confined agent: over TLS with SCRAM to a broker, and read by kcat out of librdkafka's mock cluster.

use crate::stage::{API, Family, Net, SOON, Stage, do_step, end, small};
use crate::talk::{Talk, file, installed, libraries};
use flowlog_tests::{Agent, Outcome, Step, wait};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority, the certificate that it gave to `localhost`, and an authority that nobody asked.
fn certify(folder: &Path) {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        Issuer::new(params, key)
    };
    let (ca, _) = (authority("ca"), authority("stranger"));
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join("server.pem"), params.signed_by(&key, &ca).unwrap().pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

/// A broker behind TLS and SCRAM, where `me` is known by `hush`.
fn broker(folder: &Path, mechanism: &str) -> Talk {
    let script = file("tests/consumers/broker.py");
    let mut command = Command::new(installed("FLOWLOG_CONSUMERS_PYTHON"));
    Talk::start(command.arg(script).arg(folder).args([mechanism, "me", "hush"]))
}

fn configure(folder: &Path, output: &Value) -> String {
    let place = folder.join("flowlog.yaml");
    fs::write(&place, json!({"outputs": ["stdout", output]}).to_string()).unwrap();
    place.to_str().unwrap().to_owned()
}

/// What failed and what was lost of the one output over the network, by its counters at the end.
fn sink(ended: &flowlog_tests::Ended, what: &str) -> u64 {
    let sinks = ended.stop_record().unwrap()["agent"]["counters"]["sinks"].as_object().unwrap().clone();
    let (_, found) = sinks.into_iter().find(|(name, _)| name.contains("://")).unwrap();
    found[what].as_u64().unwrap_or(0)
}

fn connect(stage: &Stage, times: usize) {
    let mut client = stage.actor("client");
    for _ in 0..times {
        do_step(&mut client, &Step::connect(stage.net.at(Family::V4, API, 8080)), Outcome::Established);
    }
}

fn is_confined(agent: &Agent) -> bool {
    agent.has(|line| line["agent"]["confinement"]["system_calls"] == true)
}

/// Partition, key, time, line: in the order in which they came of each partition.
fn records(got: &Value) -> Vec<(String, Value)> {
    let messages = got.as_array().unwrap().iter();
    let record = |message: &Value| {
        let text = message[3].as_str().unwrap();
        (message[1].as_str().unwrap().to_owned(), serde_json::from_str(text).unwrap())
    };
    messages.map(record).collect()
}

/// The name is asked for, the authority and the password are read, after it was confined.
#[test]
#[ignore = "consumers, kernel: root, cgroup2, BPF"]
fn a_confined_agent_brings_its_lines_to_kafka_over_tls_with_scram() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    fs::write(folder.path().join("password"), "hush\n").unwrap();
    let mut broker = broker(folder.path(), "SCRAM-SHA-512");
    let at = folder.path().display();
    let config = configure(
        folder.path(),
        &json!({
            "to": format!("kafkas://{}/flowlog", broker.first.as_str().unwrap()),
            "ca_file": format!("{at}/ca.pem"), "username": "me", "password_file": format!("{at}/password"),
            "linger_ms": 50, "spool": {"folder": format!("{at}/spool")},
        }),
    );
    let agent = stage.agent(&["--each", "--config", &config]);
    assert!(is_confined(&agent), "{:#}", agent.lines()[0]);
    connect(&stage, 20);
    let ended = end(agent);
    assert_eq!(sink(&ended, "lost_lines"), 0);
    let got = records(&broker.ask(&json!(ended.lines.len())));
    assert!(got.iter().all(|(key, _)| key == crate::stage::NODE));
    let lines: Vec<Value> = got.into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ended.lines, "all of them, in order");
    assert_ne!(broker.ask(&json!(-1)), json!(0), "what tells that something came");
}

/// What keeps a stranger out keeps nothing of the log: it waits.
#[test]
#[ignore = "consumers, kernel: root, cgroup2, BPF"]
fn a_wrong_password_or_authority_brings_nothing_and_is_told() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let at = folder.path().display();
    for (name, text) in [("right", "hush"), ("wrong", "rush")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut broker = broker(folder.path(), "SCRAM-SHA-512");
    let place = format!("kafkas://{}/flowlog", broker.first.as_str().unwrap());
    for (number, (ca, password)) in [("ca", "wrong"), ("stranger", "right")].into_iter().enumerate() {
        let config = configure(
            folder.path(),
            &json!({
                "to": place, "ca_file": format!("{at}/{ca}.pem"), "username": "me",
                "password_file": format!("{at}/{password}"), "linger_ms": 50, "timeout_ms": 2000,
                "spool": {"folder": format!("{at}/spool-{number}")},
            }),
        );
        let agent = stage.agent(&["--each", "--config", &config, "--log", "warn"]);
        connect(&stage, 3);
        wait::until("they wait on disk", SOON, || {
            let files = fs::read_dir(folder.path().join(format!("spool-{number}")))?;
            let sizes = files.map(|one| Ok(one?.metadata()?.len())).collect::<anyhow::Result<Vec<_>>>()?;
            Ok(sizes.iter().sum::<u64>() > 1_000)
        })
        .unwrap();
        let ended = end(agent);
        assert_eq!(sink(&ended, "lost_lines"), 0, "{ca}, {password}");
        let why = if password == "wrong" { "SaslAuthenticationFailed" } else { "certificate" };
        assert!(ended.stderr.contains("the output does not take lines"), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
        assert!(
            !ended.stderr.contains("rskafka::connection"),
            "the library warns at each try: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("rush") && !ended.stderr.contains("hush"), "{}", ended.stderr);
    }
    assert_eq!(broker.ask(&json!(-1)), json!(0), "nothing came");
}

/// As somebody would look: kcat, from the beginning to the end.
#[test]
#[ignore = "consumers, kernel: root, cgroup2, BPF"]
fn kcat_reads_every_line_under_the_key_of_its_node() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(installed("FLOWLOG_CONSUMERS_PYTHON"));
    let cluster =
        Talk::start(command.arg(file("tests/consumers/kafka.py")).stderr(std::process::Stdio::null()));
    let brokers = cluster.first.as_str().unwrap().to_owned();
    let config =
        configure(folder.path(), &json!({"to": format!("kafka://{brokers}/flowlog"), "compression": "gzip"}));
    let agent = stage.agent(&["--each", "--config", &config]);
    connect(&stage, 20);
    let ended = end(agent);
    let root = PathBuf::from(installed("FLOWLOG_KCAT"));
    let read = Command::new(root.join("usr/bin/kcat"))
        .args(["-C", "-J", "-e", "-q", "-o", "beginning", "-t", "flowlog", "-b", &brokers])
        .env("LD_LIBRARY_PATH", libraries(&root))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{said}");
    let text = String::from_utf8(read.stdout).unwrap();
    let messages: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<Value> =
        messages.iter().map(|one| serde_json::from_str(one["payload"].as_str().unwrap()).unwrap()).collect();
    assert_eq!(lines, ended.lines, "{said}");
    let places: BTreeSet<u64> = messages.iter().map(|one| one["partition"].as_u64().unwrap()).collect();
    assert_eq!(places.len(), 1, "a node's lines are in one partition, and so in order");
    for (message, line) in messages.iter().zip(&lines) {
        assert_eq!((&message["key"], message.get("headers")), (&line["node"], None), "{message}");
        let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
        assert_eq!(message["ts"], time.as_millisecond());
    }
}
