//! Manifests that change while the agent runs: looked at once a second, read off the spine's task.

use crate::cluster::{self, ClusterError, Fingerprint, Folders, Loaded, Snapshot, Store};
use jiff::Timestamp;
use std::future::Future as _;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What a look found: `None` where nothing changed.
type Look = Option<(Option<Fingerprint>, Result<Loaded, ClusterError>)>;

/// The folders and what was last read of them.
pub(super) struct Reload {
    folders: Folders,
    /// State that was last read; absent where the folders themselves could not be.
    fingerprint: Option<Fingerprint>,
    store: Store,
    looking: Option<JoinHandle<Look>>,
    problems: Vec<String>,
}

impl Reload {
    pub(super) fn new(folders: Folders, fingerprint: Fingerprint, store: Store) -> Self {
        Self { folders, fingerprint: Some(fingerprint), store, looking: None, problems: Vec::new() }
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
        if self.looking.is_none() {
            let (folders, before) = (self.folders.clone(), self.fingerprint.clone());
            self.looking = Some(tokio::task::spawn_blocking(move || look(&folders, before.as_ref())));
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
        loaded.iter().for_each(tell_notes);
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

/// What a person should know of objects that can be read.
pub fn tell_notes(loaded: &Loaded) {
    for note in loaded.objects.notes() {
        tracing::warn!(%note, "a policy's annotation does not do what it says");
    }
}

/// Each with its file, document and field, where it is about the files' contents.
fn problems_of(error: &ClusterError) -> Vec<String> {
    match error {
        ClusterError::Problems { problems, .. } => problems.iter().map(ToString::to_string).collect(),
        ClusterError::Folder { .. } | ClusterError::Empty { .. } | ClusterError::AllInTrial { .. } => {
            vec![error.to_string()]
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

fn look(folders: &Folders, before: Option<&Fingerprint>) -> Look {
    match cluster::fingerprint(folders) {
        Ok(now) if Some(&now) == before => None,
        Ok(now) => {
            let loaded = cluster::load(folders);
            let read = loaded.as_ref().map_or(now, |loaded| loaded.fingerprint.clone());
            Some((Some(read), loaded))
        }
        Err(error) => Some((None, Err(error))),
    }
}
