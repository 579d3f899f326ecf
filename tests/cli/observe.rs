//! `flowlog observe`: logs as they lie on nodes, shown to people.

mod follow;
mod live;
pub(crate) mod written;

use crate::bin::{Place, Said};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write as _;
use written::{Line, agent, loss};

fn packed(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

impl Place {
    fn observe(&self, args: &[&str]) -> Said {
        self.flowlog(&[&["observe"], args].concat())
    }

    /// Seconds and node of each flow that is shown, as JSON has them.
    fn flows(&self, args: &[&str]) -> Vec<String> {
        let said = self.observe(&[args, &["-o", "json"]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        let flow = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", &line["time"].as_str().unwrap()[17..19], line["node"].as_str().unwrap())
        };
        said.stdout.lines().map(flow).collect()
    }
}

/// Two nodes' logs, one rotated and compressed, their times between each other's.
fn two_nodes() -> Place {
    let place = Place::new();
    let lines = |node: &str, of: &[u64]| -> String {
        of.iter().zip(1_u64..).map(|(second, seq)| Line::of(node, seq, *second).to_string()).collect()
    };
    place.write("logs/n2.json", &lines("n2", &[2, 5, 4, 12]));
    place.write("logs/flows.json", &Line::of("n1", 5, 9).to_string());
    place.write("logs/flows.json.1", &(Line::of("n1", 3, 3).to_string() + &Line::of("n1", 4, 7).to_string()));
    place.write("logs/flows.json.2.gz", "");
    fs::write(place.path().join("logs/flows.json.2.gz"), packed(&lines("n1", &[0, 1]))).unwrap();
    place
}

#[test]
fn nodes_come_in_one_order_of_time_each_in_its_own() {
    let place = two_nodes();
    let expected =
        ["00 n1", "01 n1", "02 n2", "03 n1", "05 n2", "04 n2", "07 n1", "09 n1", "12 n2"].map(str::to_owned);
    assert_eq!(place.flows(&["logs"]), expected);
    // However they are given: what was given twice is shown once.
    let said = place.observe(&["--logs", "logs/flows.json", "logs", "-o", "json"]);
    assert_eq!(said.stdout.lines().count(), 9, "{said:?}");
    assert_eq!(said.stderr, "flowlog: 1 line was there twice, and is shown once\n");
    // The lines are those that were written.
    let all: Vec<String> = ["logs/flows.json", "logs/flows.json.1", "logs/n2.json"]
        .iter()
        .flat_map(|name| {
            fs::read_to_string(place.path().join(name))
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(all.iter().all(|line| said.stdout.lines().any(|shown| shown == line)), "{}", said.stdout);
}

#[test]
fn a_run_is_read_in_the_order_of_its_numbers_whatever_its_times_say() {
    let place = Place::new();
    // A fold that is written late begins the newer file: it is older than all that is in the older one.
    place.write("flows.json.1", &(Line::of("n1", 1, 20).to_string() + &Line::of("n1", 2, 21).to_string()));
    place.write("flows.json", &(Line::of("n1", 3, 10).to_string() + &Line::of("n1", 4, 22).to_string()));
    let said = place.observe(&[".", "-o", "json"]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    let seqs: Vec<u64> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
}

#[test]
fn a_compact_line_says_it_all_in_short() {
    let place = Place::new();
    let mut denied = Line::of("n1", 1, 5);
    denied.class = "denied_attempt".into();
    denied.to("payments", "db-0", 5432);
    denied.value["source"]["vendor"] = "Grafana Labs".into();
    denied.value["outcome"]["drop"] = serde_json::json!({"reason": "NETFILTER_DROP", "where": "node"});
    denied.value["outcome"]["state"] = "dropped".into();
    denied.value["verdict"]["decision"] = "deny".into();
    denied.value["flow"]["count"] = 12.into();
    place.write("flows.json", &denied.to_string());
    let said = place.observe(&["flows.json"]);
    assert_eq!(
        said.stdout,
        "-- 2026-11-30 (UTC)\n\
         08:00:05.000 denied_attempt      shop/web-1 [Grafana Labs] → payments/db-0:5432 deny×dropped NETFILTER_DROP at \
         node curl ×12\n"
    );
    let said = place.observe(&["flows.json", "-o", "wide"]);
    for part in [
        "2026-11-30T08:00:05.000Z n1 denied_attempt ",
        "egress allow policy shop/allow-web#0",
        "from {Deployment/web, app=web",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    let said = place.observe(&["flows.json", "-o", "table"]);
    let rows: Vec<Vec<&str>> = said.stdout.lines().map(|line| line.split("  ").collect()).collect();
    assert!(said.stdout.starts_with("TIME"), "{}", said.stdout);
    assert_eq!(rows.len(), 2, "{}", said.stdout);
    // Its columns stand below their titles.
    let at =
        |text: &str, word: &str| text.lines().next().unwrap().find(word).map(|at| text[..at].chars().count());
    let second = said.stdout.lines().nth(1).unwrap();
    assert_eq!(at(&said.stdout, "DESTINATION"), at(second, "payments/db-0:5432"), "{}", said.stdout);
    // Colours only where somebody sees them.
    let coloured = place.observe(&["flows.json", "--color", "always"]);
    assert!(coloured.stdout.contains("\u{1b}[33mdenied_attempt"), "{:?}", coloured.stdout);
}

#[test]
fn what_is_missing_is_told_where_it_is_missing() {
    let place = Place::new();
    let log = [
        agent("n1", "r1", 5, 0, "start", ""),
        Line::of("n1", 6, 1).to_string(),
        Line::of("n1", 9, 2).to_string(),
        loss("n1", "r1", 10, 3, 7),
        agent(
            "n1",
            "r1",
            11,
            4,
            "gap",
            r#","gap":{"from":"2026-11-30T07:00:00Z","to":"2026-11-30T07:30:00Z","reason":"killed"}"#,
        ),
        // The next run: the one before was killed.
        agent("n1", "r2", 1, 6, "start", ""),
        agent("n1", "r2", 2, 7, "stop", ""),
        agent("n1", "r3", 1, 9, "start", ""),
    ]
    .concat();
    place.write("flows.json", &log);
    let told = [
        ("begins", "n1: its log begins here, 4 lines of run r1 come before"),
        ("gap", "n1: 2 lines are missing before line 9 of run r1"),
        ("loss", "n1 lost 7 attempts (kernel, ring_full)"),
        ("gap", "n1: nothing was captured from 2026-11-30T07:00:00Z to 2026-11-30T07:30:00Z: killed"),
        ("gap", "n1: run r1 ended without its stop record; until 2026-11-30T08:00:06Z nothing was captured"),
        ("gap", "n1: nothing was captured from 2026-11-30T08:00:07Z to 2026-11-30T08:00:09Z"),
    ];
    // Whatever is asked for, and in this order.
    let said = place.observe(&["flows.json", "--class", "denied_attempt"]);
    let lines: Vec<&str> = said.stdout.lines().skip(1).collect();
    assert_eq!(lines.len(), told.len(), "{said:#?}");
    for (line, (what, text)) in lines.iter().zip(told) {
        assert!(line.contains(&format!(" {what:19} {text}")), "{text}: {line}");
    }
    for sum in [
        "2 lines are missing: lost behind flowlog",
        "7 attempts were lost by the agents",
        "1 time without capture is told",
        "2 times nothing was captured between two runs",
    ] {
        assert!(said.stderr.contains(sum), "{sum}: {}", said.stderr);
    }
    // JSON stays JSON.
    let said = place.observe(&["flows.json", "--class", "unrestricted", "-o", "json"]);
    assert_eq!(said.stdout.lines().count(), 2, "{said:?}");
    for (_, text) in told {
        assert!(said.stderr.contains(text), "{text}: {}", said.stderr);
    }
    // Without filters what the agents say is a part of it.
    let said = place.observe(&["flows.json"]);
    assert!(said.stdout.contains("agent               n1: start"), "{}", said.stdout);
}

#[test]
fn a_log_out_of_which_lines_were_chosen_is_no_flood_of_gaps() {
    let place = Place::new();
    let log: String = (0..400).map(|number| Line::of("n1", 1 + 2 * number, number / 8).to_string()).collect();
    place.write("some.json", &log);
    let said = place.observe(&["some.json"]);
    assert_eq!(said.stdout.matches(" is missing before line ").count(), 20, "{}", said.stdout);
    assert!(said.stdout.contains("were lines chosen from it?"), "{}", said.stdout);
    assert!(said.stderr.contains("399 lines are missing"), "{}", said.stderr);
}

#[test]
fn what_is_no_record_is_counted_and_its_place_told() {
    let place = Place::new();
    let line = Line::of("n1", 1, 1).to_string();
    place.write(
        "mixed.json",
        &format!("hello\n{line}{{\"v\":9}}\n{}", &Line::of("n1", 2, 2).to_string()[..99]),
    );
    let said = place.observe(&["mixed.json"]);
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 2), "{said:?}");
    assert_eq!(
        said.stderr,
        "flowlog: 3 lines are no records; the first: mixed.json:1: not JSON: expected value at line 1 column 1\n"
    );
    place.write("foreign.json", "{\"flowlog\":{\"v\":1,\"seq\":1},\"ecs\":{}}\nfoo\n");
    let said = place.observe(&["foreign.json"]);
    assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{said:?}");
    assert!(said.stderr.contains("foreign.json:1: in the format `ecs`"), "{}", said.stderr);
    place.write("torn.json", line.trim_end().get(..line.len() - 9).unwrap());
    let said = place.observe(&["torn.json"]);
    assert!(said.stderr.contains("torn.json:1: the last line is torn"), "{}", said.stderr);
    for (args, told) in [
        (&["gone.json"][..], "read gone.json: No such file"),
        (&["mixed.json", "-f", "-o", "table"], "a table is for what has an end"),
        (
            &["mixed.json", "--since", "2026-12-01", "--until", "2026-11-30"],
            "--since 2026-12-01T00:00:00Z is after",
        ),
    ] {
        let said = place.observe(args);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(told), "{told}: {}", said.stderr);
    }
}

#[test]
fn a_line_that_cannot_be_read_leaves_its_place_to_a_copy() {
    let place = Place::new();
    let (one, two) = (Line::of("n1", 1, 1).to_string(), Line::of("n1", 2, 2).to_string());
    // Copied while it was written; and one that was cut in the middle.
    place.write("copy.json", &format!("{one}{}", &two[..two.len() - 20]));
    place.write("cut.json", &format!("{}\n{two}", &one[..300]));
    for filter in [&[][..], &["--class", "unrestricted"], &["-n", "shop"], &["--class", "allowed"]] {
        let said = place.observe(&[&["copy.json", "cut.json", "-o", "json"], filter].concat());
        let expected = if filter.contains(&"allowed") { String::new() } else { format!("{one}{two}") };
        assert_eq!((said.code, &*said.stdout), (Some(0), &*expected), "{said:?}");
        assert!(said.stderr.contains("2 lines are no records"), "{filter:?}: {}", said.stderr);
        assert!(!said.stderr.contains("there twice"), "{filter:?}: {}", said.stderr);
    }
}

#[test]
fn logs_of_containers_are_read_as_their_runtimes_keep_them() {
    let place = Place::new();
    let time = "2026-11-30T08:00:00.5Z";
    let (one, two) = (Line::of("n1", 1, 1).to_string(), Line::of("n1", 2, 2).to_string());
    let (front, back) = two.trim_end().split_at(700);
    let log = format!(
        "{time} stderr F INFO flowlog: started\n{time} stdout F {one}{time} stdout P {front}\n{time} stderr F INFO more\n{time} \
         stdout F {back}\n"
    );
    place.write("pods/flowlog_flowlog-x_1/flowlog/0.log", &log);
    place.write("n2.json", &Line::of("n2", 1, 0).to_string());
    assert_eq!(place.flows(&["."]), ["00 n2", "01 n1", "02 n1"].map(str::to_owned));
    let said = place.observe(&["pods", "-o", "json"]);
    assert_eq!((said.stdout, &*said.stderr), (format!("{one}{two}"), ""));
}

#[test]
fn nothing_in_a_line_reaches_a_terminal() {
    let place = Place::new();
    let mut forged = Line::of("n1", 1, 1);
    let evil = "x\u{1b}[2J\u{9b}31m\u{202e}y\n08:00:00 allowed\u{2028}z\u{7f}";
    forged.value["source"]["pod"] = evil.into();
    forged.value["source"]["vendor"] = evil.into();
    forged.value["source"]["labels"]["app"] = evil.into();
    forged.value["process"]["comm"] = evil.into();
    forged.value["node"] = evil.into();
    forged.value["outcome"]["errno"] = evil.into();
    forged.value["outcome"]["drop"] = serde_json::json!({"reason": evil, "where": evil});
    let mut skipped = Line::of("n1", 3, 1);
    skipped.value["node"] = evil.into();
    skipped.value["run"] = evil.into();
    place.write("flows.json", &format!("{forged}{skipped}{{\"v\":1,\"kind\":\"{evil}"));
    for form in ["compact", "wide", "table"] {
        let said = place.observe(&["flows.json", "-o", form]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let acts = |c: &char| c.is_control() && *c != '\n' || "\u{202e}\u{2028}".contains(*c);
        let found: Vec<char> = said.stdout.chars().chain(said.stderr.chars()).filter(acts).collect();
        assert_eq!(found, Vec::<char>::new(), "{form}: {said:?}");
        assert!(!said.stdout.lines().any(|line| line.starts_with("08:00:00 allowed")), "{}", said.stdout);
        assert!(said.stdout.contains("\\u{1b}[2J"), "{}", said.stdout);
    }
}
