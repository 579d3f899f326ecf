//! What a record tells, as it is counted: whose attempts, how many, and by which names they go.

use crate::commands::observing::ends;
use crate::model::{Class, Decision, Direction, Protocol, State};
use crate::record::row::{EndKindRow, EndRow, PolicyRow, Row, SideRow};
use crate::report::shown;
use jiff::Timestamp;
use std::sync::Arc;

/// A name as it is shown; none stands for all those that are not kept apart.
pub(super) type Name = Option<Arc<str>>;

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Who opens.
    pub(super) source: Name,
    /// Who listens, with the port.
    pub(super) destination: Name,
    /// Whose software stands at the ends.
    pub(super) vendor: Name,
    /// The policies that deny it.
    pub(super) policy: Name,
    pub(super) class: Class,
    // What conditions ask for is the same of all that is counted together.
    pub(super) state: State,
    pub(super) decision: Decision,
    pub(super) direction: Direction,
    /// The listener's view of what the opener's node tells as well.
    pub(super) second: bool,
}

/// A record of flows.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) key: Key,
    /// Where the listener's node tells it: the node of the pod that opens.
    pub(super) opener: Option<Arc<str>>,
    pub(super) time: Timestamp,
    pub(super) id: Option<u128>,
    /// Attempts.
    pub(super) count: u64,
    /// It tells anew what became of an attempt.
    pub(super) update: bool,
    /// It adds sums to what was told, and no more.
    pub(super) sums: bool,
    /// The run before may have told it.
    pub(super) replayed: bool,
    /// A policy of it changed a moment before.
    pub(super) settling: bool,
    /// The record itself.
    pub(super) line: Arc<[u8]>,
}

impl Told {
    /// Of a record that is a flow.
    pub(super) fn of(row: &Row<'_>, line: &[u8]) -> Option<Self> {
        let (flow, source, to) = (row.flow.as_ref()?, row.source.as_ref()?, row.destination.as_ref()?);
        let verdict = row.verdict.as_ref()?;
        let key = Key {
            source: name(workload(source)),
            destination: name(listener(to, flow.protocol)),
            vendor: name(vendors(source, to)),
            policy: name(policies(verdict.decision, &verdict.egress, &verdict.ingress)),
            class: row.class?,
            state: row.outcome.as_ref()?.state,
            decision: verdict.decision,
            direction: flow.direction,
            second: false,
        };
        let is_pods = flow.direction == Direction::Ingress && source.kind == EndKindRow::Pod;
        let opener = source.node.as_deref().filter(|_| is_pods).map(Arc::from);
        // What was open before the agent was there is no attempt.
        let count = if flow.existing { 0 } else { flow.count };
        Some(Self {
            key,
            opener,
            time: row.time,
            id: flow.id.filter(|_| !flow.existing),
            count,
            update: flow.update,
            sums: flow.adds_sums(),
            replayed: flow.replayed,
            settling: verdict.settling,
            line: line.into(),
        })
    }
}

fn name(text: String) -> Name {
    Some(text.into())
}

/// What owns its pods: a Deployment by its name, others with kubectl's short word for their kind; other ends by what they are
/// known by.
fn workload(end: &EndRow<'_>) -> String {
    let text = match (end.kind, &end.workload, &end.pod) {
        (EndKindRow::Pod, Some(owner), _) => {
            let namespace = end.namespace.as_deref().unwrap_or("?");
            match short_kind(&owner.kind) {
                "" => format!("{namespace}/{}", &*owner.name),
                kind => format!("{namespace}/{kind}/{}", &*owner.name),
            }
        }
        (EndKindRow::Pod, None, Some(pod)) => {
            format!("{}/pod/{}", end.namespace.as_deref().unwrap_or("?"), &**pod)
        }
        // Whatever its address is now.
        (EndKindRow::External, ..) if !end.names.is_empty() || end.network.is_some() => {
            let name = end.names.first().map(|name| &*name.name).or(end.network.as_deref());
            name.unwrap_or_default().to_owned()
        }
        _ => return ends::name(end),
    };
    shown::line(&text).into_owned()
}

fn short_kind(kind: &str) -> &str {
    match kind {
        "Deployment" => "",
        "StatefulSet" => "sts",
        "DaemonSet" => "ds",
        "ReplicaSet" => "rs",
        "CronJob" => "cj",
        "Job" => "job",
        "Pod" => "pod",
        other => other,
    }
}

fn listener(end: &EndRow<'_>, protocol: Protocol) -> String {
    let name = workload(end);
    let protocol_word = if protocol == Protocol::Tcp { "" } else { ends::word(protocol) };
    match (end.port.filter(|_| !protocol.is_icmp()), protocol_word) {
        // Where it is an address of version 6, the port needs brackets.
        (Some(port), "") if name.matches(':').count() > 1 => format!("[{name}]:{port}"),
        (Some(port), word) if name.matches(':').count() > 1 => format!("[{name}]:{port}/{word}"),
        (Some(port), "") => format!("{name}:{port}"),
        (Some(port), word) => format!("{name}:{port}/{word}"),
        (None, "") => name,
        (None, word) => format!("{name} {word}"),
    }
}

/// One text for both ends: what is counted is counted once.
fn vendors(source: &EndRow<'_>, to: &EndRow<'_>) -> String {
    match (ends::vendor(source), ends::vendor(to)) {
        (None, None) => "(no vendor known)".to_owned(),
        (Some(from), None) => format!("{from} →"),
        (None, Some(to)) => format!("→ {to}"),
        (Some(from), Some(to)) => format!("{from} → {to}"),
    }
}

/// Those of the directions that deny: all of them, since no one of them alone does.
fn policies(decision: Decision, egress: &SideRow<'_>, ingress: &SideRow<'_>) -> String {
    match decision {
        Decision::Allow => return "(none denies it)".to_owned(),
        Decision::Mixed => return "(differs by backend)".to_owned(),
        Decision::Unknown => return "(not known)".to_owned(),
        Decision::Deny => {}
    }
    let mut texts = Vec::new();
    for (side, word) in [(egress, "egress"), (ingress, "ingress")] {
        if side.decision != Decision::Deny {
            continue;
        }
        let mut names: Vec<String> = side.policies.iter().map(policy).collect();
        names.dedup();
        let names = if names.is_empty() { "(not told)".to_owned() } else { names.join(" + ") };
        texts.push(format!("{names} {word}"));
    }
    if texts.is_empty() { "(not told)".to_owned() } else { texts.join(", ") }
}

fn policy(policy: &PolicyRow<'_>) -> String {
    let text = match (&*policy.kind, &policy.namespace) {
        ("NetworkPolicy", Some(namespace)) => format!("{}/{}", &**namespace, &*policy.name),
        (kind, Some(namespace)) => format!("{kind}/{}/{}", &**namespace, &*policy.name),
        (kind, None) => format!("{kind}/{}", &*policy.name),
    };
    shown::line(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(change: impl FnOnce(&mut serde_json::Value)) -> Told {
        let side = |decision: &str, name: &str| {
            json!({"decision": decision, "basis": "policy", "policies":
                [{"kind": "NetworkPolicy", "namespace": "shop", "name": name, "rule": 0}]})
        };
        let pod = |kind: &str, name: &str| {
            json!({"kind": "pod", "ip": "10.0.0.1", "port": 5432, "namespace": "shop", "pod": "p-0",
                "workload": {"kind": kind, "name": name}})
        };
        let mut line = json!({
            "v": 1, "seq": 1, "kind": "flow", "time": "2026-11-30T08:00:00Z", "node": "n", "run": "r",
            "flow": {"id": format!("{:032x}", 7), "direction": "egress", "protocol": "tcp", "count": 3,
                "first": "2026-11-30T08:00:00Z", "last": "2026-11-30T08:00:00Z"},
            "source": pod("Deployment", "web"), "destination": pod("StatefulSet", "db"),
            "verdict": {"decision": "deny", "egress": side("allow", "a"), "ingress": side("deny", "b")},
            "outcome": {"state": "dropped"}, "class": "denied_attempt",
        });
        change(&mut line);
        let line = line.to_string();
        Told::of(&Row::read(line.as_bytes()).unwrap(), line.as_bytes()).unwrap()
    }

    #[test]
    fn ends_go_by_what_owns_them_and_listeners_by_their_port() {
        let name = |name: &Name| name.as_deref().unwrap().to_owned();
        for (what, end, source, destination) in [
            (
                "a Deployment",
                json!({"kind": "pod", "namespace": "a", "pod": "p", "port": 1,
                "workload": {"kind": "Deployment", "name": "w"}}),
                "a/w",
                "a/w:1",
            ),
            (
                "another kind",
                json!({"kind": "pod", "namespace": "a", "pod": "p", "port": 1,
                "workload": {"kind": "DaemonSet", "name": "w"}}),
                "a/ds/w",
                "a/ds/w:1",
            ),
            (
                "a pod of its own",
                json!({"kind": "pod", "namespace": "a", "pod": "p", "port": 1}),
                "a/pod/p",
                "a/pod/p:1",
            ),
            (
                "an address",
                json!({"kind": "external", "ip": "192.0.2.1", "port": 1}),
                "192.0.2.1",
                "192.0.2.1:1",
            ),
            (
                "one of six",
                json!({"kind": "external", "ip": "2001:db8::1", "port": 1}),
                "2001:db8::1",
                "[2001:db8::1]:1",
            ),
            (
                "a name",
                json!({"kind": "external", "ip": "192.0.2.1", "port": 443, "names": [{"name": "api.example.com"}]}),
                "api.example.com",
                "api.example.com:443",
            ),
            (
                "a block",
                json!({"kind": "external", "ip": "192.0.2.1", "port": 443, "network": "office"}),
                "office",
                "office:443",
            ),
            (
                "what acts on terminals",
                json!({"kind": "pod", "namespace": "a", "pod": "p\u{1b}[2J", "port": 1}),
                "a/pod/p\\u{1b}[2J",
                "a/pod/p\\u{1b}[2J:1",
            ),
        ] {
            let told = told(|line| (line["source"], line["destination"]) = (end.clone(), end));
            assert_eq!(
                (name(&told.key.source), name(&told.key.destination)),
                (source.into(), destination.into()),
                "{what}"
            );
        }
    }

    #[test]
    fn the_policies_are_those_that_deny() {
        let nothing: Box<dyn FnOnce(&mut serde_json::Value)> = Box::new(|_| {});
        let deny = |name: &str| {
            json!({"decision": "deny", "basis": "policy", "policies":
            [{"kind": "ClusterNetworkPolicy", "name": name}, {"kind": "NetworkPolicy", "namespace": "shop", "name": name}]})
        };
        for (what, policy, change) in [
            ("the listener's", "shop/b ingress", nothing),
            (
                "both",
                "ClusterNetworkPolicy/x + shop/x egress, shop/b ingress",
                Box::new(move |line| line["verdict"]["egress"] = deny("x")),
            ),
            (
                "left out",
                "(not told) ingress",
                Box::new(|line| line["verdict"]["ingress"]["policies"] = json!([])),
            ),
            ("none", "(none denies it)", Box::new(|line| line["verdict"]["decision"] = "allow".into())),
            ("not known", "(not known)", Box::new(|line| line["verdict"]["decision"] = "unknown".into())),
        ] {
            assert_eq!(told(change).key.policy.as_deref(), Some(policy), "{what}");
        }
    }

    #[test]
    fn vendors_tell_which_end_they_stand_at() {
        for (source, to, expected) in [
            (json!(null), json!(null), "(no vendor known)"),
            (json!("Acme"), json!(null), "Acme →"),
            (json!(null), json!("Bolt"), "→ Bolt"),
            (json!("Acme"), json!("Bolt"), "Acme → Bolt"),
        ] {
            let told = told(|line| (line["source"]["vendor"], line["destination"]["vendor"]) = (source, to));
            assert_eq!(told.key.vendor.as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_was_open_before_is_no_attempt() {
        let existing = told(|line| line["flow"]["existing"] = true.into());
        assert_eq!((existing.count, existing.id), (0, None));
        assert_eq!((told(|_| {}).count, told(|_| {}).id), (3, Some(7)));
    }
}
