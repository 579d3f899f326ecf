//! A burst of connects: every one is accounted for, exactly, whether or not the kernel half could hand it over.

use crate::stage::{
    API, Family, Net, Stage, allow_ports, alone, count_of, end, number, small, stand_still, sum,
};
use flowlog_tests::{Ended, Server, Step};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::sync::MutexGuard;

const BURST: u64 = 20_000;

fn counters(ended: &Ended) -> &Value {
    &ended.stop_record().unwrap()["agent"]["counters"]
}

/// What the kernel half could not hand over, as the stop record has it.
fn lost(ended: &Ended, what: &str) -> u64 {
    count_of(&counters(ended)["kernel_losses"][what])
}

/// The attempts of the burst that flow records stand for.
fn recorded(ended: &Ended) -> u64 {
    let part = json!({"flow": {"direction": "egress"}, "source": {"pod": "client"}, "destination": {"pod": "api", "port": 8080}});
    sum(&ended.matching(&part))
}

#[track_caller]
fn burst(stage: &Stage, net: Net, while_it_runs: impl FnOnce(), after: impl FnOnce()) {
    let mut client = stage.actor("client");
    let to = net.at(Family::V4, API, 8080);
    let step = Step::Burst { to, count: BURST, threads: 2, timeout_ms: 5_000 };
    while_it_runs();
    let answer = client.act(&step).unwrap();
    after();
    assert_eq!(
        answer.counts.get("established"),
        Some(&BURST),
        "observing changes nothing: {:?}",
        answer.counts
    );
}

/// For as long as the guard lives, no other burst of these tests runs.
fn stage() -> (Net, Stage, Server, MutexGuard<'static, ()>) {
    let alone = alone();
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[8080]));
    let mut stage = Stage::new(net, &objects);
    let server = stage.serve_api();
    (net, stage, server, alone)
}

#[track_caller]
fn check_burst(ended: &Ended) {
    let counters = counters(ended);
    let passed_over = count_of(&counters["stages"]["attempts_passed_over"]);
    // Where the ring fills up faster than it is drained.
    let gave_way = count_of(&counters["attempts_lost"]["overload"]);
    assert_eq!(
        count_of(&counters["events"]["attempt"]) + passed_over + gave_way + lost(ended, "attempt"),
        BURST,
        "the hook saw each: {counters:#}"
    );
    // Of the last one that fits, the outcome may be what does not.
    let without_outcome = count_of(&counters["attempts_lost"]["outcome_not_seen"]);
    assert_eq!(
        recorded(ended) + lost(ended, "attempt") + gave_way + without_outcome,
        BURST,
        "each is told or counted as lost: {counters:#}"
    );
    assert_eq!(count_of(&counters["attempts_lost"]["ring_full"]), lost(ended, "attempt"), "{counters:#}");
    let told: u64 = ended
        .matching(
            &json!({"kind": "loss", "loss": {"stage": "kernel", "cause": "ring_full", "what": "attempt"}}),
        )
        .iter()
        .map(|record| number(&record["loss"]["count"]))
        .sum();
    assert_eq!(told, lost(ended, "attempt"), "loss records tell of each");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_burst_of_connects_is_accounted_for_exactly() {
    let (net, stage, _server, _alone) = stage();
    let agent = stage.agent(&[]);
    burst(&stage, net, || (), || ());
    let ended = end(agent);
    check_burst(&ended);
    // Unless something else on this machine connects as fast at the same time, and takes the ring's room.
    let others = count_of(&counters(&ended)["attempts"]["out_of_scope"]);
    assert!(
        lost(&ended, "attempt") == 0 || others > BURST,
        "the default ring holds a burst: {:#}",
        counters(&ended)
    );
    // A full accept queue drops a SYN now and then: told as pending first, and as established after all.
    let flows = ended.matching(&json!({"kind": "flow"}));
    let states = |state: &str| ended.matching(&json!({"outcome": {"state": state}}));
    let told = sum(&states("established")) + sum(&states("pending"));
    assert_eq!(told + lost(&ended, "attempt"), BURST, "{flows:#?}");
    assert!(sum(&states("pending")) < BURST / 100, "{flows:#?}");
    assert!(flows.len() < 100, "repeats are folded: {}", flows.len());
}

/// Each of them is a line of its own where that is asked for, and no line is lost on its way out.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_burst_of_connects_is_told_one_by_one_where_that_is_asked_for() {
    let (net, stage, _server, _alone) = stage();
    let agent = stage.agent(&["--each"]);
    burst(&stage, net, || (), || ());
    let ended = end(agent);
    check_burst(&ended);
    let sink = &counters(&ended)["sinks"]["stdout"];
    assert_eq!(count_of(&sink["lost_lines"]), 0, "{sink}");
    assert_eq!(sink["attempts"], counters(&ended)["attempts"]["recorded"], "{sink}");
}

/// The agent is held still and the ring is the smallest there is, so that most do not fit.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_does_not_fit_into_the_ring_is_counted_and_told() {
    let (net, stage, _server, _alone) = stage();
    let agent = stage.agent(&["--events-ring-bytes", "65536"]);
    burst(&stage, net, || stand_still(&agent), || agent.signal(Signal::SIGCONT).unwrap());
    let ended = end(agent);
    assert!(lost(&ended, "attempt") > BURST / 2, "{:#}", counters(&ended));
    check_burst(&ended);
}
