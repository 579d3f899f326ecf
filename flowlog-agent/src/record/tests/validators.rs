//! ECS and OCSF as their own definitions have them: `@elastic/ecs` with a script that looks fields up, and
//! `ocsf-json-schema`. They accept every record and refuse what is planted.

use super::formats::lines;
use super::*;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::{Command, Stdio};

fn installed(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test` sets it"))
}

fn script(name: &str) -> String {
    format!("{}/../tests/formats/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn validator(format: Format) -> Command {
    match format {
        Format::Flowlog => panic!("its schema is our own"),
        Format::Ecs => {
            let mut node = Command::new("node");
            node.arg(script("ecs.js")).arg(installed("FLOWLOG_ECS"));
            node
        }
        Format::Ocsf => {
            let mut python = Command::new(installed("FLOWLOG_OCSF_PYTHON"));
            python.arg(script("ocsf.py"));
            python
        }
    }
}

/// What the validator says of these lines, each complaint with the number of its line before it.
fn complaints(format: Format, lines: &[String]) -> Vec<String> {
    let text: String = lines.iter().map(|line| format!("{}\n", line.trim_end())).collect();
    ask(&mut validator(format), text)
}

/// What a program says of a text, line by line.
fn ask(program: &mut Command, text: String) -> Vec<String> {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {program:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let feed = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let said = child.wait_with_output().unwrap();
    let fed = feed.join().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    fed.unwrap();
    String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn all(format: Format) -> Vec<String> {
    lines(format).iter().zip(1..).map(|(line, seq)| write(line, seq)).collect()
}

/// A line with something else in it; `None` takes it out.
fn planted(line: &str, pointer: &str, value: Option<Value>) -> String {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = line.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    line.to_string()
}

fn check(format: Format, errors: &[(&str, Option<Value>)]) {
    let lines = all(format);
    assert_eq!(complaints(format, &lines), Vec::<String>::new());
    let bad: Vec<String> =
        errors.iter().map(|(pointer, value)| planted(&lines[0], pointer, value.clone())).collect();
    let said = complaints(format, &bad);
    let refused: BTreeSet<usize> =
        said.iter().map(|line| line.split(':').next().unwrap().parse().unwrap()).collect();
    let accepted: Vec<_> = errors
        .iter()
        .zip(1..)
        .filter(|(_, number)| !refused.contains(number))
        .map(|(error, _)| error)
        .collect();
    assert!(accepted.is_empty(), "accepted: {accepted:#?}\n{said:#?}");
}

#[test]
#[ignore = "@elastic/ecs"]
fn ecs_has_every_field_that_is_written() {
    check(
        Format::Ecs,
        &[
            ("/flowlogs", Some(json!(1))),
            ("/source/pod", Some(json!("web"))),
            ("/event/category", Some(json!("network"))),
            ("/event/category", Some(json!(["networks"]))),
            ("/event/type", Some(json!(["connection", "error"]))),
            ("/event/outcome", Some(json!("denied"))),
            ("/event/kind", Some(json!("flow"))),
            ("/event/kind", None),
            ("/event/severity", Some(json!("high"))),
            ("/event/duration", Some(json!(0.5))),
            ("/network/iana_number", Some(json!(6))),
            ("/source/ip", Some(json!("10.0.0.256"))),
            ("/related/ip", Some(json!("10.0.0.1"))),
            ("/container/image/tag", Some(json!("1.29"))),
            ("/ecs/version", Some(json!("8.0.0"))),
            ("/@timestamp", Some(json!(1_795_442_032_500_u64))),
            ("/@timestamp", None),
            ("/labels", Some(json!({"app.kubernetes.io/name": "web"}))),
            ("/flowlog/seq", None),
            ("/flowlog/run", None),
        ],
    );
}

#[test]
#[ignore = "@elastic/ecs"]
fn ecs_gives_its_fields_the_types_that_are_mapped() {
    let said = |text: String| {
        ask(Command::new("node").arg(script("mapping.js")).arg(installed("FLOWLOG_ECS")), text)
    };
    let mapping = mapping(mapping::Store::OpensearchEcs);
    assert_eq!(said(mapping.clone()), Vec::<String>::new());
    let planted = mapping.replace("\"type\": \"ip\"", "\"type\": \"keyword\"").replace("\"pid\"", "\"pod\"");
    let expected = ["destination.ip", "process.pod", "related.ip", "source.ip"];
    let said = said(planted);
    let fields: Vec<&str> = said.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(fields, expected, "{said:#?}");
}

#[test]
#[ignore = "ocsf-json-schema"]
fn ocsf_has_every_attribute_that_is_written() {
    check(
        Format::Ocsf,
        &[
            ("/flowlog", Some(json!({}))),
            ("/source", Some(json!({}))),
            ("/metadata/profiles", None),
            ("/metadata/profiles", Some(json!(["host", "container", "datetime"]))),
            ("/metadata/profiles", Some(json!(["host", "security_control", "datetime"]))),
            ("/metadata/profiles", Some(json!(["host", "security_control", "container"]))),
            ("/metadata/profiles", Some(json!(["datetime", "security_control", "container"]))),
            ("/metadata/product", None),
            ("/metadata/version", Some(json!("1.7.0"))),
            ("/connection_info/direction_id", None),
            ("/connection_info/direction_id", Some(json!(5))),
            ("/disposition_id", Some(json!(28))),
            ("/action_id", Some(json!(5))),
            ("/activity_id", Some(json!(8))),
            ("/activity_id", Some(json!(1))),
            ("/type_uid", Some(json!(400_108))),
            ("/time", Some(json!("2026-11-23T13:53:52Z"))),
            ("/time_dt", Some(json!(1_795_442_032_500_u64))),
            ("/time", None),
            ("/severity_id", None),
            ("/src_endpoint/container/image/uid", None),
            ("/src_endpoint/ip", Some(json!("web"))),
            ("/src_endpoint/port", Some(json!(65_536))),
            ("/dst_endpoint", Some(json!({"port": 80}))),
            ("/device/type_id", None),
            ("/actor/process", Some(json!({"name": "curl"}))),
        ],
    );
}
