use super::{ClusterError, Loaded, Settings, Snapshot, Store, fingerprint, load};
use crate::model::{Basis, Decision, Endpoint, Party, Protocol, Target, Verdict};
use crate::testkit::{at, ip, loaded, snapshot};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// One thing that is wrong with a policy, and how it is told.
#[test]
fn what_the_api_server_refuses_is_named_with_its_field() {
    let rows = [
        ("{podSelecter: {}}", "spec.podSelecter: is no field of NetworkPolicy"),
        ("{ingress: [{form: []}]}", "spec.ingress[0].form: is no field of NetworkPolicy"),
        ("{podSelector: {app: x}}", "spec.podSelector.app: is no field of NetworkPolicy"),
        (
            "{policyTypes: [ingress]}",
            "spec.policyTypes: `ingress` is not supported: must be Ingress or Egress",
        ),
        ("{ingress: [{from: [{}]}]}", "spec.ingress[0].from[0]: must name a peer"),
        (
            "{egress: [{}, {to: [{ipBlock: {cidr: 10.0.0}}]}]}",
            "spec.egress[1].to[0].ipBlock.cidr: `10.0.0` is no CIDR (10.9.8.0/24, 2001:db8::/64)",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}",
            "spec.ingress[0].from[0].ipBlock.except[0]: 10.0.0.0/8 must be a strict part of 10.0.0.0/8",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
            "spec.ingress[0].from[0].ipBlock: may not stand beside podSelector or namespaceSelector",
        ),
        ("{ingress: [{ports: [{port: 0}]}]}", "spec.ingress[0].ports[0].port: 0 is not between 1 and 65535"),
        (
            "{ingress: [{ports: [{port: '80'}]}]}",
            "spec.ingress[0].ports[0].port: `80` is no port name (at most 15 of a–z, 0–9 and -, with a letter)",
        ),
        (
            "{ingress: [{ports: [{port: 80, endPort: 79}]}]}",
            "spec.ingress[0].ports[0].endPort: 79 is not between port (80) and 65535",
        ),
        (
            "{ingress: [{ports: [{endPort: 79}]}]}",
            "spec.ingress[0].ports[0].endPort: may not stand without port",
        ),
        (
            "{ingress: [{ports: [{port: http, endPort: 79}]}]}",
            "spec.ingress[0].ports[0].endPort: may not stand beside a named port",
        ),
        (
            "{ingress: [{ports: [{protocol: tcp}]}]}",
            "spec.ingress[0].ports[0].protocol: `tcp` is not supported: must be TCP, UDP or SCTP",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: In}]}}",
            "spec.podSelector.matchExpressions[0].values: must not be empty for In and NotIn",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
            "spec.podSelector.matchExpressions[0].values: may not stand with Exists and DoesNotExist",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: exists}]}}",
            "spec.podSelector.matchExpressions[0].operator: `exists` is not supported: must be In, NotIn, Exists \
             or DoesNotExist",
        ),
        ("{podSelector: {matchLabels: {a b: c}}}", "spec.podSelector.matchLabels: `a b` is no label key"),
        ("{podSelector: {matchLabels: {a: -c}}}", "spec.podSelector.matchLabels: `-c` is no label value"),
        (
            "{podSelector: {matchLabels: {a: yes}}}",
            "spec.podSelector.matchLabels.a: invalid type: boolean `true`, expected a string",
        ),
        ("{ingress: {}}", "spec.ingress: invalid type: map, expected a sequence"),
    ];
    for (spec, expected) in rows {
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\n---\napiVersion: networking.k8s.io/v1\n\
             kind: NetworkPolicy\nmetadata: {{name: p, namespace: a}}\nspec: {spec}\n"
        );
        let problems = loaded(&manifest).problems;
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("cluster.yaml, document 2, NetworkPolicy a/p, {expected}")], "{spec}");
    }
}

#[test]
fn names_and_labels_that_no_policy_may_have_are_told() {
    let long = "a".repeat(254);
    let rows = [
        ("{name: Web}".to_owned(), Some("metadata.name")),
        ("{name: a_b}".to_owned(), Some("metadata.name")),
        ("{name: a..b}".to_owned(), Some("metadata.name")),
        (format!("{{name: {long}}}"), Some("metadata.name")),
        (format!("{{name: {}}}", &long[1..]), None),
        ("{name: 1.allow-web.v2, labels: {example.com/a: B_c, d: ''}}".to_owned(), None),
        ("{name: a, namespace: a.b}".to_owned(), Some("metadata.namespace")),
        ("{name: a, namespace: Shop}".to_owned(), Some("metadata.namespace")),
        (format!("{{name: a, namespace: {}}}", &long[190..]), Some("metadata.namespace")),
        (format!("{{name: a, namespace: {}}}", &long[191..]), None),
        ("{name: a, labels: {a b: c}}".to_owned(), Some("metadata.labels")),
        ("{name: a, labels: {a: b c}}".to_owned(), Some("metadata.labels")),
        ("{name: a, labels: {Example.com/a: b}}".to_owned(), Some("metadata.labels")),
        ("{name: a, annotations: {a b: c}}".to_owned(), Some("metadata.annotations")),
        ("{name: a, annotations: {Example.com/a: b c}}".to_owned(), None),
    ];
    let kinds = [
        ("networking.k8s.io/v1\nkind: NetworkPolicy", "{podSelector: {}}"),
        (
            "policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy",
            "{priority: 1, subject: {namespaces: {}}}",
        ),
    ];
    for (metadata, field) in rows {
        for (kind, spec) in kinds {
            let loaded = loaded(&format!("apiVersion: {kind}\nmetadata: {metadata}\nspec: {spec}\n"));
            let told: Vec<_> = loaded.problems.iter().map(|problem| problem.field.as_deref()).collect();
            assert_eq!(told, Vec::from_iter([field].into_iter().flatten().map(Some)), "{kind} {metadata}");
        }
    }
}

#[test]
fn what_is_no_object_is_told_with_its_place() {
    let rows = [
        ("a: 1", "cluster.yaml, document 1, kind: is missing: no Kubernetes object"),
        ("- 1", "cluster.yaml, document 1, kind: is missing: no Kubernetes object"),
        ("kind: Pod\nmetadata: {name: x}", "cluster.yaml, document 1, Pod default/x, apiVersion: is missing"),
        ("apiVersion: v1\nkind: Pod", "cluster.yaml, document 1, Pod, metadata.name: is missing"),
        (
            "apiVersion: v2\nkind: Pod\nmetadata: {name: x}",
            "cluster.yaml, document 1, Pod default/x, apiVersion: v2 is not read, only v1",
        ),
        (
            "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: x}",
            "cluster.yaml, document 1, NetworkPolicy default/x, apiVersion: extensions is gone",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nstatus: {podIPs: [{ip: '10.1'}]}",
            "cluster.yaml, document 1, Pod default/x, status.podIPs[0].ip: `10.1` is no address",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, ports: [{containerPort: 0}]}]}",
            "cluster.yaml, document 1, Pod default/x, spec.containers[0].ports[0].containerPort: 0 is not between",
        ),
        ("apiVersion: v1\nkind: List\nitems: 3", "cluster.yaml, document 1, List, items: is no list"),
        ("---\n# nothing\n---\nkind: A\nkind: B\n", "cluster.yaml:5, document 1: "),
        ("kind: [", "cluster.yaml:"),
    ];
    for (manifest, expected) in rows {
        let problems = loaded(manifest).problems;
        assert_eq!(problems.len(), 1, "{manifest}: {problems:?}");
        assert!(problems[0].to_string().starts_with(expected), "{manifest}\n{}\n{expected}", problems[0]);
    }
}

const CLUSTER: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {name: n1}
  spec: {podCIDRs: [10.1.0.0/24]}
  status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: Hostname, address: n1}]}
- apiVersion: v1
  kind: Secret
  metadata: {name: s}
- apiVersion: apps/v1
  kind: ReplicaSet
  metadata: {name: web-5d9, namespace: shop, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: u, controller: true}]}
---
apiVersion: v1
kind: PodList
items:
- metadata:
    name: web-5d9-1
    namespace: shop
    uid: web-1
    labels: {app: web, pod-template-hash: 5d9}
    ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d9, uid: u, controller: true}]
  spec:
    nodeName: n1
    serviceAccountName: web
    containers: [{name: app, image: 'acme/web:1', ports: [{name: http, containerPort: 8080}]}]
    initContainers:
    - {name: once, image: i, ports: [{name: once, containerPort: 1}]}
    - {name: mesh, image: m, restartPolicy: Always, ports: [{name: mesh, containerPort: 2, protocol: UDP}]}
    ephemeralContainers: [{name: debug, image: d}]
  status:
    phase: Running
    podIP: 10.1.0.5
    podIPs: [{ip: 10.1.0.5}, {ip: 'fd00::5'}]
    containerStatuses: [{name: app, image: x, imageID: 'docker.io/acme/web@sha256:00ff', containerID: 'containerd://c0ffee', ready: true, restartCount: 0}]
- metadata:
    name: db-77-1
    namespace: shop
    uid: db-1
    labels: {app: db, pod-template-hash: '77'}
    ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: db-77, uid: u, controller: true}]
  spec: {nodeName: n1, containers: [{name: app}]}
  status: {phase: Running, podIP: 10.1.0.6}
- metadata:
    name: etcd
    uid: etcd
    ownerReferences: [{apiVersion: v1, kind: Node, name: n1, uid: u, controller: true}]
  spec: {nodeName: n1, hostNetwork: true, containers: []}
  status: {phase: Running, podIP: 10.0.0.1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, externalIPs: [198.51.100.5], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.5], targetRef: {kind: Pod, name: web-5d9-1, uid: web-1}}
- {addresses: [10.1.0.6], conditions: {ready: true}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: empty, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints: null
ports: null
";

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}}
";

#[test]
fn a_listing_of_a_cluster_is_read_as_it_is() {
    let mut loaded = loaded(CLUSTER);
    assert_eq!(loaded.problems, []);
    let skipped: Vec<_> = loaded.objects.skipped().iter().collect();
    assert_eq!(skipped, [(&"v1 Secret".to_owned(), &1)]);
    loaded.add_text(
        Path::new("policy.json"),
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"b"}}"#,
    );
    let store = Store::start(Settings::default(), loaded, at(0)).unwrap();
    let inventory = &store.snapshot().inventory;
    let web = inventory.find_pod_by_uid("web-1", at(0)).unwrap().pod();
    assert_eq!(web.ips, [ip("10.1.0.5"), ip("fd00::5")]);
    assert_eq!(web.namespace_labels["kubernetes.io/metadata.name"], "shop");
    assert_eq!(web.service_account.as_deref(), Some("web"));
    let ports: Vec<_> =
        web.ports.iter().map(|port| (port.name.as_deref(), port.port, port.protocol)).collect();
    assert_eq!(ports, [(Some("http"), 8080, Protocol::Tcp), (Some("mesh"), 2, Protocol::Udp)]);
    let names: Vec<_> = web.containers.iter().map(|container| &*container.name).collect();
    assert_eq!(names, ["app", "once", "mesh", "debug"]);
    let app = &web.containers[0];
    assert_eq!((app.id.as_deref(), app.image_digest.as_deref()), (Some("c0ffee"), Some("sha256:00ff")));
    let workload = |uid: &str| {
        let pod = inventory.find_pod_by_uid(uid, at(0)).unwrap().pod();
        pod.workload.as_ref().map(|workload| format!("{}/{}", workload.kind, workload.name))
    };
    assert_eq!(workload("web-1").as_deref(), Some("Deployment/web"), "through its ReplicaSet");
    assert_eq!(workload("db-1").as_deref(), Some("Deployment/db"), "by the hash in its ReplicaSet's name");
    assert_eq!(workload("etcd"), None, "a static pod's mirror is owned by its node");
    assert!(
        matches!(inventory.resolve_address(ip("10.0.0.1"), at(0)), Endpoint::Node(node) if node.name == "n1")
    );
    let headless = inventory.resolve(ip("198.51.100.5"), 80, Protocol::Tcp, at(0));
    assert!(
        matches!(headless, Target::Endpoint(Endpoint::External(_))),
        "kube-proxy does not serve it: {headless:?}"
    );
}

fn judge(snapshot: &Snapshot, from: &str, to: &str, port: u16, seconds: i64) -> Verdict {
    let when = at(seconds);
    let source = Party {
        endpoint: snapshot.inventory.resolve_address(ip(from), when),
        ip: Some(ip(from)),
        port: None,
    };
    let target = snapshot.inventory.resolve(ip(to), port, Protocol::Tcp, when);
    let destination = Party { endpoint: target.endpoint(), ip: Some(ip(to)), port: Some(port) };
    snapshot.evaluate(&source, &destination, &target, Protocol::Tcp, when)
}

#[test]
fn a_service_is_judged_by_all_its_endpoints() {
    let every = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: all, namespace: shop}\nspec: ";
    let rows = [
        ("none is isolated", String::new(), Decision::Allow, None),
        ("one is isolated", POLICY.to_owned(), Decision::Mixed, Some((1, 1, 0))),
        ("both are isolated", format!("{every}{{podSelector: {{}}}}"), Decision::Deny, None),
        (
            "nothing may leave but to one",
            format!(
                "{every}{{policyTypes: [Egress], podSelector: {{}}, egress: [{{to: [{{podSelector: {{matchLabels: {{app: web}}}}}}]}}]}}"
            ),
            Decision::Allow,
            None,
        ),
    ];
    for (name, policy, decision, counts) in rows {
        let snapshot = snapshot(&format!("{CLUSTER}---\n{policy}"));
        let verdict = judge(&snapshot, "198.51.100.1", "10.96.0.1", 80, 0);
        assert_eq!(verdict.decision, decision, "{name}");
        let told = verdict.mixed.map(|mixed| (mixed.allow, mixed.deny, mixed.unknown));
        assert_eq!(told, counts, "{name}");
    }
    let snapshot = snapshot(&format!("{CLUSTER}---{POLICY}"));
    let verdict = judge(&snapshot, "198.51.100.1", "10.96.0.1", 80, 0);
    let mixed = verdict.mixed.unwrap();
    assert_eq!(mixed.allow_example, Some((ip("10.1.0.5"), 8080)));
    assert_eq!(mixed.deny_example, Some((ip("10.1.0.6"), 8080)));
    assert_eq!(verdict.egress.decision, Decision::Allow);
    assert_eq!((verdict.ingress.decision, verdict.ingress.policies.len()), (Decision::Mixed, 1));
    let target = snapshot.inventory.resolve(ip("10.96.0.1"), 80, Protocol::Tcp, at(0));
    let taken = snapshot.inventory.resolve_address(ip("10.1.0.6"), at(0));
    let taken = Party { endpoint: taken, ip: Some(ip("10.1.0.6")), port: Some(8080) };
    let source = crate::testkit::external("198.51.100.1");
    let verdict = snapshot.evaluate(&source, &taken, &target, Protocol::Tcp, at(0));
    assert_eq!((verdict.decision, verdict.mixed), (Decision::Deny, None), "the backend that was taken alone");
}

#[test]
fn a_service_that_leads_nowhere_says_so() {
    let verdict = judge(&snapshot(&format!("{CLUSTER}---{POLICY}")), "198.51.100.1", "10.96.0.1", 81, 0);
    assert_eq!((verdict.decision, verdict.egress.decision), (Decision::Unknown, Decision::Allow));
    assert_eq!(verdict.ingress.reason.as_deref(), Some("service shop/web has no such port"));
}

#[test]
fn a_bridge_address_of_the_own_node_is_not_claimed_to_be_denied() {
    let verdict = judge(&snapshot(&format!("{CLUSTER}---{POLICY}")), "10.1.0.1", "10.1.0.6", 80, 0);
    assert_eq!(verdict.ingress.decision, Decision::Unknown);
}

#[test]
fn a_policy_that_changed_lately_is_settling_for_whom_it_selects() {
    let mut store = Store::start(Settings::default(), loaded(CLUSTER), at(0)).unwrap();
    assert!(!judge(&store.snapshot(), "10.1.0.5", "10.1.0.6", 80, 0).settling);
    let with_policy = store.reload(Ok(loaded(&format!("{CLUSTER}---{POLICY}"))), at(100)).unwrap();
    assert_eq!(with_policy.revision, 2);
    for (from, to, seconds, settling) in [
        ("10.1.0.5", "10.1.0.6", 99, true),
        ("10.1.0.5", "10.1.0.6", 110, true),
        ("10.1.0.5", "10.1.0.6", 111, false),
        ("10.1.0.6", "10.1.0.5", 101, false),
    ] {
        let verdict = judge(&with_policy, from, to, 80, seconds);
        assert_eq!(verdict.settling, settling, "{from} {to} {seconds}");
    }
    let same = store.reload(Ok(loaded(&format!("{CLUSTER}---{POLICY}"))), at(200)).unwrap();
    assert!(!judge(&same, "10.1.0.5", "10.1.0.6", 80, 201).settling, "nothing changed");
    let without = store.reload(Ok(loaded(CLUSTER)), at(300)).unwrap();
    let verdict = judge(&without, "10.1.0.5", "10.1.0.6", 80, 301);
    assert_eq!((verdict.decision, verdict.settling), (Decision::Allow, true), "it went a moment ago");
}

#[test]
fn a_broken_reload_leaves_the_last_good_snapshot_marked_stale() {
    let mut store =
        Store::start(Settings::default(), loaded(&format!("{CLUSTER}---{POLICY}")), at(0)).unwrap();
    let broken = || Ok(loaded(&format!("{CLUSTER}---\nkind: [\n")));
    let error = store.reload(broken(), at(5)).unwrap_err();
    assert!(matches!(&error, ClusterError::Problems { problems, .. } if problems.len() == 1), "{error}");
    store.reload(broken(), at(6)).unwrap_err();
    let verdict = judge(&store.snapshot(), "10.1.0.5", "10.1.0.6", 80, 7);
    assert_eq!((verdict.decision, verdict.snapshot), (Decision::Deny, 1));
    assert_eq!((verdict.as_of, verdict.stale_since), (at(0), Some(at(5))));
    store.reload(Ok(loaded(CLUSTER)), at(8)).unwrap();
    assert_eq!((store.snapshot().stale_since, store.snapshot().revision), (None, 2));
}

#[test]
fn what_a_broken_policy_could_decide_is_unknown_where_the_rest_is_accepted() {
    let settings = Settings { accept_problems: true, ..Settings::default() };
    let in_shop =
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n";
    let named_all = in_shop.replace("name: p", "name: all");
    let open = "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}";
    let elsewhere = in_shop.replace("shop", "default");
    let rows = [
        ("nothing broken", String::new(), Decision::Allow),
        ("its spec", format!("{in_shop}spec: {{ingress: 3}}"), Decision::Unknown),
        ("a policy of another namespace", format!("{elsewhere}spec: {{ingress: 3}}"), Decision::Allow),
        ("its text", format!("{in_shop}spec: ["), Decision::Unknown),
        ("the text of something else", "kind: Pod\nspec: [".to_owned(), Decision::Allow),
        ("two of one name", format!("{in_shop}spec: {open}\n---\n{in_shop}spec: {{}}"), Decision::Unknown),
        (
            "beside one that allows",
            format!("{in_shop}spec: {{ingress: 3}}\n---\n{named_all}spec: {open}"),
            Decision::Allow,
        ),
    ];
    for (name, text, decision) in rows {
        let loaded = loaded(&format!("{CLUSTER}---\n{text}"));
        let store = Store::start(settings.clone(), loaded, at(0)).unwrap();
        assert_eq!(judge(&store.snapshot(), "10.1.0.5", "10.1.0.6", 80, 0).decision, decision, "{name}");
    }
}

#[test]
fn what_is_not_known_of_a_cluster_policy_makes_its_tier_unknown() {
    let admin =
        "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}";
    let newer = admin.replace("action: Deny", "action: Deny, log: true");
    let cluster = |tier: &str, field: &str| {
        let deny = "{action: Deny, from: [{namespaces: {}}]}";
        format!("{{tier: {tier}, priority: 1, subject: {{namespaces: {{}}}}, {field}ingress: [{deny}]}}")
    };
    let (here, there) = ("v1alpha1", "v1alpha2");
    let rows = [
        ("known", here, "AdminNetworkPolicy", admin.to_owned(), Decision::Deny, None),
        (
            "a later version",
            there,
            "AdminNetworkPolicy",
            admin.to_owned(),
            Decision::Unknown,
            Some("apiVersion"),
        ),
        ("a field", here, "AdminNetworkPolicy", newer, Decision::Unknown, Some("spec.ingress[0].log")),
        ("baseline", there, "BaselineAdminNetworkPolicy", "{}".to_owned(), Decision::Deny, None),
        ("tier Baseline", there, "ClusterNetworkPolicy", cluster("Baseline", "x: 1, "), Decision::Deny, None),
        (
            "tier Admin",
            there,
            "ClusterNetworkPolicy",
            cluster("Admin", "x: 1, "),
            Decision::Unknown,
            Some("spec.x"),
        ),
        (
            "no such tier",
            there,
            "ClusterNetworkPolicy",
            cluster("Top", "x: 1, "),
            Decision::Unknown,
            Some("spec.x"),
        ),
    ];
    for (name, version, kind, spec, decision, reason) in rows {
        let policy = format!(
            "{CLUSTER}---\napiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}"
        );
        let snapshot = snapshot(&format!("{policy}\n---{POLICY}"));
        let verdict = judge(&snapshot, "10.1.0.5", "10.1.0.6", 80, 0);
        assert_eq!(verdict.decision, decision, "{name}: {verdict:?}");
        let told = verdict.ingress.reason.unwrap_or_default();
        assert!(told.contains(reason.unwrap_or_default()), "{name}: {told}");
    }
}

#[test]
fn a_cluster_policy_that_the_api_server_refuses_is_a_problem_with_its_field() {
    let (admin, baseline, cluster) = (
        "v1alpha1 AdminNetworkPolicy",
        "v1alpha1 BaselineAdminNetworkPolicy",
        "v1alpha2 ClusterNetworkPolicy",
    );
    let all = "subject: {namespaces: {}}";
    let ingress = |rule: &str| format!("{{priority: 1, tier: Admin, {all}, ingress: [{rule}]}}");
    let egress = |rule: &str| format!("{{priority: 1, tier: Admin, {all}, egress: [{rule}]}}");
    let plain = |spec: String| spec.replace("tier: Admin, ", "");
    let many = vec!["{action: Deny, from: [{namespaces: {}}]}"; 26].join(", ");
    let rows = [
        (admin, "{}".to_owned(), "spec"),
        (admin, format!("{{{all}}}"), "spec.priority"),
        (admin, format!("{{priority: 1001, {all}}}"), "spec.priority"),
        (admin, "{priority: 1, subject: {}}".to_owned(), "spec.subject"),
        (
            admin,
            "{priority: 1, subject: {namespaces: {}, pods: {podSelector: {}}}}".to_owned(),
            "spec.subject",
        ),
        (
            admin,
            "{priority: 1, subject: {pods: {namespaceSelector: {}}}}".to_owned(),
            "spec.subject.pods.podSelector",
        ),
        (baseline, format!("{{{all}}}"), "metadata.name"),
        (cluster, format!("{{priority: 1, {all}}}"), "spec.tier"),
        (cluster, format!("{{priority: 1, tier: Top, {all}}}"), "spec.tier"),
        (cluster, ingress(&many), "spec.ingress"),
        (cluster, ingress("{action: Allow, from: [{namespaces: {}}]}"), "spec.ingress[0].action"),
        (cluster, ingress("{action: Deny}"), "spec.ingress[0].from"),
        (cluster, ingress("{action: Deny, from: []}"), "spec.ingress[0].from"),
        (cluster, ingress("{action: Deny, from: [{}]}"), "spec.ingress[0].from[0]"),
        (
            cluster,
            ingress("{action: Deny, from: [{namespaces: {}}], protocols: []}"),
            "spec.ingress[0].protocols",
        ),
        (
            cluster,
            ingress("{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {}}]}"),
            "spec.ingress[0].protocols[0].tcp.destinationPort",
        ),
        (
            cluster,
            ingress(
                "{action: Deny, from: [{namespaces: {}}], protocols: [{udp: {destinationPort: {range: {start: 9, end: 9}}}}]}",
            ),
            "spec.ingress[0].protocols[0].udp.destinationPort.range",
        ),
        (cluster, egress("{action: Deny, to: [{networks: [10.0.0.0]}]}"), "spec.egress[0].to[0].networks[0]"),
        (
            cluster,
            egress("{action: Deny, to: [{networks: [10.0.0.0/8, 10.1.0.0/16, 10.0.0.0/8]}]}"),
            "spec.egress[0].to[0].networks[2]",
        ),
        (
            cluster,
            egress("{action: Accept, to: [{domainNames: ['*.example.com.', a-1.b_2.c, '*.com']}]}"),
            "spec.egress[0].to[0].domainNames[2]",
        ),
        (
            admin,
            plain(egress("{action: Allow, to: [{domainNames: [example.com, a.-b.c]}]}")),
            "spec.egress[0].to[0].domainNames[1]",
        ),
        (
            cluster,
            egress("{action: Accept, to: [{domainNames: [a.b, c.d, c.d]}]}"),
            "spec.egress[0].to[0].domainNames[2]",
        ),
        (
            cluster,
            egress("{action: Accept, to: [{nodes: {}}], protocols: [{destinationNamedPort: web}]}"),
            "spec.egress[0]",
        ),
        (
            admin,
            plain(egress("{action: Allow, to: [{namespaces: {}}], ports: [{portNumber: {port: 0}}]}")),
            "spec.egress[0].ports[0].portNumber.port",
        ),
        (
            admin,
            plain(egress(
                "{action: Allow, to: [{namespaces: {}}], ports: [{portNumber: {port: 1, protocol: X}}]}",
            )),
            "spec.egress[0].ports[0].portNumber.protocol",
        ),
        (
            admin,
            plain(egress(
                "{action: Allow, to: [{namespaces: {}}], ports: [{portNumber: {port: 1}, namedPort: x}]}",
            )),
            "spec.egress[0].ports[0]",
        ),
    ];
    for (kind, spec, field) in rows {
        let (version, kind) = kind.split_once(' ').unwrap();
        let text = format!(
            "apiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}"
        );
        let loaded = loaded(&text);
        let told: Vec<_> = loaded.problems.iter().map(|problem| problem.field.as_deref()).collect();
        assert_eq!(told, [Some(field)], "{spec}: {:?}", loaded.problems);
        let settings = Settings { accept_problems: true, ..Settings::default() };
        let store = Store::start(settings, loaded, at(0)).unwrap();
        let kept: Vec<_> = store.snapshot().policies.policies().cloned().collect();
        assert!(matches!(&*kept[0], crate::policy::Policy::NotUnderstood(_)), "{spec}");
    }
}

fn problems(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_folder_is_read_with_its_subfolders_and_each_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("..2026_01");
    fs::create_dir_all(folder.path().join("below")).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("cluster.yaml"), CLUSTER).unwrap();
    symlink("..2026_01", folder.path().join("..data")).unwrap();
    symlink("..data/cluster.yaml", folder.path().join("cluster.yaml")).unwrap();
    symlink("..", folder.path().join("below/up")).unwrap();
    fs::write(folder.path().join("below/policy.yml"), POLICY).unwrap();
    fs::write(folder.path().join("notes.txt"), "kind: [").unwrap();
    fs::write(folder.path().join(".swap.yaml"), "kind: [").unwrap();
    let loaded = load(&folder.path().into()).unwrap();
    assert_eq!(problems(&loaded), [""; 0]);
    let store = Store::start(Settings::default(), loaded, at(0)).unwrap();
    let snapshot = store.snapshot();
    assert_eq!((snapshot.inventory.pods().count(), snapshot.policies.policy_count()), (3, 1));
}

#[test]
fn a_folder_without_manifests_or_no_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(load(&folder.path().into()), Err(ClusterError::Empty { .. })));
    let missing = load(&folder.path().join("missing").into()).unwrap_err();
    assert!(matches!(missing, ClusterError::Folder { .. }), "{missing}");
}

#[test]
fn one_broken_document_does_not_take_the_others_with_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), format!("kind: [\n---{CLUSTER}---{POLICY}")).unwrap();
    fs::write(folder.path().join("b.json"), "{\"kind\": 1, \"kind\": 2}").unwrap();
    symlink("nowhere", folder.path().join("c.yaml")).unwrap();
    fs::write(folder.path().join("d.yaml"), POLICY).unwrap();
    let loaded = load(&folder.path().into()).unwrap();
    let told = problems(&loaded);
    let dir = folder.path().display();
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(
        told[0].starts_with(&format!("{dir}/a.yaml:")) && told[0].contains(", document 1: "),
        "{told:#?}"
    );
    assert!(
        told[1].starts_with(&format!("{dir}/b.json:1, document 1: key `kind` stands twice")),
        "{told:#?}"
    );
    assert!(told[2].starts_with(&format!("{dir}/c.yaml: cannot be read")), "{told:#?}");
    let twice = format!(
        "{dir}/d.yaml, document 1, NetworkPolicy shop/db: is defined before, in {dir}/a.yaml, document 9"
    );
    assert_eq!(told[3], twice);
    let settings = Settings { accept_problems: true, ..Settings::default() };
    let store = Store::start(settings, loaded, at(0)).unwrap();
    assert_eq!(store.snapshot().inventory.pods().count(), 3);
}

#[test]
fn a_touched_file_changes_the_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, POLICY).unwrap();
    let before = fingerprint(&folder.path().into()).unwrap();
    assert_eq!(fingerprint(&folder.path().into()).unwrap(), before);
    assert_eq!(load(&folder.path().into()).unwrap().fingerprint, before);
    let other = folder.path().join("b");
    fs::write(&other, POLICY).unwrap();
    fs::rename(&other, &file).unwrap();
    assert_ne!(
        fingerprint(&folder.path().into()).unwrap(),
        before,
        "another file of the same length in its place"
    );
}

/// Allowed, denied by omission or not: where a policy selects the pod, it says nothing of ICMP.
#[test]
fn what_policies_select_is_not_known_for_icmp() {
    let policy = |spec: &str| {
        let spec = format!("{{policyTypes: [Ingress], podSelector: {{}}{spec}}}");
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: all, namespace: shop}}\nspec: {spec}"
        )
    };
    let rows = [
        ("no policy", String::new(), Decision::Allow, Basis::Unselected),
        ("nothing may enter", policy(""), Decision::Unknown, Basis::Unknown),
        ("all may enter", policy(", ingress: [{}]"), Decision::Unknown, Basis::Unknown),
    ];
    for (name, policy, decision, basis) in rows {
        let snapshot = snapshot(&format!("{CLUSTER}---\n{policy}"));
        let party = |address| Party {
            endpoint: snapshot.inventory.resolve_address(ip(address), at(0)),
            ip: Some(ip(address)),
            port: None,
        };
        let (source, destination) = (party("198.51.100.1"), party("10.1.0.5"));
        let target = Target::Endpoint(destination.endpoint.clone());
        for protocol in [Protocol::Icmp, Protocol::Icmpv6] {
            let verdict = snapshot.evaluate(&source, &destination, &target, protocol, at(0));
            assert_eq!((verdict.decision, verdict.ingress.basis), (decision, basis), "{name}");
            let known = basis != Basis::Unknown;
            assert_eq!(verdict.ingress.reason.is_none(), known, "{name}: {:?}", verdict.ingress);
            assert_eq!(verdict.ingress.policies.is_empty(), known, "{name}: those that select it are named");
            assert_eq!(verdict.egress.basis, Basis::Unselected, "{name}");
        }
        let tcp = snapshot.evaluate(&source, &destination, &target, Protocol::Tcp, at(0));
        assert_ne!(tcp.decision, Decision::Unknown, "{name}");
    }
}
