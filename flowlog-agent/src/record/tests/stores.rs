//! OpenSearch and ClickHouse, told of the fields by what ships for them, take every line whole, and refuse what is planted.

use super::formats::lines;
use super::*;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the stores say of each pair of files, of our own format and of ECS (`deploy/ci/stores.py`).
fn load(pairs: &[[&Path; 2]]) -> Vec<Value> {
    let name = "FLOWLOG_STORES_PYTHON";
    let python =
        std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test` sets it"));
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/ci/stores.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for pair in pairs {
        writeln!(stdin, "{}", json!({"load": pair})).unwrap();
    }
    drop(stdin);
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    // First, where they are.
    said.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write_all(folder: &Path, name: &str, lines: &[String]) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, lines.concat()).unwrap();
    path
}

#[test]
#[ignore = "stores: `cargo xtask test` installs them"]
fn stores_take_every_line_and_leave_nothing_out_of_it() {
    let folder = tempfile::tempdir().unwrap();
    // Indexes have signed numbers: no counter gets that far, and what is malformed is kept there, and not found.
    let [own, ecs] = [Format::Flowlog, Format::Ecs].map(|format| {
        let text = |(line, seq)| write(line, seq).replace(&u64::MAX.to_string(), &i64::MAX.to_string());
        lines(format).iter().zip(1..).map(text).collect::<Vec<String>>()
    });
    let whole = ["own.json", "ecs.json"];
    let [own_file, ecs_file] =
        [(whole[0], &own), (whole[1], &ecs)].map(|(name, lines)| write_all(folder.path(), name, lines));
    let none = write_all(folder.path(), "none.json", &[]);
    // Where, what, and who of OpenSearch and ClickHouse refuses it.
    let planted = [
        ("/flow/odd", json!(1), 2),
        ("/source/odd", json!("x"), 2),
        ("/source/ip", json!("10.0.0.256"), 1),
        ("/time", json!("today"), 2),
        ("/flow/count", json!("many"), 2),
        ("/flow/count", json!({"n": 1}), 2),
        ("/source/labels", json!("app=web"), 2),
    ];
    let mut files = vec![(own_file, ecs_file)];
    for (number, (place, value, _)) in planted.iter().enumerate() {
        let mut line: Value = serde_json::from_str(&own[0]).unwrap();
        let (parent, name) = place.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { &mut line } else { line.pointer_mut(parent).unwrap() };
        parent[name] = value.clone();
        files.push((
            write_all(folder.path(), &format!("{number}.json"), &[format!("{line}\n")]),
            none.clone(),
        ));
    }
    let pairs: Vec<[&Path; 2]> = files.iter().map(|(own, ecs)| [own.as_path(), ecs.as_path()]).collect();
    let said = load(&pairs);
    assert_eq!(said.len(), files.len());
    assert_eq!(said[0]["refused"], json!([]));
    let there = json!({"opensearch": own.len(), "opensearch ecs": ecs.len(), "clickhouse": own.len()});
    assert_eq!(said[0]["lines"], there);
    for (told, (place, value, refusals)) in said[1..].iter().zip(&planted) {
        assert_eq!(told["refused"].as_array().unwrap().len(), *refusals, "{place} {value}: {told:#}");
    }
}
