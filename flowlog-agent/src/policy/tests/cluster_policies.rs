//! The rules of the cluster's policies, row by row, beside NetworkPolicies of namespace `shop`.

use super::{ask, line, party};
use crate::model::Protocol;
use crate::policy::{BlockScope, Match, Policy, PolicySet};
use crate::testkit::{cluster_policy, network_policy};
use Protocol::{Sctp, Tcp, Udp};
use std::sync::Arc;

/// `anp a`, `banp b`, `cnp c` or `np d`, with its spec.
pub(super) type Written = (&'static str, &'static str);

struct Row(
    &'static str,
    &'static [Written],
    (&'static str, &'static str, Protocol, u16),
    &'static str,
    &'static str,
);

const OPEN: &str = "allow unselected";
const ALLOW_ALL: Written = (
    "anp allow",
    "{priority: 5, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}",
);
const DENY_ALL: Written = (
    "anp deny",
    "{priority: 5, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
);
const PASS_ALL: Written = (
    "anp pass",
    "{priority: 5, subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {}}]}]}",
);
const DENY_LATER: Written = (
    "anp later",
    "{priority: 6, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
);
const BASELINE_DENY: Written = (
    "banp default",
    "{subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}], egress: [{action: Deny, to: [{namespaces: {}}]}]}",
);
const PROTOCOLS: Written = ("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}],
        protocols: [{tcp: {destinationPort: {number: 80}}}, {udp: {destinationPort: {range: {start: 50, end: 53}}}}, {sctp: {destinationPort: {number: 9}}}]}]}");
const ISOLATE: Written = ("np none", "{podSelector: {}}");
const OPEN_ALL: Written = ("np all", "{podSelector: {}, ingress: [{}]}");

/// What it shows, policies, connection, egress, ingress.
const ROWS: &[Row] = &[
    Row("admin allows before a namespace denies", &[ALLOW_ALL, ISOLATE], ("probe", "db", Tcp, 80), OPEN, "allow policy allow.0"),
    Row("admin denies before a namespace allows", &[DENY_ALL, OPEN_ALL], ("probe", "db", Tcp, 80), OPEN, "deny policy deny.0"),
    Row("the lower number goes first", &[DENY_LATER, ALLOW_ALL], ("probe", "db", Tcp, 80), OPEN, "allow policy allow.0"),
    Row("pass leaves the rest of its tier out", &[PASS_ALL, DENY_LATER], ("probe", "db", Tcp, 80), OPEN, OPEN),
    Row("pass hands over to the namespace", &[PASS_ALL, ISOLATE], ("probe", "db", Tcp, 80), OPEN, "deny isolated none"),
    Row("pass hands over to the baseline", &[PASS_ALL, BASELINE_DENY], ("probe", "db", Tcp, 80), "deny policy default.0", "deny policy default.0"),
    Row("what a namespace isolates is not the baseline's", &[BASELINE_DENY, OPEN_ALL], ("probe", "db", Tcp, 80), "deny policy default.0", "allow policy all.0"),
    Row("the other direction stays the baseline's", &[BASELINE_DENY, OPEN_ALL], ("db", "probe", Tcp, 80), "deny policy default.0", "deny policy default.0"),
    Row("the first rule that matches decides", &[("anp a", "{priority: 1, subject: {namespaces: {}}, ingress: [
        {action: Allow, from: [{namespaces: {matchLabels: {team: b}}}]}, {action: Deny, from: [{namespaces: {}}]}]}")],
        ("probe", "db", Tcp, 80), OPEN, "allow policy a.0"),
    Row("a later rule decides what the first does not match", &[("anp a", "{priority: 1, subject: {namespaces: {}}, ingress: [
        {action: Allow, from: [{namespaces: {matchLabels: {team: b}}}]}, {action: Deny, from: [{namespaces: {}}]}]}")],
        ("web", "db", Tcp, 80), OPEN, "deny policy a.1"),
    Row("a subject is namespace and pod", &[("anp a", "{priority: 1, subject: {pods: {namespaceSelector: {matchLabels: {team: a}},
        podSelector: {matchLabels: {app: web}}}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}")],
        ("probe", "db", Tcp, 80), OPEN, OPEN),
    Row("a peer is namespace and pod", &[("anp a", "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [
        {pods: {namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: web}}}}]}]}")],
        ("probe", "db", Tcp, 80), OPEN, OPEN),
    Row("nothing outside is in a namespace", &[DENY_ALL], ("outside", "db", Tcp, 80), OPEN, OPEN),
    Row("a host-network pod is in no namespace", &[DENY_ALL], ("host", "db", Tcp, 80), OPEN, OPEN),
    Row("a host-network pod is no subject", &[DENY_ALL], ("db", "host", Tcp, 80), OPEN, OPEN),
    Row("a pod reaches itself all the same", &[DENY_ALL], ("web", "web", Tcp, 80), "allow selftraffic", "allow selftraffic"),
    Row("of equal ones that agree both are named", &[ALLOW_ALL, ("anp again", ALLOW_ALL.1)], ("probe", "db", Tcp, 80), OPEN, "allow policy again.0 allow.0"),
    Row("equal ones that contradict each other leave it open", &[ALLOW_ALL, DENY_ALL], ("probe", "db", Tcp, 80), OPEN, "unknown unknown allow.0 deny.0"),
    Row("an equal one that does not match changes nothing", &[ALLOW_ALL, ("anp b", "{priority: 5, subject: {namespaces: {}}, ingress: [
        {action: Deny, from: [{namespaces: {matchLabels: {team: a}}}]}]}")], ("probe", "db", Tcp, 80), OPEN, "allow policy allow.0"),
    Row("equal ones that come to the same in the end leave nothing open", &[ALLOW_ALL, PASS_ALL], ("probe", "db", Tcp, 80), OPEN, "allow policy allow.0"),
    Row("equal ones are not asked where an earlier one decides", &[ALLOW_ALL, DENY_ALL, ("anp first", "{priority: 4, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {}}]}]}")], ("probe", "db", Tcp, 80), OPEN, "deny policy first.0"),
    Row("two kinds of baseline have no order", &[BASELINE_DENY, ("cnp b", "{tier: Baseline, priority: 9, subject: {namespaces: {}},
        ingress: [{action: Accept, from: [{namespaces: {}}]}]}")], ("probe", "db", Tcp, 80), "deny policy default.0", "unknown unknown default.0 b.0"),
    Row("kinds of one tier share its numbers", &[ALLOW_ALL, ("cnp a", "{tier: Admin, priority: 4, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {}}]}]}")], ("probe", "db", Tcp, 80), OPEN, "deny policy a.0"),
    Row("tier baseline comes after the namespace", &[OPEN_ALL, ("cnp b", "{tier: Baseline, priority: 0, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {}}]}]}")], ("probe", "db", Tcp, 80), OPEN, "allow policy all.0"),
    Row("baseline may pass", &[("cnp b", "{tier: Baseline, priority: 0, subject: {namespaces: {}},
        ingress: [{action: Pass, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {}}]}]}")], ("probe", "db", Tcp, 80), OPEN, OPEN),
    Row("a name means the ports of any protocol", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: dns}]}]}")], ("probe", "web", Udp, 53), OPEN, "deny policy a.0"),
    Row("a name of v1alpha1 as well", &[("anp a", "{priority: 0, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {}}], ports: [{namedPort: http}]}]}")], ("probe", "web", Tcp, 8080), OPEN, "deny policy a.0"),
    Row("a name that is not declared is nothing", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: dns}]}]}")], ("probe", "web", Tcp, 53), OPEN, OPEN),
    Row("a port without a protocol is of TCP", &[("anp a", "{priority: 0, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {}}], ports: [{portNumber: {port: 80}}]}]}")], ("probe", "web", Udp, 80), OPEN, OPEN),
    Row("a range ends with its last port", &[("anp a", "{priority: 0, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {}}], ports: [{portRange: {start: 70, end: 80}}]}]}")], ("probe", "web", Tcp, 80), OPEN, "deny policy a.0"),
    Row("networks hold pods as well", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}},
        egress: [{action: Deny, to: [{networks: [198.51.100.0/24, 10.1.0.0/16]}]}]}")], ("probe", "web", Tcp, 80), "deny policy a.0", OPEN),
    Row("nodes are chosen by their labels", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}},
        egress: [{action: Deny, to: [{nodes: {matchLabels: {role: edge}}}]}]}")], ("db", "edge", Tcp, 80), "deny policy a.0", OPEN),
    Row("other nodes are not", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}},
        egress: [{action: Deny, to: [{nodes: {matchLabels: {role: db}}}]}]}")], ("db", "edge", Tcp, 80), OPEN, OPEN),
    Row("a pod is no node", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}},
        egress: [{action: Deny, to: [{nodes: {}}]}]}")], ("db", "web", Tcp, 80), OPEN, OPEN),
    Row("a node without its object may have the label", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}},
        egress: [{action: Deny, to: [{nodes: {matchLabels: {role: db}}}]}]}")], ("db", "n1", Tcp, 80), "unknown unknown a.0", OPEN),
    Row("every node is a node, with its object or without", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}},
        egress: [{action: Deny, to: [{nodes: {}}]}]}")], ("db", "host", Tcp, 80), "deny policy a.0", OPEN),
    Row("a name may be any address outside", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}}, egress: [
        {action: Accept, to: [{domainNames: [a.example]}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]}")], ("db", "outside", Tcp, 80), "unknown unknown a.0", OPEN),
    Row("a name that could change nothing does not", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}}, egress: [
        {action: Accept, to: [{domainNames: [a.example]}]}]}")], ("db", "outside", Tcp, 80), OPEN, OPEN),
    Row("a name is no pod", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}}, egress: [
        {action: Accept, to: [{domainNames: [a.example]}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]}")], ("db", "web", Tcp, 80), "deny policy a.1", OPEN),
    Row("a namespace's doubt is not asked after", &[ALLOW_ALL, ("np odd", "{podSelector: {matchExpressions: [{key: app, operator: Near}]}}")],
        ("probe", "db", Tcp, 80), OPEN, "allow policy allow.0"),
    Row("an unknown end may be in a namespace", &[DENY_ALL], ("unknown", "db", Tcp, 80), OPEN, "unknown unknown deny.0"),
    Row("an unknown end that is allowed either way is allowed", &[ALLOW_ALL], ("unknown", "db", Tcp, 80), OPEN, OPEN),
    Row("a namespace that was never seen may be chosen", &[("anp a", "{priority: 1, subject: {namespaces: {matchLabels: {team: a}}},
        ingress: [{action: Deny, from: [{namespaces: {}}]}]}")], ("db", "stray", Tcp, 80), OPEN, "unknown unknown a.0"),
    Row("an action that is none may be any", &[("anp a", "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Log, from: [{namespaces: {}}]}]}")],
        ("probe", "db", Tcp, 80), OPEN, "unknown unknown a.0"),
    Row("a rule without a peer may match", &[("anp a", "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{}]}]}")],
        ("probe", "db", Tcp, 80), OPEN, "unknown unknown a.0"),
    Row("a subject that is none may select", &[("anp a", "{priority: 1, subject: {}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}")],
        ("probe", "db", Tcp, 80), OPEN, "unknown unknown a.0"),
    Row("a port of each protocol", &[PROTOCOLS], ("probe", "web", Tcp, 80), OPEN, "deny policy a.0"),
    Row("a port of another protocol", &[PROTOCOLS], ("probe", "web", Tcp, 9), OPEN, OPEN),
    Row("a range of UDP", &[PROTOCOLS], ("probe", "web", Udp, 53), OPEN, "deny policy a.0"),
    Row("a range of UDP ends", &[PROTOCOLS], ("probe", "web", Udp, 54), OPEN, OPEN),
    Row("a port of SCTP", &[PROTOCOLS], ("probe", "web", Sctp, 9), OPEN, "deny policy a.0"),
    Row("the baseline of v1alpha1 allows as well", &[("banp default", "{subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}")],
        ("probe", "db", Tcp, 80), OPEN, "allow policy default.0"),
    Row("two baselines of v1alpha1 have no order", &[BASELINE_DENY, ("banp other", "{subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}")],
        ("probe", "db", Tcp, 80), "deny policy default.0", "unknown unknown default.0 other.0"),
    Row("two baselines of v1alpha1 that agree decide", &[BASELINE_DENY, ("banp other", BASELINE_DENY.1)],
        ("probe", "db", Tcp, 80), "deny policy default.0 other.0", "deny policy default.0 other.0"),
    Row("two kinds of baseline have no order in either direction", &[BASELINE_DENY, ("cnp b", "{tier: Baseline, priority: 9, subject: {namespaces: {}},
        ingress: [{action: Accept, from: [{namespaces: {}}]}], egress: [{action: Accept, to: [{namespaces: {}}]}]}")],
        ("probe", "db", Tcp, 80), "unknown unknown default.0 b.0", "unknown unknown default.0 b.0"),
    Row("equal ones that do not match leave it to the next", &[("anp a", "{priority: 5, subject: {namespaces: {}}, ingress: [
        {action: Allow, from: [{namespaces: {matchLabels: {team: a}}}]}]}"), ("anp b", "{priority: 5, subject: {namespaces: {}}, ingress: [
        {action: Pass, from: [{namespaces: {matchLabels: {team: a}}}]}]}"), DENY_LATER], ("probe", "db", Tcp, 80), OPEN, "deny policy later.0"),
    Row("an allow does not stand where an earlier tier may deny", &[DENY_ALL, OPEN_ALL], ("unknown", "db", Tcp, 80), OPEN, "unknown unknown deny.0"),
    Row("what is denied sooner or later is denied", &[DENY_ALL, ISOLATE], ("unknown", "db", Tcp, 80), OPEN, "deny isolated none"),
    Row("a name may be a node's", &[("cnp a", "{tier: Admin, priority: 0, subject: {namespaces: {}}, egress: [
        {action: Accept, to: [{domainNames: [a.example]}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]}")], ("db", "host", Tcp, 80), "unknown unknown a.0", OPEN),
    Row("a requirement without a key may select", &[("banp default", "{subject: {namespaces: {matchExpressions: [{operator: Exists}]}},
        ingress: [{action: Deny, from: [{namespaces: {}}]}]}")], ("probe", "db", Tcp, 80), OPEN, "unknown unknown default.0"),
    Row("a label without a key may be had", &[("anp a", "{priority: 1, subject: {namespaces: {}},
        ingress: [{action: Deny, from: [{namespaces: {matchLabels: {'': a}}}]}]}")], ("probe", "db", Tcp, 80), OPEN, "unknown unknown a.0"),
    Row("behind a rule that surely matches none is reached, selected or not", &[("anp a", "{priority: 1,
        subject: {namespaces: {matchExpressions: [{key: team, operator: Near}]}},
        ingress: [{action: Pass, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {}}]}]}")], ("probe", "db", Tcp, 80), OPEN, OPEN),
    Row("a policy in doubt that allows nothing cannot save an isolated pod", &[ISOLATE, ("np odd", "{podSelector: {matchExpressions: [{key: app, operator: Near}]}}")],
        ("probe", "db", Tcp, 80), OPEN, "deny isolated none"),
];

pub(super) fn set(written: &[Written]) -> PolicySet {
    let read = |(title, spec): &Written| -> Arc<Policy> {
        match title.strip_prefix("np ") {
            Some(name) => network_policy(&format!("shop/{name}"), spec),
            None => cluster_policy(title, spec),
        }
    };
    PolicySet::new(written.iter().map(read), BlockScope::default())
}

#[test]
fn every_rule_of_a_cluster_policy_gives_its_verdict() {
    for Row(name, written, (from, to, protocol, port), egress, ingress) in ROWS {
        let (at_opener, at_listener) = ask(&set(written), from, to, *protocol, *port);
        let told = (line(&at_opener), line(&at_listener));
        assert_eq!(
            told,
            ((*egress).to_owned(), (*ingress).to_owned()),
            "{name}: {at_opener:?} {at_listener:?}"
        );
    }
}

#[test]
fn a_contradiction_names_both() {
    let reason = ask(&set(&[ALLOW_ALL, DENY_ALL]), "probe", "db", Tcp, 80).1.reason.unwrap();
    let expected = "AdminNetworkPolicy allow and AdminNetworkPolicy deny contradict each other and have the same priority";
    assert_eq!(reason, expected);
}

#[test]
fn a_policy_without_rules_of_a_direction_has_no_say_in_it() {
    use crate::model::Direction::{Egress, Ingress};
    let policy = cluster_policy(DENY_ALL.0, DENY_ALL.1);
    let db = party("db");
    assert_eq!(policy.selects(&db, Ingress), Match::Yes);
    assert_eq!(policy.selects(&db, Egress), Match::No);
    assert_eq!(policy.selects(&party("host"), Ingress), Match::No, "on its node's network");
    assert_eq!(policy.selects(&party("outside"), Ingress), Match::No);
    assert!(matches!(policy.selects(&party("unknown"), Ingress), Match::Unknown(_)));
}
