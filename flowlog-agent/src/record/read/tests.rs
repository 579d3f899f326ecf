use super::*;
use crate::model::{
    Attribution, Basis, Class, Decision, Dialed, Direction, Edge, Endpoint, External, Flow, FlowId, Name,
    NameSource, Origin, Place, Pod, Process, Protocol, Service, State, TrialVerdict,
};
use crate::record::tests::{encoder, flow, run};
use crate::record::{Encoder, Labelling, Line as Written, Run, edge_line};
use crate::testkit::at;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use std::net::{IpAddr, Ipv4Addr};

/// A log in the making, as the encoder writes it.
struct Log {
    encoder: Encoder,
    seq: u64,
    text: Vec<u8>,
}

impl Log {
    fn new() -> Self {
        Self { encoder: encoder(), seq: 0, text: Vec::new() }
    }

    fn of_run(id: &str) -> Self {
        let run = Run { id: id.to_owned(), ..run() };
        Self { encoder: Encoder::new(run, Labelling::default()), seq: 0, text: Vec::new() }
    }

    fn line(mut self, line: &Written) -> Self {
        self.seq += 1;
        line.append_to(self.seq, &mut self.text);
        self
    }

    fn flow(mut self, flow: &Flow) -> Self {
        let line = self.encoder.flow(flow).unwrap();
        self.line(&line)
    }

    fn flows<'a>(self, flows: impl IntoIterator<Item = &'a Flow>) -> Self {
        flows.into_iter().fold(self, Self::flow)
    }
}

/// What is read, which must be the same where every line is parsed whole.
fn read(files: &[(&str, &[u8])]) -> Observations {
    let new = || Summing::new(Window::default());
    let [split, whole] = [new(), new().parsing_all()].map(|mut summing| {
        for (name, text) in files {
            summing.file(name, false);
            summing.block(text);
        }
        summing.finish()
    });
    assert_eq!(split, whole);
    split
}

fn summed<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> Vec<Edge> {
    let observed = read(&[("flows.json", &Log::new().flows(flows).text)]);
    assert_eq!(observed.problems, []);
    observed.edges
}

fn counts(edges: &[Edge]) -> Vec<(State, u64)> {
    edges.iter().map(|edge| (edge.state, edge.count)).collect()
}

/// The flow of the tests, so many seconds after their zero.
fn flow_at(id: u128, state: State, seconds: i64) -> Flow {
    let mut flow = Flow { id: FlowId(id), first: at(seconds), last: at(seconds), ..flow() };
    flow.outcome.state = state;
    flow
}

fn update(of: &Flow, state: State, seconds: i64) -> Flow {
    let mut flow = Flow { count: 0, update: true, last: at(seconds), ..of.clone() };
    flow.outcome.state = state;
    flow
}

#[test]
fn records_of_one_kind_are_one_edge() {
    let first = Flow { count: 3, bytes_sent: Some(10), ..flow_at(1, State::Dropped, 0) };
    let mut last = Flow { bytes_sent: Some(5), bytes_received: Some(7), ..flow_at(2, State::Dropped, 60) };
    last.source.port = Some(34_856);
    let edges = summed([&first, &last]);
    let [edge] = &edges[..] else { panic!("{edges:#?}") };
    let source = Place::Workload { namespace: "shop".into(), owner: "Deployment".into(), name: "web".into() };
    assert_eq!(edge.source, source);
    assert_eq!(
        edge.destination,
        Place::External { ip: Some([66, 35, 250, 204].into()), name: None, network: None }
    );
    assert_eq!((edge.count, edge.first, edge.last, edge.port), (4, at(0), at(60), Some(80)));
    assert_eq!((edge.bytes_sent, edge.bytes_received), (15, 7));
    assert_eq!((edge.decision, edge.egress.basis), (Decision::Deny, Basis::Isolated));
    assert_eq!((&*edge.egress.policies[0].name, edge.ingress.policies.len()), ("default-deny", 0));
    assert_eq!((&*edge.example.file, edge.example.line), ("flows.json", Some(1)));
    let traits = &edge.source_traits;
    assert_eq!(traits.container.as_deref(), Some("web"));
    assert_eq!(traits.image.as_deref(), Some("docker.io/library/nginx:1.29"));
    assert_eq!(traits.labels.keys().collect::<Vec<_>>(), ["app"], "without those that number a roll-out");
}

#[test]
fn what_tells_edges_apart_does() {
    type Change = fn(&mut Flow);
    let cases: [(&str, Change); 8] = [
        ("port", |flow| flow.destination.port = Some(81)),
        ("protocol", |flow| flow.protocol = Protocol::Udp),
        ("direction", |flow| flow.direction = Direction::Ingress),
        ("class", |flow| flow.class = Class::PolicyNotEnforced),
        ("state", |flow| flow.outcome.state = State::Rejected),
        ("verdict", |flow| flow.verdict.egress.basis = Basis::Policy),
        ("address", |flow| flow.destination.ip = Some([66, 35, 250, 205].into())),
        ("container", |flow| flow.process.as_mut().unwrap().container = Some("sidecar".into())),
    ];
    for (name, change) in cases {
        let mut other = flow();
        change(&mut other);
        assert_eq!(summed([&flow(), &other]).len(), 2, "{name}");
    }
    let mut same = flow();
    same.source.ip = Some([10, 0, 0, 9].into());
    let pod = Pod {
        name: "web-6d4cf56db6-other".into(),
        uid: "other".into(),
        ..same.source.endpoint.as_pod().unwrap().as_ref().clone()
    };
    same.source.endpoint = Endpoint::Pod(Arc::new(pod));
    assert_eq!(summed([&flow(), &same]).len(), 1, "another pod of the same workload");
}

#[test]
fn an_update_changes_what_became_of_an_attempt_and_adds_none() {
    use State::{Dropped, Established, Pending, Rejected};
    let pending = flow_at(1, Pending, 0);
    let other = flow_at(2, Pending, 0);
    let folded = Flow { count: 5, ..flow_at(3, Pending, 0) };
    let closed = Flow { bytes_sent: Some(9), ..update(&flow_at(4, Established, 0), Established, 9) };
    type Case<'a> = (&'a str, Vec<Flow>, &'a [(State, u64)]);
    let cases: [Case<'_>; 8] = [
        ("it was dropped", vec![pending.clone(), update(&pending, Dropped, 9)], &[(Dropped, 1)]),
        (
            "and then rejected",
            vec![pending.clone(), update(&pending, Dropped, 9), update(&pending, Rejected, 10)],
            &[(Rejected, 1)],
        ),
        (
            "another stays as it is",
            vec![pending.clone(), other, update(&pending, Dropped, 9)],
            &[(Dropped, 1), (Pending, 1)],
        ),
        (
            "of those that were folded it is one",
            vec![folded.clone(), update(&folded, Established, 9)],
            &[(Established, 1), (Pending, 4)],
        ),
        ("the same again", vec![pending.clone(), update(&pending, Pending, 9)], &[(Pending, 1)]),
        (
            "the same again, and then another",
            vec![pending.clone(), update(&pending, Pending, 9), update(&pending, Dropped, 10)],
            &[(Dropped, 1)],
        ),
        ("its attempt was not read", vec![update(&pending, Dropped, 9)], &[(Dropped, 0)]),
        ("a close", vec![flow_at(4, Established, 0), closed], &[(Established, 1)]),
    ];
    for (name, flows, expected) in cases {
        let mut found = counts(&summed(&flows));
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
    let unknown = read(&[("-", &Log::new().flow(&update(&pending, Dropped, 9)).text)]);
    assert!(unknown.limits[0].starts_with("1 records tell what became of"), "{:?}", unknown.limits);
}

#[test]
fn the_last_record_says_what_labels_an_end_has() {
    let labelled = |value: &str, seconds: i64| {
        let mut flow = flow_at(1, State::Dropped, seconds);
        let mut pod = flow.source.endpoint.as_pod().unwrap().as_ref().clone();
        Arc::make_mut(&mut pod.labels).insert("version".to_owned(), value.to_owned());
        flow.source.endpoint = Endpoint::Pod(Arc::new(pod));
        flow
    };
    let (one, two) = (labelled("1", 0), labelled("2", 5));
    for flows in [[&one, &two], [&two, &one]] {
        let edges = summed(flows);
        assert_eq!((edges.len(), &*edges[0].source_traits.labels["version"]), (1, "2"));
    }
}

#[test]
fn a_line_that_is_there_twice_counts_once_and_one_that_is_not_is_missing() {
    let log = Log::new().flows([&flow(), &flow(), &flow()]).text;
    let half = log.split_inclusive(|byte| *byte == b'\n').take(2).collect::<Vec<_>>().concat();
    let observed = read(&[("flows.json", &log), ("flows.json.1", &half)]);
    assert_eq!((observed.edges[0].count, observed.read.missing, observed.read.lines["flow"]), (3, 0, 3));
    assert!(observed.limits[0].starts_with("2 lines were given more than once"), "{:?}", observed.limits);
    let other = Log::of_run("another").flows([&flow(), &flow()]).text;
    let gap: Vec<u8> = log.split_inclusive(|byte| *byte == b'\n').step_by(2).collect::<Vec<_>>().concat();
    let observed = read(&[("a", &gap), ("b", &other)]);
    assert_eq!((observed.edges[0].count, observed.read.missing), (4, 1));
    assert_eq!(
        (observed.read.nodes, observed.cluster),
        (vec!["worker-1".to_owned()], Some("prod".to_owned()))
    );
}

/// Each numbers its own lines: those of one say nothing of the other's.
#[test]
fn what_two_outputs_of_a_run_have_counts_once_and_nothing_is_lost_between_them() {
    let flows: Vec<Flow> =
        (1..=9).map(|id| flow_at(id, State::Dropped, i64::try_from(id).unwrap())).collect();
    let log = |ids: &[usize]| Log::new().flows(ids.iter().map(|id| &flows[*id - 1])).text;
    for (one, other, repeated) in [
        (&[1, 3, 5, 7, 9][..], &[2, 4, 6, 8][..], 0),
        (&[2, 4, 6, 8], &[1, 3, 5, 7, 9], 0),
        (&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[3, 6, 9], 3),
        (&[3, 6, 9], &[1, 2, 3, 4, 5, 6, 7, 8, 9], 3),
        (&[1, 2, 3, 4, 5, 6], &[1, 5, 6, 7, 8, 9], 3),
        // Up to somewhere they have the same.
        (&[1, 2, 3, 5, 7, 9], &[1, 2, 3, 4, 6, 8], 3),
    ] {
        let (one, other) = (log(one), log(other));
        let observed = read(&[("one.json", &one), ("other.json", &other), ("one.json.copy", &one)]);
        let edge = &observed.edges[0];
        let counted = (observed.edges.len(), edge.count, observed.read.lines["flow"], observed.read.missing);
        assert_eq!(counted, (1, 9, 9, 0));
        let copied = u64::try_from(one.iter().filter(|byte| **byte == b'\n').count()).unwrap();
        let told = format!("{} lines were given more than once", repeated + copied);
        assert!(observed.limits.iter().any(|limit| limit.starts_with(&told)), "{:?}", observed.limits);
    }
}

#[test]
fn what_is_no_record_is_told_with_its_place() {
    let good = String::from_utf8(Log::new().flow(&flow()).text).unwrap();
    let cases = [
        ("torn", &good[..good.len() - 40], Some("the last line is torn")),
        ("no JSON", "kernel: hello\n", Some("not JSON: expected value at column 1")),
        (
            "another schema",
            "{\"@timestamp\":\"2026-11-30T08:00:00Z\"}\n",
            Some("no record of flowlog: it has no"),
        ),
        ("another type", "{\"v\":\"1\",\"kind\":\"flow\"}\n", Some("no record of flowlog: invalid type")),
        ("newer", "{\"v\":2,\"kind\":\"flow\"}\n", Some("of schema version 2: this flowlog reads up to 1")),
        ("no version", "{\"v\":0,\"kind\":\"flow\"}\n", Some("of schema version 0, which there never was")),
        (
            "without a run",
            "{\"v\":1,\"seq\":1,\"kind\":\"flow\"}\n",
            Some("a `flow` that cannot be read: missing field `node`"),
        ),
        (
            "an unknown class",
            &good.replace("denied_attempt", "odd\\u001b[2J"),
            Some("a `flow` that cannot be read: unknown variant"),
        ),
        (
            "a pod without a namespace",
            &good.replace("\"namespace\":\"shop\",\"pod\"", "\"pod\""),
            Some("`source` is a pod without `namespace`"),
        ),
        ("a kind that is not known", &good.replace("\"kind\":\"flow\"", "\"kind\":\"dream\""), None),
        ("a blank line", "\n \r\n", None),
    ];
    for (name, text, expected) in cases {
        let observed = read(&[("before", b""), ("log", text.as_bytes())]);
        let found: Vec<_> =
            observed.problems.iter().map(|one| (&*one.file, one.line, one.what.as_str())).collect();
        match (expected, &found[..]) {
            (None, []) => {}
            (Some(expected), [("log", Some(1), what)]) if what.starts_with(expected) => {
                assert!(!what.contains(char::is_control), "{name}: {what:?}");
            }
            _ => panic!("{name}: {found:?}"),
        }
        assert_eq!(observed.read.unreadable, u64::from(expected.is_some()), "{name}");
    }
    let dream = read(&[("log", good.replace("\"kind\":\"flow\"", "\"kind\":\"dream\"").as_bytes())]);
    assert_eq!((dream.read.lines["dream"], dream.edges.len()), (1, 0));
}

#[test]
fn the_first_problems_are_listed_and_the_rest_is_counted() {
    let observed = read(&[("log", "no\n".repeat(1_000).as_bytes())]);
    let lines: Vec<_> = observed.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, (1..=100).map(Some).collect::<Vec<_>>());
    assert_eq!((observed.more_problems, observed.read.unreadable), (900, 1_000));
}

#[test]
fn a_record_counts_where_it_overlaps_the_time_that_is_asked_for() {
    let folded = Flow { first: at(0), last: at(60), ..flow() };
    for (name, since, until, edges) in [
        ("all", None, None, 1),
        ("it ends in it", Some(at(60)), None, 1),
        ("it begins in it", None, Some(at(0)), 1),
        ("before", Some(at(61)), None, 0),
        ("after", None, Some(at(-1)), 0),
    ] {
        let mut summing = Summing::new(Window { since, until });
        summing.file("log", false);
        summing.block(&Log::new().flow(&folded).text);
        assert_eq!(summing.finish().edges.len(), edges, "{name}");
    }
}

/// As `wide.rs` has it.
const MOST: u32 = 256;

fn to_address(number: u32, name: Option<&str>) -> Flow {
    let mut flow = flow();
    flow.destination.ip = Some(IpAddr::V4(Ipv4Addr::from(0xc633_6400 + number)));
    flow.names = name
        .iter()
        .map(|name| Name {
            name: (*name).into(),
            canonical: None,
            source: NameSource::DnsAnswer,
            age_ns: 5_000_000,
            ttl_s: 30,
        })
        .collect();
    flow
}

#[test]
fn too_many_addresses_are_put_together_in_whatever_order_they_come() {
    let few: Vec<Flow> = (0..MOST).map(|number| to_address(number, None)).collect();
    assert_eq!(summed(&few).len(), few.len());
    let mut many: Vec<Flow> = (0..=MOST).map(|number| to_address(number, None)).collect();
    many.push(to_address(3, Some("api.vendor.example")));
    many.push(to_address(4, Some("api.vendor.example")));
    let mut to_metadata = flow();
    to_metadata.destination.ip = Some([169, 254, 169, 254].into());
    many.push(to_metadata);
    let edges = summed(&many);
    let found: Vec<(String, u64)> =
        edges.iter().map(|edge| (edge.destination.to_string(), edge.count)).collect();
    let expected =
        [("198.51.100.0/24", 256), ("198.51.101.0/24", 1), ("api.vendor.example", 2), ("169.254.169.254", 1)];
    assert_eq!(found, expected.map(|(place, count)| (place.to_owned(), count)));
    many.reverse();
    assert_eq!(counts(&summed(&many)), counts(&edges));
    let log = Log::new().flows(&many).text;
    let observed = read(&[("log", &log)]);
    assert!(
        observed.limits[0]
            .starts_with("1 kinds of connection (who, port, protocol) have more than 256 addresses")
    );
    // Beyond that many names they are one.
    let named: Vec<Flow> =
        (0..3 * MOST).map(|number| to_address(number, Some(&format!("n{number}.example")))).collect();
    let [edge] = &summed(&named)[..] else { panic!() };
    assert_eq!((edge.count, edge.destination.to_string()), (768, "outside the cluster".to_owned()));
}

#[test]
fn too_many_ports_are_one_without_a_port() {
    let probe = |port: u32, address: u32| {
        let mut flow = to_address(address, None);
        flow.destination.port = Some(u16::try_from(1_000 + port).unwrap());
        flow
    };
    let probes: Vec<Flow> = (0..=MOST).map(|port| probe(port, port % 7)).collect();
    let edges = summed(&probes);
    assert_eq!((edges.len(), edges.iter().map(|edge| edge.count).sum::<u64>()), (7, 257));
    assert!(edges.iter().all(|edge| edge.port.is_none()));
}

#[test]
fn parts_that_several_read_give_what_one_would_have_read() {
    use State::{Dropped, Pending};
    let pending = flow_at(1, Pending, 0);
    let mut flows = vec![pending.clone(), flow_at(2, Dropped, 1), update(&pending, Dropped, 9)];
    flows.extend((0..300).map(|number| to_address(number, None)));
    let log = Log::new().flows(&flows).text;
    let whole = read(&[("a", b"no\n"), ("log", &log)]);
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    for cut in [0, 1, 2, 100, 300, lines.len()] {
        let mut first = Summing::new(Window::default());
        let mut second = first.beside();
        first.file("a", false);
        first.block(b"no\n");
        first.file("log", false);
        first.block(&lines[..cut].concat());
        second.file("log", true);
        second.block(&lines[cut..].concat());
        first.merge(second);
        assert_eq!(first.finish(), whole, "cut at {cut}");
    }
}

#[test]
fn edges_that_are_written_are_read_as_they_were() {
    let mut service = flow();
    let named = Service { namespace: "shop".into(), name: "db".into(), port_name: None };
    service.destination.endpoint = Endpoint::Service(Arc::new(named));
    let mut unowned = flow();
    let pod = Pod { workload: None, ..unowned.source.endpoint.as_pod().unwrap().as_ref().clone() };
    unowned.source.endpoint = Endpoint::Pod(Arc::new(pod));
    let mut local = flow();
    local.destination.endpoint = Endpoint::Local;
    let mut blocked = flow();
    blocked.destination.endpoint = Endpoint::External(External { network: Some("office\u{202e}".into()) });
    let named = to_address(1, Some("api.vendor.example"));
    let edges = summed([&flow(), &service, &unowned, &local, &blocked, &named]);
    assert_eq!(edges.len(), 6);
    let text: String = edges.iter().map(|edge| edge_line(edge) + "\n").collect();
    assert!(!text.contains('\u{202e}'));
    let mut again = read(&[("edges", text.as_bytes())]);
    assert_eq!((again.problems.len(), again.read.lines["edge"]), (0, 6));
    for (edge, line) in again.edges.iter_mut().zip(1..) {
        assert_eq!(edge.example.line, Some(line));
        edge.example = edges[usize::try_from(line).unwrap() - 1].example.clone();
    }
    assert_eq!(again.edges, edges);
    assert!(edges.iter().all(|edge| edge.source_traits.origin != Some(Origin::Platform)));
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just(r#"","source":{"kind":"pod"},"destination":{"#.to_owned()),
        Just(r#"a\",\"verdict\":{"#.to_owned()),
        Just("},\"snapshot\":1,".to_owned()),
        "\\PC{0,12}",
        any::<String>(),
    ]
}

/// Flows with every part that there can be, and hostile texts in them.
fn flows() -> impl Strategy<Value = Flow> {
    let some = (texts(), texts(), texts(), any::<[bool; 8]>());
    (some, 0..4_u8, any::<u16>(), 0..5_u64, any::<u32>()).prop_map(|(some, end, port, count, number)| {
        let (one, two, three, [is, has, was, names, trial, replayed, update, existing]) = some;
        let mut flow =
            Flow { count, existing, ..flow_at(u128::from(number % 7), State::Pending, i64::from(number)) };
        flow.update = update;
        flow.source.port = has.then_some(port);
        let mut pod = flow.source.endpoint.as_pod().unwrap().as_ref().clone();
        Arc::make_mut(&mut pod.labels).insert(one.clone(), two.clone());
        pod.host_network = is;
        pod.name = three.as_str().into();
        let pod = Arc::new(pod);
        flow.destination.endpoint = match end {
            0 => Endpoint::Pod(Arc::clone(&pod)),
            1 => Endpoint::External(External { network: is.then(|| two.as_str().into()) }),
            2 => Endpoint::Unknown { reason: three.clone(), pod_uid: None },
            _ => Endpoint::Service(Arc::new(Service {
                namespace: one.clone(),
                name: two.clone(),
                port_name: None,
            })),
        };
        if is && was {
            flow.destination.ip = flow.source.ip;
        }
        if names && end != 0 {
            flow.names = to_address(1, Some(&three)).names;
        }
        flow.source.endpoint = Endpoint::Pod(pod);
        flow.process = was.then(|| Process {
            pid: Some(number),
            comm: Some(one.as_str().into()),
            exe: Some(two.clone()),
            ..Process::default()
        });
        flow.dialed = has.then(|| Dialed {
            ip: [10, 96, 0, 1].into(),
            port,
            service: is.then(|| {
                Arc::new(Service { namespace: "shop".into(), name: three.clone(), port_name: None })
            }),
            note: None,
        });
        flow.verdict.settling = replayed;
        flow.verdict.stale_since = names.then(|| at(0));
        if trial {
            let (egress, ingress) = (flow.verdict.egress.clone(), flow.verdict.ingress.clone());
            flow.verdict.trial = Some(TrialVerdict { decision: Decision::Allow, egress, ingress });
        }
        flow.verdict.egress.reason = is.then(|| one.clone());
        flow.attribution = was.then(|| Attribution::Failed(three.clone()));
        flow.bytes_sent = has.then_some(u64::from(number));
        flow.outcome.errno = is.then_some(111);
        flow
    })
}

proptest! {
    #[test]
    fn a_line_that_is_split_says_what_it_says_where_it_is_parsed(flows in prop::collection::vec(flows(), 1..6)) {
        let observed = read(&[("log", &Log::new().flows(&flows).text)]);
        prop_assert_eq!(observed.problems, []);
        prop_assert_eq!(observed.read.lines["flow"], u64::try_from(flows.len()).unwrap());
    }

    #[test]
    fn so_does_one_that_was_tampered_with(
        flow in flows(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..5_u8, any::<prop::sample::Index>()), 1..4),
    ) {
        const BITS: [&[u8]; 16] = [
            b"\"", b",", b"}", b"{", b":", b"0", b"1", b" ", b"\\", b"null", b"-1", b"1e3", b"\xff", b"\"port\":1,",
            b"\"v\":1,", b"\"class\":\"allowed\",",
        ];
        // What the line has in common with the one before is known by then.
        let good = Log::new().flow(&flow);
        let begin = good.text.len();
        let mut both = good.flow(&flow).text;
        let mut text = both.split_off(begin);
        for (place, what, other) in changes {
            let (place, other) = (place.index(text.len()), other.index(text.len()));
            match what {
                0 => drop(text.remove(place)),
                1 => drop(text.drain(place.min(other)..place.max(other))),
                2 => drop(text.splice(place..place, BITS[other % BITS.len()].iter().copied())),
                3 => text[place] = BITS[other % BITS.len()][0],
                _ => {
                    // Between two members.
                    let comma = text[place..].iter().position(|byte| *byte == b',').map_or(place, |at| place + at + 1);
                    drop(text.splice(comma..comma, BITS[13 + other % 3].iter().copied()));
                }
            }
            if text.is_empty() {
                return Ok(());
            }
        }
        read(&[("log", &text)]);
        both.extend_from_slice(&text);
        read(&[("log", &both)]);
    }
}

#[test]
fn an_end_is_known_again_by_all_of_its_text() {
    let of_image = |image: &str| {
        let mut flow = flow();
        let mut pod = flow.source.endpoint.as_pod().unwrap().as_ref().clone();
        pod.containers =
            [crate::model::Container { image: image.to_owned(), ..pod.containers[0].clone() }].into();
        flow.source.endpoint = Endpoint::Pod(Arc::new(pod));
        flow
    };
    let mut to_itself = of_image("web:1");
    to_itself.destination = crate::model::Party { port: Some(80), ..to_itself.source.clone() };
    let flows =
        [of_image("web:1"), of_image("web:2"), of_image("web:1"), to_itself.clone(), to_itself, flow()];
    let edges = summed(&flows);
    let found: Vec<_> =
        edges.iter().map(|edge| (edge.source_traits.image.as_deref().unwrap(), edge.count)).collect();
    assert_eq!(found, [("web:1", 2), ("docker.io/library/nginx:1.29", 1), ("web:1", 2), ("web:2", 1)]);
}

#[test]
fn what_the_encoder_writes_is_not_parsed_whole() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let named = to_address(1, Some("api.vendor.example"));
    let mut trial = flow();
    trial.verdict.trial = Some(TrialVerdict {
        decision: Decision::Allow,
        egress: trial.verdict.egress.clone(),
        ingress: trial.verdict.ingress.clone(),
    });
    let all: Vec<Flow> = [flow(), named, trial]
        .into_iter()
        .chain(std::iter::repeat_with(|| plain(&mut runner)).take(50))
        .collect();
    let mut summing = Summing::new(Window::default());
    summing.file("log", false);
    summing.block(&Log::new().flows(&all).text);
    assert_eq!((summing.parsed_whole(), summing.finish().read.lines["flow"]), (0, 53));
}

/// A flow without texts of its own that need an escape: those are parsed whole where they differ from line to line.
fn plain(runner: &mut proptest::test_runner::TestRunner) -> Flow {
    let mut flow = flows().new_tree(runner).unwrap().current();
    flow.process =
        Some(Process { pid: Some(1), comm: Some("curl".into()), cgroup_id: 1, ..Process::default() });
    flow
}
