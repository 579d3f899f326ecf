//! What is there when the agent comes, and what becomes of it, in whatever order it is told.

use crate::scene::{
    DB, Scene, WEB, closed, labelled, name_at, namespace, node, owned_by, pod, policy, quick, range, service,
    slice, small, verdict,
};
use flowlog::model::Decision;
use flowlog_tests::apiserver::ApiServer;
use serde_json::json;

#[test]
fn what_is_there_is_read_and_what_changes_follows() {
    let scene = Scene::with(&small());
    let first = scene.as_loaded();
    assert_eq!(name_at(&first, WEB), "pod shop/web");
    assert_eq!(name_at(&first, "198.51.100.1"), "external");
    assert_eq!(verdict(&first, WEB, DB).decision, Decision::Allow);
    let steps = [
        ("a policy", closed("shop/db", "db")),
        ("a pod", pod("shop/new", "10.1.0.3")),
        ("a pod's labels", labelled(pod("shop/web", WEB), "tier", "front")),
        ("a namespace", namespace("other", "b")),
        ("a pod of another namespace", pod("other/far", "10.2.0.9")),
        ("a namespace's labels", namespace("shop", "c")),
        ("a node", node("n2", "10.0.0.2", "10.2.0.0/24")),
        ("another address of a node", node("n2", "10.0.0.7", "10.2.0.0/24")),
        ("a service", service("shop/web", "10.96.0.3")),
        ("a slice", slice("shop/web-1", "web", &[WEB, "10.1.0.3"])),
        ("a slice that moves to another service", slice("shop/web-1", "db", &[WEB])),
        ("a service's other address", service("shop/web", "10.96.0.4")),
        ("a range", range("more", "10.97.0.0/16")),
        (
            "another policy",
            policy("shop/web", &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]})),
        ),
    ];
    for (what, object) in steps {
        eprintln!("{what}");
        scene.server.apply(object);
        scene.as_loaded();
    }
    assert_eq!(verdict(&scene.snapshot(), WEB, DB).decision, Decision::Deny);
    let gone = [
        ("endpointslices", "shop", "web-1"),
        ("services", "shop", "web"),
        ("networkpolicies", "shop", "db"),
        ("pods", "other", "far"),
        ("namespaces", "", "other"),
        ("nodes", "", "n2"),
        ("servicecidrs", "", "more"),
        ("pods", "shop", "new"),
    ];
    for (plural, namespace, name) in gone {
        eprintln!("no {plural} {namespace}/{name}");
        scene.server.delete(plural, namespace, name);
        scene.as_loaded();
    }
    assert_eq!(verdict(&scene.snapshot(), WEB, DB).decision, Decision::Allow);
}

#[test]
fn nothing_is_claimed_before_all_is_read() {
    let server = ApiServer::start().unwrap();
    small().into_iter().for_each(|object| server.apply(object));
    server.want_token("nobody has it");
    let scene = Scene::of(server, quick());
    let snapshot = scene.until("it was tried", |snapshot| {
        snapshot.unread.as_ref().is_some_and(|why| why.contains("NetworkPolicy (401"))
    });
    assert!(snapshot.stale_since.is_some());
    for address in [WEB, "198.51.100.1", "10.96.0.2"] {
        let named = name_at(&snapshot, address);
        assert!(named.starts_with("unknown: not read from the API server: Node (401"), "{named}");
    }
    let verdict = verdict(&snapshot, WEB, "198.51.100.1");
    assert_eq!(verdict.decision, Decision::Unknown);
    assert!(verdict.ingress.reason.unwrap().contains("NetworkPolicy (401"), "the reason is told");
}

#[test]
fn owners_are_told_by_names_and_by_jobs_alone() {
    let hashed = labelled(pod("shop/a", "10.1.0.11"), "pod-template-hash", "5d9f");
    let rollout = labelled(pod("shop/b", "10.1.0.12"), "rollouts-pod-template-hash", "7c");
    let job = |owner: Option<&str>| {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "shop", "name": "tidy-1"},
            "spec": {"template": {}}});
        owner.map_or(job.clone(), |owner| owned_by(job, "CronJob", owner))
    };
    let scene = Scene::with(&[
        namespace("shop", "a"),
        owned_by(hashed, "ReplicaSet", "web-5d9f"),
        owned_by(rollout, "ReplicaSet", "canary-7c"),
        owned_by(pod("shop/c", "10.1.0.13"), "ReplicaSet", "by-hand"),
        owned_by(pod("shop/d", "10.1.0.14"), "StatefulSet", "store"),
        owned_by(pod("shop/e", "10.1.0.15"), "Job", "tidy-1"),
        owned_by(pod("shop/f", "10.1.0.16"), "StrimziPodSet", "kafka"),
        owned_by(pod("shop/g", "10.1.0.17"), "Node", "n1"),
    ]);
    let workload = |name: &str| {
        let snapshot = scene.snapshot();
        let pod = snapshot.inventory.find_pod("shop", name).cloned();
        pod.and_then(|pod| pod.workload.clone())
            .map(|workload| format!("{}/{}", workload.kind, workload.name))
    };
    let rows = [
        ("a", Some("Deployment/web")),
        ("b", Some("Rollout/canary")),
        ("c", Some("ReplicaSet/by-hand")),
        ("d", Some("StatefulSet/store")),
        ("e", Some("Job/tidy-1")),
        ("f", Some("StrimziPodSet/kafka")),
        ("g", None),
    ];
    for (name, expected) in rows {
        assert_eq!(workload(name).as_deref(), expected, "{name}");
    }
    // The Job comes after its pod, and a second pod after the Job.
    scene.server.apply(job(Some("tidy")));
    scene.until("the Job's owner is known", |_| workload("e").as_deref() == Some("CronJob/tidy"));
    scene.server.apply(owned_by(pod("shop/h", "10.1.0.18"), "Job", "tidy-1"));
    scene.until("so it is for a later pod", |_| workload("h").as_deref() == Some("CronJob/tidy"));
    let asked = scene.server.requests();
    let jobs = asked.iter().filter(|request| request.plural == "jobs");
    assert!(
        jobs.clone().count() > 0
            && jobs.clone().all(|request| request.accept.contains("PartialObjectMetadata"))
    );
    assert!(asked.iter().all(|request| request.plural != "replicasets"));
}

#[test]
fn a_pod_that_comes_before_its_namespace_waits_for_it() {
    let scene = Scene::with(&small());
    scene.server.apply(pod("late/first", "10.1.0.21"));
    scene.server.apply(pod("shop/second", "10.1.0.22"));
    let between = scene
        .until("the pod after it is there", |snapshot| name_at(snapshot, "10.1.0.22") == "pod shop/second");
    assert!(
        name_at(&between, "10.1.0.21").starts_with("unknown: 10.1.0.21 lies in"),
        "no rule could be held against it"
    );
    scene.server.apply(namespace("late", "a"));
    let after = scene.until("it is there", |snapshot| name_at(snapshot, "10.1.0.21") == "pod late/first");
    let pod = after.inventory.find_pod("late", "first").unwrap();
    assert_eq!(pod.namespace_labels.get("team").map(String::as_str), Some("a"));
    scene.as_loaded();
}

#[test]
fn one_policy_that_cannot_be_read_loses_no_other() {
    let far = [namespace("other", "b"), pod("other/far", "10.2.0.9")];
    let scene = Scene::with(&[small(), far.to_vec()].concat());
    let odd = json!({"podSelector": {}, "policyTypes": ["Ingress"], "newField": 1});
    scene.server.apply(policy("other/odd", &odd));
    scene.server.apply(closed("shop/db", "db"));
    let snapshot = scene.until("both are there", |snapshot| snapshot.policies.policy_count() == 2);
    let problems: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
    assert!(problems[0].starts_with("API server, NetworkPolicy other/odd, spec"), "{problems:?}");
    assert_eq!((problems.len(), snapshot.stale_since), (1, None));
    assert_eq!(verdict(&snapshot, WEB, DB).decision, Decision::Deny, "the other is judged by");
    let unknown = verdict(&snapshot, WEB, "10.2.0.9");
    assert_eq!(unknown.decision, Decision::Unknown, "what the odd one could decide is unknown");
    scene.server.apply(closed("other/odd", "far"));
    let mended = scene.until("it was mended", |snapshot| snapshot.problems.is_empty());
    assert_eq!(verdict(&mended, WEB, "10.2.0.9").decision, Decision::Deny);
    scene.as_loaded();
}

#[test]
fn policies_that_were_there_do_not_settle_and_those_that_change_do() {
    let mut old = closed("shop/db", "db");
    old["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let scene = Scene::with(&[small(), vec![old]].concat());
    let first = verdict(&scene.snapshot(), WEB, DB);
    assert_eq!((first.decision, first.settling), (Decision::Deny, false));
    scene.server.apply(closed("shop/web", "web"));
    let after = scene.until("the new one is there", |snapshot| snapshot.policies.policy_count() == 2);
    assert!(!verdict(&after, WEB, DB).settling && verdict(&after, DB, WEB).settling);
}
