//! Pods that live for a moment, pods that the cluster tells of too late or never, pods that are gone.

use crate::stage::{
    API, CLIENT, Family, NO_HOST, NODE, Net, SOON, Stage, any, base, do_step, end, internet, keep, lacks,
    place, pod, policy, small, sum, told, uid,
};
use flowlog_tests::cgroup::Naming;
use flowlog_tests::manifests::Cluster;
use flowlog_tests::world::Plan;
use flowlog_tests::{Listen, Outcome, Step};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const PODS: u8 = 100;

/// Each pod's cgroups are made, one process connects and holds the connection for a moment, all is removed.
#[track_caller]
fn short_lives(naming: Naming) {
    let net = Net::new();
    let mut objects = base(net);
    objects.push(pod(net, "api", API));
    objects.extend((0..PODS).map(|at| pod(net, &format!("job-{at}"), 100 + at)));
    let plan = Plan::new(Cluster::from_objects(objects.clone()), NODE).naming(naming).pods_not_started();
    let mut stage = Stage::of(net, plan.build().unwrap(), &objects);
    stage.world.start_pod("shop/api").unwrap();
    let _server = stage.world.serve(&place("api"), None, &Listen::tcp(any(8080))).unwrap();
    let agent = stage.agent(&["--each"]);
    let step = json!({"do": "connect", "to": net.at(Family::V4, API, 8080), "hold_ms": 5});
    let step: Step = serde_json::from_value(step).unwrap();
    for at in 0..PODS {
        let answer = stage.world.live_once(&format!("shop/job-{at}"), &step).unwrap();
        assert_eq!(answer.outcome, Outcome::Established, "{answer:?}");
    }
    told(&agent, &json!({"source": {"pod": format!("job-{}", PODS - 1)}}));
    let ended = end(agent);
    for at in 0..PODS {
        let part = json!({
            "kind": "flow",
            "flow": {"direction": "egress", "count": 1},
            "source": {"kind": "pod", "namespace": "shop", "pod": format!("job-{at}"), "pod_uid": uid(100 + at),
                "container": "main", "ip": net.ip(Family::V4, 100 + at)},
            "destination": {"pod": "api"},
            "outcome": {"state": "established"},
            "attribution": null,
        });
        let records = ended.matching(&part);
        assert_eq!(
            sum(&records),
            1,
            "job-{at}: {:#?}",
            ended.matching(&json!({"source": {"pod": format!("job-{at}")}}))
        );
    }
    let flows = ended.matching(&json!({"kind": "flow"}));
    let others: Vec<_> = flows.iter().filter(|flow| flow["destination"]["pod"] != "api").collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(sum(&flows), u64::from(PODS));
    assert!(ended.matching(&json!({"source": {"kind": "unknown"}})).is_empty());
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_hundred_pods_that_live_a_moment_are_all_named_with_kubelets_cgroupfs_names() {
    short_lives(Naming::Cgroupfs);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_hundred_pods_that_live_a_moment_are_all_named_with_systemds_names() {
    short_lives(Naming::Systemd);
}

/// A world with a pod, `late`, of which the agent is not told.
fn with_late() -> (Net, Stage, Vec<Value>) {
    let net = Net::new();
    let before = small(net);
    let mut all = before.clone();
    all.push(pod(net, "late", 40));
    let world = Plan::new(Cluster::from_objects(all.clone()), NODE).build().unwrap();
    (net, Stage::of(net, world, &before), all)
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_attempt_waits_for_its_pod_to_become_known() {
    let (net, mut stage, all) = with_late();
    let _server = stage.serve_api();
    let agent = stage.agent(&["--waiting-ms", "8000"]);
    do_step(&mut stage.actor("late"), &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    assert_eq!(agent.count(), 1, "nothing is told of it yet: {:#?}", agent.lines());
    stage.tell(&all);
    told(
        &agent,
        &json!({
            "flow": {"direction": "egress", "count": 1},
            "source": {"kind": "pod", "pod": "late", "container": "main"},
            "destination": {"pod": "api", "port": 8080},
            "outcome": {"state": "established"},
            "class": "unrestricted",
            "attribution": {"how": "late", "reason": null},
        }),
    );
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 1);
    assert_eq!(ended.stop_record().unwrap()["agent"]["counters"]["stages"]["attributed_late"], 1);
}

/// No object tells which addresses pods have, as where a network plugin takes them from the network's own subnets.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_new_pod_in_no_range_that_is_told_is_not_taken_for_somebody_outside() {
    let net = Net::new();
    let mut all = small(net);
    all.push(pod(net, "late", 40));
    let world = Plan::new(Cluster::from_objects(all.clone()), NODE).build().unwrap();
    let node = all.iter_mut().find(|object| object["kind"] == "Node").unwrap();
    node["spec"] = json!({});
    let before = all[..all.len() - 1].to_vec();
    let mut stage = Stage::of(net, world, &before);
    let _late = stage.world.serve(&place("late"), None, &Listen::tcp(any(8080))).unwrap();
    let agent = stage.agent(&["--waiting-ms", "8000"]);
    let mut client = stage.actor("client");
    do_step(&mut client, &Step::connect(net.at(Family::V4, 40, 8080)), Outcome::Established);
    assert_eq!(agent.count(), 1, "nothing is told of it yet: {:#?}", agent.lines());
    stage.tell(&all);
    let late = json!({
        "flow": {"direction": "egress", "count": 1},
        "source": {"pod": "client"},
        "destination": {"kind": "pod", "pod": "late", "port": 8080},
        "outcome": {"state": "established"},
        "attribution": {"how": "late", "reason": null},
    });
    told(&agent, &late);
    // Far from any pod nobody is waited for.
    let began = Instant::now();
    let far =
        Step::connect(SocketAddr::new(internet(Family::V4, NO_HOST), 443)).within(Duration::from_secs(2));
    do_step(&mut client, &far, Outcome::Timeout);
    told(&agent, &json!({"destination": {"kind": "external", "port": 443}}));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 2, "{:#?}", ended.lines);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_attempt_whose_pod_never_becomes_known_goes_out_and_says_so() {
    let (net, mut stage, mut all) = with_late();
    // Without any policy even an unknown pod would be unrestricted.
    all.retain(|object| object["metadata"]["name"] != "late");
    all.push(policy("jobs-closed", "job", json!({"policyTypes": ["Egress"]})));
    stage.tell(&all);
    let _server = stage.serve_api();
    let agent = stage.agent(&["--waiting-ms", "700"]);
    let began = Instant::now();
    do_step(&mut stage.actor("late"), &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    let record = told(
        &agent,
        &json!({
            "flow": {"direction": "egress", "count": 1},
            "source": {"kind": "unknown", "pod": null, "pod_uid": uid(40)},
            "destination": {"pod": "api", "port": 8080},
            "outcome": {"state": "established"},
            "verdict": {"decision": "unknown", "egress": {"decision": "unknown", "basis": "unknown"}},
            "class": "undetermined",
            "attribution": {"how": "failed"},
        }),
    );
    assert!(began.elapsed() >= Duration::from_millis(700), "it did not wait: {:?}", began.elapsed());
    let reason = record["attribution"]["reason"].as_str().unwrap();
    assert!(reason.contains(&uid(40)), "the reason names what was looked for: {reason}");
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 1);
}

/// What is outstanding when the agent stops goes out as well.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_attempt_that_still_waits_at_the_end_is_told() {
    let (net, mut stage, _) = with_late();
    let _server = stage.serve_api();
    let agent = stage.agent(&["--waiting-ms", "60000"]);
    do_step(&mut stage.actor("late"), &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    let mut black_hole = stage.actor("client");
    let step =
        Step::connect(SocketAddr::new(internet(Family::V4, NO_HOST), 443)).within(Duration::from_secs(5));
    black_hole.begin(&step).unwrap();
    // It is on its way once the kernel shows its socket; the agent drains what the hooks saw when it stops.
    let netns = stage.world.netns(&place("client")).unwrap();
    flowlog_tests::wait::until("the socket of the outstanding attempt", SOON, || {
        netns.inside(|| Ok(std::fs::read_to_string("/proc/thread-self/net/tcp")?.contains(":01BB 02 ")))
    })
    .unwrap();
    let ended = end(agent);
    assert_eq!(
        sum(&ended.matching(&json!({"source": {"kind": "unknown"}, "attribution": {"how": "failed"}}))),
        1
    );
    let outstanding =
        json!({"source": {"pod": "client"}, "destination": {"port": 443}, "flow": {"count": 1}});
    assert_eq!(ended.matching(&outstanding).len(), 1, "{:#?}", ended.lines);
    black_hole.finish(&step).unwrap();
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_pod_that_went_while_its_attempt_was_outstanding_is_named_as_departed() {
    let net = Net::new();
    let objects = small(net);
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let agent = stage.agent(&[]);
    let mut client = stage.actor("client");
    let to = SocketAddr::new(internet(Family::V4, NO_HOST), 443);
    let step = Step::connect(to).within(Duration::from_secs(6));
    client.begin(&step).unwrap();
    let pending = told(&agent, &json!({"source": {"pod": "client"}, "outcome": {"state": "pending"}}));
    let without: Vec<Value> =
        objects.into_iter().filter(|object| object["metadata"]["name"] != "client").collect();
    stage.tell(&without);
    told(
        &agent,
        &json!({"kind": "agent", "agent": {"event": "snapshot", "snapshot": {"revision": 2, "state": "in_sync"}}}),
    );
    assert_eq!(client.finish(&step).unwrap().outcome, Outcome::Timeout);
    told(
        &agent,
        &json!({
            "flow": {"id": pending["flow"]["id"], "update": true, "count": 0},
            "source": {"kind": "pod", "pod": "client", "pod_uid": uid(CLIENT)},
            "outcome": {"state": "dropped"},
            "attribution": {"how": "departed"},
        }),
    );
    end(agent);
}

/// The agent starts while pods run: their cgroups are found by the scan, and a connection of before is told as such.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn pods_of_before_the_start_are_known_and_their_open_connections_too() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let mut client = stage.actor("client");
    do_step(&mut client, &keep(net.at(Family::V4, API, 8080)), Outcome::Established);
    let agent = stage.agent(&[]);
    client.act(&Step::Release).unwrap();
    do_step(&mut client, &Step::connect(net.at(Family::V6, API, 8080)), Outcome::Established);
    told(
        &agent,
        &json!({"source": {"pod": "client"}, "destination": {"ip": net.ip(Family::V6, API)}, "attribution": null}),
    );
    let ended = end(agent);
    let mut expected = vec![(Value::Null, Family::V6)];
    if !lacks("existing") {
        expected.push((json!(true), Family::V4));
    }
    let count = u64::try_from(expected.len()).unwrap();
    for (existing, family) in expected {
        let part = json!({
            "kind": "flow",
            "flow": {"existing": existing, "direction": "egress", "update": null, "count": 1},
            "source": {"pod": "client"},
            "destination": {"pod": "api", "ip": net.ip(family, API)},
            "attribution": null,
        });
        assert_eq!(ended.matching(&part).len(), 1, "{:#?}", ended.lines);
    }
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), count, "{:#?}", ended.lines);
}
