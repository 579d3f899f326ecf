//! Which output is given what: flows of each kind, outputs that want some of them, and books that add up exactly.

use crate::stage::{
    API, CLIENT, Family, Net, Stage, allow_ports, any, base, check_lines, deny_ingress, do_step, number,
    place, pod, sum, told, write,
};
use flowlog_tests::{Ended, Listen, Outcome, Server, Step, matching};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const CLOSED: u8 = 31;
const FREE: u8 = 32;

/// To `api` a policy allows it, to `closed` one denies it and nothing enforces that, of `free` no policy speaks.
fn objects(net: Net) -> Vec<Value> {
    let mut objects = base(net);
    let pods = [("client", CLIENT), ("api", API), ("closed", CLOSED), ("free", FREE)];
    objects.extend(pods.map(|(name, last)| pod(net, name, last)));
    objects.extend([allow_ports("api", "api", &[8080]), deny_ingress("closed", "closed")]);
    objects
}

fn serve(stage: &mut Stage) -> Vec<Server> {
    let listen = Listen { tcp: vec![any(8080)], ..Listen::default() };
    let pods = ["api", "closed", "free"];
    pods.map(|pod| stage.world.serve(&place(pod), Some(pod), &listen).unwrap()).into()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Kind and class of a line, in flowlog's own format or in ECS.
fn kind_and_class(line: &Value) -> (&str, &str) {
    let kind = line["kind"].as_str().or_else(|| line["event"]["dataset"].as_str()?.strip_prefix("flowlog."));
    let class = line["class"].as_str().or_else(|| line["event"]["action"].as_str());
    (kind.unwrap_or_default(), class.unwrap_or_default())
}

/// Attempts of the flows among these lines; of this class alone, where one is named.
fn attempts(lines: &[Value], class: Option<&str>) -> u64 {
    let is_asked = |line: &&Value| {
        let (kind, of) = kind_and_class(line);
        kind == "flow" && class.is_none_or(|class| class == of)
    };
    let own =
        |line: &'_ Value| if line["flowlog"].is_object() { line["flowlog"].clone() } else { line.clone() };
    let own: Vec<Value> = lines.iter().filter(is_asked).map(own).collect();
    sum(&own.iter().collect::<Vec<_>>())
}

fn of_kind(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| kind_and_class(line).0 == kind).count()
}

/// What was seen is in one of the books, and what was recorded is in each output's.
fn check_books(ended: &Ended) -> Value {
    let counters = ended.stop_record().unwrap()["agent"]["counters"].clone();
    let of = |name: &str| number(&counters["attempts"][name]);
    assert_eq!(
        of("seen"),
        of("recorded") + of("lost") + of("out_of_scope") + of("unselected"),
        "{counters:#}"
    );
    for (name, sink) in counters["sinks"].as_object().unwrap() {
        let of_sink = ["attempts", "lost_attempts", "unselected"].map(|part| number(&sink[part]));
        assert_eq!(of_sink.iter().sum::<u64>(), of("recorded"), "{name}: {counters:#}");
    }
    counters
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn each_output_is_given_what_it_wants_and_the_books_add_up() {
    let net = Net::new();
    let mut stage = Stage::new(net, &objects(net));
    let _servers = serve(&mut stage);
    let logs = tempfile::tempdir().unwrap();
    let [news, closed] = ["news.json", "closed.json"].map(|name| logs.path().join(name));
    let settings = json!({
        "only": "denials",
        "outputs": [
            "stdout",
            {"to": news, "only": "all", "deny": [{"class": "allowed", "destination": {"port": 8080}}]},
            {"to": closed, "format": "ecs", "only": "all", "allow": [{"destination": {"pod": "shop/clos*"}}]},
        ],
    });
    write(logs.path(), "flowlog.yaml", &settings.to_string());
    let config = logs.path().join("flowlog.yaml");
    let agent = stage.agent(&["--each", "--config", config.to_str().unwrap()]);
    let mut client = stage.actor("client");
    for (last, times) in [(API, 5), (CLOSED, 3), (FREE, 2)] {
        for _ in 0..times {
            do_step(&mut client, &Step::connect(net.at(Family::V4, last, 8080)), Outcome::Established);
        }
    }
    told(&agent, &json!({"kind": "finding", "finding": {"id": "FL101"}}));
    let ended = agent.stop().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let counters = check_books(&ended);
    check_lines(&ended.lines);
    let (news_lines, closed_lines) = (lines(&news), lines(&closed));
    check_lines(&news_lines);
    // Allowed flows are for nobody.
    assert_eq!(number(&counters["attempts"]["recorded"]), 5, "{counters:#}");
    assert_eq!(number(&counters["attempts"]["unselected"]), 5, "{counters:#}");
    let rows: [(&str, &[Value], [u64; 3]); 3] = [
        ("stdout", &ended.lines, [0, 3, 0]),
        (news.to_str().unwrap(), &news_lines, [0, 3, 2]),
        (&format!("ecs={}", closed.display()), &closed_lines, [0, 3, 0]),
    ];
    for (name, lines, expected) in rows {
        let classes = ["allowed", "policy_not_enforced", "unrestricted"];
        assert_eq!(classes.map(|class| attempts(lines, Some(class))), expected, "{name}");
        assert_eq!(
            attempts(lines, None),
            number(&counters["sinks"][name]["attempts"]),
            "{name}: {counters:#}"
        );
        assert_eq!(
            number(&counters["sinks"][name]["unselected"]),
            5 - expected.iter().sum::<u64>(),
            "{name}"
        );
        // What tells of the agent goes to everybody, and so do losses; this finding is wanted by each.
        assert!(of_kind(lines, "agent") >= 2, "{name}");
        assert!(of_kind(lines, "finding") >= 1, "{name}");
    }
}

/// A name that is the own pods', so that nothing but what is allowed between them waits.
const OWN: &str = "first_party: {images: [example.test/]}\n";

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_is_allowed_between_own_pods_of_a_namespace_waits_from_the_first_on() {
    let net = Net::new();
    let mut stage = Stage::new(net, &objects(net));
    let _servers = serve(&mut stage);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "vendors.yaml", OWN);
    let vendors = folder.path().join("vendors.yaml");
    let allowed = json!({"kind": "flow", "class": "allowed", "flow": {"direction": "egress"}});
    let closed = json!({"kind": "flow", "class": "policy_not_enforced", "destination": {"pod": "closed"}});
    for (more, at_once) in [(&[][..], false), (&["--own-at-once"], true)] {
        let agent = stage.agent(&[&["--vendors", vendors.to_str().unwrap()], more].concat());
        let mut client = stage.actor("client");
        let mut connect = |last| {
            do_step(&mut client, &Step::connect(net.at(Family::V4, last, 8080)), Outcome::Established);
        };
        connect(API);
        connect(API);
        connect(CLOSED);
        // Whatever is written at once of the connections before is there by then.
        told(&agent, &closed);
        assert_eq!(agent.has(|line| matching::contains(line, &allowed)), at_once);
        let ended = agent.stop().unwrap();
        check_books(&ended);
        let flows = ended.matching(&allowed);
        assert_eq!(sum(&flows), 2, "{flows:#?}");
        assert_eq!(flows[0]["flow"]["count"], if at_once { 1 } else { 2 }, "{flows:#?}");
        assert_eq!(flows[0]["source"]["origin"], "first_party");
    }
}
