//! Lines that go over the network out of a confined agent: by a name, by TLS, out of its spool, after a kill.

use crate::stage::{API, Family, Net, SOON, Stage, do_step, end, number, small, sum};
use flowlog_tests::{Agent, Outcome, Server, Step, agent, wait};
use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Takes syslog over TLS, and keeps the records.
struct Taker {
    records: Arc<Mutex<Vec<Value>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An authority, and the certificate that it gave to `localhost`.
fn certify(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let ca = Issuer::new(params, key);
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join("server.pem"), params.signed_by(&key, &ca).unwrap().pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

impl Taker {
    fn start(folder: &Path, listener: TcpListener) -> Self {
        let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let records: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let kept = Arc::clone(&records);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, acceptor, kept) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { records, stop: Some(stop), thread: Some(thread) }
    }

    fn records(&self) -> Vec<Value> {
        self.records.lock().unwrap().clone()
    }

    /// Attempts that its flow records stand for, each record once however often it came.
    fn attempts(&self) -> u64 {
        let mut records = self.records();
        let key = |record: &Value| (record["run"].to_string(), record["seq"].as_u64());
        records.sort_by_key(key);
        records.dedup_by_key(|record| key(record));
        records
            .iter()
            .filter(|record| record["kind"] == "flow")
            .filter_map(|record| record["flow"]["count"].as_u64())
            .sum()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, records: Arc<Mutex<Vec<Value>>>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        while let Some(record) = next(&mut stream).await {
            records.lock().unwrap().push(record);
        }
    }
}

async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Value> {
    let mut length = 0;
    loop {
        match stream.read_u8().await.ok()? {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.ok()?;
    let text = String::from_utf8(message).unwrap();
    Some(serde_json::from_str(text.splitn(8, ' ').nth(7).unwrap()).unwrap())
}

/// Who connects to whom, and what the agent is told.
struct Scene {
    net: Net,
    stage: Stage,
    folder: tempfile::TempDir,
    port: u16,
    _server: Server,
}

impl Scene {
    /// An agent is to bring its lines to a port of this host, by what stands here beside the place.
    fn new(more: &str) -> (Self, TcpListener) {
        let net = Net::new();
        let mut stage = Stage::new(net, &small(net));
        let server = stage.serve_api();
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path());
        let listener = listen(0);
        let port = listener.local_addr().unwrap().port();
        let at = folder.path().display();
        let output =
            format!("to: 'syslogs://localhost:{port}', ca_file: {at}/ca.pem, spool: {{folder: {at}/spool}}");
        let text = format!("outputs:\n- stdout\n- {{{output}{more}}}\n");
        fs::write(folder.path().join("flowlog.yaml"), text).unwrap();
        (Self { net, stage, folder, port, _server: server }, listener)
    }

    fn arguments(&self) -> [String; 3] {
        let config = self.folder.path().join("flowlog.yaml");
        ["--each".to_owned(), "--config".to_owned(), config.to_str().unwrap().to_owned()]
    }

    fn start(&self) -> Agent {
        let arguments = self.arguments();
        self.stage.agent(&arguments.each_ref().map(String::as_str))
    }

    fn connect(&mut self, port: u16, times: usize, outcome: Outcome) {
        let mut client = self.stage.actor("client");
        for _ in 0..times {
            do_step(&mut client, &Step::connect(self.net.at(Family::V4, API, port)), outcome);
        }
    }

    fn place(&self) -> String {
        format!("syslogs://localhost:{}", self.port)
    }
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap()
}

/// Flow records that wait in the spool: lines are in its files as they are.
fn waiting(folder: &Path) -> usize {
    let files = fs::read_dir(folder.join("spool")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|ending| ending == "spool"));
    let texts = files.map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned());
    texts.map(|text| text.matches(r#""kind":"flow""#).count()).sum()
}

/// Its files are read and its ports reached by nothing but what it kept: the name is looked up, the authority read, after it was
/// confined.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_confined_agent_brings_its_lines_over_the_network() {
    let (mut scene, listener) = Scene::new("");
    let taker = Taker::start(scene.folder.path(), listener);
    let agent = scene.start();
    scene.connect(8080, 20, Outcome::Established);
    wait::until("all came", SOON, || Ok(taker.attempts() == 20)).unwrap();
    let ended = end(agent);
    wait::until("the last word came", SOON, || {
        Ok(taker.records().iter().any(|one| one["agent"]["event"] == "stop"))
    })
    .unwrap();
    let confinement =
        &ended.lines.iter().find(|line| line["agent"]["event"] == "start").unwrap()["agent"]["confinement"];
    assert_eq!(confinement["system_calls"], true, "{confinement}");
    let records = taker.records();
    assert_eq!(records.len(), ended.lines.len());
    for (got, line) in records.iter().zip(&ended.lines) {
        assert_eq!(got["seq"], line["seq"]);
        assert_eq!(got["kind"], line["kind"]);
    }
}

/// Nobody takes the lines; the agent is killed; the next one brings what it left.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_a_killed_agent_had_spooled_is_brought_by_the_next() {
    let (mut scene, listener) = Scene::new("");
    drop(listener);
    let mut agent = scene.start();
    scene.connect(8080, 20, Outcome::Established);
    wait::until("all of it is on disk", SOON, || Ok(waiting(scene.folder.path()) >= 20)).unwrap();
    agent.signal(Signal::SIGKILL).unwrap();
    let _ = agent.ended();
    let taker = Taker::start(scene.folder.path(), listen(scene.port));
    let arguments = scene.arguments();
    let arguments = scene.stage.arguments(&arguments.each_ref().map(String::as_str));
    let next = agent::Start::new(arguments).start().unwrap();
    wait::until("all came", SOON, || Ok(taker.attempts() >= 20)).unwrap();
    end(next);
    assert_eq!(taker.attempts(), 20);
    let runs: std::collections::BTreeSet<String> =
        taker.records().iter().map(|record| record["run"].to_string()).collect();
    assert_eq!(runs.len(), 2, "the one that was killed, and the next");
}

/// It has what it wants and no more, without what it is not to show, and its books are as exact as others'.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_output_over_the_network_is_given_what_it_wants() {
    let wants = ", deny: [{destination: {port: 8081}}], fields: {drop: process, labels: [none-has-this]}";
    let (mut scene, listener) = Scene::new(wants);
    let taker = Taker::start(scene.folder.path(), listener);
    let agent = scene.start();
    scene.connect(8080, 7, Outcome::Established);
    scene.connect(8081, 5, Outcome::Error);
    scene.connect(8080, 4, Outcome::Established);
    wait::until("all came", SOON, || Ok(taker.attempts() >= 11)).unwrap();
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 16);
    let counters = &ended.stop_record().unwrap()["agent"]["counters"];
    let place = scene.place();
    for (name, expected) in [("stdout", [16, 0, 0]), (&*place, [11, 0, 5])] {
        let sink = &counters["sinks"][name];
        let books = ["attempts", "lost_attempts", "unselected"].map(|part| number(&sink[part]));
        assert_eq!(books, expected, "{name}: {sink}");
        assert_eq!(books.iter().sum::<u64>(), number(&counters["attempts"]["recorded"]), "{counters:#}");
    }
    assert_eq!(taker.attempts(), 11);
    let records = taker.records();
    let flows: Vec<&Value> = records.iter().filter(|record| record["kind"] == "flow").collect();
    for flow in &flows {
        assert_eq!((&flow["destination"]["port"], &flow["masked"]), (&json!(8080), &json!(true)), "{flow:#}");
        let hidden = [&flow["process"], &flow["source"]["labels"], &flow["destination"]["labels"]];
        assert!(hidden.iter().all(|part| part.is_null()), "{flow:#}");
    }
    // Standard output has them.
    assert!(ended.matching(&json!({"kind": "flow"})).iter().all(|flow| flow["source"]["labels"].is_object()));
}
