use super::super::board::{Readings, SnapshotReading};
use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

/// One that answers at a free port and at a socket in a folder of its own.
struct Stand {
    board: Arc<Board>,
    address: SocketAddr,
    folder: tempfile::TempDir,
    server: Option<Server>,
}

impl Stand {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = Listen {
            metrics: Some("127.0.0.1:0".parse().unwrap()),
            debug: Some(folder.path().join("debug.sock")),
        };
        let listeners = Listeners::bind(&listen).unwrap();
        let address = listeners.metrics.as_ref().unwrap().local_addr().unwrap();
        let board = Arc::new(Board::new(Instant::now()));
        let server = listeners.serve(Arc::clone(&board), vec![("version", "1")]).unwrap();
        Self { board, address, folder, server }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("debug.sock")
    }

    fn get(&self, path: &str) -> (u16, String) {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        ask(stream, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
    }

    fn get_at_socket(&self, path: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.socket()).unwrap();
        ask(stream, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
    }
}

/// Status and body. The answer ends with the connection.
fn ask(mut stream: impl io::Read + io::Write, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn in_sync() -> Readings {
    let snapshot = SnapshotReading {
        revision: 4,
        read: true,
        problems: vec!["a.yaml".to_owned(); 120],
        ..SnapshotReading::default()
    };
    Readings { attempts_seen: 42, snapshot, ..Readings::default() }
}

#[test]
fn it_is_ready_once_the_spine_has_said_so() {
    let stand = Stand::new();
    assert_eq!(stand.get("/livez"), (200, "ok\n".to_owned()));
    assert_eq!(stand.get("/readyz"), (503, "not attached\n".to_owned()));
    let why = "NetworkPolicy shop/secret: refused by 198.51.100.1";
    let missing = [("policies", why.to_owned())].into();
    let snapshot = SnapshotReading { missing, ..SnapshotReading::default() };
    stand.board.post(Readings { snapshot, ..Readings::default() });
    assert_eq!(stand.get("/readyz"), (503, "policies: not read\n".to_owned()), "whoever asks");
    assert_eq!(stand.get_at_socket("/readyz"), (503, format!("policies: {why}\n")));
    stand.board.post(in_sync());
    assert_eq!(stand.get("/readyz"), (200, "ok\n".to_owned()));
}

#[test]
fn a_spine_that_hangs_is_not_alive() {
    let board = Board::new(Instant::now().checked_sub(Duration::from_secs(11)).unwrap());
    let shared =
        Shared { board: Arc::new(board), build: Vec::new(), refused: 0.into(), threads: Mutex::default() };
    assert_eq!(shared.livez().status(), StatusCode::SERVICE_UNAVAILABLE);
    shared.board.turn(Instant::now());
    assert_eq!(shared.livez().status(), StatusCode::OK);
}

#[test]
fn the_snapshot_is_told_on_the_socket_alone_and_the_socket_is_its_owners() {
    let stand = Stand::new();
    stand.board.post(in_sync());
    assert_eq!(stand.get("/debug/snapshot").0, 404);
    let mode = fs::metadata(stand.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    let (status, body) = stand.get_at_socket("/debug/snapshot");
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &told["revision"], &told["problem_count"]), (200, &4.into(), &120.into()));
    assert_eq!(told["problems"].as_array().map(Vec::len), Some(100));
    assert_eq!(stand.get_at_socket("/livez").0, 200);
}

#[test]
fn what_is_asked_wrongly_is_said() {
    let stand = Stand::new();
    assert_eq!(stand.get("/").0, 404);
    let connect = || TcpStream::connect(stand.address).unwrap();
    assert_eq!(ask(connect(), "DELETE /metrics HTTP/1.1\r\nhost: x\r\n\r\n").0, 405);
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(20_000));
    let mut stream = connect();
    stream.write_all(long.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(stand.get("/livez").0, 200);
}

#[test]
fn who_keeps_silent_shuts_others_out_for_a_few_seconds_alone() {
    let stand = Stand::new();
    let silent: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(stand.address).unwrap()).collect();
    let mut more = TcpStream::connect(stand.address).unwrap();
    // One too many is closed at once.
    assert_eq!(more.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(stand.get_at_socket("/livez").0, 200, "the socket has its own share");
    // The others are, when their time is over.
    for mut stream in silent {
        stream.set_read_timeout(Some(HEAD + HEAD)).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
    }
    let (status, body) = stand.get("/metrics");
    assert_eq!(status, 200);
    assert!(body.contains("flowlog_http_refused_total 1.0\n"), "{body}");
}

#[test]
fn whoever_crowds_from_elsewhere_keeps_no_probe_out() {
    let rooms = Rooms::new();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let take = |local: &str, peer: &str| {
        Arc::clone(rooms.of(address(local), address(peer))).try_acquire_owned().ok()
    };
    let node = "198.51.100.7";
    let crowd: Vec<_> = (0..CONNECTIONS).map(|_| take(node, "198.51.100.8").unwrap()).collect();
    assert!(take(node, "2001:db8::1").is_none() && take(node, "198.51.100.9").is_none());
    for (local, peer) in [
        (node, node),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("2001:db8::7", "2001:db8::7"),
    ] {
        assert!(take(local, peer).is_some(), "{peer} to {local}");
    }
    drop(crowd);
    assert!(take(node, "198.51.100.9").is_some());
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_another_s_is_not() {
    let mut stand = Stand::new();
    let listen = Listen { metrics: None, debug: Some(stand.socket()) };
    assert!(matches!(Listeners::bind(&listen).unwrap_err(), ServeError::Taken { .. }));
    stand.server.take();
    assert!(!stand.socket().exists(), "it goes with the agent");
    drop(UnixListener::bind(stand.socket()).unwrap());
    assert!(stand.socket().exists(), "left behind");
    let listeners = Listeners::bind(&listen).unwrap();
    assert!(listeners.debug.is_some());
    drop(listeners);
    fs::write(stand.socket(), "mine").unwrap();
    assert!(matches!(Listeners::bind(&listen).unwrap_err(), ServeError::NoSocket { .. }));
    assert_eq!(fs::read_to_string(stand.socket()).unwrap(), "mine");
}
