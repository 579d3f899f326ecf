//! The HTML report in Chromium: `browser.py` does the looking, a scenario each.

use crate::estate;
use flowlog::model::{Assessment, Severity};
use flowlog::report::{Format, Options, write};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A folder with the report of an assessment in it.
fn written(folder: &TempDir, name: &str, assessment: &Assessment) -> PathBuf {
    let options = Options { fail_on: Some(Severity::High), ..Options::default() };
    let path = folder.path().join(name);
    let mut page = Vec::new();
    write(&mut page, assessment, Format::Html, &options).unwrap();
    fs::write(&path, page).unwrap();
    path
}

/// Look at reports; what the looker says is shown where it fails.
fn look(scenario: &str, assessments: &[Assessment]) {
    let python = env::var_os("FLOWLOG_BROWSER_PYTHON").expect(
        "FLOWLOG_BROWSER_PYTHON names a Python with what requirements.txt says: `cargo xtask test` sets it",
    );
    let folder = tempfile::tempdir().unwrap();
    let names =
        assessments.iter().enumerate().map(|(place, one)| written(&folder, &format!("{place}.html"), one));
    let files: Vec<_> = names.collect();
    let looker = concat!(env!("CARGO_MANIFEST_DIR"), "/report/browser.py");
    let said = Command::new(python).arg(looker).arg(scenario).args(files).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!("{}", text(&said.stdout));
    assert!(said.status.success(), "{}\n{}", text(&said.stdout), text(&said.stderr));
}

#[test]
#[ignore = "browser: Chromium, Playwright"]
fn every_view_draws_asks_for_nothing_and_says_nothing() {
    look("opens", &[estate::small()]);
}

#[test]
#[ignore = "browser: Chromium, Playwright"]
fn filters_narrow_and_an_address_shows_the_same_to_another() {
    look("filters", &[estate::small()]);
}

#[test]
#[ignore = "browser: Chromium, Playwright"]
fn a_node_is_clicked_and_told_of_and_the_picture_stays() {
    look("chosen", &[estate::small()]);
}

#[test]
#[ignore = "browser: Chromium, Playwright"]
fn all_can_be_used_by_keyboard() {
    look("keyboard", &[estate::small()]);
}

#[test]
#[ignore = "browser: Chromium, Playwright"]
fn contrast_roles_and_names_are_right_in_light_and_dark() {
    look("accessible", &[estate::small()]);
}

#[test]
#[ignore = "browser: Chromium, Playwright"]
fn paper_has_all_of_it() {
    look("prints", &[estate::small()]);
}

#[test]
#[ignore = "browser: Chromium, Playwright"]
fn hostile_names_are_text() {
    look("hostile", &[estate::hostile()]);
}

#[test]
#[ignore = "browser: Chromium, Playwright"]
fn two_thousand_lines_are_dragged_without_stutter() {
    look("smooth", &[estate::small(), estate::large()]);
}
