//! The agents' logs in a cluster: through the API server, which hands them on from the nodes.

use super::follow::Observing;
use super::written::{Line, time};
use crate::bin::{Place, Said};
use flowlog_tests::apiserver::{ApiServer, Drop, Fault, of, of_logs};
use flowlog_tests::wait;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;

const NAMESPACE: &str = "flowlog";

fn agent_pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"app.kubernetes.io/name": "flowlog"}},
        "spec": {"nodeName": "n", "containers": [{"name": "flowlog", "image": "flowlog:1"}]},
    })
}

/// A server with agents on two nodes, and a pod that is none.
struct Scene {
    server: ApiServer,
    place: Place,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { server: ApiServer::start().unwrap(), place: Place::new() };
        for pod in ["flowlog-1", "flowlog-2"] {
            scene.server.apply(agent_pod(pod));
        }
        let mut other = agent_pod("other");
        other["metadata"]["labels"] = json!({"app": "other"});
        scene.server.apply(other);
        scene.server.kubeconfig(scene.place.path(), &json!({})).unwrap();
        scene
    }

    /// The agent of a node writes a flow.
    fn write(&self, node: &str, seq: u64, second: u64) {
        let line = Line::of(node, seq, second).to_string();
        self.say(node, second, line.trim_end());
    }

    fn say(&self, node: &str, second: u64, line: &str) {
        let pod = node.replace('n', "flowlog-");
        self.server.write_log(NAMESPACE, &pod, &time(second), line);
    }

    fn observe(&self, args: &[&str]) -> Said {
        self.place.observe(&[&["--kubeconfig", "kubeconfig"], args].concat())
    }

    fn follow(&self, args: &[&str]) -> Observing {
        let args = [&["--kubeconfig", "kubeconfig", "-f", "-o", "json"], args].concat();
        Observing::start(&self.place, &args, Stdio::null())
    }

    /// The query of each request for a log.
    fn asked(&self) -> Vec<Value> {
        let requests = self.server.requests().into_iter().filter(|request| request.plural == "pods/log");
        requests.map(|request| json!(request.query)).collect()
    }
}

/// Seconds and node of each line.
fn shown(said: &Said) -> Vec<String> {
    let flow = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        format!("{} {}", &line["time"].as_str().unwrap()[17..19], line["node"].as_str().unwrap())
    };
    said.stdout.lines().map(flow).collect()
}

#[test]
fn what_all_agents_wrote_is_shown_in_one_order() {
    let scene = Scene::new();
    scene.say("n1", 0, "2026-11-30T08:00:00Z INFO flowlog: started");
    for (seq, second) in [(1, 1), (2, 4), (3, 9)] {
        scene.write("n1", seq, second);
    }
    for (seq, second) in [(1, 2), (2, 3)] {
        scene.write("n2", seq, second);
    }
    let said = scene.observe(&["-o", "json"]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    assert_eq!(shown(&said), ["01 n1", "02 n2", "03 n2", "04 n1", "09 n1"].map(str::to_owned));
    // No more is asked for than that.
    let said = scene.observe(&["-o", "json", "--since", "2026-11-30T08:00:03Z"]);
    assert_eq!(shown(&said), ["03 n2", "04 n1", "09 n1"].map(str::to_owned));
    let asked = scene.asked();
    assert_eq!(asked.last().unwrap(), &json!({"container": "flowlog", "sinceTime": "2026-11-30T08:00:03Z"}));
    assert_eq!(asked.len(), 4, "{asked:?}");
}

#[test]
fn pods_are_followed_as_they_come_and_over_what_breaks_off() {
    let scene = Scene::new();
    scene.write("n1", 1, 1);
    let observing = scene.follow(&[]);
    observing.shows(&[1]);
    // It is not there yet, and then it is.
    observing.tells("the log of flowlog-2: 400 Bad Request: container \"flowlog\" in pod \"flowlog-2\" is waiting to start");
    scene.write("n2", 1, 2);
    observing.shows(&[1, 1]);
    // In the middle of a line; what was read already is shown once.
    scene.write("n1", 2, 3);
    observing.shows(&[1, 1, 2]);
    scene.server.drop_logs(Drop::MidLine);
    observing.tells("the log of flowlog-1: it broke off");
    scene.write("n1", 3, 4);
    observing.shows(&[1, 1, 2, 3]);
    let again =
        scene.asked().into_iter().filter(|query| query["sinceTime"] == "2026-11-30T08:00:02Z").count();
    assert!(again >= 1, "{:?}", scene.asked());
    // Its container begins anew.
    scene.server.end_log(NAMESPACE, "flowlog-1");
    let mut line = Line::of("n1", 1, 6);
    line.value["run"] = "r2".into();
    scene.say("n1", 6, line.to_string().trim_end());
    observing.shows(&[1, 1, 2, 3, 1]);
    // Another pod.
    scene.server.apply(agent_pod("flowlog-3"));
    scene.write("n3", 5, 8);
    observing.shows(&[1, 1, 2, 3, 1, 5]);
    // One goes.
    scene.server.delete("pods", NAMESPACE, "flowlog-2");
    scene.server.end_log(NAMESPACE, "flowlog-2");
    scene.write("n3", 6, 9);
    observing.shows(&[1, 1, 2, 3, 1, 5, 6]);
    let told = observing.told();
    assert!(!told.iter().any(|line| line.contains("missing")), "{told:?}");
}

#[test]
fn whoever_may_not_read_them_is_told_what_right_is_missing() {
    let scene = Scene::new();
    scene.write("n1", 1, 1);
    scene.server.forbid("pods/log", "get");
    let said = scene.observe(&[]);
    assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{said:?}");
    assert!(
        said.stderr.contains("cannot get resource \"pods/log\"")
            && said
                .stderr
                .contains("the right to `list` `pods` and to `get` `pods/log` in namespace flowlog"),
        "{}",
        said.stderr
    );
    scene.server.forbid("pods", "list");
    for args in [&[][..], &["-f"]] {
        let said = scene.observe(args);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains("cannot list resource \"pods\""), "{}", said.stderr);
    }
}

#[test]
fn where_there_is_nothing_it_is_said_why() {
    let scene = Scene::new();
    scene.write("n1", 1, 1);
    let said = scene.observe(&["--agent-namespace", "elsewhere"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("there are no pods in namespace elsewhere with labels"), "{}", said.stderr);
    // One of two cannot be read: the other is.
    scene.write("n2", 1, 2);
    scene.server.fault(
        of_logs(),
        Fault::Status(500, "dial tcp 10.0.0.1:10250: connect: connection refused"),
        3,
    );
    let said = scene.observe(&["-o", "json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    // Records elsewhere.
    let scene = Scene::new();
    for node in ["n1", "n2"] {
        scene.say(node, 0, "2026-11-30T08:00:00Z INFO flowlog: started");
    }
    let said = scene.observe(&[]);
    assert!(said.stderr.contains("no records among 2 lines of the agents' own logs"), "{said:?}");
    // No server.
    let Scene { mut server, place } = scene;
    server.go_away();
    let said = place.observe(&["--kubeconfig", "kubeconfig"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("the agents' logs cannot be read: "), "{}", said.stderr);
}

#[test]
fn a_server_that_goes_away_is_waited_for() {
    let mut scene = Scene::new();
    for node in ["n1", "n2"] {
        scene.write(node, 1, 1);
    }
    let observing = scene.follow(&[]);
    observing.shows(&[1, 1]);
    scene.server.go_away();
    scene.server.come_back().unwrap();
    scene.write("n1", 2, 5);
    observing.shows(&[1, 1, 2]);
    let listed =
        |server: &ApiServer| server.requests().iter().filter(|request| request.plural == "pods").count();
    let before = listed(&scene.server);
    scene.server.fault(of("pods"), Fault::Status(500, "InternalError"), 1);
    let again = wait::until("pods are looked for again", Duration::from_secs(20), || {
        Ok(listed(&scene.server) > before + 1)
    });
    again.unwrap();
    scene.write("n2", 2, 6);
    observing.shows(&[1, 1, 2, 2]);
}
