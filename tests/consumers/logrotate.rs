//! logrotate and rsyslog with the files that ship for them: every line once, whole, in order, over rotations in `create` mode.

use crate::stage::{API, Family, Net, SOON, Stage, check_lines, do_step, end, small};
use crate::talk::{file, installed, libraries};
use flate2::read::GzDecoder;
use flowlog_tests::traffic::Held;
use flowlog_tests::{Outcome, Step, wait};
use serde_json::Value;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LOG: &str = "/var/log/flowlog/flows.json";

/// What ships, for another place.
fn shipped(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(file("deploy/siem").join(name)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// Takes messages behind their length; a worker of rsyslog's has a connection of its own.
fn receive(listener: TcpListener) -> Arc<Mutex<Vec<Value>>> {
    let records: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&records);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, kept) = (std::io::BufReader::new(stream.unwrap()), Arc::clone(&kept));
            std::thread::spawn(move || {
                while let Some(record) = next(&mut stream) {
                    kept.lock().unwrap().push(record);
                }
            });
        }
    });
    records
}

fn next(stream: &mut impl std::io::BufRead) -> Option<Value> {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).ok().filter(|read| *read > 0)?;
    let length: usize = String::from_utf8(length).unwrap().trim().parse().unwrap();
    let mut message = vec![0; length];
    stream.read_exact(&mut message).ok()?;
    let text = String::from_utf8(message).unwrap();
    let (head, line) = text.split_once(" - - - ").unwrap();
    assert!(head.starts_with("<134>1 "), "taken for no record: {text}");
    Some(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
}

fn lines(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn follow(folder: &Path, log: &str) -> (Held, Arc<Mutex<Vec<Value>>>) {
    let root = PathBuf::from(installed("FLOWLOG_RSYSLOG"));
    let libraries = libraries(&root);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let text = shipped("rsyslog.conf", &[(LOG, log), ("siem.example.com", "127.0.0.1"), ("6514", &port)]);
    let place = folder.join("rsyslog.conf");
    fs::write(&place, format!("global(workDirectory=\"{}\")\n{text}", folder.display())).unwrap();
    let child = Command::new(root.join("usr/sbin/rsyslogd"))
        .arg("-nf")
        .arg(&place)
        .arg("-i")
        .arg(folder.join("pid"))
        .arg("-M")
        .arg(libraries.join("rsyslog"))
        .env("LD_LIBRARY_PATH", &libraries)
        .spawn()
        .unwrap();
    (Held::new(child), receive(listener))
}

fn rotate(folder: &Path) {
    let root = PathBuf::from(installed("FLOWLOG_LOGROTATE"));
    let done = Command::new(root.join("usr/sbin/logrotate"))
        .args(["--force", "--state"])
        .arg(folder.join("state"))
        .arg(folder.join("logrotate.conf"))
        .env("LD_LIBRARY_PATH", libraries(&root))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.is_empty(), "logrotate: {said}");
}

/// The number of the group `adm`.
fn adm() -> u32 {
    let groups = fs::read_to_string("/etc/group").unwrap();
    groups.lines().find(|line| line.starts_with("adm:")).unwrap().split(':').nth(2).unwrap().parse().unwrap()
}

#[test]
#[ignore = "consumers, kernel: root, cgroup2, BPF"]
fn logrotate_and_rsyslog_lose_nothing() {
    const ROTATIONS: usize = 4;
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = logs.path().join("flows.json");
    let log_text = log.to_str().unwrap();
    fs::write(folder.path().join("logrotate.conf"), shipped("logrotate.conf", &[(LOG, log_text)])).unwrap();
    let agent = stage.agent(&["--each", "--output", "stdout", "--output", log_text]);
    let (_rsyslog, got) = follow(folder.path(), log_text);
    wait::until("rsyslog reads", SOON, || Ok(!got.lock().unwrap().is_empty())).unwrap();
    let mut client = stage.actor("client");
    let mut connect = || {
        do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    };
    for _ in 0..ROTATIONS {
        (0..20).for_each(|_| connect());
        rotate(folder.path());
        let made = log.metadata().unwrap();
        assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o640, 0, adm()), "as logrotate made it");
        // Into the renamed file, until the agent sees that it is another.
        wait::until("it goes on in the new file", SOON, || {
            connect();
            Ok(log.metadata()?.len() > 0)
        })
        .unwrap();
        let now = log.metadata().unwrap();
        assert_eq!(
            (now.ino(), now.mode() & 0o7777, now.gid()),
            (made.ino(), 0o640, adm()),
            "it is that file"
        );
    }
    let ended = end(agent);
    let path = |name: &str| logs.path().join(name);
    let mut all = Vec::new();
    for number in (2..=ROTATIONS).rev() {
        all.extend(lines(&unpacked(&path(&format!("flows.json.{number}.gz")))));
    }
    all.extend(
        [path("flows.json.1"), log.clone()].iter().flat_map(|file| lines(&fs::read_to_string(file).unwrap())),
    );
    check_lines(&all);
    assert_eq!(all, ended.lines, "the files have what standard output has");
    let complete = wait::until("rsyslog brings all of it", Duration::from_secs(30), || {
        Ok(got.lock().unwrap().len() >= ended.lines.len())
    });
    let mut got = got.lock().unwrap().clone();
    got.sort_by_key(|line| line["seq"].as_u64());
    let numbers =
        |lines: &[Value]| lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>();
    let missing: Vec<u64> =
        numbers(&ended.lines).into_iter().filter(|seq| !numbers(&got).contains(seq)).collect();
    assert!(complete.is_ok(), "rsyslog brought {} of {}; not: {missing:?}", got.len(), ended.lines.len());
    assert_eq!(got, ended.lines, "each once");
}
