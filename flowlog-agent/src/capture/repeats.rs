//! Connections that the kernel half counts rather than tells: which, and how many there were.

use super::load::LoadError;
use super::ring::{Maps, refused};
use crate::model::{Direction, Protocol};
use aya::maps::{Array, HashMap, MapData, MapError};
use flowlog_common::repeat::{EGRESS, INGRESS, MOST_REPEATS, RepeatKey};
use std::net::{IpAddr, SocketAddr};

pub use flowlog_common::repeat::RepeatCounts;

/// What connections that are counted have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repeat {
    /// Cgroup of the socket of this end.
    pub cgroup_id: u64,
    /// Egress: counted at the opener; ingress: at the listener.
    pub direction: Direction,
    /// Protocol; the kernel half counts TCP.
    pub protocol: Protocol,
    /// Egress: the listener. Ingress: the opener's address, with the listener's port.
    pub far: SocketAddr,
}

/// Where connections of one kind are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    /// Its place, from 0.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A slot of a test.
#[cfg(test)]
impl From<u32> for Slot {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

/// [`RepeatKey`] under a type of ours, so that aya may write it to a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Key(RepeatKey);

/// [`RepeatCounts`], as above.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Counts(RepeatCounts);

// SAFETY: `repr(C)`, made of integers alone, without padding (asserted where it is declared).
#[expect(unsafe_code, reason = "aya asks for a promise about the layout")]
unsafe impl aya::Pod for Key {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "aya asks for a promise about the layout")]
unsafe impl aya::Pod for Counts {}

/// The maps, and which slots are free.
pub(super) struct Repeats {
    keys: HashMap<MapData, Key, u32>,
    counts: Array<MapData, Counts>,
    free: Vec<u32>,
}

impl Repeats {
    pub(super) fn take(maps: &mut Maps<'_>) -> Result<Self, LoadError> {
        let mut take = |name: &str| maps.take(name);
        let most = u32::try_from(MOST_REPEATS).unwrap_or(u32::MAX);
        Ok(Self {
            keys: HashMap::try_from(take("REPEATS")?).map_err(|error| refused("REPEATS", &error))?,
            counts: Array::try_from(take("REPEAT_COUNTS")?)
                .map_err(|error| refused("REPEAT_COUNTS", &error))?,
            free: (0..most).rev().collect(),
        })
    }

    /// Count such connections from now on; `None` where no slot is free.
    pub(super) fn start(&mut self, repeat: &Repeat) -> Result<Option<Slot>, MapError> {
        let Some(slot) = self.free.pop() else { return Ok(None) };
        let started = self
            .counts
            .set(slot, Counts(RepeatCounts::default()), 0)
            .and_then(|()| self.keys.insert(key_of(repeat), slot, 0));
        match started {
            Ok(()) => Ok(Some(Slot(slot))),
            Err(error) => {
                self.free.push(slot);
                Err(error)
            }
        }
    }

    pub(super) fn stop(&mut self, repeat: &Repeat) -> Result<(), MapError> {
        match self.keys.remove(&key_of(repeat)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn release(&mut self, slot: Slot) {
        self.free.push(slot.0);
    }

    pub(super) fn read(&self, slot: Slot) -> Result<RepeatCounts, MapError> {
        Ok(self.counts.get(&slot.0, 0)?.0)
    }
}

pub(super) fn key_of(repeat: &Repeat) -> Key {
    let octets = match repeat.far.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let word = |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
    Key(RepeatKey {
        cgroup_id: repeat.cgroup_id,
        address: [word(0), word(4), word(8), word(12)],
        port: repeat.far.port(),
        direction: match repeat.direction {
            Direction::Egress => EGRESS,
            Direction::Ingress => INGRESS,
        },
        protocol: number_of(repeat.protocol),
        reserved: 0,
    })
}

fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => 1,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_laid_out_as_the_kernel_half_makes_it() {
        let repeat = Repeat {
            cgroup_id: 7,
            direction: Direction::Ingress,
            protocol: Protocol::Tcp,
            far: "10.0.0.9:5432".parse().unwrap(),
        };
        let Key(key) = key_of(&repeat);
        assert_eq!((key.cgroup_id, key.port, key.direction, key.protocol), (7, 5432, INGRESS, 6));
        assert_eq!(key.address, [0, 0, 0xffff_u32.to_be(), u32::from_be_bytes([10, 0, 0, 9]).to_be()]);
    }
}
