//! Policies out of flows: what is in them, what is left out and told, and that none of it can be forged.

use super::{Choice, Dns, Input, Outside, Per, SuggestError, Suggester, Suggestion};
use crate::model::{
    Backend, Basis, Class, Decision, Direction, Edge, Endpoint, Node, Place, Pod, Protocol, Told,
};
use crate::policy::{BlockScope, PolicySet};
use crate::testkit::{EdgeBuilder, edge, ip, network_policy, node, outside, pod, workload};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
use std::sync::Arc;

/// An estate in the making: pods, and what was observed between their workloads.
#[derive(Default)]
struct Estate {
    pods: Vec<Arc<Pod>>,
    nodes: Vec<Arc<Node>>,
    edges: Vec<Edge>,
    backends: Vec<Backend>,
    declared: PolicySet,
    networks: Vec<(IpNet, String)>,
    ranges: Vec<IpNet>,
}

impl Estate {
    fn suggest(&self, choice: &Choice) -> Result<Suggestion, SuggestError> {
        self.suggester().suggest(choice)
    }

    fn suggester(&self) -> Suggester<'_> {
        let backing = |_: &str, _: &str, _: Protocol, _: u16| self.backends.clone();
        Suggester::new(Input {
            edges: &self.edges,
            pods: self.pods.clone(),
            nodes: self.nodes.clone(),
            backing: Box::new(backing),
            declared: &self.declared,
            networks: &self.networks,
            ranges: &self.ranges,
        })
    }

    /// The rules of a policy, without comments.
    fn text(&self, name: &str, choice: &Choice) -> String {
        let suggestion = self.suggest(choice).unwrap_or_else(|error| panic!("{error}"));
        let found = suggestion.documents.iter().find(|document| document.name == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {:#?}", suggestion.documents));
        bare(&found.text)
    }
}

fn bare(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

fn web() -> Arc<Pod> {
    let web = pod("shop/web-1").owner("Deployment/web").ip("10.1.0.1");
    web.label("app", "web").label("pod-template-hash", "1").port("http", 8080, Protocol::Tcp).build()
}

fn db() -> Arc<Pod> {
    let db = pod("data/db-0").owner("StatefulSet/db").ip("10.1.0.2").label("app", "db");
    db.label("statefulset.kubernetes.io/pod-name", "db-0").port("sql", 5432, Protocol::Tcp).build()
}

fn from_web(to: Place, port: u16) -> EdgeBuilder {
    edge(workload("shop/Deployment/web"), to, port)
}

fn to_db() -> EdgeBuilder {
    from_web(workload("data/StatefulSet/db"), 5432)
}

fn shop(edges: Vec<Edge>) -> Estate {
    Estate { pods: vec![web(), db()], edges, ..Estate::default() }
}

fn no_dns() -> Choice {
    Choice { dns: Dns::None, ..Choice::default() }
}

#[test]
fn a_connection_between_two_workloads_is_a_rule_at_either_end_and_nothing_else() {
    let estate = shop(vec![to_db().times(3, 60).build()]);
    let choice = no_dns();
    assert_eq!(
        estate.text("flowlog-web-deployment", &choice),
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: flowlog-web-deployment
  namespace: shop
spec:
  podSelector:
    matchLabels:
      app: web
  policyTypes: [Egress, Ingress]
  ingress: []
  egress:
  - to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: data
      podSelector:
        matchLabels:
          app: db
    ports:
    - port: sql
      protocol: TCP
"
    );
    let db = estate.text("flowlog-db-statefulset", &choice);
    assert!(db.contains("  ingress:\n  - from:\n    - namespaceSelector:\n"), "{db}");
    assert!(db.contains("egress: []"), "{db}");
    let suggestion = estate.suggest(&choice).unwrap();
    assert!(suggestion.documents[1].text.contains(
        "# TCP/5432: 3 unrestricted, 2027-01-15T08:00:00Z to 2027-01-15T08:01:00Z, shop/Deployment/web to data/StatefulSet/db\n"
    ), "{}", suggestion.documents[1].text);
    // web→db at 5432 stays; web→db, db→web and each to its own kind at 8080 and 5432 were possible.
    let triples = suggestion.triples.unwrap();
    assert_eq!((triples.kept, triples.lost, triples.opened, triples.unknown), (1, 3, 0, 0), "{triples:?}");
}

#[test]
fn dns_is_allowed_to_the_clusters_own_pods_where_they_are_known_and_to_anyone_where_not() {
    let mut estate = shop(vec![to_db().build()]);
    let anyone = estate.text("flowlog-web-deployment", &Choice::default());
    assert!(
        anyone.contains(
            "  - ports:\n    - port: 53\n      protocol: TCP\n    - port: 53\n      protocol: UDP\n"
        ),
        "{anyone}"
    );
    let dns =
        pod("kube-system/coredns-1").owner("Deployment/coredns").ip("10.1.0.3").label("k8s-app", "kube-dns");
    estate.pods.push(dns.build());
    let known = estate.text("flowlog-web-deployment", &Choice::default());
    assert!(known.contains("metadata.name: kube-system\n      podSelector:\n        matchLabels:\n          k8s-app: kube-dns\n    ports:\n    - port: 53\n"), "{known}");
    assert!(!known.contains("  - ports:"), "{known}");
    let any = Choice { dns: Dns::Any, ..Choice::default() };
    assert!(estate.text("flowlog-web-deployment", &any).contains("  - ports:"));
    assert!(!estate.text("flowlog-web-deployment", &no_dns()).contains("53"));
}

#[test]
fn a_workload_is_selected_by_labels_that_stay_and_that_no_other_has() {
    let of = |name: &str, labels: &[(&str, &str)]| {
        let start = pod(&format!("shop/{name}-1")).owner(&format!("Deployment/{name}"));
        labels.iter().fold(start, |pod, (key, value)| pod.label(key, value)).build()
    };
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], &'a str);
    let rows: [Row<'_>; 6] = [
        ("names alone", &[("app", "a"), ("team", "x")], &[("app", "b")], "      app: a\n"),
        (
            "more where they are alike",
            &[("app", "a"), ("tier", "x")],
            &[("app", "a"), ("tier", "y")],
            "      app: a\n      tier: x\n",
        ),
        (
            "a version where nothing else tells",
            &[("app", "a"), ("version", "1")],
            &[("app", "a"), ("version", "2")],
            "      app: a\n      version: \"1\"\n",
        ),
        (
            "what only the other has",
            &[("app", "a")],
            &[("app", "a"), ("track", "canary")],
            "      app: a\n    matchExpressions:\n    - key: track\n      operator: DoesNotExist\n",
        ),
        ("no roll-out", &[("team", "x"), ("pod-template-hash", "5")], &[("app", "b")], "      team: x\n"),
        ("a word that YAML takes for another", &[("app", "true")], &[], "      app: \"true\"\n"),
    ];
    for (name, own, other, selector) in rows {
        let estate = Estate {
            pods: vec![of("one", own), of("two", other), db()],
            edges: vec![edge(workload("shop/Deployment/one"), workload("data/StatefulSet/db"), 5432).build()],
            ..Estate::default()
        };
        let text = estate.text("flowlog-one-deployment", &no_dns());
        assert!(
            text.contains(&format!("  podSelector:\n    matchLabels:\n{selector}  policyTypes")),
            "{name}: {text}"
        );
    }
}

#[test]
fn workloads_that_no_label_tells_apart_are_selected_together_with_what_both_did() {
    let of = |name: &str| {
        pod(&format!("shop/{name}-1")).owner(&format!("Deployment/{name}")).label("app", "a").build()
    };
    let to_outside = |name: &str, address: &str| {
        edge(workload(&format!("shop/Deployment/{name}")), outside(address), 443).build()
    };
    let estate = Estate {
        pods: vec![of("one"), of("two")],
        edges: vec![to_outside("one", "198.51.100.1"), to_outside("two", "198.51.100.2")],
        ..Estate::default()
    };
    let alone = Choice { workloads: [("Deployment".to_owned(), "one".to_owned())].into(), ..no_dns() };
    let suggestion = estate.suggest(&alone).unwrap();
    let [document] = &suggestion.documents[..] else { panic!("{suggestion:#?}") };
    for part in [
        "198.51.100.1/32",
        "198.51.100.2/32",
        "# No label tells its pods apart from those of shop/Deployment/two:",
    ] {
        assert!(document.text.contains(part), "{part}: {}", document.text);
    }
}

#[test]
fn peers_outside_are_addresses_networks_or_all() {
    let mut estate = shop(vec![
        from_web(outside("198.51.100.7"), 443).build(),
        from_web(outside("2001:db8::7"), 443).build(),
        from_web(outside("198.51.100.9"), 8443).build(),
    ]);
    let with = |outside: Outside| Choice { outside, ..no_dns() };
    let text = |estate: &Estate, outside| estate.text("flowlog-web-deployment", &with(outside));
    let narrow = text(&estate, Outside::Cidr);
    assert!(narrow.contains(
        "  - to:\n    - ipBlock:\n        cidr: \"198.51.100.7/32\"\n    - ipBlock:\n        cidr: \"2001:db8::7/128\"\n    ports:\n    - port: 443\n"
    ), "{narrow}");
    estate.networks = vec![("198.51.100.0/24".parse().unwrap(), "vendor".to_owned())];
    let named = text(&estate, Outside::Network);
    assert!(named.contains("\"198.51.100.0/24\"") && named.contains("\"2001:db8::7/128\""), "{named}");
    estate.ranges = vec!["10.1.0.0/24".parse().unwrap(), "10.1.1.0/24".parse().unwrap()];
    let all = text(&estate, Outside::Any);
    assert!(all.contains("cidr: \"0.0.0.0/0\"\n        except:\n        - \"10.1.0.0/23\"\n"), "{all}");
    assert!(all.contains("cidr: \"::/0\""), "{all}");
}

#[test]
fn what_no_policy_can_name_is_left_out_and_told() {
    let host =
        pod("ops/agent-1").owner("DaemonSet/agent").ip("10.0.0.9").label("app", "agent").host_network();
    let exempt = || Told { decision: Decision::Allow, basis: Basis::Node, policies: Arc::from([]) };
    let estate = Estate {
        pods: vec![web(), db(), host.build()],
        nodes: vec![Arc::new(node("n1", "10.0.0.1"))],
        edges: vec![
            from_web(workload("ops/DaemonSet/agent"), 9100).build(),
            from_web(Place::Node { name: Some("n1".into()) }, 10250).build(),
            from_web(Place::Node { name: Some("n2".into()) }, 10250).build(),
            edge(Place::Node { name: None }, workload("shop/Deployment/web"), 8080)
                .told(exempt(), exempt())
                .build(),
            from_web(Place::Unknown { ip: Some(ip("10.9.9.9")) }, 80).build(),
            from_web(Place::Service { namespace: "data".into(), name: "x".into() }, 80).build(),
            from_web(Place::Local, 80).build(),
            from_web(outside("198.51.100.1"), 0).with(|edge| edge.protocol = Protocol::Icmp).build(),
        ],
        ..Estate::default()
    };
    let suggestion = estate.suggest(&no_dns()).unwrap();
    let reasons: Vec<&str> = suggestion.left_out.iter().map(|one| one.why.as_str()).collect();
    let expected = [
        "who has 10.9.9.9 is not known",
        "what stands behind service data/x is not known",
        "policies do not speak of ICMP",
        "the addresses of the node are not known",
    ];
    for why in expected {
        assert!(reasons.iter().any(|reason| reason.starts_with(why)), "{why}: {reasons:#?}");
    }
    assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
    let text = estate.text("flowlog-web-deployment", &no_dns());
    assert!(text.contains("\"10.0.0.9/32\"") && text.contains("\"10.0.0.1/32\""), "{text}");
    assert!(suggestion.documents.iter().all(|document| document.namespace != "ops"), "{suggestion:#?}");
    assert!(suggestion.documents[0].text.contains("# NOT ALLOWED: "), "{}", suggestion.documents[0].text);
}

#[test]
fn a_service_is_the_pods_behind_it_by_their_ports() {
    let mut estate =
        shop(vec![from_web(Place::Service { namespace: "data".into(), name: "db".into() }, 80).build()]);
    estate.backends = vec![Backend { ip: ip("10.1.0.2"), port: 5432, endpoint: Endpoint::Pod(db()) }];
    let suggestion = estate.suggest(&no_dns()).unwrap();
    assert_eq!((suggestion.documents.len(), suggestion.left_out.len()), (2, 0), "{suggestion:#?}");
    let text = &suggestion.documents[1].text;
    assert!(text.contains("port: sql") && text.contains(", by service data/db"), "{text}");
}

#[test]
fn only_what_went_through_counts_but_for_what_is_asked_for() {
    let estate = shop(vec![
        to_db().build(),
        from_web(outside("198.51.100.1"), 443).class(Class::DeniedAttempt).times(7, 1).build(),
    ]);
    let suggestion = estate.suggest(&no_dns()).unwrap();
    assert_eq!(suggestion.not_counted, [(Class::DeniedAttempt, 7)].into());
    assert!(!estate.text("flowlog-web-deployment", &no_dns()).contains("198.51.100.1"));
    let more = Choice { include: [Class::DeniedAttempt].into(), ..no_dns() };
    assert!(estate.text("flowlog-web-deployment", &more).contains("198.51.100.1"));
}

#[test]
fn what_is_declared_is_told_or_not_repeated_and_a_deny_above_it_stays_one() {
    let mut estate = shop(vec![to_db().build(), from_web(outside("198.51.100.1"), 443).build()]);
    let existing = network_policy(
        "shop/mine",
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: data}}}]}]}",
    );
    estate.declared = PolicySet::new([existing], BlockScope::default());
    let suggestion = estate.suggest(&no_dns()).unwrap();
    let web = &suggestion.documents[1].text;
    assert!(web.contains("# Selected already by NetworkPolicy mine; policies add up"), "{web}");
    assert!(web.contains("port: sql"), "{web}");
    let merged = Choice { merge: true, ..no_dns() };
    let text = estate.text("flowlog-web-deployment", &merged);
    assert!(!text.contains("sql") && text.contains("198.51.100.1"), "{text}");
    let shut = crate::testkit::cluster_policy(
        "anp shut",
        "{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [198.51.100.0/24]}]}]}",
    );
    estate.declared.put_policy(&shut);
    let suggestion = estate.suggest(&no_dns()).unwrap();
    let told: Vec<_> = suggestion.conflicts.iter().collect();
    let [(flow, why)] = &told[..] else { panic!("{told:?}") };
    assert!(flow.contains("198.51.100.1") && why.contains("AdminNetworkPolicy shut"), "{told:?}");
}

#[test]
fn what_declared_policies_allow_wholly_needs_no_other() {
    let mut estate = shop(vec![to_db().build()]);
    let both = "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}";
    estate.declared = PolicySet::new(
        ["shop/all", "data/all"].map(|path| network_policy(path, both)),
        BlockScope::default(),
    );
    let merged = Choice { merge: true, ..no_dns() };
    let suggestion = estate.suggest(&merged).unwrap();
    assert_eq!(suggestion.documents, []);
    assert_eq!(suggestion.covered, ["data/StatefulSet/db", "shop/Deployment/web"]);
}

#[test]
fn a_suggestion_that_was_applied_is_suggested_again() {
    let mut estate = shop(vec![to_db().build()]);
    let choice = Choice { merge: true, ..Choice::default() };
    let first = estate.suggest(&choice).unwrap().documents;
    for document in &first {
        let policy = crate::policy::kinds::network_policy::read_text(&document.text).unwrap();
        estate.declared.put_policy(&Arc::new(crate::policy::Policy::NetworkPolicy(policy)));
    }
    assert_eq!(estate.suggest(&choice).unwrap().documents, first);
}

#[test]
fn a_default_deny_shuts_the_namespaces_and_tells_what_it_would_cut() {
    let nameless = pod("shop/odd").build();
    let mut estate =
        shop(vec![to_db().build(), edge(workload("shop/Pod/odd"), outside("198.51.100.1"), 80).build()]);
    estate.pods.push(nameless);
    let choice = Choice { default_deny: true, ..no_dns() };
    let suggestion = estate.suggest(&choice).unwrap();
    let text = estate.text("flowlog-default-deny", &choice);
    assert!(text.ends_with("spec:\n  podSelector: {}\n  policyTypes: [Egress, Ingress]\n"), "{text}");
    assert_eq!(suggestion.documents.len(), 4, "{suggestion:#?}");
    assert_eq!(suggestion.left_out.len(), 1, "{suggestion:#?}");
    assert!(suggestion.left_out[0].why.contains("no label in common"), "{suggestion:#?}");
    let open = estate.suggest(&no_dns()).unwrap();
    assert_eq!(open.left_out, [], "without a default deny nothing shuts it");
    assert!(open.without.contains_key("shop/Pod/odd"), "{open:#?}");
}

#[test]
fn the_policy_of_one_workload_is_its_own_among_all() {
    let estate = shop(vec![to_db().build(), from_web(outside("198.51.100.1"), 443).build()]);
    let all = estate.suggest(&Choice::default()).unwrap().documents;
    let suggester = estate.suggester();
    let one = |path: &str| suggester.of_workload(&workload(path)).unwrap();
    assert_eq!(one("shop/Deployment/web").as_ref(), Some(&all[1].text));
    assert!(one("data/StatefulSet/db").is_some_and(|text| text.contains("from:")));
    assert_eq!(one("shop/Deployment/none"), None);
}

#[test]
fn a_policy_per_namespace_selects_all_of_it() {
    let estate = shop(vec![to_db().build()]);
    let choice = Choice { per: Per::Namespace, ..no_dns() };
    let text = estate.text("flowlog-namespace", &choice);
    assert!(
        text.contains("  podSelector: {}\n")
            && text.contains("metadata.name: shop\n    ports:\n    - port: 5432\n"),
        "{text}"
    );
}

#[test]
fn records_alone_tell_labels() {
    let labels = [("app", "web"), ("pod-template-hash", "1")];
    let one = to_db().labels(&labels, &[("app", "db")]).build();
    let estate = Estate { edges: vec![one], ..Estate::default() };
    let suggestion = estate.suggest(&no_dns()).unwrap();
    let text = &suggestion.documents[1].text;
    assert!(
        text.contains("      app: web\n") && text.contains("port: 5432") && !text.contains("hash"),
        "{text}"
    );
    assert!(text.contains("# Its labels are those that records tell"), "{text}");
    let bare = Estate { edges: vec![to_db().build()], ..Estate::default() };
    let suggestion = bare.suggest(&no_dns()).unwrap();
    assert_eq!(suggestion.documents, []);
    assert_eq!(suggestion.without.len(), 2, "{suggestion:#?}");
}

#[test]
fn a_name_that_is_none_can_end_no_comment_and_select_nobody() {
    let odd = "web\n---\nkind: Pod\u{2028}#";
    let place = |namespace: &str| Place::Workload {
        namespace: namespace.into(),
        owner: "Deployment".into(),
        name: odd.into(),
    };
    let outside = Place::External {
        ip: Some(ip("198.51.100.1")),
        name: Some("x\nkind: Pod\u{85}\u{202e}".into()),
        network: None,
    };
    for namespace in ["shop", "shop\nspec: {}"] {
        let own = edge(place(namespace), outside.clone(), 443)
            .labels(&[("app", "web"), ("a\nb", "c\nd")], &[])
            .build();
        let estate = Estate { edges: vec![own], ..Estate::default() };
        let suggestion = estate.suggest(&Choice { default_deny: true, ..Choice::default() }).unwrap();
        assert_eq!(suggestion.documents.len(), if namespace == "shop" { 2 } else { 0 }, "{suggestion:#?}");
        for document in &suggestion.documents {
            assert!(
                document.text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
                "{}",
                document.text
            );
            let named = ["apiVersion:", "kind: NetworkPolicy", "metadata:", "spec:", "#"];
            let top = document.text.lines().filter(|line| !line.starts_with(' '));
            assert!(
                top.clone().all(|line| named.iter().any(|start| line.starts_with(start))),
                "{}",
                document.text
            );
            assert!(document.name.len() <= 63, "{}", document.name);
        }
    }
}

#[test]
fn names_are_short_and_differ() {
    let long = "x".repeat(80);
    let of = |name: String| {
        super::write::name(&super::Subject::Workload(workload(&format!("a/Deployment/{name}"))))
    };
    let names = [
        of(format!("{long}1")),
        of(format!("{long}2")),
        of("a.b".to_owned()),
        of("a-b".to_owned()),
        of("web".to_owned()),
    ];
    assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
    assert_eq!(std::collections::BTreeSet::from(names.clone()).len(), 5, "{names:?}");
    assert_eq!(names[4], "flowlog-web-deployment");
}

/// Workloads of few labels in few namespaces, so that many are alike.
fn estate(pods: &[(u8, u8, u8, bool)], flows: &[(u8, u8, u8, bool)]) -> Estate {
    let space = |number: u8| ["red", "green"][usize::from(number % 2)];
    let places: Vec<(Place, Arc<Pod>)> = (pods.iter().enumerate())
        .map(|(number, (namespace, labels, port, named))| {
            let mut made = pod(&format!("{}/w{number}-0", space(*namespace)))
                .owner(&format!("Deployment/w{number}"))
                .ip(&format!("10.1.0.{}", number + 1));
            for (bit, key) in ["app", "tier", "track"].into_iter().enumerate() {
                if labels & (1 << bit) != 0 {
                    made = made.label(key, if labels & (8 << bit) != 0 { "x" } else { "y" });
                }
            }
            if *named {
                made = made.port("main", if port % 2 == 0 { 80 } else { 81 }, Protocol::Tcp);
            }
            (workload(&format!("{}/Deployment/w{number}", space(*namespace))), made.build())
        })
        .collect();
    let end = |number: u8| places[usize::from(number) % places.len()].0.clone();
    let edges = flows.iter().map(|(source, destination, port, is_outside)| {
        let to = if *is_outside { outside(&format!("198.51.100.{destination}")) } else { end(*destination) };
        edge(end(*source), to, if port % 2 == 0 { 80 } else { 81 }).build()
    });
    Estate {
        edges: edges.collect(),
        pods: places.iter().map(|(_, pod)| Arc::clone(pod)).collect(),
        ..Estate::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What counted is allowed by the suggestion as it is printed, and a triple that still is was observed, or is one that no
    /// label tells from one that was.
    #[test]
    fn what_was_observed_stays_and_nothing_else(
        pods in vec((any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>()), 1..7),
        flows in vec((any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>()), 1..8),
        default_deny in any::<bool>(),
        merge in any::<bool>(),
    ) {
        let estate = estate(&pods, &flows);
        let choice = Choice { default_deny, merge, ..no_dns() };
        let suggestion = estate.suggest(&choice);
        let Ok(suggestion) = suggestion else { panic!("{suggestion:?}") };
        prop_assert!(suggestion.conflicts.is_empty(), "{suggestion:#?}");
        let triples = suggestion.triples.unwrap();
        prop_assert!(triples.opened == 0 && triples.unknown == 0, "{triples:?}");
        let both = Choice { directions: [Direction::Egress].into(), ..choice };
        let one_way = estate.suggest(&both).unwrap();
        prop_assert!(one_way.documents.iter().all(|document| !document.text.contains("ingress:")));
    }
}
