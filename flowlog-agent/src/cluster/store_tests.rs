//! Snapshots that follow single changes are those of a cluster that was loaded as it is now.

use super::{Change, Settings, Snapshot, Store};
use crate::model::{Decision, Labels, Party, Pod, PolicyKind, PolicyRef, Protocol};
use crate::testkit::{at, ip, loaded};
use std::sync::Arc;

fn pod(name: &str, address: &str, app: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, uid: {name}, labels: {{app: {app}}}}}\n\
         spec: {{nodeName: {name}, containers: []}}\nstatus: {{podIP: {address}}}\n"
    )
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
    )
}

fn namespace(team: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{team: {team}}}}}\n")
}

fn store(parts: &[&str]) -> Store {
    let loaded = loaded(&parts.concat());
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    Store::start(Settings::default(), loaded, at(0)).unwrap()
}

fn read_pod(written: &str) -> Arc<Pod> {
    let store = store(&[&namespace("web"), written]);
    let snapshot = store.snapshot();
    Arc::clone(snapshot.inventory.pods().next().unwrap())
}

fn read_policy(written: &str) -> Arc<crate::policy::Policy> {
    let store = store(&[written]);
    let snapshot = store.snapshot();
    Arc::clone(snapshot.policies.policies().next().unwrap())
}

fn judge(snapshot: &Snapshot, from: &str, to: &str) -> (Decision, bool) {
    let (from, to) = (ip(from), ip(to));
    let party =
        |ip, port| Party { endpoint: snapshot.inventory.resolve_address(ip, at(100)), ip: Some(ip), port };
    let (source, destination) = (party(from, None), party(to, Some(80)));
    let target = snapshot.inventory.resolve(to, 80, Protocol::Tcp, at(100));
    let verdict = snapshot.evaluate(&source, &destination, &target, Protocol::Tcp, at(100));
    (verdict.decision, verdict.settling)
}

const WEB: &str = "10.1.0.1";
const DB: &str = "10.1.0.2";
const NEW: &str = "10.1.0.3";
const ONLY_WEB: &str =
    "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
const ONLY_TEAM: &str = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: web}}}]}]}";

/// Each row is a change, and what is judged after it.
#[test]
fn each_change_is_what_a_fresh_load_would_say() {
    use Decision::{Allow, Deny, Unknown};
    let (web, db) = (pod("web", WEB, "web"), pod("db", DB, "db"));
    let mut store = store(&[&namespace("web"), &web, &db]);
    let labels = |team: &str| {
        let pairs = [("kubernetes.io/metadata.name", "shop"), ("team", team)];
        Arc::new(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Labels>())
    };
    let db_policy = PolicyRef {
        kind: PolicyKind::NetworkPolicy,
        namespace: Some("shop".to_owned()),
        name: "db".to_owned(),
        rule: None,
    };
    let gone = |name: &str| Change::PodGone("shop".into(), name.into());
    let rows: Vec<(&str, Change, &str, Decision)> = vec![
        ("a policy", Change::Policy(read_policy(&policy("db", ONLY_WEB))), WEB, Allow),
        ("a pod", Change::Pod(read_pod(&pod("new", NEW, "other"))), NEW, Deny),
        ("its labels", Change::Pod(read_pod(&pod("new", NEW, "web"))), NEW, Allow),
        ("another pod's labels", Change::Pod(read_pod(&pod("web", WEB, "other"))), WEB, Deny),
        ("another policy", Change::Policy(read_policy(&policy("db", ONLY_TEAM))), WEB, Allow),
        ("a namespace's labels", Change::Namespace("shop".to_owned(), labels("other")), WEB, Deny),
        ("and back", Change::Namespace("shop".to_owned(), labels("web")), NEW, Allow),
        ("an address that moves", Change::Pod(read_pod(&pod("new", "10.1.0.9", "web"))), "10.1.0.9", Allow),
        ("no policy", Change::PolicyGone(db_policy), WEB, Allow),
        ("a policy again", Change::Policy(read_policy(&policy("db", "{podSelector: {}}"))), WEB, Deny),
        ("no pod, as of later", gone("db"), WEB, Unknown),
        ("nor the other", gone("web"), WEB, Unknown),
    ];
    for (turn, (name, change, from, expected)) in (1..).zip(rows) {
        let before = store.snapshot();
        let (revision, asked) = (before.revision, judge(&before, WEB, DB));
        let after = store.apply([change], at(turn));
        assert_eq!((after.revision, after.as_of), (revision + 1, at(turn)), "{name}");
        assert_eq!(judge(&before, WEB, DB), asked, "{name}: what was taken before stays as it was");
        assert_eq!(judge(&after, from, DB).0, expected, "{name}");
    }
    assert_eq!(store.snapshot().inventory.pods().count(), 1);
    assert_eq!(store.snapshot().policies.sizes().0, 1);
    assert_eq!(store.snapshot().inventory.departed_count(), 2);
}

#[test]
fn a_policy_that_changed_settles_and_a_pod_that_changed_does_not() {
    let (web, db) = (pod("web", WEB, "web"), pod("db", DB, "db"));
    let mut store = store(&[&namespace("web"), &web, &db]);
    store.apply([Change::Pod(read_pod(&pod("web", WEB, "other")))], at(99));
    assert_eq!(judge(&store.snapshot(), WEB, DB), (Decision::Allow, false));
    let policy = read_policy(&policy("db", ONLY_WEB));
    store.apply([Change::Policy(Arc::clone(&policy))], at(99));
    assert_eq!(judge(&store.snapshot(), WEB, DB), (Decision::Deny, true));
    let before = store.snapshot().changes.len();
    store.apply([Change::Policy(policy)], at(99));
    assert_eq!(store.snapshot().changes.len(), before, "it is what it was");
    store.apply([Change::Pod(read_pod(&web))], at(2_000));
    assert!(store.snapshot().changes.is_empty(), "too long ago to matter");
}

#[test]
fn policies_in_trial_follow_single_changes() {
    let (web, db) = (pod("web", WEB, "web"), pod("db", DB, "db"));
    let trial =
        policy("db", ONLY_WEB).replace("{name: db,", "{name: db, annotations: {flowlog.dev/trial: 'true'},");
    let mut store = store(&[&namespace("web"), &web, &db, &trial]);
    let tried = |snapshot: &Snapshot| {
        let party = |address, port| Party {
            endpoint: snapshot.inventory.resolve_address(ip(address), at(0)),
            ip: Some(ip(address)),
            port,
        };
        let (source, destination) = (party(WEB, None), party(DB, Some(80)));
        let target = snapshot.inventory.resolve(ip(DB), 80, Protocol::Tcp, at(0));
        let verdict = snapshot.evaluate(&source, &destination, &target, Protocol::Tcp, at(0));
        verdict.trial.map(|trial| trial.decision)
    };
    assert_eq!(tried(&store.snapshot()), Some(Decision::Allow));
    let after = store.apply([Change::Pod(read_pod(&pod("web", WEB, "other")))], at(1));
    assert_eq!(tried(&after), Some(Decision::Deny));
    let open = "{podSelector: {matchLabels: {app: db}}, ingress: [{}]}";
    let after = store.apply([Change::Policy(read_policy(&policy("other", open)))], at(2));
    assert_eq!(tried(&after), Some(Decision::Allow), "what is declared is part of it");
}
