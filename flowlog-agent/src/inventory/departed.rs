//! Pods that went: kept for a while, since what they did is still on its way through the pipeline.
//!
//! Bounded by count (the oldest leave first) and by age. A departed pod is never taken for a live one:
//! whoever asks is told when it went.

use crate::model::Pod;
use foldhash::{HashMap, HashMapExt};
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

/// The pods that went, oldest first, with an index by uid and by address.
#[derive(Debug, Default)]
pub(super) struct Departed {
    keep: Keep,
    gone: Vec<Gone>,
    by_uid: HashMap<String, usize>,
    by_address: HashMap<IpAddr, usize>,
}

impl Departed {
    /// What `before` kept, less what came back (`is_live`), with `went` added, within the bounds at `now`.
    pub(super) fn carry<'a>(
        before: Option<&Self>,
        went: impl Iterator<Item = &'a Arc<Pod>>,
        is_live: impl Fn(&Pod) -> bool,
        keep: Keep,
        now: Timestamp,
    ) -> Self {
        let kept = before.map_or(&[][..], |before| &before.gone).iter().cloned();
        let went = went.map(|pod| Gone { pod: Arc::clone(pod), since: now });
        let mut gone: Vec<Gone> = kept
            .chain(went)
            .filter(|gone| !is_live(&gone.pod) && within(gone.since, now, keep.age))
            .collect();
        gone.drain(..gone.len().saturating_sub(keep.count));
        Self::index(keep, gone)
    }

    fn index(keep: Keep, gone: Vec<Gone>) -> Self {
        let mut by_uid = HashMap::with_capacity(gone.len());
        let mut by_address = HashMap::with_capacity(gone.len());
        for (place, gone) in gone.iter().enumerate() {
            if !gone.pod.uid.is_empty() {
                by_uid.insert(gone.pod.uid.clone(), place);
            }
            if !gone.pod.host_network && !gone.pod.terminated {
                by_address.extend(gone.pod.ips.iter().map(|ip| (*ip, place)));
            }
        }
        Self { keep, gone, by_uid, by_address }
    }

    pub(super) fn find_by_uid(&self, uid: &str, at: Timestamp) -> Option<(&Arc<Pod>, Timestamp)> {
        self.recent(*self.by_uid.get(uid)?, at)
    }

    /// The pod that had the address last.
    pub(super) fn find_by_address(&self, ip: IpAddr, at: Timestamp) -> Option<(&Arc<Pod>, Timestamp)> {
        self.recent(*self.by_address.get(&ip)?, at)
    }

    pub(super) fn len(&self) -> usize {
        self.gone.len()
    }

    fn recent(&self, place: usize, at: Timestamp) -> Option<(&Arc<Pod>, Timestamp)> {
        let gone = self.gone.get(place)?;
        within(gone.since, at, self.keep.age).then_some((&gone.pod, gone.since))
    }
}

fn within(since: Timestamp, at: Timestamp, age: SignedDuration) -> bool {
    at.duration_since(since) <= age
}
