//! Every hook can be switched off; the kernel's verifier takes what is left, and the start record says what is
//! missing.

use crate::stage::{
    API, FAMILIES, Family, Net, Stage, allow_ports, do_step, end, lacks, missing_hooks, small, told,
};
use flowlog_tests::{Agent, Outcome, Step, agent, program};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

const OPTIONAL: [&str; 12] = [
    "answers",
    "cgroup_rmdir",
    "drop",
    "retransmit",
    "error_report",
    "send",
    "recv",
    "recvmsg4",
    "recvmsg6",
    "sendmsg4",
    "sendmsg6",
    "existing",
];
/// Off unless asked for, here by `--packets`.
const PACKETS: [&str; 2] = ["packets_in", "packets_out"];
/// Where one of them is off, the others are out, too.
const DATAGRAM: [&str; 4] = ["recvmsg4", "recvmsg6", "sendmsg4", "sendmsg6"];
const NEEDED: [&str; 4] = ["cgroup_mkdir", "set_state", "connect4", "connect6"];

fn stage() -> (Net, Stage) {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[7000, 8080]));
    (net, Stage::new(net, &objects))
}

fn off(stage: &Stage, hooks: &[&str]) -> Agent {
    let more: Vec<&str> = hooks.iter().flat_map(|hook| ["--hook-off", hook]).collect();
    stage.agent(&more)
}

fn start_record(agent: &Agent) -> Value {
    told(agent, &json!({"kind": "agent", "agent": {"event": "start"}}))
}

/// The named hooks are off, with what is missing without them; all others that this kernel has are attached.
#[track_caller]
fn check_hooks(start: &Value, off: &[&str]) {
    let hooks = start["agent"]["hooks"].as_array().unwrap();
    assert_eq!(hooks.len(), OPTIONAL.len() + PACKETS.len() + NEEDED.len(), "{hooks:?}");
    let packets = start["agent"]["config"]["packets"] == true;
    for hook in hooks {
        let name = hook["name"].as_str().unwrap();
        let on_them = DATAGRAM.contains(&name) || PACKETS.contains(&name);
        let parted = on_them && off.iter().any(|off| DATAGRAM.contains(off));
        // One of the hooks that see answers taken will do.
        let unseen = name == "answers" && lacks("recv") && off.iter().any(|off| DATAGRAM.contains(off));
        let missing = parted || unseen || missing_hooks().any(|missing| missing == name);
        let unasked = PACKETS.contains(&name) && !packets;
        let (state, told) = match (off.contains(&name) || unasked, missing) {
            (true, _) => ("off", true),
            (false, true) => ("missing", true),
            (false, false) => ("attached", false),
        };
        assert_eq!(
            (hook["state"].as_str(), hook["why"].is_string()),
            (Some(state), told),
            "{hook} with {off:?} off"
        );
    }
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn with_all_hooks_on_all_are_attached() {
    let (_, stage) = stage();
    let agent = off(&stage, &[]);
    check_hooks(&start_record(&agent), &[]);
    end(agent);
}

/// Each alone, and without what they rest on.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn packets_are_observed_where_that_is_asked_for() {
    let (_, stage) = stage();
    for hooks in [&[][..], &["packets_in"], &["packets_out"], &["sendmsg6"]] {
        let mut more = vec!["--packets"];
        more.extend(hooks.iter().flat_map(|hook| ["--hook-off", hook]));
        let agent = stage.agent(&more);
        check_hooks(&start_record(&agent), hooks);
        end(agent);
    }
}

/// Without any one of them, or all, connections are told still: the outcome is at least as the opener saw it.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn each_optional_hook_can_be_off_and_connections_are_told_all_the_same() {
    let (net, mut stage) = stage();
    let _server = stage.serve_api();
    let mut client = stage.actor("client");
    for hooks in OPTIONAL.iter().map(std::slice::from_ref).chain([&OPTIONAL[..]]) {
        let agent = off(&stage, hooks);
        check_hooks(&start_record(&agent), hooks);
        do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
        do_step(&mut client, &Step::connect(net.at(Family::V6, API, 7000)), Outcome::Error);
        told(
            &agent,
            &json!({"source": {"pod": "client"}, "class": "allowed", "outcome": {"state": "established"}}),
        );
        told(
            &agent,
            &json!({"source": {"pod": "client"}, "class": "refused", "outcome": {"errno": "ECONNREFUSED"}}),
        );
        end(agent);
    }
}

/// Without the drop hook a drop is inferred from silence, and says so: no drop reason is made up.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_the_drop_hook_a_drop_is_inferred_and_not_proven() {
    let (net, stage) = stage();
    let rules = "table inet plugin {
        chain forward {
            type filter hook forward priority filter; policy accept;
            tcp dport 8001 drop
        }
    }";
    stage.world.enforce(rules).unwrap();
    let agent = off(&stage, &["drop"]);
    let mut client = stage.actor("client");
    let step = Step::connect(net.at(Family::V4, API, 8001)).within(Duration::from_millis(1_500));
    do_step(&mut client, &step, Outcome::Timeout);
    let first =
        told(&agent, &json!({"destination": {"port": 8001}, "outcome": {"state": "pending", "drop": null}}));
    let part = json!({
        "flow": {"id": first["flow"]["id"], "update": true},
        "class": "denied_attempt",
        "outcome": {"state": "dropped", "drop": null, "evidence": ["syn_retransmitted", "closed_by_process"]},
    });
    told(&agent, &part);
    end(agent);
}

/// Without the send hook connected datagrams are not seen as sent, only as refused, and where they are taken.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_the_send_hook_refused_datagrams_are_told_still() {
    let (net, mut stage) = stage();
    let _server = stage.serve_api();
    let agent = off(&stage, &["send"]);
    let mut client = stage.actor("client");
    do_step(&mut client, &Step::udp(net.at(Family::V4, API, 8080)), Outcome::Answered);
    do_step(&mut client, &Step::udp(net.at(Family::V4, API, 7000)), Outcome::Error);
    let part = json!({
        "flow": {"protocol": "udp", "count": 1},
        "source": {"pod": "client"},
        "destination": {"pod": "api", "port": 7000},
        "outcome": {"state": "refused", "errno": "ECONNREFUSED"},
        "class": "refused",
    });
    told(&agent, &part);
    let ended = end(agent);
    assert_eq!(ended.matching(&json!({"kind": "flow"})).len(), 2, "{:#?}", ended.lines);
    let taken = json!({"flow": {"direction": "ingress"}, "destination": {"port": 8080}, "outcome": {"state": "received"}});
    assert_eq!(ended.matching(&taken).len(), 1, "{:#?}", ended.lines);
}

/// Without the hook on receives an answer to a connected socket is not seen; that its datagram was taken is.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_the_recv_hook_no_answer_to_a_connected_socket_is_claimed() {
    let (net, mut stage) = stage();
    let _server = stage.serve_api();
    let agent = off(&stage, &["recv"]);
    do_step(&mut stage.actor("client"), &Step::udp(net.at(Family::V4, API, 8080)), Outcome::Answered);
    told(
        &agent,
        &json!({"destination": {"port": 8080}, "outcome": {"state": "received"}, "class": "allowed"}),
    );
    let ended = end(agent);
    assert_eq!(ended.matching(&json!({"kind": "flow"})).len(), 1, "{:#?}", ended.lines);
}

/// Without one of the four hooks on datagrams none of them observes: an answer would look like an attempt.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_one_hook_on_datagrams_nothing_is_told_of_them() {
    let (net, mut stage) = stage();
    let _server = stage.serve_api();
    let mut client = stage.actor("client");
    for hook in DATAGRAM {
        let agent = off(&stage, &[hook]);
        for family in FAMILIES {
            let step = Step::UdpSendto { to: net.at(family, API, 8080), timeout_ms: 2_000 };
            do_step(&mut client, &step, Outcome::Answered);
        }
        let ended = end(agent);
        let flows = ended.matching(&json!({"kind": "flow"}));
        assert!(flows.is_empty(), "without {hook}: {flows:#?}");
    }
}

/// A person may switch off what flowlog cannot do without, too: it runs, and says what it misses.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_needed_hook_can_be_off_and_its_absence_is_told() {
    let (_, stage) = stage();
    let all: Vec<&str> = NEEDED.iter().chain(&OPTIONAL).copied().collect();
    for hooks in NEEDED.iter().map(std::slice::from_ref).chain([&all[..]]) {
        let agent = off(&stage, hooks);
        check_hooks(&start_record(&agent), hooks);
        let ended = end(agent);
        for hook in hooks {
            assert!(ended.stderr.contains(hook), "the own log names {hook}:\n{}", ended.stderr);
        }
    }
}

/// Without the hook of one family the opener is not seen; the listener's end is.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_connect4_the_listeners_end_is_told() {
    let (net, mut stage) = stage();
    let _server = stage.serve_api();
    let agent = off(&stage, &["connect4"]);
    let mut client = stage.actor("client");
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    do_step(&mut client, &Step::connect(net.at(Family::V6, API, 8080)), Outcome::Established);
    let end_of = |direction: &str, family: &str| {
        json!({
            "flow": {"direction": direction, "family": family, "count": 1},
            "source": {"pod": "client"},
            "destination": {"pod": "api", "port": 8080},
            "class": "allowed",
        })
    };
    told(&agent, &end_of("ingress", "ipv4"));
    told(&agent, &end_of("egress", "ipv6"));
    end(agent);
}

/// Without the outcome hook nothing is claimed of what became of an attempt, least of all that it was not made.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_the_outcome_hook_no_outcome_is_claimed() {
    let (net, mut stage) = stage();
    let _server = stage.serve_api();
    let agent = off(&stage, &["set_state"]);
    do_step(&mut stage.actor("client"), &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    let record = told(
        &agent,
        &json!({"flow": {"count": 1}, "source": {"pod": "client"}, "destination": {"pod": "api", "port": 8080}}),
    );
    assert_eq!(record["outcome"]["state"], "unknown", "{record}");
    assert_eq!(record["outcome"]["evidence"], json!(["none"]), "{record}");
    end(agent);
}

/// What an older kernel does not name in its types, with the hooks that it lacks for that.
const OLDER: [(&str, &[&str]); 6] = [
    ("SKB_DROP_REASON_NETFILTER_DROP", &["drop"]),
    ("btf_trace_inet_sk_error_report", &["error_report"]),
    ("btf_trace_sock_send_length", &["send"]),
    ("btf_trace_sock_recv_length", &["recv"]),
    // Accepted connections are followed by a number that stands in, too.
    ("bpf_get_socket_ptr_cookie", &["existing"]),
    ("BPF_FUNC_task_pt_regs", &["answers"]),
];

/// A shell's words that hide these names in the kernel's types, and run what follows.
fn hiding(names: &[&str]) -> String {
    let change = |name: &&str| format!("s/{name}/_{}/g", &name[1..]);
    let changes = names.iter().map(change).collect::<Vec<_>>().join(";");
    format!(
        "f=$(mktemp) && LC_ALL=C sed '{changes}' /sys/kernel/btf/vmlinux >$f && \
         mount --bind $f /sys/kernel/btf/vmlinux && rm $f && exec \"$@\""
    )
}

/// Each fallback is told by `check` and by the run, which agree, and connections are told still.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_the_kernel_does_not_offer_is_told_by_check_and_by_the_run() {
    let (net, mut stage) = stage();
    let _server = stage.serve_api();
    let mut client = stage.actor("client");
    let all = OLDER.map(|(name, _)| name);
    let none: BTreeSet<&str> = missing_hooks().collect();
    let cases = OLDER.iter().map(|(name, hooks)| (vec![*name], hooks.to_vec()));
    let cases = cases.chain([(all.to_vec(), OLDER.iter().flat_map(|(_, hooks)| *hooks).copied().collect())]);
    for (names, hooks) in cases {
        let expected: BTreeSet<&str> = none.iter().copied().chain(hooks).collect();
        let script = hiding(&names);
        let starter = ["--mount", "sh", "-c", &script, "sh"];
        let flowlog = program::flowlog().unwrap();
        let check = Command::new("unshare")
            .args(starter)
            .arg(&flowlog)
            .args(["check", "--output", "json"])
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(1), "{names:?}: {check:?}");
        let check: Value = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!(missing(&check["hooks"]), expected, "{names:?}: by check: {check:#}");
        let mut arguments: Vec<std::ffi::OsString> = starter.iter().map(Into::into).collect();
        arguments.push(flowlog.into());
        arguments.extend(stage.arguments(&[]));
        let agent = agent::Start::new(arguments).program("/usr/bin/unshare".into()).start().unwrap();
        let start = start_record(&agent);
        assert_eq!(missing(&start["agent"]["hooks"]), expected, "{names:?}: by the run: {start:#}");
        do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
        told(
            &agent,
            &json!({
                "flow": {"direction": "egress"},
                "source": {"pod": "client"},
                "destination": {"pod": "api"},
                "outcome": {"state": "established", "evidence": ["handshake", "accepted"]},
                "class": "allowed",
            }),
        );
        end(agent);
    }
}

fn missing(hooks: &Value) -> BTreeSet<&str> {
    let missing = hooks.as_array().unwrap().iter().filter(|hook| hook["state"] == "missing");
    missing.map(|hook| hook["name"].as_str().unwrap()).collect()
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn the_kernel_halfs_own_debug_lines_load_and_change_nothing() {
    let (net, mut stage) = stage();
    let _server = stage.serve_api();
    let agent = stage.agent(&["--kernel-log", "--log", "debug"]);
    check_hooks(&start_record(&agent), &[]);
    do_step(&mut stage.actor("client"), &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    told(
        &agent,
        &json!({"source": {"pod": "client"}, "class": "allowed", "outcome": {"state": "established"}}),
    );
    let ended = end(agent);
    assert!(ended.matching(&json!({"kind": "loss"})).is_empty(), "{:#?}", ended.lines);
}
