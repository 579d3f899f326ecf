//! Records of any kind from any bytes: every text hostile, every number at its edge, whatever else would never be together.

use arbitrary::{Result, Unstructured};
use flowlog::model::*;
use flowlog::record::Run;
use jiff::{SignedDuration, Timestamp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What readers of lines, terminals or JSON trip over.
const EVIL: [&str; 10] = [
    "\n",
    "\"},\"kind\":\"flow\",\"class\":\"allowed\"}\n{\"v\":1,\"seq\":1,",
    "\\",
    "\u{1b}[2J",
    "\u{7f}\u{9b}31m",
    "\u{2028}\u{2029}\u{85}",
    "\u{202e}evil\u{2066}",
    "\0",
    "\u{feff}\u{200f}\u{61c}",
    "日本🦀",
];

/// The longest text, in bytes.
const LONGEST: usize = 4_096;

/// Whose lines they are.
pub(super) fn run(from: &mut Unstructured<'_>) -> Result<Run> {
    Ok(Run { node: text(from)?, cluster: maybe(from, text)?, id: text(from)? })
}

/// Some bytes as a process or a server may send them, once or again and again.
fn text(from: &mut Unstructured<'_>) -> Result<String> {
    let piece = match from.int_in_range(0..=3)? {
        0 => (*from.choose(&EVIL)?).to_owned(),
        1 => {
            let length = from.int_in_range(0..=255)?.min(from.len());
            String::from_utf8_lossy(from.bytes(length)?).into_owned()
        }
        _ => {
            let length = from.int_in_range(0..=15)?.min(from.len());
            from.bytes(length)?.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
        }
    };
    let times = if from.ratio(1, 8)? { LONGEST / piece.len().max(1) } else { 1 };
    Ok(piece.repeat(times))
}

fn shared(from: &mut Unstructured<'_>) -> Result<Arc<str>> {
    Ok(text(from)?.into())
}

fn maybe<T>(
    from: &mut Unstructured<'_>,
    one: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if from.arbitrary()? { one(from).map(Some) } else { Ok(None) }
}

fn several<T>(
    from: &mut Unstructured<'_>,
    most: usize,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = from.int_in_range(0..=most)?;
    (0..count).map(|_| one(from)).collect()
}

/// Any number, those at the edges most of all.
fn number(from: &mut Unstructured<'_>) -> Result<u64> {
    match from.int_in_range(0..=3)? {
        0 => Ok(0),
        1 => Ok(u64::MAX),
        _ => from.arbitrary(),
    }
}

/// Any moment that there is, those of our time most of all.
fn moment(from: &mut Unstructured<'_>) -> Result<Timestamp> {
    let ours: Timestamp = "2026-11-23T13:53:52Z".parse().unwrap_or_default();
    match from.int_in_range(0..=7)? {
        0 => Ok(Timestamp::MIN),
        1 => Ok(Timestamp::MAX),
        2 => Ok(Timestamp::UNIX_EPOCH),
        3 => Ok(Timestamp::new(from.arbitrary::<i32>()?.into(), 0).unwrap_or_default()),
        _ => Ok(ours
            .saturating_add(SignedDuration::from_nanos(from.arbitrary::<i32>()?.into()))
            .unwrap_or(ours)),
    }
}

fn address(from: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(match from.arbitrary()? {
        true => Ipv4Addr::from(from.arbitrary::<u32>()?).into(),
        false => Ipv6Addr::from(from.arbitrary::<u128>()?).into(),
    })
}

fn labels(from: &mut Unstructured<'_>) -> Result<Labels> {
    let pairs = several(from, 6, |from| Ok((text(from)?, text(from)?)))?;
    Ok(pairs.into_iter().collect())
}

fn container(from: &mut Unstructured<'_>) -> Result<Container> {
    Ok(Container { name: shared(from)?, id: None, image: text(from)?, image_digest: maybe(from, text)? })
}

fn pod(from: &mut Unstructured<'_>) -> Result<Pod> {
    let workload = |from: &mut Unstructured<'_>| {
        Ok(Workload { kind: text(from)?, name: text(from)?, group: text(from)? })
    };
    Ok(Pod {
        namespace: shared(from)?,
        name: shared(from)?,
        uid: shared(from)?,
        labels: labels(from)?.into(),
        namespace_labels: labels(from)?.into(),
        workload: maybe(from, workload)?.map(Arc::new),
        containers: several(from, 3, container)?.into(),
        service_account: maybe(from, shared)?,
        node: maybe(from, shared)?,
        host_network: from.arbitrary()?,
        ..Pod::default()
    })
}

fn service(from: &mut Unstructured<'_>) -> Result<Service> {
    Ok(Service { namespace: text(from)?, name: text(from)?, port_name: maybe(from, text)? })
}

fn endpoint(from: &mut Unstructured<'_>) -> Result<Endpoint> {
    Ok(match from.int_in_range(0..=6)? {
        0 => Endpoint::Service(service(from)?.into()),
        1 => Endpoint::Node(Node { name: text(from)?, ..Node::default() }.into()),
        2 => Endpoint::External(External { network: maybe(from, shared)? }),
        3 => Endpoint::Local,
        4 => Endpoint::Unknown { reason: text(from)?, pod_uid: maybe(from, text)? },
        _ => Endpoint::Pod(pod(from)?.into()),
    })
}

fn party(from: &mut Unstructured<'_>) -> Result<Party> {
    Ok(Party { endpoint: endpoint(from)?, ip: maybe(from, address)?, port: from.arbitrary()? })
}

fn whose(from: &mut Unstructured<'_>) -> Result<Whose> {
    const ORIGINS: [Option<Origin>; 5] = [
        None,
        Some(Origin::FirstParty),
        Some(Origin::Platform),
        Some(Origin::ThirdParty),
        Some(Origin::Unknown),
    ];
    const SOURCES: [Option<VendorSource>; 4] =
        [None, Some(VendorSource::DnsName), Some(VendorSource::Range), Some(VendorSource::Asn)];
    Ok(Whose {
        origin: *from.choose(&ORIGINS)?,
        vendor: maybe(from, shared)?,
        told_by: *from.choose(&SOURCES)?,
        sensitive: from.arbitrary()?,
    })
}

fn decision(from: &mut Unstructured<'_>) -> Result<Decision> {
    from.choose(&[Decision::Allow, Decision::Deny, Decision::Mixed, Decision::Unknown]).copied()
}

fn policy(from: &mut Unstructured<'_>) -> Result<Arc<PolicyRef>> {
    let kind = *from.choose(&PolicyKind::ALL)?;
    Ok(Arc::new(PolicyRef {
        kind,
        namespace: maybe(from, text)?,
        name: text(from)?,
        rule: from.arbitrary()?,
    }))
}

fn side(from: &mut Unstructured<'_>) -> Result<DirectionVerdict> {
    const BASES: [Basis; 6] =
        [Basis::Policy, Basis::Isolated, Basis::Unselected, Basis::SelfTraffic, Basis::Node, Basis::Unknown];
    const TIERS: [Option<Tier>; 5] =
        [None, Some(Tier::Admin), Some(Tier::Namespace), Some(Tier::Baseline), Some(Tier::Default)];
    Ok(DirectionVerdict {
        decision: decision(from)?,
        basis: *from.choose(&BASES)?,
        tier: *from.choose(&TIERS)?,
        policies: several(from, 40, policy)?.into(),
        reason: maybe(from, text)?,
    })
}

fn verdict(from: &mut Unstructured<'_>) -> Result<Verdict> {
    let example = |from: &mut Unstructured<'_>| Ok((address(from)?, from.arbitrary()?));
    let mixed = |from: &mut Unstructured<'_>| {
        Ok(Mixed {
            allow: from.arbitrary()?,
            deny: from.arbitrary()?,
            unknown: from.arbitrary()?,
            allow_example: maybe(from, example)?,
            deny_example: maybe(from, example)?,
        })
    };
    let trial = |from: &mut Unstructured<'_>| {
        Ok(TrialVerdict { decision: decision(from)?, egress: side(from)?, ingress: side(from)? })
    };
    Ok(Verdict {
        decision: decision(from)?,
        egress: side(from)?,
        ingress: side(from)?,
        mixed: maybe(from, mixed)?,
        snapshot: number(from)?,
        as_of: moment(from)?,
        stale_since: maybe(from, moment)?,
        settling: from.arbitrary()?,
        trial: maybe(from, trial)?,
    })
}

fn outcome(from: &mut Unstructured<'_>) -> Result<Outcome> {
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
    const FACTS: [Evidence; 5] = [
        Evidence::Handshake,
        Evidence::KernelDrop,
        Evidence::SynRetransmitted,
        Evidence::FarEndNoSocket,
        Evidence::None,
    ];
    let drop = |from: &mut Unstructured<'_>| {
        Ok(Drop { reason: shared(from)?, place: *from.choose(&[DropPlace::Opener, DropPlace::Node])? })
    };
    Ok(Outcome {
        state: *from.choose(&STATES)?,
        errno: from.arbitrary()?,
        syn_retries: from.arbitrary()?,
        drop: maybe(from, drop)?,
        evidence: several(from, 16, |from| from.choose(&FACTS).copied())?.into(),
    })
}

fn name(from: &mut Unstructured<'_>) -> Result<Name> {
    Ok(Name {
        name: shared(from)?,
        canonical: maybe(from, shared)?,
        source: NameSource::DnsAnswer,
        age_ns: number(from)?,
        ttl_s: from.arbitrary()?,
    })
}

fn dialed(from: &mut Unstructured<'_>) -> Result<Dialed> {
    const NOTES: [Option<ServiceNote>; 3] =
        [None, Some(ServiceNote::NoEndpoints), Some(ServiceNote::NoSuchPort)];
    Ok(Dialed {
        ip: address(from)?,
        port: from.arbitrary()?,
        service: maybe(from, service)?.map(Arc::new),
        note: *from.choose(&NOTES)?,
    })
}

fn process(from: &mut Unstructured<'_>) -> Result<Process> {
    Ok(Process {
        pid: from.arbitrary()?,
        comm: maybe(from, shared)?,
        exe: maybe(from, text)?,
        cgroup_id: number(from)?,
        container: maybe(from, shared)?,
    })
}

fn attribution(from: &mut Unstructured<'_>) -> Result<Attribution> {
    Ok(match from.int_in_range(0..=3)? {
        0 => Attribution::Late,
        1 => Attribution::Departed,
        2 => Attribution::ByAddress,
        _ => Attribution::Failed(text(from)?),
    })
}

/// A flow.
pub(super) fn flow(from: &mut Unstructured<'_>) -> Result<Flow> {
    const PROTOCOLS: [Protocol; 5] =
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp, Protocol::Icmpv6];
    Ok(Flow {
        id: FlowId(from.arbitrary()?),
        direction: *from.choose(&[Direction::Egress, Direction::Ingress])?,
        protocol: *from.choose(&PROTOCOLS)?,
        icmp: maybe(from, |from| Ok(IcmpMessage::of_port(from.arbitrary()?)))?,
        existing: from.arbitrary()?,
        count: number(from)?,
        first: moment(from)?,
        last: moment(from)?,
        update: from.arbitrary()?,
        duration_ns: maybe(from, number)?,
        bytes_sent: maybe(from, number)?,
        bytes_received: maybe(from, number)?,
        datagrams_sent: maybe(from, number)?,
        datagrams_received: maybe(from, number)?,
        retransmits: maybe(from, number)?,
        srtt: RoundTrip { sum_us: number(from)?, connections: number(from)? },
        connect_ns: maybe(from, number)?,
        source: party(from)?,
        destination: party(from)?,
        source_whose: whose(from)?,
        destination_whose: whose(from)?,
        names: several(from, 4, name)?.into(),
        dialed: maybe(from, dialed)?,
        process: maybe(from, process)?,
        verdict: verdict(from)?,
        outcome: outcome(from)?,
        class: *from.choose(&Class::ALL)?,
        attribution: maybe(from, attribution)?,
        receipts: Receipts::untracked(),
    })
}

/// A finding about a flow.
pub(super) fn finding(from: &mut Unstructured<'_>, flow: &Flow) -> Result<LiveFinding> {
    Ok(LiveFinding {
        id: *from.choose(FindingId::ALL)?,
        severity: *from.choose(&Severity::ALL)?,
        fingerprint: format!("{:032x}", from.arbitrary::<u128>()?),
        subject: text(from)?,
        object: maybe(from, text)?,
        count: number(from)?,
        first: moment(from)?,
        last: moment(from)?,
        flows: several(from, 8, |from| Ok(FlowId(from.arbitrary()?)))?,
        repeat: from.arbitrary()?,
        flow: Box::new(flow.clone()),
    })
}

/// A loss.
pub(super) fn loss(from: &mut Unstructured<'_>) -> Result<Loss> {
    Ok(Loss {
        stage: *from.choose(&[LossStage::Kernel, LossStage::Sink, LossStage::Restart])?,
        cause: *from.choose(&[LossCause::RingFull, LossCause::QueueFull, LossCause::Killed])?,
        what: from.choose(&["attempt", "outcome", "record"]).copied()?,
        class: maybe(from, |from| from.choose(&Class::ALL).copied())?,
        count: number(from)?,
        first: moment(from)?,
        last: moment(from)?,
    })
}
