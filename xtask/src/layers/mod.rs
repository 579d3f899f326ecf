//! `cargo xtask layers`: holds every path in the agent's source against the house's floors.
//!
//! `table` says who may name what, `paths` finds what a file names. Test code is held to the same floors;
//! only `testkit` is its alone.

mod paths;
mod table;

use crate::command::{repository, say};
use anyhow::{Context, Result, bail};
use paths::Named;
use std::fmt;
use std::fs;
use std::path::Path;

/// A path that a file may not name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wrong {
    file: String,
    line: usize,
    named: String,
    why: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:{}: `{}`: {}", self.file, self.line, self.named, self.why)
    }
}

/// Fail on a wrong arrow.
pub(crate) fn layers() -> Result<()> {
    let source = repository()?.join("flowlog-agent/src");
    let mut files = Vec::new();
    collect(&source, &source, &mut files)?;
    files.sort();
    let wrong = check(&files)?;
    wrong.iter().for_each(|wrong| eprintln!("flowlog-agent/src/{wrong}"));
    if !wrong.is_empty() {
        bail!(
            "{} imports against the house's floors (who may import what: the table in xtask/src/layers/table.rs)",
            wrong.len()
        );
    }
    say(&format!("layers: {} files, no wrong arrow", files.len()));
    Ok(())
}

/// What is wrong in these files: name below `src`, text.
fn check(files: &[(String, String)]) -> Result<Vec<Wrong>> {
    let mut wrong = Vec::new();
    for (file, text) in files {
        let room = table::room_of(file)
            .with_context(|| format!("{file}: no such room; add it to the table of floors"))?;
        for named in paths::named_in(file, text).with_context(|| format!("parse {file}"))? {
            wrong.extend(judge(file, room, &named));
        }
    }
    Ok(wrong)
}

fn judge(file: &str, room: &str, named: &Named) -> Option<Wrong> {
    let why = table::objection(file, room, named)?;
    Some(Wrong { file: file.to_owned(), line: named.line, named: named.path.join("::"), why })
}

fn collect(folder: &Path, top: &Path, files: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, top, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let name = path.strip_prefix(top).unwrap_or(&path).display().to_string();
            files.push((name, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One file; what is wrong in it, as `line path`.
    fn wrong_in(file: &str, text: &str) -> Vec<String> {
        let files = [(file.to_owned(), text.to_owned())];
        check(&files).unwrap().iter().map(|wrong| format!("{} {}", wrong.line, wrong.named)).collect()
    }

    #[test]
    fn arrows_are_judged_by_the_floors() {
        let table: [(&str, &str, &str, &[&str]); 22] = [
            ("down to the model", "policy/mod.rs", "use crate::model::Pod;", &[]),
            ("within a room", "policy/kinds/np.rs", "use crate::policy::peer::Peer;", &[]),
            ("within a room by super", "policy/kinds/np.rs", "use super::super::peer::Peer;", &[]),
            (
                "a room of the same floor",
                "policy/mod.rs",
                "use crate::inventory::Inventory;",
                &["1 crate::inventory::Inventory"],
            ),
            (
                "the same by super",
                "policy/mod.rs",
                "use super::inventory::Inventory;",
                &["1 crate::inventory::Inventory"],
            ),
            (
                "in a group",
                "policy/mod.rs",
                "use crate::{model::Pod, inventory::{A, B}};",
                &["1 crate::inventory::A", "1 crate::inventory::B"],
            ),
            ("a room as a whole", "policy/mod.rs", "use crate::{model, record};", &["1 crate::record"]),
            (
                "a path in code",
                "record/mod.rs",
                "fn a() { crate::sinks::write() }",
                &["1 crate::sinks::write"],
            ),
            (
                "a path in a macro",
                "record/mod.rs",
                "fn a() { f!(x, crate::sinks::write()) }",
                &["1 crate::sinks::write"],
            ),
            (
                "a path in a type",
                "record/mod.rs",
                "\nstruct A(Vec<crate::cluster::B>);",
                &["2 crate::cluster::B"],
            ),
            (
                "a comment and a string",
                "record/mod.rs",
                "// crate::sinks::x\nconst A: &str = \"crate::sinks::x\";",
                &[],
            ),
            ("upwards", "sinks/mod.rs", "use crate::pipeline::Stage;", &["1 crate::pipeline::Stage"]),
            (
                "what floor 3 was given by name",
                "cluster/judge.rs",
                "use crate::{inventory::A, policy::B};",
                &[],
            ),
            (
                "the pipeline may not report",
                "pipeline/mod.rs",
                "use crate::{report::A, sinks::B, telemetry::C};",
                &["1 crate::report::A"],
            ),
            (
                "main sees commands alone",
                "main.rs",
                "use flowlog::commands;\nuse flowlog::model::Pod;",
                &["2 crate::model::Pod"],
            ),
            ("the wire", "capture/decode.rs", "use flowlog_common::event::Event;", &[]),
            (
                "the wire, elsewhere",
                "inventory/mod.rs",
                "use flowlog_common::event::Event;",
                &["1 flowlog_common::event::Event"],
            ),
            ("a library where it belongs", "cluster/watch.rs", "use kube::Client;", &[]),
            ("a library where it does not", "cluster/mod.rs", "use kube::Client;", &["1 kube::Client"]),
            ("a library by its macro", "record/mod.rs", "fn a() { tokio::select! {} }", &["1 tokio::select"]),
            (
                "a clock in a pure room",
                "record/mod.rs",
                "fn a() { jiff::Timestamp::now(); }",
                &["1 jiff::Timestamp::now"],
            ),
            (
                "a clock in a pure room, imported",
                "record/mod.rs",
                "use jiff::Timestamp;\nfn a() { Timestamp::now(); }",
                &["2 Timestamp::now"],
            ),
        ];
        for (name, file, text, expected) in table {
            assert_eq!(wrong_in(file, text), expected, "{name}");
        }
    }

    #[test]
    fn unsafe_is_for_capture_alone() {
        let table = [
            ("a block", "fn a() { unsafe { b() } }"),
            ("a function", "unsafe fn a() {}"),
            ("an implementation", "unsafe impl A for B {}"),
            ("in a macro", "fn a() { f!(unsafe { b() }) }"),
        ];
        for (name, text) in table {
            assert_eq!(wrong_in("inventory/mod.rs", text), ["1 unsafe"], "{name}");
            assert!(wrong_in("capture/ring.rs", text).is_empty(), "{name}");
        }
    }

    #[test]
    fn testkit_is_for_tests_alone() {
        let outside = "use crate::testkit::pod;";
        let inside =
            "#[cfg(test)]\nmod tests {\n    use crate::testkit::pod;\n    use super::super::model::A;\n}";
        assert_eq!(wrong_in("policy/mod.rs", outside), ["1 crate::testkit::pod"]);
        assert_eq!(wrong_in("policy/tests.rs", outside), [""; 0]);
        assert_eq!(wrong_in("policy/set_tests.rs", outside), [""; 0]);
        assert_eq!(wrong_in("policy/mod.rs", inside), [""; 0]);
        assert_eq!(
            wrong_in("policy/mod.rs", "#[cfg(test)]\nmod tests { use crate::inventory::A; }"),
            ["2 crate::inventory::A"]
        );
    }

    #[test]
    fn a_new_room_must_be_given_a_floor() {
        let error = check(&[("attic/mod.rs".to_owned(), String::new())]).unwrap_err().to_string();
        assert!(error.starts_with("attic/mod.rs: no such room"), "{error}");
    }
}
