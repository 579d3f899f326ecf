//! The engine, in the real binary, against the oracle: random clusters and every one-line mistake.

use flate2::Compression;
use flate2::write::GzEncoder;
use flowlog_tests::case::{Case, Decision, Expected, Query};
use flowlog_tests::{oracle, program, random};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

/// How many random clusters, each in four forms.
const SEEDS: u64 = 300;

#[derive(Deserialize)]
struct Line {
    case: String,
    results: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    id: u64,
    ingress: Decision,
    egress: Decision,
    combined: Decision,
    error: Option<String>,
}

fn eval(cases: &[Case], args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cases.jsonl.gz");
    let mut file = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
    for case in cases {
        serde_json::to_writer(&mut file, case).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.finish().unwrap();
    let mut command = Command::new(program::flowlog().unwrap());
    command.args(["policy", "eval"]).args(args).arg(&path).output().unwrap()
}

fn lines(output: &Output) -> Vec<Line> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether an answer will do. A policy that the API server would refuse is unknown to the binary as a whole; the
/// oracle tells which of its rules are. So much more may be unknown then, and nothing may be decided otherwise.
fn agrees(right: Decision, got: Decision, is_damaged: bool) -> bool {
    right == got || (is_damaged && got == Decision::Unknown)
}

/// What the binary answers otherwise than the oracle.
fn differing(case: &Case, line: &Line) -> Vec<String> {
    assert_eq!((&case.id, case.queries.len()), (&line.case, line.results.len()));
    let is_damaged = case.id.contains("damaged");
    let told = |(query, got): (&_, &Answered)| {
        let right = oracle::evaluate(case, query);
        let rows = [
            (right.ingress.decision, got.ingress),
            (right.egress.decision, got.egress),
            (right.combined, got.combined),
        ];
        let same = rows.iter().all(|(right, got)| agrees(*right, *got, is_damaged)) && got.id == query.id;
        let got = (got.ingress, got.egress, got.combined, &got.error);
        (!same).then(|| format!("{} {query:?}\n  got {got:?}\n  right {right:?}", case.id))
    };
    case.queries.iter().zip(&line.results).filter_map(told).collect()
}

/// The forms of one random cluster. The seed is part of the name.
fn forms(seed: u64) -> [Case; 4] {
    let case = random::cluster(seed);
    let (stored, damaged) = (random::stored(&case), random::damaged(&case, seed));
    let reordered = random::reordered(&case, seed);
    let named = |name: &str, form: Case| Case { id: format!("seed {seed}, {name}"), ..form };
    [
        named("stored", stored),
        named("reordered", reordered),
        named("damaged", damaged),
        named("written", case),
    ]
}

fn wrong(seeds: Range<u64>) -> Vec<String> {
    let cases: Vec<Case> = seeds.flat_map(forms).collect();
    let output = eval(&cases, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines.len(), cases.len());
    cases.iter().zip(&lines).flat_map(|(case, line)| differing(case, line)).collect()
}

#[test]
fn random_clusters_are_answered_as_the_oracle_answers_them() {
    let wrong: Vec<String> = thread::scope(|scope| {
        let halves = [0..SEEDS / 2, SEEDS / 2..SEEDS].map(|seeds| scope.spawn(|| wrong(seeds)));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    let shown = &wrong[..wrong.len().min(3)];
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), shown.join("\n"));
}

#[test]
fn the_engine_makes_none_of_the_mistakes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/policies");
    let files = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let cases: Vec<Case> = files.map(|bytes| serde_json::from_slice(&bytes).unwrap()).collect();
    let cases: Vec<Case> = cases.iter().map(random::stored).chain(cases.iter().cloned()).collect();
    let output = eval(&cases, &["--expect"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.starts_with(&format!("{} cases, ", cases.len())), "{told}");
}

/// What is told apart is also told: mismatches by case and query, with what was expected.
#[test]
fn a_wrong_expectation_is_told_and_is_exit_code_one() {
    let case = random::cluster(7);
    let expect = oracle::expect(&case);
    let right = Case { expect: expect.clone(), ..case.clone() };
    let output = eval(std::slice::from_ref(&right), &["--expect"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let turned = |expected: &Expected| match expected.combined {
        Decision::Allow => Expected { combined: Decision::Deny, ..expected.clone() },
        _ => Expected { combined: Decision::Allow, ..expected.clone() },
    };
    let wrong = Case { expect: expect.iter().map(turned).collect(), ..case };
    let output = eval(&[right, wrong], &["--expect"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().count(), expect.len() + 1, "{told}");
    assert!(told.contains("random-7, query 0 (") && told.contains("combined expected"), "{told}");
    let sums = format!("2 cases, 80 answers: 80 compared, {} differ", expect.len());
    assert!(told.contains(&sums), "{told}");
}

/// What `policy explain` says of some queries of a random cluster, held against the oracle's decision, basis and tier.
fn explained_otherwise(seed: u64) -> Vec<String> {
    let case = random::cluster(seed);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("all.json"), case.manifest().to_string()).unwrap();
    let ask = |query: &Query| {
        let port = format!("{}/{:?}", query.port, query.protocol);
        let mut explain = Command::new(program::flowlog().unwrap());
        explain.args(["policy", "explain", "--output", "json", "--manifests"]).arg(folder.path());
        explain.args(["--from", &query.src_ip.to_string(), "--to", &query.dst_ip.to_string()]);
        let output = explain.args(["--port", &port]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "seed {seed} {query:?} {output:?}");
        let got: Value = serde_json::from_slice(&output.stdout).unwrap();
        let right = oracle::evaluate(&case, query);
        let side = |side: &oracle::Direction| json!([side.decision, side.basis, side.tier]);
        let right = json!([right.combined, side(&right.egress), side(&right.ingress)]);
        let told = &got["endpoints"][0];
        let side = |side: &Value| json!([side["decision"], side["basis"], side["tier"]]);
        let (egress, ingress) = (side(&told["egress"]), side(&told["ingress"]));
        let shown = json!([told["decision"], egress, ingress]);
        let same = shown == right && got["decision"] == right[0];
        (!same).then(|| format!("seed {seed} {query:?}\n  right {right}\n  got {shown} {got}"))
    };
    let dialed = |query: &&Query| query.port > 0 && query.src_ip.is_ipv4() == query.dst_ip.is_ipv4();
    case.queries.iter().filter(dialed).step_by(4).filter_map(ask).collect()
}

#[test]
fn an_explanation_decides_as_the_oracle_does_and_on_the_same_basis() {
    let wrong: Vec<String> = thread::scope(|scope| {
        let halves = [0..30, 30..60].map(|seeds: Range<u64>| {
            scope.spawn(move || seeds.flat_map(explained_otherwise).collect::<Vec<_>>())
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    let shown = &wrong[..wrong.len().min(2)];
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), shown.join("\n"));
}
