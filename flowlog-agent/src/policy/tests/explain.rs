//! Explanations: what was tried, in which order, and the words for it.

use super::cluster_policies::{Written, set};
use super::party;
use crate::model::{Direction, PolicyKind, Protocol, Tier};
use crate::policy::kinds::not_understood::NotUnderstood;
use crate::policy::{Policy, PolicySet, Query, SideTrace, Tried};
use Direction::{Egress, Ingress};
use Protocol::{Tcp, Udp};
use std::sync::Arc;

fn explain(
    set: &PolicySet,
    (from, to, protocol, port): (&str, &str, Protocol, u16),
    side: Direction,
) -> SideTrace {
    let (source, destination) = (&party(from), &party(to));
    let query = Query { source, destination, protocol, port: Some(port), range_of: None };
    let trace = set.explain(&query);
    let (egress, ingress) = set.evaluate(&query);
    assert_eq!((trace.egress.decision, trace.ingress.decision), (egress.decision, ingress.decision));
    match side {
        Egress => trace.egress,
        Ingress => trace.ingress,
    }
}

/// `no: why [pod shop/db: app wanted web, found db]`.
fn words(tried: &Tried) -> String {
    let labels = tried.labels.iter().map(|label| {
        let found = label.found.as_deref().unwrap_or("none");
        format!(" [{}: {} wanted {}, found {found}]", label.of, label.key, label.wanted)
    });
    format!("{}: {}{}", tried.matches, tried.why, labels.collect::<String>())
}

/// The tiers with what they say, below them the policies, below these the rules with ports and peers.
fn tell(side: &SideTrace) -> Vec<String> {
    let mut lines = Vec::new();
    for tier in &side.tiers {
        lines.push(format!("{:?} {}", tier.tier, tier.says));
        for policy in &tier.policies {
            let priority = policy.priority.map(|priority| format!(" {priority}")).unwrap_or_default();
            lines.push(format!(" {}{priority} {}", policy.policy.name, words(&policy.selects)));
            for rule in &policy.rules {
                lines.push(format!(
                    "  {} {} {}; {}",
                    rule.rule,
                    rule.action,
                    rule.matches,
                    words(&rule.ports)
                ));
                lines.extend(rule.peers.iter().map(|peer| format!("   {}", words(peer))));
            }
        }
    }
    lines
}

struct Row(
    &'static str,
    &'static [Written],
    (&'static str, &'static str, Protocol, u16),
    Direction,
    &'static [&'static str],
);

const ROWS: &[Row] = &[
    Row(
        "peers by selector, block and port",
        &[(
            "np a",
            "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}, {podSelector: {matchLabels: {app: web}}}, {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 10.1.0.0/24, except: [10.1.0.2/31]}}, {ipBlock: {cidr: 10.9.0.0/16, except: [10.1.0.2/31]}}], ports: [{port: 80}, {port: 90, endPort: 99}, {protocol: UDP}]}]}",
        )],
        ("probe", "db", Tcp, 81),
        Ingress,
        &[
            "Admin pass",
            "Namespace deny",
            " a yes: selects pod shop/db",
            "  0 allow no; no: 81/TCP is not among 80/TCP, 90-99/TCP, every UDP port",
            "   no: looks in namespace shop alone, and pod ops/probe is in ops",
            "   no: looks in namespace shop alone, and pod ops/probe is in ops [pod ops/probe: app wanted web, found probe]",
            "   no: does not select pod ops/probe [namespace ops: team wanted a, found b] [pod ops/probe: app wanted web, found probe]",
            "   no: block 10.1.0.0/24 leaves out 10.1.0.2/31, which holds 10.1.0.3",
            "   no: block 10.9.0.0/16 does not hold 10.1.0.3",
        ],
    ),
    Row(
        "a rule that matches",
        &[(
            "np a",
            "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/24}}, {namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: 79, endPort: 80}, {port: 80}]}, {}]}",
        )],
        ("probe", "db", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace allow",
            " a yes: selects pod shop/db",
            "  0 allow yes; yes: 79-80/TCP opens 80/TCP",
            "   yes: block 10.1.0.0/24 holds 10.1.0.3",
            "   yes: selects pod ops/probe",
            "  1 allow yes; yes: any port",
            "   yes: any peer",
        ],
    ),
    Row(
        "labels that would have to differ",
        &[
            (
                "np a",
                "{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, api]}, {key: app, operator: NotIn, values: [db, x]}, {key: role, operator: Exists}, {key: tier, operator: DoesNotExist}, {key: tier, operator: Exists}, {key: x, operator: Near}]}}",
            ),
            ("np b", "{podSelector: {matchLabels: {app: web}}}"),
        ],
        ("probe", "db", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace pass",
            " a no: does not select pod shop/db [pod shop/db: app wanted one of web, api, found db] [pod shop/db: app wanted none of db, x, found db] [pod shop/db: role wanted any value, found none] [pod shop/db: tier wanted no such label, found ]",
            " b no: does not select pod shop/db [pod shop/db: app wanted web, found db]",
            "Baseline pass",
        ],
    ),
    Row(
        "a pod of the policy's own namespace",
        &[(
            "np a",
            "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: probe}}}]}]}",
        )],
        ("web", "db", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace deny",
            " a yes: selects pod shop/db",
            "  0 allow no; yes: any port",
            "   no: does not select pod shop/web [pod shop/web: app wanted probe, found web]",
        ],
    ),
    Row(
        "a selector that cannot be read",
        &[
            ("np a", "{podSelector: {matchExpressions: [{key: app, operator: Near}]}}"),
            ("np b", "{podSelector: {}, policyTypes: [Egress]}"),
            ("np c", "{podSelector: {}, policyTypes: [Inward]}"),
        ],
        ("probe", "db", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace unknown",
            " a unknown: NetworkPolicy shop/a: spec.podSelector.matchExpressions[0]: operator `Near` is not known",
            " b no: says nothing about ingress",
            " c unknown: NetworkPolicy shop/c: spec.policyTypes: `Inward` is no direction",
            "Baseline pass",
        ],
    ),
    Row(
        "names of ports that the listener declares",
        &[("np a", "{podSelector: {}, ingress: [{ports: [{port: other}]}]}")],
        ("probe", "web", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace deny",
            " a yes: selects pod shop/web",
            "  0 allow no; no: 80/TCP is not among port name `other`/TCP (pod shop/web declares http = 8080/TCP, dns = 53/UDP, metrics = 9100/TCP, metrics = 9101/TCP)",
            "   yes: any peer",
        ],
    ),
    Row(
        "names of ports where none is declared",
        &[("np a", "{podSelector: {}, ingress: [{ports: [{port: other, protocol: UDP}]}]}")],
        ("probe", "db", Udp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace deny",
            " a yes: selects pod shop/db",
            "  0 allow no; no: 80/UDP is not among port name `other`/UDP (pod shop/db declares no named port)",
            "   yes: any peer",
        ],
    ),
    Row(
        "names of ports outside",
        &[("np a", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: other}]}]}")],
        ("db", "outside", Tcp, 80),
        Egress,
        &[
            "Admin pass",
            "Namespace deny",
            " a yes: selects pod shop/db",
            "  0 allow no; no: 80/TCP is not among port name `other`/TCP (the external endpoint is no pod and declares no names)",
            "   yes: any peer",
        ],
    ),
    Row(
        "a port that cannot be read",
        &[("np a", "{podSelector: {}, ingress: [{ports: [{port: 99999}]}]}")],
        ("probe", "db", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace unknown",
            " a yes: selects pod shop/db",
            "  0 allow unknown; unknown: NetworkPolicy shop/a: spec.ingress[0].ports[0]: 99999–99999 is no range of ports",
            "   yes: any peer",
        ],
    ),
    Row(
        "ends that no selector takes",
        &[(
            "np a",
            "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}, {ipBlock: {cidr: '10.1'}}]}]}",
        )],
        ("db", "host", Tcp, 80),
        Egress,
        &[
            "Admin pass",
            "Namespace unknown",
            " a yes: selects pod shop/db",
            "  0 allow unknown; yes: any port",
            "   no: selects pods; pod ops/host uses its node's network and counts as the node",
            "   unknown: NetworkPolicy shop/a: spec.egress[0].to[1].ipBlock.cidr: `10.1` is no CIDR",
        ],
    ),
    Row(
        "an end outside",
        &[("np a", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}")],
        ("db", "outside", Tcp, 80),
        Egress,
        &[
            "Admin pass",
            "Namespace deny",
            " a yes: selects pod shop/db",
            "  0 allow no; yes: any port",
            "   no: selects pods, and the external endpoint is none",
        ],
    ),
    Row(
        "an address that was not seen",
        &[(
            "np a",
            "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.1/32}}]}]}",
        )],
        ("web/unseen", "db", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace allow",
            " a yes: selects pod shop/db",
            "  0 allow yes; yes: any port",
            "   yes: block 10.1.0.1/32 and pod shop/web",
        ],
    ),
    Row(
        "policies of the cluster by their numbers, to the tier that decides",
        &[
            (
                "anp z",
                "{priority: 1, subject: {namespaces: {matchLabels: {team: z}}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
            ),
            (
                "anp a",
                "{priority: 9, subject: {pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}",
            ),
            (
                "anp m",
                "{priority: 5, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}], ports: [{namedPort: http}]}, {action: Pass, from: [{namespaces: {matchLabels: {team: a}}}]}, {action: Log, from: [{namespaces: {matchLabels: {team: a}}}]}, {action: Deny, from: [{namespaces: {}}]}]}",
            ),
            (
                "anp e",
                "{priority: 5, subject: {namespaces: {}}, egress: [{action: Deny, to: [{namespaces: {}}]}]}",
            ),
            ("np a", "{podSelector: {}}"),
            (
                "banp default",
                "{subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
            ),
        ],
        ("probe", "db", Tcp, 80),
        Ingress,
        &[
            "Admin deny",
            " z 1 no: does not select pod shop/db [namespace shop: team wanted z, found a]",
            " e 5 no: has no rules about ingress",
            " m 5 yes: selects pod shop/db",
            "  0 deny no; no: 80/TCP is not among port name `http` (pod shop/db declares no named port)",
            "   yes: selects pod ops/probe",
            "  1 pass no; yes: any port",
            "   no: does not select pod ops/probe [namespace ops: team wanted a, found b]",
            "  2 unknown no; yes: any port",
            "   no: does not select pod ops/probe [namespace ops: team wanted a, found b]",
            "  3 deny yes; yes: any port",
            "   yes: selects pod ops/probe",
            " a 9 no: does not select pod shop/db [pod shop/db: app wanted web, found db]",
        ],
    ),
    Row(
        "tiers that pass",
        &[
            (
                "anp a",
                "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {}}]}]}",
            ),
            (
                "cnp b",
                "{tier: Baseline, priority: 1, subject: {namespaces: {}}, ingress: [{action: Accept, from: [{namespaces: {}}]}]}",
            ),
            ("np elsewhere", "{podSelector: {matchLabels: {app: x}}}"),
        ],
        ("probe", "db", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            " a 1 yes: selects pod shop/db",
            "  0 pass yes; yes: any port",
            "   yes: selects pod ops/probe",
            "Namespace pass",
            " elsewhere no: does not select pod shop/db [pod shop/db: app wanted x, found db]",
            "Baseline allow",
            " b 1 yes: selects pod shop/db",
            "  0 allow yes; yes: any port",
            "   yes: selects pod ops/probe",
        ],
    ),
    Row(
        "a subject and an action that cannot be read",
        &[("anp a", "{priority: 1, subject: {}, ingress: [{action: Log, from: [{namespaces: {}}]}]}")],
        ("probe", "db", Tcp, 80),
        Ingress,
        &[
            "Admin unknown",
            " a 1 unknown: AdminNetworkPolicy a: spec.subject: must name one of namespaces and pods",
            "  0 unknown yes; yes: any port",
            "   yes: selects pod ops/probe",
            "Namespace pass",
            "Baseline pass",
        ],
    ),
    Row(
        "nodes by their labels",
        &[(
            "cnp a",
            "{tier: Admin, priority: 0, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {matchLabels: {role: db}}}, {nodes: {}}, {domainNames: [a.example]}]}]}",
        )],
        ("db", "edge", Tcp, 80),
        Egress,
        &[
            "Admin deny",
            " a 0 yes: selects pod shop/db",
            "  0 deny yes; yes: any port",
            "   no: does not select node edge [node edge: role wanted db, found edge]",
            "   yes: selects node edge",
            "   unknown: ClusterNetworkPolicy a: spec.egress[0].to[2].domainNames: which addresses these names have is not known",
        ],
    ),
    Row(
        "nodes and names, and a pod",
        &[(
            "cnp a",
            "{tier: Admin, priority: 0, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {}}, {domainNames: [a.example]}]}]}",
        )],
        ("db", "web", Tcp, 80),
        Egress,
        &[
            "Admin pass",
            " a 0 yes: selects pod shop/db",
            "  0 deny no; yes: any port",
            "   no: selects nodes, and pod shop/web is none",
            "   no: names hosts in the DNS, and pod shop/web is in the cluster",
            "Namespace pass",
            "Baseline pass",
        ],
    ),
    Row(
        "an end that is not known",
        &[("np a", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}")],
        ("unknown", "web", Tcp, 80),
        Ingress,
        &[
            "Admin pass",
            "Namespace unknown",
            " a yes: selects pod shop/web",
            "  0 allow unknown; yes: any port",
            "   unknown: nobody knows it",
        ],
    ),
];

#[test]
fn an_explanation_tells_each_tier_policy_and_rule_that_was_tried() {
    for Row(name, written, query, side, expected) in ROWS {
        assert_eq!(tell(&explain(&set(written), *query, *side)), *expected, "{name}");
    }
}

#[test]
fn what_is_not_understood_is_told_in_its_tier_and_namespace() {
    let odd = |name: &str, namespace: Option<&str>, tier| {
        let (namespace, name) = (namespace.map(str::to_owned), name.to_owned());
        let kind = PolicyKind::NetworkPolicy;
        Arc::new(Policy::NotUnderstood(NotUnderstood { kind, namespace, name, tier, why: "is odd".into() }))
    };
    let policies = [
        odd("here", Some("shop"), Some(Tier::Namespace)),
        odd("elsewhere", Some("ops"), Some(Tier::Namespace)),
        odd("anywhere", None, None),
        odd("baseline", None, Some(Tier::Baseline)),
    ];
    let set = PolicySet::new(policies, crate::policy::BlockScope::default());
    let told = tell(&explain(&set, ("outside", "db", Tcp, 80), Ingress));
    let expected = [
        "Admin unknown",
        " anywhere unknown: NetworkPolicy anywhere: is odd",
        "Namespace unknown",
        " anywhere unknown: NetworkPolicy anywhere: is odd",
        " here unknown: NetworkPolicy shop/here: is odd",
        "Baseline unknown",
        " anywhere unknown: NetworkPolicy anywhere: is odd",
        " baseline unknown: NetworkPolicy baseline: is odd",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_no_policy_can_deny_and_what_none_selects_has_no_tiers() {
    let shut = set(&[("np a", "{podSelector: {}, policyTypes: [Ingress, Egress]}")]);
    let rows = [
        ("the pod itself", ("web/v6", "web"), Ingress, "Allow SelfTraffic", 0),
        ("its own node", ("n2", "db"), Ingress, "Allow Node", 0),
        ("a pod on its node's network", ("db", "host"), Ingress, "Allow Unselected", 0),
        ("outside", ("db", "outside"), Ingress, "Allow Unselected", 0),
        ("an unknown end", ("unknown", "db"), Egress, "Unknown Unknown", 0),
        ("perhaps its own node", ("n1", "floating"), Ingress, "Unknown Unknown", 2),
        ("surely another", ("n1", "db"), Ingress, "Deny Isolated", 2),
    ];
    for (name, (from, to), side, expected, tiers) in rows {
        let told = explain(&shut, (from, to, Tcp, 80), side);
        assert_eq!(format!("{:?} {:?}", told.decision, told.basis), expected, "{name}");
        assert_eq!(
            (told.tiers.len(), told.reason.is_some()),
            (tiers, expected.starts_with("Unknown")),
            "{name}"
        );
    }
}
