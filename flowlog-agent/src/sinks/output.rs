//! What a destination offers to its writer, and how bytes get to a file descriptor without tearing lines.

use crate::model::ledger::Place;
use crate::record::Line;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// What a pipe takes whole or not at all, and without blocking once poll says that it is writable.
pub(super) const PIPE_BATCH_BYTES: usize = 4_096;

/// Lines that are handed over together, each in the frame that its destination wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    /// All of it.
    pub(super) bytes: &'a [u8],
    /// Where each frame ends.
    pub(super) ends: &'a [usize],
}

impl<'a> Batch<'a> {
    /// How many frames there are.
    pub(super) fn len(self) -> usize {
        self.ends.len()
    }

    /// Where the frame at this place begins: where the one before it ends.
    pub(super) fn start_of(self, place: usize) -> usize {
        place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }

    /// The frame at this place.
    pub(super) fn frame(self, place: usize) -> &'a [u8] {
        let end = self.ends.get(place).copied().unwrap_or(0);
        self.bytes.get(self.start_of(place)..end).unwrap_or_default()
    }

    /// Every frame of these places.
    pub(super) fn frames(self, places: Range<usize>) -> impl ExactSizeIterator<Item = &'a [u8]> {
        places.map(move |place| self.frame(place))
    }

    /// The bytes of these places.
    pub(super) fn part(self, places: &Range<usize>) -> &'a [u8] {
        self.bytes.get(self.start_of(places.start)..self.start_of(places.end)).unwrap_or_default()
    }
}

/// Frames lines as a destination wants them; on another thread than its own, where they lie on disk in between.
pub(super) trait Framer: Send + Sync {
    /// Append a line under its number.
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>);
}

/// Lines as they are.
struct Plain;

impl Framer for Plain {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        line.append_to(seq, out);
    }
}

/// A destination; one writer thread owns it.
pub(super) trait Output: Send {
    /// How lines are framed for it.
    fn framer(&self) -> Arc<dyn Framer> {
        Arc::new(Plain)
    }

    /// Most bytes of whole lines to hand over in one write; a longer single line is handed over alone.
    fn batch_bytes(&self) -> usize;

    /// Write whole lines. Waits at most `wait` for room, so that the writer keeps an eye on its orders.
    fn write(&mut self, batch: Batch<'_>, wait: Duration) -> Result<(), WriteError>;

    /// How long lines may wait for others to go with them, where there are fewer than fill a batch.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether many lines go together, and whether they arrived shows by an answer or not at all: after a kill all of them
    /// are in doubt.
    fn goes_together(&self) -> bool {
        false
    }

    /// How long the destination asked not to be tried again.
    fn asked_to_wait(&self) -> Option<Duration> {
        None
    }

    /// The end of the file to which the next write appends; absent where what becomes of a write cannot be looked up.
    fn place(&mut self) -> Option<Place> {
        None
    }

    /// Called about once a second, to notice what happens outside (a rename, a reader that left).
    /// True where the destination was opened anew.
    fn tick(&mut self) -> Result<bool, WriteError>;

    /// Open it anew, after a failure or because somebody asked.
    fn reopen(&mut self) -> io::Result<()>;

    /// Make what was written durable, where that means something.
    fn sync(&mut self) -> io::Result<()>;
}

/// Why lines were not written, or not all.
#[derive(Debug)]
pub(super) enum WriteError {
    /// No room yet; nothing was written.
    NotReady,
    /// The reader is gone for good: the agent is to end, or this output alone.
    Closed {
        /// Bytes written before that.
        written: usize,
    },
    /// It failed; the writer opens the destination anew after a while.
    Failed {
        /// Bytes that are there to stay: whole lines.
        written: usize,
        /// What the system said.
        error: io::Error,
    },
    /// So much is done with, though not all of it is there; the rest is to be handed over again.
    Settled {
        /// Bytes that are done with: whole lines.
        bytes: usize,
        /// Places of lines among these that the destination will never take.
        refused: Vec<usize>,
        /// What it said of the last of them.
        why: String,
    },
}

impl WriteError {
    /// It failed before anything was written.
    pub(super) fn nothing(error: io::Error) -> Self {
        Self::Failed { written: 0, error }
    }
}

/// Wait until a descriptor takes bytes; false where it does not in time.
pub(super) fn wait_writable(file: &File, wait: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// True where the reading end of a pipe is gone.
pub(super) fn reader_gone(file: &File) -> bool {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::empty())];
    let ready = poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) > 0;
    let [fd] = fds;
    ready && fd.revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// Write all of it; how far it came, and what stopped it.
pub(super) fn write_all(mut file: &File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// How much of the beginning consists of whole lines.
pub(super) fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}
