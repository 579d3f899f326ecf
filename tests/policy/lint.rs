//! What `flowlog policy lint` claims, held against the oracle: what it calls useless can be taken out of a random
//! cluster without changing an answer, and what it calls a contradiction is one.

use flowlog_tests::case::{Case, Decision, Protocol, Query};
use flowlog_tests::{oracle, program, random};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::process::Command;
use std::thread;

/// How many random clusters.
const SEEDS: u64 = 150;

/// Connections that are asked about, of all that can be made of known ends and ports.
const QUESTIONS: usize = 60;

fn lint(case: &Case) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.json"), case.manifest().to_string()).unwrap();
    let mut lint = Command::new(program::flowlog().unwrap());
    let output =
        lint.args(["policy", "lint", "--output", "json", "--manifests"]).arg(folder.path()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{} {output:?}", case.id);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told["findings"].as_array().unwrap().clone()
}

fn addresses(case: &Case) -> Vec<IpAddr> {
    let of_pods = case.pods.iter().flat_map(|pod| pod["status"]["podIPs"].as_array().into_iter().flatten());
    let of_pods = of_pods.map(|each| &each["ip"]).chain(case.pods.iter().map(|pod| &pod["status"]["podIP"]));
    let of_nodes =
        case.nodes.iter().flat_map(|node| node["status"]["addresses"].as_array().into_iter().flatten());
    let all = of_pods.chain(of_nodes.map(|each| &each["address"]));
    let outside = ["8.8.8.8", "198.51.100.7", "10.244.9.9", "2606:4700::1111"].map(Value::from);
    let read = |written: &Value| written.as_str()?.parse().ok();
    let mut found: Vec<IpAddr> = all.filter_map(read).chain(outside.iter().filter_map(read)).collect();
    found.sort();
    found.dedup();
    found
}

/// The case's own questions, and some of all that there are.
fn questions(case: &Case) -> Vec<Query> {
    let ends = addresses(case);
    let mut all = Vec::new();
    for (source, destination) in ends.iter().flat_map(|one| ends.iter().map(move |other| (*one, *other))) {
        if source.is_ipv4() != destination.is_ipv4() {
            continue;
        }
        for port in [1, 53, 80, 81, 443, 8080, 9090, 65535] {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                all.push(Query {
                    id: 0,
                    src_ip: source,
                    dst_ip: destination,
                    port,
                    protocol,
                    tags: Vec::new(),
                });
            }
        }
    }
    // A step that shares no part with the lists' lengths meets every end and every port.
    let step = (all.len() / QUESTIONS).max(1) | 1;
    case.queries.iter().cloned().chain(all.into_iter().step_by(step)).collect()
}

/// The list of policies of a kind.
fn list<'a>(case: &'a mut Case, kind: &Value) -> &'a mut Vec<Value> {
    match kind.as_str().unwrap() {
        "NetworkPolicy" => &mut case.network_policies,
        "AdminNetworkPolicy" => &mut case.admin_network_policies,
        "BaselineAdminNetworkPolicy" => &mut case.baseline_admin_network_policies,
        "ClusterNetworkPolicy" => &mut case.cluster_network_policies,
        other => panic!("{other}"),
    }
}

/// `spec.ingress[1].from[0]` in steps: names and places.
fn steps(field: &str) -> Vec<Value> {
    let parts = field.split(['.', '[', ']']).filter(|part| !part.is_empty());
    parts.map(|part| part.parse::<usize>().map_or_else(|_| json!(part), |place| json!(place))).collect()
}

fn at<'a>(value: &'a mut Value, steps: &[Value]) -> &'a mut Value {
    steps.iter().fold(value, |value, step| match step.as_u64() {
        Some(place) => &mut value[usize::try_from(place).unwrap()],
        None => &mut value[step.as_str().unwrap()],
    })
}

/// The case without what the finding is about; a rule whose last peer or port goes, goes as well.
fn without(case: &Case, finding: &Value) -> Case {
    let mut case = case.clone();
    let policies = list(&mut case, &finding["kind"]);
    let is_it = |policy: &Value| {
        policy["metadata"]["name"] == finding["name"]
            && policy["metadata"].get("namespace").is_none_or(|space| *space == finding["namespace"])
    };
    let place = policies.iter().position(is_it).unwrap_or_else(|| panic!("{finding}"));
    let field = finding["field"].as_str().unwrap();
    let mut path = steps(field);
    if finding["rule"] == "selects-nothing" || field == "spec" {
        policies.remove(place);
        return case;
    }
    if finding["rule"] == "named-port-undeclared" {
        path.pop();
    }
    let is_rule = finding["rule"] == "shadowed-rule";
    let last = usize::try_from(path.pop().unwrap().as_u64().unwrap()).unwrap();
    let items = at(&mut policies[place], &path).as_array_mut().unwrap();
    if items.len() > 1 || is_rule {
        items.remove(last);
        return case;
    }
    // The list itself, then the rule.
    path.pop();
    let rule = usize::try_from(path.pop().unwrap().as_u64().unwrap()).unwrap();
    at(&mut policies[place], &path).as_array_mut().unwrap().remove(rule);
    case
}

/// The oracle's answers to some questions about a case.
struct Answered<'a> {
    case: &'a Case,
    questions: Vec<Query>,
    answers: Vec<oracle::Answer>,
}

impl<'a> Answered<'a> {
    fn new(case: &'a Case) -> Self {
        let questions = questions(case);
        let answers = questions.iter().map(|query| oracle::evaluate(case, query)).collect();
        Self { case, questions, answers }
    }

    /// A question that another case answers otherwise.
    fn differing(&self, other: &Case) -> Option<String> {
        self.questions.iter().zip(&self.answers).find_map(|(query, before)| {
            let after = oracle::evaluate(other, query);
            let decisions = |answer: &oracle::Answer| [answer.ingress.decision, answer.egress.decision];
            // What nothing defines may become defined by one rule less.
            let both = decisions(before).into_iter().zip(decisions(&after));
            let is_same = both.clone().all(|(before, after)| before == after || before == Decision::Unknown);
            (!is_same).then(|| format!("{} {query:?}\n  before {before:?}\n  after {after:?}", self.case.id))
        })
    }
}

/// `…: pod a/b to pod c/d, port 80/TCP, is …` as a question.
fn contradiction(case: &Case, message: &str) -> Query {
    let (_, told) = message.split_once("goes first: ").unwrap();
    let (connection, _) = told.split_once(", is `").unwrap();
    let (ends, port) = connection.split_once(", port ").unwrap();
    let (source, destination) = ends.split_once(" to ").unwrap();
    let (port, protocol) = port.split_once('/').unwrap();
    let ip = |end: &str| {
        let Some(name) = end.strip_prefix("pod ") else { return end.parse().unwrap() };
        let is_it = |pod: &&Value| {
            let part = |part: &str| pod["metadata"][part].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", part("namespace"), part("name")) == name
        };
        let pod = case.pods.iter().find(is_it).unwrap();
        let listed = &pod["status"]["podIPs"][0]["ip"];
        let ip = if listed.is_null() { &pod["status"]["podIP"] } else { listed };
        ip.as_str().unwrap().parse().unwrap()
    };
    Query {
        id: 0,
        src_ip: ip(source),
        dst_ip: ip(destination),
        port: port.parse().unwrap(),
        protocol: serde_json::from_value(protocol.into()).unwrap(),
        tags: Vec::new(),
    }
}

/// With a pod where every cluster has one, so that the pods are taken for all there are.
fn with_system(mut case: Case) -> Case {
    let name = "kube-system";
    case.namespaces
        .push(json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}));
    case.pods.push(json!({
        "metadata": {"name": "dns", "namespace": name, "labels": {"k8s-app": "kube-dns"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "dns"}]},
        "status": {"phase": "Running", "podIP": "10.244.7.7", "podIPs": [{"ip": "10.244.7.7"}]},
    }));
    case
}

/// Wrong claims, and how many of each rule there were.
fn claims(seeds: Range<u64>) -> (Vec<String>, BTreeMap<String, usize>) {
    const USELESS: [&str; 4] =
        ["shadowed-rule", "selects-nothing", "peer-matches-nothing", "named-port-undeclared"];
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::new());
    for seed in seeds {
        // With `policyTypes` written, so that the last rule of a direction may go.
        let whole = with_system(random::stored(&random::cluster(seed)));
        // A third of them with parts that cannot be read.
        let is_damaged = seed % 3 == 0;
        let case = if is_damaged { random::damaged(&whole, seed) } else { whole };
        let answered = Answered::new(&case);
        let findings = lint(&case);
        for finding in &findings {
            let rule = finding["rule"].as_str().unwrap();
            *counts.entry(rule.to_owned()).or_insert(0) += 1;
            if USELESS.contains(&rule) {
                let differs = answered.differing(&without(&case, finding));
                wrong.extend(differs.map(|differs| format!("seed {seed} {finding}\n  {differs}")));
            }
            if rule == "equal-priority" {
                let query = contradiction(&case, finding["message"].as_str().unwrap());
                let answer = oracle::evaluate(&case, &query);
                let is_one = [answer.ingress.decision, answer.egress.decision].contains(&Decision::Unknown);
                wrong.extend((!is_one).then(|| format!("seed {seed} {finding}\n  {query:?} {answer:?}")));
            }
            assert!(
                is_damaged || !["rejected", "unread"].contains(&rule),
                "seed {seed}: the cluster can be read: {finding}"
            );
        }
        // All shadowed rules at once: the last of a list first, so that the places of the others stay.
        let mut shadowed: Vec<&Value> =
            findings.iter().filter(|one| one["rule"] == "shadowed-rule").collect();
        shadowed.sort_by_key(|one| one["field"].to_string());
        let all = shadowed.iter().rev().fold(case.clone(), |case, finding| without(&case, finding));
        wrong.extend(answered.differing(&all).map(|differs| format!("seed {seed}, all\n  {differs}")));
    }
    (wrong, counts)
}

#[test]
fn what_is_called_useless_changes_no_answer_when_it_goes() {
    let halves = thread::scope(|scope| {
        let halves = [0..SEEDS / 2, SEEDS / 2..SEEDS].map(|seeds| scope.spawn(|| claims(seeds)));
        halves.map(|half| half.join().unwrap())
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (rule, count) in halves.iter().flat_map(|(_, counts)| counts) {
        *counts.entry(rule.clone()).or_insert(0) += count;
    }
    let wrong: Vec<&String> = halves.iter().flat_map(|(wrong, _)| wrong).collect();
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong[0]);
    for rule in [
        "shadowed-rule",
        "selects-nothing",
        "peer-matches-nothing",
        "named-port-undeclared",
        "equal-priority",
    ] {
        assert!(
            counts.get(rule).is_some_and(|count| *count >= 15),
            "too few claims to say anything: {counts:?}"
        );
    }
}
