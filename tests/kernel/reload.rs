//! Manifests that change while it runs: verdicts follow, and what cannot be read does not take the rest away.

use crate::stage::{API, Family, Net, SOON, Stage, deny_ingress, do_step, end, small, told, write};
use flowlog_tests::{Agent, Outcome, Step};
use serde_json::{Value, json};

fn snapshot(agent: &Agent, part: &Value) -> Value {
    told(agent, &json!({"kind": "agent", "agent": {"event": "snapshot", "snapshot": part}}))
}

/// Connect, and take the record of that connection.
#[track_caller]
fn connect(stage: &Stage, agent: &Agent) -> Value {
    let first = agent.count();
    do_step(
        &mut stage.actor("client"),
        &Step::connect(stage.net.at(Family::V4, API, 8080)),
        Outcome::Established,
    );
    let part = json!({"kind": "flow", "source": {"pod": "client"}, "destination": {"pod": "api"}, "flow": {"count": 1}});
    agent.wait_from(first, &part, SOON).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_policy_that_changes_changes_verdicts_and_settles() {
    let net = Net::new();
    let mut objects = small(net);
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let config = tempfile::tempdir().unwrap();
    write(config.path(), "flowlog.yaml", "settling_ms: 3000\n");
    let config = config.path().join("flowlog.yaml");
    let agent = stage.agent(&["--each", "--config", config.to_str().unwrap()]);
    let before = connect(&stage, &agent);
    assert_eq!(
        (&before["class"], &before["verdict"]["snapshot"]),
        (&json!("unrestricted"), &json!(1)),
        "{before}"
    );
    objects.push(deny_ingress("api-closed", "api"));
    stage.tell(&objects);
    snapshot(
        &agent,
        &json!({"revision": 2, "state": "in_sync", "problem_count": 0, "objects": {"policies": 1, "pods": 2}}),
    );
    let after = connect(&stage, &agent);
    assert_eq!(
        (&after["class"], &after["verdict"]["snapshot"]),
        (&json!("policy_not_enforced"), &json!(2)),
        "{after}"
    );
    assert_eq!(after["verdict"]["settling"], true, "{after}");
    assert_eq!(after["verdict"]["ingress"]["policies"][0]["name"], "api-closed", "{after}");
    let mut settled = Value::Null;
    flowlog_tests::wait::until("the policy has settled", SOON, || {
        settled = connect(&stage, &agent);
        Ok(settled["verdict"]["settling"].is_null())
    })
    .unwrap();
    assert_eq!(settled["class"], "policy_not_enforced");
    end(agent);
}

/// A broken document keeps the last good snapshot in force, and every verdict says since when.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_broken_file_keeps_the_last_good_snapshot_until_it_is_mended() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(deny_ingress("api-closed", "api"));
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let agent = stage.agent(&["--each"]);
    // The second document ends in the middle of a list.
    let broken =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: fine}\n---\nkind: NetworkPolicy\nspec: [oh\n";
    write(stage.folder.path(), "extra.yaml", broken);
    let stale = snapshot(&agent, &json!({"state": "stale", "revision": 1}));
    let stale = &stale["agent"]["snapshot"];
    assert!(stale["stale_since"].is_string(), "{stale}");
    let problems = stale["problems"].to_string();
    assert!(
        problems.contains("extra.yaml") && problems.contains('2'),
        "file and document are named: {problems}"
    );
    let judged = connect(&stage, &agent);
    assert_eq!(judged["class"], "policy_not_enforced", "{judged}");
    assert_eq!(judged["verdict"]["snapshot"], 1, "{judged}");
    assert_eq!(judged["verdict"]["stale_since"], stale["stale_since"], "{judged}");
    write(stage.folder.path(), "extra.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: fine}\n");
    snapshot(&agent, &json!({"state": "in_sync", "revision": 2, "stale_since": null, "problem_count": 0}));
    let mended = connect(&stage, &agent);
    assert_eq!(
        (&mended["verdict"]["snapshot"], &mended["verdict"]["stale_since"]),
        (&json!(2), &Value::Null),
        "{mended}"
    );
    let ended = end(agent);
    assert_eq!(
        ended.matching(&json!({"agent": {"event": "snapshot"}})).len(),
        2,
        "one when it broke, one when it was mended"
    );
}

/// The folder itself goes, and comes back.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_folder_that_is_emptied_does_not_empty_the_cluster() {
    let net = Net::new();
    let objects = small(net);
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let agent = stage.agent(&["--each"]);
    std::fs::remove_file(stage.manifest()).unwrap();
    let stale = snapshot(&agent, &json!({"state": "stale", "revision": 1}));
    assert!(stale["agent"]["snapshot"]["problem_count"].as_u64() >= Some(1), "{stale}");
    let judged = connect(&stage, &agent);
    assert!(judged["verdict"]["stale_since"].is_string(), "{judged}");
    stage.tell(&objects);
    snapshot(&agent, &json!({"state": "in_sync"}));
    assert_eq!(connect(&stage, &agent)["verdict"]["stale_since"], Value::Null);
    end(agent);
}
