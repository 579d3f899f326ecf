//! Repeats that the kernel half counts: nothing that is told of them is lost or told twice, and whatever does not
//! go well is told as ever.

use crate::stage::{
    API, Family, Net, SOON, Stage, allow_ports, any, count_of, deny_ingress, do_step, end, internet, keep,
    number, place, small, sum, told,
};
use flowlog_tests::{Actor, Ended, Listen, Outcome, Place, Server, Step, wait};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// So many that most come after the agent has had the first of them counted.
const MANY: u64 = 1_500;
/// Bytes that each sends and gets back.
pub(crate) const BYTES: usize = 10;

/// The node drops what goes to the API.
const FENCE: &str = "table inet fence {
    chain forward {
        type filter hook forward priority 0
        tcp dport 8080 drop
    }
}
";

/// The API's pod serves 8080; only the client may open it.
fn stage() -> (Net, Stage, Server) {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[8080, 8081]));
    let mut stage = Stage::new(net, &objects);
    let server = stage.serve_api();
    (net, stage, server)
}

/// Closed with RST, so that both ends have closed when it is over.
pub(crate) fn exchange(to: SocketAddr) -> Step {
    serde_json::from_value(json!({"do": "connect", "to": to, "send": BYTES, "receive": BYTES, "abort": true}))
        .unwrap()
}

/// The flows to the API of this world; the hooks on tracepoints see those of other tests too.
fn flows_to_api(ended: &Ended, net: Net, family: Family) -> Vec<&Value> {
    ended.matching(&json!({"kind": "flow", "destination": {"ip": net.ip(family, API)}}))
}

fn connect_many(actor: &mut Actor, to: SocketAddr) {
    let step = exchange(to);
    for _ in 0..MANY {
        do_step(actor, &step, Outcome::Established);
    }
}

/// What the kernel half has counted, as the stop record has it.
fn counted(ended: &Ended) -> u64 {
    count_of(&ended.stop_record().unwrap()["agent"]["counters"]["stages"]["repeats_counted"])
}

#[track_caller]
fn check_complete(ended: &Ended) {
    let counters = &ended.stop_record().unwrap()["agent"]["counters"];
    assert_eq!(number(&counters["attempts"]["lost"]), 0, "{counters:#}");
}

fn sum_of(flows: &[&Value], field: &str) -> u64 {
    flows.iter().map(|flow| count_of(&flow["flow"][field])).sum()
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn repeats_that_go_well_are_counted_in_the_kernel_and_told_with_their_sums() {
    for family in [Family::V4, Family::V6] {
        let (net, stage, _server) = stage();
        let agent = stage.agent(&[]);
        connect_many(&mut stage.actor("client"), net.at(family, API, 8080));
        let ended = end(agent);
        check_complete(&ended);
        let flows = flows_to_api(&ended, net, family);
        let right = json!({
            "class": "allowed", "flow": {"direction": "egress"}, "outcome": {"state": "established"},
            "source": {"pod": "client", "container": "main"}, "destination": {"pod": "api", "port": 8080},
        });
        assert_eq!(ended.matching(&right).len(), flows.len(), "one flow, told at its opener: {flows:#?}");
        assert_eq!(sum(&flows), MANY, "{flows:#?}");
        let bytes = MANY * u64::try_from(BYTES).unwrap();
        assert_eq!(sum_of(&flows, "bytes_sent"), bytes, "{flows:#?}");
        assert_eq!(sum_of(&flows, "bytes_received"), bytes, "{flows:#?}");
        assert!(sum_of(&flows, "duration_ms") > 0, "{flows:#?}");
        assert!(flows.len() < 5, "{flows:#?}");
        assert!(counted(&ended) > MANY / 2, "most were counted in the kernel: {}", counted(&ended));
    }
}

/// What was established thousands of times is dropped, then refused: each such attempt is told at once.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_fails_among_counted_repeats_is_told_for_itself() {
    let (net, stage, server) = stage();
    let agent = stage.agent(&[]);
    let to = net.at(Family::V4, API, 8080);
    let mut client = stage.actor("client");
    connect_many(&mut client, to);
    stage.world.enforce(FENCE).unwrap();
    do_step(&mut client, &Step::connect(to).within(Duration::from_millis(300)), Outcome::Timeout);
    told(
        &agent,
        &json!({"class": "blocked_though_allowed", "source": {"pod": "client"}, "destination": {"pod": "api", "port": 8080},
        "outcome": {"state": "dropped", "drop": {"reason": "NETFILTER_DROP"}}}),
    );
    // From now on, its kind is told again: with the process that tries.
    wait::until("an attempt is told with its process", SOON, || {
        do_step(&mut client, &Step::connect(to).within(Duration::from_millis(300)), Outcome::Timeout);
        let part =
            json!({"class": "blocked_though_allowed", "process": {"comm": "curl"}, "source": {"container": "main"}});
        Ok(agent.wait_for(&part, Duration::from_millis(500)).is_ok())
    })
    .unwrap();
    stage.world.enforce("delete table inet fence").unwrap();
    connect_many(&mut client, to);
    drop(server);
    let refused = client.act(&Step::connect(to)).unwrap();
    assert_eq!(refused.errno.as_deref(), Some("ECONNREFUSED"));
    told(
        &agent,
        &json!({"class": "refused", "flow": {"count": 1}, "outcome": {"state": "refused", "errno": "ECONNREFUSED"}}),
    );
    let ended = end(agent);
    check_complete(&ended);
    assert_eq!(sum(&ended.matching(&json!({"class": "allowed"}))), 2 * MANY);
    assert_eq!(sum(&ended.matching(&json!({"class": "refused"}))), 1);
    assert!(counted(&ended) > MANY / 2);
}

/// Opened before their kind was counted, and closed after; opened while it was, and closed when it no longer is.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn the_sums_of_connections_that_stay_open_come_once() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[8080]));
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let agent = stage.agent(&[]);
    let to = net.at(Family::V4, API, 8080);
    let held: Step = serde_json::from_value(
        json!({"do": "connect", "to": to, "send": BYTES, "receive": BYTES, "keep": true, "abort": true}),
    )
    .unwrap();
    let (mut before, mut amid) = (stage.actor("client"), stage.actor("client"));
    do_step(&mut before, &held, Outcome::Established);
    connect_many(&mut stage.actor("client"), to);
    do_step(&mut amid, &held, Outcome::Established);
    do_step(&mut before, &Step::Release, Outcome::Done);
    // Another policy that allows it: judged anew, and found to be another flow.
    objects.push(allow_ports("api-too", "api", &[8080]));
    stage.tell(&objects);
    told(&agent, &json!({"kind": "agent", "agent": {"event": "snapshot", "snapshot": {"revision": 2}}}));
    connect_many(&mut stage.actor("client"), to);
    do_step(&mut amid, &Step::Release, Outcome::Done);
    let ended = end(agent);
    check_complete(&ended);
    let flows = flows_to_api(&ended, net, Family::V4);
    assert_eq!(sum(&flows), 2 * MANY + 2, "{flows:#?}");
    let bytes = (2 * MANY + 2) * u64::try_from(BYTES).unwrap();
    assert_eq!(sum_of(&flows, "bytes_sent"), bytes, "{flows:#?}");
    assert_eq!(sum_of(&flows, "bytes_received"), bytes, "{flows:#?}");
    let stages = &ended.stop_record().unwrap()["agent"]["counters"]["stages"];
    assert_eq!(count_of(&stages["closes_unmatched"]), 0, "{stages:#}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_policy_that_comes_meanwhile_is_what_later_repeats_are_judged_by() {
    let net = Net::new();
    let mut objects = small(net);
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let agent = stage.agent(&[]);
    let to = net.at(Family::V4, API, 8080);
    let mut client = stage.actor("client");
    connect_many(&mut client, to);
    objects.push(deny_ingress("api-closed", "api"));
    stage.tell(&objects);
    told(&agent, &json!({"kind": "agent", "agent": {"event": "snapshot", "snapshot": {"revision": 2}}}));
    connect_many(&mut client, to);
    let ended = end(agent);
    check_complete(&ended);
    let of = |class: &str| sum(&ended.matching(&json!({"kind": "flow", "class": class})));
    assert_eq!((of("unrestricted"), of("policy_not_enforced")), (MANY, MANY));
    assert!(counted(&ended) > MANY / 2);
}

/// Opened elsewhere: counted at the listener, whose sums are turned round.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn repeats_from_outside_are_counted_at_their_listener() {
    let (net, mut stage, _server) = stage();
    let from = internet(Family::V4, 10);
    let _host = stage.world.serve(&Place::Outside, None, &Listen::tcp(SocketAddr::new(from, 443))).unwrap();
    let agent = stage.agent(&[]);
    let mut outside = stage.world.actor(&Place::Outside, Some("visitor")).unwrap();
    connect_many(&mut outside, net.at(Family::V4, API, 8080));
    let ended = end(agent);
    check_complete(&ended);
    let flows = ended
        .matching(&json!({"kind": "flow", "flow": {"direction": "ingress"}, "destination": {"pod": "api"},
        "class": "policy_not_enforced"}));
    assert_eq!(flows.len(), flows_to_api(&ended, net, Family::V4).len());
    assert_eq!(sum(&flows), MANY, "{flows:#?}");
    let bytes = MANY * u64::try_from(BYTES).unwrap();
    assert_eq!(
        (sum_of(&flows, "bytes_sent"), sum_of(&flows, "bytes_received")),
        (bytes, bytes),
        "{flows:#?}"
    );
    assert!(counted(&ended) > MANY / 2);
}

/// Another port of the same pod is another kind: told, with what its listener saw.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_first_connection_to_another_port_is_told_as_ever() {
    let (net, mut stage, _server) = stage();
    let _other = stage.world.serve(&place("api"), Some("other"), &Listen::tcp(any(8081))).unwrap();
    let agent = stage.agent(&[]);
    let mut client = stage.actor("client");
    connect_many(&mut client, net.at(Family::V4, API, 8080));
    do_step(&mut client, &exchange(net.at(Family::V4, API, 8081)), Outcome::Established);
    told(
        &agent,
        &json!({"destination": {"pod": "api", "port": 8081}, "flow": {"count": 1},
        "outcome": {"evidence": ["handshake", "accepted"]}}),
    );
    do_step(&mut client, &keep(net.at(Family::V4, API, 8080)), Outcome::Established);
    let ended = end(agent);
    check_complete(&ended);
    assert_eq!(sum(&ended.matching(&json!({"destination": {"port": 8080}}))), MANY + 1);
}
