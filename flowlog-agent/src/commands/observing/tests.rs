use super::choice::ChoiceArgs;
use super::*;
use std::fs;

/// Logs in a folder, and what `observe` says of them.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What is shown, and what is said at the end.
    fn observed(&self, words: &[&str], form: Form) -> (Vec<String>, Vec<String>) {
        use clap::{Args as _, FromArgMatches as _};
        let command = ChoiceArgs::augment_args(clap::Command::new("observe"));
        let matches = command.try_get_matches_from([&["observe"], words].concat()).unwrap();
        let choice = ChoiceArgs::from_arg_matches(&matches).unwrap().choice().unwrap();
        let mut merge = Merge::new(false);
        let (more, several) = open(vec![self.0.path().to_owned()], &mut merge, false, &mut |_| {}).unwrap();
        let (mut reading, mut items, mut shown) = (Reading { merge, more, several }, Vec::new(), Vec::new());
        let mut sieve = Sieve::new(choice, Box::new(Look { form, colour: false, terminal: false }));
        for _ in 0..10_000 {
            let next = reading.next(&mut sieve, &mut items, &mut |_| {}).unwrap();
            shown.extend(items.drain(..).map(|item| match item.out {
                Out::Line(line) => String::from_utf8(line).unwrap().trim_end().to_owned(),
                Out::Notice(text) => text,
                Out::Cells(..) => panic!("no table was asked for"),
            }));
            if !reading.goes_on(&next) {
                return (shown, sieve.finish());
            }
        }
        panic!("it has no end");
    }
}

fn time(second: u64) -> String {
    format!("2026-11-30T08:{:02}:{:02}.000000000Z", second / 60, second % 60)
}

/// A line about the agent; `whose` is the node, and the cluster before it.
fn agent(whose: &str, run: &str, seq: u64, second: u64, event: &str) -> String {
    let time = time(second);
    let (cluster, node) = match whose.split_once('/') {
        Some((cluster, node)) => (format!(r#","cluster":"{cluster}""#), node),
        None => (String::new(), whose),
    };
    format!(
        r#"{{"v":1,"seq":{seq},"kind":"agent","time":"{time}","node":"{node}"{cluster},"run":"{run}","agent":{{"event":"{event}"}}}}"#
    ) + "\n"
}

fn loss(seq: u64, (first, last): (u64, u64), written: u64, count: u64) -> String {
    let (first, last, time) = (time(first), time(last), time(written));
    format!(
        r#"{{"v":1,"seq":{seq},"kind":"loss","time":"{time}","node":"n1","run":"r1","loss":{{"stage":"kernel","cause":"ring_full","what":"attempt","count":{count},"first":"{first}","last":"{last}"}}}}"#
    ) + "\n"
}

/// As a container runtime keeps it.
fn wrapped(stream: &str, lines: &str) -> String {
    lines.lines().map(|line| format!("2026-11-30T08:00:00.5Z {stream} F {line}\n")).collect()
}

fn holds(lines: &[String], what: &str) -> bool {
    lines.iter().any(|line| line.contains(what))
}

#[test]
fn a_container_that_was_restarted_is_one_node() {
    let folder = Folder::new();
    let own = wrapped("stderr", &"INFO flowlog: started\n".repeat(200));
    let first: String = (1..=2_000).map(|seq| agent("n1", "r1", seq, seq / 10, "config")).collect();
    let first = first + &agent("n1", "r1", 2_001, 200, "stop");
    let second = agent("n1", "r2", 1, 202, "start") + &agent("n1", "r2", 2, 203, "config");
    folder.write("pods/flowlog_flowlog-x_1/flowlog/0.log", &(own.clone() + &wrapped("stdout", &first)));
    folder.write("pods/flowlog_flowlog-x_1/flowlog/1.log", &(own + &wrapped("stdout", &second)));
    let (shown, said) = folder.observed(&["--class", "allowed"], Form::Compact);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].contains("n1: nothing was captured from 2026-11-30T08:03:20Z to 2026-11-30T08:03:22Z"));
    assert_eq!(said, ["1 time nothing was captured between two runs"]);
}

#[test]
fn a_container_log_that_was_rotated_has_no_gap() {
    let folder = Folder::new();
    let own = wrapped("stderr", "INFO flowlog: policies are read anew\n");
    let lines = |seqs: std::ops::Range<u64>| {
        let lines: String = seqs.map(|seq| agent("n1", "r1", seq, seq / 10, "config")).collect();
        wrapped("stdout", &lines)
    };
    folder.write("flowlog/0.log", &(own.clone() + &lines(2_002..2_103)));
    folder.write("flowlog/0.log.20261130-080300", &(own + &lines(1..2_002)));
    let (shown, said) = folder.observed(&[], Form::Json);
    assert_eq!(said, Vec::<String>::new());
    let seqs: Vec<u64> = shown
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..2_103).collect::<Vec<_>>());
}

#[test]
fn nodes_of_two_clusters_may_have_one_name() {
    let folder = Folder::new();
    for cluster in ["east", "west"] {
        let whose = format!("{cluster}/node-1");
        let run = format!("r-{cluster}");
        let log = agent(&whose, &run, 1, 1, "start") + &agent(&whose, &run, 2, 3, "config");
        folder.write(&format!("{cluster}.json"), &log);
    }
    let (shown, said) = folder.observed(&["--class", "allowed"], Form::Compact);
    assert_eq!((shown, said), (Vec::new(), Vec::new()));
    // Which of them a gap is of is told.
    folder.write(
        "west.json",
        &(agent("west/node-1", "r", 1, 1, "start") + &agent("west/node-1", "r", 3, 3, "config")),
    );
    let (shown, _) = folder.observed(&["--class", "allowed"], Form::Compact);
    assert!(holds(&shown, "west/node-1: 1 line is missing before line 3 of run r"), "{shown:?}");
}

#[test]
fn a_loss_is_told_that_overlaps_the_time_that_is_asked_for() {
    let folder = Folder::new();
    folder.write("flows.json", &(agent("n1", "r1", 1, 0, "start") + &loss(2, (55, 65), 65, 7)));
    for (words, expected) in [
        (&["--until", "2026-11-30T08:01:00Z"][..], true),
        (&["--since", "2026-11-30T08:01:00Z"], true),
        (&["--until", "2026-11-30T08:00:50Z"], false),
        (&["--since", "2026-11-30T08:01:10Z"], false),
    ] {
        for filter in [&[][..], &["--class", "denied_attempt"]] {
            let (shown, said) = folder.observed(&[words, filter].concat(), Form::Compact);
            assert_eq!(holds(&shown, "n1 lost 7 attempts"), expected, "{words:?} {filter:?}: {shown:?}");
            assert_eq!(
                holds(&said, "7 attempts were lost by the agents"),
                expected,
                "{words:?} {filter:?}: {said:?}"
            );
        }
    }
}

#[test]
fn gaps_outside_the_time_that_is_asked_for_are_not_counted_and_mute_no_other() {
    let folder = Folder::new();
    // Two lines are missing, 25 times; then 50 are.
    let mut log: String = (0..26).map(|number| agent("n1", "r1", 1 + 3 * number, number, "config")).collect();
    log += &agent("n1", "r1", 127, 100, "config");
    folder.write("flows.json", &log);
    for (words, told, sum) in [
        (&["--since", "2026-11-30T08:01:00Z"][..], 1, "50 lines are missing"),
        (&["--until", "2026-11-30T08:00:03Z"], 4, "8 lines are missing"),
        (&[], 20, "100 lines are missing"),
    ] {
        let (shown, said) = folder.observed(words, Form::Compact);
        let gaps = shown.iter().filter(|line| line.contains(" missing before line ")).count();
        assert_eq!(gaps, told, "{words:?}: {shown:?}");
        assert!(holds(&said, sum), "{words:?}: {said:?}");
    }
    let (shown, said) = folder.observed(&["--since", "2026-11-30T08:02:00Z"], Form::Compact);
    assert_eq!((shown, said), (Vec::new(), Vec::new()));
}

#[test]
fn what_lies_between_two_runs_is_told_where_it_overlaps_the_time_that_is_asked_for() {
    let folder = Folder::new();
    let log = agent("n1", "r1", 1, 0, "config")
        + &agent("n1", "r1", 2, 60, "stop")
        + &agent("n1", "r2", 1, 120, "start");
    folder.write("flows.json", &log);
    for (words, expected) in [
        (&["--since", "2026-11-30T08:01:30Z"][..], 1),
        (&["--until", "2026-11-30T08:01:30Z"], 1),
        (&["--since", "2026-11-30T08:02:30Z"], 0),
        (&["--until", "2026-11-30T08:00:30Z"], 0),
    ] {
        let (shown, said) = folder.observed(&[words, &["--class", "allowed"]].concat(), Form::Compact);
        assert_eq!((shown.len(), said.len()), (expected, expected), "{words:?}: {shown:?} {said:?}");
    }
}
