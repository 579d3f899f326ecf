//! Counters of the kernel half: one [`Counters`] a CPU, summed by the agent.
//!
//! For every kind: `seen` = events read by the agent + `lost`.

use crate::event::KINDS;
use crate::shed::STEPS;
use core::mem::size_of;

/// What one CPU has counted since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Events due, by kind (index 0 is unused).
    pub seen: [u64; KINDS],
    /// Events that found the ring full, by kind.
    pub lost: [u64; KINDS],
    /// All events due on this CPU.
    pub sequence: u64,
    /// Dropped packets whose headers could not be read.
    pub unreadable: u64,
    /// Cgroup events due.
    pub cgroup_seen: u64,
    /// Cgroup events that found their ring full.
    pub cgroup_lost: u64,
    /// Datagrams whose socket or peer found its table unwilling.
    pub table_full: u64,
    /// Attempts that were no event since their key is counted; each is counted as established, or is told by
    /// another event.
    pub passed_over: u64,
    /// DNS answers due.
    pub answers_seen: u64,
    /// DNS answers that found their ring full.
    pub answers_lost: u64,
    /// Datagrams from a resolver's port that could not be found in the memory of the process that took them.
    pub answers_unreadable: u64,
    /// What gave way while the ring was filling up, by step (`shed::ALLOWED` …); no events, so not among `seen`.
    pub shed: [u64; STEPS],
}

const _: () = assert!(size_of::<Counters>() == 8 * (2 * KINDS + 9 + STEPS));
