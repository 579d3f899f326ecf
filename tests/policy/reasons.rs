//! What an answer of the oracle says beside the decision: basis, tier, and the policies that decided.

use flowlog_tests::case::{Case, Decision, Protocol, Query};
use flowlog_tests::oracle::{self, Answer, Direction};
use serde_json::{Value, json};

const CLIENT: &str = "10.244.0.10";
const SERVER: &str = "10.244.0.20";
const OUTSIDE: &str = "198.51.100.7";

fn pod(name: &str, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "x", "labels": {"app": name}},
        "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIP": ip},
    })
}

/// Two pods of one node, and these policies.
fn cluster(policies: &[Value]) -> Case {
    let of = |kind: &str| policies.iter().filter(|policy| policy["kind"] == kind).cloned().collect();
    Case {
        nodes: vec![json!({
            "metadata": {"name": "n1"}, "status": {"addresses": [{"address": "192.168.0.1"}]},
        })],
        namespaces: vec![json!({"metadata": {"name": "x"}})],
        pods: vec![pod("client", CLIENT), pod("server", SERVER)],
        network_policies: of("NetworkPolicy"),
        admin_network_policies: of("AdminNetworkPolicy"),
        baseline_admin_network_policies: of("BaselineAdminNetworkPolicy"),
        cluster_network_policies: of("ClusterNetworkPolicy"),
        ..Case::default()
    }
}

fn ask(case: &Case, source: &str, destination: &str) -> Answer {
    let query = Query {
        id: 0,
        src_ip: source.parse().unwrap(),
        dst_ip: destination.parse().unwrap(),
        port: 80,
        protocol: Protocol::Tcp,
        tags: Vec::new(),
    };
    oracle::evaluate(case, &query)
}

/// `decision basis tier kind/namespace/name[rule] …`
fn words(direction: &Direction) -> String {
    let tier = direction.tier.map_or("none".to_owned(), |tier| format!("{tier:?}"));
    let policies = direction.policies.iter().map(|policy| {
        let rule = policy.rule.map_or(String::new(), |rule| format!("[{rule}]"));
        format!(" {}/{}/{}{rule}", policy.kind, policy.namespace.as_deref().unwrap_or_default(), policy.name)
    });
    let policies: String = policies.collect();
    format!("{:?} {:?} {tier}{policies}", direction.decision, direction.basis)
}

fn network_policy(name: &str, ingress: &Value) -> Value {
    json!({
        "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "x"},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "ingress": ingress},
    })
}

fn admin(name: &str, priority: u16, actions: &[&str]) -> Value {
    json!({
        "kind": "AdminNetworkPolicy", "metadata": {"name": name},
        "spec": {"priority": priority, "subject": {"namespaces": {}}, "ingress": rules(actions)},
    })
}

fn of_version(version: &str, mut policy: Value) -> Value {
    policy["apiVersion"] = format!("policy.networking.k8s.io/{version}").into();
    policy
}

fn baseline(actions: &[&str]) -> Value {
    json!({
        "kind": "BaselineAdminNetworkPolicy", "metadata": {"name": "default"},
        "spec": {"subject": {"namespaces": {}}, "ingress": rules(actions)},
    })
}

fn rules(actions: &[&str]) -> Value {
    actions.iter().map(|action| json!({"action": action, "from": [{"namespaces": {}}]})).collect()
}

#[test]
fn ingress_names_basis_tier_and_policies() {
    let nobody = json!([{"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]}]);
    let client =
        json!([{"ports": [{"port": 81}]}, {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]);
    let unread = json!([{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]);
    let table: [(&str, &[Value], &str, &str); 17] = [
        ("nothing is declared", &[], CLIENT, "Allow Unselected Default"),
        ("a pod to itself", &[network_policy("a", &json!([]))], SERVER, "Allow Itself none"),
        ("from its own node", &[network_policy("a", &json!([]))], "192.168.0.1", "Allow Node none"),
        (
            "isolated by two, both are named",
            &[network_policy("b", &nobody), network_policy("a", &json!([]))],
            CLIENT,
            "Deny Isolated Namespace NetworkPolicy/x/a NetworkPolicy/x/b",
        ),
        (
            "allowed by the second rule of one of two",
            &[network_policy("a", &nobody), network_policy("b", &client)],
            CLIENT,
            "Allow Policy Namespace NetworkPolicy/x/b[1]",
        ),
        (
            "allowed by two, both are named",
            &[network_policy("a", &json!([{}])), network_policy("b", &client)],
            CLIENT,
            "Allow Policy Namespace NetworkPolicy/x/a[0] NetworkPolicy/x/b[1]",
        ),
        (
            "a rule that cannot be read beside none that matches",
            &[network_policy("a", &unread)],
            CLIENT,
            "Unknown Unknown none NetworkPolicy/x/a NetworkPolicy/x/a[0]",
        ),
        (
            "a rule that cannot be read beside one that matches",
            &[network_policy("a", &unread), network_policy("b", &json!([{}]))],
            CLIENT,
            "Allow Policy Namespace NetworkPolicy/x/b[0]",
        ),
        (
            "the first rule of the first priority",
            &[admin("a", 7, &["Allow"]), admin("b", 5, &["Deny", "Allow"])],
            CLIENT,
            "Deny Policy Admin AdminNetworkPolicy//b[0]",
        ),
        (
            "passed on to the namespace",
            &[admin("a", 5, &["Pass"]), network_policy("b", &json!([]))],
            CLIENT,
            "Deny Isolated Namespace NetworkPolicy/x/b",
        ),
        (
            "two of one priority agree",
            &[admin("a", 5, &["Deny"]), admin("b", 5, &["Deny"])],
            CLIENT,
            "Deny Policy Admin AdminNetworkPolicy//a[0] AdminNetworkPolicy//b[0]",
        ),
        (
            "two of one priority contradict",
            &[admin("a", 5, &["Deny"]), admin("b", 5, &["Allow"])],
            CLIENT,
            "Unknown Unknown none AdminNetworkPolicy//a[0] AdminNetworkPolicy//b[0]",
        ),
        (
            "two of one priority contradict below one that decides",
            &[admin("a", 5, &["Deny"]), admin("b", 5, &["Allow"]), admin("c", 1, &["Allow"])],
            CLIENT,
            "Allow Policy Admin AdminNetworkPolicy//c[0]",
        ),
        (
            "a version that is not known may stand before any priority",
            &[admin("a", 1, &["Deny"]), of_version("v9", admin("b", 900, &["Allow"]))],
            CLIENT,
            "Unknown Unknown none AdminNetworkPolicy//a[0] AdminNetworkPolicy//b",
        ),
        (
            "the baseline",
            &[baseline(&["Deny"])],
            CLIENT,
            "Deny Policy Baseline BaselineAdminNetworkPolicy//default[0]",
        ),
        (
            "an action that the baseline does not have",
            &[baseline(&["Pass"])],
            CLIENT,
            "Unknown Unknown none BaselineAdminNetworkPolicy//default[0]",
        ),
        (
            "namespaces do not match the outside",
            &[admin("a", 5, &["Deny"]), network_policy("b", &json!([{}]))],
            OUTSIDE,
            "Allow Policy Namespace NetworkPolicy/x/b[0]",
        ),
    ];
    for (name, policies, source, expected) in table {
        assert_eq!(words(&ask(&cluster(policies), source, SERVER).ingress), expected, "{name}");
    }
}

#[test]
fn an_address_that_two_pods_claim_is_unknown() {
    let mut case = cluster(&[]);
    case.pods.push(pod("twin", SERVER));
    let answer = ask(&case, CLIENT, SERVER);
    assert_eq!(words(&answer.ingress), "Unknown Unknown none");
    assert_eq!(answer.combined, Decision::Unknown);
}

#[test]
fn a_denied_direction_decides_whatever_the_other_is() {
    let unread = json!({
        "kind": "NetworkPolicy", "metadata": {"name": "b", "namespace": "x"},
        "spec": {"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": "all"},
    });
    let answer = ask(&cluster(&[network_policy("a", &json!([])), unread]), CLIENT, SERVER);
    let decisions = [answer.ingress.decision, answer.egress.decision, answer.combined];
    assert_eq!(decisions, [Decision::Deny, Decision::Unknown, Decision::Deny]);
}

#[test]
fn a_domain_name_is_not_held_against_an_address() {
    let spec = json!({
        "tier": "Admin", "priority": 5, "subject": {"namespaces": {}},
        "egress": [{"action": "Accept", "to": [{"domainNames": ["example.org"]}]}],
    });
    let accept = json!({"kind": "ClusterNetworkPolicy", "metadata": {"name": "c"}, "spec": spec});
    let deny = json!({
        "kind": "NetworkPolicy", "metadata": {"name": "a", "namespace": "x"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    });
    let answer = |policies: &[Value]| words(&ask(&cluster(policies), CLIENT, OUTSIDE).egress);
    assert_eq!(answer(std::slice::from_ref(&accept)), "Allow Unselected Default", "it is allowed either way");
    assert_eq!(answer(&[accept, deny]), "Unknown Unknown none ClusterNetworkPolicy//c[0] NetworkPolicy/x/a");
}

/// What a policy does not select it cannot decide, however little of it is understood.
#[test]
fn a_network_policy_that_is_not_understood_is_about_what_it_selects() {
    let policy = |namespace: &str, field: &str, spec: Value| {
        json!({
            "kind": "NetworkPolicy", field: "networking.k8s.io/v9",
            "metadata": {"name": "a", "namespace": namespace}, "spec": spec,
        })
    };
    let odd = |app: &str| json!({"podSelector": {"matchLabels": {"app": app}}, "mode": "strict"});
    let table = [
        ("a version, in the pod's namespace", policy("x", "apiVersion", json!({})), Decision::Unknown),
        ("a version, elsewhere", policy("y", "apiVersion", json!({})), Decision::Allow),
        ("a field, selecting the pod", policy("x", "comment", odd("server")), Decision::Unknown),
        ("a field, selecting another", policy("x", "comment", odd("client")), Decision::Allow),
    ];
    for (name, policy, expected) in table {
        assert_eq!(ask(&cluster(&[policy]), OUTSIDE, SERVER).combined, expected, "{name}");
    }
}
