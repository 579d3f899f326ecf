//! What waits for one writer, and what was lost before it: bounded in lines and bytes, shed by class.

use super::spool::{Parcel, SpoolState};
use crate::model::{Class, Loss, LossCause, LossStage, Receipts, Severity};
use crate::record::{Content, Line, SinkCounters};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How much may wait before one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most lines.
    pub lines: usize,
    /// Most bytes of lines.
    pub bytes: usize,
}

impl Default for QueueLimits {
    /// 65,536 lines of about 1.2 kB: with a reader that stalls, 6 s at 10,000 flows a second and 64 MiB.
    fn default() -> Self {
        Self { lines: 65_536, bytes: 64 * 1_024 * 1_024 }
    }
}

/// A queue before one writer. Full, it costs the line that is offered: ordinary traffic from three quarters
/// on, what is worth a look from seven eighths on; denials, what is not enforced, findings and what the agent
/// says of itself only when not one more fits.
#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    /// For the writer: there is something to do.
    work: Condvar,
    /// For whoever waits for the writer: everything is written, or it has ended.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    losses: Losses,
    /// The duty to tell of what was lost.
    lost: Receipts,
    in_flight: InFlight,
    orders: Orders,
    /// The destination does not take anything at present.
    broken: bool,
    ended: bool,
    /// It has ended for good, and the agent goes on without it: what is lost is counted, and nobody is left to be told.
    given_up: bool,
    /// The writer sleeps until so many bytes wait.
    wakes_at: usize,
    /// Somebody waits until all is written.
    hurries: bool,
    counters: SinkCounters,
    /// Attempts of lost lines since the start; `losses` has what is still to be told.
    lost_attempts: BTreeMap<(LossCause, Class), u64>,
}

/// How a sink stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkState {
    /// Lines that wait.
    pub lines: usize,
    /// Bytes of these.
    pub bytes: usize,
    /// Most of both.
    pub limits: QueueLimits,
    /// What was written and lost.
    pub counters: SinkCounters,
    /// Attempts of lost lines, by cause and class.
    pub lost_attempts: BTreeMap<(LossCause, Class), u64>,
    /// How its lines on disk stand, where they wait there.
    pub spool: Option<SpoolState>,
}

/// Lines that the writer has taken and not yet written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InFlight {
    pub(super) lines: u64,
    pub(super) attempts: u64,
}

/// What the writer is asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders {
    /// Open the destination anew.
    pub(super) reopen: bool,
    /// Write what there is and end, by this moment.
    pub(super) end: Option<Instant>,
}

/// What a writer waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// At most until then.
    pub(super) until: Instant,
    /// Orders alone: nothing can be written.
    pub(super) only_orders: bool,
    /// Losses that are to be told, too.
    pub(super) losses_too: bool,
    /// It was told to end before.
    pub(super) had_end: bool,
    /// Fewer bytes of lines than these are not worth it yet.
    pub(super) least_bytes: usize,
}

type LossKey = (LossStage, LossCause, &'static str, Option<Class>);
/// Losses not told yet: how many, from when, to when.
type Losses = BTreeMap<LossKey, (u64, Timestamp, Timestamp)>;

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, state: Mutex::default(), work: Condvar::new(), idle: Condvar::new() }
    }

    /// Lines for the writer, or losses. Never waits for the destination.
    pub(super) fn offer(&self, lines: impl IntoIterator<Item = Line>) {
        let mut state = self.lock();
        // The writer looks at the whole queue whenever it wakes: one call for the line that it waits for is enough.
        let sleeps = !state.has_enough();
        for line in lines {
            if state.ended || !self.admits(&state, &line) {
                let failing = state.broken || state.ended;
                let cause = if failing { LossCause::WriteFailed } else { LossCause::QueueFull };
                state.lose(line, cause);
                continue;
            }
            state.bytes = state.bytes.saturating_add(line.body().len());
            state.lines.push_back(line);
        }
        let wake = sleeps && state.has_enough();
        // Let go first: the writer would wake only to wait for it.
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// Attempts that others are told of, and this output did not want.
    pub(super) fn pass_over(&self, attempts: u64) {
        if attempts > 0 {
            let mut state = self.lock();
            state.counters.unselected = state.counters.unselected.saturating_add(attempts);
        }
    }

    fn admits(&self, state: &State, line: &Line) -> bool {
        let eighths = match line.content() {
            Content::Flow { class, .. } => match class.severity() {
                Severity::Info => 6,
                Severity::Low => 7,
                Severity::Medium | Severity::High | Severity::Critical => 8,
            },
            Content::Finding | Content::Loss(_) | Content::Agent => 8,
        };
        let share = |limit: usize| limit.div_ceil(8).saturating_mul(eighths).min(limit);
        state.lines.len() < share(self.limits.lines)
            && state.bytes.saturating_add(line.body().len()) <= share(self.limits.bytes)
    }

    pub(super) fn ask_reopen(&self) {
        self.lock().orders.reopen = true;
        self.work.notify_one();
    }

    pub(super) fn ask_end(&self, deadline: Instant) {
        self.lock().orders.end = Some(deadline);
        self.work.notify_one();
    }

    pub(super) fn state(&self) -> SinkState {
        let state = self.lock();
        SinkState {
            lines: state.lines.len(),
            bytes: state.bytes,
            limits: self.limits,
            counters: state.counters,
            lost_attempts: state.lost_attempts.clone(),
            spool: None,
        }
    }

    pub(super) fn counters(&self) -> SinkCounters {
        self.lock().counters
    }

    /// Wait until everything is written and told; false where it is not by then.
    pub(super) fn wait_idle(&self, deadline: Instant) -> bool {
        // Nothing waits for others to go with it as long as somebody waits for all.
        self.lock().hurries = true;
        self.work.notify_one();
        let mut state = self.wait_for(deadline, |state| state.ended || state.is_idle());
        state.hurries = false;
        state.is_idle()
    }

    /// Wait until the writer has ended. One that has not by then is left behind, and what it has not written
    /// is counted.
    pub(super) fn wait_ended(&self, deadline: Instant) -> bool {
        // The writer itself stops at the deadline; it gets a moment to say so.
        let grace = deadline.checked_add(super::writer::POLL).unwrap_or(deadline);
        let mut state = self.wait_for(grace, |state| state.ended);
        let ended = state.ended;
        if !ended {
            state.lose_rest();
        }
        ended
    }

    fn wait_for(&self, deadline: Instant, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !done(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let (guard, _) = self.idle.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = guard;
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock; a poisoned one still holds whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's side.
impl Queue {
    /// Sleep until there is an order or something to write.
    pub(super) fn wait_work(&self, wait: Wait) -> Orders {
        let Wait { until, only_orders, losses_too, had_end, least_bytes } = wait;
        let mut state = self.lock();
        state.wakes_at = least_bytes;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let ordered = state.orders.reopen || (state.orders.end.is_some() && !had_end);
            let waits = least_bytes > 0 && !state.hurries;
            let losses = losses_too && !waits && !state.losses.is_empty();
            let something = !only_orders && (state.has_enough() || losses);
            if ordered || something || left.is_zero() {
                let orders = state.orders;
                state.orders.reopen = false;
                return orders;
            }
            let (guard, _) = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = guard;
        }
    }

    /// Losses that were not told yet.
    pub(super) fn take_losses(&self) -> (Vec<Loss>, Receipts) {
        let mut state = self.lock();
        let losses = std::mem::take(&mut state.losses)
            .into_iter()
            .map(|((stage, cause, what, class), (count, first, last))| Loss {
                stage,
                cause,
                what,
                class,
                count,
                first,
                last,
            })
            .collect();
        (losses, state.lost.take())
    }

    /// Lines to write next: as many as fit, at least one.
    pub(super) fn take_lines(&self, max_bytes: usize, max_lines: usize, batch: &mut VecDeque<Line>) {
        let mut state = self.lock();
        let mut bytes: usize = batch.iter().map(Line::max_bytes).sum();
        while let Some(line) = state.lines.front() {
            bytes = bytes.saturating_add(line.max_bytes());
            if (bytes > max_bytes || batch.len() >= max_lines) && !batch.is_empty() {
                break;
            }
            state.bytes = state.bytes.saturating_sub(line.body().len());
            batch.extend(state.lines.pop_front());
        }
        state.in_flight = in_flight(batch.iter());
    }

    /// The first lines of a batch are written.
    pub(super) fn wrote(&self, written: &[Line], bytes: usize, rest: &VecDeque<Line>) {
        let mut state = self.lock();
        let done = in_flight(written);
        state.counters.lines = state.counters.lines.saturating_add(done.lines);
        state.counters.attempts = state.counters.attempts.saturating_add(done.attempts);
        state.counters.bytes = state.counters.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        state.in_flight = in_flight(rest);
        if state.is_idle() {
            self.idle.notify_all();
        }
    }

    /// Lines that the destination will never take.
    pub(super) fn lose(&self, lines: Vec<Line>, cause: LossCause) {
        let mut state = self.lock();
        lines.into_iter().for_each(|line| state.lose(line, cause));
    }

    /// Lines that were on disk, and that the destination will never take.
    pub(super) fn lose_parcels<'a>(&self, parcels: impl IntoIterator<Item = &'a Parcel>) {
        let mut state = self.lock();
        for parcel in parcels {
            match parcel {
                Parcel::Flow { class, attempts } => state.lose_flow(LossCause::Refused, *class, *attempts),
                Parcel::Finding => state.lose_others(LossCause::Refused, "finding", 1),
                Parcel::Other => state.lose_others(LossCause::Refused, "record", 1),
                Parcel::Loss(loss) => state.tell_again(loss),
            }
        }
        drop(state);
        self.work.notify_one();
    }

    /// Lines that were on disk, of which nothing is known any more.
    pub(super) fn lose_damaged(&self, lines: u64) {
        self.lock().lose_others(LossCause::Damaged, "record", lines);
        self.work.notify_one();
    }

    /// Whether as much waits as this, or nothing is to wait.
    pub(super) fn has_bytes(&self, bytes: usize) -> bool {
        let state = self.lock();
        state.hurries || state.bytes >= bytes
    }

    pub(super) fn set_broken(&self) {
        let mut state = self.lock();
        state.broken = true;
        state.counters.failures = state.counters.failures.saturating_add(1);
    }

    pub(super) fn set_writing(&self) {
        self.lock().broken = false;
    }

    pub(super) fn count_failure(&self) {
        let mut state = self.lock();
        state.counters.failures = state.counters.failures.saturating_add(1);
    }

    pub(super) fn count_reopened(&self) {
        let mut state = self.lock();
        state.counters.reopened = state.counters.reopened.saturating_add(1);
    }

    pub(super) fn nothing_left(&self) -> bool {
        let state = self.lock();
        state.lines.is_empty() && state.losses.is_empty()
    }

    /// The writer ends, and the agent goes on: what it holds, what still waits and what is to come is lost and counted. It is
    /// not told, since nobody reads here any more; so nothing is kept for that, and no duty to tell is left to another agent.
    pub(super) fn give_up(&self, held: &VecDeque<Line>) {
        let mut state = self.lock();
        state.given_up = true;
        state.counters.failures = state.counters.failures.saturating_add(1);
        state.losses.clear();
        drop(state.lost.take());
        drop(state);
        self.end(held);
    }

    /// The writer ends; what it holds and what still waits is lost.
    pub(super) fn end(&self, held: &VecDeque<Line>) {
        let mut state = self.lock();
        if state.ended {
            // It was left behind, and what it holds was counted then.
            return;
        }
        for line in held {
            state.lose(line.clone(), LossCause::WriteFailed);
        }
        state.in_flight = InFlight::default();
        state.lose_rest();
        self.idle.notify_all();
    }
}

impl State {
    fn has_enough(&self) -> bool {
        !self.lines.is_empty() && (self.hurries || self.bytes >= self.wakes_at)
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.losses.is_empty() && self.in_flight.lines == 0
    }

    fn lose(&mut self, line: Line, cause: LossCause) {
        match line.content() {
            Content::Flow { class, count } => self.lose_flow(cause, *class, *count),
            Content::Finding => self.lose_others(cause, "finding", 1),
            Content::Agent => self.lose_others(cause, "record", 1),
            Content::Loss(loss) => self.tell_again(loss),
        }
        // It is told when the loss is. Where another output has the line still, that one's word counts.
        if let Some(receipts) = line.take_receipts().filter(|_| !self.given_up) {
            self.lost.add(receipts);
            self.lost.forget_passed();
        }
    }

    /// A record that only adds an outcome stands for no attempt.
    fn lose_flow(&mut self, cause: LossCause, class: Class, attempts: u64) {
        let (what, count) = if attempts > 0 { ("attempt", attempts) } else { ("outcome", 1) };
        self.counters.lost_lines = self.counters.lost_lines.saturating_add(1);
        if attempts > 0 {
            self.counters.lost_attempts = self.counters.lost_attempts.saturating_add(attempts);
            let lost = self.lost_attempts.entry((cause, class)).or_default();
            *lost = lost.saturating_add(attempts);
        }
        let now = Timestamp::now();
        self.tell_later((LossStage::Sink, cause, what, Some(class)), count, (now, now));
    }

    fn lose_others(&mut self, cause: LossCause, what: &'static str, lines: u64) {
        self.counters.lost_lines = self.counters.lost_lines.saturating_add(lines);
        let now = Timestamp::now();
        self.tell_later((LossStage::Sink, cause, what, None), lines, (now, now));
    }

    /// Its counts are kept and told when writing goes on: nothing is lost but the moment.
    fn tell_again(&mut self, loss: &Loss) {
        self.tell_later((loss.stage, loss.cause, loss.what, loss.class), loss.count, (loss.first, loss.last));
    }

    fn tell_later(&mut self, key: LossKey, count: u64, (first, last): (Timestamp, Timestamp)) {
        if self.given_up {
            return;
        }
        let entry = self.losses.entry(key).or_insert((0, first, last));
        *entry = (entry.0.saturating_add(count), entry.1.min(first), entry.2.max(last));
    }

    fn lose_rest(&mut self) {
        while let Some(line) = self.lines.pop_front() {
            self.lose(line, LossCause::WriteFailed);
        }
        self.bytes = 0;
        self.counters.lost_lines = self.counters.lost_lines.saturating_add(self.in_flight.lines);
        self.counters.lost_attempts = self.counters.lost_attempts.saturating_add(self.in_flight.attempts);
        self.in_flight = InFlight::default();
        self.ended = true;
    }
}

fn in_flight<'a>(lines: impl IntoIterator<Item = &'a Line>) -> InFlight {
    let mut sum = InFlight::default();
    for line in lines {
        sum.lines = sum.lines.saturating_add(1);
        if let Content::Flow { count, .. } = line.content() {
            sum.attempts = sum.attempts.saturating_add(*count);
        }
    }
    sum
}
