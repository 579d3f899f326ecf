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
    problems: Vec<String>,
}

impl Reload {
    pub(super) fn new(folder: Option<PathBuf>, fingerprint: Fingerprint, store: Store) -> Self {
        Self { folder, fingerprint: Some(fingerprint), store, looking: None, problems: Vec::new() }
    }

    /// The snapshot to judge with.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.store.snapshot()
    }

    /// Why the last look brought no new snapshot, if it did not.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Start a look, unless one is under way.
    pub(super) fn look(&mut self) {
        if let (Some(folder), None) = (self.folder.clone(), &self.looking) {
            let before = self.fingerprint.clone();
            self.looking = Some(tokio::task::spawn_blocking(move || look(&folder, before.as_ref())));
        }
    }

    /// Take what a look has found. Answers a snapshot where something changed: a new one, or the last good one,
    /// marked stale.
    pub(super) fn take_found(&mut self, now: Timestamp) -> Option<Arc<Snapshot>> {
        let looking = self.looking.take_if(|looking| looking.is_finished())?;
        let (fingerprint, loaded) = finish(looking)?;
        self.take(fingerprint, loaded, now)
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
                self.problems.clear();
                tracing::info!(revision = snapshot.revision, "manifests changed: new snapshot");
                Some(snapshot)
            }
            Err(error) => {
                let problems = problems_of(&error);
                if self.problems == problems {
                    return None;
                }
                tracing::error!(%error, "manifests changed and cannot be used: the last good snapshot stays");
                self.problems = problems;
                Some(self.store.snapshot())
            }
        }
    }
}

/// Each with its file, document and field, where it is about the files' contents.
fn problems_of(error: &ClusterError) -> Vec<String> {
    match error {
        ClusterError::Problems { problems, .. } => problems.iter().map(ToString::to_string).collect(),
        ClusterError::Folder { .. } | ClusterError::Empty { .. } => vec![error.to_string()],
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
