//! The rules of `docs/policy.md`, row by row: policies of namespace `shop`, a connection, its verdict.

mod cluster_policies;
mod explain;
mod properties;
mod set;

use super::{BlockScope, Cache, Policy, PolicySet, Query, combine};
use crate::model::{
    Basis, Decision, DirectionVerdict, Endpoint, Node, Party, PolicyKind, Protocol, Service, Tier,
};
use crate::policy::kinds::not_understood::NotUnderstood;
use crate::testkit::{external, ip, network_policy, node, node_party, pod, policies, unknown};
use Protocol::{Sctp, Tcp, Udp};
use std::sync::Arc;

fn party(name: &str) -> Party {
    match name {
        "web" => web().party(),
        "web/v6" => Party { ip: Some(ip("fd00::1")), ..web().party() },
        "web/mapped" => Party { ip: Some(ip("::ffff:10.1.0.1")), ..web().party() },
        "web/unseen" => Party { ip: None, ..web().party() },
        "db" => db().party(),
        "db/v6" => Party { ip: Some(ip("fd00::2")), ..db().party() },
        "db/unseen" => Party { ip: None, ..db().party() },
        "probe" => probe().party(),
        "host" => host().party(),
        "stray" => pod("lost/stray").ip("10.1.0.4").unseen_namespace().node("n2").party(),
        "floating" => pod("shop/floating").ip("10.1.0.6").label("app", "web").party(),
        "n1" => node_party("n1", "10.0.0.1"),
        "n1/unseen" => Party { ip: None, ..node_party("n1", "10.0.0.1") },
        "n2" => node_party("n2", "10.0.0.2"),
        "edge" => {
            let labels = [("role".to_owned(), "edge".to_owned())].into();
            let node = Node { labels, ..node("edge", "10.0.0.3") };
            Party { endpoint: Endpoint::Node(Arc::new(node)), ip: Some(ip("10.0.0.3")), port: None }
        }
        "outside" => external("198.51.100.7"),
        "outside/v6" => external("2001:db8::7"),
        "unknown" => unknown(Some("10.1.9.9")),
        "unknown/no address" => unknown(None),
        "unknown/own address" => unknown(Some("10.1.0.1")),
        "local" => Party { endpoint: Endpoint::Local, ip: Some(ip("127.0.0.1")), port: None },
        "service" => Party {
            endpoint: Endpoint::Service(Arc::new(Service {
                namespace: "shop".to_owned(),
                name: "db".to_owned(),
                port_name: None,
            })),
            ip: Some(ip("10.96.0.1")),
            port: None,
        },
        other => panic!("{other}"),
    }
}

fn web() -> crate::testkit::PodBuilder {
    let web = pod("shop/web").ip("10.1.0.1").ip("fd00::1").label("app", "web").node("n1");
    let web = web.namespace_label("team", "a").port("http", 8080, Tcp).port("dns", 53, Udp);
    web.port("metrics", 9100, Tcp).port("metrics", 9101, Tcp)
}

fn db() -> crate::testkit::PodBuilder {
    let db = pod("shop/db").ip("10.1.0.2").ip("fd00::2").label("app", "db").label("tier", "").node("n2");
    db.namespace_label("team", "a")
}

fn probe() -> crate::testkit::PodBuilder {
    pod("ops/probe").ip("10.1.0.3").label("app", "probe").node("n2").namespace_label("team", "b")
}

fn host() -> crate::testkit::PodBuilder {
    let host = pod("ops/host").ip("10.0.0.1").label("app", "probe").node("n1").host_network();
    host.port("http", 8080, Tcp)
}

fn ask(
    set: &PolicySet,
    from: &str,
    to: &str,
    protocol: Protocol,
    port: u16,
) -> (DirectionVerdict, DirectionVerdict) {
    let (source, destination) = (party(from), party(to));
    let (source, destination) = (&source, &destination);
    both_ways(set, &Query { source, destination, protocol, port: Some(port), range_of: None })
}

/// The answer, which must be the same whether the pods were added or not, and from a cache.
fn both_ways(set: &PolicySet, query: &Query<'_>) -> (DirectionVerdict, DirectionVerdict) {
    let read = set.evaluate(query);
    let mut with_pods = set.clone();
    for party in [query.source, query.destination] {
        party.endpoint.as_pod().into_iter().for_each(|pod| with_pods.put_pod(pod));
    }
    let mut cache = Cache::new(1);
    for _ in 0..2 {
        let (egress, ingress) = with_pods.rule_with(query, &mut cache);
        assert_eq!((egress.verdict(), ingress.verdict()), read, "from a cache");
    }
    assert_eq!(with_pods.evaluate(query), read, "with pods added");
    assert_eq!(with_pods.decide(query), (read.0.decision, read.1.decision), "the decisions alone");
    read
}

/// `allow policy p0.1 p2.0` or `deny isolated p0`, as one line.
fn line(verdict: &DirectionVerdict) -> String {
    let mut line = format!("{:?} {:?}", verdict.decision, verdict.basis).to_lowercase();
    for policy in verdict.policies.iter() {
        line.push_str(&format!(" {}", policy.name));
        if let Some(rule) = policy.rule {
            line.push_str(&format!(".{rule}"));
        }
    }
    line
}

struct Row(
    &'static str,
    &'static [&'static str],
    (&'static str, &'static str, Protocol, u16),
    &'static str,
    &'static str,
);

/// What it shows, policies, connection, egress, ingress.
const ROWS: &[Row] = &[
    Row("no policy", &[], ("probe", "web", Tcp, 80), "allow unselected", "allow unselected"),
    Row(
        "an empty selector isolates every pod",
        &["{podSelector: {}}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a missing selector isolates every pod",
        &["{policyTypes: [Ingress]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "another namespace is not isolated",
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        ("outside", "probe", Tcp, 80),
        "allow unselected",
        "allow unselected",
    ),
    Row(
        "ingress only leaves egress alone",
        &["{podSelector: {}}"],
        ("web", "outside", Tcp, 80),
        "allow unselected",
        "allow unselected",
    ),
    Row(
        "egress rules without policyTypes isolate both",
        &["{podSelector: {}, egress: [{}]}"],
        ("web", "db", Tcp, 80),
        "allow policy p0.0",
        "deny isolated p0",
    ),
    Row(
        "policyTypes Egress alone leaves ingress",
        &["{podSelector: {}, policyTypes: [Egress]}"],
        ("web", "db", Tcp, 80),
        "deny isolated p0",
        "allow unselected",
    ),
    Row(
        "an empty list of rules allows nothing",
        &["{podSelector: {}, ingress: []}"],
        ("web", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "an empty rule allows everything",
        &["{podSelector: {}, ingress: [{}]}"],
        ("outside/v6", "db/v6", Sctp, 9),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "empty from and ports match everything",
        &["{podSelector: {}, ingress: [{from: [], ports: []}]}"],
        ("outside", "db", Udp, 9),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "of rules for the same ports those that match are named",
        &["{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: probe}}}]},
        {from: [{namespaceSelector: {matchLabels: {team: b}}}]}, {from: [{ipBlock: {cidr: 10.9.0.0/16}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.1",
    ),
    Row(
        "namespaces of one selector of pods add up",
        &["{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}},
        {namespaceSelector: {matchLabels: {team: b}}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "every isolating policy is named",
        &[
            "{podSelector: {}}",
            "{podSelector: {matchLabels: {app: db}}}",
            "{podSelector: {matchLabels: {app: web}}}",
        ],
        ("web", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0 p1",
    ),
    Row(
        "every allowing rule is named",
        &[
            "{podSelector: {}}",
            "{podSelector: {}, ingress: [{ports: [{port: 1}]}, {}, {from: [{podSelector: {}}]}]}",
            "{podSelector: {}, ingress: [{}]}",
        ],
        ("web", "db", Tcp, 80),
        "allow unselected",
        "allow policy p1.1 p1.2 p2.0",
    ),
    Row(
        "podSelector alone looks in its own namespace",
        &["{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "namespaceSelector alone takes all their pods",
        &["{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "both selectors in one item are a conjunction",
        &["{podSelector: {}, ingress: [{from:
        [{namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: web}}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "two items are a union",
        &["{podSelector: {}, ingress: [{from:
        [{namespaceSelector: {matchLabels: {team: b}}}, {podSelector: {matchLabels: {app: web}}}]}]}"],
        ("web", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a namespace is selected by its name",
        &["{podSelector: {}, ingress: [{from:
        [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ops}}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a namespace that was never seen still has its name",
        &["{podSelector: {}, ingress: [{from:
        [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lost}}}]}]}"],
        ("stray", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "labels of a namespace that was never seen are not known",
        &["{podSelector: {}, ingress: [{from:
        [{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}]}]}"],
        ("stray", "db", Tcp, 80),
        "allow unselected",
        "unknown unknown p0.0",
    ),
    Row(
        "NotIn holds where the key is missing",
        &["{podSelector: {matchExpressions:
        [{key: tier, operator: NotIn, values: [x]}]}}"],
        ("db", "web", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "In does not hold where the key is missing",
        &["{podSelector: {matchExpressions:
        [{key: tier, operator: In, values: ['']}]}}"],
        ("db", "web", Tcp, 80),
        "allow unselected",
        "allow unselected",
    ),
    Row(
        "an empty value wants the key",
        &["{podSelector: {matchLabels: {tier: ''}}}"],
        ("web", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "Exists takes an empty value",
        &["{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}"],
        ("web", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "all requirements must hold",
        &["{podSelector: {matchLabels: {app: db}, matchExpressions:
        [{key: tier, operator: DoesNotExist}]}}"],
        ("web", "db", Tcp, 80),
        "allow unselected",
        "allow unselected",
    ),
    Row(
        "ipBlock takes pods' addresses",
        &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/24}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "host bits are masked",
        &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.77/24}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "except subtracts",
        &["{podSelector: {}, ingress: [{from:
        [{ipBlock: {cidr: 10.1.0.0/24, except: [10.1.0.3/32]}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "what one item excepts another may take",
        &["{podSelector: {}, ingress: [{from:
        [{ipBlock: {cidr: 10.1.0.0/24, except: [10.1.0.3/32]}}, {ipBlock: {cidr: 10.1.0.3/32}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "all of IPv6 is nothing of IPv4",
        &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}"],
        ("outside", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "all of IPv4 is nothing of IPv6",
        &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"],
        ("outside/v6", "db/v6", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a mapped address is its IPv4 address",
        &["{podSelector: {matchLabels: {app: db}}, ingress: [{from:
        [{ipBlock: {cidr: 10.1.0.1/32}}]}]}"],
        ("web/mapped", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a mapped block is its IPv4 block",
        &["{podSelector: {}, ingress: [{from:
        [{ipBlock: {cidr: '::ffff:10.1.0.0/120'}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "an address that was not seen is the pod's of the family",
        &["{podSelector: {matchLabels: {app: db}}, ingress:
        [{from: [{ipBlock: {cidr: 10.1.0.1/32}}]}]}"],
        ("web/unseen", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "protocol is TCP where absent",
        &["{podSelector: {}, ingress: [{ports: [{port: 53}]}]}"],
        ("probe", "db", Udp, 53),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a protocol without a port is all its ports",
        &["{podSelector: {}, ingress: [{ports: [{protocol: SCTP}]}]}"],
        ("probe", "db", Sctp, 1),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a range holds its last port",
        &["{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}"],
        ("probe", "db", Tcp, 90),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a range ends",
        &["{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}]}"],
        ("probe", "db", Tcp, 91),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a name is the destination pod's port",
        &["{podSelector: {}, ingress: [{ports: [{port: http}]}]}"],
        ("probe", "web", Tcp, 8080),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a name of another protocol is no port",
        &["{podSelector: {}, ingress: [{ports: [{port: dns}]}]}"],
        ("probe", "web", Tcp, 53),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a name declared twice is both",
        &["{podSelector: {}, ingress: [{ports: [{port: metrics}]}]}"],
        ("probe", "web", Tcp, 9101),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a name that the pod does not declare is nothing",
        &["{podSelector: {}, ingress: [{ports: [{port: http}]}]}"],
        ("probe", "db", Tcp, 8080),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "egress looks names up on the destination",
        &["{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress],
        egress: [{ports: [{port: http}]}]}"],
        ("db", "web", Tcp, 8080),
        "allow policy p0.0",
        "allow unselected",
    ),
    Row(
        "outside nobody declares names",
        &["{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"],
        ("db", "outside", Tcp, 8080),
        "deny isolated p0",
        "allow unselected",
    ),
    Row(
        "a host-network pod is selected by nothing",
        &["{podSelector: {}, ingress: [{from:
        [{namespaceSelector: {}, podSelector: {}}]}]}"],
        ("host", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a host-network pod has its node's address",
        &["{podSelector: {}, ingress: [{from:
        [{ipBlock: {cidr: 10.0.0.1/32}}]}]}"],
        ("host", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "no selector takes a node",
        &["{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"],
        ("n1", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a pod's own node gets in",
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        ("n2", "db", Tcp, 80),
        "allow node",
        "allow node",
    ),
    Row(
        "a pod gets to its own node",
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        ("web", "host", Tcp, 80),
        "allow node",
        "allow node",
    ),
    Row(
        "another node does not get in",
        &["{podSelector: {}}"],
        ("n1", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a pod reaches itself by any address",
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        ("web/v6", "web", Tcp, 80),
        "allow selftraffic",
        "allow selftraffic",
    ),
    Row(
        "the loopback is the pod itself",
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        ("web", "local", Tcp, 80),
        "allow selftraffic",
        "allow selftraffic",
    ),
    Row(
        "whose node is not known may be its own",
        &["{podSelector: {}}"],
        ("n1", "floating", Tcp, 80),
        "allow unselected",
        "unknown unknown p0",
    ),
    Row(
        "nothing isolates: an unknown end changes nothing",
        &["{podSelector: {}}"],
        ("web", "unknown", Tcp, 80),
        "allow unselected",
        "unknown unknown",
    ),
    Row(
        "nothing is allowed: an unknown end changes nothing",
        &["{podSelector: {}, policyTypes: [Egress]}"],
        ("web", "unknown", Tcp, 80),
        "deny isolated p0",
        "allow unselected",
    ),
    Row(
        "everyone is allowed: an unknown end changes nothing",
        &["{podSelector: {}, ingress: [{ports: [{port: 80}]}]}"],
        ("unknown/no address", "web", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a selector may take an unknown end",
        &["{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"],
        ("unknown", "web", Tcp, 80),
        "allow unselected",
        "unknown unknown p0.0",
    ),
    Row(
        "a port decides before an unknown peer",
        &["{podSelector: {}, ingress:
        [{from: [{podSelector: {}}], ports: [{port: 81}]}]}"],
        ("unknown", "web", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a block decides by the address of an unknown end",
        &["{podSelector: {}, ingress:
        [{from: [{ipBlock: {cidr: 10.1.9.0/24}}]}]}"],
        ("unknown", "web", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "an unknown end without an address may be the pod itself",
        &["{podSelector: {}}"],
        ("unknown/no address", "web", Tcp, 80),
        "allow unselected",
        "unknown unknown p0",
    ),
    Row(
        "an unknown end with the pod's address may be the pod itself",
        &["{podSelector: {}}"],
        ("unknown/own address", "web", Tcp, 80),
        "allow unselected",
        "unknown unknown p0",
    ),
    Row(
        "behind a service may stand the pod itself",
        &["{podSelector: {}, policyTypes: [Egress]}"],
        ("web", "service", Tcp, 80),
        "unknown unknown p0",
        "allow unselected",
    ),
    Row(
        "an unreadable block may take it",
        &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '10.1'}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "unknown unknown p0.0",
    ),
    Row(
        "an unreadable part of a block may spare it",
        &["{podSelector: {}, ingress: [{from:
        [{ipBlock: {cidr: 10.1.0.0/16, except: [x]}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "unknown unknown p0.0",
    ),
    Row(
        "an unreadable part of another block changes nothing",
        &["{podSelector: {}, ingress: [{from:
        [{ipBlock: {cidr: 10.9.0.0/16, except: [x]}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "an unreadable port may take it",
        &["{podSelector: {}, ingress: [{ports: [{port: 99999}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "unknown unknown p0.0",
    ),
    Row(
        "an unreadable peer beside one that allows changes nothing",
        &["{podSelector: {}, ingress: [{from:
        [{}, {namespaceSelector: {}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "an unreadable selector may select",
        &["{podSelector: {matchExpressions: [{key: app, operator: Near}]}}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "unknown unknown p0",
    ),
    Row(
        "what another policy allows stands beside an unreadable one",
        &[
            "{podSelector: {matchExpressions:
        [{key: app, operator: Near}]}}",
            "{podSelector: {}, ingress: [{}]}",
        ],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "allow policy p1.0",
    ),
    Row(
        "NotIn refuses what it lists",
        &["{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}}"],
        ("web", "db", Tcp, 80),
        "allow unselected",
        "allow unselected",
    ),
    Row(
        "NotIn takes what it does not list",
        &["{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}}"],
        ("db", "web", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "each selector of pods keeps to its own namespaces",
        &["{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: probe}}},
        {namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: web}}}]}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "which address of a family was used is told by none",
        &["{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.1/32}}]}]}"],
        ("web/unseen", "db/unseen", Tcp, 80),
        "allow unselected",
        "unknown unknown p0.0",
    ),
    Row(
        "where no address is in the block it does not matter which was used",
        &["{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 10.9.0.0/16}}]}]}"],
        ("web/unseen", "db/unseen", Tcp, 80),
        "allow unselected",
        "deny isolated p0",
    ),
    Row(
        "a node whose address was not seen has its own",
        &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/32}}]}]}"],
        ("n1/unseen", "db", Tcp, 80),
        "allow unselected",
        "allow policy p0.0",
    ),
    Row(
        "a name may be a port of an unknown end",
        &["{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"],
        ("web", "unknown", Tcp, 8080),
        "unknown unknown p0.0",
        "allow unselected",
    ),
    Row(
        "a name is no port of a host-network pod",
        &["{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"],
        ("db", "host", Tcp, 8080),
        "deny isolated p0",
        "allow unselected",
    ),
    Row(
        "a host-network pod and its node are one",
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        ("host", "n1", Tcp, 80),
        "allow unselected",
        "allow unselected",
    ),
    Row(
        "a node and its host-network pod are one",
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        ("n1", "host", Tcp, 80),
        "allow unselected",
        "allow unselected",
    ),
    Row(
        "a host-network pod is the node of the pods beside it",
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        ("host", "web", Tcp, 80),
        "allow node",
        "allow node",
    ),
    Row(
        "an unknown end may be a pod that egress is shut for",
        &["{podSelector: {}, policyTypes: [Egress]}"],
        ("unknown", "web", Tcp, 80),
        "unknown unknown",
        "allow unselected",
    ),
    Row(
        "a range that ends before it begins may be any",
        &["{podSelector: {}, ingress: [{ports: [{port: 90, endPort: 80}]}]}"],
        ("probe", "db", Tcp, 85),
        "allow unselected",
        "unknown unknown p0.0",
    ),
    Row(
        "a policy in doubt that allows may save an isolated pod",
        &["{podSelector: {}}", "{podSelector: {matchExpressions: [{key: app, operator: Near}]}, ingress: [{}]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "unknown unknown p1",
    ),
    Row(
        "a direction that is none leaves both open",
        &["{podSelector: {}, policyTypes: [Inward]}"],
        ("probe", "db", Tcp, 80),
        "allow unselected",
        "unknown unknown p0",
    ),
];

#[test]
fn every_rule_gives_its_verdict() {
    for Row(name, specs, (from, to, protocol, port), egress, ingress) in ROWS {
        let set = policies("shop", specs);
        let (at_opener, at_listener) = ask(&set, from, to, *protocol, *port);
        assert_eq!(
            (line(&at_opener), line(&at_listener)),
            ((*egress).to_owned(), (*ingress).to_owned()),
            "{name}"
        );
        for verdict in [at_opener, at_listener] {
            assert_eq!(verdict.reason.is_some(), verdict.basis == Basis::Unknown, "{name}");
        }
    }
}

#[test]
fn an_unread_rule_is_named_with_its_field() {
    let set = policies("shop", &["{podSelector: {}, ingress: [{}, {from: [{ipBlock: {cidr: '10.1'}}]}]}"]);
    let closed = policies("shop", &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '10.1'}}]}]}"]);
    assert_eq!(ask(&set, "probe", "db", Tcp, 80).1.decision, Decision::Allow);
    let reason = ask(&closed, "probe", "db", Tcp, 80).1.reason.unwrap();
    assert_eq!(reason, "NetworkPolicy shop/p0: spec.ingress[0].from[0].ipBlock.cidr: `10.1` is no CIDR");
}

#[test]
fn an_address_out_of_the_own_nodes_range_may_be_the_node() {
    let set = policies("shop", &["{podSelector: {}}"]);
    let (source, destination) = (party("unknown"), party("web"));
    let rows = [(Some("n1"), Decision::Unknown), (Some("n2"), Decision::Deny), (None, Decision::Deny)];
    for (range_of, decision) in rows {
        let query =
            Query { source: &source, destination: &destination, protocol: Tcp, port: Some(80), range_of };
        assert_eq!(both_ways(&set, &query).1.decision, decision, "{range_of:?}");
    }
}

#[test]
fn blocks_can_be_kept_from_pods() {
    let spec = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}";
    let set = PolicySet::new([network_policy("shop/p0", spec)], BlockScope::OutsidePods);
    let rows = [
        ("probe", "deny isolated p0"),
        ("host", "allow policy p0.0"),
        ("n1", "allow policy p0.0"),
        ("outside", "allow policy p0.0"),
        ("unknown", "unknown unknown p0.0"),
    ];
    for (from, ingress) in rows {
        assert_eq!(line(&ask(&set, from, "db", Tcp, 80).1), ingress, "{from}");
    }
}

#[test]
fn what_is_not_understood_decides_in_its_tier() {
    let other = |kind, namespace: Option<&str>, tier| {
        let (namespace, why) = (namespace.map(str::to_owned), "not yet".into());
        Arc::new(Policy::NotUnderstood(NotUnderstood { kind, namespace, name: "x".to_owned(), tier, why }))
    };
    let allow = network_policy("shop/p0", "{podSelector: {}, ingress: [{}]}");
    let admin = other(PolicyKind::AdminNetworkPolicy, None, Some(Tier::Admin));
    let baseline = other(PolicyKind::BaselineAdminNetworkPolicy, None, Some(Tier::Baseline));
    let no_tier = other(PolicyKind::ClusterNetworkPolicy, None, None);
    let broken = other(PolicyKind::NetworkPolicy, Some("shop"), Some(Tier::Namespace));
    let elsewhere = other(PolicyKind::NetworkPolicy, Some("ops"), Some(Tier::Namespace));
    let rows: [(&str, Vec<Arc<Policy>>, &str); 7] = [
        ("admin comes first", vec![admin, allow.clone()], "unknown unknown x"),
        (
            "the namespace decides before the baseline",
            vec![baseline.clone(), allow.clone()],
            "allow policy p0.0",
        ),
        ("the baseline decides where the namespace passes", vec![baseline], "unknown unknown x"),
        ("a tier that is not told may be the first", vec![no_tier, allow.clone()], "unknown unknown x"),
        ("a broken policy cannot take back an allow", vec![broken.clone(), allow], "allow policy p0.0"),
        ("a broken policy may isolate", vec![broken], "unknown unknown x"),
        ("a broken policy of another namespace does not", vec![elsewhere], "allow unselected"),
    ];
    for (name, policies, ingress) in rows {
        let set = PolicySet::new(policies, BlockScope::default());
        assert_eq!(line(&ask(&set, "outside", "db", Tcp, 80).1), ingress, "{name}");
    }
}

#[test]
fn one_direction_denies_for_both() {
    use Decision::{Allow, Deny, Mixed, Unknown};
    let rows = [
        (Allow, Allow, Allow),
        (Deny, Unknown, Deny),
        (Unknown, Allow, Unknown),
        (Mixed, Unknown, Unknown),
        (Mixed, Allow, Mixed),
        (Mixed, Deny, Deny),
    ];
    for (one, other, both) in rows {
        assert_eq!((combine(one, other), combine(other, one)), (both, both), "{one:?} {other:?}");
    }
}
