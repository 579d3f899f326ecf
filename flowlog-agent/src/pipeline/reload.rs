//! Manifests that change while the agent runs: looked at once a second, read off the spine's task.

use crate::cluster::{self, ClusterError, Fingerprint, Loaded, Snapshot, Store};
use jiff::Timestamp;
use std::future::Future as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What a look found: `None` where nothing changed.
type Look = Option<(Option<Fingerprint>, Result<Loaded, ClusterError>)>;

/// The folder and what was last read of it.
pub(super) struct Reload {
    folder: Option<PathBuf>,
    /// State that was last read; absent where the folder itself could not be.
    fingerprint: Option<Fingerprint>,
    store: Store,
    looking: Option<JoinHandle<Look>>,
    problem: Option<String>,
}

impl Reload {
    pub(super) fn new(folder: Option<PathBuf>, fingerprint: Fingerprint, store: Store) -> Self {
        Self { folder, fingerprint: Some(fingerprint), store, looking: None, problem: None }
    }

    /// The snapshot to judge with.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.store.snapshot()
    }

    /// Why the last look brought no new snapshot, if it did not.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    /// Take what the last look found, and start the next. Answers a snapshot where something changed: a new one,
    /// or the last good one, marked stale.
    pub(super) fn look(&mut self, now: Timestamp) -> Option<Arc<Snapshot>> {
        let folder = self.folder.clone()?;
        match self.looking.take() {
            Some(looking) if !looking.is_finished() => {
                self.looking = Some(looking);
                None
            }
            finished => {
                let found = finished.and_then(finish);
                let snapshot = found.and_then(|(fingerprint, loaded)| self.take(fingerprint, loaded, now));
                let before = self.fingerprint.clone();
                self.looking = Some(tokio::task::spawn_blocking(move || look(&folder, before.as_ref())));
                snapshot
            }
        }
    }

    fn take(
        &mut self,
        fingerprint: Option<Fingerprint>,
        loaded: Result<Loaded, ClusterError>,
        now: Timestamp,
    ) -> Option<Arc<Snapshot>> {
        self.fingerprint = fingerprint;
        match self.store.reload(loaded, now) {
            Ok(snapshot) => {
                self.problem = None;
                tracing::info!(revision = snapshot.revision, "manifests changed: new snapshot");
                Some(snapshot)
            }
            Err(error) => {
                let problem = error.to_string();
                if self.problem.as_ref() == Some(&problem) {
                    return None;
                }
                tracing::error!(error = %problem, "manifests changed and cannot be used: the last good snapshot stays");
                self.problem = Some(problem);
                Some(self.store.snapshot())
            }
        }
    }
}

/// The task was not given a reason to end otherwise: a panic in it is a defect, and the next look starts anew.
fn finish(looking: JoinHandle<Look>) -> Look {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut { looking }).as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok(found)) => found,
        std::task::Poll::Ready(Err(error)) => {
            tracing::error!(%error, "reading the manifests broke off");
            None
        }
        std::task::Poll::Pending => None,
    }
}

fn look(folder: &Path, before: Option<&Fingerprint>) -> Look {
    match cluster::fingerprint(folder) {
        Ok(now) if Some(&now) == before => None,
        Ok(now) => {
            let loaded = cluster::load(folder);
            let read = loaded.as_ref().map_or(now, |loaded| loaded.fingerprint.clone());
            Some((Some(read), loaded))
        }
        Err(error) => Some((None, Err(error))),
    }
}
