//! Lines that wait on disk until they are delivered: an outage, a restart or a kill loses nothing that fits.
//!
//! The writer's thread puts lines into the folder as it would into a file (`Spooled`), a courier's takes them out in order
//! and hands them to the destination (`courier.rs`). `store.rs` has the files between the two, `record.rs` what is in them.

mod courier;
mod parcel;
mod record;
mod store;

#[cfg(test)]
mod tests;

use super::SinkError;
use super::file::probe::{look_at_folder, look_at_space};
use super::output::{Batch, Framer, Output, WriteError};
use super::probe::{Standing, Step};
use super::queue::Queue;
use crate::record::{Line, SpoolCounters};
use courier::Courier;
pub(super) use parcel::Parcel;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::Store;

/// Where lines wait on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolPlace {
    /// The folder, of one output alone.
    pub folder: PathBuf,
    /// Most bytes in it.
    pub bytes: u64,
}

/// How a spool stands. What was delivered and lost since the start, lines of earlier runs included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolState {
    /// Lines that wait.
    pub lines: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Most of these.
    pub limit_bytes: u64,
    /// How long the oldest line waits that is to be delivered next.
    pub oldest: Duration,
    /// Lines delivered.
    pub delivered_lines: u64,
    /// Bytes of these.
    pub delivered_bytes: u64,
    /// Lines that the destination refused for good.
    pub refused_lines: u64,
    /// Attempts of these.
    pub refused_attempts: u64,
    /// Lines that were damaged on disk, or whose file is gone.
    pub damaged_lines: u64,
    /// Times that delivering failed.
    pub failures: u64,
}

impl SpoolState {
    /// What a record tells of it.
    pub(super) fn counters(self) -> SpoolCounters {
        SpoolCounters {
            waiting_lines: self.lines,
            delivered_lines: self.delivered_lines,
            refused_lines: self.refused_lines,
            refused_attempts: self.refused_attempts,
            damaged_lines: self.damaged_lines,
        }
    }
}

/// What is written per write: there is no one to answer.
const BATCH_BYTES: usize = 65_536;

/// The writer's end of a spool.
pub(super) struct Spooled {
    store: Arc<Store>,
    framer: Arc<dyn Framer>,
}

/// The courier's end, for whoever ends it.
#[derive(Debug)]
pub(super) struct Delivery {
    store: Arc<Store>,
    thread: JoinHandle<()>,
}

/// Put a spool before a destination. What an earlier run left in it goes first.
pub(super) fn open(
    place: &SpoolPlace,
    kind: &'static str,
    output: Box<dyn Output>,
    queue: Arc<Queue>,
    name: &str,
) -> Result<(Box<dyn Output>, Delivery), SinkError> {
    let told = |source| SinkError::Spool { output: name.to_owned(), folder: place.folder.clone(), source };
    let store = Arc::new(Store::open(place, kind).map_err(told)?);
    let framer = Arc::new(SpoolFramer(output.framer()));
    let courier = Courier::new(Arc::clone(&store), output, queue).map_err(told)?;
    let thread = std::thread::Builder::new()
        .name("flowlog-sink".into())
        .spawn(move || courier.run())
        .map_err(|source| SinkError::Thread { output: name.to_owned(), source })?;
    let spooled = Box::new(Spooled { store: Arc::clone(&store), framer });
    Ok((spooled, Delivery { store, thread }))
}

/// Whether lines could wait in its folder. One that is made at the start needs its parent.
pub(super) fn probe(place: &SpoolPlace) -> Step {
    let folder =
        if place.folder.exists() { &*place.folder } else { place.folder.parent().unwrap_or(&place.folder) };
    let step = look_at_folder(folder);
    if step.standing != Standing::Fine {
        return Step { name: "spool", ..step };
    }
    let held = store::bytes_in(&place.folder);
    let step = look_at_space(folder, Some(place.bytes.saturating_sub(held)));
    let waits = format!("{}: {held} of {} bytes wait; {}", place.folder.display(), place.bytes, step.found);
    Step { name: "spool", found: waits, ..step }
}

impl Delivery {
    /// Nothing is to be tried any more after this.
    pub(super) fn ask_end(&self, deadline: Instant) {
        self.store.ask_end(deadline);
    }

    /// Wait until the courier has ended. One that is stuck is left behind: what it has not delivered stays on disk.
    pub(super) fn finish(self, deadline: Instant) -> SpoolState {
        if self.store.wait_courier(deadline) && self.thread.join().is_err() {
            tracing::error!("a thread that delivers what is spooled ended by a panic");
        }
        self.store.state()
    }

    /// How it stands.
    pub(super) fn state(&self) -> SpoolState {
        self.store.state()
    }
}

/// Frames a line for its destination, with what has to be known of it where it is refused.
struct SpoolFramer(Arc<dyn Framer>);

impl Framer for SpoolFramer {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        Parcel::of(line).append_to(out);
        self.0.frame(line, seq, out);
    }
}

impl Output for Spooled {
    fn framer(&self) -> Arc<dyn Framer> {
        Arc::clone(&self.framer)
    }

    fn batch_bytes(&self) -> usize {
        BATCH_BYTES
    }

    fn write(&mut self, batch: Batch<'_>, wait: Duration) -> Result<(), WriteError> {
        match self.store.append(batch, wait) {
            Ok(true) => Ok(()),
            Ok(false) => Err(WriteError::NotReady),
            Err(error) => Err(WriteError::nothing(error)),
        }
    }

    fn goes_together(&self) -> bool {
        true
    }

    fn tick(&mut self) -> Result<bool, WriteError> {
        self.store.sync().map(|()| false).map_err(WriteError::nothing)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.store.begin_anew()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.store.sync()
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        self.store.end_writing();
    }
}
