//! A cluster that is asked at its API server: `policy explain`, `check`, and both as kubectl's plugin.

use crate::bin::{Place, Said, refused};
use flowlog_tests::apiserver::{ApiServer, Authority, Fault, of};
use serde_json::{Value, json};
use std::path::PathBuf;

const ANP: &str = "adminnetworkpolicies";

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn pod(namespace: &str, name: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "app"}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

fn node(name: &str, boot_id: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": "10.1.0.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "nodeInfo": {"bootID": boot_id}},
    })
}

/// Nobody but `web` may reach `db`; whoever asks for `peers` gets no address.
fn cluster() -> Vec<Value> {
    vec![
        namespace("shop"),
        namespace("batch"),
        node("n1", "boot"),
        pod("shop", "web", "10.1.0.1"),
        pod("shop", "db", "10.1.0.2"),
        pod("batch", "job", "10.1.0.3"),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "db"},
            "spec": {"clusterIP": "10.96.0.2", "ports": [{"port": 5432}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "peers"},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
            "ports": [{"port": 5432}],
            "endpoints": [{"addresses": ["10.1.0.2"], "conditions": {"ready": true}}]}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": "shop", "name": "db"},
            "spec": {"podSelector": {"matchLabels": {"app": "db"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]}}),
    ]
}

/// A server with that cluster, and a kubeconfig that leads to it.
struct Scene {
    server: ApiServer,
    place: Place,
}

impl Scene {
    fn new() -> Self {
        Self::of(&cluster())
    }

    fn of(objects: &[Value]) -> Self {
        Self::at(ApiServer::start().unwrap(), objects)
    }

    fn at(server: ApiServer, objects: &[Value]) -> Self {
        let place = Place::new();
        objects.iter().for_each(|object| server.apply(object.clone()));
        server.kubeconfig(place.path(), &json!({})).unwrap();
        Self { server, place }
    }

    fn flowlog(&self, args: &[&str]) -> Said {
        self.place.flowlog(args)
    }

    fn explain(&self, from: &str, to: &str) -> Said {
        self.flowlog(&[
            "policy",
            "explain",
            "--kubeconfig",
            "kubeconfig",
            "--from",
            from,
            "--to",
            to,
            "--port",
            "5432",
        ])
    }

    /// The binary under the name by which kubectl finds it.
    fn plugin(&self, settings: &[&str], args: &[&str]) -> Said {
        let link = self.place.path().join("kubectl-flowlog");
        if !link.exists() {
            std::os::unix::fs::symlink(flowlog_tests::program::flowlog().unwrap(), &link).unwrap();
        }
        let settings = [&["env"], settings, &["./kubectl-flowlog"]].concat();
        self.place.alone(&settings, args)
    }

    fn here(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// Text without its line breaks.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn holds(name: &str, text: &str, parts: &[&str]) {
    for part in parts {
        assert!(words(text).contains(part), "{name}: `{part}` is not in:\n{text}");
    }
}

#[test]
fn the_live_cluster_is_explained_as_its_manifests_are() {
    let scene = Scene::new();
    scene.server.serve(ANP, true);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": scene.server.objects()});
    scene.place.write("manifests/all.json", &list.to_string());
    for (from, to) in [
        ("shop/web", "shop/db"),
        ("batch/job", "shop/db"),
        ("batch/job", "svc/shop/db"),
        ("198.51.100.7", "shop/db"),
        ("shop/db", "10.1.0.77"),
        ("shop/web", "svc/shop/peers"),
        ("shop/wep", "shop/db"),
    ] {
        let written =
            ["policy", "explain", "--manifests", "manifests", "--from", from, "--to", to, "--port", "5432"];
        let (live, written) = (scene.explain(from, to), scene.flowlog(&written));
        assert_eq!(
            (live.code, &live.stdout, &live.stderr),
            (written.code, &written.stdout, &written.stderr),
            "{from} to {to}"
        );
    }
    let denied = scene.explain("batch/job", "svc/shop/db");
    assert!(
        denied.stdout.starts_with("DENY: pod batch/job (10.1.0.3) to service shop/db, port 5432"),
        "{denied:?}"
    );
    // It is read once, by lists, and nothing is watched.
    let requests = scene.server.requests();
    assert!(requests.iter().all(|request| request.verb != "watch"), "{requests:#?}");
    let jobs = requests.iter().find(|request| request.plural == "jobs").unwrap();
    assert!(jobs.accept.contains("as=PartialObjectMetadata"), "{jobs:?}");
}

#[test]
fn policies_in_trial_are_held_against_the_live_cluster() {
    let scene = Scene::new();
    let shut = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "batch", "name": "shut"}, "spec": {"podSelector": {}}});
    scene.place.write("trial/shut.json", &shut.to_string());
    let asked = ["policy", "explain", "--kubeconfig", "kubeconfig", "--trial-policies", "trial"];
    let asked = [&asked[..], &["--from", "shop/web", "--to", "batch/job", "--port", "80"]].concat();
    let said = scene.flowlog(&asked);
    let right = "ALLOW: pod shop/web (10.1.0.1) to pod batch/job (10.1.0.3), port 80/TCP\nDENY with the policies in trial\n";
    assert!(said.stdout.starts_with(right), "{said:?}");
    scene.place.write("trial/shut.json", "{");
    refused("broken", &scene.flowlog(&asked), &["trial/shut.json"]);
}

#[test]
fn long_lists_come_in_pages() {
    let many = (0..1_100)
        .map(|number| pod("shop", &format!("p{number}"), &format!("10.2.{}.{}", number / 250, number % 250)));
    let objects: Vec<Value> = cluster().into_iter().chain(many).collect();
    let scene = Scene::of(&objects);
    let said = scene.explain("shop/p1099", "shop/db");
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    assert!(said.stdout.starts_with("DENY: pod shop/p1099"), "{said:?}");
    let pages = scene.server.requests().into_iter().filter(|request| request.plural == "pods");
    let pages: Vec<_> = pages
        .map(|request| (request.query.contains_key("continue"), request.query["limit"].clone()))
        .collect();
    assert_eq!(pages, [(false, "500".to_owned()), (true, "500".to_owned()), (true, "500".to_owned())]);
}

/// What a read-only user of a cluster without these kinds is told: he has no right to them, and there are none.
#[test]
fn a_kind_that_is_not_served_needs_no_right() {
    let scene = Scene::new();
    scene.server.forbid(ANP, "*");
    let said = scene.explain("batch/job", "shop/db");
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    assert!(said.stdout.starts_with("DENY"), "{said:?}");
}

#[test]
fn a_kind_that_cannot_be_read_leaves_unknown_what_hangs_on_it() {
    type Begin = fn(&ApiServer);
    let forbid: [(&str, Begin, &str); 3] = [
        (
            "no right to policies",
            |server| server.forbid("networkpolicies", "list"),
            "NetworkPolicy (403 Forbidden: networkpolicies.networking.k8s.io is forbidden: User",
        ),
        (
            "no right to a kind that is served",
            |server| {
                server.serve(ANP, true);
                server.forbid(ANP, "list");
            },
            "AdminNetworkPolicy (403 Forbidden: adminnetworkpolicies.policy.networking.k8s.io is forbidden",
        ),
        (
            "another version",
            |server| server.serve_too(ANP, "v1beta1"),
            "AdminNetworkPolicy (served as policy.networking.k8s.io v1beta1, which is not read)",
        ),
    ];
    for (name, begin, why) in forbid {
        let scene = Scene::new();
        begin(&scene.server);
        let said = scene.explain("batch/job", "shop/db");
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        assert!(said.stdout.starts_with("UNKNOWN: pod batch/job"), "{name}: {said:?}");
        holds(name, &said.stdout, &["Not known: not read from the API server: ", why]);
        holds(name, &said.stderr, &["flowlog: ", "NetworkPolicy could not be read: "]);
        assert!(
            !said.stdout.contains("no policy"),
            "{name}: what was not read is not there for sure: {said:?}"
        );
        let json = scene.flowlog(&[
            "policy",
            "explain",
            "--kubeconfig",
            "kubeconfig",
            "--from",
            "batch/job",
            "--to",
            "shop/db",
            "--port",
            "1",
            "--output",
            "json",
        ]);
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        let side = &json["endpoints"][0]["ingress"];
        assert_eq!(
            (&json["decision"], &side["basis"]),
            (&"unknown".into(), &"unknown".into()),
            "{name}: {json}"
        );
        assert_eq!(json["unread"].as_object().unwrap().len(), 1, "{name}: {json}");
    }
}

#[test]
fn what_may_only_not_have_been_read_is_not_called_absent() {
    let scene = Scene::new();
    scene.server.forbid("pods", "*");
    refused(
        "pods",
        &scene.explain("shop/web", "198.51.100.7"),
        &["the address of shop/web cannot be told: Pod could not be read: 403 Forbidden: pods is forbidden"],
    );
    let scene = Scene::new();
    scene.server.forbid("services", "*");
    refused(
        "services",
        &scene.explain("shop/web", "svc/shop/db"),
        &["the address of service shop/db cannot be told: Service could not be read"],
    );
    let scene = Scene::new();
    scene.server.forbid("endpointslices", "*");
    refused(
        "slices",
        &scene.explain("shop/web", "svc/shop/db"),
        &["who is behind service shop/db cannot be told: EndpointSlice could not be read"],
    );
    // Who is not known may be somebody who was not read.
    let scene = Scene::new();
    scene.server.forbid("nodes", "*");
    let said = scene.explain("shop/web", "198.51.100.7");
    holds("nodes", &said.stdout, &["to 198.51.100.7 (not known)"]);
    holds(
        "nodes",
        &said.stderr,
        &["flowlog: Node could not be read: 403 Forbidden: nodes is forbidden: User"],
    );
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let scene = Scene::new();
    scene.server.fault(of("pods"), Fault::Busy(1), 1);
    scene.server.fault(of("networkpolicies"), Fault::Status(503, "down"), 1);
    scene.server.fault(of("services"), Fault::CutAfter(1), 1);
    let said = scene.explain("batch/job", "svc/shop/db");
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    assert!(said.stdout.starts_with("DENY"), "{said:?}");
}

#[test]
fn an_object_that_cannot_be_read_is_told_and_what_it_may_decide_is_unknown() {
    let scene = Scene::new();
    scene.server.apply(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "odd"}, "spec": {"podSelector": {"matchLabels": {"app": "db"}},
        "ingress": [{"from": [{"ipBlock": {"cidr": "nonsense"}}]}]}}));
    let said = scene.explain("batch/job", "shop/db");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("UNKNOWN"), "{said:?}");
    holds(
        "told",
        &said.stderr,
        &["flowlog: not understood: API server, NetworkPolicy shop/odd, spec.ingress"],
    );
}

#[test]
fn a_server_that_tells_nothing_is_refused_with_its_reason() {
    let scene = Scene::new();
    scene.server.want_token("right");
    refused(
        "401",
        &scene.explain("shop/web", "shop/db"),
        &[&format!("nothing can be read from the API server at {}/: 401 Unauthorized", scene.server.url())],
    );
    let mut scene = Scene::new();
    scene.server.go_away();
    let gone = scene.explain("shop/web", "shop/db");
    refused(
        "gone",
        &gone,
        &["nothing can be read from the API server at http://127.0.0.1:", "Connection refused"],
    );
    assert_eq!(gone.stderr.matches("Connection refused").count(), 1, "one cause is told once: {gone:?}");
}

#[test]
fn kubeconfigs_that_lead_nowhere_are_refused() {
    let scene = Scene::new();
    let explain = |args: &[&str]| {
        let rest = ["--from", "shop/web", "--to", "shop/db", "--port", "1"];
        let home = format!("HOME={}", scene.place.path().display());
        scene.place.under(&["env", &home], &[&["policy", "explain"], args, &rest].concat())
    };
    let rows: [(&str, &[&str], &[&str]); 5] = [
        (
            "no cluster at all",
            &[],
            &["no cluster: give a folder with its objects (--manifests DIR), or --live"],
        ),
        (
            "no such file",
            &["--kubeconfig", "nowhere"],
            &["the kubeconfig nowhere cannot be used: ", "No such file"],
        ),
        (
            "no such context",
            &["--kubeconfig", "kubeconfig", "--context", "prod"],
            &["the kubeconfig kubeconfig cannot be used: ", "prod"],
        ),
        ("none where kubectl looks", &["--live"], &["there is no kubeconfig: ", ".kube/config is not there"]),
        ("both", &["--live", "--manifests", "x"], &["cannot be used with"]),
    ];
    for (name, args, parts) in rows {
        refused(name, &explain(args), parts);
    }
}

#[test]
fn kubectl_s_own_defaults_are_taken() {
    let scene = Scene::new();
    let asked = [
        "policy",
        "explain",
        "--live",
        "--from",
        "web",
        "--to",
        "svc/db",
        "--port",
        "5432",
        "--namespace",
        "shop",
    ];
    let allowed = "ALLOW: pod shop/web (10.1.0.1) to service shop/db";
    // Files of the list that are not there are passed over.
    let said = scene.place.under(&["env", "KUBECONFIG=nowhere:kubeconfig"], &asked);
    assert!(said.stdout.starts_with(allowed), "{said:?}");
    // The home's.
    std::fs::create_dir(scene.here(".kube")).unwrap();
    std::fs::rename(scene.here("kubeconfig"), scene.here(".kube/config")).unwrap();
    let home = format!("HOME={}", scene.place.path().display());
    let said = scene.place.under(&["env", &home], &asked);
    assert!(said.stdout.starts_with(allowed), "{said:?}");
    // A name without a namespace is of the context's.
    let text = std::fs::read_to_string(scene.here(".kube/config")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["contexts"][0]["context"]["namespace"] = "shop".into();
    scene.place.write(".kube/config", &config.to_string());
    let said = scene.place.under(&["env", &home], &asked[..9]);
    assert!(said.stdout.starts_with(allowed), "{said:?}");
    // A program makes the credentials.
    scene.server.want_token("made");
    let made = r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "made"}}"#;
    config["users"][0]["user"] = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "echo",
        "args": [made], "interactiveMode": "Never"}});
    scene.place.write(".kube/config", &config.to_string());
    let said = scene.place.under(&["env", &home], &asked);
    assert!(said.stdout.starts_with(allowed), "{said:?}");
    // The agent starts none.
    let said = scene.flowlog(&["check", "--kubeconfig", ".kube/config", "--output", "json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    holds(
        "check",
        row(&report, "api_server")["found"].as_str().unwrap(),
        &["made by a program (echo), which flowlog does not start"],
    );
}

/// Whoever is impersonated is asked for, and nobody else.
#[test]
fn a_kubeconfig_s_impersonation_goes_with_every_request() {
    let scene = Scene::new();
    scene.server.kubeconfig(scene.place.path(), &json!({"as": "jane", "as-groups": ["dev", "ops"]})).unwrap();
    let said = scene.explain("batch/job", "shop/db");
    assert_eq!(said.code, Some(0), "{said:?}");
    let requests = scene.server.requests();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|request| request.impersonates == ["jane", "dev", "ops"]), "{requests:#?}");
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = ["cluster", "pod", "host"].into_iter().filter_map(|part| report[part].as_array()).flatten();
    rows.into_iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is not in {report:#}"))
}

/// What the cluster part comes to, whatever this host is like.
fn worst(report: &Value) -> u8 {
    let rows = report["cluster"].as_array().unwrap().iter();
    let weight = |row: &Value| match row["state"].as_str().unwrap() {
        "ok" => 0,
        "missing" if row["needed"] == true => 2,
        _ => 1,
    };
    rows.map(weight).max().unwrap()
}

const KINDS: [&str; 11] = [
    "namespaces",
    "nodes",
    "pods",
    "services",
    "endpointslices",
    "servicecidrs",
    "jobs",
    "networkpolicies",
    "adminnetworkpolicies",
    "baselineadminnetworkpolicies",
    "clusternetworkpolicies",
];

fn check(scene: &Scene) -> (Said, Value) {
    let said = scene.flowlog(&["check", "--kubeconfig", "kubeconfig", "--node", "n1", "--output", "json"]);
    let report = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said, report)
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

#[test]
fn a_cluster_that_can_be_followed_is_checked_row_by_row() {
    let scene = Scene::new();
    scene.server.apply(node("n1", &boot_id()));
    scene.server.serve("clusternetworkpolicies", true);
    let (said, report) = check(&scene);
    assert_eq!(worst(&report), 0, "{report:#}");
    assert_eq!(said.stderr, "");
    let names: Vec<_> =
        report["cluster"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, [&["api_server", "account"], &KINDS[..], &["node"]].concat());
    let found = |name: &str| row(&report, name)["found"].as_str().unwrap().to_owned();
    assert_eq!(found("api_server"), format!("{}/ answers, Kubernetes v1.34.1", scene.server.url()));
    assert_eq!(found("account"), "system:serviceaccount:flowlog:flowlog");
    assert_eq!(found("clusternetworkpolicies"), "policy.networking.k8s.io/v1alpha2");
    assert!(found(ANP).contains("v1alpha1 is not served here"), "{report:#}");
    assert_eq!(found("node"), "n1");
    assert!(
        report["host"].is_array() && report["hooks"].is_array(),
        "the host is looked at, too: {report:#}"
    );
    for name in ["pid_namespace", "network", "pod_cgroups"] {
        row(&report, name);
    }
    assert!(report["missing_rights"].is_null(), "{report:#}");
    // One object of each kind, and the beginning of each watch.
    let requests = scene.server.requests();
    let lists = requests.iter().filter(|request| request.verb == "list" && request.status == 200);
    assert!(lists.clone().all(|request| request.query["limit"] == "1"), "{requests:#?}");
    let text = scene.flowlog(&["check", "--kubeconfig", "kubeconfig", "--node", "n1"]).stdout;
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
    for name in KINDS {
        assert!(text.lines().any(|line| line.split_whitespace().nth(1) == Some(name)), "{name}:\n{text}");
    }
}

#[test]
fn rights_that_are_missing_are_named_as_rules() {
    let scene = Scene::new();
    scene.server.apply(node("n1", &boot_id()));
    scene.server.forbid("pods", "*");
    scene.server.forbid("networkpolicies", "watch");
    scene.server.forbid("jobs", "list");
    // It is not served, which whoever has no right to it is not told.
    scene.server.forbid(ANP, "*");
    let (said, report) = check(&scene);
    assert_eq!((said.code, worst(&report)), (Some(2), 2), "{report:#}");
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    let missing = json!([
        rule("", "pods", &["list", "watch"]),
        rule("batch", "jobs", &["list"]),
        rule("networking.k8s.io", "networkpolicies", &["watch"]),
        rule("policy.networking.k8s.io", ANP, &["list", "watch"]),
    ]);
    assert_eq!(report["missing_rights"], missing, "{report:#}");
    assert_eq!(row(&report, "jobs")["needed"], false);
    let found = row(&report, ANP)["found"].as_str().unwrap();
    assert!(
        found.contains(
            "is not served here; no right to list and watch: 403 Forbidden: adminnetworkpolicies.policy"
        ),
        "{found}"
    );
    let text = scene.flowlog(&["check", "--kubeconfig", "kubeconfig", "--node", "n1"]).stdout;
    let rules = "\nRights that are missing, as rules of a ClusterRole:\n  - apiGroups: [\"\"]\n    resources:\n      - pods\n    verbs: [list, watch]\n";
    assert!(text.contains(rules), "{text}");
    holds("summary", &text, &["flowlog cannot do its work here: mend what is missing above."]);
    // Jobs alone are not needed.
    let scene = Scene::new();
    scene.server.apply(node("n1", &boot_id()));
    scene.server.forbid("jobs", "*");
    assert_eq!(worst(&check(&scene).1), 1);
}

#[test]
fn a_server_or_account_or_node_that_is_none_is_told() {
    let mut scene = Scene::new();
    scene.server.go_away();
    let (said, report) = check(&scene);
    assert_eq!((said.code, worst(&report)), (Some(2), 2), "{report:#}");
    let found = row(&report, "api_server")["found"].as_str().unwrap().to_owned();
    assert!(found.contains("does not answer: ") && found.contains("Connection refused"), "{found}");

    let scene = Scene::new();
    scene.server.want_token("right");
    let (said, report) = check(&scene);
    assert_eq!((said.code, &row(&report, "api_server")["state"]), (Some(2), &"ok".into()), "{report:#}");
    assert_eq!(row(&report, "account")["found"], "the credentials are not accepted: 401 Unauthorized");
    assert_eq!(report["cluster"].as_array().unwrap().len(), 2, "nothing else was asked: {report:#}");

    let scene = Scene::new();
    let of_other_boot = &row(&check(&scene).1, "node")["found"].clone();
    holds("boot", of_other_boot.as_str().unwrap(), &["n1 is another machine, or has just been started"]);
    let said = scene.flowlog(&["check", "--kubeconfig", "kubeconfig", "--node", "n2", "--output", "json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, &row(&report, "node")["found"]), (Some(2), &"there is no node n2".into()));

    let scene = Scene::new();
    scene.server.serve_too(ANP, "v1beta1");
    let (_, report) = check(&scene);
    assert_eq!(
        (worst(&report), &row(&report, ANP)["found"]),
        (2, &"served as v1beta1, and v1alpha1 alone is read".into())
    );

    let said =
        scene.flowlog(&["check", "--kubeconfig", "kubeconfig", "--context", "prod", "--output", "json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    holds(
        "context",
        row(&report, "api_server")["found"].as_str().unwrap(),
        &["the kubeconfig kubeconfig cannot be used", "prod"],
    );
    assert_eq!(said.code, Some(2));

    // This is no pod.
    let said = scene.flowlog(&["check", "--in-cluster", "--output", "json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    holds(
        "pod",
        row(&report, "api_server")["found"].as_str().unwrap(),
        &["this is no pod with a service account's token"],
    );
    assert_eq!(said.code, Some(2));
}

#[test]
fn the_account_of_the_agent_can_be_asked_for_by_another() {
    let scene = Scene::new();
    let said = scene.plugin(&["KUBECONFIG=kubeconfig"], &["check", "--as", "system:serviceaccount:x:y"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    holds(
        "account",
        &said.stdout,
        &["ok account system:serviceaccount:x:y", "flowlog can follow this cluster."],
    );
    assert!(!said.stdout.contains("Hooks"), "a workstation's kernel is not looked at: {}", said.stdout);
    assert!(!said.stdout.contains("node "), "nor is there a node, unless one is named: {}", said.stdout);
    let requests = scene.server.requests();
    assert!(
        requests.iter().all(|request| request.impersonates == ["system:serviceaccount:x:y"]),
        "{requests:#?}"
    );
    let said = scene.plugin(&["KUBECONFIG=kubeconfig"], &["check", "--node", "n1"]);
    holds("node", &said.stdout, &["ok node n1"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn as_a_plugin_it_speaks_as_kubectl_s_users_call_it() {
    let scene = Scene::new();
    let said = scene.plugin(
        &["KUBECONFIG=kubeconfig"],
        &["policy", "explain", "-n", "shop", "--from", "web", "--to", "svc/db", "--port", "5432"],
    );
    assert!(said.stdout.starts_with("ALLOW: pod shop/web (10.1.0.1) to service shop/db"), "{said:?}");
    let help = scene.plugin(&[], &["--help"]).stdout;
    assert!(help.contains("Usage: kubectl flowlog <COMMAND>"), "{help}");
    assert!(!help.contains("  run ") && !help.contains("  detach "), "{help}");
    let help = scene.plugin(&[], &["policy", "explain", "--help"]).stdout;
    assert!(help.contains("Usage: kubectl flowlog policy explain"), "{help}");
    assert!(
        help.contains("\n  kubectl flowlog policy explain --live") && !help.contains("\n  flowlog"),
        "{help}"
    );
    let help = scene.plugin(&[], &["check", "--help"]).stdout;
    assert!(
        !help.contains("--pin") && !help.contains("--in-cluster") && help.contains("--context"),
        "{help}"
    );
    for (command, part) in [("run", "kubectl apply -k deploy/kustomize/base"), ("detach", "overlays/detach")]
    {
        let said = scene.plugin(&[], &[command, "--node", "n1"]);
        refused(command, &said, &[&format!("`kubectl flowlog {command}` does not run from here"), part]);
    }
    let said = scene
        .plugin(&["HOME=/nowhere"], &["policy", "explain", "--from", "a/b", "--to", "a/c", "--port", "1"]);
    refused("no kubeconfig", &said, &["there is no kubeconfig"]);
}

#[test]
fn a_user_is_known_by_his_certificate_and_the_server_by_its_authority() {
    let authority = Authority::new().unwrap();
    let scene = Scene::at(ApiServer::start_tls(&authority).unwrap(), &cluster());
    scene.server.want_token("nobody has it");
    let user = |name: &str| json!({"client-certificate": format!("{name}.crt"), "client-key": format!("{name}.key")});
    authority.write_user(scene.place.path(), "jane").unwrap();
    scene.server.kubeconfig(scene.place.path(), &user("jane")).unwrap();
    let said = scene.explain("batch/job", "shop/db");
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    assert!(said.stdout.starts_with("DENY"), "{said:?}");
    assert_eq!(row(&check(&scene).1, "account")["found"], "jane");
    // He is another's.
    let other = Authority::new().unwrap();
    other.write_user(scene.place.path(), "john").unwrap();
    scene.server.kubeconfig(scene.place.path(), &user("john")).unwrap();
    refused("john", &scene.explain("batch/job", "shop/db"), &["401 Unauthorized"]);
    // So is the server.
    std::fs::write(scene.here("ca.crt"), &other.pem).unwrap();
    refused("server", &scene.explain("batch/job", "shop/db"), &["invalid peer certificate: "]);
    let (said, report) = check(&scene);
    let server = row(&report, "api_server");
    assert_eq!((said.code, &server["state"]), (Some(2), &"missing".into()), "{report:#}");
    holds("remedy", server["remedy"].as_str().unwrap(), &["certificate-authority"]);
}

/// A service account as the kubelet mounts it, and the API server's address as it tells pods.
const IN_A_POD: &str = "mount -t tmpfs none /var/run && mkdir -p /var/run/secrets/kubernetes.io && \
    ln -s \"$1\" /var/run/secrets/kubernetes.io/serviceaccount && shift && exec env \"$@\"";

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn in_a_pod_its_service_account_is_the_way_to_the_cluster() {
    let authority = Authority::new().unwrap();
    let scene = Scene::at(ApiServer::start_tls(&authority).unwrap(), &cluster());
    scene.server.apply(node("n1", &boot_id()));
    scene.server.want_token("the pod's");
    for (file, text) in [("ca.crt", &*authority.pem), ("token", "the pod's"), ("namespace", "shop")] {
        scene.place.write(&format!("account/..1/{file}"), text);
        std::os::unix::fs::symlink(format!("..data/{file}"), scene.here(&format!("account/{file}"))).unwrap();
    }
    std::os::unix::fs::symlink("..1", scene.here("account/..data")).unwrap();
    let (account, port) = (scene.here("account"), scene.server.address().port());
    let port = format!("KUBERNETES_SERVICE_PORT={port}");
    let inside = |args: &[&str]| {
        let pod = ["unshare", "--mount", "sh", "-c", IN_A_POD, "sh", account.to_str().unwrap()];
        let told = ["HOME=/nowhere", "KUBERNETES_SERVICE_HOST=127.0.0.1", &port, "FLOWLOG_NODE=n1"];
        scene.place.under(&[&pod[..], &told].concat(), args)
    };
    let said = inside(&["check", "--in-cluster", "--outputs", "flows.json", "--output", "json"]);
    let report: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(worst(&report), 0, "{report:#}");
    let found = |name: &str| row(&report, name)["found"].as_str().unwrap().to_owned();
    assert_eq!(found("api_server"), format!("{}/ answers, Kubernetes v1.34.1", scene.server.url()));
    assert_eq!(found("account"), "system:serviceaccount:flowlog:flowlog");
    assert_eq!(found("node"), "n1");
    let output = &report["outputs"][0];
    let states: Vec<&Value> = output["rows"].as_array().unwrap().iter().map(|row| &row["state"]).collect();
    assert_eq!(
        (output["output"].as_str(), &*states),
        (Some("flows.json"), &[&json!("ok"); 4][..]),
        "{output:#}"
    );
    let said = inside(&["policy", "explain", "--live", "--from", "web", "--to", "svc/db", "--port", "5432"]);
    assert!(said.stdout.starts_with("ALLOW: pod shop/web (10.1.0.1) to service shop/db"), "{said:?}");
}

/// By what owns a pod, too; what could not be read is said, where it takes part.
#[test]
fn vendors_of_the_live_cluster_are_told() {
    let mut owned = pod("shop", "db-1", "10.1.0.7");
    owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "db",
        "uid": "c", "controller": true}]);
    owned["spec"]["containers"][0]["image"] = "registry.example.com/postgres:17".into();
    let scene = Scene::of(&[namespace("shop"), owned]);
    let args = ["vendors", "--kubeconfig", "kubeconfig"];
    let told = "EDB (third party, database): 1 workload, 1 container\n  shop/Cluster/db app  registry.example.com/postgres:17\n    \
        owner's group postgresql.cnpg.io matches postgresql.cnpg.io (medium)\n";
    let said = scene.flowlog(&args);
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), told, ""));
    scene.server.forbid("networkpolicies", "*");
    scene.server.forbid("namespaces", "*");
    let said = scene.flowlog(&args);
    assert_eq!((said.code, &*said.stdout), (Some(0), told), "{said:?}");
    assert!(
        said.stderr.starts_with("flowlog: Namespace could not be read: 403 Forbidden"),
        "{}",
        said.stderr
    );
    assert!(!said.stderr.contains("NetworkPolicy"), "{}", said.stderr);
    scene.server.forbid("pods", "*");
    let said = scene.flowlog(&args);
    assert_eq!((said.code, &*said.stdout), (Some(2), ""));
    assert!(said.stderr.contains("Pod could not be read: 403 Forbidden"), "{}", said.stderr);
}
