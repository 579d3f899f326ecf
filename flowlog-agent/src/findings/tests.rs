use super::{Baseline, Cluster, Input, Settings, SuppressionRule, assess};
use crate::model::{
    Assessment, Basis, Class, Decision, Direction, Drift, Edge, FindingId, ObjectsRead, Observations, Place,
    PolicyKind, PolicyRef, Protocol, RecordRef, Severity, State, Told, Traits,
};
use crate::testkit::{at, snapshot};
use crate::vendor::{Catalog, Sensitive};
use std::sync::Arc;

mod policies;

/// `shop/Deployment/api`, `node n`, an address, or a name of the DNS.
fn place(written: &str) -> Place {
    if let Some(name) = written.strip_prefix("node ") {
        return Place::Node { name: Some(name.into()) };
    }
    if let Ok(ip) = written.parse() {
        return Place::External { ip: Some(ip), name: None, network: None };
    }
    match written.split('/').collect::<Vec<_>>().as_slice() {
        [namespace, "Service", name] => {
            Place::Service { namespace: (*namespace).into(), name: (*name).into() }
        }
        [namespace, owner, name] => {
            Place::Workload { namespace: (*namespace).into(), owner: (*owner).into(), name: (*name).into() }
        }
        _ => Place::External { ip: None, name: Some(written.into()), network: None },
    }
}

fn image(image: &str) -> Arc<Traits> {
    Arc::new(Traits { image: Some(image.into()), container: Some("main".into()), ..Traits::default() })
}

const GRAFANA: &str = "grafana/grafana:11.1.0";
const POSTGRES: &str = "postgres:16";
const OWN: &str = "registry.example.com/own/api:1";

/// An edge with a state that goes with its class.
fn edge(source: (&str, &str), destination: (&str, &str), port: u16, class: Class) -> Edge {
    let (decision, state) = match class {
        Class::PolicyNotEnforced => (Decision::Deny, State::Established),
        Class::DeniedAttempt => (Decision::Deny, State::Dropped),
        Class::BlockedThoughAllowed | Class::BlockedUnexplained => (Decision::Allow, State::Dropped),
        Class::Refused => (Decision::Allow, State::Refused),
        _ => (Decision::Allow, State::Established),
    };
    let policy = PolicyRef {
        kind: PolicyKind::NetworkPolicy,
        namespace: Some("shop".to_owned()),
        name: "rules".to_owned(),
        rule: None,
    };
    let told = || Told { decision, basis: Basis::Policy, policies: Arc::from([policy.clone()]) };
    Edge {
        source: place(source.0),
        destination: place(destination.0),
        source_traits: image(source.1),
        destination_traits: image(destination.1),
        service: None,
        direction: Direction::Egress,
        protocol: Protocol::Tcp,
        port: Some(port),
        class,
        state,
        decision,
        egress: told(),
        ingress: told(),
        count: 1,
        first: at(0),
        last: at(0),
        bytes_sent: 0,
        bytes_received: 0,
        example: RecordRef { file: "flows.json".into(), line: Some(1) },
    }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::built_in().unwrap();
    catalog.extend("first_party: {images: [registry.example.com/own/]}").unwrap();
    catalog
}

fn observed(edges: Vec<Edge>) -> Observations {
    Observations { edges, ..Observations::default() }
}

fn assessed(edges: Vec<Edge>) -> Assessment {
    assessed_with(edges, &Settings::default(), None)
}

fn assessed_with(edges: Vec<Edge>, settings: &Settings, baseline: Option<&Baseline>) -> Assessment {
    let (observed, catalog) = (observed(edges), catalog());
    assess(input(Some(&observed), None, &catalog, settings, baseline))
}

fn input<'a>(
    observed: Option<&'a Observations>,
    cluster: Option<Cluster<'a>>,
    catalog: &'a Catalog,
    settings: &'a Settings,
    baseline: Option<&'a Baseline>,
) -> Input<'a> {
    let baseline = baseline.map(|baseline| ("baseline.json", baseline));
    Input { observed, cluster, baseline, ..Input::new(catalog, settings, at(1_000)) }
}

/// Kind, severity, subject and object of what was found of this kind.
fn found(assessment: &Assessment, id: FindingId) -> Vec<String> {
    let all = assessment.findings.iter().filter(|finding| finding.id == id);
    all.map(|one| {
        let object = one.object.as_deref().map_or_else(String::new, |object| format!(" → {object}"));
        format!("{} {}{object}", one.severity.as_str(), one.subject)
    })
    .collect()
}

#[test]
fn what_records_show_is_found_and_nothing_else() {
    let (grafana, own) = (("monitoring/Deployment/grafana", GRAFANA), ("shop/Deployment/api", OWN));
    let (other, database) = (("web/Deployment/front", OWN), ("shop/StatefulSet/db", POSTGRES));
    let rows: [(&str, Vec<Edge>, FindingId, Vec<&str>); 13] = [
        (
            "a deny that does not hold",
            vec![edge(own, other, 80, Class::PolicyNotEnforced)],
            FindingId::FL101,
            vec!["high shop/Deployment/api → web/Deployment/front :80/tcp"],
        ),
        (
            "a deny that does not hold for a third party at a database",
            vec![edge(grafana, database, 5432, Class::PolicyNotEnforced)],
            FindingId::FL101,
            vec!["critical monitoring/Deployment/grafana → shop/StatefulSet/db :5432/tcp"],
        ),
        (
            "allowed within, and blocked",
            vec![edge(own, other, 80, Class::BlockedThoughAllowed)],
            FindingId::FL102,
            vec!["medium shop/Deployment/api → web/Deployment/front :80/tcp"],
        ),
        (
            "allowed to the outside, and blocked: other walls stand there",
            vec![edge(own, ("198.51.100.7", ""), 25, Class::BlockedThoughAllowed)],
            FindingId::FL102,
            vec!["low shop/Deployment/api → 198.51.100.7 :25/tcp"],
        ),
        (
            "denied",
            vec![edge(own, other, 80, Class::DeniedAttempt)],
            FindingId::FL103,
            vec!["low shop/Deployment/api → web/Deployment/front :80/tcp"],
        ),
        (
            "a third party reached a database without a policy's word",
            vec![edge(grafana, database, 5432, Class::Unrestricted)],
            FindingId::FL201,
            vec!["high monitoring/Deployment/grafana → shop/StatefulSet/db :5432/tcp"],
        ),
        (
            "a third party reached a database by a policy",
            vec![edge(grafana, database, 5432, Class::Allowed)],
            FindingId::FL201,
            vec!["medium monitoring/Deployment/grafana → shop/StatefulSet/db :5432/tcp"],
        ),
        (
            "one's own software reached the database",
            vec![edge(own, database, 5432, Class::Unrestricted)],
            FindingId::FL201,
            vec![],
        ),
        (
            "a third party was kept from the database",
            vec![edge(grafana, database, 5432, Class::DeniedAttempt)],
            FindingId::FL201,
            vec![],
        ),
        (
            "a third party in another namespace",
            vec![edge(grafana, own, 8080, Class::Allowed)],
            FindingId::FL205,
            vec!["low monitoring/Deployment/grafana → namespace shop"],
        ),
        (
            "a third party outside",
            vec![edge(grafana, ("grafana.com", ""), 443, Class::Unrestricted)],
            FindingId::FL206,
            vec!["low monitoring/Deployment/grafana"],
        ),
        (
            "a third party at the metadata address",
            vec![edge(grafana, ("169.254.169.254", ""), 80, Class::Unrestricted)],
            FindingId::FL207,
            vec!["high monitoring/Deployment/grafana → 169.254.169.254 (cloud metadata) :80/tcp"],
        ),
        (
            "a third party at a kubelet, and at the API",
            vec![
                edge(grafana, ("node n", ""), 10_250, Class::Unrestricted),
                edge(grafana, ("default/Service/kubernetes", ""), 443, Class::Unrestricted),
            ],
            FindingId::FL207,
            vec![
                "medium monitoring/Deployment/grafana → node n (kubelet) :10250/tcp",
                "low monitoring/Deployment/grafana → the Kubernetes API :443/tcp",
            ],
        ),
    ];
    for (name, edges, id, expected) in rows {
        let assessment = assessed(edges);
        assert_eq!(found(&assessment, id), expected, "{name}");
        let louder =
            assessment.findings.iter().filter(|one| one.severity >= Severity::Medium && one.id != id);
        let louder: Vec<_> = louder.map(|one| one.id).collect();
        // A third party at a database is two things where a policy denies it: it is not enforced, or it tried.
        let also: &[FindingId] = match name {
            "a deny that does not hold for a third party at a database" => &[FindingId::FL201],
            "a third party was kept from the database" => &[FindingId::FL103],
            _ => &[],
        };
        assert_eq!(louder, also, "{name}");
    }
}

#[test]
fn a_scan_is_many_targets_in_a_short_time() {
    let probe = |count: u16, apart: i64| {
        let edges = (0..count).map(|port| {
            let mut edge = edge(
                ("monitoring/Deployment/grafana", GRAFANA),
                ("shop/Deployment/api", OWN),
                1_000 + port,
                if port % 2 == 0 { Class::DeniedAttempt } else { Class::Refused },
            );
            edge.first = at(i64::from(port) * apart);
            edge
        });
        found(&assessed(edges.collect()), FindingId::FL104)
    };
    assert_eq!(probe(10, 1), ["high monitoring/Deployment/grafana"]);
    assert_eq!(probe(9, 1), Vec::<String>::new(), "too few");
    assert_eq!(probe(60, 120), Vec::<String>::new(), "spread over two hours");
}

#[test]
fn both_nodes_views_are_one_link() {
    let ends = (("web/Deployment/front", OWN), ("shop/Deployment/api", OWN));
    let mut listeners = edge(ends.0, ends.1, 80, Class::Allowed);
    listeners.direction = Direction::Ingress;
    let assessment = assessed(vec![edge(ends.0, ends.1, 80, Class::Allowed), listeners.clone()]);
    assert_eq!(assessment.links.len(), 1);
    assert_eq!(assessed(vec![listeners]).links.len(), 1, "where only the listener's node told it");
}

#[test]
fn what_is_accepted_is_shown_as_suppressed_until_it_expires() {
    let edges = || {
        vec![edge(
            ("monitoring/Deployment/grafana", GRAFANA),
            ("shop/StatefulSet/db", POSTGRES),
            5432,
            Class::Allowed,
        )]
    };
    let rule = |expires: &str| SuppressionRule {
        id: Some(FindingId::FL201),
        subject: Some("monitoring/*/grafana".to_owned()),
        object: None,
        fingerprint: None,
        reason: "dashboards of the shop".to_owned(),
        expires: Some(expires.parse().unwrap()),
        file: "assess.yaml".to_owned(),
        line: Some(7),
    };
    let with =
        |rule| assessed_with(edges(), &Settings { suppressions: vec![rule], ..Settings::default() }, None);
    let valid = with(rule("2030-01-31"));
    assert_eq!(found(&valid, FindingId::FL201), Vec::<String>::new());
    assert_eq!(valid.suppressed[0].suppressed.as_ref().unwrap().reason, "dashboards of the shop");
    let expired = with(rule("2020-01-31"));
    assert_eq!(found(&expired, FindingId::FL201).len(), 1);
    let problem = &expired.inputs.problems[0];
    assert_eq!((&*problem.file, problem.line), ("assess.yaml", Some(7)));
    assert!(problem.what.contains("expired on 2020-01-31"), "{}", problem.what);
    let other = with(SuppressionRule { subject: Some("shop/*".to_owned()), ..rule("2030-01-31") });
    assert_eq!(found(&other, FindingId::FL201).len(), 1, "about somebody else");
}

#[test]
fn severities_are_the_users_and_what_is_off_is_not_looked_for() {
    let edges =
        || vec![edge(("shop/Deployment/api", OWN), ("web/Deployment/front", OWN), 80, Class::DeniedAttempt)];
    let louder =
        Settings { severities: [(FindingId::FL103, Severity::Critical)].into(), ..Settings::default() };
    assert_eq!(found(&assessed_with(edges(), &louder, None), FindingId::FL103).len(), 1);
    assert_eq!(assessed_with(edges(), &louder, None).counts[&Severity::Critical], 1);
    let off = Settings { off: [FindingId::FL103].into(), ..Settings::default() };
    assert!(found(&assessed_with(edges(), &off, None), FindingId::FL103).is_empty());
}

#[test]
fn a_baseline_tells_new_worse_gone_and_known() {
    let (grafana, own) = (("monitoring/Deployment/grafana", GRAFANA), ("shop/Deployment/api", OWN));
    let before = assessed(vec![
        edge(grafana, own, 8080, Class::Allowed),
        edge(own, ("web/Deployment/front", OWN), 80, Class::DeniedAttempt),
    ]);
    let written = serde_json::to_string(&Baseline::of(&before)).unwrap();
    let baseline = Baseline::parse(&written).unwrap();
    assert_eq!(baseline, Baseline::of(&before));
    let now = assessed_with(
        vec![edge(grafana, own, 8080, Class::Allowed), edge(grafana, own, 9090, Class::Allowed)],
        &Settings::default(),
        Some(&baseline),
    );
    assert_eq!(
        found(&now, FindingId::FL501),
        ["medium monitoring/Deployment/grafana → shop/Deployment/api :9090/tcp"]
    );
    let drift = now.drift.as_ref().unwrap();
    assert_eq!(drift.gone.iter().map(|gone| gone.id).collect::<Vec<_>>(), [FindingId::FL103]);
    assert_eq!(drift.workloads_gone, ["web/Deployment/front"]);
    let crossing = now.findings.iter().find(|one| one.id == FindingId::FL205).unwrap();
    assert_eq!(crossing.drift, Some(Drift::Known));
    let settings =
        Settings { severities: [(FindingId::FL205, Severity::High)].into(), ..Settings::default() };
    let worse = assessed_with(vec![edge(grafana, own, 8080, Class::Allowed)], &settings, Some(&baseline));
    let crossing = worse.findings.iter().find(|one| one.id == FindingId::FL205).unwrap();
    assert_eq!(crossing.drift, Some(Drift::Worse));
}

#[test]
fn a_baseline_of_another_form_is_refused() {
    let rows = [
        ("{", "line 1"),
        ("{\"v\": 1}", "missing field `flowlog_baseline`"),
        ("{\"flowlog_baseline\": 99, \"made\": 7}", "of version 99"),
    ];
    for (text, expected) in rows {
        let error = Baseline::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn objects_tell_of_images_and_of_whose_they_are() {
    let manifests = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: grafana, namespace: a}}\nspec: {{containers: [{{name: g, image: grafana/grafana}}]}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: odd, namespace: a}}\nspec: {{containers: [{{name: o, image: 'registry.elsewhere.example/x:1'}}]}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: own, namespace: a}}\nspec: {{containers: [{{name: o, image: '{OWN}'}}]}}\n"
    );
    let snapshot = snapshot(&manifests);
    let read = ObjectsRead::default();
    let cluster = Cluster {
        inventory: &snapshot.inventory,
        policies: &snapshot.policies,
        read: &read,
        faults: Some(&[]),
    };
    let settings = Settings {
        trusted_registries: vec!["registry.example.com/".to_owned(), "docker.io/grafana".to_owned()],
        sensitive: Sensitive::default(),
        ..Settings::default()
    };
    let catalog = catalog();
    let assessment = assess(input(None, Some(cluster), &catalog, &settings, None));
    assert_eq!(
        found(&assessment, FindingId::FL401),
        ["medium grafana/grafana", "low registry.elsewhere.example/x:1"]
    );
    assert_eq!(found(&assessment, FindingId::FL402), ["medium registry.elsewhere.example/x:1"]);
    assert_eq!(found(&assessment, FindingId::FL405), ["medium a/Pod/odd"]);
    let lacking: Vec<_> = assessment.limits.iter().flat_map(|limit| &limit.ids).collect();
    assert!(lacking.contains(&&FindingId::FL101) && lacking.contains(&&FindingId::FL403), "{lacking:?}");
    let vendors: Vec<_> =
        assessment.vendors.iter().map(|vendor| (vendor.name.as_deref(), vendor.workloads.len())).collect();
    assert_eq!(vendors, [(None, 1), (Some("Grafana Labs"), 1)]);
}
