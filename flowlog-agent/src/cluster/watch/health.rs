//! How the kinds are followed, for whoever asks: when the API server was last heard of each, and what it took to begin
//! anew. Those who follow count here; who reads holds nobody up.

use super::follow::State;
use super::kinds::{KINDS, Row};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

/// Why a list or a watch of a kind was begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The server ended the watch in its time, as it was asked to.
    Ended,
    /// The server had forgotten the version to go on from: all is listed again.
    Expired,
    /// The server said no.
    Refused,
    /// There was no answer, or it broke off.
    Broken,
    /// Nothing came for too long.
    Silent,
    /// What came could not be read, or was an error in place of an event.
    Garbled,
    /// The server could not list by a stream: pages are asked for.
    NoStream,
    /// What follows it failed, by a fault of its own.
    Failed,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::Ended,
        Self::Expired,
        Self::Refused,
        Self::Broken,
        Self::Silent,
        Self::Garbled,
        Self::NoStream,
        Self::Failed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Silent => "silent",
            Self::Garbled => "garbled",
            Self::NoStream => "no_stream",
            Self::Failed => "failed",
        }
    }
}

/// States as they are kept.
const IN_SYNC: u8 = 1;
const UNSERVED: u8 = 2;
const LOST: u8 = 0;

/// One kind's counts.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    state: AtomicU8,
    /// Milliseconds since 1970; none while 0.
    heard_ms: AtomicI64,
    restarts: [AtomicU64; Cause::ALL.len()],
}

impl Pulse {
    pub(super) fn begin_anew(&self, cause: Cause) {
        let counts = Cause::ALL.iter().zip(&self.restarts).find(|(one, _)| **one == cause);
        counts.into_iter().for_each(|(_, count)| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// The server said something of the kind.
    pub(super) fn hear(&self, at: Timestamp) {
        self.heard_ms.store(at.as_millisecond(), Ordering::Relaxed);
    }

    pub(super) fn set(&self, state: &State) {
        let state = match state {
            State::InSync => IN_SYNC,
            State::Unserved => UNSERVED,
            State::Elsewhere(_) | State::Lost { .. } => LOST,
        };
        self.state.store(state, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) -> Option<Timestamp> {
        let heard = self.heard_ms.load(Ordering::Relaxed);
        Timestamp::from_millisecond(heard).ok().filter(|_| heard != 0)
    }
}

/// The counts of all kinds.
#[derive(Clone, Debug)]
pub(super) struct Pulses(Arc<[(&'static Row, Arc<Pulse>)]>);

impl Pulses {
    pub(super) fn new() -> Self {
        Self(KINDS.iter().map(|row| (row, Arc::default())).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static Row, &Arc<Pulse>)> {
        self.0.iter().map(|(row, pulse)| (*row, pulse))
    }
}

/// How a kind is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindHealth {
    /// Its plural, as requests and rights name it.
    pub kind: &'static str,
    /// Changes come as they are made; absent where the API server does not serve it.
    pub in_sync: Option<bool>,
    /// When the API server last said something of it.
    pub heard: Option<Timestamp>,
    /// How often a list or a watch was begun anew, by cause; zeros included.
    pub restarts: Vec<(&'static str, u64)>,
}

impl Pulses {
    pub(super) fn read(&self) -> Vec<KindHealth> {
        let read = |(row, pulse): (&'static Row, &Arc<Pulse>)| {
            let state = pulse.state.load(Ordering::Relaxed);
            let counts = Cause::ALL.iter().zip(&pulse.restarts);
            KindHealth {
                kind: row.plural(),
                in_sync: (state != UNSERVED).then_some(state == IN_SYNC),
                heard: pulse.heard(),
                restarts: counts
                    .map(|(cause, count)| (cause.as_str(), count.load(Ordering::Relaxed)))
                    .collect(),
            }
        };
        self.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_there_with_zeros_before_anything_happened() {
        let pulses = Pulses::new();
        let before = pulses.read();
        assert_eq!(before.len(), KINDS.len());
        let pods = before.iter().find(|kind| kind.kind == "pods").unwrap();
        assert_eq!((pods.in_sync, pods.heard, pods.restarts.len()), (Some(false), None, 8));
        assert!(pods.restarts.iter().all(|(_, count)| *count == 0));
        let (_, pulse) = pulses.iter().find(|(row, _)| row.plural() == "pods").unwrap();
        pulse.begin_anew(Cause::Silent);
        pulse.set(&State::InSync);
        let now = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        pulse.hear(now);
        let after = pulses.read();
        let pods = after.iter().find(|kind| kind.kind == "pods").unwrap();
        assert_eq!((pods.in_sync, pods.heard), (Some(true), Some(now)));
        let told: Vec<_> = pods.restarts.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(told, [&("silent", 1)]);
        pulse.set(&State::Unserved);
        assert!(pulses.read().iter().any(|kind| kind.kind == "pods" && kind.in_sync.is_none()));
    }
}
