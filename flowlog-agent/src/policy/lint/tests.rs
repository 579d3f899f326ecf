//! Each check by a table: what it must tell, and what looks like it and must not be told.

use super::*;
use crate::model::Protocol;
use crate::policy::{Requirement, Selector};
use crate::testkit::{self, PodBuilder, cluster_policy, network_policy, pod};
use std::collections::BTreeSet;

/// The policies of a row: `namespace/name` or `kind name`, and the spec.
type Specs = &'static [(&'static str, &'static str)];

fn linted(specs: Specs) -> Vec<Linted> {
    let read = |(title, spec): &(&str, &str)| match title.contains(' ') {
        true => cluster_policy(title, spec),
        false => network_policy(title, spec),
    };
    specs.iter().map(|one| Linted { policy: read(one), written: Written::default() }).collect()
}

fn candidate(pod: PodBuilder) -> Candidate {
    let pod = pod.build();
    Candidate { title: format!("pod {}/{}", pod.namespace, pod.name), pod, init_ports: Vec::new() }
}

/// Two namespaces of four pods, one of which uses its node's network; a third that is empty; a node.
fn estate() -> Estate {
    let space = |name: &str, team: &str| {
        let labels = [("kubernetes.io/metadata.name", name), ("team", team)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        (name.to_owned(), Arc::new(Labels::from(labels)))
    };
    let mut db = candidate(
        pod("shop/db").ip("10.1.0.2").label("app", "database").namespace_label("team", "web").port(
            "pg",
            5432,
            Protocol::Tcp,
        ),
    );
    db.init_ports.push(ContainerPort { name: Some("setup".to_owned()), port: 1, protocol: Protocol::Tcp });
    let web = pod("shop/web").ip("10.1.0.1").label("app", "frontend").label("tier", "fe");
    let web =
        web.namespace_label("team", "web").port("http", 80, Protocol::Tcp).port("dns", 53, Protocol::Udp);
    let exporter =
        pod("ops/exporter").ip("192.168.0.1").label("app", "exporter").namespace_label("team", "ops");
    let scraper = pod("ops/scraper").ip("10.1.0.4").label("app", "scraper").namespace_label("team", "ops");
    let dns = pod("kube-system/dns").ip("10.1.0.5").label("k8s-app", "kube-dns");
    let mut node = testkit::node("n1", "192.168.0.1");
    node.labels.insert("zone".to_owned(), "a".to_owned());
    Estate {
        pods: vec![
            candidate(web),
            db,
            candidate(exporter.host_network()),
            candidate(scraper),
            candidate(dns),
        ],
        nodes: vec![Arc::new(node)],
        namespaces: [
            space("shop", "web"),
            space("ops", "ops"),
            space("empty", "none"),
            space("kube-system", "system"),
        ]
        .into(),
        ..Estate::default()
    }
}

/// Rule, field, message and help of what is found.
fn told(report: &Report) -> Vec<String> {
    let one = |one: &Finding| {
        let field = one.field.as_deref().unwrap_or_default();
        format!("{} {} {field}: {} | {}", one.rule.id, one.policy.name, one.message, one.help)
    };
    report.findings.iter().map(one).collect()
}

/// Name, policies, and for each finding of the rule, in order, what it must hold.
type Row = (&'static str, Specs, &'static [&'static [&'static str]]);

#[track_caller]
fn check(rule: Rule, estate: &Estate, rows: &[Row]) {
    for (name, specs, expected) in rows {
        let report = lint(&linted(specs), estate);
        let found: Vec<String> = told(&report).into_iter().filter(|one| one.starts_with(rule.id)).collect();
        assert_eq!(found.len(), expected.len(), "{name}: {found:#?}");
        for (found, parts) in found.iter().zip(*expected) {
            for part in *parts {
                assert!(found.contains(part), "{name}: `{part}` is not in `{found}`");
            }
        }
    }
}

#[test]
fn policies_that_select_nothing_are_told_with_what_nearly_fits() {
    check(
        SELECTS_NOTHING,
        &estate(),
        &[
            (
                "a slip of the pen",
                &[("shop/a", "podSelector: {matchLabels: {app: frontned}}")],
                &[&[
                    "a spec.podSelector: selects none of 2 pods",
                    "none has `app: frontned` | did you mean `app: frontend`?",
                ]],
            ),
            (
                "another key",
                &[("shop/a", "podSelector: {matchLabels: {app.kubernetes.io/name: frontend}}")],
                &[&["nor the label", "did you mean `app: frontend`?"]],
            ),
            (
                "no such namespace",
                &[("shpo/a", "podSelector: {}")],
                &[&["there is no namespace shpo", "did you mean namespace `shop`?"]],
            ),
            (
                "a namespace without pods",
                &[("empty/a", "podSelector: {}")],
                &[&["there is no pod in namespace empty"]],
            ),
            (
                "the node's network alone",
                &[("ops/a", "podSelector: {matchLabels: {app: exporter}}")],
                &[&["only 1 pod fits", "pod ops/exporter"]],
            ),
            (
                "each on its own, and never both",
                &[("shop/a", "podSelector: {matchLabels: {app: database, tier: fe}}")],
                &[&["none meets all requirements at once"]],
            ),
            (
                "a subject of no namespace",
                &[("anp a", "{priority: 1, subject: {namespaces: {matchLabels: {team: wbe-shop}}}}")],
                &[&["a spec.subject: selects nothing: of 4 namespaces none fits"]],
            ),
            (
                "a subject of no pod",
                &[(
                    "anp a",
                    "{priority: 1, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: x}}}}}",
                )],
                &[&["none of 5 pods in any namespace"]],
            ),
            (
                "no such label, and none that is near",
                &[("shop/a", "podSelector: {matchLabels: {zone: b}}")],
                &[&["nor the label `zone` at all | name labels that a pod has", "the policy does nothing"]],
            ),
            (
                "the value under a key that means something else",
                &[("shop/a", "podSelector: {matchLabels: {team: frontend}}")],
                &[&["nor the label `team` at all | name labels that a pod has"]],
            ),
            (
                "the value under the key without its prefix",
                &[("shop/a", "podSelector: {matchLabels: {example.com/tier: fe}}")],
                &[&["did you mean `tier: fe`?"]],
            ),
            (
                "a key with a slip of the pen",
                &[("shop/a", "podSelector: {matchExpressions: [{key: teir, operator: Exists}]}")],
                &[&["none has the label `teir` | did you mean `tier`?"]],
            ),
            (
                "a subject of no namespace, and none that is near",
                &[("anp a", "{priority: 1, subject: {namespaces: {matchLabels: {team: x}}}}")],
                &[&["| `team` is `none` or `ops` or `system` or `web` there"]],
            ),
            (
                "a subject of no namespace by its name: all names are no help",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: x}}}}",
                )],
                &[&["| name labels that a namespace has"]],
            ),
            (
                "a subject of no namespace by its name and a label",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop, team: ops}}}}",
                )],
                &[&["none meets all requirements at once | name labels that a namespace has"]],
            ),
            ("one pod", &[("shop/a", "podSelector: {matchLabels: {app: frontend}}")], &[]),
            (
                "all but one",
                &[("shop/a", "podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}")],
                &[],
            ),
            ("all", &[("shop/a", "{}")], &[]),
            ("all of the cluster", &[("banp default", "subject: {namespaces: {}}")], &[]),
            (
                "a selector that cannot be read",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {matchExpressions: [{key: x, operator: Near}]}}}",
                )],
                &[],
            ),
        ],
    );
}

#[test]
fn a_name_is_near_by_a_slip_and_not_by_a_number_or_a_letter_of_a_short_one() {
    let rows = [
        ("frontned", "frontend", true),
        ("Front_End", "front-end", true),
        ("database", "databsae", true),
        ("web-shp", "web-shop", true),
        ("api", "app", false),
        ("cache", "catch", false),
        ("app19", "app1", false),
        ("worker-1", "worker-2", false),
        ("frontend", "backend", false),
        ("same", "same", false),
    ];
    for (written, known, is_near) in rows {
        assert_eq!(near::name(written, [known].into_iter()).is_some(), is_near, "{written}, {known}");
    }
}

#[test]
fn peers_that_match_nothing_are_told_by_the_half_that_fails() {
    check(
        PEER_MATCHES_NOTHING,
        &estate(),
        &[
            (
                "no such pod in the own namespace",
                &[(
                    "shop/a",
                    "ingress: [{}, {from: [{podSelector: {}}, {podSelector: {matchLabels: {app: scraper}}}]}]",
                )],
                &[&[
                    "a spec.ingress[1].from[1]: matches none of 2 pods in namespace shop",
                    "`app` is `database` or `frontend` there",
                ]],
            ),
            (
                "no such namespace, under a key that is not its name's",
                &[("shop/a", "ingress: [{from: [{namespaceSelector: {matchLabels: {name: ops}}}]}]")],
                &[&["of 4 namespaces none fits", "did you mean `kubernetes.io/metadata.name: ops`?"]],
            ),
            (
                "namespaces, and no such pod in them",
                &[(
                    "shop/a",
                    "egress: [{to: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: scrapre}}}]}]",
                )],
                &[&[
                    "a spec.egress[0].to[0]: matches none of 2 pods in the namespaces that fit",
                    "did you mean `app: scraper`?",
                ]],
            ),
            (
                "a namespace without pods",
                &[("shop/a", "egress: [{to: [{namespaceSelector: {matchLabels: {team: none}}}]}]")],
                &[&["there is no pod in namespace empty"]],
            ),
            (
                "the node's network alone",
                &[(
                    "shop/a",
                    "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: exporter}}}]}]",
                )],
                &[&["that use their node's network", "ipBlock"]],
            ),
            (
                "a block of which nothing is left",
                &[(
                    "shop/a",
                    "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.128.0.0/9, 10.0.0.0/10, 10.64.0.0/10]}}]}]",
                )],
                &[&["`except` leaves nothing of 10.0.0.0/8"]],
            ),
            (
                "no such node",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {matchLabels: {zone: b}}}]}]}",
                )],
                &[&["matches none of 1 node", "`zone` is `a` there"]],
            ),
            (
                "no such label, and none that is near",
                &[("shop/a", "ingress: [{from: [{podSelector: {matchLabels: {zone: b}}}]}]")],
                &[&["| name labels that a pod has", "the peer stands for nobody"]],
            ),
            (
                "a block of which one address is left",
                &[(
                    "shop/a",
                    "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/30, except: [10.0.0.0/31, 10.0.0.2/32]}}]}]",
                )],
                &[],
            ),
            (
                "a block that no pod is in",
                &[("shop/a", "ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]")],
                &[],
            ),
            (
                "pods of two namespaces",
                &[(
                    "shop/a",
                    "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: scraper}}}]}]",
                )],
                &[],
            ),
            ("everybody", &[("shop/a", "ingress: [{}]")], &[]),
            (
                "a node that fits",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {matchLabels: {zone: a}}}]}]}",
                )],
                &[],
            ),
        ],
    );
}

#[test]
fn named_ports_that_nobody_declares_are_told_with_why() {
    check(
        NAMED_PORT,
        &estate(),
        &[
            (
                "of the selected pods, for ingress",
                &[(
                    "shop/a",
                    "{podSelector: {matchLabels: {app: frontend}}, ingress: [{ports: [{port: 80}, {port: pg}]}]}",
                )],
                &[&[
                    "a spec.ingress[0].ports[1].port: opens nothing: pod shop/web, the only pod",
                    "no port `pg` of TCP",
                ]],
            ),
            (
                "of the peers' pods, for egress",
                &[(
                    "shop/a",
                    "egress: [{to: [{podSelector: {matchLabels: {app: database}}}], ports: [{port: http}]}]",
                )],
                &[&["pod shop/db", "they declare `pg`"]],
            ),
            (
                "another protocol",
                &[("shop/a", "ingress: [{ports: [{port: dns}]}]")],
                &[&[
                    "none of the 2 pods that it could apply to declares a port `dns` of TCP",
                    "declared for UDP",
                ]],
            ),
            (
                "an init container",
                &[("shop/a", "ingress: [{ports: [{port: setup}]}]")],
                &[&["only an init container"]],
            ),
            (
                "a slip of the pen",
                &[("shop/a", "ingress: [{ports: [{port: htpp}]}]")],
                &[&["did you mean `http`?"]],
            ),
            (
                "of any protocol",
                &[(
                    "cnp a",
                    "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: x}]}]}",
                )],
                &[&["a spec.ingress[0].protocols[0].destinationNamedPort: opens nothing", "a port `x` |"]],
            ),
            (
                "no port has a name",
                &[("ops/a", "ingress: [{ports: [{port: x}]}]")],
                &[&["no port of theirs has a name"]],
            ),
            ("one of the selected pods declares it", &[("shop/a", "ingress: [{ports: [{port: pg}]}]")], &[]),
            (
                "a peer of a block may be any pod",
                &[(
                    "shop/a",
                    "egress: [{to: [{podSelector: {matchLabels: {app: database}}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: http}]}]",
                )],
                &[],
            ),
            ("everybody", &[("shop/a", "egress: [{ports: [{port: dns, protocol: UDP}]}]")], &[]),
            (
                "any protocol, declared for UDP",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}], ports: [{namedPort: dns}]}]}",
                )],
                &[],
            ),
            (
                "nobody is selected, which is told already",
                &[("shop/a", "{podSelector: {matchLabels: {a: b}}, ingress: [{ports: [{port: x}]}]}")],
                &[],
            ),
        ],
    );
}

#[test]
fn rules_that_others_cover_are_told_with_those() {
    check(
        SHADOWED,
        &estate(),
        &[
            (
                "a selector within another",
                &[(
                    "shop/a",
                    "ingress: [{from: [{podSelector: {matchLabels: {app: x, tier: w}}}]}, {from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [x, z]}]}}]}]",
                )],
                &[&["a spec.ingress[0]: never changes an answer: ingress[1] allows all of it"]],
            ),
            (
                "the later of two that are alike",
                &[("shop/a", "egress: [{ports: [{port: 80}]}, {ports: [{port: 80}]}]")],
                &[&["spec.egress[1]", "egress[0] allows"]],
            ),
            (
                "by two rules together, peer by peer",
                &[(
                    "shop/a",
                    "ingress: [{from: [{podSelector: {}}]}, {from: [{ipBlock: {cidr: 10.0.0.0/8}}]}, {from: [{podSelector: {matchLabels: {a: b}}}, {ipBlock: {cidr: 10.1.0.0/16}}], ports: [{port: 1}]}]",
                )],
                &[&["spec.ingress[2]", "ingress[0] and ingress[1] allow"]],
            ),
            (
                "ranges side by side",
                &[(
                    "shop/a",
                    "ingress: [{ports: [{port: 80, endPort: 89}, {port: 90, endPort: 99}]}, {ports: [{port: 85, endPort: 95}]}]",
                )],
                &[&["spec.ingress[1]"]],
            ),
            (
                "a block whose exceptions are left out as well",
                &[(
                    "shop/a",
                    "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}, {from: [{ipBlock: {cidr: 10.0.0.0/15, except: [10.1.0.0/16]}}]}]",
                )],
                &[&["spec.ingress[1]"]],
            ),
            (
                "the own namespace by its name",
                &[(
                    "shop/a",
                    "ingress: [{from: [{podSelector: {}}]}, {from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}, podSelector: {matchLabels: {a: b}}}]}]",
                )],
                &[&["spec.ingress[1]"]],
            ),
            (
                "a policy that another covers",
                &[
                    ("shop/a", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"),
                    (
                        "shop/b",
                        "{podSelector: {matchLabels: {app: frontend}}, ingress: [{from: [{podSelector: {matchLabels: {app: x}}}]}]}",
                    ),
                ],
                &[&["b spec: never changes an answer: NetworkPolicy shop/a allows"]],
            ),
            (
                "after a rule of the same policy, whatever that does",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {matchLabels: {a: b}}}]}]}",
                )],
                &[&["a spec.ingress[1]: never decides: ingress[0] comes before it"]],
            ),
            (
                "after a policy of a lower number",
                &[
                    (
                        "anp z",
                        "{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}]}]}",
                    ),
                    (
                        "cnp a",
                        "{tier: Admin, priority: 2, subject: {namespaces: {matchLabels: {a: b}}}, egress: [{action: Accept, to: [{networks: [10.1.0.0/16]}]}]}",
                    ),
                ],
                &[&["a spec.egress[0]: never decides: AdminNetworkPolicy z, egress[0], comes"]],
            ),
            (
                "a rule within another of a policy that goes as a whole",
                &[
                    ("shop/a", "ingress: [{from: [{podSelector: {}}]}]"),
                    (
                        "shop/b",
                        "ingress: [{from: [{podSelector: {}}], ports: [{port: 1}]}, {from: [{podSelector: {}}], ports: [{port: 1}]}]",
                    ),
                ],
                &[&["b spec: never changes an answer: NetworkPolicy shop/a allows"]],
            ),
            (
                "a policy that four others cover together",
                &[
                    ("shop/a", "ingress: [{ports: [{port: 1}]}]"),
                    ("shop/b", "ingress: [{ports: [{port: 2}]}]"),
                    ("shop/c", "ingress: [{ports: [{port: 3}]}]"),
                    ("shop/d", "ingress: [{ports: [{port: 4}]}]"),
                    (
                        "shop/z",
                        "ingress: [{ports: [{port: 1}]}, {ports: [{port: 2}]}, {ports: [{port: 3}]}, {ports: [{port: 4}]}]",
                    ),
                ],
                &[&[
                    "z spec",
                    "shop/a, NetworkPolicy shop/b, NetworkPolicy shop/c and NetworkPolicy shop/d allow",
                ]],
            ),
            (
                "a policy that five others cover together: not all are named",
                &[
                    ("shop/a", "ingress: [{ports: [{port: 1}]}]"),
                    ("shop/b", "ingress: [{ports: [{port: 2}]}]"),
                    ("shop/c", "ingress: [{ports: [{port: 3}]}]"),
                    ("shop/d", "ingress: [{ports: [{port: 4}]}]"),
                    ("shop/e", "ingress: [{ports: [{port: 5}]}]"),
                    (
                        "shop/z",
                        "ingress: [{ports: [{port: 1}]}, {ports: [{port: 2}]}, {ports: [{port: 3}]}, {ports: [{port: 4}]}, {ports: [{port: 5}]}]",
                    ),
                ],
                &[&[
                    "z spec",
                    "shop/a, NetworkPolicy shop/b, NetworkPolicy shop/c and 2 others allow all of it",
                ]],
            ),
            (
                "after the second rule of the same policy",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {matchLabels: {x: w}}}]}, {action: Pass, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {matchLabels: {a: b}}}]}]}",
                )],
                &[&["a spec.ingress[2]: never decides: ingress[1] comes before it"]],
            ),
            (
                "after a policy of the same kind",
                &[
                    (
                        "anp z",
                        "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
                    ),
                    (
                        "anp a",
                        "{priority: 2, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}",
                    ),
                ],
                &[&["a spec.ingress[0]: never decides: AdminNetworkPolicy z, ingress[0], comes"]],
            ),
            (
                "after a rule of an action that is not known",
                &[(
                    "anp a",
                    "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Audit, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {}}]}]}",
                )],
                &[],
            ),
            (
                "a block with an exception more",
                &[(
                    "shop/a",
                    "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}, {from: [{ipBlock: {cidr: 10.1.2.0/24}}]}]",
                )],
                &[],
            ),
            (
                "a block of which a part cannot be read",
                &[(
                    "shop/a",
                    "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [here]}}]}, {from: [{ipBlock: {cidr: 10.1.2.0/24}}]}]",
                )],
                &[],
            ),
            (
                "pods of other namespaces",
                &[(
                    "shop/a",
                    "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}, {from: [{podSelector: {}}]}]",
                )],
                &[],
            ),
            (
                "a gap between ranges",
                &[(
                    "shop/a",
                    "ingress: [{ports: [{port: 80, endPort: 89}, {port: 91, endPort: 99}]}, {ports: [{port: 85, endPort: 95}]}]",
                )],
                &[],
            ),
            (
                "another protocol",
                &[("shop/a", "ingress: [{ports: [{port: 53, protocol: UDP}]}, {ports: [{port: 53}]}]")],
                &[],
            ),
            ("another direction", &[("shop/a", "{ingress: [{}], egress: [{ports: [{port: 1}]}]}")], &[]),
            (
                "a number for a name",
                &[("shop/a", "ingress: [{ports: [{port: 80}]}, {ports: [{port: http}]}]")],
                &[],
            ),
            (
                "everybody, and pods",
                &[("shop/a", "ingress: [{from: [{namespaceSelector: {}}]}, {ports: [{port: 1}]}]")],
                &[],
            ),
            (
                "a block of everything, and pods",
                &[(
                    "shop/a",
                    "ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}, {from: [{podSelector: {}}]}]",
                )],
                &[],
            ),
            (
                "all labels but one, and any",
                &[(
                    "shop/a",
                    "ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: NotIn, values: [b]}]}}]}, {from: [{podSelector: {matchExpressions: [{key: a, operator: Exists}]}}]}]",
                )],
                &[],
            ),
            (
                "a policy that isolates on purpose",
                &[
                    ("shop/a", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"),
                    ("shop/b", "{podSelector: {}, ingress: []}"),
                ],
                &[],
            ),
            (
                "a policy that isolates one direction more",
                &[
                    ("shop/a", "{podSelector: {}, ingress: [{}]}"),
                    (
                        "shop/b",
                        "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 1}]}]}",
                    ),
                ],
                &[],
            ),
            (
                "a policy of another namespace",
                &[
                    ("ops/a", "{podSelector: {}, ingress: [{}]}"),
                    ("shop/b", "{podSelector: {}, ingress: [{ports: [{port: 1}]}]}"),
                ],
                &[],
            ),
            (
                "the same priority, and another tier",
                &[
                    (
                        "anp a",
                        "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
                    ),
                    (
                        "anp b",
                        "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
                    ),
                    (
                        "cnp c",
                        "{tier: Baseline, priority: 2, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
                    ),
                ],
                &[],
            ),
            (
                "a narrower subject",
                &[
                    (
                        "anp a",
                        "{priority: 1, subject: {namespaces: {matchLabels: {a: b}}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
                    ),
                    (
                        "anp b",
                        "{priority: 2, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}",
                    ),
                ],
                &[],
            ),
        ],
    );
}

#[test]
fn policies_that_contradict_each_other_are_told_with_an_example() {
    const DENY: &str = "{priority: 1, subject: {namespaces: {matchLabels: {team: web}}}, egress: [{action: Deny, to: [{networks: [198.51.100.0/24]}]}]}";
    check(
        EQUAL_PRIORITY,
        &estate(),
        &[
            (
                "an address",
                &[
                    ("anp a", DENY),
                    (
                        "anp b",
                        "{priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{networks: [198.51.100.0/25]}], ports: [{portNumber: {port: 443}}]}]}",
                    ),
                ],
                &[&[
                    "b spec.priority: contradicts AdminNetworkPolicy a about egress",
                    "pod shop/db to 198.51.100.0, port 443/TCP, is `allow` here, `deny` there",
                ]],
            ),
            (
                "a kind without priorities",
                &[
                    (
                        "banp default",
                        "{subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}",
                    ),
                    (
                        "cnp a",
                        "{tier: Baseline, priority: 7, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
                    ),
                ],
                &[&["a spec", "is `deny` here, `allow` there"]],
            ),
            (
                "three of one priority: each pair",
                &[
                    ("anp a", DENY),
                    (
                        "anp b",
                        "{priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{networks: [198.51.100.0/24]}]}]}",
                    ),
                    ("anp c", DENY),
                ],
                &[
                    &["b spec.priority: contradicts AdminNetworkPolicy a"],
                    &["c spec.priority: contradicts AdminNetworkPolicy b"],
                ],
            ),
            (
                "another priority",
                &[
                    ("anp a", DENY),
                    (
                        "anp b",
                        "{priority: 2, subject: {namespaces: {}}, egress: [{action: Allow, to: [{networks: [198.51.100.0/24]}]}]}",
                    ),
                ],
                &[],
            ),
            (
                "the same action",
                &[
                    ("anp a", DENY),
                    (
                        "anp b",
                        "{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [198.51.100.0/24]}]}]}",
                    ),
                ],
                &[],
            ),
            (
                "other pods",
                &[
                    ("anp a", DENY),
                    (
                        "anp b",
                        "{priority: 1, subject: {namespaces: {matchLabels: {team: ops}}}, egress: [{action: Allow, to: [{networks: [198.51.100.0/24]}]}]}",
                    ),
                ],
                &[],
            ),
            (
                "an earlier policy decides it",
                &[
                    ("anp a", DENY),
                    (
                        "anp b",
                        "{priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{networks: [198.51.100.0/24]}]}]}",
                    ),
                    (
                        "anp first",
                        "{priority: 0, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}",
                    ),
                ],
                &[],
            ),
        ],
    );
}

#[test]
fn pods_that_cannot_ask_the_dns_are_told_once() {
    check(
        NO_DNS,
        &estate(),
        &[
            (
                "pods, and no port 53",
                &[
                    ("shop/a", "egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}]"),
                    ("shop/b", "{podSelector: {}, policyTypes: [Egress]}"),
                ],
                &[&["a spec.egress: nothing lets the 2 pods that it selects ask the DNS"]],
            ),
            (
                "the Admin tier denies, and allows others; the Baseline tier is not asked",
                &[
                    ("shop/a", "egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}]"),
                    (
                        "anp b",
                        "{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{namespaces: {}}]}]}",
                    ),
                    (
                        "anp c",
                        "{priority: 2, subject: {namespaces: {matchLabels: {team: ops}}}, egress: [{action: Allow, to: [{namespaces: {}}]}]}",
                    ),
                    (
                        "banp default",
                        "{subject: {namespaces: {}}, egress: [{action: Allow, to: [{namespaces: {}}]}]}",
                    ),
                ],
                &[&["a spec.egress: nothing lets the 2 pods"]],
            ),
            (
                "UDP 53",
                &[(
                    "shop/a",
                    "egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}, {ports: [{port: 53, protocol: UDP}]}]",
                )],
                &[],
            ),
            (
                "by another policy",
                &[
                    ("shop/a", "egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}]"),
                    (
                        "shop/b",
                        "egress: [{to: [{namespaceSelector: {}}], ports: [{port: dns, protocol: UDP}]}]",
                    ),
                ],
                &[],
            ),
            (
                "a range that holds it",
                &[("shop/a", "egress: [{to: [{podSelector: {}}], ports: [{port: 1, endPort: 1024}]}]")],
                &[],
            ),
            ("nothing at all, on purpose", &[("shop/a", "{policyTypes: [Egress]}")], &[]),
            (
                "addresses alone",
                &[("shop/a", "egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24}}], ports: [{port: 443}]}]")],
                &[],
            ),
            (
                "the Admin tier allows it",
                &[
                    ("shop/a", "egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}]"),
                    (
                        "anp b",
                        "{priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{namespaces: {}}]}]}",
                    ),
                ],
                &[],
            ),
        ],
    );
}

#[test]
fn what_is_written_and_has_no_effect_is_told() {
    let written = Written {
        egress_rules: 2,
        empty_peers: vec!["spec.ingress[0].from".to_owned()],
        ..Written::default()
    };
    let found = |types: &str| {
        let spec = format!("{{policyTypes: [{types}], egress: [{{}}, {{}}], ingress: [{{from: []}}]}}");
        let policy = network_policy("shop/a", &spec);
        let report = lint(&[Linted { policy, written: written.clone() }], &estate());
        told(&report).into_iter().filter(|one| !one.starts_with(SHADOWED.id)).collect::<Vec<_>>()
    };
    let without = found("Ingress");
    assert!(
        without[0].starts_with("rules-without-effect a spec.egress: 2 rules have no effect"),
        "{without:?}"
    );
    assert!(without[1].starts_with("empty-peers-allow-all a spec.ingress[0].from: "), "{without:?}");
    assert_eq!((without.len(), found("Ingress, Egress").len()), (2, 1));
}

#[test]
fn what_is_not_known_is_never_claimed() {
    const SPECS: Specs = &[
        (
            "shop/a",
            "{podSelector: {matchLabels: {app: frontned}}, ingress: [{from: [{podSelector: {matchLabels: {a: b}}}], ports: [{port: x}]}]}",
        ),
        ("far/b", "{podSelector: {}, egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}]}"),
        (
            "anp c",
            "{priority: 1, subject: {namespaces: {matchLabels: {x: w}}}, egress: [{action: Deny, to: [{nodes: {}}]}]}",
        ),
    ];
    let full = estate();
    let templates = Estate { templates: full.pods.clone(), pods: Vec::new(), ..full.clone() };
    let rows: [(&str, Estate, &[&str]); 5] = [
        (
            "all",
            full.clone(),
            &[
                SELECTS_NOTHING.id,
                SELECTS_NOTHING.id,
                PEER_MATCHES_NOTHING.id,
                PEER_MATCHES_NOTHING.id,
                SELECTS_NOTHING.id,
            ],
        ),
        ("nothing", Estate::default(), &[]),
        ("an object that cannot be read", Estate { unsure: Some("Pod x".to_owned()), ..full.clone() }, &[]),
        ("workloads alone: what nearly fits", templates, &[SELECTS_NOTHING.id]),
        (
            "no namespaces",
            Estate { namespaces: BTreeMap::new(), nodes: Vec::new(), ..full },
            &[SELECTS_NOTHING.id, PEER_MATCHES_NOTHING.id],
        ),
    ];
    for (name, estate, expected) in rows {
        let report = lint(&linted(SPECS), &estate);
        let mut found: Vec<&str> = report.findings.iter().map(|one| one.rule.id).collect();
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}: {:#?}", told(&report));
        assert_eq!(report.unchecked.is_empty(), name == "all", "{name}: {:?}", report.unchecked);
    }
}

#[test]
fn a_name_in_the_annotation_that_is_no_rule_is_told() {
    let written =
        Written { ignored: vec!["no-dns".to_owned(), "select-nothing".to_owned()], ..Written::default() };
    let policy = network_policy("shop/a", "{}");
    let report = lint(&[Linted { policy, written }], &estate());
    assert_eq!(told(&report).len(), 1, "{report:?}");
    assert!(told(&report)[0].contains("`select-nothing` is no rule"), "{report:?}");
    assert!(told(&report)[0].contains("did you mean `selects-nothing`?"), "{report:?}");
}

/// Each cluster has pods in `kube-system`: where none is known, those of others may be missing as well.
#[test]
fn a_part_of_a_cluster_is_not_taken_for_the_whole() {
    const SPECS: Specs = &[
        ("empty/a", "podSelector: {}"),
        ("shop/b", "egress: [{to: [{namespaceSelector: {matchLabels: {team: none}}}]}]"),
        ("shop/c", "egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: x}}}]}]"),
        ("shop/d", "egress: [{to: [{namespaceSelector: {matchLabels: {team: x}}}]}]"),
        ("shop/e", "egress: [{to: [{namespaceSelector: {}}], ports: [{port: x}]}]"),
        ("shop/f", "podSelector: {matchLabels: {a: b}}"),
        (
            "shop/g",
            "egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ops}}, podSelector: {matchLabels: {a: b}}}]}]",
        ),
        (
            "shop/h",
            "egress: [{to: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {a: b}}}]}]",
        ),
    ];
    let whole = estate();
    let part = Estate { pods: whole.pods[..4].to_vec(), ..whole.clone() };
    let mut less = part.clone();
    less.namespaces.remove("kube-system");
    for (name, estate, expected) in
        [("whole", whole, "abcdefgh"), ("pods", part, "dfgh"), ("namespaces", less, "fg")]
    {
        let report = lint(&linted(SPECS), &estate);
        let found = report.findings.iter().filter(|one| one.severity == Severity::Warning);
        let mut found: Vec<&str> = found.map(|one| &*one.policy.name).collect();
        found.sort_unstable();
        assert_eq!(found.concat(), expected, "{name}: {:#?}", told(&report));
    }
}

/// Rules of what is found, and what is told of what is not looked at.
fn outcome(specs: Specs, estate: &Estate) -> (Vec<&'static str>, String) {
    let report = lint(&linted(specs), estate);
    let why: BTreeSet<String> = report.unchecked.into_iter().map(|one| one.why).collect();
    let found = report.findings.iter().map(|one| one.rule.id).collect();
    (found, why.into_iter().collect::<Vec<_>>().join("; "))
}

#[test]
fn the_pods_that_may_not_be_known_are_told_by_their_namespaces() {
    let whole = estate();
    let mut part = Estate { pods: whole.pods[..4].to_vec(), ..whole };
    let rows: [(&str, Specs, &str); 4] = [
        (
            "all",
            &[("shop/a", "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]}]")],
            "all namespaces",
        ),
        (
            "two",
            &[(
                "shop/a",
                "ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [web, none]}]}, podSelector: {matchLabels: {a: b}}}]}]",
            )],
            "namespaces empty and shop",
        ),
        (
            "three",
            &[(
                "shop/a",
                "ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [web, none, ops]}]}, podSelector: {matchLabels: {a: b}}}]}]",
            )],
            "namespaces empty, ops and shop",
        ),
        (
            "more",
            &[(
                "shop/a",
                "ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}, podSelector: {matchLabels: {a: b}}}]}]",
            )],
            "4 namespaces",
        ),
    ];
    for (name, specs, whose) in rows {
        let why = format!("the pods of {whose} may not all be in the manifests");
        assert_eq!(outcome(specs, &part), (vec![], why), "{name}");
    }
    const ELSEWHERE: Specs = &[(
        "shop/a",
        "ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {a: b}}}]}]",
    )];
    part.pods.push(candidate(pod("far/x").unseen_namespace()));
    part.namespaces.remove("kube-system");
    let why = "the pods of other namespaces may not all be in the manifests".to_owned();
    assert_eq!(outcome(ELSEWHERE, &part), (vec![], why));
}

#[test]
fn without_namespaces_and_their_labels_their_selectors_are_left_alone() {
    const ANY: Specs = &[(
        "shop/a",
        "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: frontned}}}]}]",
    )];
    const SOME: Specs = &[(
        "shop/a",
        "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: frontned}}}]}]",
    )];
    let estate = Estate { namespaces: BTreeMap::new(), ..estate() };
    assert_eq!(outcome(ANY, &estate), (vec![PEER_MATCHES_NOTHING.id], String::new()));
    let why = "there are no namespaces with their labels in the manifests".to_owned();
    assert_eq!(outcome(SOME, &estate), (vec![], why));
}

#[test]
fn where_pods_cannot_be_read_not_even_what_nearly_fits_is_told() {
    const SPECS: Specs = &[(
        "shop/a",
        "{podSelector: {matchLabels: {app: frontned}}, ingress: [{from: [{podSelector: {matchLabels: {app: frontned}}}]}]}",
    )];
    let unsure = Estate { unsure: Some("Pod x".to_owned()), ..estate() };
    assert_eq!(outcome(SPECS, &unsure), (vec![], "Pod x".to_owned()));
}

#[test]
fn what_nobody_asks_for_is_not_told_as_left_out() {
    let blind = Estate::default();
    let rules = |specs: Specs| -> Vec<&'static str> {
        lint(&linted(specs), &blind).unchecked.iter().map(|one| one.rule).collect()
    };
    assert_eq!(rules(&[]), [""; 0]);
    assert_eq!(rules(&[("shop/a", "{}")]), [PEER_MATCHES_NOTHING.id, SELECTS_NOTHING.id]);
    // One of the cluster alone contradicts nobody.
    let one: Specs = &[("anp a", "{priority: 1, subject: {namespaces: {}}}")];
    assert_eq!(rules(one), [PEER_MATCHES_NOTHING.id, SELECTS_NOTHING.id]);
}

#[test]
fn of_workloads_alone_a_named_port_is_told_where_it_is_seen_why() {
    let full = estate();
    let workloads = Estate { templates: full.pods.clone(), pods: Vec::new(), ..full };
    let rows: [(&str, Specs, usize); 4] = [
        ("another protocol", &[("shop/a", "ingress: [{ports: [{port: dns}]}]")], 1),
        ("an init container", &[("shop/a", "ingress: [{ports: [{port: setup}]}]")], 1),
        ("a slip of the pen", &[("shop/a", "ingress: [{ports: [{port: htpp}]}]")], 1),
        ("for no reason that is seen", &[("shop/a", "ingress: [{ports: [{port: metrics}]}]")], 0),
    ];
    for (name, specs, number) in rows {
        let (found, why) = outcome(specs, &workloads);
        assert_eq!(found, vec![NAMED_PORT.id; number], "{name}");
        let is_left = why.contains("the pods that declare a name may not all be in the manifests");
        assert_eq!(is_left, number == 0, "{name}: {why}");
    }
}

/// Its address may be another pod's by now.
#[test]
fn a_pod_that_has_ended_is_no_example_of_a_contradiction() {
    const SPECS: Specs = &[
        (
            "anp a",
            "{priority: 1, subject: {namespaces: {matchLabels: {team: web}}}, egress: [{action: Deny, to: [{namespaces: {matchLabels: {team: ops}}}]}]}",
        ),
        (
            "anp b",
            "{priority: 1, subject: {namespaces: {matchLabels: {team: web}}}, egress: [{action: Allow, to: [{namespaces: {matchLabels: {team: ops}}}]}]}",
        ),
    ];
    let mut estate = estate();
    assert_eq!(outcome(SPECS, &estate).0, [EQUAL_PRIORITY.id]);
    let scraper = pod("ops/scraper").ip("10.1.0.4").label("app", "scraper").namespace_label("team", "ops");
    estate.pods[3] = candidate(scraper.terminated());
    assert_eq!(outcome(SPECS, &estate).0, [""; 0]);
}

/// The values of `app` that are there, or which labels come nearest.
fn there(selector: &[(&str, &str)], sets: &[&[(&str, &str)]]) -> Option<String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let sets: Vec<Labels> = sets.iter().map(|set| set.iter().map(owned).collect()).collect();
    let wanted = selector.iter().map(owned).map(|(key, value)| Requirement::In(key, vec![value])).collect();
    near::why_none(&Selector(wanted), &sets.iter().collect::<Vec<_>>(), "pod").there
}

#[test]
fn of_many_values_some_are_named() {
    let values = ["a1", "b1", "c1", "d1", "e1", "f1"].map(|value| [("app", value)]);
    let sets: Vec<&[(&str, &str)]> = values.iter().map(|set| &set[..]).collect();
    let of = |number| there(&[("app", "x")], &sets[..number]).unwrap();
    assert_eq!(of(1), "`app` is `a1` there");
    assert_eq!(of(5), "`app` is `a1` or `b1` or `c1` or `d1` or `e1` there");
    assert_eq!(of(6), "`app` is `a1`, `b1`, `c1`, `d1` or one of 2 others there");
}

#[test]
fn what_comes_nearest_is_told_with_what_it_lacks() {
    const WANTED: &[(&str, &str)] = &[("app", "db"), ("tier", "fe"), ("zone", "z")];
    let far: &[(&str, &str)] = &[("app", "db")];
    let other: &[(&str, &str)] = &[("app", "web"), ("tier", "fe"), ("zone", "z")];
    let without: &[(&str, &str)] = &[("tier", "fe"), ("zone", "z")];
    let told = |near| there(WANTED, &[far, near]);
    assert_eq!(told(other).as_deref(), Some("the pod that comes nearest has `web` as `app`"));
    assert_eq!(told(without).as_deref(), Some("the pod that comes nearest has none as `app`"));
}

#[test]
fn a_policy_that_others_cover_weighs_less_than_a_rule_that_its_own_cover() {
    let weights = |specs: Specs| -> Vec<Severity> {
        lint(&linted(specs), &estate()).findings.iter().map(|one| one.severity).collect()
    };
    assert_eq!(weights(&[("shop/a", "ingress: [{}]"), ("shop/b", "ingress: [{}]")]), [Severity::Info]);
    assert_eq!(weights(&[("shop/a", "ingress: [{}, {}]")]), [Severity::Warning]);
}

#[test]
fn the_table_of_rules_has_a_row_for_each() {
    let table = rule_table();
    for row in
        ["| `rejected` | error | the API", "| `shadowed-rule` | warning | a rule", "| `no-dns` | info | the"]
    {
        assert_eq!(table.lines().filter(|line| line.starts_with(row)).count(), 1, "{row}: {table}");
    }
    assert_eq!(table.lines().count(), RULES.len() + 2);
}
