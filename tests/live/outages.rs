//! What goes wrong between the agent and its API server, and how it comes right again by itself.

use crate::scene::{
    DB, SOON, Scene, WEB, closed, follow, is_synced, name_at, namespace, pod, quick, small, verdict,
};
use crate::served::deny;
use flowlog::cluster::Snapshot;
use flowlog::model::Decision;
use flowlog_tests::apiserver::{ApiServer, Drop, Fault, Request, Which, of};
use flowlog_tests::token::MountedToken;
use flowlog_tests::wait;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

pub(crate) fn server() -> ApiServer {
    let server = ApiServer::start().unwrap();
    small().into_iter().for_each(|object| server.apply(object));
    server
}

pub(crate) fn of_pods(scene: &Scene) -> Vec<Request> {
    scene.server.requests().into_iter().filter(|request| request.plural == "pods").collect()
}

pub(crate) fn is_paged(request: &Request) -> bool {
    request.verb == "list" && request.query.contains_key("limit")
}

pub(crate) fn problems(snapshot: &Snapshot) -> String {
    snapshot.problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// Each is a server, or a fault of its first answer, after which the list comes by pages.
#[test]
fn a_server_that_cannot_stream_is_asked_for_pages() {
    let initial = || Which { plural: "pods", initial: Some(true), ..Which::default() };
    let rows: [(&str, Option<Fault>, usize); 6] = [
        ("a server that refuses by 422", None, 1),
        ("an old etcd: one ERROR event of 500", Some(Fault::ErrorEvent(500, "etcdserver: not supported")), 1),
        ("a server that knows not what it is asked", Some(Fault::Status(400, "unknown parameter")), 1),
        ("a server that sends all there is and no bookmark", Some(Fault::Legacy), 2),
        ("a stream that ends before its bookmark", Some(Fault::NoBookmark), 2),
        ("a stream that something resets on its way", Some(Fault::CutAfter(1)), 2),
    ];
    for (what, fault, streams) in rows {
        let server = server();
        match fault {
            None => server.stream(false),
            Some(fault) => server.fault(initial(), fault, usize::MAX),
        }
        let scene = Scene::of(server, quick());
        scene.as_loaded();
        let asked = of_pods(&scene);
        let streamed = asked.iter().filter(|request| request.query.contains_key("sendInitialEvents")).count();
        assert_eq!(
            (streamed, asked.iter().filter(|request| is_paged(request)).count()),
            (streams, 1),
            "{what}"
        );
        scene.server.apply(pod("shop/new", "10.1.0.3"));
        scene.as_loaded();
    }
}

#[test]
fn pages_are_all_read_and_begun_anew_where_the_server_has_forgotten_the_first() {
    let server = ApiServer::start().unwrap();
    server.stream(false);
    server.apply(namespace("shop", "a"));
    for number in 0..1_203 {
        server.apply(pod(&format!("shop/p{number}"), &format!("10.1.{}.{}", number / 250, number % 250 + 1)));
    }
    // The third page is gone by the time it is asked for.
    let list = Which { plural: "pods", watch: Some(false), ..Which::default() };
    server.fault(list.clone(), Fault::Slow(1 << 20, Duration::ZERO), 2);
    server.fault(list, Fault::Status(410, "Expired"), 1);
    let scene = Scene::of(server, quick());
    scene.as_loaded();
    assert_eq!(scene.snapshot().inventory.pods().count(), 1_203);
    let pages = of_pods(&scene).into_iter().filter(is_paged).count();
    assert_eq!(pages, 6, "two, the one that is gone, and three again");
}

#[test]
fn a_version_that_the_server_has_forgotten_has_all_listed_again() {
    for by_status in [false, true] {
        let scene = Scene::with(&small());
        // While nobody watches things come and go, and none of it is told later.
        scene.server.fault(of(""), Fault::Status(503, "away"), usize::MAX);
        scene.server.drop_watches(Drop::Clean);
        scene.until("that is noticed", |snapshot| problems(snapshot).contains("Pod: not in sync"));
        scene.server.delete("pods", "shop", "web");
        scene.server.delete("services", "shop", "db");
        scene.server.apply(pod("shop/new", "10.1.0.3"));
        scene.server.apply(closed("shop/db", "db"));
        scene.server.forget(by_status);
        scene.server.heal();
        let after = scene.as_loaded();
        assert_eq!(name_at(&after, "10.1.0.3"), "pod shop/new", "by status: {by_status}");
        assert_eq!(verdict(&after, "10.1.0.3", DB).decision, Decision::Deny, "by status: {by_status}");
        assert_eq!(after.inventory.departed_count(), 1, "the pod that went is kept for what comes late");
    }
}

#[test]
fn watches_that_end_or_break_are_taken_up_where_they_were() {
    let scene = Scene::with(&small());
    for (round, how) in [Drop::Clean, Drop::MidLine, Drop::Clean, Drop::MidLine].into_iter().enumerate() {
        scene.server.drop_watches(how);
        scene.server.apply(pod("shop/new", &format!("10.1.0.{}", 30 + round)));
        let after = scene.as_loaded();
        assert!(after.problems.is_empty(), "{how:?}: {}", problems(&after));
    }
    let lists =
        of_pods(&scene).iter().filter(|request| request.query.contains_key("sendInitialEvents")).count();
    assert_eq!(lists, 1, "nothing was listed again");
}

#[test]
fn an_event_that_breaks_off_in_its_middle_comes_again_whole() {
    let scene = Scene::with(&small());
    let watch = Which { plural: "pods", initial: Some(false), ..Which::default() };
    for cut in 0..3 {
        scene.server.fault(watch.clone(), Fault::CutAfter(cut), 1);
        scene.server.drop_watches(Drop::Clean);
        for number in 0..4 {
            scene.server.apply(pod(&format!("shop/n{number}"), &format!("10.1.{cut}.{}", 40 + number)));
        }
        scene.as_loaded();
    }
}

#[test]
fn a_list_that_breaks_off_is_no_list() {
    for streams in [true, false] {
        let server = server();
        server.stream(streams);
        for cut in 0..3 {
            let which =
                Which { plural: "pods", watch: Some(streams), initial: Some(streams), ..Which::default() };
            server.fault(which, Fault::CutAfter(cut), 1);
        }
        let scene = Scene::of(server, quick());
        scene.as_loaded();
        assert_eq!(scene.snapshot().inventory.departed_count(), 0, "nobody went meanwhile");
    }
}

#[test]
fn slow_bytes_are_bytes() {
    let server = server();
    server.stream(false);
    server.fault(of("pods"), Fault::Slow(7, Duration::from_micros(200)), usize::MAX);
    let scene = Scene::of(server, quick());
    scene.as_loaded();
    scene.server.apply(pod("shop/new", "10.1.0.3"));
    scene.as_loaded();
}

/// Neither an error nor an end: nothing.
#[test]
fn a_watch_that_says_nothing_is_given_up() {
    let server = server();
    server.bookmark_every(Duration::from_millis(200));
    let scene = Scene::of(server, quick());
    scene.synced();
    // Long enough that this server is known to send bookmarks.
    wait::until("bookmarks came", SOON, || Ok(scene.server.bytes()["pods"] > 4_000)).unwrap();
    scene.server.fault(of("pods"), Fault::Silent, 2);
    scene.server.drop_watches(Drop::Clean);
    let stale = scene.until("it is noticed", |snapshot| problems(snapshot).contains("Pod: not in sync"));
    assert!(problems(&stale).contains("silent for 1 s"), "{}", problems(&stale));
    assert!(stale.stale_since.is_some());
    scene.server.apply(pod("shop/new", "10.1.0.3"));
    scene.as_loaded();
}

#[test]
fn an_answer_that_never_begins_is_given_up() {
    let server = server();
    // The second leaves time to see what became of the first.
    server.fault(of("services"), Fault::NoAnswer, 2);
    let scene = Scene::of(server, quick());
    let without =
        scene.until("it is noticed", |snapshot| problems(snapshot).contains("Service: not in sync"));
    assert!(problems(&without).contains("no answer"), "{}", problems(&without));
    scene.as_loaded();
}

/// Names that were read are told all the same; what would rest on the others is unknown, and nothing is guessed.
#[test]
fn a_kind_that_is_forbidden_leaves_unknown_what_it_would_tell() {
    let rows = [
        ("services", "10.96.0.2", "unknown: not read from the API server: Service (403", Decision::Allow),
        ("networkpolicies", "198.51.100.1", "external", Decision::Unknown),
        ("namespaces", "198.51.100.1", "external", Decision::Unknown),
        ("jobs", "198.51.100.1", "external", Decision::Allow),
    ];
    for (plural, address, named, expected) in rows {
        let server = server();
        server.fault(of(plural), Fault::Status(403, "forbidden"), usize::MAX);
        let scene = Scene::of(server, quick());
        let snapshot = scene.until("all others are in sync", |snapshot| {
            let optional = snapshot.unread.as_ref().is_some_and(|why| {
                why.contains("AdminNetworkPolicy") || why.contains("ClusterNetworkPolicy")
            });
            snapshot.problems.len() == 1 && !optional && name_at(snapshot, WEB) == "pod shop/web"
        });
        assert!(problems(&snapshot).contains("403"), "{plural}: {}", problems(&snapshot));
        assert!(snapshot.stale_since.is_some(), "{plural}");
        assert!(name_at(&snapshot, address).starts_with(named), "{plural}: {}", name_at(&snapshot, address));
        assert_eq!(verdict(&snapshot, WEB, DB).decision, expected, "{plural}");
        scene.server.heal();
        scene.as_loaded();
    }
}

#[test]
fn an_outage_leaves_the_last_state_and_says_since_when() {
    let began = Timestamp::now();
    let mut scene = Scene::with(&small());
    scene.server.go_away();
    let stale = scene.until("all kinds are lost", |snapshot| snapshot.problems.len() >= 7);
    let since = stale.stale_since.unwrap();
    assert!(since >= began && since <= stale.as_of, "since the server said something last");
    assert_eq!(name_at(&stale, WEB), "pod shop/web");
    let judged = verdict(&stale, WEB, DB);
    assert_eq!((judged.decision, judged.stale_since), (Decision::Allow, Some(since)));
    scene.server.come_back().unwrap();
    scene.server.apply(closed("shop/db", "db"));
    let after = scene.as_loaded();
    assert_eq!(verdict(&after, WEB, DB).stale_since, None);
    assert_eq!(verdict(&after, WEB, DB).decision, Decision::Deny);
}

#[test]
fn the_agent_starts_while_the_server_is_away() {
    let mut server = server();
    server.go_away();
    let mut scene = Scene::of(server, quick());
    let away = scene.until("it was tried", |snapshot| problems(snapshot).contains("Pod: not in sync"));
    assert!(problems(&away).contains("refused"), "{}", problems(&away));
    assert!(!is_synced(&away) && name_at(&away, "198.51.100.1").starts_with("unknown: not read"));
    assert_eq!(verdict(&away, WEB, DB).decision, Decision::Unknown);
    scene.server.come_back().unwrap();
    scene.as_loaded();
}

/// As a kubelet renews it: by another folder in the place of the one that holds it.
#[test]
fn a_token_that_was_renewed_is_taken() {
    let server = server();
    server.want_token("second");
    let folder = tempfile::tempdir().unwrap();
    let token = MountedToken::new(folder.path(), "first").unwrap();
    let watch = follow(&server, folder.path(), &json!({"tokenFile": token.path()}), quick());
    wait::until("the first is refused", SOON, || Ok(problems(&watch.snapshot()).contains("401"))).unwrap();
    token.renew("second").unwrap();
    let patience = Duration::from_secs(70);
    wait::until("the second is read", patience, || Ok(is_synced(&watch.snapshot()))).unwrap();
}

#[test]
fn kinds_that_come_and_go_while_it_runs_are_followed_and_left() {
    let scene = Scene::with(&small());
    assert!(scene.synced().problems.is_empty(), "a kind that is not served is no problem");
    let deny = deny();
    for _ in 0..2 {
        assert_eq!(verdict(&scene.snapshot(), WEB, DB).decision, Decision::Allow);
        scene.server.serve("adminnetworkpolicies", true);
        scene.server.apply(deny.clone());
        let with = scene.as_loaded();
        assert_eq!(verdict(&with, WEB, DB).decision, Decision::Deny);
        scene.server.serve("adminnetworkpolicies", false);
        scene.as_loaded();
    }
}

#[test]
fn no_server_is_stormed() {
    let server = server();
    server.fault(of(""), Fault::Status(500, "broken"), usize::MAX);
    let scene = Scene::of(server, quick());
    let began = std::time::Instant::now();
    wait::until("it was asked for pods several times", SOON, || Ok(of_pods(&scene).len() >= 5)).unwrap();
    // 20 + 40 + 80 + 160 ms, and at least half of that.
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
}

/// How often a kind's lists and watches were begun anew, by cause.
fn restarts(scene: &Scene, kind: &str) -> Vec<(&'static str, u64)> {
    let kinds = scene.watch.kinds();
    let of = kinds.into_iter().find(|health| health.kind == kind).unwrap();
    of.restarts.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_it_took_to_follow_a_kind_is_counted_by_its_cause() {
    let rows: [(&str, Option<Fault>); 5] = [
        ("ended", None),
        ("expired", Some(Fault::Status(410, "Expired"))),
        ("refused", Some(Fault::Status(500, "broken"))),
        ("broken", Some(Fault::CutAfter(0))),
        ("garbled", Some(Fault::ErrorEvent(500, "broken"))),
    ];
    for (cause, fault) in rows {
        let scene = Scene::with(&small());
        let counted = || restarts(&scene, "pods").into_iter().find(|(one, _)| *one == cause);
        assert_eq!(counted(), None, "{cause}");
        if let Some(fault) = fault {
            scene.server.fault(of("pods"), fault, 1);
        }
        let watches = || {
            let requests = scene.server.requests();
            requests.iter().filter(|one| one.plural == "pods" && one.verb == "watch").count()
        };
        let before = watches();
        scene.server.drop_watches(Drop::Clean);
        // The pod is the next watch's to tell: the one that is about to end could tell it, too.
        wait::until("it is watched again", SOON, || Ok(watches() > before)).unwrap();
        scene.server.apply(pod("shop/new", "10.1.0.3"));
        scene.until(cause, |_| counted().is_some());
        scene.as_loaded();
    }
}

#[test]
fn each_kind_tells_when_the_server_was_heard_last() {
    let began = Timestamp::now();
    let mut scene = Scene::with(&small());
    let of = |scene: &Scene, kind: &str| {
        let kinds = scene.watch.kinds();
        let health = kinds.into_iter().find(|health| health.kind == kind).unwrap();
        (health.in_sync, health.heard)
    };
    let (in_sync, heard) = of(&scene, "pods");
    assert_eq!(in_sync, Some(true));
    // What is kept has no parts of a millisecond.
    let heard = heard.unwrap();
    assert!(heard.as_millisecond() >= began.as_millisecond() && heard <= Timestamp::now());
    assert_eq!(of(&scene, "adminnetworkpolicies").0, None, "it is not served");
    scene.server.go_away();
    scene.until("it is noticed", |snapshot| problems(snapshot).contains("Pod: not in sync"));
    let (in_sync, still) = of(&scene, "pods");
    assert_eq!((in_sync, still), (Some(false), Some(heard)), "{}", Timestamp::now());
    scene.server.come_back().unwrap();
    scene.server.apply(pod("shop/new", "10.1.0.3"));
    scene.as_loaded();
    assert!(of(&scene, "pods").1 > Some(heard));
}
