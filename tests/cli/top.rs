//! `flowlog top` in a real terminal, with a log that grows while it is looked at; and its table without one.

mod terminal;

use crate::bin::{Place, Said, refused};
use crate::observe::written::{Line, agent, loss};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use terminal::Terminal;

/// As records write it.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// A denied attempt of the last seconds.
fn denied(seq: u64, source: &str, to: (&str, &str), count: u64) -> Line {
    let mut line = Line::of("n1", seq, 0).at(&now());
    line.class = "denied_attempt".into();
    line.to(to.0, to.1, 5432);
    line.value["source"]["pod"] = format!("{source}-1").into();
    line.value["source"]["workload"]["name"] = source.into();
    line.value["flow"]["count"] = count.into();
    line.value["verdict"]["decision"] = "deny".into();
    line.value["verdict"]["ingress"] = serde_json::json!({"decision": "deny", "basis": "isolated", "policies": [
        {"kind": "NetworkPolicy", "namespace": to.0, "name": "db-clients"}]});
    line.value["outcome"] = serde_json::json!({"state": "dropped", "evidence": ["kernel_drop"],
        "drop": {"reason": "NETFILTER_DROP", "where": "node"}});
    line
}

/// The same, and it got through.
fn not_enforced(seq: u64, source: &str, to: (&str, &str)) -> Line {
    let mut line = denied(seq, source, to, 1);
    line.class = "policy_not_enforced".into();
    line.value["outcome"] = serde_json::json!({"state": "established", "evidence": ["handshake"]});
    line
}

impl Place {
    fn log(&self, lines: &[Line]) {
        let mut file =
            OpenOptions::new().create(true).append(true).open(self.path().join("flows.json")).unwrap();
        let text: String = lines.iter().map(ToString::to_string).collect();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn top(&self, args: &[&str]) -> Said {
        self.flowlog(&[&["top", "--batch"], args].concat())
    }

    fn terminal(&self) -> Terminal {
        Terminal::open(self.path(), &[("LC_ALL", "C.UTF-8")])
    }
}

#[test]
fn what_happens_is_seen_and_looked_into() {
    let place = Place::new();
    place.log(&[denied(1, "web", ("payments", "db-0"), 12), denied(2, "job", ("shop", "cart-0"), 3)]);
    let terminal = place.terminal();
    terminal.types("stty -g > before; echo here $((1)) before");
    terminal.sees(&["here 1 before"]);
    terminal.top("flows.json");
    terminal.sees(&["LIVE", "DENIED 15", "SOURCE", "▶ shop/web", "shop/job", "lost 0 · gaps 0 · 1 node"]);
    // What matters most comes to the top, whatever is written meanwhile.
    place.log(&[not_enforced(3, "job", ("payments", "db-0"))]);
    terminal.sees(&["NOT ENFORCED 1", "▶ shop/job"]);
    // Down to one record, in full.
    terminal.press(&["Enter"]);
    terminal.sees(&["all › source shop/job", "▶ payments/db:5432", "shop/cart:5432", "DESTINATION"]);
    terminal.press(&["Enter"]);
    terminal.sees(&["› flows", "policy_not_enforced shop/job-1 → payments/db-0:5432"]);
    terminal.press(&["Enter"]);
    terminal.sees(&[
        "policy_not_enforced (high)",
        "NetworkPolicy payments/db-clients",
        "deny, isolated",
        "curl pid 7",
    ]);
    terminal.press(&["Escape"]);
    terminal.sees(&["› flows"]);
    terminal.press(&["BSpace"]);
    terminal.sees(&["all › source shop/job", "payments/db:5432"]);
    terminal.press(&["BSpace"]);
    terminal.waits("back at the top", |screen| !screen.contains("all ›") && screen.contains("shop/web"));
    // Other names.
    terminal.press(&["5"]);
    terminal.sees(&["POLICY", "payments/db-clients ingress", "shop/db-clients ingress"]);
    terminal.press(&["4"]);
    terminal.sees(&["VENDOR", "(no vendor known)"]);
    terminal.press(&["3"]);
    terminal.sees(&["PAIR", "shop/job → shop/cart:5432", "shop/web → payments/db:5432"]);
    terminal.press(&["1"]);
    // Sorted by name, and the other way round.
    terminal.press(&["s"]);
    terminal.waits("job first", |screen| {
        screen.find("shop/job") < screen.find("shop/web") && screen.contains("SOURCE▼")
    });
    terminal.press(&["r"]);
    terminal.waits("web first", |screen| {
        screen.find("shop/web") < screen.find("shop/job") && screen.contains("SOURCE▲")
    });
    terminal.press(&["q"]);
    terminal.sees(&["here 1 before"]);
    terminal.types("stty -g > after; cmp before after && echo as $((1)) was");
    terminal.sees(&["as 1 was"]);
    assert!(terminal.command().ends_with(" 0"), "{}", terminal.command());
}

#[test]
fn a_filter_says_what_is_wrong_with_it_and_a_pause_what_came() {
    let place = Place::new();
    place.log(&[denied(1, "web", ("payments", "db-0"), 12), denied(2, "job", ("shop", "cart-0"), 3)]);
    let terminal = place.terminal();
    terminal.top("flows.json");
    terminal.sees(&["shop/web", "shop/job"]);
    terminal.press(&["/"]);
    terminal.types("destination.namespace=payments");
    terminal.waits("web alone", |screen| {
        screen.contains("shop/web")
            && !screen.contains("shop/job")
            && screen.contains("/destination.namespace=payments")
    });
    // The sums are those of everything.
    terminal.sees(&["DENIED 15"]);
    terminal.press(&["/", "C-u"]);
    terminal.types("clas=denied_attempt");
    terminal.sees(&["`clas` is no key of a condition", "/clas=denied_attempt"]);
    terminal.press(&["C-u"]);
    terminal.types("!web");
    terminal.waits("job alone", |screen| screen.contains("▶ shop/job") && !screen.contains("shop/web"));
    terminal.press(&["Escape"]);
    terminal.sees(&["shop/web", "shop/job"]);
    terminal.press(&["Space"]);
    terminal.sees(&["PAUSED +0"]);
    place.log(&[not_enforced(3, "late", ("payments", "db-0")), denied(4, "late", ("payments", "db-0"), 1)]);
    terminal.waits("it is told and not shown", |screen| {
        screen.contains("PAUSED +2") && !screen.contains("shop/late")
    });
    terminal.press(&["p"]);
    terminal.sees(&["LIVE", "▶ shop/late", "NOT ENFORCED 1"]);
    // What is as it should be has rows where it is asked for.
    place.log(&[Line::of("n1", 5, 0).at(&now())]);
    terminal.sees(&["other 1"]);
    terminal.press(&["a"]);
    terminal.sees(&["+a since", "OTHER", "shop/web"]);
}

#[test]
fn what_is_missing_stands_there_whatever_is_asked_for() {
    let place = Place::new();
    place.log(&[denied(1, "web", ("payments", "db-0"), 1)]);
    let terminal = place.terminal();
    terminal.top("--class policy_not_enforced flows.json");
    terminal.sees(&["LIVE", "nothing denied, not enforced", "lost 0 · gaps 0"]);
    let time = now();
    let lost = loss("n1", "r1", 5, 0, 7).replace("2026-11-30T08:00:00.000000000Z", &time);
    let mut file = OpenOptions::new().append(true).open(place.path().join("flows.json")).unwrap();
    file.write_all(lost.as_bytes()).unwrap();
    terminal.sees(&["lost 7 · gaps 3"]);
    file.write_all(b"{\"v\":1,\"seq\":6,\"kind\":\"flow\",\"time\":\"x\"}\n").unwrap();
    terminal.sees(&["unreadable 1"]);
    file.write_all(
        agent("n1", "r1", 7, 0, "stop", "").replace("2026-11-30T08:00:00.000000000Z", &time).as_bytes(),
    )
    .unwrap();
    terminal.sees(&["stopped 1"]);
    terminal.press(&["n"]);
    terminal.sees(&[
        "n1 lost 7 attempts (kernel, ring_full)",
        "3 lines are missing before line 5",
        "its agent was stopped",
    ]);
    terminal.press(&["?"]);
    terminal.sees(&["Ctrl-Z", "more lines below"]);
    terminal.press(&["NPage"]);
    terminal.sees(&["NOT-ENF", "got through all the"]);
}

#[test]
fn every_size_shows_what_it_can() {
    let place = Place::new();
    let lines: Vec<Line> =
        (1..60).map(|seq| denied(seq, &format!("w{seq:02}"), ("payments", "db-0"), seq)).collect();
    place.log(&lines);
    let terminal = place.terminal();
    terminal.top("flows.json");
    terminal.sees(&["SOURCE (59)", "TREND", "▶ shop/w59", "q quit"]);
    terminal.press(&["End"]);
    terminal.sees(&["▶ shop/w01"]);
    terminal.press(&["PPage", "PPage"]);
    terminal.waits("two pages up", |screen| !screen.contains("shop/w01 ") && screen.contains('▶'));
    terminal.press(&["g"]);
    terminal.sees(&["▶ shop/w59"]);
    terminal.resize(40, 10);
    terminal.waits("fewer columns", |screen| {
        screen.contains("▶ shop/w59")
            && screen.contains("DENIED")
            && !screen.contains("TREND")
            && screen.contains("lost 0")
    });
    terminal.resize(20, 5);
    terminal.sees(&["1,770 denied, 5m", "needs 40x9"]);
    terminal.resize(160, 50);
    terminal.sees(&["TREND", "▶ shop/w59", "shop/w30", "n notices"]);
}

#[test]
fn names_do_nothing_to_the_terminal() {
    let place = Place::new();
    let evil = "e\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}x\r\n";
    let mut line = denied(1, "web", ("payments", "db-0"), 1);
    line.value["source"]["workload"]["name"] = evil.into();
    line.value["source"]["pod"] = evil.into();
    line.value["process"]["comm"] = evil.into();
    line.value["source"]["vendor"] = evil.into();
    let mut wide = denied(2, "web", ("payments", "db-0"), 1);
    wide.value["source"]["workload"]["name"] = "日本語の名前".into();
    place.log(&[line, wide]);
    let terminal = place.terminal();
    terminal.top("flows.json");
    terminal.sees(&["e\\u{1b", "日本語の名前"]);
    // Columns stand where they stood: tmux gives a wide letter two.
    for keys in [&["4"][..], &["1"], &["f"], &["Down", "Enter"]] {
        terminal.press(keys);
        terminal.waits("no more than text", |screen| {
            !screen.chars().any(|c| c == '\u{1b}' || c == '\u{202e}' || c == '\u{7}')
                && screen.contains("\\u{1b")
        });
    }
    terminal.sees(&["\\u{202e}x\\r\\n"]);
}

#[test]
fn the_terminal_comes_back_whatever_ends_it() {
    let place = Place::new();
    place.log(&[denied(1, "web", ("payments", "db-0"), 1)]);
    let terminal = place.terminal();
    terminal.types("echo here $((1)) before");
    terminal.sees(&["here 1 before"]);
    // A second one ends it at once, wherever it is.
    let (term, int, hup) = (Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP);
    for signals in [&[term][..], &[int], &[hup], &[term, int]] {
        terminal.top("flows.json");
        terminal.sees(&["▶ shop/web"]);
        let children = format!("/proc/{0}/task/{0}/children", terminal.shell());
        let child: i32 = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        signals.iter().for_each(|signal| kill(Pid::from_raw(child), *signal).unwrap());
        terminal.waits(signals, |screen| screen.contains("here 1 before") && !screen.contains("▶"));
        terminal.types("stty -a | grep -o ' echo '; clear; echo here $((1)) before");
        terminal.sees(&["here 1 before"]);
    }
    terminal.top("flows.json");
    terminal.sees(&["▶ shop/web"]);
    terminal.press(&["C-z"]);
    terminal.sees(&["here 1 before", "Stopped"]);
    terminal.types("fg");
    terminal
        .waits("it comes back", |screen| screen.contains("▶ shop/web") && !screen.contains("here 1 before"));
    terminal.press(&["C-c"]);
    terminal.sees(&["here 1 before"]);
}

#[test]
fn keys_come_from_the_terminal_where_the_log_comes_from_a_pipe() {
    let place = Place::new();
    place.log(&[denied(1, "web", ("payments", "db-0"), 1)]);
    // No colours, letters of ASCII alone.
    let terminal = Terminal::open(place.path(), &[("LC_ALL", "C"), ("NO_COLOR", "1")]);
    let program = flowlog_tests::program::flowlog().unwrap();
    terminal.types(&format!("tail -f -n +1 flows.json | {} top", program.display()));
    terminal.sees(&["standard input", "LIVE", "> shop/web", "v"]);
    assert!(terminal.screen().is_ascii(), "{}", terminal.screen());
    place.log(&[denied(2, "job", ("payments", "db-0"), 1)]);
    terminal.sees(&["shop/job", "DENIED 2"]);
    terminal.press(&["3"]);
    terminal.sees(&["shop/job -> payments/db:5432"]);
    terminal.press(&["q"]);
    terminal.waits("it ended", |_| !terminal.command().starts_with("flowlog"));
}

#[test]
fn without_a_terminal_there_is_a_table() {
    let place = Place::new();
    let long = "a-name-that-is-long-enough-to-be-cut-on-any-screen-of-eighty-columns";
    place.log(&[denied(1, "web", ("payments", "db-0"), 12_345), not_enforced(2, long, ("payments", "db-0"))]);
    let said = place.top(&["flows.json"]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines[0].starts_with("flowlog top: flows.json, window 5m, "), "{said:?}");
    assert_eq!(lines[1], "not enforced 1, denied 12345, blocked 0, unknown 0, other 0");
    assert_eq!(lines[2], "lost 0, gaps 0, nodes 1, lines 2");
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(lines[4]), ["NOT-ENF", "DENIED", "BLOCKED", "UNKN", "/MIN", "LAST", "SOURCE"]);
    assert_eq!(cells(lines[5])[..5], ["1", "0", "0", "0", "1"]);
    assert!(lines[5].ends_with(&format!("  shop/{long}")), "{said:?}");
    assert_eq!((cells(lines[6])[1].as_str(), lines.len()), ("12345", 7));
    let said = place.top(&["flows.json", "--by", "policy", "--rows", "1", "--from", "shop/web"]);
    assert!(
        said.stdout.contains("  payments/db-clients ingress\n") && !said.stdout.contains(long),
        "{said:?}"
    );
    // What was written long ago is of no window, and all of it is of `all`.
    place.write("old.json", &Line::of("n1", 1, 5).to_string());
    let said = place.top(&["old.json", "-a"]);
    assert!(said.stderr.contains("--window all counts all of a log"), "{said:?}");
    let said = place.top(&["old.json", "-a", "-w", "all"]);
    assert!(said.stdout.contains("other 1\n") && said.stdout.contains("  shop/web\n"), "{said:?}");
    let said = place.top(&["old.json", "-a", "--until", "2026-11-30T08:00:10Z"]);
    assert!(said.stdout.contains("  shop/web\n"), "{said:?}");
    for (name, args, parts) in [
        ("no terminal", &["top", "flows.json"][..], &["standard output is no terminal", "--batch"][..]),
        ("nothing there", &["top", "-b", "gone.json"], &["read gone.json: No such file"]),
        ("a wrong name", &["top", "-b", "flows.json", "--class", "denied"], &["which is not a class"]),
    ] {
        refused(name, &place.flowlog(args), parts);
    }
}

#[test]
fn what_both_ends_tell_is_one_attempt_and_old_gaps_are_of_no_window() {
    let place = Place::new();
    let mut opener = not_enforced(1, "job", ("payments", "db-0"));
    opener.value["source"]["node"] = "n1".into();
    let mut listener = not_enforced(2, "job", ("payments", "db-0"));
    (listener.value["node"], listener.value["source"]["node"]) = ("n2".into(), "n1".into());
    listener.value["flow"]["direction"] = "ingress".into();
    place.log(&[opener, listener]);
    let said = place.top(&["flows.json"]);
    assert!(said.stdout.contains("not enforced 1, "), "{said:?}");
    // What the listener's log alone tells is no less.
    let mut alone = not_enforced(3, "web", ("payments", "db-0"));
    (alone.value["node"], alone.value["source"]["node"]) = ("n2".into(), "n9".into());
    alone.value["flow"]["direction"] = "ingress".into();
    place.write("alone.json", &alone.to_string());
    let said = place.top(&["alone.json"]);
    assert!(said.stdout.contains("not enforced 1, "), "{said:?}");
    // Lost long ago, and six lines before that.
    let (old, now) = (loss("n1", "r1", 8, 0, 7), now());
    let lines =
        [Line::of("n1", 1, 0).to_string(), old, denied(9, "web", ("payments", "db-0"), 1).to_string()];
    place.write("old.json", &lines.concat());
    let said = place.top(&["old.json", "--until", &now]);
    assert!(said.stdout.contains("\nlost 0, gaps 0, nodes 1"), "{said:?}");
    let said = place.top(&["old.json", "--window", "all"]);
    assert!(said.stdout.contains("\nlost 7, gaps 6, nodes 1"), "{said:?}");
}
