//! `flowlog schema`, and what every subcommand has in common.

use crate::bin::Place;
use serde_json::Value;

#[test]
fn the_schema_is_one_that_a_validator_takes_and_refuses_unknown_keys() {
    let said = Place::new().flowlog(&["schema"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let schema: Value = serde_json::from_str(&said.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(!validator.is_valid(&serde_json::json!({"v": 1, "kind": "flow", "surprise": true})));
}

#[test]
fn help_and_version_are_answers() {
    for (args, word) in
        [(&["--help"][..], "Usage"), (&["--version"], "flowlog "), (&["run", "--help"], "--manifests")]
    {
        let said = Place::new().flowlog(args);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(said.stdout.contains(word), "{args:?}: {}", said.stdout);
    }
}

/// `flowlog check | head -1`: a reader that leaves is no failure.
#[test]
fn a_reader_that_left_is_no_failure() {
    let script = "\"$0\" schema | head -c 1; exit ${PIPESTATUS[0]}";
    let flowlog = flowlog_tests::program::flowlog().unwrap();
    let said = Place::new().alone(&["bash", "-c", script, flowlog.to_str().unwrap()], &[]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "{", ""));
}
