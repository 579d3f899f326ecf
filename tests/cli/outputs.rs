//! `flowlog check` of outputs: what stands in their way is said step by step, and no line is sent, no file made.

use crate::bin::Place;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// Takes this many requests, and answers each with one of these; what it was asked.
fn serve(listener: TcpListener, answers: Vec<&'static str>) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        // The first comes to see whether anybody takes connections.
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        for answer in answers {
            let mut reader = BufReader::new(&stream);
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = bytes.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            asked.push(format!("{} {}", first.trim_end(), String::from_utf8(body).unwrap()));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    })
}

fn rows(report: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = report["outputs"][0]["rows"].as_array().unwrap();
    rows.iter().map(|row| (text(row, "name"), text(row, "state"))).collect()
}

#[test]
fn outputs_of_the_file_are_tried_and_the_exit_code_says_what_came_of_it() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let no_data = "HTTP/1.1 400 Bad Request\r\ncontent-length: 27\r\n\r\n{\"text\":\"No data\",\"code\":5}";
    let no_acks = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let server = serve(listener, vec!["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", no_data, no_acks]);
    place.write("flowlog.yaml", &format!("outputs: ['splunk+http://127.0.0.1:{port}', logs/flows.json]\n"));
    let said = place.flowlog(&["check", "--config", "flowlog.yaml", "--output", "json"]);
    let report: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let ok = |name: &str| (name.to_owned(), "ok".to_owned());
    assert_eq!(rows(&report), [ok("connection"), ok("health"), ok("token"), ok("acknowledge")], "{report:#}");
    assert_eq!(
        server.join().unwrap(),
        [
            "GET /services/collector/health HTTP/1.1 ",
            "POST /services/collector/event HTTP/1.1 ",
            "POST /services/collector/ack HTTP/1.1 {\"acks\":[]}",
        ]
    );
    let folder = &report["outputs"][1]["rows"][0];
    assert_eq!((&folder["state"], &folder["needed"]), (&"missing".into(), &true.into()), "{folder}");
    assert_eq!(said.code, Some(2), "without its folder the agent is not started");
    assert!(!place.path().join("logs").exists());
}

#[test]
fn one_that_is_away_costs_exit_code_1_and_says_what_to_do() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let all = place.flowlog(&["check", "--outputs", &format!("stdout,syslog://127.0.0.1:{port}")]);
    assert!(all.stdout.contains("Output stdout\n"), "{}", all.stdout);
    assert!(all.stdout.contains("does not take a connection"), "{}", all.stdout);
    assert!(all.stdout.contains("without it: lines wait in memory until it takes them"), "{}", all.stdout);
    assert!(all.stdout.contains("to mend it: see that it listens at this port"), "{}", all.stdout);
    let alone = place.flowlog(&["check"]);
    assert_eq!(all.code, Some(alone.code.unwrap().max(1)), "{all:?}");
}

#[test]
fn what_run_would_refuse_is_refused() {
    let place = Place::new();
    for (outputs, expected) in
        [("a.json,a.json", "output `a.json` is configured twice"), ("cef=a.json", "names a format `cef`")]
    {
        let said = place.flowlog(&["check", "--outputs", outputs]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(expected), "{said:?}");
    }
}
