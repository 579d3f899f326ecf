//! The cluster as its API server tells it, followed for as long as the agent runs.
//!
//! Each kind is followed on its own (`follow`), put together with the others (`gather`), and what comes of it goes into a
//! store and out as a snapshot, whole. All of that has a thread of its own: reading ten thousand pods does not hold up
//! a flow. Whoever judges takes the newest snapshot when it suits, and never waits.

mod cut;
mod follow;
mod gather;
mod items;
mod kinds;
mod reach;
mod read;
mod served;
mod standing;
mod timing;

pub use reach::{Access, Reach, ReachError};
pub use timing::Timing;

use super::{ClusterError, Loaded, Settings, Snapshot, Standing, Store};
use crate::policy::Policy;
use follow::{Follower, Told};
use gather::{Gather, Gathered};
use jiff::Timestamp;
use kinds::KINDS;
use kube::Client;
use standing::Standings;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// What the kinds have told and nobody has put together yet. A full channel leaves bytes in the socket, and then in the
/// API server, which ends a watch that does not read: that one is taken up again, and nothing is lost.
const TOLD: usize = 256;

/// Gathered changes are taken by so many at once.
const MOST_CHANGES: usize = 20_000;

/// Why the cluster cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The API server could not be reached even if it answered.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// There is no runtime for it.
    #[error("start what watches the API server: {0}")]
    Start(#[source] std::io::Error),
    /// The policies in trial cannot be used.
    #[error(transparent)]
    Trial(#[from] ClusterError),
}

/// Everything that has to be there before the agent is confined: the client is made, and nothing was asked yet.
pub struct Prepared {
    /// Taken by the thread.
    runtime: Option<Runtime>,
    client: Client,
    url: String,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Where the start fails, this may be within another runtime, in which none may be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Makes what is needed to watch, short of a thread.
///
/// # Errors
/// The way to the API server cannot be used, whatever the server does.
pub fn prepare(reach: &Reach) -> Result<Prepared, WatchError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WatchError::Start)?;
    let client = {
        let _within = runtime.enter();
        reach.client()?
    };
    Ok(Prepared { runtime: Some(runtime), client, url: reach.url() })
}

/// A cluster that is followed. It ends with this value.
#[derive(Debug)]
pub struct Watch {
    newest: Newest,
    taken: u64,
    shown: Option<Shown>,
    _stop: oneshot::Sender<()>,
}

/// What was told of a snapshot, and when.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    standing: Standing,
    at: Timestamp,
}

/// The newest snapshot. It is held for the moment of a copied pointer.
#[derive(Clone, Debug)]
struct Newest(Arc<Mutex<Arc<Snapshot>>>);

impl Newest {
    fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, snapshot: Arc<Snapshot>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// A snapshot that was taken.
#[derive(Clone, Debug)]
pub struct News {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Whether its state is worth a record: how far it can be relied on has changed, or it was not told for long.
    pub worth_telling: bool,
}

/// Snapshots that differ in their objects alone are told so often: some are made each second.
const TELL: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);

/// Follows a cluster on a thread of its own. `trial` are policies in trial beside those annotated so.
///
/// # Errors
/// The thread cannot be started.
pub fn start(
    mut prepared: Prepared,
    settings: Settings,
    node: &str,
    trial: Vec<Arc<Policy>>,
    timing: Timing,
) -> Result<Watch, WatchError> {
    let now = Timestamp::now();
    let mut store = Store::start(settings, Loaded::default(), now)?;
    let mut gather = Gather::new(node.to_owned(), Standings::new(now), trial);
    let Gathered { changes, .. } = gather.take();
    let newest = Newest(Arc::new(Mutex::new(store.apply_as(changes, gather.standings.standing(), now))));
    let (stop, stopped) = oneshot::channel();
    let watch = Watch { newest: newest.clone(), taken: 0, shown: None, _stop: stop };
    thread::Builder::new()
        .name("flowlog-watch".to_owned())
        .spawn(move || {
            let Some(runtime) = prepared.runtime.take() else { return };
            let client = prepared.client.clone();
            tracing::info!(url = prepared.url, "watching the API server");
            let all = async {
                let (tell, told) = mpsc::channel(TOLD);
                for row in &KINDS {
                    tokio::spawn(Follower::new(row, client.clone(), timing.clone(), tell.clone()).follow());
                }
                drop((tell, client));
                tokio::select! {
                    () = put_together(told, &mut gather, &mut store, &newest, timing.gather) => (),
                    // Only ever ends by the other half's going.
                    _ = stopped => (),
                }
            };
            runtime.block_on(all);
            // A resolver that still waits is not waited for.
            runtime.shutdown_background();
        })
        .map_err(WatchError::Start)?;
    Ok(watch)
}

async fn put_together(
    mut told: Receiver<Told>,
    gather: &mut Gather,
    store: &mut Store,
    newest: &Newest,
    (soon, later): (Duration, Duration),
) {
    while let Some(first) = told.recv().await {
        let snapshot = store.snapshot();
        let began = Instant::now();
        gather.add(first, &snapshot.inventory);
        let mut changes = 1;
        while changes < MOST_CHANGES && !gather.is_empty() {
            let until = began + if gather.is_urgent() { soon } else { later };
            let Ok(Some(next)) = timeout_at(until, told.recv()).await else { break };
            gather.add(next, &snapshot.inventory);
            changes += 1;
        }
        if !gather.is_empty() {
            let Gathered { changes, restated } = gather.take();
            let now = Timestamp::now();
            let snapshot = match restated {
                true => store.apply_as(changes, gather.standings.standing(), now),
                false => store.apply(changes, now),
            };
            tracing::debug!(
                revision = snapshot.revision,
                pods = snapshot.inventory.pod_count(),
                policies = snapshot.policies.policy_count(),
                "snapshot"
            );
            newest.set(snapshot);
        }
    }
}

impl Watch {
    /// The snapshot to judge with.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.newest.get()
    }

    /// The newest snapshot, where it was not taken before.
    pub fn take_new(&mut self, now: Timestamp) -> Option<News> {
        let snapshot = self.newest.get();
        if snapshot.revision == self.taken {
            return None;
        }
        self.taken = snapshot.revision;
        let standing = Standing {
            stale_since: snapshot.stale_since,
            incomplete: snapshot.inventory.incomplete().cloned(),
            unread: snapshot.unread.clone(),
            problems: Arc::clone(&snapshot.problems),
        };
        let worth_telling = self
            .shown
            .as_ref()
            .is_none_or(|shown| shown.standing != standing || now.duration_since(shown.at) >= TELL);
        if worth_telling {
            self.shown = Some(Shown { standing, at: now });
        }
        Some(News { snapshot, worth_telling })
    }
}
