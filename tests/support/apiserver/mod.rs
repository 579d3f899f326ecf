//! An API server that does what a test says: real HTTP, and the protocol of lists and watches as API servers speak it.
//!
//! What it keeps is one history of objects under one counter of versions. It lists in pages and by streams, watches
//! with bookmarks, forgets, refuses, stalls and breaks off. It knows nothing of what reads from it.

mod history;
mod logs;
mod serve;
mod tls;

pub use history::Request;
use history::{History, Shared};
pub use logs::of_logs;
pub use tls::Authority;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// A kind that it serves: plural, kind, group and version, namespaced.
pub type KindRow = (&'static str, &'static str, &'static str, bool);

/// All kinds that it knows.
pub const KINDS: [KindRow; 18] = [
    ("namespaces", "Namespace", "v1", false),
    ("nodes", "Node", "v1", false),
    ("pods", "Pod", "v1", true),
    ("services", "Service", "v1", true),
    ("endpointslices", "EndpointSlice", "discovery.k8s.io/v1", true),
    ("servicecidrs", "ServiceCIDR", "networking.k8s.io/v1", false),
    ("jobs", "Job", "batch/v1", true),
    ("cronjobs", "CronJob", "batch/v1", true),
    ("replicasets", "ReplicaSet", "apps/v1", true),
    ("deployments", "Deployment", "apps/v1", true),
    ("statefulsets", "StatefulSet", "apps/v1", true),
    ("daemonsets", "DaemonSet", "apps/v1", true),
    ("networkpolicies", "NetworkPolicy", "networking.k8s.io/v1", true),
    ("adminnetworkpolicies", "AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1", false),
    (
        "baselineadminnetworkpolicies",
        "BaselineAdminNetworkPolicy",
        "policy.networking.k8s.io/v1alpha1",
        false,
    ),
    ("clusternetworkpolicies", "ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2", false),
    ("vulnerabilityreports", "VulnerabilityReport", "aquasecurity.github.io/v1alpha1", true),
    ("sbomreports", "SbomReport", "aquasecurity.github.io/v1alpha1", true),
];

/// Those that a server has only where somebody defined them.
pub const CUSTOM: [&str; 5] = [
    "adminnetworkpolicies",
    "baselineadminnetworkpolicies",
    "clusternetworkpolicies",
    "vulnerabilityreports",
    "sbomreports",
];

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and reason.
    Status(u16, &'static str),
    /// It is answered with this status as by something else that stands before the server: in plain text.
    Plain(u16),
    /// It is answered with 429, and asked to come again after so many seconds.
    Busy(u64),
    /// It is answered with 200, and one ERROR event of this code.
    ErrorEvent(u16, &'static str),
    /// Its answer never begins.
    NoAnswer,
    /// Its answer begins, and nothing follows.
    Silent,
    /// After so many events or items its answer breaks off in the middle of the next one.
    CutAfter(usize),
    /// Its answer comes so many bytes at a time, with a pause between.
    Slow(usize, Duration),
    /// A streamed list ends without its bookmark.
    NoBookmark,
    /// It is taken as a server does that does not know streamed lists yet, nor refuses to.
    Legacy,
}

/// Which requests a fault befalls.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// The plural; any where empty.
    pub plural: &'static str,
    /// Watches, lists, or both.
    pub watch: Option<bool>,
    /// Streamed lists, or none.
    pub initial: Option<bool>,
    /// Pages after the first, or others.
    pub going_on: Option<bool>,
}

/// Requests of a kind.
pub fn of(plural: &'static str) -> Which {
    Which { plural, ..Which::default() }
}

/// How open watches end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// As after their time.
    Clean,
    /// The connection breaks, half an event sent.
    MidLine,
}

/// A server that runs until it is dropped.
pub struct ApiServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    authority: Option<Arc<Authority>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts one on the loopback, empty.
    pub fn start() -> Result<Self> {
        Self::with(Arc::new(Shared::default()), SocketAddr::from(([127, 0, 0, 1], 0)), None)
    }

    /// The same, with a certificate of this authority.
    pub fn start_tls(authority: &Arc<Authority>) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::with(Arc::new(Shared::default()), address, Some(Arc::clone(authority)))
    }

    fn with(shared: Arc<Shared>, address: SocketAddr, authority: Option<Arc<Authority>>) -> Result<Self> {
        let listener = TcpListener::bind(address).context("bind the API server")?;
        listener.set_nonblocking(true).context("listen as the API server")?;
        let address = listener.local_addr().context("address of the API server")?;
        let (stop, stopped) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
        let tls = match &authority {
            Some(authority) => Some((authority.acceptor()?, Arc::clone(authority))),
            None => None,
        };
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve::serve(listener, tls, served) => (),
                    _ = stopped => (),
                }
            });
        });
        Ok(Self { shared, address, authority, stop: Some(stop), thread: Some(thread) })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address, as a kubeconfig has it.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Writes a kubeconfig that leads to it, with this user; beside it the authority's certificate, where it has one.
    pub fn kubeconfig(&self, folder: &Path, user: &Value) -> Result<PathBuf> {
        let mut cluster = json!({"server": self.url()});
        if let Some(authority) = &self.authority {
            cluster["certificate-authority"] = "ca.crt".into();
            let file = folder.join("ca.crt");
            std::fs::write(&file, &authority.pem).with_context(|| format!("write {}", file.display()))?;
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let path = folder.join("kubeconfig");
        std::fs::write(&path, config.to_string()).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Goes away with all its connections; what it keeps stays.
    pub fn go_away(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in there was told on stderr; the test fails by what it then misses.
            let _ = thread.join();
        }
        self.history(|history| history.watching.clear());
    }

    /// Comes back at the same address.
    pub fn come_back(&mut self) -> Result<()> {
        let back = Self::with(Arc::clone(&self.shared), self.address, self.authority.clone())?;
        *self = back;
        Ok(())
    }

    fn history<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        self.shared.change(change)
    }

    /// Creates or replaces an object; `kind` and `apiVersion` tell which list it is in.
    pub fn apply(&self, object: Value) {
        self.history(|history| history.apply(object));
    }

    /// Deletes an object.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        self.history(|history| history.delete(plural, namespace, name));
    }

    /// All objects as they are now.
    pub fn objects(&self) -> Vec<Value> {
        self.history(|history| history.objects())
    }

    /// Forgets what was before: watches from there are answered with 410, by an event or by the status.
    pub fn forget(&self, by_status: bool) {
        self.history(|history| history.forget(by_status));
    }

    /// Serves a kind, or does not; what it had of it goes with it.
    pub fn serve(&self, plural: &'static str, serves: bool) {
        self.history(|history| history.serve(plural, serves));
    }

    /// Answers as an older server that does not serve a kind, while another keeps its objects.
    pub fn hide(&self, plural: &'static str, hides: bool) {
        self.history(|history| history.hide(plural, hides));
    }

    /// Lists a kind as served in this version, too, besides its own where that is served.
    pub fn serve_too(&self, plural: &'static str, version: &'static str) {
        self.history(|history| history.versions.push((plural, version)));
    }

    /// Sets its counter of versions back, as a store does that was made anew from a copy.
    pub fn set_back(&self, by: u64) {
        self.history(|history| {
            history.version = history.version.saturating_sub(by);
            history.forgotten = 0;
        });
    }

    /// Whether it lists by streams.
    pub fn stream(&self, streams: bool) {
        self.history(|history| history.streams = streams);
    }

    /// Forgets changes but for the last so many, as a server's cache does.
    pub fn keep_changes(&self, count: usize) {
        self.history(|history| history.kept = count);
    }

    /// How often watches get a bookmark.
    pub fn bookmark_every(&self, interval: Duration) {
        self.history(|history| history.bookmarks = Some(interval));
    }

    /// Answers those alone that have this token.
    pub fn want_token(&self, token: &str) {
        self.history(|history| history.token = Some(token.to_owned()));
    }

    /// Gives no right to a kind: `list`, `watch`, or `*` for both.
    pub fn forbid(&self, plural: &'static str, verb: &'static str) {
        self.history(|history| history.forbidden.insert((plural, verb)));
    }

    /// Lets this befall the next requests of these, so many times.
    pub fn fault(&self, which: Which, fault: Fault, times: usize) {
        self.history(|history| history.faults.push((which, fault, times)));
    }

    /// What is left of the faults befalls nobody any more.
    pub fn heal(&self) {
        self.history(|history| history.faults.clear());
    }

    /// Ends all watches that are open.
    pub fn drop_watches(&self, how: Drop) {
        self.history(|history| history.dropped = (history.dropped.0 + 1, how));
    }

    /// Its container writes a line, in this second (`2026-11-30T08:00:00Z`); where it did not run it begins anew.
    pub fn write_log(&self, namespace: &str, pod: &str, time: &str, line: &str) {
        let id = (namespace.to_owned(), pod.to_owned());
        self.history(|history| history.logs.entry(id).or_default().write(time, line));
    }

    /// Its container ends.
    pub fn end_log(&self, namespace: &str, pod: &str) {
        let id = (namespace.to_owned(), pod.to_owned());
        self.history(|history| history.logs.entry(id).or_default().ended = true);
    }

    /// Ends all logs that are handed on.
    pub fn drop_logs(&self, how: Drop) {
        self.history(|history| history.dropped_logs = (history.dropped_logs.0 + 1, how));
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.history(|history| history.requests.clone())
    }

    /// Bytes of answers by plural.
    pub fn bytes(&self) -> std::collections::BTreeMap<String, u64> {
        self.history(|history| history.bytes.clone())
    }

    /// Watches that are open now, by plural.
    pub fn watching(&self, plural: &str) -> usize {
        self.history(|history| history.watching.get(plural).copied().unwrap_or(0))
    }
}

impl std::ops::Drop for ApiServer {
    fn drop(&mut self) {
        self.go_away();
    }
}
