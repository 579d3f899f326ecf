//! The thread behind a sink: takes lines, numbers them, writes them whole, tells losses, recovers.

use super::output::{Batch, Framer, Output, WriteError};
use super::queue::{Orders, Queue, Wait};
use crate::model::ledger::{Intent, MOST_WRITING};
use crate::model::{Ledger, LossCause, Receipts};
use crate::record::{Encoder, Line, Mask};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Longest wait for room in a destination before orders are looked at again.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// How often a destination looks around, and how often losses are told while lines keep waiting.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// A broken destination is opened anew after 1 s, 2 s, 4 s, then every 5 s.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(1);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(5);

/// What is marked of lines that are about to be written, so that the next agent knows what a killed one wrote.
#[derive(Clone, Copy, Debug)]
pub(super) enum Marks {
    /// Nothing.
    None,
    /// Which line of the write each is: there is one output.
    Each(&'static Ledger),
    /// That some of several outputs may have them.
    Spread(&'static Ledger),
}

pub(super) struct Writer {
    queue: Arc<Queue>,
    output: Box<dyn Output>,
    framer: Arc<dyn Framer>,
    encoder: Encoder,
    /// Whom it tells that the reader is gone; absent where other outputs go on without this one.
    closed: Option<watch::Sender<bool>>,
    marks: Marks,
    mask: Mask,
    /// Number of the next line; one that was not written keeps its number.
    seq: u64,
    /// Lines taken from the queue and not yet written.
    batch: VecDeque<Line>,
    buffer: Vec<u8>,
    /// Where each line of the batch ends in the buffer.
    ends: Vec<usize>,
    next_tick: Instant,
    told_losses: Option<Instant>,
    /// When lines were handed over last.
    written: Instant,
    end: Option<Instant>,
    /// The destination is broken; it is opened anew at this moment.
    retry: Option<Instant>,
    /// The last time between two tries; forgotten when lines are written again.
    failing: Option<Duration>,
    /// The reader is gone, and the agent goes on.
    gone: bool,
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue>,
        output: Box<dyn Output>,
        encoder: Encoder,
        closed: Option<watch::Sender<bool>>,
        marks: Marks,
    ) -> Self {
        Self {
            queue,
            framer: output.framer(),
            output,
            encoder,
            closed,
            marks,
            mask: Mask::default(),
            seq: 1,
            batch: VecDeque::new(),
            buffer: Vec::new(),
            ends: Vec::new(),
            next_tick: later(TICK),
            told_losses: None,
            written: Instant::now(),
            end: None,
            retry: None,
            failing: None,
            gone: false,
        }
    }

    /// The same, with these parts left out.
    pub(super) fn masked(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// Until it is asked to end, or the reader is gone.
    pub(super) fn run(mut self) {
        while self.turn() {}
        if self.gone {
            return self.queue.give_up(&self.batch);
        }
        if let Marks::Each(ledger) | Marks::Spread(ledger) = self.marks
            && !(self.batch.is_empty() && self.queue.nothing_left())
        {
            // What could not be written is left to the next agent.
            ledger.close();
        }
        if let Err(error) = self.output.sync() {
            self.queue.count_failure();
            tracing::error!(%error, "what was written last could not be synced");
        }
        self.queue.end(&self.batch);
    }

    /// One round; false when it is over.
    fn turn(&mut self) -> bool {
        let orders = self.wait();
        if let Some(deadline) = orders.end.filter(|_| self.end.is_none()) {
            self.end = Some(deadline);
            // One more try at once: nobody waits for the next one.
            if let Some(retry) = &mut self.retry {
                *retry = Instant::now();
            }
        }
        let open = self.tend(orders.reopen) && (self.retry.is_some() || self.write());
        open && !self.is_over()
    }

    fn wait(&self) -> Orders {
        let mut until = self.next_tick;
        if let Some(retry) = &self.retry {
            until = until.min(*retry);
        }
        if let Some(end) = self.end {
            until = until.min(end);
        }
        if self.retry.is_none() && !self.batch.is_empty() {
            until = Instant::now();
        }
        if self.retry.is_none() && self.end.is_some() {
            until = Instant::now();
        }
        let lingers = self.lingers_until().filter(|until| *until > Instant::now());
        let wait = Wait {
            until: lingers.map_or(until, |lingers| lingers.min(until)),
            only_orders: self.retry.is_some(),
            losses_too: self.may_tell_losses(),
            had_end: self.end.is_some(),
            least_bytes: lingers.map_or(0, |_| self.output.batch_bytes()),
        };
        self.queue.wait_work(wait)
    }

    /// Until when a batch that is not full waits for more.
    fn lingers_until(&self) -> Option<Instant> {
        let full = !self.batch.is_empty() || self.end.is_some();
        self.written.checked_add(self.output.linger()).filter(|_| !full)
    }

    fn lingers(&self) -> bool {
        let waits = self.lingers_until().is_some_and(|until| Instant::now() < until);
        waits && !self.queue.has_bytes(self.output.batch_bytes())
    }

    fn is_over(&self) -> bool {
        let Some(deadline) = self.end else { return false };
        (self.batch.is_empty() && self.queue.nothing_left()) || Instant::now() >= deadline
    }

    /// Open anew where that is due, look around where that is due; false when the reader is gone.
    fn tend(&mut self, reopen: bool) -> bool {
        let now = Instant::now();
        if reopen || self.retry.is_some_and(|retry| now >= retry) {
            match self.output.reopen() {
                Ok(()) => self.is_open_again(),
                Err(error) => self.is_broken(&error),
            }
        }
        if now < self.next_tick {
            return true;
        }
        self.next_tick = later(TICK);
        let looked = if self.retry.is_none() { self.output.tick() } else { Ok(false) };
        match looked {
            Ok(true) => self.queue.count_reopened(),
            Ok(false) | Err(WriteError::NotReady | WriteError::Settled { .. }) => {}
            Err(WriteError::Closed { .. }) => return self.is_closed(),
            Err(WriteError::Failed { error, .. }) => self.is_broken(&error),
        }
        true
    }

    /// Write one batch; false when the reader is gone.
    fn write(&mut self) -> bool {
        if self.lingers() {
            return true;
        }
        self.fill();
        if self.batch.is_empty() {
            return true;
        }
        self.buffer.clear();
        let mut seq = self.seq;
        self.ends.clear();
        for line in &self.batch {
            match self.mask.is_nothing() {
                true => self.framer.frame(line, seq, &mut self.buffer),
                false => self.framer.frame(&line.masked(&self.mask), seq, &mut self.buffer),
            }
            seq = seq.saturating_add(1);
            self.ends.push(self.buffer.len());
        }
        self.mark();
        self.written = Instant::now();
        match self.output.write(Batch { bytes: &self.buffer, ends: &self.ends }, POLL) {
            Ok(()) => {
                self.settled(self.buffer.len(), &[]);
                self.is_writing_again();
            }
            Err(WriteError::Settled { bytes, refused, why }) => {
                if !refused.is_empty() {
                    tracing::warn!(
                        lines = refused.len(),
                        why,
                        "the output refuses lines for good: they are lost"
                    );
                }
                self.settled(bytes, &refused);
                self.is_writing_again();
            }
            Err(WriteError::NotReady) => {}
            Err(WriteError::Closed { written }) => {
                self.settled(written, &[]);
                return self.is_closed();
            }
            Err(WriteError::Failed { written, error }) => {
                self.settled(written, &[]);
                self.is_broken(&error);
            }
        }
        if let Marks::Each(ledger) = self.marks {
            ledger.intend_nothing();
        }
        true
    }

    /// At most once a second, but for the end.
    fn may_tell_losses(&self) -> bool {
        self.told_losses.is_none_or(|told| told.elapsed() >= TICK) || self.end.is_some()
    }

    /// Mark what is about to be written, line by line, and where each ends.
    fn mark(&mut self) {
        match self.marks {
            Marks::None => {}
            Marks::Each(ledger) => {
                let intent = self.output.place().map_or(Intent::Stream, Intent::File);
                let nothing = Receipts::default();
                let lines = self.batch.iter().zip(&self.ends).map(|(line, end)| {
                    let receipts = line.receipts().map_or(&nothing, |receipts| receipts.as_ref());
                    (receipts, u64::try_from(*end).unwrap_or(u64::MAX))
                });
                ledger.intend(intent, lines);
            }
            Marks::Spread(ledger) => {
                for receipts in self.batch.iter().filter_map(Line::receipts) {
                    ledger.spread(receipts);
                }
            }
        }
    }

    /// Bytes and lines of one write. Where nobody can look up what came through, a line at a time: so one at most is in
    /// doubt after a kill.
    fn room(&mut self) -> (usize, usize) {
        let bytes = self.output.batch_bytes();
        match self.marks {
            Marks::Each(_) if self.output.place().is_none() => (bytes, 1),
            Marks::Each(_) => (bytes, MOST_WRITING),
            Marks::None | Marks::Spread(_) => (bytes, usize::MAX),
        }
    }

    /// Losses first, so that a reader learns of a hole before what comes after it; then lines.
    fn fill(&mut self) {
        if !self.batch.is_empty() {
            return;
        }
        let (losses, mut receipts) = match self.may_tell_losses() {
            true => self.queue.take_losses(),
            false => (Vec::new(), Receipts::default()),
        };
        let mut left = losses.len();
        for loss in losses {
            left -= 1;
            self.told_losses = Some(Instant::now());
            match self.encoder.loss(&loss) {
                // Told with the last of them: lines are written in order.
                Ok(line) if left == 0 => self.batch.push_back(line.with(receipts.take())),
                Ok(line) => self.batch.push_back(line),
                Err(error) => tracing::error!(%error, ?loss, "a loss could not be told"),
            }
        }
        let (bytes, lines) = self.room();
        self.queue.take_lines(bytes, lines, &mut self.batch);
    }

    /// So many bytes of the buffer are done with, all of them whole lines: written for good, but for those that are refused.
    fn settled(&mut self, bytes: usize, refused: &[usize]) {
        let lines = self.ends.partition_point(|end| *end <= bytes).min(self.batch.len());
        let batch = Batch { bytes: &self.buffer, ends: &self.ends };
        let refused_bytes: usize = refused.iter().map(|place| batch.frame(*place).len()).sum();
        let (mut written, mut lost) = (Vec::with_capacity(lines), Vec::new());
        for (place, line) in self.batch.drain(..lines).enumerate() {
            let to = if refused.contains(&place) { &mut lost } else { &mut written };
            to.push(line);
        }
        // A number that was refused is not given again: the gap is what the loss tells of.
        self.seq = self.seq.saturating_add(u64::try_from(lines).unwrap_or(u64::MAX));
        self.queue.lose(lost, LossCause::Refused);
        self.queue.wrote(&written, bytes.saturating_sub(refused_bytes), &self.batch);
        let receipts = self.encoder.give_back(written);
        if let Marks::Each(ledger) = self.marks {
            ledger.settle_written(receipts.into_iter());
        }
    }

    /// Open again; whether lines go through shows at the next write (a full disk can be opened).
    fn is_open_again(&mut self) {
        self.retry = None;
        self.queue.count_reopened();
    }

    fn is_writing_again(&mut self) {
        if self.failing.take().is_some() {
            tracing::info!("the output takes lines again");
            self.queue.set_writing();
        }
    }

    fn is_broken(&mut self, error: &io::Error) {
        let after = match self.failing {
            Some(last) => last.saturating_mul(2).min(LAST_RETRY),
            None => FIRST_RETRY,
        };
        if self.failing.is_none() {
            tracing::error!(%error, "the output does not take lines; they wait, then get lost, until it does");
        }
        tracing::debug!(%error, ?after, "the output is opened anew after a while");
        self.failing = Some(after);
        let after = self.output.asked_to_wait().map_or(after, |asked| asked.max(after));
        self.retry = Some(later(after));
        self.queue.set_broken();
    }

    /// The reader is gone: either the agent ends with it, or this output alone.
    fn is_closed(&mut self) -> bool {
        match &self.closed {
            Some(closed) => _ = closed.send_replace(true),
            None => {
                self.gone = true;
                tracing::error!(
                    "the reader is gone for good: what it would have had is lost, other outputs go on"
                );
            }
        }
        false
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now)
}
