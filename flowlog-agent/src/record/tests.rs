use super::*;
use crate::model::{
    Attribution, Basis, Container, Decision, Dialed, Direction, DirectionVerdict, Drop, DropPlace, Endpoint,
    Evidence, External, FlowId, Labels, LossCause, LossStage, Mixed, Name, NameSource, Names, Node, Origin,
    Outcome, Party, Pod, PolicyKind, PolicyRef, Process, Protocol, RoundTrip, Service, ServiceNote, State,
    Tier, TrialVerdict, VendorSource, Verdict, Whose, Workload,
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use smallvec::smallvec;
use std::collections::BTreeMap;
use std::sync::Arc;

mod formats;
mod stores;
mod validators;

const TIME: &str = "2026-11-23T13:53:52.5Z";

fn time() -> Timestamp {
    TIME.parse().unwrap()
}

pub(crate) fn run() -> Run {
    Run { node: "worker-1".into(), cluster: Some("prod".into()), id: "7f3a".into() }
}

pub(crate) fn encoder() -> Encoder {
    Encoder::new(run(), Labelling::default())
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        uid: "0c5f9a4e-7d1b-4a7e-9a53-2f5f0f9f9f01".into(),
        labels: Arc::new(labels(&[("app", "web"), ("pod-template-hash", "6d4cf56db6")])),
        namespace_labels: Arc::new(labels(&[("kubernetes.io/metadata.name", "shop")])),
        workload: Some(Arc::new(Workload {
            kind: "Deployment".into(),
            name: "web".into(),
            group: "apps".into(),
        })),
        containers: vec![Container {
            name: "web".into(),
            id: None,
            image: "docker.io/library/nginx:1.29".into(),
            image_digest: Some(format!("sha256:{}", "0".repeat(64))),
        }]
        .into(),
        service_account: Some("web".into()),
        node: Some("worker-1".into()),
        ..Pod::default()
    }
}

fn policy(name: &str, rule: Option<u32>) -> PolicyRef {
    PolicyRef { kind: PolicyKind::NetworkPolicy, namespace: Some("shop".into()), name: name.into(), rule }
}

fn side(decision: Decision, basis: Basis, policies: Vec<PolicyRef>) -> DirectionVerdict {
    DirectionVerdict {
        decision,
        basis,
        tier: Some(Tier::Namespace),
        policies: policies.into_iter().map(Arc::new).collect(),
        reason: None,
    }
}

pub(crate) fn flow() -> Flow {
    Flow {
        receipts: Receipts::untracked(),
        id: FlowId(0xabc),
        direction: Direction::Egress,
        protocol: Protocol::Tcp,
        icmp: None,
        existing: false,
        count: 1,
        first: time(),
        last: time(),
        update: false,
        duration_ns: None,
        bytes_sent: None,
        bytes_received: None,
        datagrams_sent: None,
        datagrams_received: None,
        retransmits: None,
        srtt: RoundTrip::default(),
        connect_ns: None,
        source: Party {
            endpoint: Endpoint::Pod(Arc::new(pod("web-6d4cf56db6-x7k2p"))),
            ip: Some("128.232.110.120".parse().unwrap()),
            port: Some(34_855),
        },
        destination: Party {
            endpoint: Endpoint::External(External { network: None }),
            ip: Some("66.35.250.204".parse().unwrap()),
            port: Some(80),
        },
        source_whose: Whose::default(),
        destination_whose: Whose::default(),
        names: Names::default(),
        dialed: None,
        process: Some(Process {
            pid: Some(4711),
            comm: Some("curl".into()),
            exe: None,
            cgroup_id: 9_001,
            container: Some("web".into()),
        }),
        verdict: Verdict {
            decision: Decision::Deny,
            egress: side(Decision::Deny, Basis::Isolated, vec![policy("default-deny", None)]),
            ingress: DirectionVerdict { tier: None, ..side(Decision::Allow, Basis::Unselected, vec![]) },
            mixed: None,
            snapshot: 3,
            as_of: time(),
            stale_since: None,
            settling: false,
            trial: None,
        },
        outcome: Outcome {
            state: State::Dropped,
            errno: Some(110),
            syn_retries: Some(6),
            drop: Some(Drop { reason: "NETFILTER_DROP".into(), place: DropPlace::Node }),
            evidence: smallvec![Evidence::KernelDrop, Evidence::TimedOut],
        },
        class: Class::DeniedAttempt,
        attribution: None,
    }
}

fn named_by(name: &str, age_ns: u64) -> Name {
    Name {
        name: name.into(),
        canonical: Some(name.into()),
        source: NameSource::DnsAnswer,
        age_ns,
        ttl_s: u32::MAX,
    }
}

fn whose(vendor: &str) -> Whose {
    Whose {
        origin: Some(Origin::ThirdParty),
        vendor: Some(vendor.into()),
        told_by: Some(VendorSource::DnsName),
        sensitive: true,
    }
}

/// A flow in which every optional part is there, and every text is `text`.
fn full(text: &str) -> Flow {
    let named = |base: Pod| Pod {
        namespace: text.into(),
        name: text.into(),
        uid: text.into(),
        labels: Arc::new(labels(&[("app", text), (text, text)])),
        namespace_labels: Arc::new(labels(&[("team", text)])),
        workload: Some(Arc::new(Workload { kind: text.into(), name: text.into(), group: text.into() })),
        containers: vec![Container {
            name: text.into(),
            id: None,
            image: text.into(),
            image_digest: Some(text.into()),
        }]
        .into(),
        service_account: Some(text.into()),
        node: Some(text.into()),
        host_network: true,
        ..base
    };
    let service =
        Arc::new(Service { namespace: text.into(), name: text.into(), port_name: Some(text.into()) });
    let policies =
        vec![
            PolicyRef { namespace: Some(text.into()), name: text.into(), ..policy("", Some(4_294_967_295)) };
            40
        ];
    let unknown =
        DirectionVerdict { reason: Some(text.into()), ..side(Decision::Unknown, Basis::Unknown, policies) };
    let ip = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
    let end = |name: &str| Party {
        endpoint: Endpoint::Pod(Arc::new(named(pod(name)))),
        ip: Some(ip),
        port: Some(65_535),
    };
    Flow {
        id: FlowId(u128::MAX),
        existing: true,
        count: u64::MAX,
        update: true,
        duration_ns: Some(u64::MAX),
        bytes_sent: Some(u64::MAX),
        bytes_received: Some(u64::MAX),
        datagrams_sent: Some(u64::MAX),
        datagrams_received: Some(u64::MAX),
        retransmits: Some(u64::MAX),
        srtt: RoundTrip { sum_us: u64::MAX, connections: 1 },
        connect_ns: Some(u64::MAX),
        source: end("a"),
        destination: end("b"),
        source_whose: whose(text),
        destination_whose: whose(text),
        names: vec![named_by(text, u64::MAX); 4].into(),
        dialed: Some(Dialed {
            ip,
            port: 65_535,
            service: Some(service),
            note: Some(ServiceNote::NoSuchPort),
        }),
        process: Some(Process {
            pid: Some(u32::MAX),
            comm: Some(text.into()),
            exe: Some(text.into()),
            cgroup_id: u64::MAX,
            container: Some(text.into()),
        }),
        verdict: Verdict {
            decision: Decision::Mixed,
            egress: unknown.clone(),
            ingress: unknown.clone(),
            mixed: Some(Mixed {
                allow: u32::MAX,
                deny: u32::MAX,
                unknown: u32::MAX,
                allow_example: Some((ip, 65_535)),
                deny_example: Some((ip, 65_535)),
            }),
            snapshot: u64::MAX,
            as_of: time(),
            stale_since: Some(time()),
            settling: true,
            trial: Some(TrialVerdict {
                decision: Decision::Unknown,
                egress: unknown.clone(),
                ingress: unknown,
            }),
        },
        outcome: Outcome {
            state: State::Unreachable,
            errno: Some(u16::MAX),
            syn_retries: Some(u32::MAX),
            drop: Some(Drop { reason: text.into(), place: DropPlace::Opener }),
            evidence: smallvec![Evidence::SynRetransmitted; 12],
        },
        class: Class::BlockedThoughAllowed,
        attribution: Some(Attribution::Failed(text.into())),
        ..flow()
    }
}

fn loss() -> Loss {
    Loss {
        stage: LossStage::Kernel,
        cause: LossCause::RingFull,
        what: "attempt",
        class: None,
        count: 5,
        first: time(),
        last: time(),
    }
}

fn start() -> Start {
    Start {
        pin: Some(PinState {
            path: "/sys/fs/bpf/flowlog".into(),
            state: PinCondition::Adopted,
            why: None,
            last_alive: Some(time()),
            ended: Some(false),
            waiting: Some(7),
            doubtful: Some(1),
            lost: Some(0),
        }),
        version: "0.1.0".into(),
        kernel: "6.18.44".into(),
        confinement: Some(ConfinementState {
            capabilities: vec!["CAP_SYS_PTRACE".into()],
            no_new_privileges: true,
            system_calls: true,
            files: false,
            why: Some("executables are looked up".into()),
        }),
        hooks: vec![
            HookState { name: "connect4".into(), state: HookCondition::Attached, why: None },
            HookState {
                name: "drop".into(),
                state: HookCondition::Missing,
                why: Some("this kernel has no tracepoint kfree_skb".into()),
            },
        ],
        config: json!({"drain_ms": 20, "outputs": ["stdout"]}).as_object().unwrap().clone(),
        cgroup_root: Some("/sys/fs/cgroup".into()),
        snapshot: Some(snapshot()),
    }
}

fn snapshot() -> SnapshotState {
    SnapshotState {
        revision: 3,
        as_of: time(),
        stale_since: Some(time()),
        objects: BTreeMap::from([("pods".into(), 12), ("network_policies".into(), 4)]),
        problems: vec!["pods.yaml, document 2: spec.podSelector is no selector".into()],
    }
}

fn stop() -> Stop {
    Stop {
        reason: "signal".into(),
        counters: Counters {
            attempts: Attempts { seen: 10, recorded: 4, lost: 3, out_of_scope: 1, unselected: 2 },
            events: BTreeMap::from([("attempt".into(), 7)]),
            kernel_losses: BTreeMap::from([("ring_full".into(), 3)]),
            attempts_lost: BTreeMap::from([("ring_full".into(), 3)]),
            records: BTreeMap::from([("flow".into(), 6)]),
            stages: BTreeMap::from([("decode_errors".into(), 0)]),
            sinks: BTreeMap::from([("stdout".into(), SinkCounters { lines: 8, ..SinkCounters::default() })]),
        },
    }
}

fn events() -> Vec<AgentEvent> {
    vec![
        AgentEvent::Start(Box::new(start())),
        AgentEvent::Stop(Box::new(stop())),
        AgentEvent::Config(start().config),
        AgentEvent::Snapshot(snapshot()),
        AgentEvent::Gap(Gap { from: time(), to: time(), reason: "restart".into() }),
    ]
}

fn write(line: &Line, seq: u64) -> String {
    let mut bytes = Vec::new();
    line.append_to(seq, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// The line as a reader gets it; whatever it holds, it is one line within the limit.
fn read(line: &Line) -> Value {
    let text = write(line, u64::MAX);
    assert!(text.len() <= MAX_LINE_BYTES, "{} bytes", text.len());
    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.ends_with('\n'));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn read_flow(flow: &Flow) -> Value {
    read(&encoder().flow(flow).unwrap())
}

fn truncated(line: &Value) -> Vec<&str> {
    line["truncated"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn assert_valid(validator: &jsonschema::Validator, line: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{line:#}");
}

/// The line as `native.rs` alone has it.
fn whole(flow: &Flow) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (run, labelling) = (run(), Labelling::default());
    let line = FlowLine::of(flow, &run, &labelling, &Shortening::none());
    json::append(&mut out, &line).unwrap();
    text::escape(&mut out, 0);
    out.push(b'\n');
    (Format::Flowlog.front_bytes() + out.len() - 1 <= MAX_LINE_BYTES).then(|| out[1..].to_vec())
}

/// Flows that have texts in common, and differ in one thing after the other.
fn alike() -> Vec<Flow> {
    let plain = flow();
    let Endpoint::Pod(pod) = &plain.source.endpoint else { panic!() };
    let two = Pod {
        containers: vec![
            Container { name: "web".into(), ..Container::default() },
            Container { name: "sidecar".into(), ..Container::default() },
        ]
        .into(),
        ..Pod::clone(pod)
    };
    let as_pod = |pod: Pod, ip: &str, port| Party {
        endpoint: Endpoint::Pod(Arc::new(pod)),
        ip: Some(ip.parse().unwrap()),
        port,
    };
    let process = |container: &str| {
        plain.process.clone().map(|process| Process { container: Some(container.into()), ..process })
    };
    let of_two = |container: &str| Flow {
        source: as_pod(two.clone(), "2001:db8::1", None),
        process: process(container),
        ..plain.clone()
    };
    let verdict = |change: fn(&mut Verdict)| {
        let mut flow = plain.clone();
        change(&mut flow.verdict);
        flow
    };
    let policies = Arc::clone(&plain.verdict.egress.policies);
    let both = Flow { direction: Direction::Ingress, destination: plain.source.clone(), ..plain.clone() };
    let mut all = vec![
        plain.clone(),
        both,
        of_two("web"),
        of_two("sidecar"),
        of_two("unheard-of"),
        Flow { process: None, ..of_two("web") },
        Flow { source_whose: whose("Datadog"), ..plain.clone() },
        Flow { source_whose: Whose { sensitive: false, ..whose("Datadog") }, ..plain.clone() },
        Flow { destination_whose: whose("Datadog"), ..plain.clone() },
        Flow { source: Party { ip: None, port: None, ..plain.source.clone() }, ..plain.clone() },
        verdict(|verdict| verdict.settling = true),
        verdict(|verdict| verdict.snapshot = 4),
        verdict(|verdict| verdict.stale_since = Some(time())),
        verdict(|verdict| verdict.as_of = "2026-11-24T00:00:00Z".parse().unwrap()),
        verdict(|verdict| verdict.egress.tier = None),
        verdict(|verdict| verdict.egress.basis = Basis::Policy),
        verdict(|verdict| std::mem::swap(&mut verdict.egress, &mut verdict.ingress)),
        verdict(|verdict| verdict.ingress.reason = Some("of its own".into())),
        full("x"),
        full("\u{202e}\n\"grüße"),
        full(&"long".repeat(1_000)),
    ];
    all.push({
        let mut flow = plain;
        flow.verdict.ingress.policies = policies;
        flow
    });
    all
}

#[test]
fn text_in_common_is_what_the_parts_say() {
    let mut encoder = encoder();
    // A second time all of it is there already.
    for flow in alike().iter().chain(&alike()).chain(&alike()) {
        let line = encoder.flow(flow).unwrap();
        match whole(flow) {
            Some(whole) => {
                assert_eq!(
                    String::from_utf8_lossy(line.body()),
                    String::from_utf8_lossy(&whole),
                    "{flow:#?}"
                );
            }
            None => assert!(!truncated(&read(&line)).is_empty()),
        }
    }
}

#[test]
fn more_pods_than_texts_are_kept_of_are_written_alike() {
    let mut encoder = encoder();
    for number in 0..3_000 {
        let mut flow = flow();
        flow.source.endpoint = Endpoint::Pod(Arc::new(pod(&format!("web-{}", number % 1_500))));
        flow.verdict.egress = side(Decision::Deny, Basis::Isolated, vec![policy(&number.to_string(), None)]);
        let line = encoder.flow(&flow).unwrap();
        assert_eq!(Some(line.body().to_vec()), whole(&flow));
    }
}

#[test]
fn a_flow_is_written_as_the_documents_say() {
    let container = json!({
        "kind": "pod", "ip": "128.232.110.120", "port": 34_855,
        "namespace": "shop", "pod": "web-6d4cf56db6-x7k2p", "pod_uid": "0c5f9a4e-7d1b-4a7e-9a53-2f5f0f9f9f01",
        "workload": {"kind": "Deployment", "name": "web"},
        "labels": {"app": "web"},
        "namespace_labels": {"kubernetes.io/metadata.name": "shop"},
        "container": "web", "image": "docker.io/library/nginx:1.29",
        "image_digest": format!("sha256:{}", "0".repeat(64)),
        "service_account": "web", "node": "worker-1",
    });
    let moment = "2026-11-23T13:53:52.500000000Z";
    assert_eq!(
        read_flow(&flow()),
        json!({
            "v": 1, "seq": u64::MAX, "kind": "flow", "time": moment,
            "node": "worker-1", "cluster": "prod", "run": "7f3a",
            "flow": {
                "id": "00000000000000000000000000000abc", "community_id": "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
                "direction": "egress", "protocol": "tcp", "family": "ipv4", "count": 1,
                "first": moment, "last": moment,
            },
            "source": container,
            "destination": {"kind": "external", "ip": "66.35.250.204", "port": 80},
            "process": {"pid": 4711, "comm": "curl", "cgroup_id": 9_001},
            "verdict": {
                "decision": "deny",
                "egress": {
                    "decision": "deny", "basis": "isolated", "tier": "namespace",
                    "policies": [{"kind": "NetworkPolicy", "namespace": "shop", "name": "default-deny"}],
                },
                "ingress": {"decision": "allow", "basis": "unselected"},
                "snapshot": 3, "as_of": moment,
            },
            "outcome": {
                "state": "dropped", "errno": "ETIMEDOUT", "syn_retries": 6,
                "drop": {"reason": "NETFILTER_DROP", "where": "node"},
                "evidence": ["kernel_drop", "timed_out"],
            },
            "class": "denied_attempt", "severity": "medium",
        })
    );
}

#[test]
fn the_beginning_is_the_sinks_own() {
    let line = encoder().flow(&flow()).unwrap();
    assert!(write(&line, 7).starts_with(r#"{"v":1,"seq":7,"kind":"flow","time":"2026-"#));
    let front = write(&line, u64::MAX).len() - line.body().len();
    assert_eq!(front, Format::Flowlog.front_bytes());
}

#[test]
fn every_kind_of_end_is_named() {
    let end = |endpoint| Party { endpoint, ip: None, port: None };
    let service = Service { namespace: "db".into(), name: "pg".into(), port_name: Some("sql".into()) };
    for (endpoint, expected) in [
        (
            Endpoint::Service(Arc::new(service)),
            json!({"kind": "service", "namespace": "db",
                   "service": {"namespace": "db", "name": "pg", "port_name": "sql"}}),
        ),
        (
            Endpoint::Node(Arc::new(Node { name: "worker-2".into(), ..Node::default() })),
            json!({"kind": "node", "node": "worker-2"}),
        ),
        (
            Endpoint::External(External { network: Some("office".into()) }),
            json!({"kind": "external", "network": "office"}),
        ),
        (Endpoint::Local, json!({"kind": "local"})),
        (
            Endpoint::Unknown { reason: "no such pod".into(), pod_uid: Some("u-1".into()) },
            json!({"kind": "unknown", "reason": "no such pod", "pod_uid": "u-1"}),
        ),
    ] {
        assert_eq!(read_flow(&Flow { destination: end(endpoint), ..flow() })["destination"], expected);
    }
}

#[test]
fn a_container_is_claimed_only_where_it_is_known() {
    let sidecar = Container { name: "proxy".into(), ..Container::default() };
    let mut two = pod("web-1");
    two.containers = two.containers.iter().cloned().chain([sidecar]).collect();
    let party = |port| Party { endpoint: Endpoint::Pod(Arc::new(two.clone())), ip: None, port: Some(port) };
    let line = read_flow(&Flow { source: party(1), destination: party(2), ..flow() });
    assert_eq!(line["source"]["container"], "web", "the process's own");
    assert_eq!(line["destination"].get("container"), None, "one of two, not known which");
    assert_eq!(line["destination"].get("image"), None);
    let inbound = Flow {
        direction: Direction::Ingress,
        source: party(1),
        destination: party(2),
        process: Some(Process { container: Some("proxy".into()), ..Process::default() }),
        ..flow()
    };
    let line = read_flow(&inbound);
    assert_eq!(line["destination"]["container"], "proxy");
    assert_eq!(line["source"].get("container"), None);
}

#[test]
fn only_the_labels_that_are_asked_for_are_shown() {
    let only = |keys: &[&str]| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let line = Encoder::new(run(), Labelling::Only(keys)).flow(&flow()).unwrap();
        read(&line)["source"].get("labels").cloned()
    };
    assert_eq!(read_flow(&flow())["source"]["labels"], json!({"app": "web"}));
    assert_eq!(only(&["pod-template-hash"]), Some(json!({"pod-template-hash": "6d4cf56db6"})));
    assert_eq!(only(&["absent"]), None);
}

#[test]
fn every_kind_of_line_fits_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut encoder = encoder();
    assert_valid(&validator, &read_flow(&flow()));
    for text in ["x", "\u{1}", ""] {
        assert_valid(&validator, &read_flow(&full(text)));
    }
    for attribution in [Attribution::Late, Attribution::Departed, Attribution::ByAddress] {
        assert_valid(&validator, &read_flow(&Flow { attribution: Some(attribution), ..flow() }));
    }
    assert_valid(&validator, &read(&encoder.loss(&loss()).unwrap()));
    assert_valid(&validator, &read(&encoder.loss(&Loss { class: Some(Class::Allowed), ..loss() }).unwrap()));
    for event in events() {
        assert_valid(&validator, &read(&encoder.agent(&Agent { time: time(), event }).unwrap()));
    }
}

#[test]
fn the_schema_refuses_what_is_not_in_it() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let good = read_flow(&flow());
    assert!(validator.is_valid(&good));
    for (name, pointer, planted) in [
        ("a key of the line", "", json!({"extra": 1})),
        ("a key of a part", "/source", json!({"extra": 1})),
        ("an unknown state", "/outcome", json!({"state": "fine"})),
        ("another version", "", json!({"v": 2})),
        ("another kind", "", json!({"kind": "loss"})),
        ("a time without nanoseconds", "", json!({"time": "2026-11-23T13:53:52Z"})),
        ("a sequence from 0", "", json!({"seq": 0})),
    ] {
        let mut bad = good.clone();
        let part = bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        part.extend(planted.as_object().unwrap().clone());
        assert!(!validator.is_valid(&bad), "{name}");
    }
    let mut bad = good;
    bad.as_object_mut().unwrap().remove("seq");
    assert!(!validator.is_valid(&bad), "a line without its number");
}

#[test]
fn every_field_of_the_schema_is_described() {
    fn undescribed(at: &str, value: &Value, found: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let part = property.get("$ref").is_some() || property.get("anyOf").is_some();
                if property.get("description").is_none() && !part {
                    found.push(format!("{at}.{name}"));
                }
            }
        }
        match value {
            Value::Object(object) => {
                object.iter().for_each(|(key, value)| undescribed(&format!("{at}/{key}"), value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| undescribed(at, value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    undescribed("", &schema(), &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_attempts_of_a_stop_record_balance() {
    let event = AgentEvent::Stop(Box::new(stop()));
    let line = read(&encoder().agent(&Agent { time: time(), event }).unwrap());
    let attempts = &line["agent"]["counters"]["attempts"];
    let of = |name: &str| attempts[name].as_u64().unwrap();
    assert_eq!(of("seen"), of("recorded") + of("lost") + of("out_of_scope") + of("unselected"));
    assert!(stop().counters.attempts.balance());
    assert!(!Attempts { seen: 11, ..stop().counters.attempts }.balance());
    assert!(!Attempts { recorded: u64::MAX, ..stop().counters.attempts }.balance());
}

#[test]
fn a_long_line_gives_up_labels_first_and_says_so() {
    let many = (0..200).map(|n| (format!("label-{n}"), "x".repeat(40))).collect::<Labels>();
    let many = Arc::new(many);
    let long = Pod { labels: Arc::clone(&many), ..pod("web-1") };
    let party = |pod: &Pod| Party { endpoint: Endpoint::Pod(Arc::new(pod.clone())), ip: None, port: None };

    let line = read_flow(&Flow { source: party(&long), ..flow() });
    assert_eq!(truncated(&line), ["labels"]);
    assert_eq!(line["source"].get("labels"), None);
    assert_eq!(line["source"]["namespace_labels"], json!({"kubernetes.io/metadata.name": "shop"}));

    let long = Pod { namespace_labels: many, ..long };
    let line = read_flow(&Flow { source: party(&long), ..flow() });
    assert_eq!(truncated(&line), ["labels", "namespace_labels"]);

    let mut isolated = flow();
    isolated.verdict.egress.policies =
        (0..300).map(|n| Arc::new(policy(&format!("policy-{n:03}"), None))).collect();
    let line = read_flow(&isolated);
    assert_eq!(truncated(&line), ["labels", "namespace_labels", "policies"]);
    assert_eq!(line["verdict"]["egress"]["policies"].as_array().unwrap().len(), 8);
    assert_eq!(line["verdict"]["egress"]["policies"][0]["name"], "policy-000");
    assert_eq!(line["source"]["pod"], "web-6d4cf56db6-x7k2p", "names are whole");
}

#[test]
fn even_the_longest_line_fits() {
    let texts = ["x", "\u{1}", "\u{202e}", "日"].map(|text| text.repeat(900));
    for (format, text) in Format::ALL.into_iter().flat_map(|format| texts.clone().map(|text| (format, text)))
    {
        let run = Run { node: text.clone(), cluster: Some(text.clone()), id: text.clone() };
        let mut encoder = Encoder::new(run, Labelling::default()).in_formats(format);
        let line = read(&encoder.flow(&full(&text)).unwrap());
        let taken = truncated(formats::ours(format, &line));
        assert_eq!(taken, ["labels", "namespace_labels", "policies", "reasons", "names"]);
        read(&encoder.finding(&formats::found(full(&text), true)).unwrap());
        read(&encoder.loss(&loss()).unwrap());
        let counts: BTreeMap<String, u64> = (0..50).map(|n| (format!("{n}{text}"), n)).collect();
        let sinks = (0..50).map(|n| (format!("{n}{text}"), SinkCounters::default())).collect();
        let counters = Counters {
            events: counts.clone(),
            kernel_losses: counts.clone(),
            attempts_lost: counts.clone(),
            records: counts.clone(),
            stages: counts.clone(),
            sinks,
            ..Counters::default()
        };
        let hook = HookState { name: text.clone(), state: HookCondition::Degraded, why: Some(text.clone()) };
        let snapshot = SnapshotState { problems: vec![text.clone(); 50], objects: counts, ..snapshot() };
        let start = Start {
            pin: start().pin.map(|pin| PinState { path: text.clone(), why: Some(text.clone()), ..pin }),
            version: text.clone(),
            kernel: text.clone(),
            confinement: start().confinement,
            hooks: vec![hook; 100],
            config: start().config.into_iter().chain([("x".to_owned(), json!(text))]).collect(),
            cgroup_root: Some(text.clone()),
            snapshot: Some(snapshot.clone()),
        };
        for event in [
            AgentEvent::Start(Box::new(start)),
            AgentEvent::Stop(Box::new(Stop { reason: text.clone(), counters })),
            AgentEvent::Snapshot(snapshot),
            AgentEvent::Gap(Gap { from: time(), to: time(), reason: text.clone() }),
        ] {
            read(&encoder.agent(&Agent { time: time(), event }).unwrap());
        }
    }
}

/// Texts as a hostile process, label or manifest would choose them.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        proptest::collection::vec(
            prop_oneof![
                any::<char>(),
                proptest::char::range('\0', '\u{a0}'),
                proptest::char::range('\u{2000}', '\u{2070}'),
                Just('"'),
                Just('\\'),
                Just('\n'),
            ],
            0..4_096
        )
        .prop_map(|chars| chars.into_iter().collect()),
        Just("\"},\"kind\":\"flow\",\"class\":\"allowed\"}\n{\"v\":1,\"seq\":1,".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_text_can_forge_a_line(text in hostile(), name in hostile()) {
        let mut hostile = full(&text);
        hostile.process.as_mut().unwrap().comm = Some((*name).into());
        let bytes = write(&encoder().flow(&hostile).unwrap(), u64::MAX);
        prop_assert!(bytes.len() <= MAX_LINE_BYTES);
        prop_assert_eq!(bytes.find('\n'), Some(bytes.len() - 1));
        let raw = bytes.trim_end().chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'));
        prop_assert_eq!(raw, None);
        let line: Value = serde_json::from_str(&bytes).unwrap();
        prop_assert_eq!(&line["class"], "blocked_though_allowed");
        let taken = truncated(&line);
        for (what, got, given) in [
            ("names", &line["process"]["comm"], &name),
            ("names", &line["source"]["pod"], &text),
            ("names", &line["destination"]["workload"]["name"], &text),
            ("reasons", &line["process"]["exe"], &text),
            ("reasons", &line["attribution"]["reason"], &text),
        ] {
            let got = got.as_str().unwrap();
            prop_assert!(given.starts_with(got));
            prop_assert!(got == given || taken.contains(&what), "{what} cut without a word");
        }
        if !taken.contains(&"labels") {
            prop_assert_eq!(&line["source"]["labels"]["app"], &Value::from(text.clone()));
        }
        if !taken.contains(&"policies") {
            prop_assert_eq!(line["verdict"]["egress"]["policies"].as_array().unwrap().len(), 40);
        }
    }
}

/// The schema that is shipped is the one that the types make.
#[test]
fn the_shipped_schema_is_that_of_the_types() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/schema/flowlog.v1.schema.json");
    let text = std::fs::read_to_string(shipped).unwrap_or_default();
    let shipped: Value = serde_json::from_str(&text).unwrap_or_default();
    assert_eq!(shipped, schema(), "write it anew: flowlog schema > deploy/schema/flowlog.v1.schema.json");
}

/// So are the tables of fields.
#[test]
fn the_documented_fields_are_those_of_the_types() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/log-format.md");
    let text = std::fs::read_to_string(document).unwrap_or_default();
    let shipped = text.split("<!-- fields -->\n").nth(1);
    assert_eq!(
        shipped,
        Some(field_tables().as_str()),
        "put the output of `flowlog schema --markdown` between the marks"
    );
    for field in
        ["`source.workload.name`", "`verdict.egress.policies.rule`", "`agent.counters.attempts.seen`"]
    {
        assert!(field_tables().contains(field), "{field}");
    }
}

/// A flow line for the tests of the sinks.
pub(crate) fn line(class: Class, count: u64) -> Line {
    encoder().flow(&Flow { class, count, ..flow() }).unwrap()
}

#[test]
fn a_destination_has_its_names_with_where_they_came_from_and_their_age() {
    let first = Name { canonical: None, ttl_s: 60, ..named_by("api.vendor.example", 1_234_567_890) };
    let named = Flow { names: [first, named_by("b\u{202e}", 5_000_000_000)].into(), ..flow() };
    let line = read_flow(&named);
    let expected = json!([
        {"name": "api.vendor.example", "from": "dns_answer", "age_ms": 1_234, "ttl_s": 60},
        {"name": "b\u{202e}", "canonical": "b\u{202e}", "from": "dns_answer", "age_ms": 5_000, "ttl_s": u32::MAX},
    ]);
    assert_eq!(line["destination"]["names"], expected);
    assert!(
        line["source"].get("names").is_none() && read_flow(&flow())["destination"].get("names").is_none()
    );
}
