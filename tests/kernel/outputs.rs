//! Where lines go: a reader that leaves, a file that is rotated.

use crate::stage::{API, Family, Net, SOON, Stage, check_lines, do_step, end, number, small, sum};
use flowlog_tests::traffic::Held;
use flowlog_tests::traffic::process;
use flowlog_tests::traffic::step::Seat;
use flowlog_tests::{Outcome, Step, program, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

/// An agent whose standard output was read up to its first line, and is read no more.
fn left_by_its_reader(stage: &Stage, more: &[&str]) -> Held {
    let child = process::command(&Seat::default())
        .unwrap()
        .args(["exec", "--"])
        .arg(program::flowlog().unwrap())
        .args(stage.arguments(more))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut agent = Held::new(child);
    let mut line = String::new();
    let mut stdout = BufReader::new(agent.child().stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains(r#""event":"start""#), "{line}");
    agent
}

fn said_by(agent: &mut Held) -> String {
    let mut said = String::new();
    std::io::Read::read_to_string(&mut agent.child().stderr.take().unwrap(), &mut said).unwrap();
    said
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_reader_that_leaves_ends_it_with_exit_code_0() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let mut agent = left_by_its_reader(&stage, &["--each"]);
    let mut client = stage.actor("client");
    let mut status = None;
    wait::until("the agent ends", SOON, || {
        client.act(&Step::connect(net.at(Family::V4, API, 8080)))?;
        status = agent.child().try_wait()?;
        Ok(status.is_some())
    })
    .unwrap();
    let said = said_by(&mut agent);
    assert_eq!(status.unwrap().code(), Some(0), "{said}");
    assert!(!said.contains("panic"), "{said}");
}

/// Another output is written on, and the books of both are exact.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_reader_that_leaves_costs_its_own_output_alone() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let logs = tempfile::tempdir().unwrap();
    let file = logs.path().join("flows.json");
    let to_file = file.to_str().unwrap();
    let mut agent = left_by_its_reader(&stage, &["--each", "--output", "stdout", "--output", to_file]);
    let mut client = stage.actor("client");
    let connect = Step::connect(net.at(Family::V4, API, 8080));
    let flows = || Ok::<_, anyhow::Error>(fs::read_to_string(&file)?.matches(r#""kind":"flow""#).count());
    for made in 1..=30 {
        do_step(&mut client, &connect, Outcome::Established);
        // Each is told before the next is made: the writer has had its lines to stumble over.
        wait::until("the file has it", SOON, || Ok(flows()? >= made)).unwrap();
    }
    assert!(agent.child().try_wait().unwrap().is_none(), "it goes on");
    let pid = Pid::from_raw(i32::try_from(agent.child().id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let status = agent.child().wait().unwrap();
    let said = said_by(&mut agent);
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(said.matches("the reader is gone for good").count(), 1, "{said}");
    let lines = lines(&file);
    check_lines(&lines);
    let stop = lines.iter().find(|line| line["agent"]["event"] == "stop").unwrap();
    assert_eq!(stop["agent"]["reason"], "signal", "{stop}");
    let counters = &stop["agent"]["counters"];
    let recorded = number(&counters["attempts"]["recorded"]);
    assert!(recorded >= 30, "{counters}");
    let books = |name: &str| {
        let sink = &counters["sinks"][name];
        ["attempts", "lost_attempts", "failures"].map(|part| number(&sink[part]))
    };
    assert_eq!(books(to_file), [recorded, 0, 0], "{counters}");
    assert_eq!(books("stdout"), [0, recorded, 1], "{counters}");
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// logrotate renames the file and sends SIGHUP, while connections go on.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_file_that_is_rotated_loses_nothing() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let logs = tempfile::tempdir().unwrap();
    let (file, rotated) = (logs.path().join("flows.json"), logs.path().join("flows.json.1"));
    let outputs = ["--each", "--output", "stdout", "--output", file.to_str().unwrap()];
    let agent = stage.agent(&outputs);
    let mut client = stage.actor("client");
    let mut connect = || {
        do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    };
    (0..20).for_each(|_| connect());
    wait::until("the file has its first lines", SOON, || {
        Ok(fs::read_to_string(&file)?.contains(r#""kind":"flow""#))
    })
    .unwrap();
    fs::rename(&file, &rotated).unwrap();
    (0..20).for_each(|_| connect());
    agent.signal(Signal::SIGHUP).unwrap();
    wait::until("a new file is there", SOON, || Ok(file.exists())).unwrap();
    (0..20).for_each(|_| connect());
    let ended = end(agent);
    let (before, after) = (lines(&rotated), lines(&file));
    let flows = |lines: &[Value]| lines.iter().filter(|line| line["kind"] == "flow").count();
    assert!(flows(&before) > 0 && flows(&after) > 0, "{} and {} flows", flows(&before), flows(&after));
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 60);
    let all = [before, after].concat();
    check_lines(&all);
    assert_eq!(all, ended.lines, "the file has what standard output has");
    let sink = &ended.stop_record().unwrap()["agent"]["counters"]["sinks"][file.to_str().unwrap()];
    // Once as it was told, and once more where it had seen for itself by then that the file is another.
    assert!((1..=2).contains(&number(&sink["reopened"])), "{sink}");
    assert_eq!(sink["lost_lines"], 0, "{sink}");
}

/// The agent does it itself, confined as it is: it renames, opens anew, and compresses what was old.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_file_that_the_agent_rotates_loses_nothing() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let logs = tempfile::tempdir().unwrap();
    let path = |name: &str| logs.path().join(name);
    let [file, rotated, older, packed] =
        ["flows.json", "flows.json.1", "flows.json.2", "flows.json.2.zst"].map(path);
    fs::write(&rotated, "an old file\n").unwrap();
    let config = path("flowlog.yaml");
    let output = json!({"to": file, "rotate": {"bytes": 65_536, "keep": 3}});
    fs::write(&config, json!({"outputs": ["stdout", output]}).to_string()).unwrap();
    let agent = stage.agent(&["--each", "--config", config.to_str().unwrap()]);
    let mut client = stage.actor("client");
    let mut made = 0;
    let mut connect = || {
        do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
        made += 1;
    };
    wait::until("the old file is compressed", SOON, || {
        connect();
        Ok(packed.exists() && !older.exists())
    })
    .unwrap();
    (0..20).for_each(|_| connect());
    let ended = end(agent);
    let (before, after) = (lines(&rotated), lines(&file));
    let all = [before, after].concat();
    check_lines(&all);
    assert_eq!(all, ended.lines, "the files have what standard output has");
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), made);
    assert_eq!(zstd::decode_all(fs::File::open(&packed).unwrap()).unwrap(), b"an old file\n");
    let sink = &ended.stop_record().unwrap()["agent"]["counters"]["sinks"][file.to_str().unwrap()];
    assert_eq!((&sink["lost_lines"], &sink["failures"]), (&json!(0), &json!(0)), "{sink}");
}

/// One output is in trouble to the end: what it lost is in its books, and neither capture nor another output is any poorer.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_output_in_trouble_costs_itself_alone() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("log");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("flows.json");
    let outputs =
        ["--each", "--output", "stdout", "--output", file.to_str().unwrap(), "--output", "/dev/full"];
    let agent = stage.agent(&outputs);
    let mut client = stage.actor("client");
    let mut connect = |times| {
        for _ in 0..times {
            do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
        }
    };
    connect(10);
    let flows = |text: &str| text.matches(r#""kind":"flow""#).count();
    wait::until("the file has the first ones", SOON, || Ok(flows(&fs::read_to_string(&file)?) >= 10))
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    connect(20);
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 30);
    let counters = &ended.stop_record().unwrap()["agent"]["counters"];
    for (name, [written, lost]) in
        [("stdout", [30, 0]), (file.to_str().unwrap(), [10, 20]), ("/dev/full", [0, 30])]
    {
        let sink = &counters["sinks"][name];
        // The stop record is made before the last lines are given up.
        let books = ["attempts", "lost_attempts"].map(|part| number(&sink[part]));
        assert_eq!(books[0], written, "{name}: {sink}");
        assert!(books[1] <= lost, "{name}: {sink}");
    }
    assert!(ended.stderr.contains("the output does not take lines"), "{}", ended.stderr);
}
