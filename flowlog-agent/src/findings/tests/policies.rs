//! Findings about policies: what third parties can reach, and rules held against their use.

use super::*;
use crate::findings::PolicyFault;
use crate::model::Limit;
use crate::testkit::Snapshot;
use serde_json::{Value, json};

/// A pod `namespace/name` of a Deployment of its name, which listens at a port.
fn pod(path: &str, image: &str, port: u16) -> Value {
    let (namespace, name) = path.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": format!("{name}-1"), "labels": {"app": name},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": "u", "controller": true}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": image, "ports": [{"containerPort": port}]}]},
    })
}

fn policy(path: &str, spec: &str) -> Value {
    let (namespace, name) = path.split_once('/').unwrap();
    let spec: Value = serde_saphyr::from_str(spec).unwrap();
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

fn admin_policy(name: &str, spec: &str) -> Value {
    let spec: Value = serde_saphyr::from_str(spec).unwrap();
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "AdminNetworkPolicy",
        "metadata": {"name": name}, "spec": spec})
}

/// A third party, a database and something of one's own, each in its namespace, and these policies.
fn estate(policies: &[Value]) -> Arc<Snapshot> {
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let mut items: Vec<Value> = ["monitoring", "shop"].map(namespace).to_vec();
    items.extend([
        pod("monitoring/grafana", GRAFANA, 3000),
        pod("shop/db", POSTGRES, 5432),
        pod("shop/api", OWN, 8080),
    ]);
    items.extend_from_slice(policies);
    snapshot(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
}

fn look(
    snapshot: &Snapshot,
    edges: Option<Vec<Edge>>,
    faults: Option<&[PolicyFault]>,
    baseline: Option<&Baseline>,
) -> Assessment {
    let (observed, catalog, settings) = (edges.map(observed), catalog(), Settings::default());
    let read = ObjectsRead { from: "cluster".to_owned(), ..ObjectsRead::default() };
    let cluster =
        Cluster { inventory: &snapshot.inventory, policies: &snapshot.policies, read: &read, faults };
    assess(input(observed.as_ref(), Some(cluster), &catalog, &settings, baseline))
}

const GRAFANA_AT: (&str, &str) = ("monitoring/Deployment/grafana", GRAFANA);
const DB_AT: (&str, &str) = ("shop/Deployment/db", POSTGRES);

/// An edge that these rules allowed.
fn by(rules: (&str, u32), other: (&str, u32), port: u16) -> Edge {
    let told = |(path, rule): (&str, u32)| {
        let (namespace, name) = path.split_once('/').unwrap();
        let policy = PolicyRef {
            kind: PolicyKind::NetworkPolicy,
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            rule: Some(rule),
        };
        Told { decision: Decision::Allow, basis: Basis::Policy, policies: Arc::from([policy]) }
    };
    Edge { egress: told(rules), ingress: told(other), ..edge(GRAFANA_AT, DB_AT, port, Class::Allowed) }
}

const OUT_ALL: &str = "{podSelector: {}, policyTypes: [Egress], egress: [{}]}";
const OUT_NONE: &str = "{podSelector: {}, policyTypes: [Egress]}";
const OUT_DB: &str = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: \
    {kubernetes.io/metadata.name: shop}}, podSelector: {matchLabels: {app: db}}}], ports: [{port: 5432}]}]}";
const IN_DB: &str = "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: \
    [{namespaceSelector: {}}], ports: [{port: 5432}]}]}";
const IN_NONE: &str = "{podSelector: {}, policyTypes: [Ingress]}";

/// Name, policies, what was seen, which kind, and what must be found of it.
type Row = (&'static str, Vec<Value>, Option<Vec<Edge>>, FindingId, &'static [&'static str]);

#[test]
fn what_policies_leave_open_to_third_parties_is_found() {
    use FindingId::{FL202, FL203, FL204};
    let used = || Some(vec![by(("monitoring/out", 0), ("shop/in", 0), 5432)]);
    let both = || vec![policy("monitoring/out", OUT_DB), policy("shop/in", IN_DB)];
    let reach = "monitoring/Deployment/grafana → shop/Deployment/db";
    let deny = "{priority: 1, subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}, egress: \
        [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}";
    let rows: Vec<Row> = vec![
        (
            "no policy at all",
            vec![],
            None,
            FL202,
            &["medium monitoring/Deployment/grafana → shop/Deployment/db"],
        ),
        (
            "policies allow it, nothing tells of use",
            both(),
            None,
            FL202,
            &["low monitoring/Deployment/grafana → shop/Deployment/db"],
        ),
        (
            "policies allow it, and it was never used",
            both(),
            Some(vec![]),
            FL202,
            &["low monitoring/Deployment/grafana → shop/Deployment/db"],
        ),
        ("policies allow it, and it is used", both(), used(), FL202, &[]),
        ("the database is closed", vec![policy("shop/in", IN_NONE)], None, FL202, &[]),
        (
            "no egress policy",
            vec![],
            None,
            FL203,
            &["medium monitoring/Deployment/grafana", "medium shop/Deployment/db"],
        ),
        (
            "a rule that allows everything",
            vec![policy("monitoring/out", OUT_ALL), policy("shop/out", OUT_NONE)],
            None,
            FL203,
            &["medium monitoring/Deployment/grafana"],
        ),
        (
            "one that does not",
            vec![policy("monitoring/out", OUT_DB), policy("shop/out", OUT_NONE)],
            None,
            FL203,
            &[],
        ),
        (
            "everything, less what an admin denies",
            vec![policy("monitoring/out", OUT_ALL), policy("shop/out", OUT_NONE), admin_policy("deny", deny)],
            None,
            FL203,
            &[],
        ),
        (
            "no ingress policy",
            vec![policy("shop/in", IN_DB)],
            None,
            FL204,
            &["low monitoring/Deployment/grafana"],
        ),
        ("one for each", vec![policy("shop/in", IN_DB), policy("monitoring/in", IN_NONE)], None, FL204, &[]),
    ];
    for (name, policies, edges, id, expected) in rows {
        assert_eq!(found(&look(&estate(&policies), edges, Some(&[]), None), id), expected, "{name} {reach}");
    }
}

#[test]
fn a_namespace_is_open_to_its_next_pod() {
    let all = || ["shop → ingress", "shop → egress"];
    let told = |policies: &[Value]| -> Vec<String> {
        let found = found(&look(&estate(policies), None, Some(&[]), None), FindingId::FL301);
        found
            .iter()
            .filter_map(|one| one.strip_prefix("low namespace ").map(str::to_owned))
            .filter(|one| one.starts_with("shop"))
            .collect()
    };
    let banp = "{subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}";
    let banp = json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "BaselineAdminNetworkPolicy",
        "metadata": {"name": "default"}, "spec": serde_saphyr::from_str::<Value>(banp).unwrap()});
    let mut sorted = all().to_vec();
    sorted.sort_unstable();
    let rows: Vec<(&str, Vec<Value>, Vec<&str>)> = vec![
        ("nothing", vec![], sorted),
        ("for the database alone", vec![policy("shop/in", IN_DB)], vec!["shop → egress", "shop → ingress"]),
        ("for all, ingress", vec![policy("shop/in", IN_NONE)], vec!["shop → egress"]),
        (
            "for all, and everything is allowed",
            vec![policy("shop/out", OUT_ALL), policy("shop/in", IN_NONE)],
            vec!["shop → egress"],
        ),
        (
            "for all, and something is allowed",
            vec![policy("shop/out", OUT_DB), policy("shop/in", IN_NONE)],
            vec![],
        ),
        ("for the cluster", vec![banp], vec!["shop → egress"]),
    ];
    for (name, policies, expected) in rows {
        let mut told = told(&policies);
        told.sort();
        assert_eq!(told, expected, "{name}");
    }
    let assessment = look(&estate(&[]), None, Some(&[]), None);
    let one = assessment.findings.iter().find(|one| one.id == FindingId::FL301).unwrap();
    assert!(one.remedy.policy.as_deref().unwrap().contains("podSelector: {}"), "{:?}", one.remedy);
}

#[test]
fn rules_are_held_against_their_use() {
    use FindingId::{FL302, FL304};
    let both = || vec![policy("monitoring/out", OUT_DB), policy("shop/in", IN_DB)];
    let used = |port| by(("monitoring/out", 0), ("shop/in", 0), port);
    let all = || vec![policy("monitoring/out", OUT_ALL)];
    let many = (0..6).map(|port| used(1_000 + port)).collect();
    let rows: Vec<Row> = vec![
        (
            "nothing used them",
            both(),
            Some(vec![]),
            FL302,
            &[
                "info NetworkPolicy monitoring/out → egress rule 0",
                "info NetworkPolicy shop/in → ingress rule 0",
            ],
        ),
        ("no records", both(), None, FL302, &[]),
        ("both are used", both(), Some(vec![used(5432)]), FL302, &[]),
        (
            "every namespace, and one uses it",
            both(),
            Some(vec![used(5432)]),
            FL304,
            &["low NetworkPolicy shop/in → ingress rule 0"],
        ),
        (
            "everything, and one port of one peer is used",
            all(),
            Some(vec![used(5432)]),
            FL304,
            &["low NetworkPolicy monitoring/out → egress rule 0"],
        ),
        ("not used at all", all(), Some(vec![]), FL304, &[]),
        (
            "every peer, one of which is used at many ports",
            all(),
            Some(many),
            FL304,
            &["low NetworkPolicy monitoring/out → egress rule 0"],
        ),
    ];
    for (name, policies, edges, id, expected) in rows {
        assert_eq!(found(&look(&estate(&policies), edges, Some(&[]), None), id), expected, "{name}");
    }
    let wide = look(&estate(&all()), Some((0..6).map(|port| used(1_000 + port)).collect()), Some(&[]), None);
    let one = wide.findings.iter().find(|one| one.id == FL304).unwrap();
    assert!(
        one.summary.contains("opens every peer; what used it: shop/Deployment/db, on 1000/TCP"),
        "{}",
        one.summary
    );
}

#[test]
fn what_checks_of_policies_say_does_nothing_is_found() {
    let fault = |check: &str| PolicyFault {
        policy: PolicyRef {
            kind: PolicyKind::NetworkPolicy,
            namespace: Some("shop".to_owned()),
            name: "in".to_owned(),
            rule: None,
        },
        check: check.to_owned(),
        field: Some("spec.podSelector".to_owned()),
        place: Some(("p.yaml".to_owned(), Some(7))),
        message: "selects no pod".to_owned(),
        help: "did you mean `app: db`?".to_owned(),
    };
    let faults = [fault("selects-nothing"), fault("no-dns")];
    let assessment = look(&estate(&[]), None, Some(&faults), None);
    assert_eq!(
        found(&assessment, FindingId::FL303),
        ["medium NetworkPolicy shop/in → selects-nothing spec.podSelector"]
    );
    let told = |faults| look(&estate(&[]), None, faults, None).limits;
    let is_of = |limit: &Limit| limit.ids.contains(&FindingId::FL303);
    assert!(!told(Some(&[])).iter().any(is_of), "nothing is wrong");
    assert!(told(None).iter().any(is_of), "nobody looked");
}

#[test]
fn reach_that_a_change_of_policies_brings_is_found() {
    let then = look(&estate(&[policy("monitoring/out", OUT_NONE)]), None, Some(&[]), None);
    let baseline = Baseline::of(&then);
    let known = baseline.reach.iter().flatten();
    assert_eq!(known.filter(|known| known.source.to_string().ends_with("grafana")).count(), 0);
    let https = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}]}";
    let ports = |last: &str| https.replace("port: 443", &format!("port: 443{last}"));
    let widened = |policies: &[Value], baseline: &Baseline| {
        let assessment = look(&estate(policies), None, Some(&[]), Some(baseline));
        let found = assessment.findings.into_iter().filter(|one| one.id == FindingId::FL503);
        found.map(|one| one.summary).collect::<Vec<_>>()
    };
    assert_eq!(widened(&[policy("monitoring/out", OUT_NONE)], &baseline), Vec::<String>::new(), "the same");
    let [told] = &widened(&[policy("monitoring/out", OUT_DB)], &baseline)[..] else { panic!() };
    assert!(told.ends_with("made: shop/Deployment/db :5432/tcp."), "{told}");
    let some = Baseline::of(&look(
        &estate(&[policy("monitoring/out", &ports(", endPort: 450"))]),
        None,
        Some(&[]),
        None,
    ));
    assert_eq!(widened(&[policy("monitoring/out", &ports(""))], &some), Vec::<String>::new(), "narrower");
    let [told] = &widened(&[policy("monitoring/out", &ports(", endPort: 451"))], &some)[..] else { panic!() };
    assert!(told.contains("outside the cluster :443-451/tcp"), "{told}");
    // What was not there then could not be reached.
    let mut before = baseline.clone();
    before.workloads.retain(|known| !known.place.to_string().ends_with("db"));
    assert_eq!(widened(&[policy("monitoring/out", OUT_DB)], &before), Vec::<String>::new(), "a new target");
}

#[test]
fn possible_reach_is_told_with_what_was_used_of_it() {
    let policies = [policy("monitoring/out", OUT_DB), policy("shop/in", IN_DB)];
    let assessment = look(
        &estate(&policies),
        Some(vec![by(("monitoring/out", 0), ("shop/in", 0), 5432)]),
        Some(&[]),
        None,
    );
    let name = |index: usize| assessment.actors[index].place.to_string();
    let grafana = assessment.reaches.iter().filter(|reach| name(reach.source).ends_with("grafana"));
    let told: Vec<_> =
        grafana.map(|reach| (name(reach.target), reach.ports[0].port, reach.ports[0].observed)).collect();
    assert_eq!(told, [("shop/Deployment/db".to_owned(), Some(5432), true)]);
    let vendor = assessment.vendors.iter().find(|one| one.name.as_deref() == Some("Grafana Labs")).unwrap();
    assert_eq!((vendor.reachable, vendor.unused, vendor.sensitive_reachable.len()), (Some(1), Some(0), 1));
    let without = look(&estate(&policies), None, Some(&[]), None);
    let vendor = without.vendors.iter().find(|one| one.name.as_deref() == Some("Grafana Labs")).unwrap();
    assert_eq!((vendor.reachable, vendor.unused), (Some(1), None));
}

#[test]
fn every_kind_of_finding_is_looked_for() {
    let looked_for: Vec<FindingId> = crate::findings::rules::RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(looked_for, FindingId::ALL);
}

/// The policy of a finding's remedy, which may be told with another one.
fn remedy(assessment: &Assessment, finding: &crate::model::Finding) -> Option<String> {
    let is_told_with = |one: &&crate::model::Finding| {
        let place = format!(" is that of {} of {}.", one.id, one.subject);
        one.remedy.policy.is_some() && finding.remedy.text.ends_with(&place)
    };
    let other = || assessment.findings.iter().find(is_told_with)?.remedy.policy.clone();
    finding.remedy.policy.clone().or_else(other)
}

/// Whoever applies what a remedy holds has mended what it is the remedy of, and what was observed goes on.
#[test]
fn a_policy_that_is_a_remedy_mends_its_finding() {
    let api = ("shop/Deployment/api", OWN);
    let edges = || {
        let one = |source, destination, port| edge(source, destination, port, Class::Unrestricted);
        vec![one(GRAFANA_AT, api, 8080), one(api, DB_AT, 5432), one(GRAFANA_AT, ("198.51.100.7", ""), 443)]
    };
    let before = look(&estate(&[]), Some(edges()), Some(&[]), None);
    let mended = [
        (FindingId::FL202, "monitoring/Deployment/grafana", "name: flowlog-db-"),
        (FindingId::FL203, "monitoring/Deployment/grafana", "name: flowlog-grafana-"),
        (FindingId::FL204, "shop/Deployment/db", "name: flowlog-db-"),
    ];
    for (id, subject, named) in mended {
        let find = |assessment: &Assessment| {
            let mut all = assessment.findings.iter();
            all.find(|one| one.id == id && one.subject.to_string() == subject).cloned()
        };
        let finding = find(&before).unwrap_or_else(|| panic!("no {id} of {subject}"));
        let policy = remedy(&before, &finding).unwrap_or_else(|| panic!("no policy for {id}"));
        assert!(policy.contains(named), "{id}:\n{policy}");
        let after =
            look(&estate(&[serde_saphyr::from_str(&policy).unwrap()]), Some(edges()), Some(&[]), None);
        assert_eq!(find(&after).map(|one| one.summary), None, "{id} is still there with\n{policy}");
    }
    // Of several that one policy mends the first has it; so has the vendor's page.
    let page = before.vendors.iter().find(|vendor| vendor.name.as_deref() == Some("Grafana Labs")).unwrap();
    let of = |id: FindingId| {
        let mut all = before.findings.iter().filter(|one| one.id == id);
        &all.find(|one| one.subject.to_string() == "monitoring/Deployment/grafana").unwrap().remedy
    };
    assert_eq!(of(FindingId::FL203).policy, page.policy);
    assert!(of(FindingId::FL203).policy.is_some() && of(FindingId::FL206).policy.is_none());
    let elsewhere = "is that of FL203 of monitoring/Deployment/grafana.";
    assert!(of(FindingId::FL206).text.ends_with(elsewhere), "{}", of(FindingId::FL206).text);
    let blind = look(&estate(&[]), None, Some(&[]), None);
    let is_made = |one: &crate::model::Finding| one.id != FindingId::FL301 && one.remedy.policy.is_some();
    assert!(!blind.findings.iter().any(is_made), "what nobody watched is not known to be all that is needed");
    assert!(blind.vendors.iter().all(|vendor| vendor.policy.is_none()));
}

#[test]
fn a_wide_rule_of_one_workload_has_a_narrow_one_for_a_remedy() {
    let used = || Some(vec![by(("monitoring/out", 0), ("shop/in", 0), 5432)]);
    let remedies = |policies: &[Value]| -> Vec<bool> {
        let told = look(&estate(policies), used(), Some(&[]), None);
        let wide = told.findings.iter().filter(|one| one.id == FindingId::FL304);
        wide.map(|one| remedy(&told, one).is_some_and(|it| it.contains("name: flowlog-grafana-"))).collect()
    };
    let out = policy("monitoring/out", OUT_ALL);
    assert_eq!(remedies(std::slice::from_ref(&out)), [true]);
    let other = pod("monitoring/other", OWN, 80);
    assert_eq!(remedies(&[out, other]), [false], "what the other needs is not known by what this one does");
}

/// What is a finding of its own is not let through by the remedy of another.
#[test]
fn no_remedy_allows_the_clouds_metadata() {
    let to = |place| edge(GRAFANA_AT, (place, ""), 443, Class::Unrestricted);
    let told = look(&estate(&[]), Some(vec![to("169.254.169.254"), to("198.51.100.7")]), Some(&[]), None);
    let finding = told
        .findings
        .iter()
        .find(|one| one.id == FindingId::FL203 && one.vendor.as_deref() == Some("Grafana Labs"));
    let policy = finding.and_then(|finding| finding.remedy.policy.clone()).unwrap();
    assert!(policy.contains("198.51.100.7/32") && !policy.contains("169.254.169.254"), "{policy}");
    assert!(policy.starts_with("# It was seen at the cloud's metadata address"), "{policy}");
}
