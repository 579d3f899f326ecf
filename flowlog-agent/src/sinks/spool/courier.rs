//! The thread that takes lines out of a spool and hands them to the destination, in order, as long as it takes.

use super::store::{Store, Taken};
use crate::sinks::output::{Output, WriteError};
use crate::sinks::queue::Queue;
use crate::sinks::writer::{FIRST_RETRY, LAST_RETRY, POLL, TICK};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct Courier {
    store: Arc<Store>,
    output: Box<dyn Output>,
    /// Where losses are told.
    queue: Arc<Queue>,
    /// What is being delivered.
    taken: Option<Taken>,
    /// When something was handed over last.
    delivered: Instant,
    next_tick: Instant,
    failing: Option<Duration>,
    retry: Option<Instant>,
    /// It had its one more try after it was told to end.
    ending: bool,
}

impl Courier {
    pub(super) fn new(store: Arc<Store>, output: Box<dyn Output>, queue: Arc<Queue>) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            store,
            output,
            queue,
            taken: None,
            delivered: now,
            next_tick: now,
            failing: None,
            retry: None,
            ending: false,
        })
    }

    /// Until it is told to end.
    pub(super) fn run(mut self) {
        while self.turn() {}
        if let Err(error) = self.output.sync() {
            tracing::debug!(%error, "the connection could not be ended");
        }
        self.store.end_delivering();
    }

    /// One round; false when it is over.
    fn turn(&mut self) -> bool {
        let (end, more) = self.store.end();
        if let Some(deadline) = end {
            if Instant::now() >= deadline || (self.ending && self.retry.is_some()) {
                return false;
            }
            if !self.ending {
                self.ending = true;
                // One more try at once: nobody waits for the next one.
                self.retry = self.retry.map(|_| Instant::now());
            }
        }
        self.wait(end.is_some());
        self.tend();
        if self.retry.is_some() {
            return true;
        }
        match self.next() {
            Ok(true) => self.deliver(),
            Ok(false) => {
                if let Some(deadline) = end {
                    self.store.wait_writer(deadline);
                    return more;
                }
            }
            Err(error) => self.fail(&error),
        }
        true
    }

    fn wait(&self, ends: bool) {
        if let Some(retry) = self.retry {
            return self.store.pause(retry.min(self.next_tick.max(Instant::now())));
        }
        if self.taken.is_some() || ends {
            return;
        }
        let lingers =
            self.delivered.checked_add(self.output.linger()).filter(|until| *until > Instant::now());
        let full = u64::try_from(self.output.batch_bytes()).unwrap_or(u64::MAX);
        match lingers {
            Some(until) => self.store.wait_bytes(full, until),
            None => self.store.wait_bytes(1, self.next_tick),
        }
    }

    /// Open anew where that is due, look around where that is due.
    fn tend(&mut self) {
        let now = Instant::now();
        if self.retry.is_some_and(|retry| now >= retry) {
            match self.output.reopen() {
                Ok(()) => self.retry = None,
                Err(error) => self.fail(&error),
            }
        }
        if now < self.next_tick {
            return;
        }
        self.next_tick = later(TICK);
        if self.retry.is_none()
            && let Err(WriteError::Failed { error, .. }) = self.output.tick()
        {
            self.fail(&error);
        }
    }

    /// Whether there is something to deliver.
    fn next(&mut self) -> io::Result<bool> {
        if self.taken.is_none() {
            self.taken = self.store.take(self.output.batch_bytes())?;
            if let Some(taken) = self.taken.as_ref().filter(|taken| taken.missing > 0) {
                tracing::error!(
                    lines = taken.missing,
                    "lines are damaged on disk, or their file is gone: they are lost"
                );
                self.queue.lose_damaged(taken.missing);
            }
        }
        Ok(self.taken.is_some())
    }

    fn deliver(&mut self) {
        let Some(mut taken) = self.taken.take() else { return };
        self.delivered = Instant::now();
        match self.output.write(taken.batch(), POLL) {
            Ok(()) => {
                let all = taken.parcels.len();
                self.store.advance(&mut taken, all, &[]);
                self.go_on();
            }
            Err(WriteError::Settled { bytes, refused, why }) => {
                self.lose(&taken, &refused, &why);
                let count = taken.ends.partition_point(|end| *end <= bytes);
                self.store.advance(&mut taken, count, &refused);
                self.go_on();
            }
            Err(WriteError::NotReady) => {}
            Err(WriteError::Closed { written }) => {
                let count = taken.ends.partition_point(|end| *end <= written);
                self.store.advance(&mut taken, count, &[]);
                self.fail(&io::ErrorKind::BrokenPipe.into());
            }
            Err(WriteError::Failed { written, error }) => {
                let count = taken.ends.partition_point(|end| *end <= written);
                self.store.advance(&mut taken, count, &[]);
                self.fail(&error);
            }
        }
        self.taken = Some(taken).filter(|taken| !taken.parcels.is_empty());
    }

    fn lose(&self, taken: &Taken, refused: &[usize], why: &str) {
        if refused.is_empty() {
            return;
        }
        tracing::warn!(lines = refused.len(), why, "the output refuses lines for good: they are lost");
        self.queue.lose_parcels(refused.iter().filter_map(|place| taken.parcels.get(*place)));
    }

    fn go_on(&mut self) {
        if self.failing.take().is_some() {
            tracing::info!("the output takes lines again");
        }
    }

    fn fail(&mut self, error: &io::Error) {
        let after = self.failing.map_or(FIRST_RETRY, |last| last.saturating_mul(2).min(LAST_RETRY));
        if self.failing.is_none() {
            tracing::error!(%error, "the output does not take lines; they wait on disk until it does");
        }
        tracing::debug!(%error, ?after, "the output is tried again after a while");
        self.failing = Some(after);
        let after = self.output.asked_to_wait().map_or(after, |asked| asked.max(after));
        self.retry = Some(later(after));
        self.store.count_failure();
        self.queue.count_failure();
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now)
}
