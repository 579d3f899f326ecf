//! `flowlog assess` of a cluster that is asked at its API server: pods, policies, and what the operator that scans there found.

use crate::bin::{Place, Said};
use flowlog_tests::apiserver::{ApiServer, Fault, Which, of};
use serde_json::{Value, json};

const VULNERABILITIES: &str = "vulnerabilityreports";
const BILLS: &str = "sbomreports";
const GRAFANA: &str = "grafana/grafana:11.1.0";

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The pod of a workload, as its controller makes it.
fn pod(namespace: &str, kind: &str, name: &str, image: &str, port: u16, ip: &str) -> Value {
    let (kind, owner) = match kind {
        "Deployment" => ("ReplicaSet", format!("{name}-5d")),
        kind => (kind, name.to_owned()),
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": format!("{name}-0"), "labels": {"app": name, "pod-template-hash": "5d"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "u", "controller": true}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": image, "ports": [{"containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

/// A dashboard of a vendor's that the policies let to the database, and something of one's own.
fn cluster() -> Vec<Value> {
    vec![
        namespace("monitoring"),
        namespace("shop"),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.1.0.0/24"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": "db"},
            "spec": {"podSelector": {"matchLabels": {"app": "db"}},
                "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 5432}]}]}}),
        pod("monitoring", "Deployment", "grafana", GRAFANA, 3000, "10.1.0.5"),
        pod("shop", "StatefulSet", "db", "postgres:16", 5432, "10.1.0.6"),
        pod("shop", "Deployment", "api", "registry.example.com/own/api:1", 8080, "10.1.0.7"),
    ]
}

/// As the operator writes it: of a container, by repository and tag.
fn report(kind: &str, name: &str, repository: &str, tag: &str, more: &Value) -> Value {
    let mut report = json!({
        "apiVersion": "aquasecurity.github.io/v1alpha1", "kind": kind,
        "metadata": {"namespace": "monitoring", "name": name, "labels": {
            "trivy-operator.resource.kind": "ReplicaSet", "trivy-operator.resource.name": name,
            "trivy-operator.resource.namespace": "monitoring", "trivy-operator.container.name": "main"}},
        "report": {
            "registry": {"server": "index.docker.io"}, "artifact": {"repository": repository, "tag": tag},
            "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "0.65.0"},
        },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        report["report"][key] = value.clone();
    }
    report
}

fn vulnerable() -> Value {
    let found = json!([
        {"vulnerabilityID": "CVE-2026-0001", "severity": "CRITICAL", "fixedVersion": "1.2.3", "resource": "openssl"},
        {"vulnerabilityID": "CVE-2026-0002", "severity": "HIGH", "fixedVersion": "", "resource": "zlib"},
        {"vulnerabilityID": "CVE-2026-0003", "severity": "LOW", "fixedVersion": "", "resource": "zlib"},
    ]);
    report(
        "VulnerabilityReport",
        "replicaset-grafana-5d-main",
        "grafana/grafana",
        "11.1.0",
        &json!({"vulnerabilities": found}),
    )
}

/// Of something that runs no more.
fn other(number: usize) -> Value {
    report(
        "VulnerabilityReport",
        &format!("replicaset-old-{number}-main"),
        "library/old",
        &number.to_string(),
        &json!({"vulnerabilities": []}),
    )
}

fn bill() -> Value {
    let parts = json!({"bomFormat": "CycloneDX", "components": [{"name": "libc6", "version": "2.41"}]});
    report("SbomReport", "statefulset-db-main", "library/postgres", "16", &json!({"components": parts}))
}

/// What was seen: the dashboard at the database; it again where no policy lets it.
fn flows() -> String {
    let end = |namespace: &str, kind: &str, name: &str, image: &str, port: u16| {
        json!({"kind": "pod", "port": port, "namespace": namespace, "pod": format!("{name}-0"),
            "workload": {"kind": kind, "name": name}, "container": "main", "image": image})
    };
    let line = |seq: u64, port: u16, decision: &str, class: &str| {
        let side = json!({"decision": decision, "basis": "policy", "tier": "default"});
        let line = json!({
            "v": 1, "seq": seq, "kind": "flow", "time": "2026-11-30T08:00:00Z", "node": "n1", "run": "r",
            "flow": {"id": format!("{seq:032x}"), "direction": "egress", "protocol": "tcp", "family": "ipv4", "count": 1,
                "first": "2026-11-30T08:00:00Z", "last": "2026-11-30T08:00:00Z"},
            "source": end("monitoring", "Deployment", "grafana", GRAFANA, 40_000),
            "destination": end("shop", "StatefulSet", "db", "postgres:16", port),
            "verdict": {"decision": decision, "egress": side, "ingress": side, "snapshot": 1, "as_of": "2026-11-30T07:00:00Z"},
            "outcome": {"state": "established", "evidence": ["handshake"]}, "class": class, "severity": "low",
        });
        format!("{line}\n")
    };
    [line(1, 5432, "allow", "allowed"), line(2, 9187, "deny", "policy_not_enforced")].concat()
}

/// A server with that cluster, a kubeconfig that leads to it, and a log.
struct Scene {
    server: ApiServer,
    place: Place,
}

impl Scene {
    /// The operator's kinds are there, and these reports.
    fn scanned(reports: &[Value]) -> Self {
        let scene = Self::new();
        [VULNERABILITIES, BILLS].into_iter().for_each(|plural| scene.server.serve(plural, true));
        reports.iter().for_each(|report| scene.server.apply(report.clone()));
        scene
    }

    fn new() -> Self {
        let (server, place) = (ApiServer::start().unwrap(), Place::new());
        cluster().into_iter().for_each(|object| server.apply(object));
        server.kubeconfig(place.path(), &json!({})).unwrap();
        place.write("flows.json", &flows());
        place.write("own.yaml", "first_party: {images: [registry.example.com/own/]}\n");
        Self { server, place }
    }

    fn assess(&self, more: &[&str]) -> Said {
        let args = ["assess", "--kubeconfig", "kubeconfig", "--logs", "flows.json", "--vendors", "own.yaml"];
        self.place.flowlog(&[&args[..], &["--output", "json"], more].concat())
    }

    /// What it says, and that it could be made.
    #[track_caller]
    fn assessed(&self, more: &[&str]) -> Value {
        let said = self.assess(more);
        assert!(matches!(said.code, Some(0 | 1)), "{said:?}");
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// How often a kind was asked for, page by page.
    fn pages(&self, plural: &str) -> Vec<(bool, String)> {
        let requests = self.server.requests().into_iter().filter(|request| request.plural == plural);
        requests
            .map(|request| {
                (
                    request.query.contains_key("continue"),
                    request.query.get("limit").cloned().unwrap_or_default(),
                )
            })
            .collect()
    }
}

/// Findings of these kinds, with severity and whom they are about.
fn found(assessment: &Value, ids: &[&str]) -> Vec<String> {
    let all = assessment["findings"].as_array().unwrap().iter();
    let mut told: Vec<String> = all
        .filter(|one| ids.contains(&one["id"].as_str().unwrap()))
        .map(|one| {
            let subject = &one["subject"];
            let name = subject["image"].as_str().or_else(|| subject["place"]["name"].as_str());
            format!(
                "{} {} {}",
                one["id"].as_str().unwrap(),
                one["severity"].as_str().unwrap(),
                name.unwrap_or("?")
            )
        })
        .collect();
    told.sort();
    told
}

/// What could not be told of these kinds.
fn limits(assessment: &Value, id: &str) -> Vec<String> {
    let all = assessment["limits"].as_array().into_iter().flatten();
    let about = all.filter(|one| one["ids"].as_array().is_some_and(|ids| ids.contains(&id.into())));
    about.map(|one| one["what"].as_str().unwrap().to_owned()).collect()
}

fn problems(assessment: &Value) -> Vec<String> {
    let all = assessment["inputs"]["problems"].as_array().into_iter().flatten();
    all.map(|one| format!("{}: {}", one["file"].as_str().unwrap(), one["what"].as_str().unwrap())).collect()
}

const OF_SCANS: &[&str] = &["FL403", "FL404"];

#[test]
fn the_live_cluster_is_assessed_with_what_its_scanner_found() {
    let scene = Scene::scanned(&[vulnerable(), other(1), bill()]);
    let assessment = scene.assessed(&[]);
    assert_eq!(problems(&assessment), Vec::<String>::new());
    // Whose a finding is: of records, of policies, of reports.
    assert_eq!(
        found(&assessment, &["FL101", "FL201", "FL203", "FL403", "FL404"]),
        [
            "FL101 critical grafana",
            "FL201 high grafana",
            "FL201 medium grafana",
            "FL203 medium db",
            "FL203 medium grafana",
            "FL403 critical grafana/grafana:11.1.0",
        ],
        "{assessment:#}"
    );
    let all = assessment["findings"].as_array().unwrap();
    let weak = all.iter().find(|one| one["id"] == "FL403").unwrap();
    assert!(
        weak["summary"]
            .as_str()
            .unwrap()
            .contains("1 critical and 1 high known vulnerabilities; 1 have a fix"),
        "{weak:#}"
    );
    assert!(
        weak["evidence"].to_string().contains("VulnerabilityReport monitoring/replicaset-grafana-5d-main"),
        "{weak:#}"
    );
    assert!(weak["evidence"].to_string().contains("CVE-2026-0001"), "{weak:#}");
    let read = json!([
        {"from": "live", "format": "vulnerability_report", "images": 2},
        {"from": "live", "format": "sbom_report", "images": 1},
    ]);
    assert_eq!(assessment["inputs"]["scans"], read);
    assert_eq!(assessment["inputs"]["objects"]["from"], "live");
    assert_eq!(assessment["inputs"]["objects"]["workloads"], 3);
    assert_eq!(limits(&assessment, "FL403"), Vec::<String>::new());
    let requests = scene.server.requests();
    assert!(
        requests.iter().all(|request| request.verb != "watch" && request.verb != "create"),
        "{requests:#?}"
    );
}

#[test]
fn a_cluster_without_the_operator_is_assessed_without_and_that_is_said() {
    let scene = Scene::new();
    // A read-only user has no right to what is not there.
    for forbidden in [false, true] {
        if forbidden {
            scene.server.forbid(VULNERABILITIES, "*");
            scene.server.forbid(BILLS, "*");
        }
        let said = scene.assess(&["--strict", "--fail-on", "never"]);
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{forbidden}: {said:?}");
        let assessment: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(problems(&assessment), Vec::<String>::new(), "{forbidden}");
        assert_eq!(found(&assessment, OF_SCANS), Vec::<String>::new(), "{forbidden}");
        for id in OF_SCANS {
            let told = limits(&assessment, id).join("; ");
            for part in [
                "not looked for: no scanner's reports were given",
                "the cluster does not have the Trivy operator's vulnerabilityreports and sbomreports",
            ] {
                assert!(told.contains(part), "{forbidden}: {part}: {told}");
            }
        }
    }
}

#[test]
fn an_operator_that_writes_no_bills_is_no_problem() {
    let scene = Scene::scanned(&[vulnerable()]);
    scene.server.serve(BILLS, false);
    let assessment = scene.assessed(&["--strict"]);
    assert_eq!(
        found(&assessment, OF_SCANS),
        ["FL403 critical grafana/grafana:11.1.0", "FL404 low postgres:16"]
    );
    let told = limits(&assessment, "FL404").join("; ");
    assert!(
        told.contains("does not have the Trivy operator's sbomreports (aquasecurity.github.io)"),
        "{told}"
    );
}

#[test]
fn reports_that_may_not_be_read_are_not_taken_for_none() {
    type Begin = fn(&ApiServer);
    let rows: [(&str, Begin, &str); 2] = [
        (
            "no right",
            |server| server.forbid(VULNERABILITIES, "*"),
            "vulnerabilityreports.aquasecurity.github.io is forbidden",
        ),
        (
            "a fault",
            |server| server.fault(of(VULNERABILITIES), Fault::Status(500, "etcd is away"), usize::MAX),
            "etcd is away",
        ),
    ];
    for (name, begin, why) in rows {
        let scene = Scene::scanned(&[vulnerable(), bill()]);
        let before = scene.assessed(&["--write-baseline", "baseline.json"]);
        assert_eq!(found(&before, &["FL403"]), ["FL403 critical grafana/grafana:11.1.0"], "{name}");
        begin(&scene.server);
        let assessment = scene.assessed(&["--baseline", "baseline.json"]);
        assert_eq!(found(&assessment, OF_SCANS), Vec::<String>::new(), "{name}");
        let told = problems(&assessment);
        assert!(
            matches!(&told[..], [one] if one.starts_with("live: vulnerabilityreports could not be read") && one.contains(why)),
            "{name}: {told:#?}"
        );
        let unknown =
            "what the cluster's scanner knows of images is not known: vulnerabilityreports could not be read";
        for id in OF_SCANS {
            let told = limits(&assessment, id);
            assert!(told.iter().any(|one| one.starts_with(unknown)), "{name}, {id}: {told:#?}");
        }
        // The bill was read: that no report tells of an image is another matter.
        assert!(
            limits(&assessment, "FL404").join("; ").contains("not all scanners' reports could be read"),
            "{name}"
        );
        assert_eq!(assessment["inputs"]["scans"].as_array().unwrap().len(), 1, "{name}");
        let gone = assessment["drift"]["gone"].to_string();
        assert!(!gone.contains("FL403"), "{name}: what was not looked for is not gone: {gone}");
        let strict = scene.assess(&["--strict"]);
        assert_eq!(strict.code, Some(2), "{name}: {strict:?}");
        assert!(
            strict.stderr.contains("vulnerabilityreports could not be read"),
            "{name}: {}",
            strict.stderr
        );
    }
}

/// A policy of nobody's, in words of its own.
fn idle() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": "idle"},
        "spec": {"podSelector": {"matchLabels": {"app": "bd"}}, "policyTypes": ["Ingress"]}})
}

#[test]
fn policies_of_a_cluster_are_looked_through_as_those_of_a_folder_are() {
    let scene = Scene::new();
    let lint = |more: &[&str]| {
        scene.place.flowlog(&[&["policy", "lint", "--kubeconfig", "kubeconfig"], more].concat())
    };
    let none = lint(&["--fail-on", "error"]);
    assert_eq!(none.code, Some(0), "{none:?}");
    scene.server.apply(idle());
    let said = lint(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let line = "networkpolicies: warning[selects-nothing] NetworkPolicy shop/idle: spec.podSelector:";
    assert!(said.stdout.contains(line), "{said:?}");
    assert!(said.stdout.contains("2 policies, 3 pods, 2 namespaces"), "{said:?}");
    let json: Value = serde_json::from_str(&lint(&["--output", "json"]).stdout).unwrap();
    let [placed] = &json["findings"].as_array().unwrap()[..] else { panic!("{json:#}") };
    assert_eq!(
        (&placed["file"], &placed["name"], &placed["line"], &placed["document"]),
        (&json!("networkpolicies"), &json!("idle"), &Value::Null, &Value::Null)
    );
    // A folder with policies in trial stands beside it, with its lines.
    scene.place.write("trial/in.yaml", &idle().to_string().replace("idle", "trial"));
    let said = lint(&["--trial-policies", "trial"]);
    assert!(
        said.stdout.contains("trial/in.yaml:1: warning[selects-nothing] NetworkPolicy shop/trial"),
        "{said:?}"
    );
    // What an assessment tells of it is what the checks say.
    let assessment = scene.assessed(&[]);
    let idle = assessment["findings"].as_array().unwrap().iter().filter(|one| one["id"] == "FL303");
    let summaries: Vec<&str> = idle.map(|one| one["summary"].as_str().unwrap()).collect();
    assert!(matches!(summaries[..], [one] if one.starts_with("NetworkPolicy shop/idle")), "{summaries:?}");
    assert_eq!(limits(&assessment, "FL303"), Vec::<String>::new());
    // A workload without pods counts by what it would make; where nobody may list them, that is said.
    scene.server.forbid("deployments", "*");
    let said = lint(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("deployments could not be read"), "{said:?}");
    let told = limits(&scene.assessed(&[]), "FL303");
    assert!(matches!(&told[..], [one] if one.starts_with("deployments could not be read")), "{told:?}");
    scene.server.forbid("pods", "*");
    let said = lint(&[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("read pods"), "{said:?}");
}

#[test]
fn reports_come_in_pages() {
    let many = (0..249).map(other).chain([vulnerable()]).collect::<Vec<_>>();
    let scene = Scene::scanned(&many);
    let assessment = scene.assessed(&[]);
    assert_eq!(assessment["inputs"]["scans"][0]["images"], 250);
    assert_eq!(found(&assessment, &["FL403"]), ["FL403 critical grafana/grafana:11.1.0"]);
    let page = |goes_on: bool| (goes_on, "100".to_owned());
    assert_eq!(scene.pages(VULNERABILITIES), [page(false), page(true), page(true)]);
    assert_eq!(scene.pages(BILLS), [page(false)]);
    // A server that has forgotten what the first page showed is asked for all at once, and none counts twice.
    let going_on = Which { going_on: Some(true), ..of(VULNERABILITIES) };
    scene.server.fault(going_on, Fault::Status(410, "Expired"), 1);
    let before = scene.pages(VULNERABILITIES).len();
    let assessment = scene.assessed(&[]);
    assert_eq!(assessment["inputs"]["scans"][0]["images"], 250);
    assert_eq!(problems(&assessment), Vec::<String>::new());
    let unlimited = (false, String::new());
    assert_eq!(scene.pages(VULNERABILITIES)[before..], [page(false), page(true), unlimited]);
    // A page that breaks off leaves no half of them.
    scene.server.fault(of(VULNERABILITIES), Fault::CutAfter(50), usize::MAX);
    let assessment = scene.assessed(&[]);
    assert_eq!(found(&assessment, OF_SCANS), Vec::<String>::new());
    assert_eq!(assessment["inputs"]["scans"].as_array().unwrap().len(), 1, "{assessment:#}");
    assert!(
        problems(&assessment).join("; ").contains("vulnerabilityreports could not be read"),
        "{assessment:#}"
    );
}
