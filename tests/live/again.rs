//! New tries: how soon, from where, and what is said meanwhile.

use crate::outages::{is_paged, of_pods, problems, server};
use crate::scene::{SOON, Scene, pod, quick};
use flowlog::cluster::watch::Timing;
use flowlog_tests::apiserver::{Drop, Fault, Which, of};
use flowlog_tests::wait;
use std::time::{Duration, Instant};

fn going_on() -> Which {
    Which { plural: "pods", watch: Some(true), initial: Some(false), ..Which::default() }
}

fn initial() -> Which {
    Which { plural: "pods", watch: Some(true), initial: Some(true), ..Which::default() }
}

/// An answer of 200 is not yet an event; a server that has forgotten the version says so by the first.
#[test]
fn an_answer_that_is_no_event_ends_no_outage() {
    let scene = Scene::with(&crate::scene::small());
    scene.server.fault(of("pods"), Fault::Status(503, "away"), 3);
    scene.server.fault(going_on(), Fault::ErrorEvent(410, "Expired"), 1);
    scene.server.fault(initial(), Fault::Status(500, "broken"), usize::MAX);
    scene.server.drop_watches(Drop::Clean);
    let stale = scene.until("it is noticed", |snapshot| problems(snapshot).contains("Pod: not in sync"));
    let since = stale.stale_since;
    assert!(since.is_some());
    let later = scene.until("all is listed again", |snapshot| {
        assert_eq!(snapshot.stale_since, since, "the same outage");
        problems(snapshot).contains("500")
    });
    assert_eq!(later.stale_since, since);
    scene.server.heal();
    scene.as_loaded();
}

#[test]
fn a_watch_that_says_nothing_after_an_outage_is_in_sync_by_its_quiet() {
    let mut scene = Scene::with(&crate::scene::small());
    scene.server.go_away();
    scene.until("all kinds are lost", |snapshot| snapshot.problems.len() >= 7);
    scene.server.come_back().unwrap();
    // Nothing changes, and this server sends no bookmarks.
    scene.synced();
}

/// Each is a fault that goes on for ever, and the least time that so many requests of a kind are to take.
#[test]
fn a_server_that_always_errs_is_asked_ever_more_rarely() {
    let list = || Which { plural: "pods", watch: Some(false), ..Which::default() };
    let rows = [
        ("too many requests, again at once", list(), Fault::Busy(0), false, 6),
        ("a list that is always too old", list(), Fault::Status(410, "Expired"), false, 7),
        ("a watch that always fails", going_on(), Fault::ErrorEvent(500, "broken"), true, 8),
        (
            "a watch from a version that is always forgotten",
            going_on(),
            Fault::ErrorEvent(410, "Expired"),
            true,
            8,
        ),
    ];
    for (what, which, fault, lists_work, times) in rows {
        let server = server();
        server.stream(false);
        server.fault(which, fault, usize::MAX);
        let scene = Scene::of(server, quick());
        let lists = || of_pods(&scene).iter().filter(|request| request.verb == "list").count();
        wait::until(what, SOON, || Ok(lists() > 0)).unwrap();
        let began = Instant::now();
        wait::until(what, SOON, || Ok(lists() >= times)).unwrap();
        // At least half of 20, 40, 80, 160, 200 ms and so on, but for the first where it is a version that is gone.
        let least = Duration::from_millis(if lists_work { 400 } else { 220 });
        assert!(began.elapsed() >= least, "{what}: {:?}", began.elapsed());
    }
}

#[test]
fn one_hiccup_of_a_stream_is_no_reason_for_pages() {
    let server = server();
    server.fault(initial(), Fault::ErrorEvent(500, "etcdserver: leader changed"), 1);
    let scene = Scene::of(server, quick());
    scene.as_loaded();
    assert_eq!(of_pods(&scene).iter().filter(|request| is_paged(request)).count(), 0);
}

#[test]
fn streams_are_tried_again_after_a_while_of_pages() {
    let server = server();
    server.stream(false);
    let scene = Scene::of(server, Timing { pages: Duration::from_millis(300), ..quick() });
    scene.as_loaded();
    let pages = || of_pods(&scene).iter().filter(|request| request.verb == "list").count();
    assert_eq!(pages(), 1);
    scene.server.stream(true);
    wait::until("a stream is tried", SOON, || {
        scene.server.forget(false);
        scene.server.drop_watches(Drop::Clean);
        Ok(of_pods(&scene)
            .iter()
            .any(|request| request.query.contains_key("sendInitialEvents") && request.status == 200))
    })
    .unwrap();
    scene.as_loaded();
}

/// The server's cache is read, not what is stored: first whatever it has, then nothing older than was seen.
#[test]
fn pages_come_from_the_servers_cache_and_never_from_before() {
    let server = server();
    server.stream(false);
    let mut scene = Scene::of(server, quick());
    scene.as_loaded();
    scene.server.apply(pod("shop/new", "10.1.0.3"));
    scene.as_loaded();
    scene.server.forget(false);
    scene.server.drop_watches(Drop::Clean);
    wait::until("it is listed again", SOON, || {
        Ok(of_pods(&scene).iter().filter(|request| request.verb == "list").count() >= 2)
    })
    .unwrap();
    scene.as_loaded();
    // A server that was set back, from a copy of its store, does not know what was seen.
    scene.server.go_away();
    scene.server.set_back(50);
    scene.server.come_back().unwrap();
    scene.server.fault(going_on(), Fault::ErrorEvent(410, "Expired"), 1);
    let lists = || -> Vec<(Option<String>, bool)> {
        let lists = of_pods(&scene).into_iter().filter(|request| request.verb == "list");
        lists
            .map(|request| {
                (request.query.get("resourceVersion").cloned(), request.query.contains_key("limit"))
            })
            .collect()
    };
    wait::until("what is stored is read", SOON, || Ok(lists().last() == Some(&(None, true)))).unwrap();
    scene.as_loaded();
    let lists = lists();
    assert_eq!(lists[0], (Some("0".to_owned()), true));
    let seen: u64 = lists[1].0.as_ref().unwrap().parse().unwrap();
    assert!(seen > 100 && !lists[1].1, "{lists:?}");
}
