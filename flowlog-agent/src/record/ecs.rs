//! Elastic Common Schema 9.4: every line valid ECS, with what ECS cannot say of both ends alike under `flowlog`.

use super::Encoding;
use super::agent::{Agent, AgentEvent, AgentLine};
use super::finding::FindingLine;
use super::format::Format;
use super::native::{FlowLine, LossLine};
use super::passage::{Passage, iana, rank, succeeded};
use super::shorten::Shortening;
use super::tree::{Made, Move, Nested, Tree, ns_between};
use crate::model::{Direction, Flow, LiveFinding, Loss, Severity};
use jiff::Timestamp;
use serde_json::{Map, Value};

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

pub(super) fn flow(flow: &Flow, with: Encoding<'_>, short: &Shortening) -> Nested {
    let line = FlowLine::of(flow, with.run, with.labelling, short);
    Nested::of(Format::Ecs, &line, |tree| {
        begin(tree, "flow", "event");
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

pub(super) fn finding(found: &LiveFinding, with: Encoding<'_>, short: &Shortening) -> Nested {
    let line = FindingLine::of(found, with.run, with.labelling, short);
    Nested::of(Format::Ecs, &line, |tree| {
        begin(tree, "finding", "alert");
        event(tree, &["network", "intrusion_detection"], &["info"]);
        connection(tree, found.flow.direction);
        finish(tree, Some(found.severity), Some((found.first, found.last)));
    })
}

pub(super) fn loss(loss: &Loss, with: Encoding<'_>, short: &Shortening) -> Nested {
    Nested::of(Format::Ecs, &LossLine::of(loss, with.run, short), |tree| {
        begin(tree, "loss", "pipeline_error");
        event(tree, &[], &["error"]);
        finish(tree, None, Some((loss.first, loss.last)));
    })
}

pub(super) fn agent(agent: &Agent, with: Encoding<'_>, short: &Shortening) -> Nested {
    Nested::of(Format::Ecs, &AgentLine::of(agent, with.run, short), |tree| {
        let (kind, category, what, time) = match &agent.event {
            AgentEvent::Start(_) => ("event", "process", "start", None),
            AgentEvent::Stop(_) => ("event", "process", "end", None),
            AgentEvent::Config(_) => ("event", "configuration", "change", None),
            AgentEvent::Snapshot(_) => ("state", "configuration", "info", None),
            AgentEvent::Gap(gap) => ("pipeline_error", "process", "info", Some((gap.from, gap.to))),
        };
        begin(tree, "agent", kind);
        event(tree, &[category], &[what]);
        tree.change("agent.counters.sinks", named);
        tree.change("agent.config", |config| config.to_string().into());
        finish(tree, None, time);
    })
}

fn begin(tree: &mut Tree, record: &str, kind: &str) {
    tree.put("ecs.version", VERSION);
    tree.put("event.kind", kind);
    tree.put("event.module", "flowlog");
    tree.put("event.dataset", format!("flowlog.{record}"));
    tree.put("agent.type", "flowlog");
    tree.put("orchestrator.type", "kubernetes");
    let run = tree.get("run").cloned();
    tree.put_some("agent.ephemeral_id", run);
}

fn event(tree: &mut Tree, category: &[&str], types: &[&str]) {
    if !category.is_empty() {
        tree.put("event.category", category);
    }
    tree.put("event.type", types);
}

/// What a flow and a finding have in common.
fn connection(tree: &mut Tree, direction: Direction) {
    let end = match direction {
        Direction::Egress => "source",
        Direction::Ingress => "destination",
    };
    local(tree, end);
    let names: Vec<Value> = tree
        .get("destination.names")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.get("name").cloned())
        .collect();
    tree.put_some("destination.domain", names.first().cloned());
    if !names.is_empty() {
        tree.put("related.hosts", unique(names));
    }
    let ips = ["source.ip", "destination.ip", "dialed.ip"].iter().filter_map(|path| tree.get(path).cloned());
    let ips = unique(ips);
    if !ips.is_empty() {
        tree.put("related.ip", ips);
    }
    for end in ["source", "destination"] {
        for labels in ["labels", "namespace_labels"] {
            tree.change(&format!("{end}.{labels}"), pairs);
        }
    }
}

/// The pod whose node tells this: ECS has room for one.
fn local(tree: &mut Tree, end: &str) {
    let of = |tree: &Tree, name: &str| tree.get(&format!("{end}.{name}")).cloned();
    if let Some(pod) = of(tree, "pod") {
        tree.put("orchestrator.resource.type", "pod");
        tree.put("orchestrator.resource.name", pod);
    }
    for (from, to) in [
        ("namespace", "orchestrator.namespace"),
        ("pod_uid", "orchestrator.resource.id"),
        ("workload.kind", "orchestrator.resource.parent.type"),
        ("container", "container.name"),
    ] {
        let value = of(tree, from);
        tree.put_some(to, value);
    }
    if let Some(Value::String(image)) = of(tree, "image") {
        let (name, tag) = name_and_tag(&image);
        tree.put("container.image.name", name);
        tree.put_some("container.image.tag", tag.map(|tag| vec![tag]));
    }
    if let Some(digest) = of(tree, "image_digest") {
        tree.put("container.image.hash.all", [digest].as_slice());
    }
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

/// `{"key": "value"}` as `["key=value"]`.
fn pairs(labels: Value) -> Value {
    let Value::Object(labels) = labels else { return labels };
    let pair = |(key, value): (String, Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    labels.into_iter().map(pair).collect::<Vec<_>>().into()
}

/// `{"name": {…}}` as `[{"name": "name", …}]`.
fn named(parts: Value) -> Value {
    let Value::Object(parts) = parts else { return parts };
    let with_name = |(name, part): (String, Value)| {
        let mut members = Map::from_iter([("name".to_owned(), Value::String(name))]);
        if let Value::Object(part) = part {
            members.extend(part);
        }
        Value::Object(members)
    };
    parts.into_iter().map(with_name).collect::<Vec<_>>().into()
}

fn unique(values: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut all = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}
