//! `flowlog policy lint`: what it finds in folders as people have them, where, and its exit codes.

use crate::bin::{Place, Said, refused};
use serde_json::{Value, json};

const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: web}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}
- {apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
- {apiVersion: v1, kind: Node, metadata: {name: n1, labels: {zone: a}}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-0, namespace: shop, labels: {app: frontend, tier: fe}}
  spec:
    nodeName: n1
    initContainers: [{name: i, ports: [{name: setup, containerPort: 81}]}]
    containers:
    - name: c
      ports: [{name: http, containerPort: 80}, {name: syslog, containerPort: 514, protocol: UDP}]
  status: {podIP: 10.0.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {name: db-0, namespace: shop, labels: {app.kubernetes.io/name: database}}
  spec: {nodeName: n1, containers: [{name: c}]}
  status: {podIP: 10.0.0.2}
- apiVersion: v1
  kind: Pod
  metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
  spec: {nodeName: n1, containers: [{name: c}]}
  status: {podIP: 10.0.0.3}
- apiVersion: v1
  kind: Pod
  metadata: {name: exporter, namespace: monitoring, labels: {app: exporter}}
  spec: {nodeName: n1, hostNetwork: true, containers: [{name: c}]}
  status: {podIP: 192.168.0.1}
";

/// One of everything; a comment on a line says what is to be told of it.
const POLICIES: &str = r#"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: typo, namespace: shop}
spec:
  podSelector: # warning[selects-nothing]
    matchLabels:
      app: frontned
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nowhere, namespace: shpo}
spec: {podSelector: {}} # warning[selects-nothing]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: frontend}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector: {matchLabels: {app: database}} # warning[peer-matches-nothing]
    - namespaceSelector: {matchLabels: {name: monitoring}} # warning[peer-matches-nothing]
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}} # warning[peer-matches-nothing]
      podSelector: {matchLabels: {app: exporter}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9, 10.128.0.0/9]} # warning[peer-matches-nothing]
    ports:
    - port: htpp # warning[named-port-undeclared]
    - port: syslog # warning[named-port-undeclared]
    - port: setup # warning[named-port-undeclared]
  - from: [] # info[empty-peers-allow-all]
    ports: [{port: 80}]
  - from: [{ipBlock: {cidr: 198.51.100.0/24}}] # warning[shadowed-rule]
    ports: [{port: 80}]
  egress: # warning[rules-without-effect]
  - {}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress: # info[no-dns]
  - to: [{podSelector: {}}]
    ports: [{port: 80}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: out-again
  namespace: shop
  annotations: {flowlog.dev/lint-ignore: "no-dns, shadowed-rul"} # warning[unknown-ignore]
spec: # info[shadowed-rule]
  podSelector: {matchLabels: {app: frontend}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {tier: fe}}}]
    ports: [{port: 80}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: known
  namespace: shop
  annotations:
    flowlog.dev/lint-ignore: selects-nothing
spec:
  podSelector: {matchLabels: {app: yet-to-come}}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: one}
spec:
  tier: Admin
  priority: 5
  subject: {namespaces: {}}
  ingress:
  - {action: Deny, from: [{namespaces: {}}]}
  - {action: Accept, from: [{namespaces: {matchLabels: {team: web}}}]} # warning[shadowed-rule]
  egress:
  - {action: Deny, to: [{networks: [10.0.0.0/8]}, {nodes: {matchLabels: {zone: b}}}]} # warning[peer-matches-nothing]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: two}
spec:
  tier: Admin
  priority: 5 # warning[equal-priority]
  subject: {namespaces: {}}
  ingress:
  - {action: Accept, from: [{namespaces: {matchLabels: {team: web}}}]}
"#;

const BROKEN: &str = r#"apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: fine, namespace: monitoring}
  spec: {podSelector: {}, policyTypes: [Egress], ingress: [{}]} # warning[rules-without-effect]
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: broken, namespace: monitoring}
  spec:
    podSelector: {}
    ingress:
    - from:
      - ipBlock:
          cidr: 10.0.0.0/33 # error[rejected]
---
apiVersion: policy.networking.k8s.io/v1beta1 # error[rejected]
kind: ClusterNetworkPolicy
metadata: {name: new}
"#;

fn lint(files: &[(&str, &str)], args: &[&str]) -> Said {
    let place = Place::new();
    files.iter().for_each(|(name, text)| place.write(&format!("cluster/{name}"), text));
    place.flowlog(&[&["policy", "lint", "--manifests", "cluster"][..], args].concat())
}

fn told(files: &[(&str, &str)]) -> Value {
    let said = lint(files, &["--output", "json"]);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// `file:line: severity[rule]` of the comments.
fn wanted(file: &str, text: &str) -> Vec<String> {
    let lines = text.lines().zip(1..).filter_map(|(line, number)| Some((line.split_once(" # ")?.1, number)));
    lines.map(|(what, number)| format!("cluster/{file}:{number}: {what}")).collect()
}

#[test]
fn each_finding_stands_at_its_line_within_100_columns() {
    // A policy that is not understood may do anything, so that less is found beside it: a folder of its own.
    for (name, text, sums) in [
        ("np.yaml", POLICIES, "0 errors, 15 warnings, 3 info, 1 ignored; 8 policies, 4 pods, 3 namespaces"),
        ("broken.yml", BROKEN, "2 errors, 2 warnings, 0 info; 3 policies, 4 pods, 3 namespaces"),
    ] {
        let said = lint(&[("all.yaml", CLUSTER), (name, text)], &[]);
        assert_eq!((said.code, &*said.stderr), (Some(1), ""), "{}", said.stdout);
        let begins = |line: &str| {
            Some(format!("{}]", line.split_once(']')?.0)).filter(|_| line.starts_with("cluster/"))
        };
        let found: Vec<String> = said.stdout.lines().filter_map(begins).collect();
        let mut wanted = wanted(name, text);
        if name == "broken.yml" {
            // The one pod of the namespace is the node's.
            wanted.insert(1, "cluster/broken.yml:7: warning[selects-nothing]".to_owned());
        }
        assert_eq!(found, wanted, "{}", said.stdout);
        assert_eq!(said.stdout.lines().filter(|line| line.starts_with("    help: ")).count(), found.len());
        assert_eq!(said.stdout.lines().last(), Some(sums));
        assert!(said.stdout.lines().all(|line| line.chars().count() <= 100), "{}", said.stdout);
    }
}

#[test]
fn findings_as_json_fit_their_schema_and_name_the_object_in_parts() {
    let schema: Value = serde_json::from_str(&Place::new().flowlog(&["schema", "--lint"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for text in [POLICIES, BROKEN] {
        let told = told(&[("all.yaml", CLUSTER), ("np.yaml", text)]);
        let wrong: Vec<String> = validator.iter_errors(&told).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    let checked = json!({"policies": 0, "pods": 0, "workloads": 0, "namespaces": 0});
    let mut none = json!({"findings": [], "checked": checked, "unchecked": [], "ignored": 0});
    assert!(validator.is_valid(&none));
    none["surprise"] = json!(true);
    assert!(!validator.is_valid(&none), "unknown keys are refused");
    let told = told(&[("all.yaml", CLUSTER), ("np.yaml", POLICIES)]);
    let first = &told["findings"][0];
    let right = json!({
        "rule": "selects-nothing", "severity": "warning", "file": "cluster/np.yaml", "document": 1, "line": 5,
        "kind": "NetworkPolicy", "namespace": "shop", "name": "typo", "field": "spec.podSelector",
        "message": "selects none of 2 pods in namespace shop: none has `app: frontned`",
        "help": "did you mean `app: frontend`?",
    });
    assert_eq!(*first, right);
    assert_eq!(told["checked"], json!({"policies": 8, "pods": 4, "workloads": 0, "namespaces": 3}));
    assert_eq!((&told["unchecked"], &told["ignored"]), (&json!([]), &json!(1)));
}

/// The demo's cluster is as it should be.
#[test]
fn nothing_is_found_in_the_demos_cluster() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/clusters/demo/manifests");
    let said = Place::new().flowlog(&["policy", "lint", "--manifests", demo, "--fail-on", "info"]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    assert_eq!(said.stdout, "0 errors, 0 warnings, 0 info; 4 policies, 9 pods, 3 workloads, 5 namespaces\n");
}

#[test]
fn what_the_folder_does_not_tell_is_not_claimed() {
    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\nspec:\n  \
        podSelector: {matchLabels: {app: frontned}}\n  ingress: [{from: [{podSelector: {}}], ports: [{port: htpp}]}]\n";
    let workload = |app: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  template:\n    \
            metadata: {{labels: {{app: {app}}}}}\n    spec: {{containers: [{{name: c, ports: [{{name: http, containerPort: 80}}]}}]}}\n"
        )
    };
    let pod = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: {namespace}, labels: {{app: x}}}}\nspec: {{containers: []}}\n"
        )
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: nonsense}\n";
    let (near, far, own, other) = (workload("frontend"), workload("billing"), pod("default"), pod("else"));
    let broken = own.replace("labels: {app: x}", "labels: [x]");
    // Rules that are told, and a part of the reason for those that are not.
    let rows: [(&str, Vec<&str>, &[&str], &str); 7] = [
        ("policies alone", vec![], &[], "there are no pods in the manifests"),
        ("a workload that is near", vec![&near], &["selects-nothing"], "only what nearly fits"),
        ("a workload that is not", vec![&far], &[], "only what nearly fits"),
        ("pods of the namespace", vec![&own], &["selects-nothing"], ""),
        (
            "pods of another namespace",
            vec![&other],
            &[],
            "nothing in the manifests tells of namespace default",
        ),
        ("a pod that cannot be read", vec![&own, &broken], &["unread"], "not all can be read: Pod default/p"),
        ("a service that cannot be read", vec![&own, service], &["selects-nothing", "unread"], ""),
    ];
    for (name, more, rules, why) in rows {
        let more: Vec<String> = (0..more.len())
            .map(|number| format!("more{number}.yaml"))
            .zip(more)
            .map(|(name, text)| format!("{name}\n{text}"))
            .collect();
        let files: Vec<(&str, &str)> = more.iter().map(|one| one.split_once('\n').unwrap()).collect();
        let told = told(&[&[("a.yaml", POLICY)][..], &files].concat());
        let found: Vec<&str> =
            told["findings"].as_array().unwrap().iter().map(|one| one["rule"].as_str().unwrap()).collect();
        assert_eq!(found, rules, "{name}: {told:#}");
        let reasons = told["unchecked"].to_string();
        assert!(if why.is_empty() { reasons == "[]" } else { reasons.contains(why) }, "{name}: {reasons}");
    }
}

const MADE: &str = r#"apiVersion: batch/v1
kind: CronJob
metadata: {name: report, namespace: shop}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: report}}, spec: {containers: [{name: c}]}}}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: old, namespace: shop, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: x, controller: true}]}
spec: {template: {metadata: {labels: {app: oldlabel}}, spec: {containers: [{name: c}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicyList
items:
- metadata: {name: cron, namespace: shop}
  spec: {podSelector: {matchLabels: {app: report}}}
- metadata: {name: old, namespace: shop}
  spec:
    podSelector: {matchLabels: {app: oldlabel}}
- metadata: {name: web, namespace: shop, annotations: {flowlog.dev/lint-ignore: "empty-peers-allow-all"}}
  spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: []}]}
"#;

/// The pods that a CronJob would make count, those that an owned ReplicaSet of before would make do not.
#[test]
fn pods_that_workloads_would_make_are_looked_at_and_typed_lists_have_lines() {
    let said = lint(&[("a.yaml", MADE)], &[]);
    let found: Vec<&str> = said.stdout.lines().filter(|line| line.starts_with("cluster/")).collect();
    assert!(
        found.len() == 1 && found[0].starts_with("cluster/a.yaml:23: warning[selects-nothing]"),
        "{said:?}"
    );
    let sums = "0 errors, 1 warning, 0 info, 1 ignored; 3 policies, 1 pod, 1 workload, 0 namespaces";
    assert_eq!((said.code, said.stdout.lines().last()), (Some(1), Some(sums)));
}

#[test]
fn the_exit_code_is_one_from_the_chosen_severity_on() {
    let warning = BROKEN
        .split_once("- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata: {name: broken")
        .unwrap()
        .0;
    let none = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\n";
    let info = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\nspec: {ingress: [{from: []}]}\n";
    let rows = [
        ("nothing", none, [0, 0, 0]),
        ("info", info, [0, 0, 1]),
        ("warning", warning, [0, 1, 1]),
        ("error", BROKEN, [1, 1, 1]),
    ];
    for (name, text, codes) in rows {
        for (severity, code) in ["error", "warning", "info"].into_iter().zip(codes) {
            let said = lint(&[("a.yaml", text)], &["--fail-on", severity]);
            assert_eq!((said.code, &*said.stderr), (Some(code), ""), "{name}, {severity}: {}", said.stdout);
        }
        assert_eq!(lint(&[("a.yaml", text)], &[]).code, Some(codes[1]), "{name}: a warning is enough");
    }
}

#[test]
fn policies_in_trial_are_looked_at_as_they_would_stand() {
    let place = Place::new();
    let policy = |spec: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: web, namespace: shop}}\nspec: {spec}\n"
        )
    };
    let typo = policy("{podSelector: {matchLabels: {app: frontned}}}");
    let right = policy("{podSelector: {matchLabels: {app: frontend}}}");
    for (declared, tried, file) in [(&right, &typo, "trial/np.yaml"), (&typo, &right, "cluster/np.yaml")] {
        place.write("cluster/all.yaml", CLUSTER);
        place.write("cluster/np.yaml", declared);
        place.write("trial/np.yaml", tried);
        let said = place.flowlog(&["policy", "lint", "--manifests", "cluster", "--trial-policies", "trial"]);
        let found: Vec<&str> = said.stdout.lines().filter(|line| line.contains("warning[")).collect();
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            found.len() == 1 && found[0].starts_with(file) && found[0].contains("selects-nothing"),
            "{said:?}"
        );
    }
}

#[test]
fn a_folder_that_cannot_be_read_is_refused() {
    let place = Place::new();
    place.write("empty/readme.txt", "nothing");
    for (folder, parts) in
        [("none", ["cannot read the folder none", "No such file"]), ("empty", ["no manifests", "empty"])]
    {
        refused(folder, &place.flowlog(&["policy", "lint", "--manifests", folder]), &parts);
    }
}
