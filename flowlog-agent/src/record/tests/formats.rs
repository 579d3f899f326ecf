//! Records in the words of others: nothing lost, nothing forged, and what became of a connection told apart from what the
//! policies say.

use super::*;
use crate::model::{FindingId, IcmpMessage};
use crate::record::tree::{Made, Move};
use std::collections::BTreeSet;

const OTHERS: [Format; 2] = [Format::Ecs, Format::Ocsf];

fn encoder_of(format: Format) -> Encoder {
    encoder().in_formats(format)
}

fn flow_in(format: Format, flow: &Flow) -> Value {
    read(&encoder_of(format).flow(flow).unwrap())
}

/// What is left under flowlog's own names.
pub(super) fn ours(format: Format, line: &Value) -> &Value {
    match format {
        Format::Flowlog => line,
        Format::Ecs => &line["flowlog"],
        Format::Ocsf => &line["unmapped"]["flowlog"],
    }
}

fn tables(format: Format) -> (&'static [Move], &'static [Made]) {
    match format {
        Format::Flowlog => (&[], &[]),
        Format::Ecs => (&ecs::MOVES, &ecs::MADE),
        Format::Ocsf => (&ocsf::MOVES, &ocsf::MADE),
    }
}

pub(super) fn found(flow: Flow, repeat: bool) -> LiveFinding {
    LiveFinding {
        id: FindingId::ALL[0],
        severity: Severity::High,
        fingerprint: "0123456789abcdef0123456789abcdef".into(),
        subject: "monitoring/Deployment/grafana".into(),
        object: (!repeat).then(|| "payments/StatefulSet/ledger-db :5432/tcp".into()),
        count: 3,
        first: "2026-11-23T13:53:50.25Z".parse().unwrap(),
        last: time(),
        flows: vec![FlowId(1), FlowId(2)],
        repeat,
        flow: Box::new(flow),
    }
}

fn ends() -> Vec<Endpoint> {
    let service = Service { namespace: "db".into(), name: "pg".into(), port_name: Some("sql".into()) };
    vec![
        Endpoint::Pod(Arc::new(pod("db-0"))),
        Endpoint::Service(Arc::new(service)),
        Endpoint::Node(Arc::new(Node { name: "worker-2".into(), ..Node::default() })),
        Endpoint::External(External { network: Some("office".into()) }),
        Endpoint::Local,
        Endpoint::Unknown { reason: "no such pod".into(), pod_uid: Some("u-1".into()) },
    ]
}

const STATES: [State; 11] = [
    State::Established,
    State::Refused,
    State::Unreachable,
    State::Rejected,
    State::Dropped,
    State::Pending,
    State::Sent,
    State::Answered,
    State::Received,
    State::Aborted,
    State::Unknown,
];

/// Flows of every class, state, protocol and kind of end, with and without what need not be there.
fn flows() -> Vec<Flow> {
    let mut all = vec![flow()];
    for (class, state) in Class::ALL.into_iter().flat_map(|class| STATES.map(|state| (class, state))) {
        all.push(Flow { class, outcome: Outcome { state, ..flow().outcome }, ..flow() });
    }
    for endpoint in ends() {
        let named = Party { endpoint: endpoint.clone(), ..flow().destination };
        let bare = Party { endpoint, ip: None, port: None };
        all.push(Flow { destination: named.clone(), ..flow() });
        all.push(Flow { destination: bare.clone(), ..flow() });
        all.push(Flow { direction: Direction::Ingress, source: named, ..flow() });
        all.push(Flow { direction: Direction::Ingress, source: bare.clone(), destination: bare, ..flow() });
    }
    for protocol in [Protocol::Udp, Protocol::Sctp, Protocol::Icmp, Protocol::Icmpv6] {
        let icmp = Some(IcmpMessage { kind: 8, code: 0 });
        all.push(Flow { protocol, icmp, ..flow() });
    }
    let process = flow().process.unwrap();
    all.push(Flow { process: Some(Process { pid: None, ..process }), ..flow() });
    all.push(Flow { process: None, ..flow() });
    // Counters as they can be: other formats have signed ones.
    let whole = |text: &str| Flow {
        count: 7,
        first: "2026-11-23T13:53:50.25Z".parse().unwrap(),
        duration_ns: Some(1_500_000_000),
        bytes_sent: Some(100),
        bytes_received: Some(200),
        datagrams_sent: Some(3),
        datagrams_received: Some(4),
        retransmits: Some(5),
        connect_ns: Some(6_000),
        ..full(text)
    };
    all.extend(["x", "", "\u{1}", "a.b/c=d", "\u{202e}\n\"grüße", &"long".repeat(1_000)].map(whole));
    all
}

fn findings() -> Vec<LiveFinding> {
    let mut all: Vec<_> = flows().into_iter().map(|flow| found(flow, false)).collect();
    all.extend(FindingId::ALL.iter().map(|id| LiveFinding { id: *id, ..found(flow(), true) }));
    all
}

/// Lines of every kind in one format.
pub(super) fn lines(format: Format) -> Vec<Line> {
    let mut encoder = encoder_of(format);
    let mut lines: Vec<Line> = flows().iter().map(|flow| encoder.flow(flow).unwrap()).collect();
    lines.extend(findings().iter().map(|found| encoder.finding(found).unwrap()));
    lines.extend([None, Some(Class::Allowed)].map(|class| encoder.loss(&Loss { class, ..loss() }).unwrap()));
    lines.extend(events().into_iter().map(|event| encoder.agent(&Agent { time: time(), event }).unwrap()));
    lines
}

/// The paths to everything in it that is no object; those of a list are one path.
fn leaves<'a>(at: &str, value: &'a Value, to: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(&if at.is_empty() { name.clone() } else { format!("{at}.{name}") }, member, to);
            }
        }
        other => to.push((at.to_owned(), other)),
    }
}

/// Keys of labels have dots of their own.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let split = || path.split_once('.').and_then(|(step, rest)| at(value.get(step)?, rest));
    value.get(path).or_else(split)
}

#[test]
fn every_line_is_one_and_has_its_number_run_and_version() {
    for format in OTHERS {
        for line in lines(format) {
            let text = write(&line, 7);
            let start = format!("{}\"v\":1,\"seq\":7,", format.opening());
            assert!(text.starts_with(&start), "{text}");
            let whole = read(&line);
            let ours = ours(format, &whole);
            assert_eq!((&ours["run"], &ours["seq"]), (&json!("7f3a"), &json!(u64::MAX)), "{whole:#}");
            assert!(["flow", "finding", "loss", "agent"].contains(&ours["kind"].as_str().unwrap()));
        }
    }
}

/// What another format says in another shape: where it stands there.
const SHAPED: [(Format, &str, &str); 30] = [
    (Format::Ecs, "flow.protocol", "network.transport"),
    (Format::Ocsf, "flow.protocol", "connection_info.protocol_name"),
    (Format::Ocsf, "flow.family", "connection_info.protocol_ver_id"),
    (Format::Ocsf, "flow.direction", "observation_point_id"),
    (Format::Ocsf, "severity", "severity_id"),
    (Format::Ocsf, "finding.repeat", "activity_id"),
    (Format::Ocsf, "finding.flows", "finding_info.related_events"),
    (Format::Ocsf, "finding.subject", "resources"),
    (Format::Ocsf, "finding.object", "resources"),
    (Format::Ocsf, "source.pod", "src_endpoint.name"),
    (Format::Ocsf, "source.node", "src_endpoint.name"),
    (Format::Ocsf, "source.service.name", "src_endpoint.name"),
    (Format::Ocsf, "source.container", "src_endpoint.container.name"),
    (Format::Ocsf, "source.image", "src_endpoint.container.image.name"),
    (Format::Ocsf, "source.image_digest", "src_endpoint.container.image.uid"),
    (Format::Ocsf, "destination.pod", "dst_endpoint.name"),
    (Format::Ocsf, "destination.node", "dst_endpoint.name"),
    (Format::Ocsf, "destination.service.name", "dst_endpoint.name"),
    (Format::Ocsf, "destination.container", "dst_endpoint.container.name"),
    (Format::Ocsf, "destination.image", "dst_endpoint.container.image.name"),
    (Format::Ocsf, "destination.image_digest", "dst_endpoint.container.image.uid"),
    (Format::Ocsf, "process.pid", "actor.process.pid"),
    (Format::Ocsf, "process.comm", "actor.process.name"),
    (Format::Ocsf, "process.exe", "actor.process.path"),
    (Format::Ecs, "source.labels", "flowlog.source.labels"),
    (Format::Ecs, "source.namespace_labels", "flowlog.source.namespace_labels"),
    (Format::Ecs, "destination.labels", "flowlog.destination.labels"),
    (Format::Ecs, "destination.namespace_labels", "flowlog.destination.namespace_labels"),
    (Format::Ecs, "agent.counters.sinks", "flowlog.agent.counters.sinks"),
    (Format::Ecs, "agent.config", "flowlog.agent.config"),
];

/// Where a field of ours is to be found, of a finding's evidence too; the same value, or another shape of it.
fn kept(format: Format, line: &Value, path: &str, value: &Value) -> bool {
    let same = |found: Option<&Value>| found == Some(value);
    let evidence = line.pointer("/evidences/0").unwrap_or(&Value::Null);
    let places = |to: &str| {
        let in_evidence = at(evidence, to.strip_prefix("actor.").unwrap_or(to));
        [at(line, to), in_evidence]
    };
    let moved = tables(format).0.iter().filter(|(from, _)| *from == path);
    let shaped = SHAPED.iter().filter(|(of, from, _)| {
        *of == format && (*from == path || path.strip_prefix(from).is_some_and(|rest| rest.starts_with('.')))
    });
    same(at(ours(format, line), path))
        || moved.into_iter().any(|(_, to)| places(to).into_iter().any(same))
        || shaped.into_iter().any(|(.., to)| {
            let found = places(to).into_iter().flatten().next();
            found.is_some_and(|found| match (found, value) {
                (Value::String(found), Value::String(value)) => {
                    found == value || value == "icmpv6" || path == "agent.config.outputs"
                }
                (Value::Array(list), Value::String(value)) => list.iter().any(|one| {
                    one["name"] == **value || one.as_str().is_some_and(|pair| pair.ends_with(&**value))
                }),
                _ => true,
            })
        })
}

#[test]
fn nothing_of_our_own_record_is_lost() {
    let own = lines(Format::Flowlog);
    for format in OTHERS {
        for (own, other) in own.iter().zip(lines(format)) {
            let (own, other) = (read(own), read(&other));
            // A line that was shortened gave up more than the other had to.
            if own.get("truncated").is_some() || ours(format, &other).get("truncated").is_some() {
                continue;
            }
            let mut all = Vec::new();
            leaves("", &own, &mut all);
            let lost: Vec<_> =
                all.iter().filter(|(path, value)| !kept(format, &other, path, value)).collect();
            assert!(lost.is_empty(), "{format:?}: {lost:#?}\n{other:#}");
        }
    }
}

#[test]
fn the_tables_of_fields_are_those_that_are_written() {
    for format in OTHERS {
        let (moves, made) = tables(format);
        let told: BTreeSet<&str> =
            moves.iter().map(|(_, to)| *to).chain(made.iter().map(|(to, _)| *to)).collect();
        let mut written = BTreeSet::new();
        for line in lines(format) {
            let mut line = read(&line);
            let ours = ours(format, &line).clone();
            line.as_object_mut().unwrap().retain(|name, _| !["flowlog", "unmapped"].contains(&name.as_str()));
            let mut all = Vec::new();
            leaves("", &line, &mut all);
            let evidence = line.pointer("/evidences/0").cloned().unwrap_or_default();
            let mut inner = Vec::new();
            leaves("", &evidence, &mut inner);
            let inner = inner.into_iter().map(|(path, _)| match path.strip_prefix("process.") {
                Some(rest) => format!("actor.process.{rest}"),
                None => path,
            });
            written
                .extend(all.into_iter().map(|(path, _)| path).chain(inner).filter(|path| !path.is_empty()));
            let changed = made.iter().filter_map(|(to, _)| to.strip_prefix("flowlog."));
            written.extend(
                changed.filter(|path| at(&ours, path).is_some()).map(|path| format!("flowlog.{path}")),
            );
        }
        let written: BTreeSet<&str> = written.iter().map(String::as_str).collect();
        let (untold, unwritten) = (&written - &told, &told - &written);
        assert!(
            untold.is_empty() && unwritten.is_empty(),
            "{format:?}: untold {untold:?}, unwritten {unwritten:?}"
        );
    }
}

/// The documented tables are those.
#[test]
fn the_documented_formats_are_those_of_the_code() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/log-format.md");
    let text = std::fs::read_to_string(document).unwrap_or_default();
    let shipped = text.split("<!-- formats -->\n").nth(1);
    let told = "put the output of `flowlog schema --formats` between the marks";
    assert_eq!(shipped, Some(format_tables().as_str()), "{told}");
    assert!(
        format_tables()
            .contains("| `event.start` | `flow.first`, `finding.first`, `loss.first`, `agent.gap.from` |")
    );
}

#[test]
fn outcome_and_verdict_stay_apart() {
    // State, evidence, class; what ECS says of it, and what OCSF does.
    for (state, evidence, class, types, outcome, (activity, status, disposition, action)) in [
        (State::Established, Evidence::Handshake, Class::Allowed, "allowed", "success", (1, 1, 1, 1)),
        (
            State::Established,
            Evidence::Handshake,
            Class::PolicyNotEnforced,
            "allowed",
            "success",
            (1, 1, 15, 3),
        ),
        (State::Established, Evidence::Handshake, Class::Undetermined, "allowed", "success", (1, 1, 1, 1)),
        (State::Refused, Evidence::FarEndNoSocket, Class::PolicyNotEnforced, "", "failure", (5, 2, 15, 3)),
        (State::Refused, Evidence::Reset, Class::Refused, "", "failure", (5, 2, 0, 0)),
        (State::Refused, Evidence::Reset, Class::DeniedAttempt, "denied", "failure", (5, 2, 2, 2)),
        (
            State::Rejected,
            Evidence::KernelDrop,
            Class::BlockedUnexplained,
            "denied",
            "failure",
            (4, 2, 25, 2),
        ),
        (State::Dropped, Evidence::KernelDrop, Class::DeniedAttempt, "denied", "failure", (4, 2, 6, 2)),
        (State::Dropped, Evidence::TimedOut, Class::DeniedAttempt, "denied", "failure", (4, 2, 2, 2)),
        // A time-out alone is no proof of a filter.
        (State::Dropped, Evidence::TimedOut, Class::BlockedThoughAllowed, "", "failure", (4, 2, 0, 0)),
        (State::Unreachable, Evidence::IcmpError, Class::Failed, "", "failure", (4, 2, 0, 0)),
        (State::Pending, Evidence::SynRetransmitted, Class::DeniedAttempt, "denied", "unknown", (0, 0, 2, 2)),
        (State::Sent, Evidence::DatagramSent, Class::Failed, "", "unknown", (6, 0, 0, 0)),
        (State::Answered, Evidence::Answer, Class::Allowed, "allowed", "success", (6, 1, 1, 1)),
    ] {
        let outcome_of = Outcome { state, evidence: smallvec![evidence], ..flow().outcome };
        let flow = Flow { class, outcome: outcome_of, ..flow() };
        let ecs = flow_in(Format::Ecs, &flow);
        let expected: Vec<&str> = ["connection", types].into_iter().filter(|word| !word.is_empty()).collect();
        assert_eq!(ecs["event"]["type"], json!(expected), "{state:?} {class:?}");
        assert_eq!(ecs["event"]["outcome"], outcome, "{state:?} {class:?}");
        assert_eq!(ecs["event"]["action"], class.as_str());
        assert_eq!(ecs["flowlog"]["verdict"]["decision"], "deny");
        let ocsf = flow_in(Format::Ocsf, &flow);
        let numbers =
            ["activity_id", "status_id", "disposition_id", "action_id"].map(|name| ocsf[name].clone());
        assert_eq!(json!(numbers), json!([activity, status, disposition, action]), "{state:?} {class:?}");
        assert_eq!(ocsf["type_uid"], 400_100 + activity);
        assert_eq!(ocsf["unmapped"]["flowlog"]["class"], class.as_str());
    }
}

#[test]
fn a_flow_is_written_in_ecs_as_the_documents_say() {
    let line = flow_in(Format::Ecs, &Flow { bytes_sent: Some(5), bytes_received: Some(7), ..flow() });
    assert_eq!(line["@timestamp"], "2026-11-23T13:53:52.500000000Z");
    assert_eq!(line["network"]["iana_number"], "6", "a text");
    assert_eq!(line["network"]["bytes"], 12);
    assert_eq!(line["source"], json!({"ip": "128.232.110.120", "port": 34_855, "bytes": 5}));
    assert_eq!(line["related"]["ip"], json!(["128.232.110.120", "66.35.250.204"]));
    assert_eq!(line["container"]["image"]["name"], "docker.io/library/nginx");
    assert_eq!(line["container"]["image"]["tag"], json!(["1.29"]));
    assert_eq!(line["flowlog"]["source"]["labels"], json!(["app=web"]));
    assert_eq!(line["flowlog"]["source"]["workload"], json!({"kind": "Deployment", "name": "web"}));
    assert_eq!(line["orchestrator"]["resource"]["name"], "web-6d4cf56db6-x7k2p");
    assert_eq!(line["flowlog"]["process"], json!({"cgroup_id": 9_001}));
    let inbound = Flow { direction: Direction::Ingress, ..flow() };
    assert!(flow_in(Format::Ecs, &inbound).get("container").is_none(), "the local end is no pod");
}

#[test]
fn images_are_taken_apart() {
    for (image, name, tag) in [
        ("nginx", "nginx", None),
        ("nginx:1.29", "nginx", Some("1.29")),
        ("r.example:5000/a/b", "r.example:5000/a/b", None),
        ("r.example:5000/a/b:v1@sha256:00", "r.example:5000/a/b", Some("v1")),
        ("a@sha256:00", "a", None),
        ("a:", "a", None),
    ] {
        assert_eq!(ecs::name_and_tag(image), (name, tag), "{image}");
    }
}

#[test]
fn a_flow_is_written_in_ocsf_as_the_documents_say() {
    let line = flow_in(Format::Ocsf, &flow());
    assert_eq!(line["time"], 1_795_442_032_500_u64);
    assert_eq!(line["class_uid"], 4_001);
    assert_eq!(line["policy"], json!({"name": "shop/default-deny", "type": "NetworkPolicy"}));
    assert_eq!(line["src_endpoint"]["name"], "web-6d4cf56db6-x7k2p");
    assert_eq!(line["src_endpoint"]["container"]["name"], "web");
    assert_eq!(line["actor"]["process"], json!({"pid": 4711, "name": "curl"}));
    assert_eq!(line["severity_id"], 3);
    let direction = |flow: &Flow| flow_in(Format::Ocsf, flow)["connection_info"]["direction_id"].clone();
    let pod = flow().source;
    assert_eq!(direction(&flow()), 2);
    assert_eq!(direction(&Flow { direction: Direction::Ingress, ..flow() }), 1);
    assert_eq!(direction(&Flow { destination: pod, ..flow() }), 3);
    let local = Party { endpoint: Endpoint::Local, ..flow().destination };
    assert_eq!(direction(&Flow { destination: local, ..flow() }), 4);
}

#[test]
fn formats_at_once_are_what_each_is_alone() {
    let mut together = encoder().in_formats(Formats::of(Format::ALL));
    for flow in flows() {
        let line = together.flow(&flow).unwrap();
        for format in Format::ALL {
            for line in [line.to_format(format), line.clone().into_format(format)] {
                assert_eq!(line.format(), format);
                assert_eq!(line.body(), encoder_of(format).flow(&flow).unwrap().body());
            }
        }
    }
    let alone = encoder().flow(&flow()).unwrap();
    assert_eq!(alone.clone().into_format(Format::Ecs).body(), alone.body(), "not encoded: as it is");
}

#[test]
fn a_long_line_is_shortened_in_the_same_order() {
    let many = (0..200).map(|n| (format!("label-{n}"), "x".repeat(40))).collect::<Labels>();
    let long = Pod { labels: Arc::new(many), ..pod("web-1") };
    let party = Party { endpoint: Endpoint::Pod(Arc::new(long)), ip: None, port: None };
    let mut isolated = flow();
    isolated.verdict.egress.policies =
        (0..300).map(|n| Arc::new(policy(&format!("policy-{n:03}"), None))).collect();
    for format in OTHERS {
        let line = flow_in(format, &Flow { source: party.clone(), ..flow() });
        assert_eq!(truncated(ours(format, &line)), ["labels"]);
        let line = flow_in(format, &isolated);
        assert_eq!(truncated(ours(format, &line)), ["labels", "namespace_labels", "policies"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_text_can_forge_a_line_of_another_format(text in hostile(), name in hostile()) {
        let mut hostile = full(&text);
        hostile.process.as_mut().unwrap().comm = Some((*name).into());
        let found = LiveFinding { subject: name.clone(), object: Some(text), ..found(hostile.clone(), false) };
        for format in OTHERS {
            let mut encoder = encoder_of(format);
            for line in [encoder.flow(&hostile).unwrap(), encoder.finding(&found).unwrap()] {
                let bytes = write(&line, u64::MAX);
                prop_assert!(bytes.len() <= MAX_LINE_BYTES);
                prop_assert_eq!(bytes.find('\n'), Some(bytes.len() - 1));
                let raw = bytes.trim_end().chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'
                    | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'));
                prop_assert_eq!(raw, None);
                let line: Value = serde_json::from_str(&bytes).unwrap();
                let names = [&line["process"]["name"], &line["actor"]["process"]["name"],
                    &line["evidences"][0]["process"]["name"]];
                let got = names.into_iter().find_map(Value::as_str).unwrap();
                prop_assert!(name.starts_with(got));
                prop_assert!(got == name || truncated(ours(format, &line)).contains(&"names"));
            }
        }
    }
}
