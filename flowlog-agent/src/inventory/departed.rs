//! Pods that went: kept for a while, since what they did is still on its way through the pipeline.
//!
//! Bounded by count (the oldest leave first) and by age. A departed pod is never taken for a live one:
//! whoever asks is told when it went.

use super::keys::{ByIdentity, Named};
use crate::model::shared::Sharded;
use crate::model::{Pod, normalise};
use foldhash::HashSet;
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;

/// How much is kept of pods that went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// At most so many pods.
    pub count: usize,
    /// For so long.
    pub age: SignedDuration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { count: 10_000, age: SignedDuration::from_mins(15) }
    }
}

#[derive(Clone, Debug)]
struct Gone {
    pod: Arc<Pod>,
    since: Timestamp,
}

/// The pods that went, numbered in the order in which they did, with an index by identity. Who had
/// their addresses is the address index's part.
#[derive(Clone, Debug, Default)]
pub(super) struct Departed {
    keep: Keep,
    gone: Sharded<u64, Gone>,
    /// No lower number is there.
    oldest: u64,
    next: u64,
    by_identity: Sharded<ByIdentity, u64>,
}

/// A pod is its uid; one written by hand without a uid is its namespace and name.
pub(super) type Identity<'a> = (&'a str, &'a str);

pub(super) fn identity(pod: &Pod) -> Identity<'_> {
    match pod.uid.is_empty() {
        true => (&pod.namespace, &pod.name),
        false => ("", &pod.uid),
    }
}

impl Departed {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Keeps a pod that went.
    pub(super) fn put(&mut self, pod: &Arc<Pod>, now: Timestamp, freed: &mut HashSet<IpAddr>) {
        self.remove(pod, freed);
        let number = self.next;
        self.next += 1;
        self.gone.insert(number, Gone { pod: Arc::clone(pod), since: now });
        self.by_identity.insert(ByIdentity(Arc::clone(pod)), number);
    }

    /// Forgets a pod: it came back. The addresses that it had are handed to `freed`.
    pub(super) fn remove(&mut self, pod: &Pod, freed: &mut HashSet<IpAddr>) {
        if self.gone.len() == 0 {
            return;
        }
        if let Some(number) = self.by_identity.get(&Named(identity(pod))).copied() {
            self.forget(number, freed);
        }
    }

    /// Forgets what is beyond the bounds at `now`.
    pub(super) fn expire(&mut self, now: Timestamp, freed: &mut HashSet<IpAddr>) {
        while self.oldest < self.next {
            let keep = self.gone.get(&self.oldest).map(|gone| within(gone.since, now, self.keep.age));
            if keep == Some(true) && self.gone.len() <= self.keep.count {
                break;
            }
            self.forget(self.oldest, freed);
            self.oldest += 1;
        }
    }

    fn forget(&mut self, number: u64, freed: &mut HashSet<IpAddr>) {
        let Some(gone) = self.gone.remove(&number) else { return };
        self.by_identity.remove(&Named(identity(&gone.pod)));
        freed.extend(addresses(&gone.pod).iter().copied().map(normalise));
    }

    pub(super) fn find_by_uid(&self, uid: &str, at: Timestamp) -> Option<(&Arc<Pod>, Timestamp)> {
        self.recent(*self.by_identity.get(&Named(("", uid)))?, at)
    }

    pub(super) fn len(&self) -> usize {
        self.gone.len()
    }

    fn recent(&self, number: u64, at: Timestamp) -> Option<(&Arc<Pod>, Timestamp)> {
        let gone = self.gone.get(&number)?;
        within(gone.since, at, self.keep.age).then_some((&gone.pod, gone.since))
    }
}

/// Addresses that were its own.
pub(super) fn addresses(pod: &Pod) -> &[IpAddr] {
    if pod.host_network || pod.terminated { &[] } else { &pod.ips }
}

fn within(since: Timestamp, at: Timestamp, age: SignedDuration) -> bool {
    at.duration_since(since) <= age
}
