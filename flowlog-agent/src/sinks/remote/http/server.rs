//! A server for tests: it checks what Splunk and Elastic check, stores what they would store, and fails as it is told.

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use prost::Message as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sinks) enum Kind {
    Lines,
    Splunk,
    Elastic,
    Otlp,
}

/// What it does with a request in place of taking it.
#[derive(Clone, Debug)]
pub(in crate::sinks) enum Fault {
    /// Answer this, with these headers.
    Status(u16, &'static str),
    /// Answer so, with this body.
    Answer(u16, String),
    /// Say nothing until the client has gone.
    Stall,
    /// Close without a word.
    Disconnect,
    /// Take it, and close without a word.
    TakeAndDisconnect,
    /// Take all but one item in three, which gets this status.
    Some(u16),
}

/// A line with this in it is never taken.
pub(in crate::sinks) const POISON: &str = "poison";

#[derive(Debug, Default)]
pub(in crate::sinks) struct State {
    /// What comes next, before all goes well.
    pub(in crate::sinks) faults: VecDeque<Fault>,
    /// A request that is longer is refused.
    pub(in crate::sinks) most_bytes: Option<usize>,
    /// What `authorization` has to be.
    pub(in crate::sinks) pass: Option<String>,
    /// Lines that were taken, in order.
    pub(in crate::sinks) taken: Vec<String>,
    /// Of each request: path, headers, lines.
    pub(in crate::sinks) requests: Vec<(String, BTreeMap<String, String>, usize)>,
    ids: BTreeMap<String, usize>,
    /// Elastic: whether documents may be created in the index; absent: it knows no such question, as OpenSearch.
    pub(in crate::sinks) may_create: Option<bool>,
    /// Elastic: whether there is an index.
    pub(in crate::sinks) has_index: bool,
    /// Splunk: whether it is not well.
    pub(in crate::sinks) ill: bool,
    /// Splunk: where its token has acknowledgements, after how many questions one comes.
    pub(in crate::sinks) acknowledged_after: Option<usize>,
    /// Splunk: what is not acknowledged, and how often it was asked for.
    pub(in crate::sinks) unacknowledged: BTreeMap<u64, usize>,
    /// Splunk: most of these at a time.
    pub(in crate::sinks) most_unacknowledged: usize,
    receipts: u64,
}

pub(in crate::sinks) struct Server {
    pub(in crate::sinks) port: u16,
    pub(in crate::sinks) state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(in crate::sinks) fn start(kind: Kind) -> Self {
        Self::at(kind, TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(in crate::sinks) fn at(kind: Kind, listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (state, over) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let (shared, is_over) = (Arc::clone(&state), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || while serve(&stream, kind, &state) {});
            }
        });
        Self { port, state, over, thread: Some(thread) }
    }

    pub(in crate::sinks) fn taken(&self) -> Vec<String> {
        self.state.lock().unwrap().taken.clone()
    }

    pub(in crate::sinks) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    pub(in crate::sinks) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let _ = self.thread.take().unwrap().join();
    }
}

struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let (method, rest) = line.split_once(' ')?;
    let (method, path) = (method.to_owned(), rest.split(' ').next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
        body = plain;
    }
    Some(Asked { method, path, headers, body })
}

/// One request; false when the connection is over.
fn serve(mut stream: &TcpStream, kind: Kind, state: &Mutex<State>) -> bool {
    let Some(asked) = read_request(stream) else { return false };
    let mut state = state.lock().unwrap();
    let fault = state.faults.pop_front();
    let lines = asked.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    state.requests.push((asked.path.clone(), asked.headers.clone(), lines));
    let (status, more, body) = match fault {
        Some(Fault::Stall) => {
            drop(state);
            let _ = stream.read(&mut [0]);
            return false;
        }
        Some(Fault::Disconnect) => return false,
        Some(Fault::TakeAndDisconnect) => {
            take(&mut state, kind, &asked, None);
            return false;
        }
        Some(Fault::Status(status, more)) => (status, more, String::new()),
        Some(Fault::Answer(status, body)) => (status, "", body),
        Some(Fault::Some(item)) => {
            let (status, body) = take(&mut state, kind, &asked, Some(item));
            (status, "", body)
        }
        None => {
            let (status, body) = take(&mut state, kind, &asked, None);
            (status, "", body)
        }
    };
    drop(state);
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{more}\r\n{body}");
    stream.write_all(answer.as_bytes()).is_ok()
}

fn take(state: &mut State, kind: Kind, asked: &Asked, item: Option<u16>) -> (u16, String) {
    if state.pass.as_ref().is_some_and(|pass| asked.headers.get("authorization") != Some(pass)) {
        return (
            if kind == Kind::Splunk { 403 } else { 401 },
            r#"{"text":"Invalid token","code":4}"#.to_owned(),
        );
    }
    if let Some(answer) = about(state, kind, asked) {
        return answer;
    }
    if state.most_bytes.is_some_and(|most| asked.body.len() > most) {
        return (413, String::new());
    }
    if kind == Kind::Otlp {
        return take_logs(state, asked);
    }
    let text = std::str::from_utf8(&asked.body).unwrap();
    match kind {
        Kind::Otlp => unreachable!(),
        Kind::Lines => {
            if text.contains(POISON) {
                return (400, "no".to_owned());
            }
            for line in text.lines() {
                serde_json::from_str::<Value>(line).unwrap();
                state.taken.push(line.to_owned());
            }
            (200, String::new())
        }
        Kind::Splunk => take_events(state, asked, text),
        Kind::Elastic => take_bulk(state, asked, text, item),
    }
}

/// What is asked where no line is sent.
fn about(state: &mut State, kind: Kind, asked: &Asked) -> Option<(u16, String)> {
    let told = |status: u16, body: Value| Some((status, body.to_string()));
    match (kind, &*asked.method, &*asked.path) {
        (Kind::Splunk, "GET", "/services/collector/health") if state.ill => {
            told(503, json!({"text": "HEC is unhealthy, queues are full", "code": 18}))
        }
        (Kind::Splunk, "GET", "/services/collector/health") => {
            told(200, json!({"text": "HEC is healthy", "code": 17}))
        }
        (Kind::Splunk, "POST", _) if asked.body.is_empty() => {
            told(400, json!({"text": "No data", "code": 5}))
        }
        (Kind::Splunk, "POST", "/services/collector/ack") => Some(acknowledge(state, asked)),
        (Kind::Elastic, "GET", "/") => {
            told(200, json!({"cluster_name": "logs", "version": {"number": "8.15.0"}}))
        }
        (Kind::Elastic, "HEAD", "/flows") => Some((if state.has_index { 200 } else { 404 }, String::new())),
        (Kind::Elastic, "POST", "/_security/user/_has_privileges") => match state.may_create {
            Some(may) => {
                assert_eq!(asked.headers["content-type"], "application/json");
                let asked: Value = serde_json::from_slice(&asked.body).unwrap();
                assert_eq!(asked["index"], json!([{"names": ["flows"], "privileges": ["create_doc"]}]));
                told(200, json!({"username": "flowlog", "has_all_requested": may}))
            }
            None => told(400, json!({"error": "no handler found for uri"})),
        },
        (_, "POST", _) => None,
        other => panic!("{other:?}"),
    }
}

/// As docs.splunk.com has it ("About HTTP Event Collector Indexer Acknowledgment"): what was told to be true once is forgotten.
fn acknowledge(state: &mut State, asked: &Asked) -> (u16, String) {
    let Some(after) = state.acknowledged_after else {
        return (400, json!({"text": "ACK is disabled", "code": 14}).to_string());
    };
    if !asked.headers.contains_key("x-splunk-request-channel") {
        return (400, json!({"text": "Data channel is missing", "code": 10}).to_string());
    }
    let question: Value = serde_json::from_slice(&asked.body).unwrap();
    let mut acks = serde_json::Map::new();
    for number in question["acks"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()) {
        let times = state.unacknowledged.get_mut(&number).map(|times| {
            *times += 1;
            *times
        });
        let there = times.is_some_and(|times| times >= after);
        if there {
            state.unacknowledged.remove(&number);
        }
        acks.insert(number.to_string(), there.into());
    }
    (200, json!({"acks": acks}).to_string())
}

fn take_logs(state: &mut State, asked: &Asked) -> (u16, String) {
    assert_eq!(asked.path, "/v1/logs");
    let request = ExportLogsServiceRequest::decode(&*asked.body).unwrap();
    let mut lines = Vec::new();
    for resource in request.resource_logs {
        let known: BTreeMap<String, String> = resource
            .resource
            .unwrap()
            .attributes
            .into_iter()
            .map(|one| (one.key, text_of(one.value)))
            .collect();
        assert_eq!((&*known["service.name"], &*known["k8s.node.name"]), ("flowlog", "worker-1"));
        for record in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            let line = text_of(record.body);
            let told: Value = serde_json::from_str(&line).unwrap();
            let time: jiff::Timestamp = told["time"].as_str().unwrap().parse().unwrap();
            assert_eq!(i128::from(record.time_unix_nano), time.as_nanosecond());
            assert!(record.observed_time_unix_nano > 0 && record.severity_number > 0);
            let own: BTreeMap<String, String> =
                record.attributes.into_iter().map(|one| (one.key, text_of(one.value))).collect();
            assert_eq!(own["flowlog.kind"], told["kind"].as_str().unwrap());
            assert!(own["log.record.uid"].ends_with(&format!("-{}", told["seq"])));
            lines.push(line);
        }
    }
    if lines.iter().any(|line| line.contains(POISON)) {
        return (400, String::new());
    }
    state.taken.append(&mut lines);
    (200, String::new())
}

fn text_of(value: Option<AnyValue>) -> String {
    match value.unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}

fn take_events(state: &mut State, asked: &Asked, text: &str) -> (u16, String) {
    assert_eq!(asked.path, "/services/collector/event");
    let channel = asked.headers.get("x-splunk-request-channel");
    if state.acknowledged_after.is_some() && channel.is_none_or(|channel| channel.len() != 36) {
        return (400, json!({"text": "Data channel is missing", "code": 10}).to_string());
    }
    let events: Vec<Value> =
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().unwrap();
    for (number, event) in events.iter().enumerate() {
        assert!(event["time"].is_f64() && event["host"] == "worker-1", "{event}");
        assert!(event["event"].is_object(), "{event}");
        if event.to_string().contains(POISON) {
            let told = json!({"text": "Invalid data format", "code": 6, "invalid-event-number": number});
            return (400, told.to_string());
        }
    }
    state.taken.extend(events.iter().map(|event| event["event"].to_string()));
    if state.acknowledged_after.is_none() {
        return (200, r#"{"text":"Success","code":0}"#.to_owned());
    }
    let number = state.receipts;
    state.receipts += 1;
    state.unacknowledged.insert(number, 0);
    state.most_unacknowledged = state.most_unacknowledged.max(state.unacknowledged.len());
    (200, json!({"text": "Success", "code": 0, "ackId": number}).to_string())
}

fn take_bulk(state: &mut State, asked: &Asked, text: &str, some: Option<u16>) -> (u16, String) {
    assert!(asked.path.starts_with("/flows/_bulk"), "{}", asked.path);
    assert!(text.ends_with('\n'), "a bulk request ends with a newline");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len() % 2, 0);
    let (mut items, mut errors) = (Vec::new(), false);
    for (number, pair) in lines.chunks(2).enumerate() {
        let action: Value = serde_json::from_str(pair[0]).unwrap();
        let id = action["create"]["_id"].as_str().unwrap().to_owned();
        let status = if pair[1].contains(POISON) {
            400
        } else if state.ids.contains_key(&id) {
            409
        } else if let Some(status) = some.filter(|_| number % 3 == 1) {
            status
        } else {
            state.ids.insert(id, state.taken.len());
            state.taken.push(pair[1].to_owned());
            201
        };
        errors |= status >= 300;
        items.push(
            json!({"create": {"status": status, "error": {"type": "some_exception", "reason": "why not"}}}),
        );
    }
    (200, json!({"errors": errors, "items": items}).to_string())
}
