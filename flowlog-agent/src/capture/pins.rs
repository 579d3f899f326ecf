//! The kernel half in bpffs, where it outlives the agent: what is there, whose it is, how it is taken over and removed.
//!
//! A folder holds the maps that outlive a build (`map_…`), each hook's program (`prog_…`) and link (`link_…`). While an
//! agent runs it holds a lock on the folder itself: the kernel lets go of it when the process ends, however it ends.

use super::clock::Clock;
use super::hooks::{HOOKS, Hook};
use super::load::{OBJECT_SOURCE, Options};
use super::pages::{Pages, page_bytes};
use super::reader::Reader;
use super::repeats::{ACCOUNTS, KILLED, TALLY_WORDS, account_of, count_untold};
use crate::model::ledger::{BUILD_WORDS, Left, WORDS};
use crate::model::{Ledger, Mark, Tally};
use aya::maps::{Map, MapData, MapError};
use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, Program};
use flowlog_common::ABI_VERSION;
use flowlog_common::counter::Counters;
use flowlog_common::peer::{MOST_PEERS, PeerCounts};
use flowlog_common::repeat::{MOST_REPEATS, RepeatCounts, RepeatKey};
use flowlog_common::shed::{Judgement, MOST_JUDGED, MOST_UNTOLD};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use sha1::{Digest, Sha1};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64};

/// Bytes of an event in the ring, its header included: marks stand for places of this size.
const EVENT_BYTES: u64 = 128;

/// Why the kernel half cannot be kept in bpffs.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// There is no bpffs at this place.
    #[error("--pin {path}: no bpffs is mounted there; `mount -t bpf bpf /sys/fs/bpf`, or run without --pin")]
    NoBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// Another agent works with it.
    #[error(
        "--pin {path}: another flowlog is running with it; stop that one first, or give this one another folder"
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Something in it cannot be used.
    #[error("--pin {path}: {what}")]
    Failed {
        /// The folder or what lies in it.
        path: PathBuf,
        /// What happened.
        what: String,
    },
}

/// A map that is kept: its name, and sizes of key, value and table by which it is known to be as this build has it.
struct Kept {
    name: &'static str,
    key_bytes: usize,
    value_bytes: usize,
    /// 0 where the agent asks for it.
    entries: usize,
}

const fn kept(name: &'static str, key_bytes: usize, value_bytes: usize, entries: usize) -> Kept {
    Kept { name, key_bytes, value_bytes, entries }
}

const KEPT: [Kept; 15] = [
    kept("EVENTS", 0, 0, 0),
    kept("CGROUPS", 0, 0, 0),
    kept("NAMES", 0, 0, 0),
    kept("LEDGER", 4, 8, 0),
    kept("TALLY", 4, 8, TALLY_WORDS),
    kept("COUNTERS", 4, size_of::<Counters>(), 1),
    kept("UNSENT", 8, 1, 16_384),
    kept("UNANSWERED", 8, 1, 16_384),
    kept("PEERS", size_of::<RepeatKey>(), size_of::<PeerCounts>(), MOST_PEERS),
    kept("REPEATS", size_of::<RepeatKey>(), 4, MOST_REPEATS),
    kept("REPEAT_COUNTS", 4, size_of::<RepeatCounts>(), MOST_REPEATS),
    kept("JUDGED", size_of::<RepeatKey>(), size_of::<Judgement>(), MOST_JUDGED),
    kept("SNAPSHOT", 4, 4, 1),
    kept("UNTOLD", 8, 4, MOST_UNTOLD),
    kept("PRESSURE", 4, 8, 1),
];

/// Names of the maps that are kept.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEPT.iter().map(|kept| kept.name)
}

/// What is found in a folder.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// The kernel half of this build, with these settings.
    Same(Books),
    /// That of another build or with other settings; what it told is understood.
    Other(Books),
    /// What it told is not understood.
    Strange {
        /// Events that wait.
        events: u64,
        /// Why they are not understood.
        why: String,
        /// When the agent before was last alive, boot time; absent where that is not understood either.
        alive_ns: Option<u64>,
    },
}

/// The ring's ledger and what the agent before left in it.
#[derive(Clone)]
pub(super) struct Books {
    pub(super) ledger: &'static Ledger,
    pub(super) left: Left,
    /// Needed hooks whose link is gone.
    pub(super) missing: Vec<&'static str>,
}

/// A time in which something was not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Since when, boot time.
    pub since_ns: u64,
    /// Why.
    pub why: String,
}

impl Books {
    /// Without a needed hook nothing is seen of what it would show: since when is not known better than that an agent was
    /// alive, and had it.
    pub(super) fn unseen(&self) -> Option<Unseen> {
        let why = format!("hooks were taken out: {}", self.missing.join(", "));
        let known = !self.missing.is_empty() && self.left.alive_ns > 0;
        known.then_some(Unseen { since_ns: self.left.alive_ns, why })
    }
}

/// How a run came to its kernel half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The folder.
    pub path: PathBuf,
    /// What it found there.
    pub origin: PinOrigin,
    /// What was not seen between it and the run before, as far as that is known.
    pub unseen: Option<Unseen>,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinOrigin {
    /// Nothing: it was loaded.
    New,
    /// It was taken over as it was.
    Adopted(Left),
    /// Its programs were replaced; what it had told goes on.
    Replaced(Left),
    /// It was not understood, and removed.
    Refused {
        /// Events that waited.
        events: u64,
        /// Why.
        why: String,
    },
}

/// A folder in bpffs, locked.
pub(super) struct Pins {
    folder: PathBuf,
    _lock: Flock<File>,
}

/// Of which build and settings the kernel half of these options is.
pub(super) fn build_of(source: &str, options: &Options) -> [u64; BUILD_WORDS] {
    let inode = fs::metadata(&options.cgroup_root).map(|found| found.ino()).unwrap_or_default();
    let Options { cgroup_root, events_bytes, cgroups_bytes, off, packets, count_repeats, debug, .. } =
        options;
    let settings = format!(
        "{cgroup_root:?} {inode} {events_bytes} {cgroups_bytes} {off:?} {packets} {count_repeats} {debug}"
    );
    let mut bytes = [0_u8; 56];
    for (to, from) in bytes.iter_mut().zip(source.bytes().take(32).chain(Sha1::digest(settings.as_bytes()))) {
        *to = from;
    }
    let mut words = [u64::from(ABI_VERSION); BUILD_WORDS];
    for (word, part) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(part);
        *word = u64::from_ne_bytes(eight);
    }
    words
}

/// Entries of the ledger for a ring of so many bytes.
pub(super) fn ledger_entries(ring_bytes: u32) -> u32 {
    let words = u64::try_from(WORDS).unwrap_or(0) + u64::from(ring_bytes) / EVENT_BYTES / 8;
    u32::try_from(words).unwrap_or(u32::MAX)
}

/// Entries of the tally.
pub(super) fn tally_entries() -> u32 {
    u32::try_from(TALLY_WORDS).unwrap_or(u32::MAX)
}

/// The sequence of a record of the ring of events.
pub(super) fn sequence_of(at: u64) -> u64 {
    at / EVENT_BYTES
}

/// Map the ledger of a ring. It is never unmapped: receipts are marked in it from every thread to the end.
pub(super) fn open_ledger(map: &MapData, ring: &Reader) -> Result<&'static Ledger, MapError> {
    map_ledger(map, ring, true)
}

fn map_ledger(map: &MapData, ring: &Reader, write: bool) -> Result<&'static Ledger, MapError> {
    let marks = usize::try_from(ring.bytes() / EVENT_BYTES).unwrap_or(0);
    let bytes = (WORDS * 8 + marks).next_multiple_of(page_bytes());
    let pages = Pages::map(map.fd().as_fd(), 0, bytes, write).map_err(MapError::IoError)?;
    let words: &'static [AtomicU64] = pages.numbers(0, WORDS);
    let marks: &'static [AtomicU8] = pages.marks(WORDS * 8, marks);
    let ledger = Ledger::new(words, marks, sequence_of(ring.kept()));
    let ledger = ledger.ok_or_else(|| MapError::IoError(io::Error::other("the ledger is too small")))?;
    Ok(Box::leak(Box::new(ledger)))
}

/// Map the tally, likewise, and have the ledger keep it. One of another size is left alone: it will be begun anew.
pub(super) fn keep_tally(ledger: &Ledger, map: &MapData) -> Result<(), MapError> {
    if usize::try_from(map.info()?.max_entries()).ok() != Some(TALLY_WORDS) {
        return Ok(());
    }
    let bytes = (TALLY_WORDS * 8).next_multiple_of(page_bytes());
    let pages = Pages::map(map.fd().as_fd(), 0, bytes, true).map_err(MapError::IoError)?;
    if let Some(tally) = Tally::new(pages.numbers(0, TALLY_WORDS), ACCOUNTS) {
        ledger.keep_tally(tally);
    }
    Ok(())
}

impl Pins {
    /// Make the folder, unless it is there, and lock it.
    pub(super) fn open(folder: &Path) -> Result<Self, PinError> {
        let failed = |what: io::Error| PinError::Failed { path: folder.to_owned(), what: what.to_string() };
        let above = folder.ancestors().find(|above| above.exists()).unwrap_or(folder);
        if !is_bpffs(above) {
            return Err(PinError::NoBpffs { path: folder.to_owned() });
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let file = File::open(folder).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err((_, nix::Error::EWOULDBLOCK)) => Err(PinError::Busy { path: folder.to_owned() }),
            Err((_, error)) => Err(failed(error.into())),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn map_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("map_{name}"))
    }

    fn link_path(&self, hook: &str) -> PathBuf {
        self.folder.join(format!("link_{hook}"))
    }

    fn program_path(&self, hook: &str) -> PathBuf {
        self.folder.join(format!("prog_{hook}"))
    }

    pub(super) fn has_link(&self, hook: &str) -> bool {
        self.link_path(hook).exists()
    }

    /// A map that is kept here.
    pub(super) fn map(&self, name: &str) -> Result<MapData, PinError> {
        let path = self.map_path(name);
        MapData::from_pin(&path).map_err(|error| failed(&path, &error))
    }

    /// A descriptor of a hook's program.
    pub(super) fn program(&self, hook: &str) -> Option<OwnedFd> {
        let program = BtfTracePoint::from_pin(self.program_path(hook)).ok()?;
        program.fd().ok()?.as_fd().try_clone_to_owned().ok()
    }

    /// What the folder holds, for a kernel half of `build`. `length` tells how long the file of an output is.
    pub(super) fn look(
        &self,
        build: &[u64; BUILD_WORDS],
        off: &[String],
        length: impl Fn((u64, u64)) -> Option<u64>,
    ) -> Result<Found, PinError> {
        if !self.map_path("LEDGER").exists() || !self.map_path("EVENTS").exists() {
            return Ok(Found::Nothing);
        }
        let ring =
            Reader::open(self.map("EVENTS")?).map_err(|error| failed(&self.map_path("EVENTS"), &error))?;
        let records = ring.records();
        let all = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let strange = |events: u64, why: &str| Found::Strange { events, why: why.to_owned(), alive_ns: None };
        let Ok(ledger) = open_ledger(&self.map("LEDGER")?, &ring) else {
            return Ok(strange(all, "its books are too small for its ring"));
        };
        let Some(theirs) = ledger.build() else {
            return Ok(strange(all, "its books are of another layout"));
        };
        let tally = self.map_path("TALLY");
        if tally.exists() {
            keep_tally(ledger, &self.map("TALLY")?).map_err(|error| failed(&tally, &error))?;
        }
        let mut left = ledger.resolve(records.into_iter().map(sequence_of), length);
        let told = ledger.tally().map_or(0, |tally| tally.told(account_of(KILLED))[0]);
        left.at_risk = left.at_risk.saturating_sub(told);
        if theirs[BUILD_WORDS - 1] != build[BUILD_WORDS - 1] {
            let why = other_layout(theirs[BUILD_WORDS - 1]);
            let alive_ns = Some(left.alive_ns).filter(|alive_ns| *alive_ns > 0);
            return Ok(Found::Strange { events: left.open + left.at_risk, why, alive_ns });
        }
        let is_due = |hook: &&Hook| hook.needed && !off.iter().any(|name| name == hook.name);
        let missing: Vec<&str> =
            HOOKS.iter().filter(is_due).map(|hook| hook.name).filter(|hook| !self.has_link(hook)).collect();
        let same = theirs == *build
            && ledger.is_complete()
            && missing.is_empty()
            && names().all(|name| self.map_path(name).exists());
        let books = Books { ledger, left, missing };
        Ok(if same { Found::Same(books) } else { Found::Other(books) })
    }

    /// Remove the maps that this build has in another shape, but for those that hold what is to be told.
    pub(super) fn part_with_misfits(&self) -> Result<(), PinError> {
        for kept in KEPT.iter().filter(|kept| kept.entries > 0) {
            let path = self.map_path(kept.name);
            if !path.exists() {
                continue;
            }
            let info = self.map(kept.name)?.info().map_err(|error| failed(&path, &error))?;
            let fits = [
                (info.key_size(), kept.key_bytes),
                (info.value_size(), kept.value_bytes),
                (info.max_entries(), kept.entries),
            ];
            if fits.iter().any(|(found, due)| usize::try_from(*found).ok() != Some(*due)) {
                tracing::warn!(map = kept.name, "pinned by another build in another shape: begun anew");
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Keep a hook's program and link, in place of those before: these go with their files.
    pub(super) fn keep(&self, hook: &str, program: &mut Program, link: FdLink) -> Result<(), PinError> {
        let next = self.folder.join("next");
        remove(&next)?;
        program.pin(&next).map_err(|error| failed(&next, &error))?;
        rename(&next, &self.program_path(hook))?;
        link.pin(&next).map_err(|error| failed(&next, &error))?;
        rename(&next, &self.link_path(hook))
    }

    /// Remove links and programs of hooks that are not among these.
    pub(super) fn keep_only(&self, hooks: &[&str]) -> Result<(), PinError> {
        for hook in HOOKS.iter().filter(|hook| !hooks.contains(&hook.name)) {
            remove(&self.link_path(hook.name))?;
            remove(&self.program_path(hook.name))?;
        }
        Ok(())
    }

    /// Take everything out of the kernel; links first, so that nothing is observed that nobody reads. The names of what was
    /// removed.
    pub(super) fn clear(&self) -> Result<Vec<String>, PinError> {
        let read = |error: io::Error| failed(&self.folder, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(read)? {
            names.push(entry.map_err(read)?.file_name().to_string_lossy().into_owned());
        }
        names.sort_by_key(|name| (!name.starts_with("link_"), name.clone()));
        for name in &names {
            remove(&self.folder.join(name))?;
        }
        Ok(names)
    }

    /// The folder, too. It must be empty.
    fn remove_folder(self) -> Result<(), PinError> {
        fs::remove_dir(&self.folder).map_err(|error| failed(&self.folder, &error))
    }
}

/// What `detach` took out of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Names in the folder.
    pub removed: Vec<String>,
    /// Events that waited and are told by nobody now.
    pub untold: u64,
    /// Connections that were counted, likewise.
    pub counted: u64,
}

/// Take everything that is pinned in a folder out of the kernel, and remove the folder; `None` where there is none.
///
/// # Errors
/// An agent is running with it, or something in it cannot be removed.
pub fn detach(folder: &Path) -> Result<Option<Detached>, PinError> {
    if !folder.exists() {
        return Ok(None);
    }
    let pins = Pins::open(folder)?;
    let untold = match pins.look(&[0; BUILD_WORDS], &[], |_| None) {
        Ok(Found::Same(books) | Found::Other(books)) => books.left.open + books.left.at_risk,
        Ok(Found::Strange { events, .. }) => events,
        Ok(Found::Nothing) | Err(_) => 0,
    };
    let counted = match (pins.map("TALLY"), pins.map("REPEAT_COUNTS")) {
        (Ok(tally), Ok(counts)) => count_untold_in(&tally, counts).unwrap_or(0),
        _ => 0,
    };
    let removed = pins.clear()?;
    pins.remove_folder()?;
    Ok(Some(Detached { removed, untold, counted }))
}

/// What is pinned in a folder, as it is found without touching it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedThere {
    /// Since when.
    pub since: Option<Timestamp>,
    /// Hooks whose links are there: they observe.
    pub hooks: Vec<&'static str>,
    /// Process id of the agent that works with it.
    pub agent: Option<u32>,
    /// Whether this build understands it.
    pub state: PinnedState,
}

/// Whether what is pinned is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinnedState {
    /// It is.
    Known {
        /// Its kernel half is this build's; else `run` replaces it.
        own: bool,
        /// When an agent was last alive.
        last_alive: Timestamp,
        /// It ended in order.
        ended: bool,
        /// Events that are not told.
        waiting: u64,
        /// Connections that were counted and are not told.
        counted: u64,
    },
    /// It is not: `run` removes it.
    Strange {
        /// Why.
        why: String,
    },
}

/// What is pinned in a folder: `None` where nothing is.
///
/// # Errors
/// It cannot be read.
pub fn find_pinned(folder: &Path) -> Result<Option<PinnedThere>, PinError> {
    let metadata = match fs::metadata(folder.join("map_EVENTS")) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(folder, &error)),
    };
    let has_link = |hook: &&Hook| folder.join(format!("link_{}", hook.name)).exists();
    Ok(Some(PinnedThere {
        since: metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()),
        hooks: HOOKS.iter().filter(has_link).map(|hook| hook.name).collect(),
        agent: find_lock_holder(folder),
        state: read_state(folder)?,
    }))
}

fn read_state(folder: &Path) -> Result<PinnedState, PinError> {
    let open = |name: &str| {
        let path = folder.join(format!("map_{name}"));
        MapData::from_pin(&path).map_err(|error| failed(&path, &error))
    };
    let read = |error: MapError| failed(folder, &error);
    let strange = |why: &str| Ok(PinnedState::Strange { why: why.to_owned() });
    let ring = Reader::open(open("EVENTS")?).map_err(read)?;
    let ledger = open("LEDGER")?;
    if ledger.info().map_err(|error| failed(folder, &error))?.max_entries()
        < ledger_entries(u32::try_from(ring.bytes()).unwrap_or(u32::MAX))
    {
        return strange("its books are too small for its ring");
    }
    let ledger = map_ledger(&ledger, &ring, false).map_err(read)?;
    let Some(build) = ledger.build() else { return strange("its books are of another layout") };
    let layout = build[BUILD_WORDS - 1];
    if layout != u64::from(ABI_VERSION) {
        return Ok(PinnedState::Strange { why: other_layout(layout) });
    }
    let waiting = ring.records().into_iter().filter(|at| ledger.mark(sequence_of(*at)) != Mark::Told).count();
    let counted = match open("TALLY") {
        Ok(tally) => count_untold_in(&tally, open("REPEAT_COUNTS")?).map_err(read)?,
        Err(_) => 0,
    };
    let (alive_ns, ended) = ledger.last_alive();
    let clock = Clock::measure().map_err(|error| failed(folder, &error))?;
    let source: Vec<u8> = build.iter().take(4).flat_map(|word| word.to_ne_bytes()).collect();
    Ok(PinnedState::Known {
        own: source == OBJECT_SOURCE.as_bytes(),
        last_alive: clock.wall(alive_ns),
        ended,
        waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
        counted,
    })
}

fn count_untold_in(tally: &MapData, counts: MapData) -> Result<u64, MapError> {
    let bytes = (TALLY_WORDS * 8).next_multiple_of(page_bytes());
    if usize::try_from(tally.info()?.max_entries()).ok() != Some(TALLY_WORDS) {
        return Ok(0);
    }
    let pages = Pages::map(tally.fd().as_fd(), 0, bytes, false).map_err(MapError::IoError)?;
    let tally = Tally::read(pages.numbers(0, TALLY_WORDS), ACCOUNTS);
    tally.map_or(Ok(0), |tally| count_untold(&tally, Map::from_map_data(counts)?))
}

/// The process that holds the lock on a folder, from the kernel's list of locks: taking it to find out would be in the way
/// of an agent that starts.
fn find_lock_holder(folder: &Path) -> Option<u32> {
    let found = fs::metadata(folder).ok()?;
    let (major, minor) = (nix::sys::stat::major(found.dev()), nix::sys::stat::minor(found.dev()));
    lock_holder(&fs::read_to_string("/proc/locks").ok()?, (major, minor, found.ino()))
}

/// `1: FLOCK  ADVISORY  WRITE 4242 00:1f:2 0 EOF`, device numbers in hexadecimal.
fn lock_holder(locks: &str, (major, minor, inode): (u64, u64, u64)) -> Option<u32> {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&place.as_str());
        if is_it { words.get(4)?.parse().ok() } else { None }
    })
}

fn other_layout(found: u64) -> String {
    format!("its events are of layout {found}, this build reads layout {ABI_VERSION}")
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

fn failed(path: &Path, error: &dyn std::error::Error) -> PinError {
    PinError::Failed { path: path.to_owned(), what: super::load::chain(error) }
}

fn rename(from: &Path, to: &Path) -> Result<(), PinError> {
    fs::rename(from, to).map_err(|error| failed(to, &error))
}

fn remove(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::lock_holder;

    #[test]
    fn who_holds_the_lock_is_read_from_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1f:2 0 EOF\n2: FLOCK  ADVISORY  WRITE 4242 00:1f:2 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 fd:01:33 0 EOF\n3: FLOCK ADVISORY READ 8 fd:01:33 0 EOF\n";
        assert_eq!(lock_holder(locks, (0, 0x1f, 2)), Some(4242));
        assert_eq!(lock_holder(locks, (0xfd, 1, 33)), Some(8), "not one that waits");
        assert_eq!(lock_holder(locks, (0, 0x1f, 3)), None);
    }
}
