//! SARIF as Microsoft's own validator reads it.

use crate::estate;
use flowlog::model::{Assessment, Severity};
use flowlog::report::{Format, Options, write};
use serde_json::Value;
use std::env;
use std::fs;
use std::process::Command;

/// What the validator finds wrong, as errors.
fn errors(assessment: &Assessment) -> Vec<String> {
    let multitool = env::var_os("FLOWLOG_SARIF_MULTITOOL")
        .expect("FLOWLOG_SARIF_MULTITOOL names sarif-multitool: `cargo xtask test` sets it");
    let folder = tempfile::tempdir().unwrap();
    let (file, told) = (folder.path().join("report.sarif"), folder.path().join("told.sarif"));
    let options = Options { fail_on: Some(Severity::High), ..Options::default() };
    let mut log = Vec::new();
    write(&mut log, assessment, Format::Sarif, &options).unwrap();
    fs::write(&file, log).unwrap();
    let said = Command::new(multitool)
        .arg("validate")
        .arg(&file)
        .arg("--output")
        .arg(&told)
        // It asks for no locale's data then, which a small machine does not have.
        .env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")
        .output()
        .unwrap();
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    let told = fs::read_to_string(&told).unwrap_or_else(|error| panic!("no answer: {error}\n{said}"));
    // It writes a mark of byte order.
    let told: Value = serde_json::from_str(told.trim_start_matches('\u{feff}')).unwrap();
    let results = told["runs"][0]["results"].as_array().unwrap_or_else(|| panic!("no results\n{said}"));
    let errors = results.iter().filter(|result| result["level"] == "error");
    errors.map(ToString::to_string).collect()
}

#[test]
#[ignore = "sarif-multitool"]
fn the_validator_accepts_it_whatever_the_names() {
    for (name, assessment) in [("small", estate::small()), ("hostile", estate::hostile())] {
        assert_eq!(errors(&assessment), Vec::<String>::new(), "{name}");
    }
}
