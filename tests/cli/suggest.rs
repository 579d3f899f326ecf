//! `flowlog policy suggest` and `flowlog simulate`: real files in, policies and answers out, and their exit codes.

use crate::bin::{Place, Said, refused};
use serde_json::{Value, json};

const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: v1, kind: Namespace, metadata: {name: data}}
- {apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
- {apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.244.0.0/24]}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: shop, labels: {app: web, pod-template-hash: abc}}
  spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
  status: {podIP: 10.244.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {name: db, namespace: data, labels: {app: db}}
  spec: {nodeName: n1, containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
  status: {podIP: 10.244.0.2}
- apiVersion: v1
  kind: Pod
  metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
  spec: {nodeName: n1, containers: [{name: c, ports: [{name: dns, containerPort: 53, protocol: UDP}]}]}
  status: {podIP: 10.244.0.3}
- apiVersion: v1
  kind: Service
  metadata: {name: db, namespace: data}
  spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80, targetPort: 5432}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: db-1, namespace: data, labels: {kubernetes.io/service-name: db}}
  addressType: IPv4
  ports: [{port: 5432}]
  endpoints: [{addresses: [10.244.0.2], conditions: {ready: true}}]
";

const SHUT: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut, namespace: data}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "kind": "pod", "namespace": namespace, "pod": name, "labels": {"app": name},
        "namespace_labels": {"kubernetes.io/metadata.name": namespace},
    })
}

fn flow(seq: u64, source: &Value, destination: &Value, port: u16, more: &Value) -> String {
    let side = json!({"decision": "allow", "basis": "unselected"});
    let mut line = json!({
        "v": 1, "seq": seq, "kind": "flow", "time": "2026-11-30T08:00:00Z", "node": "n1", "run": "0123456789abcdef",
        "flow": {
            "id": format!("{seq:032x}"), "direction": "egress", "protocol": "tcp", "count": 3,
            "first": "2026-11-30T08:00:00Z", "last": "2026-11-30T08:01:00Z",
        },
        "source": source, "destination": destination,
        "verdict": {"decision": "allow", "egress": side, "ingress": side},
        "outcome": {"state": "established"}, "class": "unrestricted",
    });
    line["destination"]["port"] = port.into();
    for (key, value) in more.as_object().into_iter().flatten() {
        line[key] = value.clone();
    }
    format!("{line}\n")
}

/// A folder with a cluster and what was seen in it: web to db, by its service and without, and to an address outside.
fn place() -> Place {
    let place = Place::new();
    place.write("cluster/all.yaml", CLUSTER);
    let (web, db) = (pod("shop", "web"), pod("data", "db"));
    let service =
        json!({"kind": "service", "ip": "10.96.0.10", "service": {"namespace": "data", "name": "db"}});
    let lines = [
        flow(1, &web, &db, 5432, &json!({})),
        flow(2, &web, &service, 80, &json!({})),
        flow(3, &web, &json!({"kind": "external", "ip": "198.51.100.7"}), 443, &json!({})),
    ];
    place.write("flows.json", &lines.concat());
    place
}

fn suggest(place: &Place, args: &[&str]) -> Said {
    place.flowlog(&[&["policy", "suggest", "--logs", "flows.json"], args].concat())
}

#[test]
fn what_was_observed_becomes_policies_that_other_commands_read() {
    let place = place();
    let said = suggest(&place, &["--manifests", "cluster"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in [
        "  name: flowlog-web-pod\n  namespace: shop\n",
        "    matchLabels:\n      app: web\n",
        "    - port: sql\n",
        "        cidr: \"198.51.100.7/32\"\n",
        "          k8s-app: kube-dns\n",
        ", by service data/db\n",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    assert!(!said.stdout.contains("hash"), "{}", said.stdout);
    assert!(said.stderr.contains("2 policies for 2 observed connections"), "{}", said.stderr);
    assert!(
        said.stderr.contains("of 6 (workload, workload, port) that were allowed, 3 no longer are"),
        "{}",
        said.stderr
    );
    assert_eq!(suggest(&place, &["--manifests", "cluster"]).stdout, said.stdout, "the same each time");
    place.write("policies/all.yaml", &said.stdout);
    let lint = place.flowlog(&[
        "policy",
        "lint",
        "--manifests",
        "cluster",
        "--trial-policies",
        "policies",
        "--fail-on",
        "info",
    ]);
    assert_eq!(lint.code, Some(0), "{lint:?}");
    let simulated = place.flowlog(&[
        "simulate",
        "--logs",
        "flows.json",
        "--manifests",
        "cluster",
        "--policies",
        "policies",
    ]);
    assert_eq!(simulated.code, Some(0), "{simulated:?}");
    assert!(
        simulated.stdout.contains("0 would be denied, 0 allowed, 0 unknown; 3 stay allowed"),
        "{simulated:?}"
    );
}

#[test]
fn policies_are_written_as_json_or_into_files() {
    let place = place();
    let said = suggest(&place, &["--manifests", "cluster", "--output", "json"]);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    let names: Vec<&str> = told["policies"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["flowlog-db-pod", "flowlog-web-pod"], "{told}");
    assert_eq!(told["left_out"], json!([]));
    let said = suggest(&place, &["--manifests", "cluster", "--into", "out", "--workload", "Pod/web"]);
    assert_eq!((said.code, &*said.stdout), (Some(0), ""), "{said:?}");
    let files: Vec<_> =
        std::fs::read_dir(place.path().join("out")).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(files, ["shop.flowlog-web-pod.yaml"]);
}

#[test]
fn what_a_policy_cannot_say_is_told_and_is_an_exit_code() {
    let place = place();
    // Records alone do not tell what stands behind a service.
    let said = suggest(&place, &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("what stands behind service data/db is not known"), "{}", said.stderr);
    assert!(
        said.stdout.contains("      app: web\n") && said.stdout.contains("    - port: 5432\n"),
        "{}",
        said.stdout
    );
    let only = suggest(&place, &["--manifests", "cluster", "--namespace", "none"]);
    refused("nothing", &only, &["no record tells of a connection"]);
}

#[test]
fn what_suggest_cannot_take_is_refused() {
    let place = place();
    place.write("none.json", "");
    let rows: [(&str, &[&str], &[&str]); 6] = [
        ("no logs", &["policy", "suggest", "--manifests", "cluster"], &["--logs"]),
        (
            "nothing in them",
            &["policy", "suggest", "--logs", "none.json"],
            &["no record tells of a connection"],
        ),
        (
            "no cluster to merge with",
            &["policy", "suggest", "--logs", "flows.json", "--merge"],
            &["--merge needs", "--manifests"],
        ),
        ("no workload", &["policy", "suggest", "--logs", "flows.json", "--workload", "web"], &["KIND/NAME"]),
        (
            "no class",
            &["policy", "suggest", "--logs", "flows.json", "--include", "odd"],
            &["odd", "policy_not_enforced"],
        ),
        (
            "no manifests",
            &["policy", "suggest", "--logs", "flows.json", "--manifests", "nowhere"],
            &["nowhere"],
        ),
    ];
    for (name, args, parts) in rows {
        refused(name, &place.flowlog(args), parts);
    }
}

#[test]
fn classes_that_did_not_count_are_told_and_count_when_asked_for() {
    let place = place();
    let outside = json!({"kind": "external", "ip": "198.51.100.9"});
    let deny = json!({"class": "denied_attempt", "outcome": {"state": "dropped"}});
    place.write("denied.json", &flow(9, &pod("shop", "web"), &outside, 25, &deny));
    let args = ["policy", "suggest", "--logs", "flows.json", "denied.json", "--manifests", "cluster"];
    let said = place.flowlog(&args);
    assert!(said.stderr.contains("not counted: 3 attempts of class denied_attempt"), "{}", said.stderr);
    assert!(!said.stdout.contains("198.51.100.9"), "{}", said.stdout);
    let more = place.flowlog(&[&args[..], &["--include", "denied_attempt,policy_not_enforced"]].concat());
    assert!(more.stdout.contains("198.51.100.9"), "{}", more.stdout);
}

#[test]
fn existing_policies_are_named_or_not_repeated() {
    let place = place();
    place.write(
        "cluster/open.yaml",
        &SHUT.replace("[Ingress]", "[Ingress], ingress: [{}]").replace("shut", "open"),
    );
    let said = suggest(&place, &["--manifests", "cluster"]);
    assert!(said.stdout.contains("# Selected already by NetworkPolicy open"), "{}", said.stdout);
    let merged = suggest(&place, &["--manifests", "cluster", "--merge"]);
    let (of_db, _) = merged.stdout.split_once("---\n").unwrap();
    assert!(!of_db.contains("ingress") && of_db.contains("policyTypes: [Egress]"), "{of_db}");
}

fn simulate(place: &Place, args: &[&str]) -> Said {
    place.flowlog(&[&["simulate", "--logs", "flows.json"], args].concat())
}

#[test]
fn a_change_that_would_deny_what_was_observed_is_an_exit_code() {
    let place = place();
    place.write("new/shut.yaml", SHUT);
    let said = simulate(&place, &["--manifests", "cluster", "--policies", "new"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("would be denied: 2 observed connections"), "{}", said.stdout);
    assert!(said.stdout.contains("shop/Pod/web → data/Pod/db TCP/5432"), "{}", said.stdout);
    assert!(
        said.stdout.contains("allow before, deny after, at the listener, by NetworkPolicy data/shut"),
        "{}",
        said.stdout
    );
    let allowed = simulate(&place, &["--manifests", "cluster", "--policies", "new", "--fail-on", "allowed"]);
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    place.write("cluster/shut.yaml", SHUT);
    let removed = simulate(
        &place,
        &["--manifests", "cluster", "--remove", "netpol/data/shut", "--fail-on", "any", "--output", "json"],
    );
    assert_eq!(removed.code, Some(1), "{removed:?}");
    let told: Value = serde_json::from_str(&removed.stdout).unwrap();
    assert_eq!(told["changes"][0]["effect"], "allowed", "{told}");
    assert_eq!(told["changes"][0]["recorded"], json!(["allow"]), "{told}");
}

#[test]
fn records_alone_tell_what_would_change() {
    let place = place();
    place.write("new/shut.yaml", SHUT);
    let said = simulate(&place, &["--policies", "new"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("what is declared is taken from the records"), "{}", said.stdout);
    assert!(said.stdout.contains("what stands behind data/Service/db"), "{}", said.stdout);
}

#[test]
fn what_simulate_cannot_take_is_refused() {
    let place = place();
    place.write("new/shut.yaml", SHUT);
    place.write("odd/shut.yaml", &SHUT.replace("podSelector", "podSelectr"));
    place.write("other/pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\n");
    let rows: [(&str, &[&str], &[&str]); 6] = [
        ("no change", &["--manifests", "cluster"], &["--policies"]),
        ("a policy that cannot be read", &["--manifests", "cluster", "--policies", "odd"], &["podSelectr"]),
        ("no policy", &["--manifests", "cluster", "--policies", "other"], &["no policy is changed", "other"]),
        (
            "none to remove",
            &["--manifests", "cluster", "--remove", "netpol/data/none"],
            &["no NetworkPolicy data/none"],
        ),
        ("no kind", &["--manifests", "cluster", "--remove", "pod/data/none"], &["pod", "NetworkPolicy"]),
        (
            "both",
            &["--manifests", "cluster", "--policies", "new", "--remove", "netpol/data/shut"],
            &["NetworkPolicy data/shut would be removed"],
        ),
    ];
    for (name, args, parts) in rows {
        refused(name, &simulate(&place, args), parts);
    }
}

/// As a pull request has them: what makes pods, and no pods.
const TEMPLATES: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: v1, kind: Namespace, metadata: {name: data}}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: shop}
  spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: web}]}}}
- apiVersion: apps/v1
  kind: StatefulSet
  metadata: {name: db, namespace: data}
  spec: {template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: db, ports: [{name: sql, containerPort: 5432}]}]}}}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: idle, namespace: shop}
  spec: {template: {metadata: {labels: {app: idle}}, spec: {containers: [{name: c, image: idle, ports: [{containerPort: 9000}]}]}}}
";

fn owned(namespace: &str, kind: &str, name: &str) -> Value {
    let mut pod = pod(namespace, name);
    pod["pod"] = format!("{name}-5d-x").into();
    pod["workload"] = json!({"kind": kind, "name": name});
    pod
}

fn from_templates() -> Place {
    let place = Place::new();
    place.write("cluster/all.yaml", TEMPLATES);
    let (web, db) = (owned("shop", "Deployment", "web"), owned("data", "StatefulSet", "db"));
    place.write("flows.json", &flow(1, &web, &db, 5432, &json!({})));
    place
}

#[test]
fn workloads_without_pods_are_those_that_their_templates_would_make() {
    let place = from_templates();
    let said = suggest(&place, &["--manifests", "cluster"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("name: flowlog-db-statefulset"), "{}", said.stdout);
    assert!(said.stdout.contains("    - port: sql\n"), "the template names the port: {}", said.stdout);
    // At the ports of db and idle: web to db is what was observed, and nobody restricts idle to its like.
    assert!(
        said.stderr.contains("of 6 (workload, workload, port) that were allowed, 4 no longer are"),
        "{}",
        said.stderr
    );
    // Records alone do not tell which port has that name.
    let sql = SHUT.replace("[Ingress]", "[Ingress], ingress: [{ports: [{port: sql}]}]");
    place.write("new/sql.yaml", &sql);
    let simulated = simulate(&place, &["--manifests", "cluster", "--policies", "new", "--fail-on", "any"]);
    assert_eq!(simulated.code, Some(0), "{simulated:?}");
    place.write("new/sql.yaml", &sql.replace("sql", "other"));
    let simulated = simulate(&place, &["--manifests", "cluster", "--policies", "new"]);
    assert_eq!(simulated.code, Some(1), "{simulated:?}");
    assert!(
        simulated.stdout.contains("shop/Deployment/web → data/StatefulSet/db TCP/5432"),
        "{}",
        simulated.stdout
    );
    place.write("cluster/broken.yaml", &TEMPLATES.replace("5432", "0").replace("name: db", "name: broken"));
    refused(
        "a template that cannot be read",
        &suggest(&place, &["--manifests", "cluster"]),
        &["StatefulSet data/broken"],
    );
}

/// The same cluster, all of it one's own, and a third party in it; nobody may reach the database.
fn with_third_party() -> Place {
    let place = place();
    let own = CLUSTER.replace("[{name: c,", "[{name: c, image: 'registry.example.com/own/it:1',");
    place.write("cluster/all.yaml", &own);
    place.write("cluster/shut.yaml", SHUT);
    place.write(
        "cluster/grafana.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: grafana, namespace: ops, labels: {app: grafana}},\n \
         spec: {nodeName: n2, containers: [{name: c, image: 'grafana/grafana:11.1.0', ports: [{containerPort: 3000}]}]},\n \
         status: {podIP: 10.244.1.9}}",
    );
    place.write("own.yaml", "first_party: {images: [registry.example.com/own/]}\n");
    place.write("assess.yaml", "vendors: [own.yaml]\nsensitive: {namespaces: [data]}\n");
    place.write("new/open.yaml", &SHUT.replace("[Ingress]", "[Ingress], ingress: [{ports: [{port: sql}]}]"));
    place
}

fn simulate_new(place: &Place, more: &[&str]) -> Said {
    simulate(
        place,
        &[&["--manifests", "cluster", "--policies", "new", "--config", "assess.yaml"], more].concat(),
    )
}

/// Text without its line breaks.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_change_that_lets_a_third_party_reach_more_is_told_and_an_exit_code_where_asked_for() {
    let place = with_third_party();
    let rows: [(&[&str], i32); 5] = [
        (&[], 0),
        (&["--fail-on", "wider"], 1),
        (&["--fail-on", "denied,wider"], 1),
        (&["--fail-on", "denied"], 0),
        (&["--fail-on", "never"], 0),
    ];
    for (more, code) in rows {
        let said = simulate_new(&place, more);
        assert_eq!(said.code, Some(code), "{more:?}: {said:?}");
        let told = words(&said.stdout);
        for part in [
            "ops/Pod/grafana (Grafana Labs) could reach something else: newly open inside: data/Pod/db (sensitive: ",
            ": TCP/5432 (sql); allowed by NetworkPolicy data/shut, rule 0",
            "possible reach of third parties (1 workload): 1 could reach more (1 destination newly open), 0 less (0 destinations closed)",
        ] {
            assert!(told.contains(part), "{part}: {}", said.stdout);
        }
    }
    let said = simulate_new(&place, &["--output", "json"]);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    let schema: Value = serde_json::from_str(&place.flowlog(&["schema", "--simulation"]).stdout).unwrap();
    let errors: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&told)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{told:#}");
    let [moved] = &told["possible_reach"]["workloads"].as_array().unwrap()[..] else { panic!("{told:#}") };
    assert_eq!((&moved["vendor"], &moved["origin"]), (&"Grafana Labs".into(), &"third_party".into()));
    assert_eq!(moved["opened"][0]["destination"]["name"], "db", "{moved:#}");
    assert_eq!(moved["opened"][0]["ports"], json!([{"protocol": "tcp", "port": 5432, "name": "sql"}]));
    // Whose nobody says that they are counts as a third party's.
    let unsaid = simulate(&place, &["--manifests", "cluster", "--policies", "new"]);
    assert!(words(&unsaid.stdout).contains("shop/Pod/web (nobody knows whose) could reach"), "{unsaid:?}");
}

#[test]
fn what_is_closed_to_third_parties_outside_is_told_by_block() {
    let place = with_third_party();
    place.write("new/open.yaml", "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: ops}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24}}], ports: [{port: 443}]}]}
");
    let said = simulate_new(&place, &["--fail-on", "wider"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let told = words(&said.stdout);
    for part in [
        "closed inside: ",
        "closed outside: 0.0.0.0/0 (but for 198.51.100.0/24), 169.254.169.254 (cloud metadata): all TCP, all UDP; no policy restricts it before",
        "closed outside: 198.51.100.0/24: TCP/1-442, TCP/444-65535, all UDP; no policy restricts it before",
        "1 less (",
    ] {
        assert!(told.contains(part), "{part}: {}", said.stdout);
    }
    assert!(!told.contains("newly open outside"), "{}", said.stdout);
}

#[test]
fn records_alone_do_not_tell_how_far_third_parties_could_reach() {
    let place = with_third_party();
    let said = simulate(&place, &["--policies", "new", "--output", "json"]);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(told.get("possible_reach"), None, "{told}");
    let said = simulate(&place, &["--policies", "new"]);
    assert!(words(&said.stdout).contains("how far third parties could reach is not told"), "{said:?}");
    let wanted = simulate(&place, &["--policies", "new", "--fail-on", "wider"]);
    refused("wider", &wanted, &["--fail-on wider", "--manifests DIR"]);
    let odd = simulate(&place, &["--policies", "new", "--config", "missing.yaml"]);
    refused("no configuration", &odd, &["missing.yaml"]);
}
