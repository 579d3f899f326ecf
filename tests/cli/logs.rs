//! Flow logs as they are given: files, folders, rotated and compressed ones, standard input.

use crate::bin::{Place, Said};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;

/// A line of a flow as the agent writes it, `seq` of its run, to this port.
fn line(run: &str, seq: u64, port: u16) -> String {
    let time = format!("2026-11-30T08:00:{seq:02}.000000000Z");
    let end = |kind: &str| format!(r#"{{"kind":"{kind}","ip":"10.0.0.{port}""#);
    let workload = r#""namespace":"shop","pod":"web-1","workload":{"kind":"Deployment","name":"web"}"#;
    let side = r#"{"decision":"allow","basis":"unselected","tier":"default"}"#;
    format!(
        "{{\"v\":1,\"seq\":{seq},\"kind\":\"flow\",\"time\":\"{time}\",\"node\":\"n1\",\"run\":\"{run}\",\
         \"flow\":{{\"id\":\"{seq:032x}\",\"direction\":\"egress\",\"protocol\":\"tcp\",\"family\":\"ipv4\",\"count\":1,\
         \"first\":\"{time}\",\"last\":\"{time}\"}},\"source\":{},\"port\":4{seq:04},{workload}}},\
         \"destination\":{},\"port\":{port}}},\"verdict\":{{\"decision\":\"allow\",\"egress\":{side},\"ingress\":{side},\
         \"snapshot\":1,\"as_of\":\"{time}\"}},\"outcome\":{{\"state\":\"established\",\"evidence\":[\"handshake\"]}},\
         \"class\":\"unrestricted\",\"severity\":\"low\"}}\n",
        end("pod"),
        end("external"),
    )
}

fn lines(run: &str, seqs: std::ops::RangeInclusive<u64>, port: u16) -> String {
    seqs.map(|seq| line(run, seq, port)).collect()
}

fn packed(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

impl Place {
    fn put(&self, name: &str, bytes: &[u8]) {
        self.write(name, "");
        fs::write(self.path().join(name), bytes).unwrap();
    }
}

/// Port and count of each edge.
fn edges(said: &Said) -> Vec<(u64, u64)> {
    assert_eq!(said.code, Some(0), "{said:?}");
    let edge = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["destination"]["port"].as_u64().unwrap(), line["flow"]["count"].as_u64().unwrap())
    };
    said.stdout.lines().map(edge).collect()
}

/// A folder as a rotating file leaves it, oldest last.
fn rotated() -> Place {
    let place = Place::new();
    place.write("logs/flows.json", &lines("r1", 7..=9, 80));
    place.write("logs/flows.json.1", &lines("r1", 5..=6, 80));
    place.put("logs/flows.json.2.gz", &packed(&lines("r1", 3..=4, 81)));
    place.put(
        "logs/node-2/flows.json-20261129.zst",
        &zstd::encode_all(lines("r2", 1..=2, 80).as_bytes(), 1).unwrap(),
    );
    place.write("logs/README.md", "no log\n");
    place
}

#[test]
fn a_folder_is_read_with_what_was_rotated_and_compressed() {
    for threads in ["1", "4"] {
        let said = rotated().flowlog(&["edges", "--logs", "logs", "--threads", threads]);
        assert_eq!((edges(&said), &*said.stderr), (vec![(80, 7), (81, 2)], ""), "{said:?}");
    }
    let said = rotated().flowlog(&["edges", "--summary", "--logs", "logs"]);
    let read: Value = serde_json::from_str(&said.stdout).unwrap();
    let expected = json!({"files": 4, "lines": {"flow": 9}, "missing": 0, "nodes": ["n1"], "unreadable": 0});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&read[name], value, "{name}: {read}");
    }
}

#[test]
fn content_tells_whether_it_is_compressed_and_a_pipe_is_read_too() {
    let place = rotated();
    place.put("odd-name", &packed(&lines("r3", 1..=3, 82)));
    let all = "gzip -c logs/flows.json | \"$FLOWLOG\" edges --logs - odd-name";
    let flowlog = flowlog_tests::program::flowlog().unwrap();
    let flowlog = flowlog.to_str().unwrap();
    let said = place.alone(&["env", &format!("FLOWLOG={flowlog}"), "sh", "-c", all], &[]);
    assert_eq!(edges(&said), [(80, 3), (82, 3)], "{said:?}");
}

#[test]
fn what_is_given_twice_counts_once() {
    let said = rotated().flowlog(&["edges", "--logs", "logs/flows.json", "logs", "--threads", "3"]);
    assert_eq!(edges(&said), [(80, 7), (81, 2)]);
    assert!(said.stderr.contains("3 lines were given more than once"), "{}", said.stderr);
}

#[test]
fn what_is_broken_is_told_with_its_place_and_the_rest_counts() {
    let place = Place::new();
    let log = lines("r1", 1..=4, 80);
    place.write("torn.json", log.get(..log.len() - 9).unwrap());
    place.write("mixed.json", &format!("hello\n{}{{\"v\":9,\"kind\":\"flow\"}}\n", lines("r2", 1..=2, 80)));
    let whole = packed(&lines("r3", 1..=400, 80));
    place.put("cut.json.gz", &whole[..whole.len() / 2]);
    place.write("long.json", &format!("{}\n{}", "x".repeat(3 << 20), lines("r4", 1..=2, 81)));
    let said = place.flowlog(&["edges", "--logs", "torn.json", "mixed.json", "long.json"]);
    assert_eq!(edges(&said), [(80, 5), (81, 2)]);
    for told in [
        "torn.json:4: the last line is torn",
        "mixed.json:1: not JSON",
        "mixed.json:4: of schema version 9: this flowlog reads up to 1",
        "long.json:1: longer than 1048576 bytes",
    ] {
        assert!(said.stderr.contains(told), "{told}\n{}", said.stderr);
    }
    let said = place.flowlog(&["edges", "--logs", "cut.json.gz"]);
    let [(80, count)] = edges(&said)[..] else { panic!("{said:?}") };
    assert!((1..400).contains(&count), "{count}");
    assert!(said.stderr.contains("cut.json.gz: cannot be unpacked any further"), "{}", said.stderr);
}

#[test]
fn what_cannot_be_read_at_all_is_an_error() {
    let place = rotated();
    fs::create_dir(place.path().join("empty")).unwrap();
    place.put("log.xz", b"\xfd7zXZ\0");
    for (args, told) in [
        (&[][..], "flowlog: no flow logs: give files"),
        (&["--logs", "gone.json"], "flowlog: read gone.json: No such file"),
        (&["--logs", "empty"], "flowlog: no flow logs in empty: files named .json"),
        (&["--logs", "log.xz"], "flowlog: read log.xz: compressed by xz: unpack it first"),
        (&["--logs", "-", "-"], "flowlog: standard input (-) is given twice"),
        (
            &["--logs", "logs", "--since", "2026-12-01", "--until", "2026-11-30"],
            "flowlog: --since 2026-12-01T00:00:00Z is after",
        ),
        (&["--logs", "logs", "--since", "noon"], "neither a moment (2026-11-30T08:00:00Z), nor a day"),
    ] {
        let said = place.flowlog(&[&["edges"], args].concat());
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(told), "{told}\n{}", said.stderr);
    }
}

#[test]
fn a_time_can_be_asked_for() {
    let asked = |args: &[&str]| edges(&rotated().flowlog(&[&["edges", "--logs", "logs"], args].concat()));
    assert_eq!(asked(&["--since", "2026-11-30T08:00:05Z"]), [(80, 5)]);
    assert_eq!(asked(&["--until", "2026-11-30T08:00:02Z"]), [(80, 2)]);
    assert_eq!(asked(&["--until", "2026-11-30"]), []);
    assert_eq!(asked(&["--since", "36500d"]), [(80, 7), (81, 2)]);
}

#[test]
fn edges_take_the_place_of_logs() {
    let place = rotated();
    let summed = place.flowlog(&["edges", "--logs", "logs"]);
    place.write("edges.json", &summed.stdout);
    assert_eq!(place.flowlog(&["edges", "--logs", "edges.json"]).stdout, summed.stdout);
}
