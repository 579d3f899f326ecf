//! Drain the rings and read the kernel half's counters.

use super::clock::{Clock, ClockError};
use super::decode::{CgroupChange, DecodeError, Decoder, decode_answer, decode_cgroup};
use super::existing::Existing;
use super::judged::{Judged, number_of};
use super::load::{Capture, LoadError};
use super::peers::{PeerCounts, Peers};
use super::pins::{self, Pins};
use super::reader::Reader;
use super::repeats::{Kind, LeftBehind, Repeat, RepeatCounts, Repeats, Slot};
use crate::model::{Class, DnsAnswer, Ledger, Mark, Observation, Receipts};
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, PerCpuArray};
use aya_log::EbpfLogger;
use flowlog_common::counter::Counters;
use flowlog_common::event::{self, Event};
use flowlog_common::shed::CLOSES;
use jiff::Timestamp;
use std::io;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Events taken in one go, so that other work gets its turn under load, and few enough that what they become (200 kB)
/// stays in the CPU's cache on its way.
const BATCH: usize = 1_024;

/// DNS answers taken in one go: twice what their ring holds.
const ANSWERS: usize = 1_024;

/// What one drain brought.
#[derive(Debug, Default)]
pub struct Batch {
    /// Cgroups that came and went. Taken before the events: a pod's cgroup is made before its first connect.
    pub cgroups: Vec<CgroupChange>,
    /// What the hooks saw, in the order in which it happened.
    pub observations: Vec<Observation>,
    /// DNS answers. Taken after the events: whatever was opened by what an answer said, the answer is here.
    pub answers: Vec<DnsAnswer>,
    /// Events that this build does not understand.
    pub errors: Vec<DecodeError>,
    /// The duty to tell of these.
    pub not_understood: Receipts,
    /// More is waiting.
    pub more: bool,
}

/// The kernel half's counters, summed over the CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Events due, by the kind's name.
    pub seen: Vec<(&'static str, u64)>,
    /// Events that found the ring full, by the kind's name.
    pub lost: Vec<(&'static str, u64)>,
    /// Dropped packets or cgroups that could not be read.
    pub unreadable: u64,
    /// Cgroup events due.
    pub cgroup_seen: u64,
    /// Cgroup events that found their ring full.
    pub cgroup_lost: u64,
    /// Datagrams whose socket or peer found its table unwilling.
    pub table_full: u64,
    /// Runs that programs missed, by the hook's name.
    pub missed: Vec<(&'static str, u64)>,
    /// Attempts that were no event since such connections are counted.
    pub passed_over: u64,
    /// DNS answers due.
    pub answers_seen: u64,
    /// DNS answers that found their ring full.
    pub answers_lost: u64,
    /// Datagrams from a resolver that could not be read.
    pub answers_unreadable: u64,
    /// Attempts that gave way while the ring was filling up, by class.
    pub shed: Vec<(Class, u64)>,
    /// Closes that did.
    pub shed_closes: u64,
}

/// What the kernel half did not hand over, up to one moment: only ever more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Attempts, and what may have been one at a listener.
    pub attempts: u64,
    /// Whatever else.
    pub others: u64,
    /// Of both, what a full ring refused; the rest gave way.
    pub refused: u64,
}

impl KernelCounts {
    /// Events due of one kind.
    pub fn seen(&self, kind: &str) -> u64 {
        count_of(&self.seen, kind)
    }

    /// Attempts of one class that gave way.
    pub fn shed(&self, class: Class) -> u64 {
        self.shed.iter().find(|(of, _)| *of == class).map_or(0, |(_, count)| *count)
    }

    /// Runs that the program of one hook missed.
    pub fn missed(&self, hook: &str) -> u64 {
        count_of(&self.missed, hook)
    }

    /// Events of one kind that found the ring full.
    pub fn lost(&self, kind: &str) -> u64 {
        count_of(&self.lost, kind)
    }
}

fn count_of(counts: &[(&'static str, u64)], kind: &str) -> u64 {
    counts.iter().find(|(name, _)| *name == kind).map_or(0, |(_, count)| *count)
}

/// Room in the ring is given back once in so many events that were read.
const GIVE_BACK_EVERY: usize = 512;

/// All that was read, or all but the latest half of the ring, where the next agent may need it.
fn give_back(ledger: Option<&'static Ledger>, events: &mut Reader) {
    match ledger {
        None => events.give_back(0, |_| ()),
        Some(ledger) => events.give_back(events.bytes() / 2, |at| ledger.pass(pins::sequence_of(at))),
    }
}

/// Decode one event; absent where programs of another generation saw the same.
fn take_event(
    ledger: Option<&'static Ledger>,
    decoder: &mut Decoder,
    at: u64,
    bytes: &[u8],
) -> Option<Result<Observation, (DecodeError, Receipts)>> {
    let Some(ledger) = ledger else {
        return Some(match decoder.decode(bytes) {
            Ok(seen) => Ok(Observation { receipts: Receipts::untracked(), ..seen }),
            Err(error) => Err((error, Receipts::untracked())),
        });
    };
    let sequence = pins::sequence_of(at);
    let receipts = match ledger.mark(sequence) {
        Mark::Told => Receipts::told(sequence),
        Mark::Open => Receipts::of(ledger, sequence, false),
        Mark::Writing(_) | Mark::Somewhere => Receipts::of(ledger, sequence, true),
    };
    match decoder.decode(bytes) {
        Ok(seen) => {
            let generation = generation_of(bytes);
            ledger.counts(generation, seen.boot_ns).then(|| Ok(Observation { receipts, ..seen }))
        }
        Err(_) if !receipts.are_news() => None,
        Err(error) => Some(Err((error, receipts))),
    }
}

/// Of an event that was decoded: its length is right.
fn generation_of(bytes: &[u8]) -> u16 {
    let at = offset_of!(Event, generation);
    let word = bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_ne_bytes);
    u16::try_from(word).unwrap_or(u16::MAX)
}

/// Names of the kinds, by number, as they stand in counters.
const KIND_NAMES: [(&str, u8); event::KINDS - 1] = [
    ("attempt", event::ATTEMPT),
    ("established", event::ESTABLISHED),
    ("failed", event::FAILED),
    ("closed", event::CLOSED),
    ("inbound", event::INBOUND),
    ("syn_retransmit", event::SYN_RETRANSMIT),
    ("drop", event::DROP),
    ("error", event::ERROR),
    ("sent", event::SENT),
    ("sent_to", event::SENT_TO),
    ("received", event::RECEIVED),
    ("answered", event::ANSWERED),
    ("arrived", event::ARRIVED),
];

/// Kinds that are an attempt, or may be one at a listener.
const ATTEMPTS: [u8; 6] =
    [event::ATTEMPT, event::SENT, event::SENT_TO, event::INBOUND, event::RECEIVED, event::ARRIVED];

/// [`Counters`] under a type of ours, so that aya may read them from a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct CpuCounters(Counters);

// SAFETY: `Counters` is `repr(C)` and made of u64 alone: any bytes are valid, there is no padding.
#[expect(unsafe_code, reason = "aya asks for a promise about the layout")]
unsafe impl aya::Pod for CpuCounters {}

/// Where maps come from.
pub(super) enum Maps<'a> {
    /// From the object that was loaded.
    Loaded(&'a mut Ebpf),
    /// From bpffs.
    Pinned(&'a Pins),
}

pub(super) fn refused(what: &str, error: &dyn std::fmt::Display) -> LoadError {
    LoadError::Object { what: format!("map {what}: {error}") }
}

impl Maps<'_> {
    pub(super) fn take(&mut self, name: &str) -> Result<Map, LoadError> {
        match self {
            Self::Loaded(ebpf) => ebpf
                .take_map(name)
                .ok_or_else(|| LoadError::Object { what: format!("the object has no map {name}") }),
            Self::Pinned(pins) => Map::from_map_data(pins.map(name)?).map_err(|error| refused(name, &error)),
        }
    }

    fn ring(&mut self, name: &str) -> Result<Reader, LoadError> {
        match self.take(name)? {
            Map::RingBuf(map) => Reader::open(map).map_err(|error| refused(name, &error)),
            _ => Err(refused(name, &"is no ring")),
        }
    }

    /// A ledger that was not used before.
    pub(super) fn ledger(&mut self) -> Result<&'static Ledger, LoadError> {
        let ring = self.ring("EVENTS")?;
        match self.take("LEDGER")? {
            Map::Array(map) => pins::open_ledger(&map, &ring).map_err(|error| refused("LEDGER", &error)),
            _ => Err(refused("LEDGER", &"is no array")),
        }
    }
}

/// The maps that the agent reads.
pub(super) struct Rings {
    events: Reader,
    /// The ring of events, to be waited for.
    waits: AsyncFd<OwnedFd>,
    cgroups: Reader,
    names: Reader,
    /// Where what was told is marked, where it outlives the agent.
    pub(super) ledger: Option<&'static Ledger>,
    counters: PerCpuArray<MapData, CpuCounters>,
    pub(super) repeats: Repeats,
    peers: Peers,
    /// What was there before the hooks, not handed over yet.
    pub(super) existing: Existing,
    judged: Judged,
    pub(super) decoder: Decoder,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl Rings {
    pub(super) fn take(
        maps: &mut Maps<'_>,
        decoder: Decoder,
        logger: Option<EbpfLogger<&'static dyn log::Log>>,
        ledger: Option<&'static Ledger>,
    ) -> Result<Self, LoadError> {
        let judged = Judged::take(maps)?;
        let peers = Peers::take(maps)?;
        if let Some(ledger) = ledger.filter(|ledger| ledger.tally().is_none()) {
            match maps.take("TALLY")? {
                Map::Array(map) => {
                    pins::keep_tally(ledger, &map).map_err(|error| refused("TALLY", &error))?;
                }
                _ => return Err(refused("TALLY", &"is no array")),
            }
        }
        let events = maps.ring("EVENTS")?;
        let descriptor = events.fd().try_clone_to_owned().map_err(|error| refused("EVENTS", &error))?;
        // SAFETY: the descriptor is owned, so it is the same and open for as long as it is registered.
        #[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
        let waits = unsafe { AsyncFd::register(descriptor) };
        Ok(Self {
            events,
            waits: waits.map_err(|error| refused("EVENTS", &error))?,
            cgroups: maps.ring("CGROUPS")?,
            names: maps.ring("NAMES")?,
            ledger,
            counters: PerCpuArray::try_from(maps.take("COUNTERS")?)
                .map_err(|error| refused("COUNTERS", &error))?,
            repeats: Repeats::take(maps, ledger)?,
            peers,
            existing: Existing::default(),
            judged,
            decoder,
            logger,
        })
    }
}

impl Capture {
    /// Wait for the next drain: until `interval` has passed, or the kernel half says that half the ring is full.
    ///
    /// # Errors
    /// The ring cannot be polled.
    pub async fn ready(&mut self, interval: Duration) -> io::Result<()> {
        tokio::select! {
            () = tokio::time::sleep(interval) => Ok(()),
            guard = self.rings.waits.readable() => {
                guard?.clear_ready();
                Ok(())
            }
        }
    }

    /// Take what the rings hold into an empty batch, at most a few thousand events in one go. What was there before the
    /// hooks comes first: an attempt of which the ring tells as well is known by its cookie.
    pub fn drain(&mut self, batch: &mut Batch) {
        let Rings { events, cgroups, names, existing, decoder, logger, ledger, .. } = &mut self.rings;
        [&mut *events, cgroups, names].into_iter().for_each(Reader::note_fill);
        batch.errors.append(&mut existing.errors);
        batch.observations.extend(existing.sockets.drain(..existing.sockets.len().min(BATCH)));
        while let Some(change) = cgroups.next(|_, bytes| decode_cgroup(bytes)) {
            match change {
                Ok(change) => batch.cgroups.push(change),
                Err(error) => batch.errors.push(error),
            }
        }
        // Those that are kept are read again by the next agent, which takes no harm from what it knows already.
        cgroups.give_back(if ledger.is_some() { cgroups.bytes() / 2 } else { 0 }, |_| ());
        let mut taken = 0;
        while taken < BATCH
            && let Some(decoded) = events.next(|at, bytes| take_event(*ledger, decoder, at, bytes))
        {
            taken += 1;
            match decoded {
                Some(Ok(observation)) => batch.observations.push(observation),
                Some(Err((error, receipts))) => {
                    batch.errors.push(error);
                    batch.not_understood.add(receipts);
                }
                None => {}
            }
            if taken.is_multiple_of(GIVE_BACK_EVERY) {
                give_back(*ledger, events);
            }
        }
        give_back(*ledger, events);
        batch.more = taken == BATCH;
        while batch.answers.len() < ANSWERS {
            let Some(answer) = names.next(|_, bytes| decode_answer(bytes)) else { break };
            match answer {
                Ok(answer) => batch.answers.push(answer),
                Err(error) => batch.errors.push(error),
            }
        }
        names.give_back(0, |_| ());
        if let Some(logger) = logger {
            logger.flush();
        }
    }

    /// Of each ring the most that waited in it since the last call, and what it holds, bytes.
    pub fn take_fills(&mut self) -> [(&'static str, u64, u64); 3] {
        let Rings { events, cgroups, names, .. } = &mut self.rings;
        [("events", events), ("cgroups", cgroups), ("dns_answers", names)]
            .map(|(name, ring)| (name, ring.take_peak(), ring.bytes()))
    }

    /// What was told of the events from before this one should be: the ring will not keep them much longer. `None` where
    /// none are kept.
    pub fn tell_before(&self) -> Option<u64> {
        let Rings { events, ledger, .. } = &self.rings;
        ledger.map(|_| pins::sequence_of(events.at().saturating_sub(events.bytes() / 4)))
    }

    /// Count such connections rather than tell each; `None` where the kernel half has no room for one more kind.
    ///
    /// # Errors
    /// The maps cannot be written.
    pub fn count_repeats(&mut self, kind: &Kind) -> Result<Option<Slot>, MapError> {
        self.rings.repeats.start(kind)
    }

    /// What an agent before has counted and not told, and what it had told to its end shortly before.
    pub fn take_left(&mut self) -> Vec<LeftBehind> {
        self.rings.repeats.take_left()
    }

    /// Tell such connections again, each. What was counted stays to be read until its slot is released.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn tell_repeats(&mut self, repeat: &Repeat) -> Result<(), MapError> {
        self.rings.repeats.stop(repeat)
    }

    /// What was counted in a slot.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn read_repeats(&self, slot: Slot) -> Result<RepeatCounts, MapError> {
        self.rings.repeats.read(slot)
    }

    /// Datagrams that were counted with this peer; `None` where it gave way to another.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn read_peer(&self, peer: &Repeat) -> Result<Option<PeerCounts>, MapError> {
        self.rings.peers.read(peer)
    }

    /// Another kind may be counted in this slot: its key was taken away a while ago, so that no program that had
    /// found it is still running. Where what was told outlives the agent, all has to be told before.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn release_slot(&mut self, slot: Slot) -> Result<(), MapError> {
        self.rings.repeats.release(slot)
    }

    /// Repeats of this kind are of this class, and may give way; `false` where the class's never do.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn set_judged(&mut self, kind: &Repeat, class: Class) -> Result<bool, MapError> {
        self.rings.judged.set(kind, class)
    }

    /// They no longer may.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn forget_judged(&mut self, kind: &Repeat) -> Result<(), MapError> {
        self.rings.judged.forget(kind)
    }

    /// Nor may any other: what was judged so far holds no longer.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn forget_all_judged(&mut self) -> Result<(), MapError> {
        self.rings.judged.forget_all()
    }

    /// What was not handed over so far.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn gaps(&self) -> Result<Gaps, MapError> {
        let per_cpu = self.rings.counters.get(&0, 0)?;
        let mut gaps = Gaps::default();
        for CpuCounters(counters) in per_cpu.iter() {
            let lost = |kinds: &[u8]| kinds.iter().map(|kind| counters.lost[usize::from(*kind)]).sum::<u64>();
            let [allowed, unrestricted, closes] = counters.shed;
            let attempts = lost(&ATTEMPTS);
            gaps.refused += counters.lost.iter().sum::<u64>();
            gaps.attempts += attempts + allowed + unrestricted;
            gaps.others += counters.lost.iter().sum::<u64>() - attempts + closes;
        }
        Ok(gaps)
    }

    /// The wall clock's time of a boot time.
    pub fn wall(&self, boot_ns: u64) -> Timestamp {
        self.rings.decoder.wall(boot_ns)
    }

    /// Measure the wall clock anew; it is stepped and slewed while the agent runs.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn set_clock(&mut self) -> Result<(), ClockError> {
        self.rings.decoder.set_clock(Clock::measure()?);
        Ok(())
    }

    /// The kernel half's counters, summed over the CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counts(&self) -> Result<KernelCounts, MapError> {
        let per_cpu = self.rings.counters.get(&0, 0)?;
        let sum = |of: &dyn Fn(&Counters) -> u64| per_cpu.iter().map(|cpu| of(&cpu.0)).sum::<u64>();
        let by_kind = |of: &dyn Fn(&Counters, usize) -> u64| {
            KIND_NAMES.map(|(name, kind)| (name, sum(&|counters| of(counters, usize::from(kind))))).to_vec()
        };
        Ok(KernelCounts {
            seen: by_kind(&|counters, kind| counters.seen[kind]),
            lost: by_kind(&|counters, kind| counters.lost[kind]),
            unreadable: sum(&|counters| counters.unreadable),
            cgroup_seen: sum(&|counters| counters.cgroup_seen),
            cgroup_lost: sum(&|counters| counters.cgroup_lost),
            table_full: sum(&|counters| counters.table_full),
            missed: self.missed(),
            passed_over: sum(&|counters| counters.passed_over),
            answers_seen: sum(&|counters| counters.answers_seen),
            answers_lost: sum(&|counters| counters.answers_lost),
            answers_unreadable: sum(&|counters| counters.answers_unreadable),
            shed: [Class::Allowed, Class::Unrestricted]
                .into_iter()
                .filter_map(|class| {
                    let step = usize::from(number_of(class)?);
                    Some((class, sum(&|counters| counters.shed[step])))
                })
                .collect(),
            shed_closes: sum(&|counters| counters.shed[usize::from(CLOSES)]),
        })
    }
}
