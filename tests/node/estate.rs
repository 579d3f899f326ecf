//! An estate with known defects: real connections, the real agent, and what the assessment makes of its records.

use flowlog_tests::estate::{Estate, NODE};
use flowlog_tests::manifests::Cluster;
use flowlog_tests::world::Plan;
use flowlog_tests::{Actor, Place, agent, program, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Flow records that are made.
const RECORDS: usize = 60_000;

const SOON: Duration = Duration::from_secs(60);

/// Writes the manifests, and has the agent watch while all of it is done.
fn record(estate: &Estate, folder: &Path) {
    let objects = estate.objects().unwrap();
    let manifests = folder.join("manifests");
    fs::create_dir(&manifests).unwrap();
    Cluster::from_objects(objects.clone()).write(&manifests).unwrap();
    let mut world = Plan::new(Cluster::from_objects(objects), NODE).build().unwrap();
    world.enforce(&estate.ruleset().unwrap()).unwrap();
    let _servers: Vec<_> =
        estate.servers().iter().map(|(place, listen)| world.serve(place, None, listen).unwrap()).collect();
    let (config, log) = (folder.join("agent.yaml"), folder.join("flows.json"));
    fs::write(&config, estate.agent_config()).unwrap();
    let mut args: Vec<OsString> = ["run", "--each", "--node", NODE, "--cgroup-root"].map(Into::into).into();
    args.push(world.cgroup_root().into());
    for (flag, path) in [("--manifests", &manifests), ("--config", &config), ("--output", &log)] {
        args.extend([flag.into(), path.into()]);
    }
    let agent = agent::Start::new(args).spawn().unwrap();
    wait::until("the agent has started", SOON, || {
        Ok(fs::read_to_string(&log).is_ok_and(|text| text.contains("\"event\":\"start\"")))
    })
    .unwrap();
    let mut actors: BTreeMap<Place, Actor> = BTreeMap::new();
    for (place, step) in estate.steps(RECORDS).unwrap() {
        let actor = actors.entry(place.clone()).or_insert_with(|| world.actor(&place, None).unwrap());
        actor.act(&step).unwrap();
    }
    let ended = agent.stop().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

/// Runs `flowlog assess` there, and reads what it says.
fn assess(folder: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(program::flowlog().unwrap())
        .current_dir(folder)
        .args(["assess", "--manifests", "manifests", "--logs", "flows.json", "--scans", "scans", "--config"])
        .args(["config/assess.yaml", "--output", "json"])
        .args(more)
        .output()
        .unwrap();
    let said = serde_json::from_slice(&output.stdout);
    let said = said.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said)
}

/// `severity id subject → object`; digests of images left out.
fn told(finding: &Value) -> String {
    let subject = &finding["subject"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let subject = match subject["about"].as_str().unwrap() {
        "place" => {
            let place = &subject["place"];
            [&place["namespace"], &place["workload_kind"], &place["name"]].map(text).join("/")
        }
        "policy" => {
            let policy = &subject["policy"];
            format!("{} {}/{}", text(&policy["kind"]), text(&policy["namespace"]), text(&policy["name"]))
        }
        "namespace" => format!("namespace {}", text(&subject["name"])),
        _ => subject["image"].as_str().unwrap().split('@').next().unwrap().to_owned(),
    };
    let object = finding["object"].as_str().map_or_else(String::new, |object| format!(" → {object}"));
    format!("{} {} {subject}{object}", text(&finding["severity"]), text(&finding["id"]))
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn every_planted_defect_is_found_and_nothing_else() {
    let estate = Estate::read().unwrap();
    // A run can be kept, to look at.
    let kept = std::env::var_os("FLOWLOG_ESTATE");
    let temporary = tempfile::tempdir().unwrap();
    let folder = kept.as_deref().map_or(temporary.path(), Path::new);
    record(&estate, folder);
    fs::create_dir(folder.join("config")).unwrap();
    for name in ["assess.yaml", "vendors.yaml"] {
        fs::copy(estate.folder().join(name), folder.join("config").join(name)).unwrap();
    }
    fs::create_dir(folder.join("scans")).unwrap();
    for (name, text) in estate.scans().unwrap() {
        fs::write(folder.join("scans").join(name), text).unwrap();
    }
    let (code, assessment) = assess(folder, &["--write-baseline", "baseline.json"]);
    assert_eq!(code, Some(1));

    let read = &assessment["inputs"]["records"];
    assert!(read["lines"]["flow"].as_u64().unwrap() >= RECORDS.try_into().unwrap(), "{read}");
    assert_eq!(
        (read["lost"].as_u64(), read["missing"].as_u64(), read["unreadable"].as_u64()),
        (Some(0), Some(0), Some(0))
    );
    assert_eq!(assessment["inputs"]["problems"], Value::Null);

    let expected = |of: fn(&flowlog_tests::estate::Defect) -> Vec<String>| {
        let mut all: Vec<String> = estate.defects.iter().flat_map(of).collect();
        all.sort();
        all
    };
    let planted = expected(|defect| defect.expected().unwrap());
    let planted: Vec<String> = planted.iter().map(|one| one.trim_end_matches('@').to_owned()).collect();
    let findings = assessment["findings"].as_array().unwrap();
    let loud = findings
        .iter()
        .filter(|one| ["critical", "high", "medium"].contains(&one["severity"].as_str().unwrap()));
    let mut found: Vec<String> = loud.map(told).collect();
    found.sort();
    let missed: Vec<&String> = planted.iter().filter(|one| !found.contains(one)).collect();
    let beside: Vec<&String> = found.iter().filter(|one| !planted.contains(one)).collect();
    assert!(missed.is_empty() && beside.is_empty(), "missed: {missed:#?}\nbeside: {beside:#?}");

    let suppressed: Vec<String> = assessment["suppressed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| told(one).split_once(' ').unwrap().1.to_owned())
        .collect();
    assert_eq!(suppressed, expected(|defect| defect.suppressed.clone()));
    let vendors =
        assessment["vendors"].as_array().unwrap().iter().filter(|one| one["origin"] == "third_party");
    assert!(vendors.count() >= 10);

    // What it reached outside under a name is what the block of its policy lets it reach.
    let snyk = assessment["vendors"].as_array().unwrap().iter().find(|one| one["name"] == "Snyk").unwrap();
    let gap = ["reached", "reachable", "unused"].map(|key| snyk[key].as_u64());
    assert_eq!(gap, [Some(1), Some(1), Some(0)], "{snyk}");

    // The same again, against the baseline: nothing is new.
    let (code, again) = assess(folder, &["--baseline", "baseline.json"]);
    assert_eq!(code, Some(0));
    assert_eq!(again["drift"]["new"], 0, "{}", again["drift"]);
}
