//! Open Cybersecurity Schema Framework 1.8: flows as Network Activity, findings as Detection Findings, losses as Application
//! Errors, the agent's own as Application Lifecycle. What OCSF has no attribute for goes under `unmapped.flowlog`.

use super::Encoding;
use super::agent::{Agent, AgentEvent, AgentLine};
use super::finding::FindingLine;
use super::format::Format;
use super::native::{FlowLine, LossLine};
use super::passage::{Passage, iana, rank, succeeded};
use super::shorten::Shortening;
use super::tree::{self, Made, Move, Node, Tree, ns_between};
use crate::model::{
    Decision, Direction, DirectionVerdict, Endpoint, Flow, LiveFinding, Loss, Party, Severity, State, Verdict,
};
use jiff::Timestamp;
use serde_json::Error;

const VERSION: &str = "1.8.0";

/// Attributes of these are refused where they are not named.
const FLOW_PROFILES: &[&str] = &["container", "datetime", "host", "security_control"];
const FINDING_PROFILES: &[&str] = &["container", "datetime", "host"];
const PROFILES: &[&str] = &["datetime", "host"];

/// A class of events: the number of its category, its own, and its names.
struct Class {
    category: (u32, &'static str),
    uid: u32,
    name: &'static str,
}

const NETWORK_ACTIVITY: Class =
    Class { category: (4, "Network Activity"), uid: 4_001, name: "Network Activity" };
const DETECTION_FINDING: Class = Class { category: (2, "Findings"), uid: 2_004, name: "Detection Finding" };
const APPLICATION: (u32, &str) = (6, "Application Activity");
const APPLICATION_LIFECYCLE: Class =
    Class { category: APPLICATION, uid: 6_002, name: "Application Lifecycle" };
const APPLICATION_ERROR: Class = Class { category: APPLICATION, uid: 6_008, name: "Application Error" };

/// What OCSF has an attribute for that means the same. Of a finding both ends and the process stand in `evidences[]`.
pub(super) const MOVES: [Move; 33] = [
    ("time", "time_dt"),
    ("node", "device.name"),
    ("flow.first", "start_time_dt"),
    ("flow.last", "end_time_dt"),
    ("flow.count", "count"),
    ("flow.community_id", "connection_info.community_uid"),
    ("flow.bytes_sent", "traffic.bytes_out"),
    ("flow.bytes_received", "traffic.bytes_in"),
    ("outcome.state", "status_detail"),
    ("outcome.errno", "status_code"),
    ("finding.title", "finding_info.title"),
    ("finding.fingerprint", "finding_info.uid"),
    ("finding.id", "finding_info.analytic.uid"),
    ("finding.first", "finding_info.first_seen_time_dt"),
    ("finding.last", "finding_info.last_seen_time_dt"),
    ("finding.count", "count"),
    ("loss.cause", "status_detail"),
    ("loss.count", "count"),
    ("loss.first", "start_time_dt"),
    ("loss.last", "end_time_dt"),
    ("agent.version", "app.version"),
    ("agent.kernel", "device.os.kernel_release"),
    ("agent.reason", "status_detail"),
    ("agent.gap.from", "start_time_dt"),
    ("agent.gap.to", "end_time_dt"),
    ("agent.gap.reason", "status_detail"),
    ("agent.event", "activity_name"),
    ("source.ip", "src_endpoint.ip"),
    ("source.port", "src_endpoint.port"),
    ("destination.ip", "dst_endpoint.ip"),
    ("destination.port", "dst_endpoint.port"),
    ("source.pod_uid", "src_endpoint.uid"),
    ("destination.pod_uid", "dst_endpoint.uid"),
];

/// What OCSF asks for beside that, and what it has in another shape.
pub(super) const MADE: [Made; 54] = [
    ("metadata.version", "always `1.8.0`"),
    ("metadata.product.name", "always `flowlog`"),
    ("metadata.product.vendor_name", "always `flowlog`"),
    ("metadata.profiles", "the profiles whose attributes the line has"),
    ("metadata.log_name", "`kind`"),
    ("metadata.is_truncated", "true where there is `truncated`"),
    ("category_uid", "4 of a `flow`, 2 of a `finding`, 6 of a `loss` and of the agent"),
    ("category_name", "its name"),
    ("class_uid", "4001 of a `flow`, 2004 of a `finding`, 6008 of a `loss`, 6002 of the agent"),
    ("class_name", "its name"),
    (
        "activity_id",
        "of a `flow` 1 Open, 4 Fail, 5 Refuse, 6 Traffic (datagrams, updates, what was open before), 0 not known yet; of a \
         `finding` 1 Create, 2 Update (`finding.repeat`); of a `loss` 1; of the agent 3 Start, 4 Stop, 8 Update, 99 else",
    ),
    ("type_uid", "`class_uid` × 100 + `activity_id`"),
    ("severity_id", "1 `info`, 2 `low`, 3 `medium`, 4 `high`, 5 `critical`; of a `loss` and a `gap` 3"),
    ("severity", "its name"),
    ("time", "`time` in milliseconds"),
    ("start_time", "`start_time_dt` in milliseconds"),
    ("end_time", "`end_time_dt` in milliseconds"),
    ("duration", "from `start_time` to `end_time`, milliseconds; not `flow.duration_ms`"),
    (
        "status_id",
        "1 Success, 2 Failure, 0 Unknown: `outcome.state` alone, never the verdict; of a `finding` 1 New; of a `loss` 2",
    ),
    ("status", "its name"),
    (
        "disposition_id",
        "1 Allowed: it went through; 15 Detected: likewise, though the policies deny it; 25 Rejected; 6 Dropped, as the \
         kernel reported; 2 Blocked: the policies deny it, and it did not go through; 0 else",
    ),
    ("action_id", "1 Allowed, 3 Observed (Detected), 2 Denied (Rejected, Dropped, Blocked), 0 else"),
    ("is_alert", "true of a `finding`"),
    ("policy.name", "the first policy of the side that decides, `namespace/name`"),
    ("policy.type", "its kind"),
    ("device.type_id", "1, a server"),
    ("device.os.name", "always `Linux`"),
    ("device.os.type_id", "200"),
    ("app.name", "always `flowlog`"),
    ("app.vendor_name", "always `flowlog`"),
    (
        "observation_point_id",
        "`flow.direction`: 1 `egress`, told at the source; 2 `ingress`, at the destination",
    ),
    (
        "connection_info.direction_id",
        "3 Lateral between pods, services and nodes; 4 Local on the loopback; else 2 Outbound for `egress`, 1 Inbound",
    ),
    ("connection_info.protocol_name", "`flow.protocol`; `icmpv6` is `ipv6-icmp`, as IANA names it"),
    ("connection_info.protocol_num", "its number"),
    ("connection_info.protocol_ver_id", "`flow.family`: 4 or 6"),
    ("traffic.bytes", "both directions, where both are known"),
    (
        "src_endpoint.name",
        "the pod's name, the node's, the service's; else what stands there, where no address is known",
    ),
    ("dst_endpoint.name", "likewise"),
    ("dst_endpoint.hostname", "the first of `destination.names`"),
    ("src_endpoint.container.name", "`source.container`"),
    ("src_endpoint.container.image.name", "`source.image`, where its digest is known"),
    ("src_endpoint.container.image.uid", "`source.image_digest`"),
    ("dst_endpoint.container.name", "likewise of the destination"),
    ("dst_endpoint.container.image.name", "likewise"),
    ("dst_endpoint.container.image.uid", "likewise"),
    ("actor.process.pid", "`process.pid`; without it the process stays under `unmapped.flowlog`"),
    ("actor.process.name", "`process.comm`"),
    ("actor.process.path", "`process.exe`"),
    ("finding_info.analytic.type_id", "1, a rule"),
    ("finding_info.first_seen_time", "in milliseconds"),
    ("finding_info.last_seen_time", "in milliseconds"),
    ("finding_info.related_events", "`finding.flows`, each as `uid`"),
    (
        "resources",
        "`finding.subject`, in role 3 Affected, and `finding.object`, in role 4 Related, each as `name`",
    ),
    ("evidences", "the last flow that shows it: `src_endpoint`, `dst_endpoint`, `process`"),
];

pub(super) fn flow(
    out: &mut Vec<u8>,
    flow: &Flow,
    with: Encoding<'_>,
    short: &Shortening,
) -> Result<(), Error> {
    let line = FlowLine::of(flow, with.run, with.labelling, short);
    tree::append(out, Format::Ocsf, &line, |tree| {
        let (activity, status) = (activity(flow), succeeded(flow.outcome.state));
        begin(tree, &NETWORK_ACTIVITY, activity, FLOW_PROFILES, flow.last);
        severity(tree, flow.class.severity());
        let (status_id, status) = match status {
            Some(true) => (1, "Success"),
            Some(false) => (2, "Failure"),
            None => (0, "Unknown"),
        };
        tree.put("status_id", status_id);
        tree.put("status", status);
        let (disposition, action) = disposition(flow);
        tree.put("disposition_id", disposition);
        tree.put("action_id", action);
        policy(tree, &flow.verdict, short);
        connection(tree, flow);
        let both = flow.bytes_sent.zip(flow.bytes_received);
        tree.put_some("traffic.bytes", both.map(|(sent, received)| sent.saturating_add(received)));
        end(tree, &SOURCE);
        end(tree, &DESTINATION);
        process(tree, ["actor.process.pid", "actor.process.name", "actor.process.path"]);
        span(tree, Some((flow.first, flow.last)));
        tree.take_over(&MOVES);
    })
}

pub(super) fn finding(
    out: &mut Vec<u8>,
    found: &LiveFinding,
    with: Encoding<'_>,
    short: &Shortening,
) -> Result<(), Error> {
    let line = FindingLine::of(found, with.run, with.labelling, short);
    tree::append(out, Format::Ocsf, &line, |tree| {
        begin(tree, &DETECTION_FINDING, if found.repeat { 2 } else { 1 }, FINDING_PROFILES, found.last);
        severity(tree, found.severity);
        tree.take("finding.repeat");
        tree.put("status_id", 1);
        tree.put("status", "New");
        tree.put("is_alert", true);
        tree.put("finding_info.analytic.type_id", 1);
        tree.put("finding_info.first_seen_time", found.first.as_millisecond());
        tree.put("finding_info.last_seen_time", found.last.as_millisecond());
        if let Some(Node::List(flows)) = tree.take("finding.flows") {
            let events = flows.into_iter().map(|flow| Node::object([("uid", flow)])).collect();
            tree.put_node("finding_info.related_events", Some(Node::List(events)));
        }
        let about = [("finding.subject", 3), ("finding.object", 4)];
        let resources = about
            .iter()
            .filter_map(|(path, role)| {
                Some(Node::object([("name", tree.take(path)?), ("role_id", tree.leaf(role))]))
            })
            .collect();
        tree.put_node("resources", Some(Node::List(resources)));
        end(tree, &SOURCE);
        end(tree, &DESTINATION);
        process(tree, ["process.pid", "process.name", "process.path"]);
        tree.take_over(&MOVES);
        let parts = ["src_endpoint", "dst_endpoint", "process"];
        let evidence = parts.into_iter().filter_map(|part| Some((part, tree.give(part)?)));
        let evidence = Node::object(evidence.collect::<Vec<_>>());
        tree.put_node("evidences", Some(Node::List(vec![evidence])));
    })
}

pub(super) fn loss(
    out: &mut Vec<u8>,
    loss: &Loss,
    with: Encoding<'_>,
    short: &Shortening,
) -> Result<(), Error> {
    tree::append(out, Format::Ocsf, &LossLine::of(loss, with.run, short), |tree| {
        begin(tree, &APPLICATION_ERROR, 1, PROFILES, loss.last);
        severity(tree, Severity::Medium);
        tree.put("status_id", 2);
        tree.put("status", "Failure");
        span(tree, Some((loss.first, loss.last)));
        tree.take_over(&MOVES);
    })
}

pub(super) fn agent(
    out: &mut Vec<u8>,
    agent: &Agent,
    with: Encoding<'_>,
    short: &Shortening,
) -> Result<(), Error> {
    tree::append(out, Format::Ocsf, &AgentLine::of(agent, with.run, short), |tree| {
        let (activity, gap) = match &agent.event {
            AgentEvent::Start(_) => (3, None),
            AgentEvent::Stop(_) => (4, None),
            AgentEvent::Config(_) => (8, None),
            AgentEvent::Snapshot(_) => (99, None),
            AgentEvent::Gap(gap) => (99, Some((gap.from, gap.to))),
        };
        begin(tree, &APPLICATION_LIFECYCLE, activity, PROFILES, agent.time);
        severity(tree, if gap.is_some() { Severity::Medium } else { Severity::Info });
        tree.put("app.name", "flowlog");
        tree.put("app.vendor_name", "flowlog");
        if tree.get("agent.kernel").is_some() {
            tree.put("device.os.name", "Linux");
            tree.put("device.os.type_id", 200);
        }
        span(tree, gap);
        tree.take_over(&MOVES);
    })
}

fn begin(tree: &mut Tree, class: &Class, activity: u32, profiles: &[&str], time: Timestamp) {
    tree.put("metadata.version", VERSION);
    tree.put("metadata.product.name", "flowlog");
    tree.put("metadata.product.vendor_name", "flowlog");
    tree.put("metadata.profiles", profiles);
    tree.copy("kind", "metadata.log_name");
    if tree.get("truncated").is_some() {
        tree.put("metadata.is_truncated", true);
    }
    tree.put("category_uid", class.category.0);
    tree.put("category_name", class.category.1);
    tree.put("class_uid", class.uid);
    tree.put("class_name", class.name);
    tree.put("activity_id", activity);
    tree.put("type_uid", class.uid * 100 + activity);
    tree.put("time", time.as_millisecond());
    tree.put("device.type_id", 1);
}

fn severity(tree: &mut Tree, severity: Severity) {
    let name = match severity {
        Severity::Info => "Informational",
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
        Severity::Critical => "Critical",
    };
    tree.take("severity");
    tree.put("severity_id", rank(severity));
    tree.put("severity", name);
}

fn span(tree: &mut Tree, time: Option<(Timestamp, Timestamp)>) {
    let Some((first, last)) = time else { return };
    tree.put("start_time", first.as_millisecond());
    tree.put("end_time", last.as_millisecond());
    tree.put_some("duration", ns_between(first, last).map(|ns| ns / 1_000_000));
}

fn activity(flow: &Flow) -> u32 {
    let (open, fail, refuse, traffic, unknown) = (1, 4, 5, 6, 0);
    match flow.outcome.state {
        State::Established if flow.existing || flow.count == 0 => traffic,
        State::Established => open,
        State::Answered | State::Received | State::Sent => traffic,
        State::Refused => refuse,
        State::Unreachable | State::Rejected | State::Dropped | State::Aborted => fail,
        State::Pending | State::Unknown => unknown,
    }
}

/// The numbers of disposition and action.
fn disposition(flow: &Flow) -> (u32, u32) {
    let (allowed, denied, observed, unknown) = (1, 2, 3, 0);
    match Passage::of(flow) {
        Passage::Passed => (1, allowed),
        Passage::NotEnforced => (15, observed),
        Passage::Rejected => (25, denied),
        Passage::Dropped => (6, denied),
        Passage::Blocked => (2, denied),
        Passage::Unknown => (0, unknown),
    }
}

/// Of all policies OCSF has room for one; all of them stay in `unmapped.flowlog.verdict`.
fn policy(tree: &mut Tree, verdict: &Verdict, short: &Shortening) {
    let sides = [&verdict.egress, &verdict.ingress];
    let decides = |side: &&&DirectionVerdict| !side.policies.is_empty() && side.decision == verdict.decision;
    let deciding = sides.iter().find(decides).filter(|_| verdict.decision != Decision::Mixed);
    let Some(policy) = deciding.and_then(|side| side.policies.first()) else { return };
    let name = short.name(&policy.name);
    let name = match &policy.namespace {
        Some(namespace) => format!("{}/{name}", short.name(namespace)),
        None => name.to_owned(),
    };
    tree.put("policy.name", name);
    tree.put("policy.type", policy.kind);
}

fn connection(tree: &mut Tree, flow: &Flow) {
    tree.take("flow.direction");
    tree.put(
        "observation_point_id",
        match flow.direction {
            Direction::Egress => 1,
            Direction::Ingress => 2,
        },
    );
    tree.put("connection_info.direction_id", direction(flow));
    let (name, number) = iana(flow.protocol);
    tree.take("flow.protocol");
    tree.put("connection_info.protocol_name", name);
    tree.put("connection_info.protocol_num", number);
    let version = tree.text("flow.family").map(|family| if family == "ipv4" { 4 } else { 6 });
    tree.take("flow.family");
    tree.put_some("connection_info.protocol_ver_id", version);
}

fn direction(flow: &Flow) -> u32 {
    let inside =
        |party: &Party| matches!(party.endpoint, Endpoint::Pod(_) | Endpoint::Service(_) | Endpoint::Node(_));
    match flow.direction {
        _ if inside(&flow.source) && inside(&flow.destination) => 3,
        _ if matches!(flow.destination.endpoint, Endpoint::Local) => 4,
        Direction::Egress => 2,
        Direction::Ingress => 1,
    }
}

/// Paths to what is said of an end, and where OCSF has it.
struct End {
    kind: &'static str,
    ip: &'static str,
    pod: &'static str,
    node: &'static str,
    service: &'static str,
    names: &'static str,
    container: &'static str,
    image: &'static str,
    image_digest: &'static str,
    to_name: &'static str,
    to_hostname: &'static str,
    to_container: &'static str,
    to_image: &'static str,
    to_digest: &'static str,
}

macro_rules! end {
    ($from:literal, $to:literal) => {
        End {
            kind: concat!($from, ".kind"),
            ip: concat!($from, ".ip"),
            pod: concat!($from, ".pod"),
            node: concat!($from, ".node"),
            service: concat!($from, ".service.name"),
            names: concat!($from, ".names"),
            container: concat!($from, ".container"),
            image: concat!($from, ".image"),
            image_digest: concat!($from, ".image_digest"),
            to_name: concat!($to, ".name"),
            to_hostname: concat!($to, ".hostname"),
            to_container: concat!($to, ".container.name"),
            to_image: concat!($to, ".container.image.name"),
            to_digest: concat!($to, ".container.image.uid"),
        }
    };
}

const SOURCE: End = end!("source", "src_endpoint");
const DESTINATION: End = end!("destination", "dst_endpoint");

/// One end, but for what `MOVES` takes over.
fn end(tree: &mut Tree, end: &End) {
    let name = match tree.text(end.kind).unwrap_or_default() {
        "pod" => tree.take(end.pod),
        "node" => tree.take(end.node),
        "service" => tree.take(end.service),
        // An endpoint without an address or a name is refused.
        _ if tree.get(end.ip).is_none() => tree.get(end.kind).cloned(),
        _ => None,
    };
    tree.put_node(end.to_name, name);
    let names = tree.get(end.names).map_or(&[][..], Node::elements);
    let first = names.first().and_then(|name| tree.member(name, "name")).cloned();
    tree.put_node(end.to_hostname, first);
    if let Some(container) = tree.take(end.container) {
        tree.put_node(end.to_container, Some(container));
        // An image without its digest is refused.
        if let Some(digest) = tree.take(end.image_digest) {
            tree.put_node(end.to_digest, Some(digest));
            let image = tree.take(end.image);
            tree.put_node(end.to_image, image);
        }
    }
}

/// A process without its number is refused, and stays ours.
fn process(tree: &mut Tree, to: [&'static str; 3]) {
    if tree.get("process.pid").is_none() {
        return;
    }
    for (from, to) in ["process.pid", "process.comm", "process.exe"].into_iter().zip(to) {
        let node = tree.take(from);
        tree.put_node(to, node);
    }
}
