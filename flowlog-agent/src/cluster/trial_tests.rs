//! Policies in trial: read by annotation and from a folder, judged beside the declared ones.

use super::{ClusterError, Folders, Loaded, Settings, Snapshot, Store, fingerprint, load};
use crate::model::{Decision, Party, Protocol, Target, TrialVerdict, Verdict};
use crate::testkit::{at, ip, loaded};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

const PODS: &str = "
apiVersion: v1
kind: PodList
items:
- {metadata: {name: web, namespace: shop, uid: web, labels: {app: web}}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.1.0.5}}
- {metadata: {name: db, namespace: shop, uid: db, labels: {app: db}}, spec: {nodeName: n2, containers: []}, status: {podIP: 10.1.0.6}}
- {metadata: {name: job, namespace: batch, uid: job}, spec: {nodeName: n2, containers: []}, status: {podIP: 10.1.0.7}}
---
apiVersion: v1
kind: Service
metadata: {name: any, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: any, namespace: shop, labels: {kubernetes.io/service-name: any}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [10.1.0.5], targetRef: {kind: Pod, name: web, uid: web}}, {addresses: [10.1.0.6], targetRef: {kind: Pod, name: db, uid: db}}]
";

/// A policy of namespace shop, with this annotation.
fn policy(name: &str, trial: Option<&str>, spec: &str) -> String {
    let annotation = trial.map_or_else(String::new, |word| format!("flowlog.dev/trial: {word}"));
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {name}, namespace: shop, annotations: {{{annotation}}}}}\nspec: {spec}\n"
    )
}

const DENY_DB: &str = "{podSelector: {matchLabels: {app: db}}}";
const OPEN_DB: &str = "{podSelector: {matchLabels: {app: db}}, ingress: [{}]}";

fn snapshot(policies: &[String]) -> Arc<Snapshot> {
    let loaded = loaded(&format!("{PODS}{}", policies.concat()));
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    Store::start(Settings::default(), loaded, at(0)).unwrap().snapshot()
}

fn judge(snapshot: &Snapshot, from: &str, to: &str) -> Verdict {
    let (from, to) = (ip(from), ip(to));
    let source =
        Party { endpoint: snapshot.inventory.resolve_address(from, at(0)), ip: Some(from), port: None };
    let target = snapshot.inventory.resolve(to, 80, Protocol::Tcp, at(0));
    let destination = Party { endpoint: target.endpoint(), ip: Some(to), port: Some(80) };
    snapshot.evaluate(&source, &destination, &target, Protocol::Tcp, at(0))
}

/// What is declared, and what it would be.
fn both(verdict: &Verdict) -> (Decision, Option<Decision>) {
    (verdict.decision, verdict.trial.as_ref().map(|trial| trial.decision))
}

#[test]
fn a_policy_in_trial_is_told_beside_the_verdict_where_it_has_a_say() {
    use Decision::{Allow, Deny, Mixed, Unknown};
    let broken = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{}]}]}";
    let (web, db, job, service) = ("10.1.0.5", "10.1.0.6", "10.1.0.7", "10.96.0.1");
    let declared = policy("db", None, DENY_DB);
    let rows = [
        ("none in trial", vec![declared.clone()], web, db, (Deny, None)),
        ("not annotated so", vec![policy("db", Some("'false'"), DENY_DB)], web, db, (Deny, None)),
        ("a new one", vec![policy("new", Some("'true'"), DENY_DB)], web, db, (Allow, Some(Deny))),
        ("one for others", vec![policy("new", Some("'true'"), DENY_DB)], db, web, (Allow, None)),
        ("of other pods", vec![policy("new", Some("'true'"), DENY_DB)], web, job, (Allow, None)),
        (
            "one for what leaves",
            vec![policy("new", Some("'true'"), "{podSelector: {}, policyTypes: [Egress]}")],
            db,
            job,
            (Allow, Some(Deny)),
        ),
        (
            "one for what leaves, of what comes",
            vec![policy("new", Some("'true'"), "{podSelector: {}, policyTypes: [Egress]}")],
            job,
            db,
            (Allow, None),
        ),
        (
            "beside a declared one: they add up",
            vec![declared.clone(), policy("new", Some("'true'"), OPEN_DB)],
            web,
            db,
            (Deny, Some(Allow)),
        ),
        (
            "in the place of the declared one of its name",
            vec![policy("db", None, OPEN_DB), policy("db", Some("'true'"), DENY_DB)],
            web,
            db,
            (Allow, Some(Deny)),
        ),
        (
            "in its place, and for other pods: the declared one's say is gone",
            vec![declared.clone(), policy("db", Some("'true'"), "{podSelector: {matchLabels: {app: web}}}")],
            job,
            db,
            (Deny, Some(Allow)),
        ),
        (
            "a service: each endpoint",
            vec![policy("new", Some("'true'"), DENY_DB)],
            job,
            service,
            (Allow, Some(Mixed)),
        ),
        (
            "an end that is not known",
            vec![policy("new", Some("'true'"), DENY_DB)],
            web,
            "fe80::1",
            (Allow, None),
        ),
    ];
    for (name, policies, from, to, expected) in rows {
        let verdict = judge(&snapshot(&policies), from, to);
        assert_eq!(both(&verdict), expected, "{name}: {verdict:?}");
    }
    let text = format!("{PODS}{declared}{}", policy("new", Some("'true'"), broken));
    let settings = Settings { accept_problems: true, ..Settings::default() };
    let store = Store::start(settings, loaded(&text), at(0)).unwrap();
    let verdict = judge(&store.snapshot(), web, db);
    assert_eq!(both(&verdict), (Deny, Some(Unknown)), "a broken one: {verdict:?}");
}

#[test]
fn what_is_in_trial_names_its_policies_and_not_the_other_way_round() {
    let snapshot = snapshot(&[policy("old", None, OPEN_DB), policy("db", Some("'true'"), DENY_DB)]);
    let verdict = judge(&snapshot, "10.1.0.5", "10.1.0.6");
    let names = |side: &crate::model::DirectionVerdict| -> Vec<String> {
        side.policies.iter().map(|policy| policy.name.clone()).collect()
    };
    assert_eq!(names(&verdict.ingress), ["old"]);
    let TrialVerdict { ingress, .. } = verdict.trial.unwrap();
    assert_eq!((ingress.decision, names(&ingress)), (Decision::Allow, vec!["old".to_owned()]));
    assert_eq!((snapshot.policies.policy_count(), snapshot.trial.as_ref().unwrap().policy_count()), (1, 1));
}

#[test]
fn each_policy_in_trial_is_known_by_its_name() {
    let policies = [("old", None), ("db", Some("'true'")), ("new", Some("'true'"))];
    let snapshot = snapshot(&policies.map(|(name, trial)| policy(name, trial, OPEN_DB)));
    let trial = snapshot.trial.as_ref().unwrap();
    assert_eq!(trial.policy_count(), 2);
    let held =
        trial.policies().policies().map(|policy| (policy.reference().name, trial.holds(&policy.reference())));
    let held: BTreeMap<String, bool> = held.collect();
    assert_eq!(
        held,
        [("db", true), ("new", true), ("old", false)].map(|(name, is)| (name.to_owned(), is)).into()
    );
}

#[test]
fn an_annotation_that_says_neither_is_a_problem_and_the_policy_is_in_doubt() {
    for word in ["'yes'", "'True'", "true"] {
        let text = format!("{PODS}{}", policy("db", Some(word), DENY_DB));
        let loaded = loaded(&text);
        let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("metadata.annotations[flowlog.dev/trial]: is "), "{word}: {told:?}");
        let settings = Settings { accept_problems: true, ..Settings::default() };
        let store = Store::start(settings, loaded, at(0)).unwrap();
        assert_eq!(judge(&store.snapshot(), "10.1.0.5", "10.1.0.6").decision, Decision::Unknown, "{word}");
    }
}

#[test]
fn a_policy_that_was_applied_with_the_annotation_is_noted() {
    let text = policy("db", Some("'true'"), DENY_DB).replace("{name: db,", "{name: db, uid: 1-2-3,");
    let loaded = loaded(&format!("{PODS}{text}"));
    let notes: Vec<String> = loaded.objects.notes().iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("NetworkPolicy shop/db") && notes[0].contains("enforces it"), "{notes:?}");
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("cluster/pods.yaml", PODS);
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn folders(&self, trial: &str) -> Folders {
        Folders { trial: Some(self.0.path().join(trial)), ..self.0.path().join("cluster").into() }
    }

    fn load(&self, trial: &str) -> Result<Loaded, ClusterError> {
        load(&self.folders(trial))
    }
}

#[test]
fn every_policy_of_the_trial_folder_is_in_trial_wherever_it_lies() {
    for trial in ["trial", "cluster/trial"] {
        let place = Place::new();
        place.write("cluster/policies.yaml", &policy("db", None, OPEN_DB));
        let in_trial = [policy("db", None, DENY_DB), policy("web", Some("'true'"), "{podSelector: {}}")];
        place.write(&format!("{trial}/a.yaml"), &in_trial.concat());
        place.write(&format!("{trial}/b.yaml"), &format!("{PODS}---\n{{apiVersion: v2, kind: Else}}"));
        let loaded = place.load(trial).unwrap();
        assert!(loaded.problems.is_empty(), "{trial}: {:?}", loaded.problems);
        let skipped: Vec<_> = loaded.objects.skipped().iter().collect();
        assert!(
            skipped.contains(&(&"Pod among the policies in trial".to_owned(), &3))
                && skipped.contains(&(&"v2 Else".to_owned(), &1)),
            "{trial}: {skipped:?}"
        );
        let store = Store::start(Settings::default(), loaded, at(0)).unwrap();
        let verdict = judge(&store.snapshot(), "10.1.0.7", "10.1.0.6");
        assert_eq!(both(&verdict), (Decision::Allow, Some(Decision::Deny)), "{trial}");
    }
}

#[test]
fn the_trial_folder_may_be_empty_and_may_not_be_missing_or_hold_the_manifests() {
    let place = Place::new();
    assert!(matches!(place.load("trial"), Err(ClusterError::Folder { .. })));
    fs::create_dir(place.0.path().join("trial")).unwrap();
    let loaded = place.load("trial").unwrap();
    let store = Store::start(Settings::default(), loaded, at(0)).unwrap();
    assert!(store.snapshot().trial.is_none());
    for trial in [".", "cluster"] {
        assert!(matches!(place.load(trial), Err(ClusterError::AllInTrial { .. })), "{trial}");
    }
}

#[test]
fn what_is_wrong_in_the_trial_folder_touches_no_verdict() {
    let place = Place::new();
    place.write("cluster/policies.yaml", &policy("new", Some("'true'"), DENY_DB));
    place.write("trial/a.yaml", &format!("{}---\nkind: [ # NetworkPolicy\n", policy("new", None, DENY_DB)));
    let loaded = place.load("trial").unwrap();
    let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(
        told.iter()
            .any(|one| one.contains("trial/a.yaml, document 1, NetworkPolicy shop/new: is in trial twice"))
            && told.iter().any(|one| one.contains("trial/a.yaml:")),
        "{told:#?}"
    );
    let settings = Settings { accept_problems: true, ..Settings::default() };
    let store = Store::start(settings, loaded, at(0)).unwrap();
    let verdict = judge(&store.snapshot(), "10.1.0.5", "10.1.0.6");
    assert_eq!(both(&verdict), (Decision::Allow, Some(Decision::Unknown)));
}

#[test]
fn of_two_in_the_trial_folder_neither_is_taken_for_the_one_that_stands() {
    let place = Place::new();
    let twice = [policy("new", None, DENY_DB), policy("new", Some("'true'"), OPEN_DB)];
    place.write("trial/a.yaml", &twice.concat());
    let loaded = place.load("trial").unwrap();
    assert_eq!(loaded.problems.len(), 1, "{:?}", loaded.problems);
    let settings = Settings { accept_problems: true, ..Settings::default() };
    let store = Store::start(settings, loaded, at(0)).unwrap();
    let verdict = judge(&store.snapshot(), "10.1.0.5", "10.1.0.6");
    assert_eq!(both(&verdict), (Decision::Allow, Some(Decision::Unknown)));
}

#[test]
fn a_change_in_either_folder_changes_the_fingerprint_and_the_next_snapshot() {
    let place = Place::new();
    place.write("trial/a.yaml", &policy("db", None, DENY_DB));
    let mut store = Store::start(Settings::default(), place.load("trial").unwrap(), at(0)).unwrap();
    assert_eq!(both(&judge(&store.snapshot(), "10.1.0.5", "10.1.0.6")).1, Some(Decision::Deny));
    let before = fingerprint(&place.folders("trial")).unwrap();
    assert_eq!(place.load("trial").unwrap().fingerprint, before);
    place.write("trial/a.yaml", &policy("db", None, OPEN_DB));
    assert_ne!(fingerprint(&place.folders("trial")).unwrap(), before);
    let snapshot = store.reload(place.load("trial"), at(1)).unwrap();
    let verdict = judge(&snapshot, "10.1.0.5", "10.1.0.6");
    assert_eq!(both(&verdict), (Decision::Allow, Some(Decision::Allow)));
    assert!(!verdict.settling, "nothing enforces a policy in trial, so nothing has to follow it");
    fs::remove_file(place.0.path().join("trial/a.yaml")).unwrap();
    let snapshot = store.reload(place.load("trial"), at(2)).unwrap();
    assert_eq!(both(&judge(&snapshot, "10.1.0.5", "10.1.0.6")), (Decision::Allow, None));
}

#[test]
fn one_cache_serves_both_answers_across_reloads() {
    let mut cache = crate::policy::Cache::new(64);
    let place = Place::new();
    place.write("cluster/policies.yaml", &policy("db", None, OPEN_DB));
    place.write("trial/a.yaml", &policy("db", None, DENY_DB));
    let mut store = Store::start(Settings::default(), place.load("trial").unwrap(), at(0)).unwrap();
    let mut ask = |snapshot: &Snapshot| {
        let (from, to) = (ip("10.1.0.5"), ip("10.1.0.6"));
        let party =
            |ip, port| Party { endpoint: snapshot.inventory.resolve_address(ip, at(0)), ip: Some(ip), port };
        let (source, destination) = (party(from, None), party(to, Some(80)));
        let target = Target::Endpoint(destination.endpoint.clone());
        both(&snapshot.evaluate_with(&mut cache, &source, &destination, &target, Protocol::Tcp, at(0)))
    };
    for round in 0..3 {
        assert_eq!(ask(&store.snapshot()), (Decision::Allow, Some(Decision::Deny)), "{round}");
        store.reload(place.load("trial"), at(round)).unwrap();
    }
    place.write("cluster/policies.yaml", &policy("db", None, DENY_DB));
    place.write("trial/a.yaml", &policy("db", None, OPEN_DB));
    store.reload(place.load("trial"), at(9)).unwrap();
    assert_eq!(ask(&store.snapshot()), (Decision::Deny, Some(Decision::Allow)));
}

#[test]
fn the_trial_folder_is_named_where_it_cannot_be_read() {
    let place = Place::new();
    let error = place.load("nowhere").unwrap_err().to_string();
    assert!(error.contains("nowhere") && !error.contains("cluster"), "{error}");
}
