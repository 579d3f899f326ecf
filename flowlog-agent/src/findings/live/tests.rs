use super::{Live, LiveSettings, MOST, MOST_FLOWS};
use crate::model::{
    Class, Dialed, FindingId, Flow, FlowId, LiveFinding, Origin, Outcome, Party, Service, Severity, State,
    Verdict, Whose,
};
use crate::testkit::{self, at, external, node_party, pod};
use jiff::SignedDuration;
use std::sync::Arc;

/// An established connection between the two, of somebody else's software to what is nobody's.
fn flow(id: u128, source: Party, destination: Party, port: u16) -> Flow {
    Flow {
        id: FlowId(id),
        source_whose: whose(Origin::ThirdParty, "Grafana Labs", false),
        ..testkit::flow(source, destination, port)
    }
}

fn whose(origin: Origin, vendor: &str, sensitive: bool) -> Whose {
    Whose { origin: Some(origin), vendor: Some(vendor.into()), told_by: None, sensitive }
}

fn grafana() -> Party {
    pod("monitoring/grafana").ip("10.1.0.5").party()
}

fn database() -> Party {
    pod("payments/db").ip("10.1.0.6").party()
}

/// To a data store.
fn sensitive(id: u128) -> Flow {
    Flow {
        destination_whose: whose(Origin::ThirdParty, "PostgreSQL", true),
        ..flow(id, grafana(), database(), 5432)
    }
}

fn with_state(state: State, class: Class, flow: Flow) -> Flow {
    Flow { outcome: Outcome { state, ..flow.outcome }, class, ..flow }
}

fn seen(live: &mut Live, flow: &Flow) -> Vec<LiveFinding> {
    let mut out = Vec::new();
    live.see_flow(flow, &mut out);
    out
}

/// `id severity subject → object`.
fn told(found: &[LiveFinding]) -> Vec<String> {
    let word = |found: &LiveFinding| {
        let object = found.object.as_deref().map_or_else(String::new, |object| format!(" → {object}"));
        format!("{} {} {}{object}", found.id, found.severity.as_str(), found.subject)
    };
    found.iter().map(word).collect()
}

#[test]
fn each_kind_is_found_where_it_is_and_nowhere_else() {
    let third = |destination, port| flow(1, grafana(), destination, port);
    let api = Service { namespace: "default".into(), name: "kubernetes".into(), port_name: None };
    let dialed =
        Dialed { ip: "10.96.0.1".parse().unwrap(), port: 443, service: Some(Arc::new(api)), note: None };
    let own = |flow: Flow| Flow { source_whose: whose(Origin::FirstParty, "x", false), ..flow };
    let same_vendor = Flow { source_whose: whose(Origin::ThirdParty, "PostgreSQL", false), ..sensitive(1) };
    let neighbour = Flow { source: pod("payments/standby").ip("10.1.0.7").party(), ..same_vendor.clone() };
    let not_enforced = with_state(State::Established, Class::PolicyNotEnforced, own(third(database(), 80)));
    let settling =
        Flow { verdict: Verdict { settling: true, ..not_enforced.verdict.clone() }, ..not_enforced.clone() };
    let rows: Vec<(&str, Flow, Vec<&str>)> = vec![
        (
            "a third party at a data store",
            sensitive(1),
            vec!["FL201 high monitoring/Pod/grafana → payments/Pod/db :5432/tcp"],
        ),
        (
            "where a policy allows it",
            with_state(State::Established, Class::Allowed, sensitive(1)),
            vec!["FL201 medium monitoring/Pod/grafana → payments/Pod/db :5432/tcp"],
        ),
        ("that was refused", with_state(State::Refused, Class::Refused, sensitive(1)), vec![]),
        ("one's own software there", own(sensitive(1)), vec![]),
        (
            "the same vendor's from elsewhere",
            same_vendor,
            vec!["FL201 high monitoring/Pod/grafana → payments/Pod/db :5432/tcp"],
        ),
        ("the same vendor's beside it", neighbour, vec![]),
        (
            "a deny that is not enforced",
            not_enforced,
            vec!["FL101 high monitoring/Pod/grafana → payments/Pod/db :80/tcp"],
        ),
        ("while the policy settles", settling, vec![]),
        (
            "both",
            with_state(State::Established, Class::PolicyNotEnforced, sensitive(1)),
            vec![
                "FL101 critical monitoring/Pod/grafana → payments/Pod/db :5432/tcp",
                "FL201 high monitoring/Pod/grafana → payments/Pod/db :5432/tcp",
            ],
        ),
        (
            "the metadata address",
            third(external("169.254.169.254"), 80),
            vec!["FL207 high monitoring/Pod/grafana → 169.254.169.254 (cloud metadata) :80/tcp"],
        ),
        (
            "the same over IPv6",
            third(external("fd00:ec2::254"), 80),
            vec!["FL207 high monitoring/Pod/grafana → fd00:ec2::254 (cloud metadata) :80/tcp"],
        ),
        ("one's own software there", own(third(external("169.254.169.254"), 80)), vec![]),
        (
            "the kubelet",
            third(node_party("n1", "10.0.0.1"), 10_250),
            vec!["FL207 medium monitoring/Pod/grafana → node n1 (kubelet) :10250/tcp"],
        ),
        ("another port of a node", third(node_party("n1", "10.0.0.1"), 9_100), vec![]),
        (
            "the API server by its service",
            Flow { dialed: Some(dialed), ..third(node_party("n1", "10.0.0.9"), 6_443) },
            vec!["FL207 low monitoring/Pod/grafana → the Kubernetes API :6443/tcp"],
        ),
        (
            "the API server by its endpoint",
            third(node_party("n1", "10.0.0.2"), 6_443),
            vec!["FL207 low monitoring/Pod/grafana → the Kubernetes API :6443/tcp"],
        ),
        ("that port of another node", third(node_party("n1", "10.0.0.1"), 6_443), vec![]),
    ];
    for (name, flow, expected) in rows {
        let mut live = Live::default();
        live.set_api(["10.0.0.2:6443".parse().unwrap()]);
        assert_eq!(told(&seen(&mut live, &flow)), expected, "{name}");
    }
}

#[test]
fn it_is_told_once_and_its_repeats_are_summed_up() {
    let mut live = Live::default();
    let first = seen(&mut live, &sensitive(1));
    assert_eq!((first.len(), first[0].count, first[0].repeat), (1, 1, false));
    let update = Flow { count: 0, update: true, ..sensitive(1) };
    assert!(seen(&mut live, &update).is_empty());
    let mut out = Vec::new();
    live.tick(at(3_600), &mut out);
    assert!(out.is_empty(), "sums of what was told are no repeat");
    for id in 2..40 {
        assert!(
            seen(&mut live, &Flow { count: 3, last: at(id), ..sensitive(u128::try_from(id).unwrap()) })
                .is_empty()
        );
    }
    live.tick(at(599), &mut out);
    assert!(out.is_empty());
    live.tick(at(600), &mut out);
    let again = out.remove(0);
    assert_eq!((again.count, again.repeat, again.flows.len()), (38 * 3, true, MOST_FLOWS));
    assert_eq!((again.last, again.fingerprint == first[0].fingerprint), (at(39), true));
    live.tick(at(1_200), &mut out);
    assert!(out.is_empty(), "nothing since then");
    assert!(seen(&mut live, &Flow { last: at(700), ..sensitive(50) }).is_empty());
    live.finish(&mut out);
    assert_eq!((out.len(), out[0].count), (1, 1), "the end tells what is left");
    assert_eq!(live.told, 1);
}

#[test]
fn a_source_probes_that_is_turned_away_at_many_targets_in_a_short_time() {
    let tried = |id: u128, port: u16, second: i64, class| {
        let flow = with_state(State::Refused, class, flow(id, grafana(), database(), port));
        Flow { first: at(second), last: at(second), ..flow }
    };
    let rows: [(&str, Vec<Flow>, usize); 5] = [
        ("ten ports", (0..10).map(|n| tried(u128::from(n), n, n.into(), Class::Refused)).collect(), 1),
        ("nine", (0..9).map(|n| tried(u128::from(n), n, n.into(), Class::DeniedAttempt)).collect(), 0),
        (
            "one, again and again",
            (0..99u16).map(|n| tried(n.into(), 7, n.into(), Class::Refused)).collect(),
            0,
        ),
        ("slowly", (0..40).map(|n| tried(n.into(), n, i64::from(n) * 100, Class::Refused)).collect(), 0),
        ("that went through", (0..20).map(|n| tried(n.into(), n, 0, Class::Unrestricted)).collect(), 0),
    ];
    for (name, flows, expected) in rows {
        let mut live = Live::default();
        let mut out = Vec::new();
        flows.iter().for_each(|flow| live.see_attempt(flow, &mut out));
        assert_eq!(out.len(), expected, "{name}");
        if let [found] = &*out {
            assert_eq!((found.id, found.severity), (FindingId::FL104, Severity::High));
            assert_eq!((found.subject.as_str(), found.object.as_deref()), ("monitoring/Pod/grafana", None));
            assert_eq!((found.first, found.last, found.flows.len()), (at(0), at(9), MOST_FLOWS));
        }
    }
}

#[test]
fn what_is_kept_is_bounded_and_what_gives_way_is_told() {
    let mut live = Live::default();
    let to = |n: usize| {
        let name = format!("payments/db-{n}");
        Flow { destination: Party { port: Some(80), ..pod(&name).ip("10.1.0.6").party() }, ..sensitive(7) }
    };
    assert_eq!(seen(&mut live, &to(0)).len(), 1);
    assert!(seen(&mut live, &to(0)).is_empty());
    let told: usize = (1..=MOST).map(|n| seen(&mut live, &to(n)).len()).sum();
    assert_eq!((told, live.known.len()), (MOST + 1, MOST));
}

#[test]
fn switched_off_nothing_is_found() {
    let settings = LiveSettings { on: false, repeat: SignedDuration::ZERO, ..LiveSettings::default() };
    let mut live = Live::new(settings);
    assert!(seen(&mut live, &sensitive(1)).is_empty());
}
