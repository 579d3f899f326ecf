//! Where snapshots come from: folders that are looked at, or an API server that is watched. The spine does not care.

use super::reload::Reload;
use crate::cluster::watch::{KindHealth, News, Watch};
use crate::cluster::{Fingerprint, Folders, Snapshot, Store};
use jiff::Timestamp;
use std::sync::Arc;

/// A source of snapshots.
pub struct Source(Kind);

enum Kind {
    Folders(Box<Reload>),
    Watched(Watch),
}

impl Source {
    /// Folders of manifests, and what was read of them.
    pub fn folders(folders: Folders, fingerprint: Fingerprint, store: Store) -> Self {
        Self(Kind::Folders(Box::new(Reload::new(folders, fingerprint, store))))
    }

    /// A cluster that is followed by its API server.
    pub fn watched(watch: Watch) -> Self {
        Self(Kind::Watched(watch))
    }

    /// The snapshot to judge with.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        match &self.0 {
            Kind::Folders(reload) => reload.snapshot(),
            Kind::Watched(watch) => watch.snapshot(),
        }
    }

    /// Why there is no newer snapshot, beside what the snapshot itself tells.
    pub(super) fn problems(&self) -> &[String] {
        match &self.0 {
            Kind::Folders(reload) => reload.problems(),
            Kind::Watched(_) => &[],
        }
    }

    /// How each kind is followed; none where that is no watching.
    pub(super) fn kinds(&self) -> Vec<KindHealth> {
        match &self.0 {
            Kind::Folders(_) => Vec::new(),
            Kind::Watched(watch) => watch.kinds(),
        }
    }

    /// Once a second.
    pub(super) fn look(&mut self) {
        match &mut self.0 {
            Kind::Folders(reload) => reload.look(),
            Kind::Watched(_) => {}
        }
    }

    /// A snapshot that was not taken before.
    pub(super) fn take_new(&mut self, now: Timestamp) -> Option<News> {
        match &mut self.0 {
            Kind::Folders(reload) => {
                reload.take_found(now).map(|snapshot| News { snapshot, worth_telling: true })
            }
            Kind::Watched(watch) => watch.take_new(now),
        }
    }
}
