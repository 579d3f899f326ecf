//! Datagrams that the kernel half counted between a cgroup and a peer that its sockets name in each call.

use super::load::LoadError;
use super::repeats::{Key, Repeat, key_of};
use super::ring::{Maps, refused};
use aya::maps::{HashMap, MapData, MapError};

pub use flowlog_common::peer::PeerCounts;

/// [`PeerCounts`] under a type of ours, so that aya may read it from a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Counts(PeerCounts);

// SAFETY: `repr(C)`, made of integers alone, without padding (asserted where it is declared).
#[expect(unsafe_code, reason = "aya asks for a promise about the layout")]
unsafe impl aya::Pod for Counts {}

/// The table.
pub(super) struct Peers(HashMap<MapData, Key, Counts>);

impl Peers {
    pub(super) fn take(maps: &mut Maps<'_>) -> Result<Self, LoadError> {
        HashMap::try_from(maps.take("PEERS")?).map(Self).map_err(|error| refused("PEERS", &error))
    }

    /// What was counted; `None` where the peer gave way to another.
    pub(super) fn read(&self, peer: &Repeat) -> Result<Option<PeerCounts>, MapError> {
        match self.0.get(&key_of(peer), 0) {
            Ok(counts) => Ok(Some(counts.0)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
