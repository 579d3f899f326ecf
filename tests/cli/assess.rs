//! `flowlog assess`: input of every kind, good and bad, and the exit code that a pipeline goes by.

use crate::bin::{Place, Said};
use serde_json::{Value, json};
use std::path::Path;

const OBJECTS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, labels: {app: db}},
 spec: {containers: [{name: db, image: "postgres:16"}]}, status: {podIP: 10.0.0.4}}
---
{apiVersion: v1, kind: Pod, metadata: {name: grafana-0, namespace: shop, labels: {app: grafana}},
 spec: {containers: [{name: grafana, image: "grafana/grafana:11.1.0"}]}, status: {podIP: 10.0.0.5}}
"#;

/// A line as the agent writes it, cut to what reading takes.
fn line(seq: u64, source: &str, destination: &str, port: u16, class: &str) -> String {
    let end = |name: &str| {
        let image = if name == "db-0" { "postgres:16" } else { "grafana/grafana:11.1.0" };
        json!({"kind": "pod", "ip": "10.0.0.9", "port": port, "namespace": "shop", "pod": name, "container": "main", "image": image})
    };
    let decision = if class == "policy_not_enforced" || class == "denied_attempt" { "deny" } else { "allow" };
    let state = if class == "denied_attempt" { "dropped" } else { "established" };
    let side = json!({"decision": decision, "basis": "unselected", "tier": "default"});
    let line = json!({
        "v": 1, "seq": seq, "kind": "flow", "time": "2026-11-30T08:00:00Z", "node": "one", "run": "r",
        "flow": {"id": format!("{seq:032x}"), "direction": "egress", "protocol": "tcp", "family": "ipv4", "count": 1,
            "first": "2026-11-30T08:00:00Z", "last": "2026-11-30T08:00:00Z"},
        "source": end(source), "destination": end(destination),
        "verdict": {"decision": decision, "egress": side, "ingress": side, "snapshot": 1, "as_of": "2026-11-30T07:00:00Z"},
        "outcome": {"state": state, "evidence": ["handshake"]}, "class": class, "severity": "low",
    });
    format!("{line}\n")
}

/// Objects, and a log of a vendor that reaches a database without any policy's word.
fn place() -> Place {
    let place = Place::new();
    place.write("cluster/all.yaml", OBJECTS);
    place.write("flows.json", &line(1, "grafana-0", "db-0", 5432, "unrestricted"));
    place
}

fn assess(place: &Place, more: &[&str]) -> Said {
    place.flowlog(&[&["assess", "--manifests", "cluster", "--logs", "flows.json"], more].concat())
}

#[track_caller]
fn as_json(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// Problems, as `file:line: what`.
fn problems(assessment: &Value) -> Vec<String> {
    let problems = assessment["inputs"]["problems"].as_array().into_iter().flatten();
    let told = problems.map(|one| {
        let line = one["line"].as_u64().map_or_else(String::new, |line| format!(":{line}"));
        format!("{}{line}: {}", one["file"].as_str().unwrap(), one["what"].as_str().unwrap())
    });
    told.collect()
}

fn ids(assessment: &Value) -> Vec<&str> {
    assessment["findings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[test]
fn a_pipeline_goes_by_the_exit_code() {
    let place = place();
    let rows: [(&[&str], Option<i32>); 5] = [
        (&[], Some(1)),
        (&["--fail-on", "critical"], Some(0)),
        (&["--fail-on", "never"], Some(0)),
        (&["--fail-on", "info"], Some(1)),
        (&["--fail-on", "soon"], Some(2)),
    ];
    for (more, code) in rows {
        let said = assess(&place, more);
        assert_eq!(said.code, code, "{more:?}: {said:?}");
    }
    let said = place.flowlog(&["assess"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("nothing to assess: give flow records (--logs PATH)"), "{}", said.stderr);
}

#[test]
fn records_and_objects_do_each_alone() {
    let place = place();
    let records = as_json(&place.flowlog(&["assess", "--logs", "flows.json", "--output", "json"]));
    assert!(ids(&records).contains(&"FL201"), "{records:#}");
    let objects = as_json(&place.flowlog(&["assess", "--manifests", "cluster", "--output", "json"]));
    assert!(ids(&objects).contains(&"FL401") && !ids(&objects).contains(&"FL201"), "{objects:#}");
    let lacking = objects["limits"].to_string();
    assert!(lacking.contains("no flow records were given"), "{lacking}");
}

#[test]
fn each_format_goes_where_it_is_told_and_one_to_standard_output() {
    let place = place();
    let formats = ["json=a.json", "markdown=a.md", "sarif=a.sarif", "junit=a.xml", "html=a.html"];
    let outputs: Vec<&str> = formats.iter().flat_map(|format| ["--output", format]).collect();
    let said = assess(&place, &[&outputs[..], &["--output", "text"]].concat());
    assert!(said.stdout.contains("FL201"), "{said:?}");
    for name in ["a.json", "a.md", "a.sarif", "a.xml", "a.html"] {
        let text = std::fs::read_to_string(place.path().join(name)).unwrap();
        assert!(text.contains("FL201"), "{name}");
    }
    let said = assess(&place, &["--output", "json", "--output", "text"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("only one --output can go to standard output"), "{}", said.stderr);
    let said = assess(&place, &["--output", "pdf"]);
    assert!(said.code == Some(2) && said.stderr.contains("`pdf`"), "{said:?}");
}

#[test]
fn what_is_wrong_with_the_input_is_named_counted_and_fails_where_that_is_asked_for() {
    let place = place();
    let good = line(1, "grafana-0", "db-0", 5432, "unrestricted");
    let torn = line(3, "grafana-0", "db-0", 5432, "unrestricted");
    let log = format!("{good}{{\"some\": \"other schema\"}}\n{}", torn.split_at(200).0);
    place.write("flows.json", &log);
    place.write("scans/broken.json", "{\n\"bomFormat\": \"CycloneDX\",\n");
    place.write(
        "assess.yaml",
        "suppressions:\n  - id: FL999\n    reason: gone\n  - id: FL201\n    reason: known\n    expires: 2020-01-31\n  - id: FL205\n",
    );
    let args = ["--scans", "scans", "--config", "assess.yaml", "--output", "json"];
    let said = assess(&place, &args);
    assert_eq!(said.code, Some(1), "{said:?}");
    let assessment = as_json(&said);
    let told = problems(&assessment);
    for expected in [
        "assess.yaml:2: the suppression is not used: there is no finding `FL999`",
        "assess.yaml:4: the suppression (known) expired on 2020-01-31",
        "assess.yaml:7: the suppression is not used: it gives no `reason`",
        "flows.json:2: no record of flowlog",
        "flows.json:3: the last line is torn",
        "scans/broken.json:3: no report that can be used",
    ] {
        assert!(told.iter().any(|one| one.starts_with(expected)), "{expected}\n{told:#?}");
    }
    assert_eq!(told.len(), 6, "{told:#?}");
    assert_eq!(assessment["inputs"]["records"]["unreadable"], 2);
    assert!(ids(&assessment).contains(&"FL201"), "what expired suppresses nothing");

    let strict = assess(&place, &[&args[..], &["--strict"]].concat());
    assert_eq!(strict.code, Some(2), "{strict:?}");
    assert!(strict.stderr.contains("flows.json:3: the last line is torn"), "{}", strict.stderr);
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_by_line() {
    let place = place();
    let rows = [
        ("off: [FL2O1]\n", "assess.yaml:1: there is no finding `FL2O1`; did you mean FL201?"),
        ("severities:\n  FL201: bad\n", "assess.yaml:2: `bad` is no severity"),
        ("sensitive: {selectors: [\"a in\"]}\n", "assess.yaml"),
        ("supressions: []\n", "assess.yaml:1: unknown key `supressions`; did you mean `suppressions`?"),
        ("vendors: [missing.yaml]\n", "missing.yaml"),
        ("fail_on: soon\n", "assess.yaml:1: `soon` is no severity"),
    ];
    for (text, expected) in rows {
        place.write("assess.yaml", text);
        let said = assess(&place, &["--config", "assess.yaml"]);
        assert_eq!(said.code, Some(2), "{text}: {said:?}");
        assert!(said.stderr.contains(expected), "{text}: {}", said.stderr);
    }
    let said = assess(&place, &["--baseline", "flows.json"]);
    assert!(said.code == Some(2) && said.stderr.contains("the baseline flows.json"), "{said:?}");
}

#[test]
fn what_the_baseline_has_fails_no_more_and_what_it_has_not_does() {
    let place = place();
    let said = assess(&place, &["--write-baseline", "baseline.json", "--fail-on", "never"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(assess(&place, &["--baseline", "baseline.json", "--fail-on", "low"]).code, Some(0));
    let more = [(1, "unrestricted", 5432), (2, "policy_not_enforced", 9187)];
    let log: String =
        more.iter().map(|(seq, class, port)| line(*seq, "grafana-0", "db-0", *port, class)).collect();
    place.write("flows.json", &log);
    let said = assess(&place, &["--baseline", "baseline.json", "--output", "json"]);
    assert_eq!(said.code, Some(1));
    let assessment = as_json(&said);
    assert!(ids(&assessment).contains(&"FL501") && ids(&assessment).contains(&"FL101"), "{assessment:#}");
    place.write("cluster/all.yaml", &OBJECTS.replace("grafana:11.1.0", "grafana:11.2.0"));
    let changed = as_json(&assess(&place, &["--baseline", "baseline.json", "--output", "json"]));
    assert!(ids(&changed).contains(&"FL502"), "{changed:#}");
}

#[test]
fn the_script_for_pipelines_writes_every_report_and_ends_as_the_assessment_does() {
    let place = place();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ci/assess.sh");
    let flowlog = flowlog_tests::program::flowlog().unwrap();
    let settings = |more: &[&str]| {
        let known = [
            format!("FLOWLOG={}", flowlog.display()),
            "MANIFESTS=cluster".to_owned(),
            "LOGS=flows.json".to_owned(),
            "BASELINE=baseline.json".to_owned(),
        ];
        let all: Vec<String> = known.into_iter().chain(more.iter().map(|one| (*one).to_owned())).collect();
        all
    };
    let run = |more: &[&str]| {
        let settings = settings(more);
        let words: Vec<&str> = std::iter::once("env").chain(settings.iter().map(String::as_str)).collect();
        place.alone(&[&words[..], &["sh", script.to_str().unwrap()]].concat(), &[])
    };
    let said = run(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for name in
        ["assessment.json", "summary.md", "flowlog.sarif", "junit.xml", "report.html", "baseline.json"]
    {
        assert!(place.path().join("flowlog-assessment").join(name).metadata().unwrap().len() > 0, "{name}");
    }
    std::fs::copy(place.path().join("flowlog-assessment/baseline.json"), place.path().join("baseline.json"))
        .unwrap();
    assert_eq!(run(&[]).code, Some(0), "nothing that the baseline does not have");
    assert_eq!(run(&["LOGS=missing"]).code, Some(2));
}
