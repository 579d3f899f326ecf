//! The files of a spool: written at one end, read and removed at the other.
//!
//! A file is never overwritten: where the folder is full, nothing is taken until something was delivered. How far delivery
//! has come is kept in a file beside them; it may be behind, never ahead, so that after a kill some come twice.

use super::parcel::Parcel;
use super::record::{self, HEAD_BYTES, MAX_RECORD_BYTES};
use super::{SpoolPlace, SpoolState};
use crate::sinks::output::Batch;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ENDING: &str = "spool";
const POSITION: &str = "position";
const LOCK: &str = "lock";
/// The lines say who talks to whom.
const MODE: u32 = 0o600;
/// So many files at least make up a full spool, of so many bytes at most.
const LEAST_FILES: u64 = 8;
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A spool's folder.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    kind: &'static str,
    limit_bytes: u64,
    file_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Held as long as this spool is: two agents would deliver everything twice.
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first. The last one may be written to.
    files: VecDeque<Segment>,
    /// Number of the file that was made last.
    last_file: u64,
    writing: Option<File>,
    /// What is written and not synced.
    unsynced: bool,
    /// Number of the next record.
    next: u64,
    /// How far delivery has come.
    position: Position,
    /// Number of the record that comes next there, where it is known.
    expected: Option<u64>,
    /// When the record was put there that is being delivered, milliseconds since 1970.
    oldest_ms: Option<u64>,
    counts: SpoolState,
    writer_ended: bool,
    courier_ended: bool,
    end: Option<Instant>,
}

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    number: u64,
    /// Bytes of its head and its whole records.
    bytes: u64,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    file: u64,
    offset: u64,
}

/// Records that are to be delivered together.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) parcels: Vec<Parcel>,
    /// Where each of them ends in its file, and its number.
    marks: Vec<(u64, u64)>,
    file: u64,
    /// Records that should have been among them and are not there.
    pub(super) missing: u64,
}

impl Store {
    /// Take a folder over, as it was left.
    pub(super) fn open(place: &SpoolPlace, kind: &'static str) -> io::Result<Self> {
        let folder = place.folder.clone();
        if !folder.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is no folder; create it first"));
        }
        let lock = open_file(&folder.join(LOCK), OpenOptions::new().write(true).create(true))?;
        lock.try_lock().map_err(|_| io::Error::other("another agent, or another output, has it"))?;
        let mut state = State { next: 1, ..State::default() };
        for number in numbers(&folder)? {
            let path = path_of(&folder, number);
            check_kind(&path, kind)?;
            state.files.push_back(Segment { number, bytes: fs::metadata(&path)?.len() });
            state.last_file = number;
        }
        cut_tail(&folder, &mut state)?;
        if let Some((position, expected)) = read_position(&folder) {
            // No number of a file or a record comes again: what the position says of one would be taken to be of the other.
            state.last_file = state.last_file.max(position.file);
            state.next = state.next.max(expected);
            if state.files.front().is_some_and(|first| first.number == position.file) {
                (state.position, state.expected) = (position, Some(expected));
            }
        }
        if state.expected.is_none() {
            state.expected = first_number(&folder, &state.files)?;
        }
        state.expected.get_or_insert(state.next);
        let file_bytes = (place.bytes / LEAST_FILES).min(MAX_FILE_BYTES);
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Self { folder, kind, limit_bytes: place.bytes, file_bytes, state, changed, _lock: lock })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock; a poisoned one still holds whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// How it stands.
    pub(super) fn state(&self) -> SpoolState {
        let state = self.lock();
        let lines = state.next.saturating_sub(state.expected.unwrap_or(state.next));
        let waits = state.oldest_ms.filter(|_| lines > 0).map_or(0, |then| now_ms().saturating_sub(then));
        SpoolState {
            lines,
            bytes: state.bytes(),
            limit_bytes: self.limit_bytes,
            oldest: Duration::from_millis(waits),
            ..state.counts
        }
    }
}

/// The writer's side.
impl Store {
    /// Put a batch behind the others; false where there is no room, after waiting for it.
    pub(super) fn append(&self, batch: Batch<'_>, wait: Duration) -> io::Result<bool> {
        let mut state = self.lock();
        let bytes: usize = (0..batch.len()).map(|place| record::record_bytes(batch.frame(place).len())).sum();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if !state.has_room(bytes, self.limit_bytes) {
            state = self.wait(state, wait);
            if !state.has_room(bytes, self.limit_bytes) {
                return Ok(false);
            }
        }
        if state.files.back().is_none_or(|last| last.bytes >= self.file_bytes) {
            state.writing = None;
        }
        // A file without a name is a loss that nobody would notice.
        if state.writing.as_ref().is_none_or(|file| file.metadata().is_ok_and(|found| found.nlink() == 0)) {
            state.writing = None;
            self.make_file(&mut state)?;
        }
        let (mut out, time) = (Vec::with_capacity(batch.bytes.len() * 2), now_ms());
        let mut next = state.next;
        for place in 0..batch.len() {
            record::append(&mut out, next, time, batch.frame(place));
            next += 1;
        }
        let State { writing: Some(file), files, .. } = &mut *state else { return Ok(false) };
        let Some(last) = files.back_mut() else { return Ok(false) };
        if let Err(error) = file.write_all(&out) {
            // What was torn is cut off, or left behind in a file that nothing follows in.
            if file.set_len(last.bytes).is_err() {
                state.writing = None;
            }
            return Err(error);
        }
        last.bytes = last.bytes.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        state.next = next;
        state.unsynced = true;
        drop(state);
        self.changed.notify_all();
        Ok(true)
    }

    fn make_file(&self, state: &mut State) -> io::Result<()> {
        let number = state.last_file + 1;
        let path = path_of(&self.folder, number);
        let mut file = open_file(&path, OpenOptions::new().append(true).create_new(true))?;
        // The number is used up, whatever becomes of the file.
        state.last_file = number;
        file.write_all(&record::head(self.kind)).inspect_err(|_| drop(fs::remove_file(&path)))?;
        state.files.push_back(Segment { number, bytes: head_bytes() });
        state.writing = Some(file);
        Ok(())
    }

    /// Make what was written durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let file = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.unsynced) {
                return Ok(());
            }
            state.writing.as_ref().map(File::try_clone).transpose()?
        };
        // Not under the lock: a slow disk does not hold deliveries up.
        file.map_or(Ok(()), |file| file.sync_data())
    }

    /// The next batch goes into a file of its own.
    pub(super) fn begin_anew(&self) -> io::Result<()> {
        fs::metadata(&self.folder)?;
        self.lock().writing = None;
        Ok(())
    }

    /// Nothing is written any more.
    pub(super) fn end_writing(&self) {
        self.lock().writer_ended = true;
        self.changed.notify_all();
    }
}

/// The courier's side.
impl Store {
    /// Wait until so many bytes are there, or it is time, or the end.
    pub(super) fn wait_bytes(&self, least: u64, until: Instant) {
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.end.is_some() || state.ahead() >= least {
                return;
            }
            state = self.wait(state, left);
        }
    }

    /// Wait until then, or for the end.
    pub(super) fn pause(&self, until: Instant) {
        self.wait_bytes(u64::MAX, until);
    }

    /// By when it is to end, where it is, and whether more may come.
    pub(super) fn end(&self) -> (Option<Instant>, bool) {
        let state = self.lock();
        (state.end, !state.writer_ended)
    }

    /// Wait for the writer's end.
    pub(super) fn wait_writer(&self, until: Instant) {
        let mut state = self.lock();
        while !state.writer_ended && state.ahead() == 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.wait(state, left);
        }
    }

    /// What is to be delivered next: so many bytes of frames, at least one; absent where nothing waits.
    pub(super) fn take(&self, max_bytes: usize) -> io::Result<Option<Taken>> {
        loop {
            let (position, until) = {
                let mut state = self.lock();
                let Some(first) = state.files.front().copied() else { return Ok(None) };
                if state.position.file != first.number {
                    state.position = Position { file: first.number, offset: head_bytes() };
                }
                (state.position, first.bytes)
            };
            if position.offset < until {
                match self.read(position, until, max_bytes) {
                    Ok((taken, _)) if !taken.marks.is_empty() => return Ok(Some(taken)),
                    // What should have been there shows by the next number.
                    Ok((_, next)) => self.skip(position.file, next),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => self.skip(position.file, until),
                    Err(error) => return Err(error),
                }
            } else if !self.remove(position.file, until) {
                return Ok(None);
            }
        }
    }

    fn skip(&self, number: u64, to: u64) {
        let mut state = self.lock();
        if state.position.file == number {
            state.position.offset = to;
        }
    }

    /// Remove a file of which nothing is left to deliver; false where the writer may go on in it.
    fn remove(&self, number: u64, until: u64) -> bool {
        let mut state = self.lock();
        let is_last = state.files.len() == 1;
        let goes_on = is_last && state.writing.is_some() && until < self.file_bytes;
        let is_it = state.files.front().is_some_and(|first| *first == Segment { number, bytes: until });
        if goes_on || !is_it {
            // Where it has grown, there is more to deliver.
            return !is_it;
        }
        if is_last {
            state.writing = None;
        }
        state.files.pop_front();
        drop(state);
        if let Err(error) = fs::remove_file(path_of(&self.folder, number))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, number, "a file of the spool stays, and comes again after a restart");
        }
        // There is room.
        self.changed.notify_all();
        true
    }

    /// Records from here on, and where to go on where there is none.
    fn read(&self, position: Position, until: u64, max_bytes: usize) -> io::Result<(Taken, u64)> {
        let file = File::open(path_of(&self.folder, position.file))?;
        let most = u64::try_from(max_bytes.saturating_add(2 * MAX_RECORD_BYTES)).unwrap_or(u64::MAX);
        let length = usize::try_from((until - position.offset).min(most)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let offset = position.offset + u64::try_from(filled).unwrap_or(0);
            match file.read_at(bytes.get_mut(filled..).unwrap_or_default(), offset)? {
                // Somebody cut it.
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        let more =
            filled == length && position.offset.saturating_add(u64::try_from(filled).unwrap_or(0)) < until;
        let mut state = self.lock();
        let Parsed { mut taken, first } = parse(&bytes, position, state.expected, max_bytes);
        if let Some((_, time)) = first {
            state.oldest_ms = Some(time);
        }
        taken.file = position.file;
        // A record may begin within what was read and end behind it.
        let step = u64::try_from(filled.saturating_sub(MAX_RECORD_BYTES).max(1)).unwrap_or(1);
        let next = if more { position.offset.saturating_add(step) } else { until };
        Ok((taken, next))
    }

    /// The first so many of what was taken are done with; those at these places among them were refused.
    pub(super) fn advance(&self, taken: &mut Taken, count: usize, refused: &[usize]) {
        let Some((offset, number)) = count.checked_sub(1).and_then(|last| taken.marks.get(last)).copied()
        else {
            return;
        };
        let bytes = taken.ends.get(count - 1).copied().unwrap_or(0);
        let mut state = self.lock();
        state.position = Position { file: taken.file, offset };
        state.expected = Some(number + 1);
        let lines = u64::try_from(count).unwrap_or(0);
        let refused_lines = u64::try_from(refused.len()).unwrap_or(0);
        let refused = refused.iter().filter_map(|place| taken.parcels.get(*place));
        let counts = &mut state.counts;
        counts.damaged_lines += std::mem::take(&mut taken.missing);
        counts.refused_attempts += refused.map(Parcel::attempts).sum::<u64>();
        counts.refused_lines += refused_lines;
        counts.delivered_lines += lines.saturating_sub(refused_lines);
        counts.delivered_bytes += u64::try_from(bytes).unwrap_or(0);
        let (position, expected) = (state.position, number + 1);
        drop(state);
        if let Err(error) = write_position(&self.folder, position, expected) {
            tracing::debug!(%error, "how far delivery has come is not kept: after a kill more comes twice");
        }
        taken.forget(count, bytes);
    }

    /// Delivering failed.
    pub(super) fn count_failure(&self) {
        self.lock().counts.failures += 1;
    }

    /// It is to end by then.
    pub(super) fn ask_end(&self, deadline: Instant) {
        self.lock().end = Some(deadline);
        self.changed.notify_all();
    }

    /// The courier ends.
    pub(super) fn end_delivering(&self) {
        self.lock().courier_ended = true;
        self.changed.notify_all();
    }

    /// Wait until the courier has ended; false where it has not by then.
    pub(super) fn wait_courier(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while !state.courier_ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait(state, left);
        }
        state.courier_ended
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// A batch that is larger than all goes into an empty spool.
    fn has_room(&self, bytes: u64, limit: u64) -> bool {
        let used = self.bytes();
        used <= head_bytes() || used.saturating_add(bytes).saturating_add(head_bytes()) <= limit
    }

    /// Bytes that wait.
    fn ahead(&self) -> u64 {
        let delivered = match self.files.front() {
            Some(first) if first.number == self.position.file => self.position.offset,
            _ => head_bytes(),
        };
        let heads = head_bytes() * u64::try_from(self.files.len().saturating_sub(1)).unwrap_or(0);
        self.bytes().saturating_sub(delivered).saturating_sub(heads)
    }
}

impl Taken {
    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { bytes: &self.bytes, ends: &self.ends }
    }

    fn forget(&mut self, count: usize, bytes: usize) {
        self.bytes.drain(..bytes);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|end| *end -= bytes);
        self.parcels.drain(..count);
        self.marks.drain(..count);
    }
}

struct Parsed {
    taken: Taken,
    /// Number and time of the first.
    first: Option<(u64, u64)>,
}

fn parse(bytes: &[u8], position: Position, expected: Option<u64>, max_bytes: usize) -> Parsed {
    let mut parsed = Parsed { taken: Taken::default(), first: None };
    let taken = &mut parsed.taken;
    let (mut at, mut expected) = (0, expected);
    while let Some(start) = record::find(bytes, at) {
        let Some((record, length)) = bytes.get(start..).and_then(record::read) else { break };
        if !taken.bytes.is_empty() && taken.bytes.len() + record.frame.len() > max_bytes {
            break;
        }
        let missing = record.number.saturating_sub(expected.unwrap_or(record.number));
        if missing > 0 && !taken.bytes.is_empty() {
            // It is told before what follows it.
            break;
        }
        at = start + length;
        // What was put there before and is delivered.
        if expected.is_some_and(|expected| record.number < expected) {
            continue;
        }
        taken.missing += missing;
        expected = Some(record.number + 1);
        parsed.first.get_or_insert((record.number, record.time_ms));
        taken.bytes.extend_from_slice(record.frame);
        taken.ends.push(taken.bytes.len());
        taken.parcels.push(record.parcel);
        taken.marks.push((position.offset + u64::try_from(at).unwrap_or(0), record.number));
    }
    parsed
}

fn head_bytes() -> u64 {
    u64::try_from(HEAD_BYTES).unwrap_or(0)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.{ENDING}"))
}

fn open_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    options.mode(MODE).open(path).map_err(told)
}

/// Files of a spool, oldest first. Others are left alone.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(ENDING)?.strip_suffix('.')?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Bytes of a spool's files in this folder, where there is one.
pub(super) fn bytes_in(folder: &Path) -> u64 {
    let files = numbers(folder).unwrap_or_default();
    let sizes =
        files.into_iter().filter_map(|number| Some(fs::metadata(path_of(folder, number)).ok()?.len()));
    sizes.sum()
}

/// What lies there in the frames of another protocol would be refused line by line.
fn check_kind(path: &Path, kind: &str) -> io::Result<()> {
    let mut head = [0; HEAD_BYTES];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    match read.ok().and_then(|()| record::kind_of(&head)) {
        Some(other) if other != kind => Err(io::Error::other(format!(
            "{} holds lines for `{other}`, and this output is `{kind}`: deliver them there, or give this output another folder",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Cut off what a crash tore, and find the number of the next record.
fn cut_tail(folder: &Path, state: &mut State) -> io::Result<()> {
    for (back, file) in state.files.iter_mut().rev().enumerate() {
        let path = path_of(folder, file.number);
        let bytes = fs::read(&path)?;
        let (mut end, mut at) = (HEAD_BYTES.min(bytes.len()), HEAD_BYTES.min(bytes.len()));
        let mut last = None;
        while let Some(start) = record::find(&bytes, at) {
            let Some((record, length)) = bytes.get(start..).and_then(record::read) else { break };
            (end, at, last) = (start + length, start + length, Some(record.number));
        }
        if back == 0 && end < bytes.len() {
            tracing::warn!(file = %path.display(), bytes = bytes.len() - end, "what was torn when the spool was written last is cut off");
            OpenOptions::new().write(true).open(&path)?.set_len(u64::try_from(end).unwrap_or(0))?;
            file.bytes = u64::try_from(end).unwrap_or(0);
        }
        if let Some(last) = last {
            state.next = last + 1;
            break;
        }
    }
    Ok(())
}

/// Number of the oldest record.
fn first_number(folder: &Path, files: &VecDeque<Segment>) -> io::Result<Option<u64>> {
    for file in files {
        let bytes = fs::read(path_of(folder, file.number))?;
        let start = record::find(&bytes, 0).and_then(|start| bytes.get(start..));
        if let Some((record, _)) = start.and_then(record::read) {
            return Ok(Some(record.number));
        }
    }
    Ok(None)
}

fn read_position(folder: &Path) -> Option<(Position, u64)> {
    let bytes: [u8; 28] = fs::read(folder.join(POSITION)).ok()?.try_into().ok()?;
    let (rest, sum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut words = rest.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_le_bytes);
    let position = Position { file: words.next()?, offset: words.next()? };
    Some((position, words.next()?))
}

fn write_position(folder: &Path, position: Position, expected: u64) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(28);
    for word in [position.file, position.offset, expected] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let file =
        open_file(&folder.join(POSITION), OpenOptions::new().write(true).create(true).truncate(false))?;
    // In one call, in place: a kill leaves the old or the new one.
    file.write_all_at(&bytes, 0)
}
