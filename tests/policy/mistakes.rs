//! One small case for each mistake that an engine can make in a line: what it then answers, and what is right.
//!
//! A file of `fixtures/policies/` is a case in the shared form and beside it `mistake`, what the engine does wrong,
//! `why` that is wrong, and `mistaken`, what it then answers. The right answers are written by hand.

use flowlog_tests::case::{Case, Expected};
use flowlog_tests::{oracle, random};
use serde::Deserialize;
use std::fs;
use std::path::Path;

#[derive(Deserialize)]
struct Mistake {
    #[serde(flatten)]
    case: Case,
    mistake: String,
    why: String,
    mistaken: Vec<Expected>,
}

fn mistakes() -> Vec<(String, Mistake)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/policies");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let mistake =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            (name, mistake)
        })
        .collect()
}

/// What of the case the oracle answers otherwise than it should.
fn wrong(case: &Case) -> Vec<String> {
    let told = |expected: &Expected| {
        let answer = oracle::evaluate(case, case.find_query(expected.id).unwrap());
        (answer.combined != expected.combined).then(|| {
            let (id, right, got) = (expected.id, expected.combined, answer.combined);
            format!("{} query {id}: expected {right:?} got {got:?}", case.id)
        })
    };
    case.expect.iter().filter_map(told).collect()
}

#[test]
fn the_oracle_makes_none_of_the_mistakes() {
    let wrong: Vec<String> = mistakes().iter().flat_map(|(_, mistake)| wrong(&mistake.case)).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_oracle_makes_none_of_the_mistakes_on_stored_objects() {
    let wrong: Vec<String> =
        mistakes().iter().flat_map(|(_, mistake)| wrong(&random::stored(&mistake.case))).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_mistake_is_named_and_gives_a_wrong_answer() {
    let mistakes = mistakes();
    assert!(mistakes.len() >= 30, "{} mistakes", mistakes.len());
    for (name, Mistake { case, mistake, why, mistaken }) in mistakes {
        assert_eq!(name, case.id, "a file is named as its case");
        assert!(!mistake.is_empty() && !why.is_empty(), "{name} says neither what nor why");
        let ids = |answers: &[Expected]| answers.iter().map(|answer| answer.id).collect::<Vec<_>>();
        let asked: Vec<u64> = case.queries.iter().map(|query| query.id).collect();
        assert_eq!((ids(&case.expect), ids(&mistaken)), (asked.clone(), asked), "{name} answers each query");
        let differs =
            case.expect.iter().zip(&mistaken).any(|(right, wrong)| right.combined != wrong.combined);
        assert!(differs, "{name}: a mistake without a wrong answer");
    }
}
