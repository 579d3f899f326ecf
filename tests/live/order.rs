//! Addresses and names that change hands: rather unknown than wrong.

use crate::scene::{DB, Scene, WEB, name_at, name_then, node, pod, service, slice, small};
use flowlog::inventory::Found;
use flowlog::model::Target;
use flowlog_tests::apiserver::Drop;
use jiff::Timestamp;

fn with_uid(mut pod: serde_json::Value, uid: &str) -> serde_json::Value {
    pod["metadata"]["uid"] = uid.into();
    pod
}

#[test]
fn a_pod_that_went_is_known_while_its_last_packets_fly() {
    let scene = Scene::with(&small());
    let before = Timestamp::now();
    scene.server.delete("pods", "shop", "web");
    let after = scene.until("it went", |snapshot| snapshot.inventory.find_pod("shop", "web").is_none());
    assert_eq!(name_then(&after, WEB, before), "pod shop/web");
    let now = name_at(&after, WEB);
    assert!(
        now.starts_with(&format!("unknown: {WEB} was pod shop/web's until ")),
        "may be another's by now: {now}"
    );
    let found = after.inventory.find_pod_by_uid("uid-shop-web", Timestamp::now());
    assert!(matches!(found, Some(Found::Departed { .. })), "{found:?}");
}

#[test]
fn an_address_that_was_given_to_another_at_once_is_that_ones() {
    let scene = Scene::with(&small());
    let before = Timestamp::now();
    scene.server.delete("pods", "shop", "web");
    let gone = scene.until("it went", |snapshot| snapshot.inventory.find_pod("shop", "web").is_none());
    scene.server.apply(pod("shop/next", WEB));
    let after = scene.until("it is the other's", |snapshot| name_at(snapshot, WEB) == "pod shop/next");
    assert_eq!(name_then(&after, WEB, before), "pod shop/web", "an attempt of before is not the other's");
    let between = name_then(&after, WEB, gone.as_of);
    assert!(
        between.contains("was pod shop/web's until ") && between.contains("shop/next's since "),
        "{between}"
    );
    let first = after.inventory.find_pod_by_uid("uid-shop-web", Timestamp::now()).unwrap();
    assert_eq!(&*first.pod().name, "web", "by its cgroup the first is told apart");
    // The other way round: the new one is told before the old one's end.
    scene.server.apply(pod("shop/third", WEB));
    let both = scene.until("two have it", |snapshot| name_at(snapshot, WEB).starts_with("unknown"));
    assert!(
        name_at(&both, WEB).contains("is held by pod shop/next and pod shop/third"),
        "{}",
        name_at(&both, WEB)
    );
    scene.server.delete("pods", "shop", "next");
    scene.until("one has it", |snapshot| name_at(snapshot, WEB) == "pod shop/third");
}

/// The same name, as a StatefulSet gives it: another uid, container and address.
#[test]
fn a_pod_of_the_same_name_is_another_pod() {
    let scene = Scene::with(&[small(), vec![with_uid(pod("shop/store-0", "10.1.0.50"), "u1")]].concat());
    let before = Timestamp::now();
    // Its deletion is not seen: the watch breaks, and what follows is the second one's.
    scene.server.drop_watches(Drop::MidLine);
    scene.server.delete("pods", "shop", "store-0");
    scene.server.apply(with_uid(pod("shop/store-0", "10.1.0.51"), "u2"));
    let after =
        scene.until("the second is there", |snapshot| name_at(snapshot, "10.1.0.51") == "pod shop/store-0");
    let found = |uid: &str| after.inventory.find_pod_by_uid(uid, Timestamp::now());
    assert!(matches!(found("u1"), Some(Found::Departed { .. })));
    assert!(matches!(found("u2"), Some(Found::Live(_))));
    assert_eq!(
        name_then(&after, "10.1.0.50", before),
        "pod shop/store-0",
        "the departed one's, by what flew late"
    );
    assert!(name_at(&after, "10.1.0.50").starts_with("unknown"), "and nobody's by now");
}

#[test]
fn a_container_that_was_restarted_has_its_new_id() {
    let scene = Scene::with(&small());
    let mut again = pod("shop/web", WEB);
    again["status"]["containerStatuses"][0]["containerID"] = "containerd://second".into();
    scene.server.apply(again);
    scene.until("it has", |snapshot| {
        let pod = snapshot.inventory.find_pod("shop", "web");
        pod.is_some_and(|pod| pod.containers[0].id.as_deref() == Some("second"))
    });
}

#[test]
fn a_pod_without_an_address_yet_is_known_by_its_uid() {
    let scene = Scene::with(&small());
    let mut bare = pod("shop/early", "10.1.0.60");
    bare["status"] = serde_json::json!({"phase": "Pending"});
    scene.server.apply(bare);
    let early = scene.until("it is there", |snapshot| snapshot.inventory.find_pod("shop", "early").is_some());
    assert!(early.inventory.find_pod_by_uid("uid-shop-early", Timestamp::now()).is_some());
    assert!(name_at(&early, "10.1.0.60").starts_with("unknown"), "not external, before its address is told");
    scene.server.apply(pod("shop/early", "10.1.0.60"));
    scene.until("it is named", |snapshot| name_at(snapshot, "10.1.0.60") == "pod shop/early");
}

#[test]
fn a_node_that_comes_back_with_another_address_has_that_one() {
    let scene = Scene::with(&[small(), vec![node("n2", "10.0.0.2", "10.2.0.0/24")]].concat());
    scene.server.delete("nodes", "", "n2");
    scene.until("it went", |snapshot| name_at(snapshot, "10.0.0.2") != "node n2");
    scene.server.apply(node("n2", "10.0.0.9", "10.2.0.0/24"));
    let after = scene.until("it is back", |snapshot| name_at(snapshot, "10.0.0.9") == "node n2");
    assert_ne!(name_at(&after, "10.0.0.2"), "node n2");
}

#[test]
fn a_service_leads_to_whoever_has_its_backends_address_now() {
    let scene = Scene::with(&small());
    let backend = |snapshot: &flowlog::cluster::Snapshot| {
        let ip = "10.96.0.2".parse().unwrap();
        match snapshot.inventory.resolve(ip, 80, flowlog::model::Protocol::Tcp, Timestamp::now()) {
            Target::Service { backends, .. } => {
                backends.iter().map(|backend| format!("{:?}", backend.endpoint)).collect()
            }
            other => format!("{other:?}"),
        }
    };
    assert!(backend(&scene.snapshot()).contains("\"db\""));
    scene.server.delete("pods", "shop", "db");
    scene.server.apply(pod("shop/other", DB));
    scene.until("it is the other", |snapshot| backend(snapshot).contains("\"other\""));
}

/// Servers take such addresses and ports, and whoever may write a service or slice in his own namespace may write them.
#[test]
fn an_object_that_can_be_read_in_part_makes_nobody_else_unknown() {
    let scene = Scene::with(&small());
    let mut odd = service("shop/odd", "10.96.0.77");
    odd["spec"]["externalIPs"] = serde_json::json!(["010.9.0.1", "10.9.0.300"]);
    scene.server.apply(odd);
    let mut hand_made = slice("shop/odd-1", "odd", &["10.1.0.256", DB]);
    hand_made["ports"] =
        serde_json::json!([{"port": 70_000, "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}]);
    scene.server.apply(hand_made);
    let after = scene.until("both are read", |snapshot| snapshot.problems.len() == 2);
    assert_eq!(after.inventory.incomplete(), None);
    assert_eq!(name_at(&after, "198.51.100.9"), "external");
    for address in ["10.96.0.77", "10.9.0.1"] {
        let target = after.inventory.resolve(
            address.parse().unwrap(),
            80,
            flowlog::model::Protocol::Tcp,
            Timestamp::now(),
        );
        let Target::Service { backends, .. } = target else { panic!("{address}: {target:?}") };
        let backends: Vec<String> =
            backends.iter().map(|backend| format!("{}:{}", backend.ip, backend.port)).collect();
        assert_eq!(backends, [format!("{DB}:80")], "{address}");
    }
}
