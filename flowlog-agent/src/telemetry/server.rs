//! Answers over HTTP: `/livez`, `/readyz` and `/metrics`, and `/debug/snapshot` on a Unix socket alone.
//!
//! A thread of its own, which takes nothing of the spine but the board: whoever is slow to ask or to read holds up
//! nobody else. One request a connection, few connections, all of them short.

use super::board::Board;
use super::metrics::{self, Format, Scrape};
use super::process::{self, Threads};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::stat::{Mode, umask};
use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};

/// The spine turns at least every second; from here on it hangs.
const STILL: Duration = Duration::from_secs(10);
/// Connections at a time, of this node's own and of others each. One more is closed at once: it costs no memory, and is
/// seen by who made it.
const CONNECTIONS: usize = 16;
/// From the connection to the end of the request's head.
const HEAD: Duration = Duration::from_secs(5);
/// From the connection to the answer's last byte.
const WHOLE: Duration = Duration::from_secs(10);
/// Of the head; also the least that hyper reads with.
const HEAD_BYTES: usize = 8_192;
/// Problems that are named; their number is told in any case.
const PROBLEMS: usize = 100;
/// After an error that does not pass by itself (no descriptor left), instead of turning at full speed.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// For scrapers and probes.
    pub metrics: Option<SocketAddr>,
    /// For root on this node, everything.
    pub debug: Option<PathBuf>,
}

/// Why it cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("listen on {address} for metrics and health: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("make the socket {}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else is there.
    #[error("{} is there and is no socket: it is left alone; give --debug-socket another place", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// Somebody answers there.
    #[error("{} is another agent's: somebody answers there", path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// The thread cannot be started.
    #[error("start the thread that answers over HTTP: {0}")]
    Thread(#[source] io::Error),
}

/// Places that are listened on already, and that nobody answers at yet.
#[derive(Debug)]
pub struct Listeners {
    metrics: Option<TcpListener>,
    debug: Option<(UnixListener, SocketFile)>,
}

/// A socket in the file system, which goes with its owner.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the debug socket is left behind");
        }
    }
}

impl Listeners {
    /// Before privileges are given up: no socket can be made after that.
    pub fn bind(listen: &Listen) -> Result<Self, ServeError> {
        let metrics = listen.metrics.map(bind_address).transpose()?;
        let debug = listen.debug.as_deref().map(bind_socket).transpose()?;
        Ok(Self { metrics, debug })
    }

    /// Answer from here on, on a thread of its own; absent where nowhere is listened. `build` is what the build says of
    /// itself.
    pub fn serve(
        self,
        board: Arc<Board>,
        build: Vec<(&'static str, &'static str)>,
    ) -> Result<Option<Server>, ServeError> {
        if self.metrics.is_none() && self.debug.is_none() {
            return Ok(None);
        }
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared { board, build, refused: AtomicU64::new(0), threads: Mutex::default() });
        let (metrics, (debug, file)) = (self.metrics, self.debug.unzip());
        let answer = move || {
            if let Err(error) = answer_until(metrics, debug, shared, stopped) {
                tracing::error!(%error, "metrics and health are not answered any more");
            }
        };
        let thread = std::thread::Builder::new()
            .name("flowlog-http".to_owned())
            .spawn(answer)
            .map_err(ServeError::Thread)?;
        Ok(Some(Server { stop: Some(stop), thread: Some(thread), _file: file }))
    }
}

fn bind_address(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let refused = |source| ServeError::Address { address, source };
    let listener = TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    tracing::info!(address = %bound, "metrics and health are answered");
    if !bound.ip().is_loopback() {
        tracing::warn!(address = %bound, "whoever reaches this address reads the metrics: there is no password");
    }
    Ok(listener)
}

fn bind_socket(path: &Path) -> Result<(UnixListener, SocketFile), ServeError> {
    let refused = |source| ServeError::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServeError::NoSocket { path: path.to_owned() });
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(ServeError::Taken { path: path.to_owned() });
        }
        // Left by an agent that was killed.
        Ok(_) => fs::remove_file(path).map_err(refused)?,
        Err(_) => {}
    }
    // Its mode from the first moment on; no other thread runs yet that would make files.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(refused)?;
    let file = SocketFile(path.to_owned());
    listener.set_nonblocking(true).map_err(refused)?;
    Ok((listener, file))
}

/// The thread that answers. It ends, and the socket goes, when this is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _file: Option<SocketFile>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, with an error that was logged.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that answers over HTTP ended by a panic");
        }
    }
}

/// What answers are made of.
struct Shared {
    board: Arc<Board>,
    build: Vec<(&'static str, &'static str)>,
    refused: AtomicU64,
    threads: Mutex<Threads>,
}

fn answer_until(
    metrics: Option<TcpListener>,
    debug: Option<UnixListener>,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async move {
        let metrics = metrics.map(tokio::net::TcpListener::from_std).transpose()?;
        let debug = debug.map(tokio::net::UnixListener::from_std).transpose()?;
        let at_address = async {
            let Some(listener) = &metrics else { return std::future::pending().await };
            let rooms = Rooms::new();
            let next = async || {
                let (stream, peer) = listener.accept().await?;
                let room = rooms.of(stream.local_addr()?.ip(), peer.ip());
                Ok((stream, Arc::clone(room)))
            };
            accept(&shared, Place::Address, next).await;
        };
        // Its own share of connections: who crowds the one does not shut out the other.
        let at_socket = async {
            let Some(listener) = &debug else { return std::future::pending().await };
            let room = Arc::new(Semaphore::new(CONNECTIONS));
            accept(&shared, Place::Socket, async || Ok((listener.accept().await?.0, Arc::clone(&room))))
                .await;
        };
        tokio::select! {
            _ = stopped => {}
            () = at_address => {}
            () = at_socket => {}
        }
        Ok(())
    })
}

/// Where a question came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Address,
    Socket,
}

/// Places at the address. The kubelet asks from this node: whoever fills the others' places from elsewhere keeps no probe
/// out, and has no agent killed.
struct Rooms {
    own: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Rooms {
    fn new() -> Self {
        let room = || Arc::new(Semaphore::new(CONNECTIONS));
        Self { own: room(), others: room() }
    }

    /// From this node is what comes from the very address that it comes to, or from a loopback one: the kernel takes
    /// neither from a wire.
    fn of(&self, local: IpAddr, peer: IpAddr) -> &Arc<Semaphore> {
        let peer = peer.to_canonical();
        if peer.is_loopback() || peer == local.to_canonical() { &self.own } else { &self.others }
    }
}

async fn accept<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    shared: &Arc<Shared>,
    place: Place,
    next: impl AsyncFn() -> io::Result<(S, Arc<Semaphore>)>,
) {
    loop {
        let (stream, room) = match next().await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics or health could not be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = room.try_acquire_owned() else {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            converse(stream, &shared, place).await;
            drop(permit);
        });
    }
}

/// One question and its answer.
async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    shared: &Shared,
    place: Place,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
        let answer = shared.answer(place, request.method(), request.uri().path(), accept);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES).keep_alive(false);
    let asked = http.serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(WHOLE, asked).await {
        Ok(Ok(())) => {}
        // Who asks wrongly, slowly or not at all hears so, or has gone.
        Ok(Err(error)) => tracing::debug!(%error, "a question over HTTP broke off"),
        Err(_) => tracing::debug!("an answer over HTTP was not taken in time"),
    }
}

type Answer = Response<Full<Bytes>>;

impl Shared {
    fn answer(&self, place: Place, method: &Method, path: &str, accept: &str) -> Answer {
        let known = match path {
            "/livez" => self.livez(),
            "/readyz" => self.readyz(place),
            "/metrics" => self.metrics(Format::wanted(accept)),
            "/debug/snapshot" if place == Place::Socket => self.snapshot(),
            _ => return text(StatusCode::NOT_FOUND, "here are /livez, /readyz and /metrics\n"),
        };
        if [Method::GET, Method::HEAD].contains(method) {
            return known;
        }
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refused
    }

    fn livez(&self) -> Answer {
        let still = self.board.still_for(Instant::now());
        if still < STILL {
            return text(StatusCode::OK, "ok\n");
        }
        let told = format!("the spine has not turned for {} s\n", still.as_secs());
        text(StatusCode::SERVICE_UNAVAILABLE, told)
    }

    /// At the address anybody may ask: what the API server said, and of which objects, is told on the socket alone.
    fn readyz(&self, place: Place) -> Answer {
        let Some(readings) = self.board.readings() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not attached\n");
        };
        let missing = readings.missing(place == Place::Socket);
        if !missing.is_empty() {
            return text(StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n");
        }
        match readings.snapshot.stale_since {
            None => text(StatusCode::OK, "ok\n"),
            Some(since) => text(StatusCode::OK, format!("ok; the snapshot lags since {since}\n")),
        }
    }

    fn metrics(&self, format: Format) -> Answer {
        let proc = Path::new("/proc");
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let scrape = Scrape {
            build: self.build.clone(),
            still_for: self.board.still_for(Instant::now()),
            refused: self.refused.load(Ordering::Relaxed),
            cpu_seconds: threads.look(proc).unwrap_or_default(),
            usage: process::usage(proc).ok(),
            readings: self.board.readings(),
        };
        match metrics::write(scrape, format) {
            Ok(written) => typed(StatusCode::OK, format.content_type(), written),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    fn snapshot(&self) -> Answer {
        let Some(readings) = self.board.readings() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not attached\n");
        };
        let mut snapshot = readings.snapshot.clone();
        let problems = snapshot.problems.len();
        snapshot.problems.truncate(PROBLEMS);
        let mut told = serde_json::json!(snapshot);
        told["problem_count"] = problems.into();
        typed(StatusCode::OK, "application/json", format!("{told:#}\n"))
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests;
