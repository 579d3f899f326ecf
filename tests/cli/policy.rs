//! `flowlog policy`: what it answers, what it refuses, and what its screens say.

use crate::bin::Place;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;

fn case(id: &str) -> Value {
    json!({
        "id": id, "nodes": null, "namespaces": [{"metadata": {"name": "shop"}}],
        "pods": [{
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "status": {"podIP": "10.0.0.1"},
        }],
        "networkPolicies": [{
            "metadata": {"name": "shut", "namespace": "shop"},
            "spec": {"podSelector": {}, "ingress": []},
        }],
        "queries": [{"id": 3, "srcIP": "8.8.8.8", "dstIP": "10.0.0.1", "port": 80, "protocol": "TCP"}],
    })
}

#[test]
fn a_case_is_answered_on_one_line() {
    let place = Place::new();
    place.write("cases.jsonl", &format!("{}\n\n", case("one")));
    let said = place.flowlog(&["policy", "eval", "cases.jsonl"]);
    let right = "{\"case\":\"one\",\"results\":[{\"id\":3,\"ingress\":\"deny\",\"egress\":\"allow\",\"combined\":\"deny\"}]}\n";
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), right, ""));
}

#[test]
fn lines_that_cannot_be_read_are_told_with_line_and_field_and_the_others_are_answered() {
    let wrong = |change: fn(&mut Value)| {
        let mut case = case("wrong");
        change(&mut case);
        case.to_string()
    };
    let rows = [
        ("no JSON", "{\"id\": ".to_owned(), "EOF while parsing a value, column 6"),
        ("no case", "[1]".to_owned(), "line 2: "),
        (
            "an address that is none",
            wrong(|case| case["queries"][0]["srcIP"] = "10.0.0".into()),
            "queries[0].srcIP: ",
        ),
        ("a port that is none", wrong(|case| case["queries"][0]["port"] = 65536.into()), "queries[0].port: "),
        (
            "a protocol that is none",
            wrong(|case| case["queries"][0]["protocol"] = "tcp".into()),
            "queries[0].protocol: `tcp` is none of TCP, UDP, SCTP",
        ),
        ("pods that are no list", wrong(|case| case["pods"] = json!({})), "pods: "),
        ("something behind it", format!("{} x", case("wrong")), "trailing characters"),
        (
            "a key twice",
            case("wrong").to_string().replace("\"shut\"", "\"shut\",\"name\":\"x\""),
            "networkPolicies[0].metadata: key `name` stands twice",
        ),
    ];
    for (name, line, part) in rows {
        let place = Place::new();
        place.write("cases.jsonl", &format!("{}\n{line}\n{}\n", case("one"), case("three")));
        let said = place.flowlog(&["policy", "eval", "cases.jsonl"]);
        assert_eq!((said.code, said.stdout.lines().count()), (Some(2), 2), "{name}: {said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{name}: {said:?}");
        assert!(said.stderr.starts_with("flowlog: cases.jsonl, line 2: "), "{name}: {said:?}");
        assert!(said.stderr.contains(part), "{name}: {said:?}");
    }
}

/// A cluster of which a part is not known: what that could decide is unknown, and the answer says why.
#[test]
fn an_object_that_the_api_server_would_reject_is_told_with_the_answers() {
    type Row = (&'static str, fn(&mut Value), &'static str, &'static str);
    let rows: [Row; 4] = [
        (
            "a block that is none",
            |case| {
                case["networkPolicies"][0]["spec"]["ingress"] =
                    json!([{"from": [{"ipBlock": {"cidr": "8.8.8.8/33"}}]}]);
            },
            "unknown",
            "networkPolicies[0], NetworkPolicy shop/shut, spec.ingress[0].from[0].ipBlock.cidr: ",
        ),
        (
            "a policy of another pod's namespace",
            |case| {
                let mut other = case["networkPolicies"][0].clone();
                other["metadata"]["namespace"] = "other".into();
                other["spec"]["podSelectr"] = json!({});
                case["networkPolicies"].as_array_mut().unwrap().push(other);
            },
            "deny",
            "networkPolicies[1], NetworkPolicy other/shut, spec.podSelectr: ",
        ),
        (
            "a pod without a name",
            |case| case["pods"][0]["metadata"]["name"] = "".into(),
            "unknown",
            "pods[0], Pod",
        ),
        ("an object that is none", |case| case["namespaces"][0] = 3.into(), "unknown", "namespaces[0]"),
    ];
    for (name, change, decision, error) in rows {
        let (place, mut case) = (Place::new(), case("one"));
        change(&mut case);
        place.write("cases.jsonl", &case.to_string());
        let said = place.flowlog(&["policy", "eval", "cases.jsonl"]);
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{name}: {said:?}");
        let line: Value = serde_json::from_str(&said.stdout).unwrap();
        let answer = &line["results"][0];
        assert_eq!(answer["combined"], decision, "{name}: {line}");
        assert!(answer["error"].as_str().unwrap().starts_with(error), "{name}: {line}");
    }
}

#[test]
fn cases_that_are_not_there_or_torn_are_refused() {
    let place = Place::new();
    place.write("torn.jsonl.gz", "no gzip");
    fs::write(place.path().join("zipped.jsonl"), gzipped(&case("one").to_string())).unwrap();
    let rows = [
        ("none.jsonl", ["none.jsonl", "No such file"]),
        ("torn.jsonl.gz", ["torn.jsonl.gz", "line 1"]),
        ("zipped.jsonl", ["zipped.jsonl is gzipped", "gzip -dc"]),
    ];
    for (file, parts) in rows {
        crate::bin::refused(file, &place.flowlog(&["policy", "eval", file]), &parts);
    }
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut file = GzEncoder::new(Vec::new(), Compression::fast());
    file.write_all(text.as_bytes()).unwrap();
    file.finish().unwrap()
}

/// What was answered before a file breaks off stands, and is summed up.
#[test]
fn a_file_that_breaks_off_loses_no_answer_and_no_sum() {
    let place = Place::new();
    let mut wrong = case("one");
    wrong["expect"] = json!([{"id": 3, "combined": "allow"}]);
    let mut bytes = gzipped(&format!("{wrong}\n{}\n", case("two")));
    // A second member, without its end.
    bytes.extend(&gzipped(&case("three").to_string())[..40]);
    fs::write(place.path().join("cases.jsonl.gz"), bytes).unwrap();
    let said = place.flowlog(&["policy", "eval", "--expect", "cases.jsonl.gz"]);
    assert_eq!((said.code, said.stdout.lines().count()), (Some(2), 2), "{said:?}");
    for part in [
        "one, query 3 (8.8.8.8 → 10.0.0.1 80/TCP): combined expected allow, got deny\n",
        "flowlog: cases.jsonl.gz, line 3: nothing can be read from here on: ",
        "2 cases, 2 answers: 1 compared, 1 differ from what is expected; 1 line could not be read\n",
    ] {
        assert!(said.stderr.contains(part), "`{part}` is not in {}", said.stderr);
    }
}

/// The demo's cluster.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clusters/demo/manifests");
const FRONTEND: &str = "shop/frontend-7d9c5b6f4d-m8v5j";

fn explain(from: &str, to: &str, port: &str) -> crate::bin::Said {
    let args = ["policy", "explain", "--manifests", DEMO, "--from", from, "--to", to, "--port", port];
    Place::new().flowlog(&args)
}

#[test]
fn an_explanation_names_the_policies_the_rules_and_the_labels_within_100_columns() {
    let rows: [(&str, &str, &str, &[&str]); 4] = [
        (
            "isolated at both ends",
            "payments/ledger-db-0",
            "5432/tcp",
            &[
                "DENY: pod shop/frontend",
                "isolated by NetworkPolicy payments/ledger-db, and no rule there matches.",
                "wanted worker, found\n            `frontend`",
                "block 198.51.100.20/32 does not hold 10.244.1.14",
                "postgres = 5432/TCP",
            ],
        ),
        (
            "a service, by its endpoints",
            "svc/shop/api",
            "80",
            &[
                "ALLOW: pod shop/frontend",
                "  ALLOW: pod shop/api-5f6c8d7b9-wz4tn",
                "Allowed by NetworkPolicy shop/api, rule 0.",
            ],
        ),
        (
            "an address outside",
            "198.51.100.20",
            "8443",
            &["198.51.100.20 (outside the cluster)", "Allowed by NetworkPolicy shop/frontend, rule 2."],
        ),
        ("the pod itself", FRONTEND, "1", &["Allowed always: a pod may reach itself."]),
    ];
    for (name, to, port, parts) in rows {
        let said = explain(FRONTEND, to, port);
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{name}");
        for part in parts {
            assert!(said.stdout.contains(part), "{name}: `{part}` is not in:\n{}", said.stdout);
        }
        assert!(said.stdout.lines().all(|line| line.chars().count() <= 100), "{name}: {}", said.stdout);
    }
}

const SERVICE: &str = "
apiVersion: v1
kind: PodList
items:
- {metadata: {name: web, namespace: shop, uid: web, labels: {app: web}}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.1.0.5}}
- {metadata: {name: db, namespace: shop, uid: db, labels: {app: db}}, spec: {nodeName: n2, containers: []}, status: {podIP: 10.1.0.6}}
- {metadata: {name: job, namespace: batch, uid: job}, spec: {nodeName: n2, containers: []}, status: {podIP: 10.1.0.7}}
---
{apiVersion: v1, kind: Service, metadata: {name: any, namespace: shop}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: any, namespace: shop, labels: {kubernetes.io/service-name: any}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [10.1.0.5], targetRef: {kind: Pod, name: web, uid: web}}, {addresses: [10.1.0.6], targetRef: {kind: Pod, name: db, uid: db}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}}
";
const IN_TRIAL: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: shop}
spec: {podSelector: {}}
";

#[test]
fn a_service_is_explained_by_endpoints_that_differ_and_with_what_is_in_trial() {
    let place = Place::new();
    place.write("cluster/all.yaml", SERVICE);
    place.write("cluster/trial/all.yaml", IN_TRIAL);
    let asked =
        ["policy", "explain", "--manifests", "cluster", "--from", "batch/job", "--to", "svc/shop/any"];
    let asked = [&asked[..], &["--port", "80", "--trial-policies", "cluster/trial"]].concat();
    let said = place.flowlog(&asked);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    for part in [
        "MIXED: pod batch/job (10.1.0.7) to service shop/any, port 80/TCP\nDENY with the policies in trial\n",
        "\n  ALLOW (DENY in trial): pod shop/web (10.1.0.5)\n  DENY (DENY in trial): pod shop/db (10.1.0.6)\n",
        "\nEgress, leaving pod batch/job (10.1.0.7), in trial: ALLOW, as declared\n",
        "NetworkPolicy shop/all (in trial): selects pod shop/web",
        "isolated by NetworkPolicy shop/all, NetworkPolicy shop/db, and no rule",
    ] {
        assert!(said.stdout.contains(part), "`{part}` is not in:\n{}", said.stdout);
    }
    assert!(!said.stdout.contains('\u{1b}'), "no colours where there is no terminal");
    let said = place.flowlog(&[&asked[..], &["--output", "json"]].concat());
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&json["decision"], &json["trial"]), (&"mixed".into(), &"deny".into()), "{json}");
    let of = |place: usize| {
        let one = &json["endpoints"][place];
        (one["decision"].clone(), one["trial"]["decision"].clone(), one["trial"]["ingress"]["basis"].clone())
    };
    assert_eq!(of(0), ("allow".into(), "deny".into(), "isolated".into()), "{json}");
    assert_eq!(of(1), ("deny".into(), "deny".into(), "isolated".into()), "{json}");
    let tried = &json["endpoints"][0]["trial"]["ingress"]["tiers"][1]["policies"];
    assert_eq!((&tried[0]["policy"]["name"], &tried[0]["in_trial"]), (&"all".into(), &true.into()), "{json}");
}

#[test]
fn a_workload_stands_for_the_first_of_its_pods() {
    let said = explain("shop/frontend", "shop/api", "8080");
    let begins =
        format!("ALLOW: pod {FRONTEND} (10.244.1.11) to pod shop/api-5f6c8d7b9-k2x8q (10.244.1.12), port");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&said.stdout).starts_with(&begins), "{said:?}");
}

const WITHOUT_ADDRESS: &str = "
{apiVersion: v1, kind: Service, metadata: {name: peers, namespace: shop}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: bank, namespace: shop}, spec: {type: ExternalName, externalName: bank.example}}
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: shop}
spec: {nodeName: n1, containers: []}
status: {phase: Succeeded, podIP: 10.1.0.9}
---
apiVersion: policy.networking.k8s.io/v1beta9
kind: ClusterNetworkPolicy
metadata: {name: new}
";

#[test]
fn what_has_no_address_is_refused_and_says_why() {
    let place = Place::new();
    place.write("cluster/all.yaml", &[SERVICE, "---", WITHOUT_ADDRESS].concat());
    let explain = |from: &str, to: &str, port: &str| {
        place.flowlog(&[
            "policy",
            "explain",
            "--manifests",
            "cluster",
            "--from",
            from,
            "--to",
            to,
            "--port",
            port,
        ])
    };
    let rows = [
        ("svc/shop/peers", "80", &["service shop/peers is headless", "name one of these"][..]),
        ("svc/shop/bank", "80", &["service shop/bank is another name for bank.example (ExternalName)"]),
        ("svc/shop/any", "81", &["service shop/any (10.96.0.1) has no port 81/TCP"]),
        ("shop/any", "80", &["there is no pod shop/any, but a service: write svc/shop/any"]),
        ("shop/done", "80", &["pod shop/done has ended"]),
    ];
    for (to, port, parts) in rows {
        crate::bin::refused(to, &explain("batch/job", to, port), parts);
    }
    let said = explain("198.51.100.7", "shop/web", "80").stdout;
    for part in [
        "UNKNOWN: 198.51.100.7 (outside the cluster) to pod shop/web (10.1.0.5), port 80/TCP\n",
        "  Allowed by default: no policy selects it.\n",
        "    ClusterNetworkPolicy new: apiVersion v1beta9 is not read, only v1alpha2\n",
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn what_cannot_be_explained_is_refused_with_near_names() {
    let rows = [
        (
            "no such pod",
            "shop/frontent",
            "payments/ledger-db-0",
            "1",
            &["no pod shop/frontent", FRONTEND][..],
        ),
        ("no such service", FRONTEND, "svc/shop/apii", "1", &["no service shop/apii", "`svc/shop/api`"]),
        ("a service that opens", "svc/shop/api", FRONTEND, "1", &["a service opens no connections"]),
        ("no port", FRONTEND, "10.0.0.1", "0/tcp", &["`0` is no port"]),
        ("no protocol", FRONTEND, "10.0.0.1", "80/http", &["`http` is none of tcp, udp, sctp"]),
        ("two families", FRONTEND, "2001:db8::1", "80", &[]),
    ];
    for (name, from, to, port, parts) in rows {
        let said = explain(from, to, port);
        match parts {
            [] => assert_eq!(said.code, Some(0), "{name}: the pod has both: {said:?}"),
            parts => crate::bin::refused(name, &said, parts),
        }
    }
}
