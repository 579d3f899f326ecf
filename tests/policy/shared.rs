//! The oracle, and the engine in the real binary, against the shared policy cases. `FLOWLOG_CASES` names their folder.

use flate2::read::GzDecoder;
use flowlog_tests::case::{Case, Expected};
use flowlog_tests::oracle::{self, Answer};
use flowlog_tests::program;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

const FILES: [&str; 10] = [
    "edge.stored",
    "upstream-e2e-networkpolicy.stored",
    "upstream-conformance-cnp.stored",
    "random-np-300.stored",
    "random-np-300.written",
    "random-anp-100.stored",
    "random-anp-100.written",
    "random-cnp-100.stored",
    "random-cnp-100.written",
    "cyclonus.stored",
];

/// Queries that count, and those on which the oracle differs.
#[derive(Default)]
struct Sum {
    asked: usize,
    wrong: Vec<String>,
}

fn agrees(answer: &Answer, expected: &Expected) -> bool {
    expected.combined == answer.combined
        && expected.ingress.is_none_or(|ingress| ingress == answer.ingress.decision)
        && expected.egress.is_none_or(|egress| egress == answer.egress.decision)
}

fn ask(folder: &Path, file: &str) -> Sum {
    let lines = BufReader::new(GzDecoder::new(File::open(folder.join(file)).unwrap())).lines();
    let mut sum = Sum::default();
    for line in lines {
        let case: Case = serde_json::from_str(&line.unwrap()).unwrap();
        for expected in &case.expect {
            let query = case.find_query(expected.id).unwrap();
            let answer = oracle::evaluate(&case, query);
            sum.asked += 1;
            if !agrees(&answer, expected) {
                sum.wrong.push(format!("{} {query:?}\n  expected {expected:?}\n  got {answer:?}", case.id));
            }
        }
    }
    sum
}

#[test]
#[ignore = "cases: FLOWLOG_CASES names the folder"]
fn cases_shared_are_answered_by_the_oracle_as_expected() {
    let folder = PathBuf::from(std::env::var_os("FLOWLOG_CASES").expect("FLOWLOG_CASES names no folder"));
    let mut wrong = Vec::new();
    for file in FILES {
        let sum = ask(&folder, &format!("{file}.jsonl.gz"));
        assert!(sum.asked > 0, "{file} holds no case");
        println!("{file}: {} of {} answers as expected", sum.asked - sum.wrong.len(), sum.asked);
        wrong.extend(sum.wrong.iter().map(|line| format!("{file}: {line}")));
    }
    let shown = &wrong[..wrong.len().min(5)];
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), shown.join("\n"));
}

#[test]
#[ignore = "cases: FLOWLOG_CASES names the folder"]
fn cases_shared_are_answered_by_the_binary_as_expected() {
    let folder = PathBuf::from(std::env::var_os("FLOWLOG_CASES").expect("FLOWLOG_CASES names no folder"));
    for file in FILES {
        let mut eval = Command::new(program::flowlog().unwrap());
        let path = folder.join(format!("{file}.jsonl.gz"));
        let output = eval.args(["policy", "eval", "--expect"]).arg(&path).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        println!("{file}: {}", told.lines().last().unwrap_or_default());
        assert_eq!(output.status.code(), Some(0), "{file}: {told}");
        assert!(!told.contains(" 0 compared"), "{file} holds no case: {told}");
    }
}
