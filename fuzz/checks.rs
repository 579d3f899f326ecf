//! What must hold of any input, however broken: it is read to its end, and every way to an answer comes to the
//! same one; and of any record, that it is one line.
//!
//! The fuzz targets call these, and so does the test `inputs` of the policy tests, in every run.

use super::records;
use arbitrary::Unstructured;
use flowlog::cluster::{Case, Loaded, Settings, Snapshot, Store};
use flowlog::inventory::{Names, read_answer};
use flowlog::model::{Attribution, Endpoint, Flow, NOISE_LABELS, Party, PolicyRef, Protocol};
use flowlog::policy::{BlockScope, Cache, PolicySet, Query};
use flowlog::record::row::{LineHead, Row};
use flowlog::record::{
    Encoder, Format, Formats, Labelling, Line, MAX_LINE_BYTES, Mask, Run, Wrapped, escape_line, unwrap_line,
};
use jiff::Timestamp;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

const AT: Timestamp = Timestamp::UNIX_EPOCH;

/// So many addresses at most are asked about, each with each.
const ADDRESSES: usize = 5;

/// The text of a file of manifests.
pub(super) fn manifests(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for name in ["cluster.yaml", "cluster.json"] {
        let read = |text: &str| {
            let mut loaded = Loaded::default();
            loaded.add_text(Path::new(name), text);
            loaded
        };
        let loaded = read(text);
        let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert_eq!(Store::start(Settings::default(), loaded, AT).is_err(), !told.is_empty(), "{told:?}");
        let start =
            |text| Store::start(accepting(), read(text), AT).unwrap_or_else(|error| panic!("{error}"));
        let mut store = start(text);
        let fresh = store.snapshot();
        assert_alike(&fresh);
        // By way of another cluster and back.
        let half = text.floor_char_boundary(text.len() / 2);
        for text in [text.get(..half).unwrap_or_default(), text] {
            let reloaded = store.reload(Ok(read(text)), AT).unwrap_or_else(|error| panic!("{error}"));
            assert_alike(&reloaded);
        }
        let names = |snapshot: &Snapshot| {
            let mut names: Vec<_> = snapshot.policies.policies().map(|policy| policy.reference()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&store.snapshot()), names(&fresh), "after a reload");
    }
}

/// A line of cases.
pub(super) fn case(bytes: &[u8]) {
    let Ok(case) = Case::read(bytes) else { return };
    let mut cache = Cache::new(4);
    for query in case.queries.iter().take(2 * ADDRESSES) {
        let answer = case.answer(query, &mut cache);
        assert_eq!(case.answer(query, &mut cache), answer, "{query:?} from a cache");
        assert_eq!(case.answer(query, &mut Cache::new(1)), answer, "{query:?} afresh");
    }
    assert_alike(case.snapshot());
}

/// A byte that says whether what follows is a whole DNS message, and the message.
pub(super) fn answer(bytes: &[u8]) {
    let Some((whole, message)) = bytes.split_first() else { return };
    let Ok(said) = read_answer(message, whole % 2 == 1) else { return };
    for name in [Some(&said.asked), said.canonical.as_ref()].into_iter().flatten() {
        assert!(name.len() <= 253 && name.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{name}");
    }
    // What can be read as a whole is the same where nobody says that it is one.
    assert_eq!(read_answer(message, false).as_ref(), Ok(&said));
    let mut names = Names::default();
    names.learn("pod", &said, 1, |_| true);
    for (ip, _) in &said.addresses {
        let found = names.find("pod", *ip, 1);
        assert!(found.iter().any(|name| name.name == said.asked), "{ip}: {found:?}");
    }
}

/// A line of a log, as whoever reads logs gets it.
pub(super) fn line(bytes: &[u8]) {
    let text = match unwrap_line(bytes) {
        Wrapped::Bare(text) | Wrapped::Whole(text) | Wrapped::Part(text) => text,
        Wrapped::Other => return,
    };
    assert!(bytes.ends_with(text) || bytes.ends_with(b"\n"));
    let (head, row) = (LineHead::read(text), Row::read(text));
    let Ok(row) = row else { return };
    // The beginning alone says the same as the whole.
    match (head, row.seq) {
        (None, None) => {}
        (Some(head), Some(seq)) => {
            assert_eq!((head.seq, &head.kind, &head.node, &head.run), (seq, &row.kind, &row.node, &row.run));
            assert_eq!((head.time(), head.cluster), (Some(row.time), row.cluster.clone()));
        }
        (head, seq) => panic!("{head:?}, and {seq:?}"),
    }
    assert!(row.begins() <= row.time);
    // As a terminal gets it, it is the same record.
    let mut shown = text.to_vec();
    escape_line(&mut shown);
    let is_safe = |c: char| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c);
    assert!(std::str::from_utf8(&shown).is_ok_and(|shown| shown.chars().all(is_safe)));
    let again = Row::read(&shown).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(format!("{again:?}"), format!("{row:?}"));
}

/// Records of any kind, made from any bytes: in every format one line that no text has forged, which holds all that was given
/// or says what it does not, and which the reader of logs reads.
pub(super) fn encoded(bytes: &[u8]) {
    // Where the bytes end before the record does, the rest of it is empty.
    let mut from = Unstructured::new(bytes);
    let (Ok(run), Ok(one), Ok(other)) =
        (records::run(&mut from), records::flow(&mut from), records::flow(&mut from))
    else {
        return;
    };
    let (Ok(finding), Ok(loss)) = (records::finding(&mut from, &one), records::loss(&mut from)) else {
        return;
    };
    // What lines have in common is kept, and is not to be mistaken.
    let swapped =
        Flow { source: other.destination.clone(), destination: one.source.clone(), ..other.clone() };
    let renamed =
        Flow { source_whose: one.destination_whose.clone(), verdict: other.verdict.clone(), ..one.clone() };
    let flows = [&one, &other, &swapped, &renamed, &one];
    let mut kept = encoder(&run);
    for flow in flows {
        let line = kept.flow(flow).unwrap_or_else(|error| panic!("{error}"));
        let afresh = encoder(&run).flow(flow).unwrap_or_else(|error| panic!("{error}"));
        for format in Format::ALL {
            let [line, afresh] = [&line, &afresh].map(|line| line.to_format(format));
            assert_eq!(line.body(), afresh.body(), "kept texts in {format:?}: {flow:?}");
            assert_line(&line);
        }
        assert_says_all(&line, flow);
    }
    let finding = kept.finding(&finding).unwrap_or_else(|error| panic!("{error}"));
    let loss = kept.loss(&loss).unwrap_or_else(|error| panic!("{error}"));
    Format::ALL.iter().for_each(|format| assert_line(&finding.to_format(*format)));
    Format::ALL.iter().for_each(|format| assert_line(&loss.to_format(*format)));
}

fn encoder(run: &Run) -> Encoder {
    Encoder::new(run.clone(), Labelling::default()).in_formats(Formats::of(Format::ALL))
}

/// The line under the longest number that there is, as JSON.
fn assert_line(line: &Line) {
    let mut bytes = Vec::new();
    line.append_to(u64::MAX, &mut bytes);
    assert!(bytes.len() <= MAX_LINE_BYTES, "{} bytes", bytes.len());
    let text = std::str::from_utf8(&bytes).unwrap_or_else(|error| panic!("{error}"));
    let text = text.strip_suffix('\n').unwrap_or_else(|| panic!("no end: {text}"));
    assert!(!text.chars().any(acts), "{text}");
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let ours = match line.format() {
        Format::Flowlog => &value,
        Format::Ecs => &value["flowlog"],
        Format::Ocsf => &value["unmapped"]["flowlog"],
    };
    assert_eq!((&ours["v"], &ours["seq"]), (&1.into(), &u64::MAX.into()), "{text}");
    if line.format() == Format::Flowlog {
        let row = Row::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!((row.seq, row.kind.0.as_ref()), (Some(u64::MAX), line.about().kind), "{text}");
        let mask = Mask::read("fields", &["process", "source.labels", "dialed"]);
        let mask = mask.unwrap_or_else(|error| panic!("{error}"));
        let masked = line.masked(&mask);
        if masked.body() != line.body() {
            let value = assert_value(&masked);
            let left_out = [&value["process"], &value["source"]["labels"], &value["dialed"]];
            assert_eq!((left_out, &value["masked"]), ([&Value::Null; 3], &true.into()), "{text}");
        }
    }
}

fn assert_value(line: &Line) -> Value {
    let mut bytes = Vec::new();
    line.append_to(1, &mut bytes);
    serde_json::from_slice(&bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)))
}

/// What ends a line, or turns the direction of text.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Every text of the flow is there, or its beginning is and the line says that it was cut.
fn assert_says_all(line: &Line, flow: &Flow) {
    let value = assert_value(line);
    let told: Vec<&str> =
        value["truncated"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_told = |part: &str| told.contains(&part);
    let whole = |part: &str, got: &Value, given: Option<&str>| {
        let (Some(given), got) = (given, got.as_str()) else {
            assert!(given.is_none() && got.is_null(), "{got} is there, and was not given");
            return;
        };
        let got = got.unwrap_or_else(|| panic!("{given:?} is not there: {value}"));
        assert!(got == given || given.starts_with(got) && is_told(part), "{got:?} of {given:?}, {told:?}");
    };
    for (got, party) in [(&value["source"], &flow.source), (&value["destination"], &flow.destination)] {
        let Endpoint::Pod(pod) = &party.endpoint else { continue };
        whole("names", &got["namespace"], Some(&pod.namespace));
        whole("names", &got["pod"], Some(&pod.name));
        whole("names", &got["pod_uid"], Some(&pod.uid));
        whole("names", &got["workload"]["name"], pod.workload.as_ref().map(|workload| &*workload.name));
        whole("names", &got["service_account"], pod.service_account.as_deref());
        for (part, labels) in [("labels", &pod.labels), ("namespace_labels", &pod.namespace_labels)] {
            let shown = labels.iter().filter(|(key, _)| !NOISE_LABELS.contains(&key.as_str()));
            for (key, label) in shown.filter(|_| !is_told(part)) {
                assert_eq!(&got[part][key], label, "{part}: {value}");
            }
        }
    }
    let process = flow.process.as_ref();
    whole("names", &value["process"]["comm"], process.and_then(|process| process.comm.as_deref()));
    whole("reasons", &value["process"]["exe"], process.and_then(|process| process.exe.as_deref()));
    let failed = match &flow.attribution {
        Some(Attribution::Failed(reason)) => Some(&**reason),
        _ => None,
    };
    whole("reasons", &value["attribution"]["reason"], failed);
    for (got, side) in [
        (&value["verdict"]["egress"], &flow.verdict.egress),
        (&value["verdict"]["ingress"], &flow.verdict.ingress),
    ] {
        whole("reasons", &got["reason"], side.reason.as_deref());
        let count = got["policies"].as_array().map_or(0, Vec::len);
        assert!(
            count == side.policies.len() || count > 0 && is_told("policies"),
            "{count} policies: {value}"
        );
    }
}

/// Takes what can be read.
fn accepting() -> Settings {
    Settings { accept_problems: true, ..Settings::default() }
}

/// The index, the direct reading, the cache, the decisions alone and the explanation say the same.
fn assert_alike(snapshot: &Snapshot) {
    // Without pods every question goes to the direct reading.
    let bare = PolicySet::new(snapshot.policies.policies().cloned(), BlockScope::default());
    let mut cache = Cache::new(3);
    let ports: Vec<u16> =
        snapshot.inventory.pods().flat_map(|pod| &*pod.ports).map(|port| port.port).collect();
    let port = ports.first().copied().unwrap_or(80);
    let addresses = addresses(snapshot);
    for source in &addresses {
        for destination in &addresses {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                assert_one(snapshot, &bare, &mut cache, (*source, *destination, port, protocol));
            }
        }
    }
}

fn assert_one(
    snapshot: &Snapshot,
    bare: &PolicySet,
    cache: &mut Cache,
    (source, destination, port, protocol): (IpAddr, IpAddr, u16, Protocol),
) {
    let inventory = &snapshot.inventory;
    let endpoint = inventory.resolve_address(source, AT);
    let source = Party { endpoint, ip: Some(source), port: None };
    let endpoint = inventory.resolve(destination, port, protocol, AT).endpoint();
    let destination = Party { endpoint, ip: Some(destination), port: Some(port) };
    let range = |party: &Party| match (&party.endpoint, party.ip) {
        (Endpoint::Unknown { .. }, Some(ip)) => inventory.find_range(ip)?.node.as_deref(),
        _ => None,
    };
    let range_of = range(&source).or_else(|| range(&destination));
    let query = Query { source: &source, destination: &destination, protocol, port: Some(port), range_of };
    let read = bare.evaluate(&query);
    assert_eq!(snapshot.policies.evaluate(&query), read, "by the index: {query:?}");
    assert_eq!(snapshot.policies.decide(&query), (read.0.decision, read.1.decision), "decided: {query:?}");
    for _ in 0..2 {
        let (egress, ingress) = snapshot.policies.rule_with(&query, cache);
        assert_eq!((egress.verdict(), ingress.verdict()), read, "from a cache: {query:?}");
    }
    let trace = snapshot.explain(&source, &destination, protocol);
    for (told, read) in [(&trace.egress, &read.0), (&trace.ingress, &read.1)] {
        let policies: Vec<PolicyRef> = read.policies.iter().map(|policy| PolicyRef::clone(policy)).collect();
        let told = (told.decision, told.basis, told.tier, &told.policies, &told.reason);
        let read = (read.decision, read.basis, read.tier, &policies, &read.reason);
        assert_eq!(told, read, "explained: {query:?}");
    }
}

/// Of pods and nodes, and one that is nobody's.
fn addresses(snapshot: &Snapshot) -> Vec<IpAddr> {
    let pods = snapshot.inventory.pods().flat_map(|pod| pod.ips.iter().copied()).take(ADDRESSES - 2);
    let nodes = snapshot.inventory.nodes().flat_map(|node| node.ips.iter().copied()).take(1);
    pods.chain(nodes).chain([Ipv4Addr::new(198, 51, 100, 7).into()]).collect()
}
