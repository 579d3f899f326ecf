//! Elastic Common Schema 9.4: every line valid ECS, with what ECS cannot say of both ends alike under `flowlog`.

use super::Encoding;
use super::agent::{Agent, AgentEvent, AgentLine};
use super::finding::FindingLine;
use super::format::Format;
use super::native::{FlowLine, LossLine};
use super::passage::{Passage, iana, rank, succeeded};
use super::shorten::Shortening;
use super::tree::{self, Made, Move, Node, Tree, ns_between};
use crate::model::{Direction, Flow, LiveFinding, Loss, Severity};
use jiff::Timestamp;
use serde_json::Error;

const VERSION: &str = "9.4.0";

/// What ECS has a field for that means the same.
pub(super) const MOVES: [Move; 33] = [
    ("time", "@timestamp"),
    ("node", "host.name"),
    ("cluster", "orchestrator.cluster.name"),
    ("class", "event.action"),
    ("flow.first", "event.start"),
    ("flow.last", "event.end"),
    ("flow.direction", "network.direction"),
    ("flow.family", "network.type"),
    ("flow.community_id", "network.community_id"),
    ("flow.bytes_sent", "source.bytes"),
    ("flow.bytes_received", "destination.bytes"),
    ("source.ip", "source.ip"),
    ("source.port", "source.port"),
    ("destination.ip", "destination.ip"),
    ("destination.port", "destination.port"),
    ("process.pid", "process.pid"),
    ("process.comm", "process.name"),
    ("process.exe", "process.executable"),
    ("outcome.errno", "error.code"),
    ("finding.id", "rule.id"),
    ("finding.title", "rule.name"),
    ("finding.first", "event.start"),
    ("finding.last", "event.end"),
    ("loss.cause", "event.reason"),
    ("loss.first", "event.start"),
    ("loss.last", "event.end"),
    ("agent.event", "event.action"),
    ("agent.reason", "event.reason"),
    ("agent.version", "agent.version"),
    ("agent.kernel", "host.os.kernel"),
    ("agent.gap.from", "event.start"),
    ("agent.gap.to", "event.end"),
    ("agent.gap.reason", "event.reason"),
];

/// What ECS asks for beside that.
pub(super) const MADE: [Made; 33] = [
    ("ecs.version", "always `9.4.0`"),
    ("event.module", "always `flowlog`"),
    ("event.dataset", "`flowlog.` and `kind`"),
    (
        "event.kind",
        "`event`; `alert` for a `finding`, `pipeline_error` for a `loss` and a `gap`, `state` for a `snapshot`",
    ),
    (
        "event.category",
        "`network`; of a `finding` `intrusion_detection`, too; of the agent `process` or `configuration`; none of a `loss`",
    ),
    (
        "event.type",
        "`connection`, with `allowed` where it went through, whatever the policies say, and `denied` where a filter was \
         seen at it, or the policies deny it and it did not go through; `info` of a `finding`; `error` of a `loss`; \
         `start`, `end`, `change`, `info` of the agent",
    ),
    (
        "event.outcome",
        "`success`, `failure` or `unknown`: `outcome.state` alone, never the verdict. `pending` and `sent` are `unknown`",
    ),
    ("event.severity", "`severity` as a number: 1 `info`, 2 `low`, 3 `medium`, 4 `high`, 5 `critical`"),
    ("event.duration", "from `event.start` to `event.end`, nanoseconds; not `flow.duration_ms`"),
    ("agent.type", "always `flowlog`"),
    ("agent.ephemeral_id", "`run`"),
    ("network.transport", "`flow.protocol`; `icmpv6` is `ipv6-icmp`, as IANA names it"),
    ("network.iana_number", "its number, as text"),
    ("network.bytes", "both directions, where both are known"),
    ("destination.domain", "the first of `destination.names`"),
    ("related.ip", "the addresses of both ends, and the one that was dialed"),
    ("related.hosts", "`destination.names`"),
    ("orchestrator.type", "always `kubernetes`"),
    (
        "orchestrator.namespace",
        "of the local end's pod: the source's of `egress`, the destination's of `ingress`",
    ),
    ("orchestrator.resource.type", "always `pod`"),
    ("orchestrator.resource.name", "likewise its name"),
    ("orchestrator.resource.id", "likewise its `pod_uid`"),
    ("orchestrator.resource.parent.type", "likewise the kind of its `workload`"),
    ("container.name", "likewise its `container`"),
    ("container.image.name", "likewise its `image` without tag and digest"),
    ("container.image.tag", "the tag"),
    ("container.image.hash.all", "`image_digest`"),
    ("flowlog.source.labels", "`source.labels`, each as `key=value`: dots in keys would nest"),
    ("flowlog.source.namespace_labels", "likewise"),
    ("flowlog.destination.labels", "likewise"),
    ("flowlog.destination.namespace_labels", "likewise"),
    ("flowlog.agent.counters.sinks", "`agent.counters.sinks` as a list, each with its `name`"),
    ("flowlog.agent.config", "`agent.config` as JSON in a text: its keys are no fields"),
];

pub(super) fn flow(
    out: &mut Vec<u8>,
    flow: &Flow,
    with: Encoding<'_>,
    short: &Shortening,
) -> Result<(), Error> {
    let line = FlowLine::of(flow, with.run, with.labelling, short);
    tree::append(out, Format::Ecs, &line, |tree| {
        begin(tree, "flowlog.flow", "event");
        event(tree, &["network"], &types(flow));
        tree.put("event.outcome", outcome(flow));
        connection(tree, flow.direction);
        let (name, number) = iana(flow.protocol);
        tree.take("flow.protocol");
        tree.put("network.transport", name);
        tree.put("network.iana_number", number.to_string());
        let both = flow.bytes_sent.zip(flow.bytes_received);
        tree.put_some("network.bytes", both.map(|(sent, received)| sent.saturating_add(received)));
        finish(tree, Some(flow.class.severity()), Some((flow.first, flow.last)));
    })
}

pub(super) fn finding(
    out: &mut Vec<u8>,
    found: &LiveFinding,
    with: Encoding<'_>,
    short: &Shortening,
) -> Result<(), Error> {
    let line = FindingLine::of(found, with.run, with.labelling, short);
    tree::append(out, Format::Ecs, &line, |tree| {
        begin(tree, "flowlog.finding", "alert");
        event(tree, &["network", "intrusion_detection"], &["info"]);
        connection(tree, found.flow.direction);
        finish(tree, Some(found.severity), Some((found.first, found.last)));
    })
}

pub(super) fn loss(
    out: &mut Vec<u8>,
    loss: &Loss,
    with: Encoding<'_>,
    short: &Shortening,
) -> Result<(), Error> {
    tree::append(out, Format::Ecs, &LossLine::of(loss, with.run, short), |tree| {
        begin(tree, "flowlog.loss", "pipeline_error");
        event(tree, &[], &["error"]);
        finish(tree, None, Some((loss.first, loss.last)));
    })
}

pub(super) fn agent(
    out: &mut Vec<u8>,
    agent: &Agent,
    with: Encoding<'_>,
    short: &Shortening,
) -> Result<(), Error> {
    tree::append(out, Format::Ecs, &AgentLine::of(agent, with.run, short), |tree| {
        let (kind, category, what, time) = match &agent.event {
            AgentEvent::Start(_) => ("event", "process", "start", None),
            AgentEvent::Stop(_) => ("event", "process", "end", None),
            AgentEvent::Config(_) => ("event", "configuration", "change", None),
            AgentEvent::Snapshot(_) => ("state", "configuration", "info", None),
            AgentEvent::Gap(gap) => ("pipeline_error", "process", "info", Some((gap.from, gap.to))),
        };
        begin(tree, "flowlog.agent", kind);
        event(tree, &[category], &[what]);
        tree.name("agent.counters.sinks");
        tree.quote("agent.config");
        finish(tree, None, time);
    })
}

fn begin(tree: &mut Tree, dataset: &str, kind: &str) {
    tree.put("ecs.version", VERSION);
    tree.put("event.kind", kind);
    tree.put("event.module", "flowlog");
    tree.put("event.dataset", dataset);
    tree.put("agent.type", "flowlog");
    tree.put("orchestrator.type", "kubernetes");
    tree.copy("run", "agent.ephemeral_id");
}

fn event(tree: &mut Tree, category: &[&str], types: &[&str]) {
    if !category.is_empty() {
        tree.put("event.category", category);
    }
    tree.put("event.type", types);
}

/// What a flow and a finding have in common.
fn connection(tree: &mut Tree, direction: Direction) {
    local(
        tree,
        match direction {
            Direction::Egress => &SOURCE,
            Direction::Ingress => &DESTINATION,
        },
    );
    let names = tree.get("destination.names").map_or(&[][..], Node::elements);
    let names: Vec<Node> = names.iter().filter_map(|name| tree.member(name, "name").cloned()).collect();
    tree.put_node("destination.domain", names.first().cloned());
    put_unique(tree, "related.hosts", names);
    let ips = ["source.ip", "destination.ip", "dialed.ip"].iter().filter_map(|path| tree.get(path).cloned());
    let ips = ips.collect();
    put_unique(tree, "related.ip", ips);
    for end in [&SOURCE, &DESTINATION] {
        tree.pair(end.labels);
        tree.pair(end.namespace_labels);
    }
}

fn put_unique(tree: &mut Tree, path: &'static str, nodes: Vec<Node>) {
    let nodes = tree.unique(nodes);
    tree.put_node(path, (!nodes.is_empty()).then_some(Node::List(nodes)));
}

/// Paths to what is said of an end.
struct End {
    pod: &'static str,
    namespace: &'static str,
    pod_uid: &'static str,
    workload_kind: &'static str,
    container: &'static str,
    image: &'static str,
    image_digest: &'static str,
    labels: &'static str,
    namespace_labels: &'static str,
}

macro_rules! end {
    ($name:literal) => {
        End {
            pod: concat!($name, ".pod"),
            namespace: concat!($name, ".namespace"),
            pod_uid: concat!($name, ".pod_uid"),
            workload_kind: concat!($name, ".workload.kind"),
            container: concat!($name, ".container"),
            image: concat!($name, ".image"),
            image_digest: concat!($name, ".image_digest"),
            labels: concat!($name, ".labels"),
            namespace_labels: concat!($name, ".namespace_labels"),
        }
    };
}

const SOURCE: End = end!("source");
const DESTINATION: End = end!("destination");

/// The pod whose node tells this: ECS has room for one.
fn local(tree: &mut Tree, end: &End) {
    if tree.get(end.pod).is_some() {
        tree.put("orchestrator.resource.type", "pod");
    }
    for (from, to) in [
        (end.pod, "orchestrator.resource.name"),
        (end.namespace, "orchestrator.namespace"),
        (end.pod_uid, "orchestrator.resource.id"),
        (end.workload_kind, "orchestrator.resource.parent.type"),
        (end.container, "container.name"),
    ] {
        tree.copy(from, to);
    }
    if let Some(image) = tree.text(end.image).map(str::to_owned) {
        // No escape has a sign in it by which a reference is taken apart.
        let (name, tag) = name_and_tag(&image);
        let name = tree.quoted(name);
        tree.put_node("container.image.name", Some(name));
        let tag = tag.map(|tag| Node::List(vec![tree.quoted(tag)]));
        tree.put_node("container.image.tag", tag);
    }
    let digest = tree.get(end.image_digest).cloned();
    tree.put_node("container.image.hash.all", digest.map(|digest| Node::List(vec![digest])));
}

fn finish(tree: &mut Tree, severity: Option<Severity>, time: Option<(Timestamp, Timestamp)>) {
    tree.put_some("event.severity", severity.map(rank));
    tree.put_some("event.duration", time.and_then(|(first, last)| ns_between(first, last)));
    tree.take_over(&MOVES);
}

fn types(flow: &Flow) -> Vec<&'static str> {
    let mut types = vec!["connection"];
    if succeeded(flow.outcome.state) == Some(true) {
        types.push("allowed");
    } else if Passage::of(flow).is_denied() {
        types.push("denied");
    }
    types
}

fn outcome(flow: &Flow) -> &'static str {
    match succeeded(flow.outcome.state) {
        Some(true) => "success",
        Some(false) => "failure",
        None => "unknown",
    }
}

/// `registry/name:tag@digest`; a colon before the last slash is a port's.
pub(super) fn name_and_tag(image: &str) -> (&str, Option<&str>) {
    let image = image.split_once('@').map_or(image, |(before, _)| before);
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    match image.get(last..).and_then(|name| name.find(':')) {
        Some(colon) => {
            let (name, tag) = image.split_at(last + colon);
            (name, tag.get(1..).filter(|tag| !tag.is_empty()))
        }
        None => (image, None),
    }
}
