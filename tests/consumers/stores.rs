//! One run in three formats: what DuckDB, OpenSearch and ClickHouse count of it is what was told, and every line of it is one
//! by the definitions of ECS and OCSF.

use crate::stage::{
    API, Family, NO_HOST, Net, Stage, allow_ports, do_step, end, internet, number, pod, small,
};
use crate::talk::{Talk, file, installed};
use flowlog_tests::{Outcome, Step};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Sums by class, source's namespace and destination's port.
fn count(lines: &[Value]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for line in lines.iter().filter(|line| line["kind"] == "flow") {
        let namespace = line["source"]["namespace"].as_str().unwrap_or("-");
        let port = line["destination"]["port"].as_u64().map_or("-1".to_owned(), |port| port.to_string());
        let key = format!("{}/{namespace}/{port}", line["class"].as_str().unwrap());
        *all.entry(key).or_default() += number(&line["flow"]["count"]);
    }
    all
}

/// What the definitions of a format say against a file's lines, each with the number of its line before it.
fn complaints(program: &mut Command, lines: &Path) -> String {
    let said = program.stdin(File::open(lines).unwrap()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

#[test]
#[ignore = "consumers, kernel: root, cgroup2, BPF"]
fn stores_count_in_every_format_what_was_told() {
    let mut stores =
        Talk::start(Command::new(installed("FLOWLOG_STORES_PYTHON")).arg(file("deploy/ci/stores.py")));
    let net = Net::new();
    let mut objects = small(net);
    objects.extend([pod(net, "other", 40), allow_ports("api-in", "api", &[8080])]);
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let folder = tempfile::tempdir().unwrap();
    let files =
        ["flowlog", "ecs", "ocsf"].map(|format| (format, folder.path().join(format!("{format}.json"))));
    let search = stores.first["opensearch"].as_str().unwrap();
    let mut outputs = vec![
        json!("stdout"),
        json!({"to": format!("elastic+{search}/logs-flowlog-test")}),
        json!({"to": format!("ecs=elastic+{search}/logs-flowlog.ecs-test"), "compression": "gzip"}),
        json!({"to": format!("ndjson+{}", stores.first["clickhouse"].as_str().unwrap())}),
    ];
    outputs.extend(files.iter().map(|(format, path)| json!(format!("{format}={}", path.display()))));
    let config = folder.path().join("flowlog.yaml");
    std::fs::write(&config, json!({"outputs": outputs}).to_string()).unwrap();
    let agent = stage.agent(&["--each", "--config", config.to_str().unwrap()]);
    let api = |port| Step::connect(net.at(Family::V4, API, port));
    for pod in ["client", "client", "other"] {
        let mut actor = stage.actor(pod);
        for family in [Family::V4, Family::V6] {
            do_step(&mut actor, &Step::connect(net.at(family, API, 8080)), Outcome::Established);
        }
        do_step(&mut actor, &api(81), Outcome::Error);
        // Nobody is there: told as pending, and then as given up.
        let outside = SocketAddr::new(internet(Family::V4, NO_HOST), 443);
        do_step(&mut actor, &Step::connect(outside).within(Duration::from_millis(1500)), Outcome::Timeout);
    }
    let ended = end(agent);
    let told = count(&ended.lines);
    assert_eq!(told.values().sum::<u64>(), 12, "{told:?}");
    assert!(told.len() >= 4, "{told:?}");
    let paths: Vec<&str> = files.iter().map(|(_, path)| path.to_str().unwrap()).collect();
    let answer = stores.ask(&json!({"count": paths}));
    let lines = ended.lines.len();
    for name in ["opensearch", "opensearch ecs", "clickhouse"] {
        assert_eq!(answer["lines"][name], lines, "{name}: {answer:#}");
    }
    for place in [
        "/duckdb/flowlog",
        "/duckdb/ecs",
        "/duckdb/ocsf",
        "/opensearch/flowlog",
        "/opensearch/ecs",
        "/clickhouse",
    ] {
        assert_eq!(answer.pointer(place), Some(&json!(told)), "{place}: {answer:#}");
    }
    let [_, (_, ecs), (_, ocsf)] = &files;
    for (path, program) in [
        (ecs, Command::new("node").arg(file("tests/formats/ecs.js")).arg(installed("FLOWLOG_ECS"))),
        (ocsf, Command::new(installed("FLOWLOG_OCSF_PYTHON")).arg(file("tests/formats/ocsf.py"))),
    ] {
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written.lines().count(), lines, "{}", path.display());
        assert_eq!(complaints(program, path), "", "{}", path.display());
        // They are asked for something: a line that is none is refused.
        let wrong = folder.path().join("wrong.json");
        std::fs::write(&wrong, written.lines().next().unwrap().replacen('{', r#"{"flows":1,"#, 1)).unwrap();
        assert_ne!(complaints(program, &wrong), "", "{}", path.display());
    }
}
