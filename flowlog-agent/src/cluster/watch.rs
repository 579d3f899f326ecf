//! The cluster as its API server tells it, followed for as long as the agent runs.
//!
//! Each kind is followed on its own (`follow`), put together with the others (`gather`), and what comes of it goes into a
//! store and out as a snapshot, whole. All of that has a thread of its own: reading ten thousand pods does not hold up
//! a flow. Whoever judges takes the newest snapshot when it suits, and never waits.

mod agents;
mod alike;
mod cut;
mod follow;
mod gather;
mod health;
mod items;
mod kinds;
mod list;
mod once;
mod probe;
mod reach;
mod read;
mod served;
mod standing;
mod timing;

pub use agents::{Bell, News as AgentNews, Piece, PodLog, Wanted, read_agents};
pub use follow::Followed;
pub use health::KindHealth;
pub use kinds::Needed;
pub use list::{WrittenKind, list, written_kinds};
pub use once::{Reading, read as read_once};
pub use probe::{Probe, ProbedKind, ProbedNode, probe};
pub use reach::{Access, Reach, ReachError};
pub use timing::Timing;

use super::{ClusterError, Loaded, Problem, Settings, Snapshot, Standing, Store};
use crate::policy::Policy;
use follow::{Follower, State, Told};
use gather::{Gather, Gathered};
use health::{Cause, Pulse, Pulses};
use jiff::Timestamp;
use kinds::Row;
use kube::Client;
use read::SOURCE;
use standing::Standings;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use timing::Backoff;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{self, Receiver, Sender};
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
    /// It was asked once, and told nothing.
    #[error("nothing can be read from the API server at {url}: {why}")]
    Unread {
        /// Its address.
        url: String,
        /// What it or the way there said.
        why: String,
    },
    /// It does not tell what there is of a kind.
    #[error("{why}")]
    Unlisted {
        /// What it or the way there said.
        why: String,
    },
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
    pulses: Pulses,
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

    /// The last one counts, and there will be no other.
    fn give_up(&self, what: String, now: Timestamp) {
        let mut last = Snapshot::clone(&self.get());
        last.revision += 1;
        last.stale_since.get_or_insert(now);
        let problem = Problem { file: SOURCE.into(), what, ..Problem::default() };
        last.problems = last.problems.iter().cloned().chain([problem]).collect();
        self.set(Arc::new(last));
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
    let scope = settings.inventory.scope;
    let mut store = Store::start(settings, Loaded::default(), now)?;
    let node: Arc<str> = node.into();
    let mut gather = Gather::new(Arc::clone(&node), Standings::new(now), trial).within(scope);
    let Gathered { changes, .. } = gather.take();
    let newest = Newest(Arc::new(Mutex::new(store.apply_as(changes, gather.standings.standing(), now))));
    let (stop, stopped) = oneshot::channel();
    let pulses = Pulses::new();
    let watch = Watch { newest: newest.clone(), pulses: pulses.clone(), taken: 0, shown: None, _stop: stop };
    thread::Builder::new()
        .name("flowlog-watch".to_owned())
        .spawn(move || {
            let Some(runtime) = prepared.runtime.take() else { return };
            let client = prepared.client.clone();
            tracing::info!(url = prepared.url, "watching the API server");
            let all = async {
                let (tell, told) = mpsc::channel(TOLD);
                for (row, pulse) in pulses.iter() {
                    let (client, timing, again) = (client.clone(), timing.clone(), timing.again);
                    let fields = row.fields(scope, &node);
                    let (told, heard, node) = (tell.clone(), Arc::clone(pulse), Arc::clone(&node));
                    let follow = move || {
                        let (client, timing) = (client.clone(), timing.clone());
                        Follower::new(row, client, timing, told.clone(), Arc::clone(&heard))
                            .selecting(fields.clone())
                            .on_node(Arc::clone(&node))
                            .follow()
                    };
                    tokio::spawn(supervise(row, follow, again, tell.clone(), Arc::clone(pulse)));
                }
                drop((tell, client));
                tokio::select! {
                    () = put_together(told, &mut gather, &mut store, &newest, timing.gather) => (),
                    // Only ever ends by the other half's going.
                    _ = stopped => (),
                }
            };
            if let Err(why) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(all))) {
                let why = words(&*why);
                tracing::error!(why, "the cluster is not followed any more: restart the agent");
                let why = format!("not followed any more, by a fault of the agent: {why}");
                pulses.iter().for_each(|(_, pulse)| {
                    pulse.begin_anew(Cause::Failed);
                    pulse.set(&State::Lost { since: Timestamp::now(), why: String::new() });
                });
                newest.give_up(why, Timestamp::now());
            }
            // A resolver that still waits is not waited for.
            runtime.shutdown_background();
        })
        .map_err(WatchError::Start)?;
    Ok(watch)
}

/// Has a kind followed, and followed anew where what does so fails by a fault of its own: it is not in sync until then.
async fn supervise<F>(
    row: &'static Row,
    follow: impl Fn() -> F,
    again: (Duration, Duration),
    tell: Sender<Told>,
    pulse: Arc<Pulse>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut backoff = Backoff::new(again);
    loop {
        let began = Instant::now();
        let Err(failed) = tokio::spawn(follow()).await else { return };
        // It is never cancelled but with the whole runtime.
        let Ok(why) = failed.try_into_panic() else { return };
        let since = pulse.heard().unwrap_or_else(Timestamp::now);
        let state = State::Lost { since, why: format!("a fault of the agent: {}", words(&*why)) };
        pulse.begin_anew(Cause::Failed);
        pulse.set(&state);
        if tell.send(Told::State(row.kind, state)).await.is_err() {
            return;
        }
        if began.elapsed() >= again.1 {
            backoff.reset();
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
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

    /// How each kind is followed.
    pub fn kinds(&self) -> Vec<KindHealth> {
        self.pulses.read()
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

#[cfg(test)]
mod tests {
    use super::*;
    use kinds::Kind;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn on_runtime(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_kind_whose_follower_fails_is_lost_and_followed_anew() {
        on_runtime(async {
            let (tell, mut told) = mpsc::channel(8);
            let (pulses, row) = (Pulses::new(), Kind::Pod.row());
            let pulse = pulses.iter().find(|(of, _)| of.kind == row.kind).map(|(_, pulse)| Arc::clone(pulse));
            let pulse = pulse.unwrap();
            let heard = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
            pulse.hear(heard);
            pulse.set(&State::InSync);
            let tries = Arc::new(AtomicU32::new(0));
            let again = (Duration::from_millis(1), Duration::from_millis(2));
            let tell_too = tell.clone();
            let follow = move || {
                let (tries, tell) = (Arc::clone(&tries), tell_too.clone());
                async move {
                    // The third one goes on until nobody listens any more.
                    assert!(tries.fetch_add(1, Ordering::Relaxed) >= 2, "an odd object");
                    tell.send(Told::State(Kind::Pod, State::InSync)).await.unwrap();
                }
            };
            supervise(row, follow, again, tell, Arc::clone(&pulse)).await;
            for _ in 0..2 {
                let Some(Told::State(Kind::Pod, State::Lost { since, why })) = told.recv().await else {
                    panic!("not lost")
                };
                assert_eq!((since, &*why), (heard, "a fault of the agent: an odd object"));
            }
            assert!(matches!(told.recv().await, Some(Told::State(Kind::Pod, State::InSync))));
            let read = pulses.read();
            let pods = read.iter().find(|kind| kind.kind == "pods").unwrap();
            assert_eq!(pods.in_sync, Some(false), "who follows it says when it is");
            assert!(pods.restarts.contains(&("failed", 2)), "{pods:?}");
        });
    }

    #[test]
    fn a_snapshot_that_nobody_will_replace_is_stale_and_says_why() {
        let store = Store::start(Settings::default(), Loaded::default(), Timestamp::now()).unwrap();
        let newest = Newest(Arc::new(Mutex::new(store.snapshot())));
        let (before, now) = (newest.get(), Timestamp::now());
        newest.give_up("a fault".to_owned(), now);
        let after = newest.get();
        assert_eq!((before.stale_since, after.stale_since), (None, Some(now)));
        assert!(after.revision > before.revision, "or nobody would take it");
        assert_eq!(after.problems.iter().map(|problem| &*problem.what).collect::<Vec<_>>(), ["a fault"]);
    }
}
