//! What the agent gives up once it has attached, and that it goes on working without it.

use crate::stage::{API, Family, Net, SOON, Stage, do_step, end, kernel, small};
use flowlog_tests::{Agent, Outcome, Step, agent, wait};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

/// A line of `/proc/PID/status`.
fn status(agent: &Agent, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{key} in {text}")).trim().to_owned()
}

/// Effective, permitted, inheritable, bounding and ambient capabilities.
fn capabilities(agent: &Agent) -> [u64; 5] {
    ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"]
        .map(|key| u64::from_str_radix(&status(agent, key), 16).unwrap())
}

/// What reading a map takes on kernels before 6.0, and is kept there.
fn kept() -> u64 {
    const CAP_BPF: u64 = 1 << 39;
    if kernel() < (6, 0) { CAP_BPF } else { 0 }
}

/// By its name, with others.
fn kept_names(others: &[&str]) -> Value {
    let kept = ["CAP_BPF"].into_iter().filter(|_| kept() != 0);
    kept.chain(others.iter().copied()).collect()
}

/// Whether this kernel confines files (5.13, where it is switched on, which securityfs tells; where that is not mounted,
/// whether it has it at all).
fn has_landlock() -> bool {
    match fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(modules) => modules.split(',').any(|module| module.trim() == "landlock"),
        Err(_) => fs::read_to_string("/proc/kallsyms").unwrap().contains("landlock_restrict_self"),
    }
}

fn confinement(agent: &Agent) -> Value {
    agent.lines().into_iter().find(|line| line["agent"]["event"] == "start").unwrap()["agent"]["confinement"]
        .clone()
}

fn works(stage: &mut Stage, agent: &Agent, net: Net) -> Value {
    let _server = stage.serve_api();
    let mut client = stage.actor("client");
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    agent
        .wait_for(&json!({"kind": "flow", "class": "unrestricted", "process": {"comm": "curl"}}), SOON)
        .unwrap()
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn once_attached_it_holds_no_capability_and_calls_what_it_uses_alone() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let logs = tempfile::tempdir().unwrap();
    let file = logs.path().join("flows.json");
    let agent = stage.agent(&["--each", "--output", "stdout", "--output", file.to_str().unwrap()]);
    assert_eq!(capabilities(&agent), [kept(), kept(), 0, kept(), 0]);
    assert_eq!((&*status(&agent, "NoNewPrivs"), &*status(&agent, "Seccomp")), ("1", "2"));
    let mut told = confinement(&agent);
    let why = told.as_object_mut().unwrap().remove("why");
    assert_eq!(why.is_some(), !has_landlock(), "{why:?}");
    let expected = json!({"capabilities": kept_names(&[]), "no_new_privileges": true, "system_calls": true,
        "files": has_landlock()});
    assert_eq!(told, expected);
    // Threads that were started since are held as tightly.
    for task in fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap() {
        let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let permitted = format!("CapPrm:\t{:016x}", kept());
        assert!(text.contains(&permitted) && text.contains("Seccomp:\t2"), "{text}");
    }
    let flow = works(&mut stage, &agent, net);
    assert!(flow["process"].get("exe").is_none(), "{flow}");
    wait::until("the file has it too", SOON, || Ok(fs::read_to_string(&file)?.contains("\"unrestricted\"")))
        .unwrap();
    end(agent);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn three_capabilities_are_enough_to_start() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let program = flowlog_tests::program::flowlog().unwrap();
    let three = "--bounding-set=-all,+bpf,+perfmon,+net_admin";
    let mut args: Vec<std::ffi::OsString> = vec![three.into(), program.into()];
    args.extend(stage.arguments(&["--each"]));
    let agent = agent::Start::new(args).program("/usr/bin/setpriv".into()).start().unwrap();
    // Without CAP_SETPCAP the bounding set stays, and nothing can be started that would use it.
    let [effective, permitted, inheritable, _, ambient] = capabilities(&agent);
    assert_eq!([effective, permitted, inheritable, ambient], [kept(), kept(), 0, 0]);
    works(&mut stage, &agent, net);
    end(agent);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_folder_of_another_user_is_read_by_the_one_capability_that_it_takes() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let folder = stage.manifest().parent().unwrap().to_owned();
    chown(&folder, Some(65_534), Some(65_534)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let agent = stage.agent(&["--each"]);
    const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
    let held = CAP_DAC_READ_SEARCH | kept();
    assert_eq!(capabilities(&agent), [held, held, 0, held, 0]);
    assert_eq!(confinement(&agent)["capabilities"], kept_names(&["CAP_DAC_READ_SEARCH"]));
    // The folder is looked at again, and files elsewhere stay out of reach in spite of the capability, where the kernel
    // confines files.
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(
        elsewhere.path().join("more.yaml"),
        "{apiVersion: v1, kind: Namespace, metadata: {name: more}}",
    )
    .unwrap();
    symlink(elsewhere.path().join("more.yaml"), folder.join("more.yaml")).unwrap();
    if has_landlock() {
        let stale = json!({"kind": "agent", "agent": {"event": "snapshot", "snapshot": {"state": "stale"}}});
        let told = agent.wait_for(&stale, SOON).unwrap();
        let problem = told["agent"]["snapshot"]["problems"][0].as_str().unwrap();
        assert!(problem.contains("more.yaml") && problem.contains("Permission denied"), "{told}");
        fs::remove_file(folder.join("more.yaml")).unwrap();
    }
    let again = json!({"kind": "agent", "agent": {"event": "snapshot", "snapshot": {"state": "in_sync"}}});
    agent.wait_for(&again, SOON).unwrap();
    works(&mut stage, &agent, net);
    end(agent);
}

/// A folder that is reached by a link and has its files further down, and manifests that another user has written.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn linked_folders_and_replaced_ones_are_read_again() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let folder = stage.manifest().parent().unwrap().to_owned();
    let (elsewhere, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(elsewhere.path().join("prod/shop")).unwrap();
    fs::create_dir_all(others.path().join("empty")).unwrap();
    let space = |name: &str| format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
    let file = elsewhere.path().join("prod/shop/more.yaml");
    fs::write(&file, space("one")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&file, Some(65_534), Some(65_534)).unwrap();
    symlink(elsewhere.path().join("prod"), folder.join("prod")).unwrap();
    symlink(others.path().join("empty"), folder.join("empty")).unwrap();
    let agent = stage.agent(&["--each"]);
    assert_eq!(confinement(&agent)["files"], json!(has_landlock()));
    let revision = |number: u64| json!({"agent": {"event": "snapshot", "snapshot": {"state": "in_sync", "revision": number}}});
    fs::write(&file, space("two")).unwrap();
    agent.wait_for(&revision(2), SOON).unwrap();
    fs::create_dir(elsewhere.path().join("prod/new")).unwrap();
    fs::write(elsewhere.path().join("prod/new/a.yaml"), space("three")).unwrap();
    agent.wait_for(&revision(3), SOON).unwrap();
    works(&mut stage, &agent, net);
    let ended = end(agent);
    assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn executables_are_told_where_that_is_asked_for_by_the_one_capability_that_it_takes() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let agent = stage.agent(&["--each", "--process-exe"]);
    const CAP_SYS_PTRACE: u64 = 1 << 19;
    assert_eq!(capabilities(&agent)[1], CAP_SYS_PTRACE | kept());
    let told = confinement(&agent);
    assert_eq!((&told["files"], &told["system_calls"]), (&json!(false), &json!(true)), "{told}");
    let flow = works(&mut stage, &agent, net);
    assert!(flow["process"]["exe"].as_str().unwrap().ends_with("flowlog-traffic"), "{flow}");
    end(agent);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn it_keeps_its_privileges_where_it_is_told_to() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let agent = stage.agent(&["--each", "--keep-privileges"]);
    assert_ne!(capabilities(&agent)[1], 0);
    assert_eq!(&*status(&agent, "Seccomp"), "0");
    assert_eq!(confinement(&agent), Value::Null);
    works(&mut stage, &agent, net);
    end(agent);
}
