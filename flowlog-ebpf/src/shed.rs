//! What gives way while the ring fills up: repeats of what the agent has found to be allowed, before anything else.
//!
//! An attempt that is not handed over is counted as lost there and then, and its socket is marked, so that nothing of
//! its further life takes up room: but what does not go well is an event as ever, marked as belonging to a lost attempt.

use crate::{
    emit::counters,
    maps::{EVENTS, JUDGED, KEPT_BYTES, PRESSURE, Pressure, SNAPSHOT, UNTOLD, WAKE_BYTES},
};
use aya_ebpf::bindings::BPF_RB_AVAIL_DATA;
use core::mem::offset_of;
use flowlog_common::{
    counter::Counters,
    repeat::RepeatKey,
    shed::{CLOSES, STEPS, UNRESTRICTED, level},
};

/// The ring is looked at once in this many events of a CPU: the look costs more than a submit.
const LOOK_EVERY: u64 = 64;
/// The same while something gives way.
const LOOK_EVERY_UNDER_PRESSURE: u64 = 8;

/// Why nothing was told of an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It repeats what is allowed, and gave way.
    Shed,
    /// The ring was full.
    Refused,
}

const SHED: u32 = 1;
const REFUSED: u32 = 2;

/// A word of the one value, which lives as long as the map.
#[inline(always)]
fn pressure(offset: usize) -> Option<*mut u32> {
    PRESSURE.get_ptr_mut(0).map(|pressure| pressure.wrapping_byte_add(offset).cast())
}

/// How many steps give way at present.
#[inline(always)]
fn current_level() -> u32 {
    // SAFETY: a live word of the array.
    pressure(offset_of!(Pressure, level)).map_or(0, |level| unsafe { level.read_volatile() })
}

#[inline(always)]
fn set_level(new: u32) {
    if current_level() == new {
        return;
    }
    if let Some(level) = pressure(offset_of!(Pressure, level)) {
        // SAFETY: a live word of the array; two CPUs that look at the same time agree but for a moment.
        unsafe { level.write_volatile(new) };
    }
}

/// Look at the ring where it is time; true where it is half full, so that the agent is to be woken.
#[inline(always)]
pub(crate) fn look(sequence: u64) -> bool {
    let before = current_level();
    let every = if before == 0 { LOOK_EVERY } else { LOOK_EVERY_UNDER_PRESSURE };
    if !sequence.is_multiple_of(every) {
        return false;
    }
    let filled = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)).saturating_sub(KEPT_BYTES.load());
    let half = WAKE_BYTES.load();
    set_level(level(filled, half * 2, before));
    filled >= half
}

/// An event was refused: every step gives way at once.
#[inline(always)]
pub(crate) fn fill_up() {
    set_level(STEPS as u32);
}

/// The step that attempts of this kind give way in, where they do at present.
#[inline(always)]
pub(crate) fn find(key: &RepeatKey) -> Option<u8> {
    let level = current_level();
    if level == 0 {
        return None;
    }
    // SAFETY: the value is read at once; the agent replaces it whole.
    let judged = *unsafe { JUDGED.get(key) }?;
    let latest = SNAPSHOT.get(0)?;
    if judged.snapshot != *latest || judged.class > u32::from(UNRESTRICTED) || judged.class >= level {
        return None;
    }
    Some(judged.class as u8)
}

/// Count an attempt that gave way, or a close.
#[inline(always)]
pub(crate) fn lose(step: u8) {
    let Some(counters) = counters() else { return };
    add(counters, step);
    counters.sequence += 1;
    // The submit that made the ring half full has woken the agent.
    look(counters.sequence);
}

/// Written out: an index that is not constant is refused.
#[inline(always)]
fn add(counters: &mut Counters, step: u8) {
    let [allowed, unrestricted, closes] = &mut counters.shed;
    match step {
        flowlog_common::shed::ALLOWED => *allowed += 1,
        UNRESTRICTED => *unrestricted += 1,
        _ => *closes += 1,
    }
}

/// Count a close that gave way; false where it does not.
#[inline(always)]
pub(crate) fn lose_close() -> bool {
    if current_level() <= u32::from(CLOSES) {
        return false;
    }
    lose(CLOSES);
    true
}

/// Nothing was told of the socket's attempt. Where the table does not take it, what becomes of the socket is told and
/// found to belong to nothing.
#[inline(always)]
pub(crate) fn mark(cookie: u64, mark: Mark) {
    let Some(untold) = pressure(offset_of!(Pressure, untold)) else { return };
    // SAFETY: a live word of the array.
    unsafe { untold.write_volatile(1) };
    let mark = match mark {
        Mark::Shed => SHED,
        Mark::Refused => REFUSED,
    };
    let _ = UNTOLD.insert(cookie, mark, 0);
}

/// What the socket is marked by.
#[inline(always)]
pub(crate) fn mark_of(cookie: u64) -> Option<Mark> {
    // SAFETY: a live word of the array.
    let any = pressure(offset_of!(Pressure, untold)).map_or(0, |untold| unsafe { untold.read_volatile() });
    if any == 0 {
        return None;
    }
    // SAFETY: the value is read at once and never changed in place.
    match *unsafe { UNTOLD.get(cookie) }? {
        SHED => Some(Mark::Shed),
        _ => Some(Mark::Refused),
    }
}

/// The socket has come to its end.
#[inline(always)]
pub(crate) fn unmark(cookie: u64) {
    let _ = UNTOLD.remove(cookie);
}
