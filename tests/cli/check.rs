//! `flowlog check`: text for people, JSON for programs, an exit code for scripts.

use crate::bin::Place;
use serde_json::Value;

const HOST: [&str; 8] =
    ["kernel", "btf", "ring_buffer", "cgroup2", "capabilities", "lockdown", "bpffs", "pinned"];
const HOOKS: [&str; 18] = [
    "cgroup_mkdir",
    "cgroup_rmdir",
    "set_state",
    "drop",
    "retransmit",
    "error_report",
    "send",
    "recv",
    "recvmsg4",
    "recvmsg6",
    "sendmsg4",
    "sendmsg6",
    "packets_in",
    "packets_out",
    "connect4",
    "connect6",
    "existing",
    "answers",
];

fn rows<'a>(report: &'a Value, part: &str) -> Vec<&'a Value> {
    report[part].as_array().unwrap().iter().collect()
}

/// Whatever this host has: every row is there, and the exit code follows from the rows.
#[test]
fn json_has_every_row_and_the_exit_code_is_what_they_come_to() {
    let said = Place::new().flowlog(&["check", "--output", "json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    for (part, names) in [("host", &HOST[..]), ("hooks", &HOOKS)] {
        let found: Vec<_> = rows(&report, part).iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{part}");
    }
    let mut worst = 0;
    for row in rows(&report, "host").into_iter().chain(rows(&report, "hooks")) {
        let needed = row["needed"].as_bool().unwrap();
        let weight = match row["state"].as_str().unwrap() {
            "ok" => 0,
            "missing" if needed => 2,
            "degraded" | "missing" => 1,
            other => panic!("unknown state {other}: {row}"),
        };
        let explained = row["without"].is_string() && row["remedy"].is_string();
        assert_eq!(weight > 0, explained, "what is not there says what it costs and how to mend it: {row}");
        assert!(row["found"].as_str().is_some_and(|found| !found.is_empty()), "{row}");
        worst = worst.max(weight);
    }
    assert_eq!(said.code, Some(worst), "{report:#}");
    let results = ["complete", "degraded", "cannot_run"];
    assert_eq!(report["result"], results[usize::try_from(worst).unwrap()], "{report:#}");
    assert_eq!(report["kernel"], std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
    assert_eq!(said.stderr, "");
}

#[test]
fn text_has_every_row_on_80_columns() {
    let said = Place::new().flowlog(&["check"]);
    for name in HOST.iter().chain(&HOOKS) {
        assert!(
            said.stdout.lines().any(|line| line.split_whitespace().nth(1) == Some(name)),
            "{name}:\n{}",
            said.stdout
        );
    }
    let long: Vec<&str> = said.stdout.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_host_with_everything_is_complete() {
    let said = Place::new().flowlog(&["check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("sees all that it can see"), "{}", said.stdout);
}

/// What `check` says of a missing capability is what stands in the way of `run`.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_missing_capability_is_named_with_its_remedy() {
    for (bounds, missing) in [
        ("--bounding-set=-perfmon,-sys_admin", "CAP_PERFMON not effective"),
        ("--bounding-set=-all", "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN not effective"),
    ] {
        let said = Place::new().under(&["setpriv", bounds], &["check", "--output", "json"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        let report: Value = serde_json::from_str(&said.stdout).unwrap();
        let row =
            rows(&report, "host").into_iter().find(|row| row["name"] == "capabilities").unwrap().clone();
        assert_eq!((&row["state"], &row["found"]), (&"missing".into(), &missing.into()), "{row}");
        assert!(row["remedy"].as_str().unwrap().contains("CAP_PERFMON"), "{row}");
    }
    // CAP_SYS_ADMIN stands for all three.
    let said = Place::new().under(&["setpriv", "--bounding-set=-bpf,-perfmon,-net_admin"], &["check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_cgroup_that_is_none_is_told() {
    let said = Place::new().flowlog(&["check", "--cgroup-root", "/nowhere"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stdout.contains("/nowhere is no directory of a cgroup2 hierarchy"), "{}", said.stdout);
}

#[test]
fn an_unknown_format_is_refused() {
    let said = Place::new().flowlog(&["check", "--output", "xml"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("text, json"), "{}", said.stderr);
}
