//! A 404: what is not there, what is there in another version, and what only seems not to be.

use crate::outages::{problems, server};
use crate::scene::{DB, Scene, WEB, is_synced, quick, verdict};
use flowlog::cluster::Snapshot;
use flowlog::cluster::watch::Timing;
use flowlog::model::Decision;
use flowlog_tests::apiserver::{Drop, Fault, of};
use serde_json::{Value, json};
use std::time::Duration;

const KIND: &str = "adminnetworkpolicies";

pub(crate) fn deny() -> Value {
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "AdminNetworkPolicy", "metadata": {"name": "deny"},
        "spec": {"priority": 5, "subject": {"namespaces": {}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},
    })
}

/// A kind that was there is missed for longer than any of these scenarios takes.
fn patient() -> Timing {
    let long = Duration::from_secs(60);
    Timing { unserved: long, look: long, ..quick() }
}

fn with_policy() -> Scene {
    let server = server();
    server.serve(KIND, true);
    server.apply(deny());
    let scene = Scene::of(server, patient());
    scene.as_loaded();
    scene
}

fn is_missed(snapshot: &Snapshot) -> bool {
    problems(snapshot).contains("AdminNetworkPolicy: not in sync")
}

#[track_caller]
fn still_denied(snapshot: &Snapshot) {
    let judged = verdict(snapshot, WEB, DB);
    assert_eq!(judged.decision, Decision::Deny, "{}", problems(snapshot));
    assert!(judged.stale_since.is_some(), "what is not followed is said not to be");
}

type Begin = &'static dyn Fn(&Scene);

/// A balancer whose servers are all away, one server's short word, and a server of an older version.
#[test]
fn a_404_alone_takes_no_policy_away() {
    let rows: [(&str, Begin, &str); 3] = [
        ("a balancer", &|scene| scene.server.fault(of(""), Fault::Plain(404), usize::MAX), "cannot be read"),
        (
            "a spurious one",
            &|scene| scene.server.fault(of(KIND), Fault::Plain(404), usize::MAX),
            "though the API server lists it",
        ),
        ("an older server", &|scene| scene.server.hide(KIND, true), "does not list it"),
    ];
    for (what, begin, why) in rows {
        let scene = with_policy();
        begin(&scene);
        scene.server.drop_watches(Drop::Clean);
        let missed = scene.until(what, |snapshot| is_missed(snapshot) && problems(snapshot).contains(why));
        still_denied(&missed);
        // Several more looks.
        let asked = || scene.server.requests().iter().filter(|request| request.plural == KIND).count();
        let before = asked();
        let later = scene.until(what, |_| asked() >= before + 4);
        still_denied(&later);
        scene.server.heal();
        scene.server.hide(KIND, false);
        let after = scene.as_loaded();
        assert_eq!(verdict(&after, WEB, DB).decision, Decision::Deny, "{what}");
    }
}

#[test]
fn what_is_not_served_at_the_start_is_believed_at_the_second_look() {
    let server = server();
    server.fault(of(KIND), Fault::Plain(404), 3);
    server.serve(KIND, true);
    server.apply(deny());
    let scene = Scene::of(server, patient());
    // Three spurious ones, and it is there: none of them was an answer.
    let after = scene.as_loaded();
    assert_eq!(verdict(&after, WEB, DB).decision, Decision::Deny);
    let absent =
        scene.server.requests().into_iter().filter(|request| request.plural == "clusternetworkpolicies");
    assert_eq!(absent.filter(|request| request.status == 404).count(), 2);
}

#[test]
fn a_kind_of_another_version_leaves_every_verdict_unknown() {
    let server = server();
    server.serve_too(KIND, "v1beta1");
    let scene = Scene::of(server, quick());
    let snapshot = scene.until("it was found", |snapshot| {
        snapshot.stale_since.is_none()
            && snapshot.unread.as_ref().is_some_and(|why| why.contains("policy.networking.k8s.io v1beta1"))
    });
    assert!(problems(&snapshot).contains("AdminNetworkPolicy: served as"), "{}", problems(&snapshot));
    assert_eq!(verdict(&snapshot, WEB, DB).decision, Decision::Unknown);
    // It is served as it is read, too: then it is read.
    scene.server.serve(KIND, true);
    scene.server.apply(deny());
    let after = scene.as_loaded();
    assert_eq!(verdict(&after, WEB, DB).decision, Decision::Deny);
    assert!(is_synced(&after) && after.problems.is_empty());
    // And it goes: what is left is unknown again.
    scene.server.serve(KIND, false);
    let gone = scene.until("it went", |snapshot| snapshot.unread.is_some());
    assert_eq!(verdict(&gone, WEB, DB).decision, Decision::Unknown);
}

/// Thousands of agents look for what most clusters do not have.
#[test]
fn a_group_that_is_not_there_is_looked_for_by_one_request_at_a_time() {
    let scene = Scene::of(server(), quick());
    scene.synced();
    let asked =
        |plural: &str| scene.server.requests().iter().filter(|request| request.plural == plural).count();
    let (of_kind, looks) = (asked(KIND), asked(""));
    scene.until("several more looks", |_| asked("") >= looks + 12);
    assert_eq!(asked(KIND), of_kind, "the kind itself is not asked for");
    scene.server.serve(KIND, true);
    scene.server.apply(deny());
    let with = scene.as_loaded();
    assert_eq!(verdict(&with, WEB, DB).decision, Decision::Deny);
}
