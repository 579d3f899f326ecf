//! The spine: the way of a flow, from what the hooks saw to a line in every sink.
//!
//! kernel hook → ring buffer → decode → [correlate] → **attribute** → **resolve** → **evaluate** →
//! **classify vendor** → **judge** → [fold] → **record** → **sink**. The stages stand in this order in [`Spine`]; data goes forward only. One task
//! drives them all: at a few microseconds a flow, handing flows from task to task would cost more than the work.
//! Sinks write in threads of their own and never hold the spine up.

mod attribute;
mod books;
mod classify;
mod conclude;
mod correlate;
mod counted;
mod exchanged;
mod finding;
mod fold;
#[cfg(test)]
mod fold_tests;
mod judged;
mod losses;
mod naming;
mod readings;
mod reload;
mod repeats;
mod source;
mod tell;
#[cfg(test)]
mod tests;
mod tracked;
mod waiting;

use crate::capture::{
    Batch, Capture, Cgroups, Conntrack, Gaps, HookStatus, KernelCounts, PinOrigin, Pinned, Repeat, clock,
    heap,
};
use crate::cluster::Snapshot;
use crate::cluster::watch::News;
use crate::config::Settings;
use crate::findings::Live;
use crate::model::{
    Attribution, Class, Direction, Fact, Flow, IcmpMessage, Ledger, LossCause, LossStage, Node, Observation,
    Process, Receipts, State,
};
use crate::policy;
use crate::record::{AgentEvent, Counters, Encoder, Line, SnapshotState, Start, Stop};
use crate::sinks::Sinks;
use crate::telemetry::{Board, RateLimit, Registry};
use attribute::{Attributed, Ends, View};
pub use classify::Classification;
use classify::Classifier;
use correlate::{Correlator, Origin, Told, Tried};
use exchanged::Exchanged;
use fold::{Folder, Intervals};
use jiff::Timestamp;
use judged::Judged;
use losses::Losses;
use naming::{Known, Naming};
use readings::Meter;
pub use reload::tell_notes;
use repeats::Repeats;
pub use source::Source;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::Signal;
use tracked::Backends;
use waiting::Waiting;

/// How often folds are written, losses told, manifests looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Batches of events after which everything else has its turn, however much waits in the ring.
const BATCHES: usize = 16;
/// Times that so many batches are read at the end of a ring that another agent reads on.
const LAST_DRAINS: usize = 64;
/// A program may be held up for so long between taking an event's time and its place in the ring, nanoseconds.
const ORDER_NS: u64 = 100_000_000;
/// How often the cgroup tree is looked at again at most.
const RESCAN: Duration = Duration::from_millis(100);
/// How often the wall clock is measured anew and old cgroups are forgotten, in turns of housekeeping.
const SELDOM: u32 = 10;
/// Room that is kept for what a drain brings to be told.
const ROOM: usize = 4_096;
/// How long sinks get to write what waits at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the spine broke.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The ring cannot be polled.
    #[error("wait for kernel events: {0}")]
    Ring(#[source] std::io::Error),
    /// The clock cannot be read.
    #[error(transparent)]
    Clock(#[from] clock::ClockError),
}

/// Everything a run is made of.
pub struct Parts {
    /// The settings in force.
    pub settings: Settings,
    /// The kernel half.
    pub capture: Capture,
    /// Connection tracking, where it is to be asked.
    pub conntrack: Option<Conntrack>,
    /// The cgroups that it was started with.
    pub cgroups: Cgroups,
    /// Where the cluster is read from.
    pub source: Source,
    /// Whose software is known by what, and what is sensitive.
    pub classification: Classification,
    /// Makes lines.
    pub encoder: Encoder,
    /// Where they go.
    pub sinks: Sinks,
    /// What the start record says of the agent itself.
    pub start: Start,
    /// Where the spine tells how it stands, if anybody asks.
    pub board: Option<Arc<Board>>,
    /// The agent is in a pod itself: there is one on this node.
    pub in_pod: bool,
    /// SIGHUP: files are opened anew.
    pub hangup: Signal,
}

/// Run until `stop` is ready, which says why; then drain, write, detach, and say what was lost.
///
/// # Errors
/// The kernel half can no longer be read.
pub async fn run(parts: Parts, stop: impl Future<Output = &'static str>) -> Result<Counters, PipelineError> {
    let Parts {
        settings,
        mut capture,
        conntrack,
        cgroups,
        mut source,
        classification,
        encoder,
        sinks,
        start,
        board,
        in_pod,
        mut hangup,
    } = parts;
    let drain = settings.drain;
    let sees_syns = sees_syns(&capture);
    let mut spine = Spine::new(&settings, cgroups, source.snapshot(), encoder, sinks, sees_syns);
    spine.known.vendors = Classifier::new(classification);
    spine.backends = Backends::new(conntrack);
    spine.meter = Meter::new(board, in_pod);
    spine.resume(&mut capture)?;
    spine.tell_start(start);
    spine.tell_gap(&capture);
    spine.hand_over();
    spine.meter.set_kinds(source.kinds());
    spine.post(&mut capture, None);
    let mut stop = std::pin::pin!(stop);
    let mut next_housekeeping = Instant::now() + HOUSEKEEPING;
    let mut more = false;
    let reason = loop {
        tokio::select! {
            biased;
            reason = &mut stop => break reason,
            () = spine.sinks.closed() => break "output_closed",
            _ = hangup.recv() => spine.sinks.reopen(),
            // What else this thread does has its turn in between.
            () = tokio::task::yield_now(), if more => {}
            ready = capture.ready(drain), if !more => ready.map_err(PipelineError::Ring)?,
        }
        more = spine.drain(&mut capture)?;
        let now = Timestamp::now();
        if let Some(News { snapshot, worth_telling }) = source.take_new(now) {
            // What was counted until now is told by what was declared until now.
            spine.sweep(&mut capture, clock::now_ns()?, now);
            let event = spine.take_snapshot(snapshot, source.problems(), now);
            // Who reads that it is in force may rely on it: nothing is counted, and nothing gives way, under what was
            // declared before.
            spine.set_repeats(&mut capture, clock::now_ns()?, now);
            spine.forget_judged(&mut capture);
            if worth_telling {
                spine.tell_agent(event, now);
                // A kind was read as a whole just now, or the cluster changed for a minute.
                heap::give_back();
            }
        }
        let turned = Instant::now();
        spine.meter.turn(turned);
        if turned >= next_housekeeping {
            next_housekeeping = turned + HOUSEKEEPING;
            spine.keep_house(&mut capture, &mut source)?;
        }
        spine.rescan();
        spine.instruct(&mut capture, clock::now_ns()?, now);
        spine.hand_over();
    };
    capture.detach();
    // Without its hooks a ring runs dry. Hooks that outlive the agent go on filling theirs: what is left is for the next one.
    let mut turns = 0;
    while spine.drain(&mut capture)? && (capture.pinned.is_none() || turns < LAST_DRAINS) {
        turns += 1;
    }
    spine.finish(&mut capture, reason)
}

/// The stages, and what they share.
struct Spine {
    node: Arc<Node>,
    host_processes: bool,
    process_exe: bool,
    cgroups: Cgroups,
    snapshot: Arc<Snapshot>,
    known: Answers,
    /// Cgroups or snapshot changed since attempts that wait were last looked at.
    changed: bool,
    correlate: Correlator,
    backends: Backends,
    waiting: Waiting,
    fold: Folder,
    live: Live,
    repeats: Repeats,
    naming: Naming,
    judged: Judged,
    exchanged: Exchanged,
    losses: Losses,
    /// What the kernel half had not handed over at the last look, and when that was.
    gaps: (Gaps, u64),
    encoder: Encoder,
    sinks: Sinks,
    /// Room for what a drain brings, and for what is made of it.
    batch: Batch,
    told: Vec<Told>,
    /// Time of the latest event that was observed, boot time, nanoseconds.
    observed_ns: u64,
    /// Lines that the sinks get together: one by one, each would wake a writer.
    outbox: Vec<Line>,
    registry: Registry,
    meter: Meter,
    /// Attempts that were no event, as the kernel half counts them.
    passed_over: u64,
    rescan_due: bool,
    rescanned: Instant,
    losses_told: Timestamp,
    /// Where what was told is marked, where it outlives the agent.
    ledger: Option<&'static Ledger>,
    /// What the kernel half had lost before this run.
    lost_before: KernelCounts,
    not_understood: u64,
    turns: u32,
    decode_warning: RateLimit,
}

/// What was found out once and holds across snapshots.
#[derive(Default)]
struct Answers {
    /// Answers of the policies.
    policies: policy::Cache,
    /// Whose software pods are.
    vendors: Classifier,
}

impl Spine {
    fn new(
        settings: &Settings,
        cgroups: Cgroups,
        snapshot: Arc<Snapshot>,
        encoder: Encoder,
        sinks: Sinks,
        sees_syns: bool,
    ) -> Self {
        let intervals = Intervals {
            denied: settings.fold_denied,
            other: settings.fold_other,
            each: settings.each,
            own_at_once: settings.own_at_once,
        };
        let live = finding::start(settings, &snapshot);
        Self {
            node: node_of(&snapshot, &settings.node),
            host_processes: settings.host_processes,
            process_exe: settings.process_exe,
            cgroups,
            snapshot,
            known: Answers::default(),
            changed: false,
            correlate: Correlator::new(sees_syns),
            backends: Backends::new(None),
            waiting: Waiting::new(settings.waiting),
            fold: Folder::new(intervals),
            live,
            repeats: Repeats::new(!settings.each),
            naming: Naming::default(),
            judged: Judged::new(),
            exchanged: Exchanged::default(),
            losses: Losses::default(),
            gaps: (Gaps::default(), 0),
            encoder,
            sinks,
            batch: Batch::default(),
            told: Vec::new(),
            observed_ns: 0,
            outbox: Vec::new(),
            registry: Registry::default(),
            meter: Meter::default(),
            passed_over: 0,
            rescan_due: false,
            rescanned: Instant::now(),
            losses_told: Timestamp::now(),
            ledger: None,
            lost_before: KernelCounts::default(),
            not_understood: 0,
            turns: 0,
            decode_warning: RateLimit::new(Duration::from_secs(60)),
        }
    }

    /// Go on where the agent before stopped, if there was one.
    fn resume(&mut self, capture: &mut Capture) -> Result<(), PipelineError> {
        let (now_ns, now) = (clock::now_ns()?, Timestamp::now());
        let left = capture.take_left();
        let (Some(ledger), Some(Pinned { origin, .. })) = (capture.ledger(), &capture.pinned) else {
            return Ok(());
        };
        self.ledger = Some(ledger);
        self.repeats.ledger = Some(ledger);
        self.losses.keep(ledger);
        let new = match origin {
            PinOrigin::New => return Ok(()),
            PinOrigin::Refused { events, .. } => {
                let (stage, cause) = (LossStage::Restart, LossCause::OtherLayout);
                self.losses.add(stage, cause, "event", None, *events, now);
                return Ok(());
            }
            PinOrigin::Adopted(left) | PinOrigin::Replaced(left) => {
                self.losses_told = capture.wall(left.alive_ns).min(now);
                self.losses.lose_killed(left.at_risk, self.losses_told, now);
                matches!(origin, PinOrigin::Replaced(_))
            }
        };
        match capture.counts() {
            Ok(counts) => {
                self.losses.resume(counts, new);
                self.lost_before = self.losses.kernel().clone();
            }
            Err(error) => tracing::warn!(%error, "the kernel half's counters cannot be read"),
        }
        for left in left {
            let tried = Tried::of_kind(&left.kind, now_ns, now);
            let ends = match self.view(now).attribute(&tried) {
                Attributed::Ends(ends) | Attributed::NotYet(ends) => ends,
                Attributed::OutOfScope => self.view(now).with_unknown(&tried),
            };
            let flow = judge(&self.snapshot, &mut self.known, &tried, *ends);
            self.repeats.take_over(&left, tried, fold::template(&flow), now_ns, now);
        }
        Ok(())
    }

    /// What the rings hold goes down the spine; of a ring that fills up as fast, so much that everything else still has
    /// its turn. Tells whether there is more.
    fn drain(&mut self, capture: &mut Capture) -> Result<bool, PipelineError> {
        for _ in 0..BATCHES {
            let mut batch = std::mem::take(&mut self.batch);
            capture.drain(&mut batch);
            let more = batch.more;
            let (now_ns, now) = (clock::now_ns()?, Timestamp::now());
            self.note_gaps(capture, now_ns);
            self.step(&mut batch, now_ns, now);
            self.batch = batch;
            self.hurry(capture, now_ns, now);
            self.hand_over();
            self.pass_over(more);
            if !more {
                return Ok(false);
            }
            // What relieves the ring is not to wait until it is empty.
            self.instruct(capture, now_ns, now);
        }
        Ok(true)
    }

    /// Tell the kernel half what to count, and what to lose first.
    fn instruct(&mut self, capture: &mut Capture, now_ns: u64, now: Timestamp) {
        self.set_repeats(capture, now_ns, now);
        self.set_judged(capture);
    }

    /// Looked at after the ring was drained: whatever was lost before what it held is known then.
    fn note_gaps(&mut self, capture: &Capture, now_ns: u64) {
        let gaps = match capture.gaps() {
            Ok(gaps) => gaps,
            Err(error) => return tracing::warn!(%error, "the kernel half's counters cannot be read"),
        };
        let (before, since_ns) = std::mem::replace(&mut self.gaps, (gaps, now_ns));
        if gaps.refused != before.refused {
            self.correlate.note_refused(now_ns);
        }
        if gaps != before {
            self.correlate.note_gap(gaps.attempts > before.attempts, since_ns, now_ns);
        }
    }

    /// What the ring cannot keep much longer is told now, whatever it waits for.
    fn hurry(&mut self, capture: &Capture, now_ns: u64, now: Timestamp) {
        let (Some(ledger), Some(sequence)) = (self.ledger, capture.tell_before()) else { return };
        ledger.beat(now_ns);
        for mut tried in self.waiting.take_before(sequence) {
            self.last_attribute(&mut tried, now_ns, now, None);
        }
        let mut written = Vec::new();
        self.fold.write_before(sequence, &mut written);
        self.record(written);
    }

    /// Attempts that were told just before their kind began to be counted.
    fn pass_over(&mut self, more: bool) {
        let begun = self.repeats.take_begun(more.then(|| self.observed_ns.saturating_sub(ORDER_NS)));
        if !begun.is_empty() {
            self.correlate.pass_over(|cgroup_id, far, protocol, boot_ns| {
                let kind = Repeat { cgroup_id, direction: Direction::Egress, protocol, far };
                begun.iter().filter(|begun| begun.repeat == kind).any(|begun| {
                    let since_ns = begun.since_ns.saturating_sub(correlate::HANDSHAKE_NS);
                    (since_ns..=begun.until_ns).contains(&boot_ns)
                })
            });
        }
    }

    /// One batch down the spine; it is empty then.
    fn step(&mut self, batch: &mut Batch, now_ns: u64, now: Timestamp) {
        self.losses.hold(batch.not_understood.take());
        self.not_understood += u64::try_from(batch.errors.len()).unwrap_or(0);
        for error in batch.errors.drain(..) {
            self.registry.decode_errors.one();
            self.losses.add(LossStage::Decode, LossCause::UnknownEvent, "event", None, 1, now);
            if let Some(held) = self.decode_warning.pass(Instant::now()) {
                tracing::warn!(%error, held, "an event of the kernel half is not understood");
            }
        }
        for change in batch.cgroups.drain(..) {
            self.changed = true;
            self.rescan_due |= !self.cgroups.apply(&change, now);
        }
        self.naming.expect(std::mem::take(&mut batch.answers));
        let mut all = self.correlate(&mut batch.observations, batch.more, now_ns, now);
        for told in all.drain(..) {
            match told {
                Told::Tried(tried) => self.first_attribute(tried, now_ns, now),
                Told::Closed { id, totals, receipts, .. } if self.waiting.holds(id) => {
                    self.waiting.close(id, totals, receipts);
                }
                Told::Closed { id, time, totals, receipts } => self.fold.close(id, time, &totals, receipts),
                Told::ClosedUnannounced { .. } => self.close_counted(told, now_ns, now),
            }
        }
        // A storm that ends at once would else keep its room.
        all.shrink_to(ROOM);
        self.told = all;
        self.attribute_waiting(now_ns, now);
    }

    /// Attempt + outcome.
    fn correlate(
        &mut self,
        observations: &mut Vec<Observation>,
        more: bool,
        now_ns: u64,
        now: Timestamp,
    ) -> Vec<Told> {
        let mut told = std::mem::take(&mut self.told);
        let mut latest_ns = 0;
        let Self {
            correlate,
            snapshot,
            cgroups,
            node,
            host_processes,
            registry,
            repeats,
            naming,
            observed_ns,
            ..
        } = self;
        let host_processes = *host_processes;
        let known = Known { snapshot, cgroups, host_processes, now };
        let mut kinds: Vec<(&'static str, u64)> = Vec::new();
        for seen in observations.drain(..) {
            // What an agent before has told was counted by it.
            let news = u64::from(seen.receipts.are_news());
            let kind = kind_of(&seen.fact);
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += news,
                None => kinds.push((kind, news)),
            }
            latest_ns = seen.boot_ns;
            naming.take_by(seen.boot_ns, &known);
            let names = &naming.names;
            let view = View { snapshot, cgroups, node, host_processes, now, repeats, names };
            // All sockets of the machine were looked at; hooks show those of the watched cgroup alone.
            if matches!(seen.fact, Fact::Existing { .. }) && view.is_elsewhere(seen.cgroup_id) {
                registry.existing_out_of_scope.one();
                continue;
            }
            correlate.observe(seen, &view, &mut told);
        }
        *observed_ns = (*observed_ns).max(latest_ns);
        for (kind, count) in kinds {
            registry.events.add(kind, count);
        }
        naming.take_by(if more { latest_ns } else { now_ns }, &known);
        let names = &naming.names;
        let view = View { snapshot, cgroups, node, host_processes, now, repeats, names };
        // While more is waiting in the ring, time is what the events say.
        correlate.tick(if more { latest_ns } else { now_ns }, &view, &mut told);
        told
    }

    /// Both ends of an attempt, at once or after a wait.
    fn first_attribute(&mut self, mut tried: Box<Tried>, now_ns: u64, now: Timestamp) {
        if tried.origin != Origin::Opener && !tried.update && !tried.existing {
            // Its opener's attempt is seen here: where it is not known, it is among the losses.
            let lost = self.correlate.may_be_lost(tried.id) && self.view(now).is_opened_here(&tried);
            (tried.untold, tried.update) = (lost, lost);
            self.registry.attempts_seen.add(u64::from(!lost));
        }
        if tried.origin == Origin::Packet || tried.unannounced || tried.untold {
            self.repeats.doubt(&tried);
        }
        let inventory = &self.snapshot.inventory;
        self.backends.look_up(&mut tried, |to, protocol| inventory.is_service(to.ip(), to.port(), protocol));
        match self.view(now).attribute(&tried) {
            Attributed::OutOfScope => self.leave_out(&tried),
            Attributed::Ends(ends) if !ends.may_change => self.follow(&mut tried, *ends, now_ns),
            // What became of an attempt that has waited already is told at once.
            _ if tried.update && !tried.untold && !self.waiting.holds(tried.id) => {
                self.last_attribute(&mut tried, now_ns, now, None);
            }
            Attributed::Ends(_) | Attributed::NotYet(_) => {
                // A cgroup made in the moment in which the hook was attached can miss both the hook and the scan.
                self.rescan_due |= tried.cgroup_id.is_some_and(|id| self.cgroups.find(id).is_none());
                if let Err(mut tried) = self.waiting.hold(tried, now_ns) {
                    self.last_attribute(&mut tried, now_ns, now, None);
                }
            }
        }
    }

    /// Attempts whose ends are known by now, and those whose time is over.
    fn attribute_waiting(&mut self, now_ns: u64, now: Timestamp) {
        if std::mem::take(&mut self.changed) && self.waiting.len() > 0 {
            let Self { snapshot, cgroups, node, host_processes, waiting, repeats, naming, .. } = self;
            let (host_processes, names) = (*host_processes, &naming.names);
            let view = View { snapshot, cgroups, node, host_processes, now, repeats, names };
            let ready = waiting.take_ready(|tried| match view.attribute(tried) {
                Attributed::Ends(ends) => !ends.may_change,
                Attributed::NotYet(_) => false,
                Attributed::OutOfScope => true,
            });
            for mut tried in ready {
                self.registry.attributed_late.one();
                self.last_attribute(&mut tried, now_ns, now, Some(Attribution::Late));
            }
        }
        for mut tried in self.waiting.take_due(now_ns) {
            self.last_attribute(&mut tried, now_ns, now, None);
        }
    }

    /// With what is known now, and saying what is not.
    fn last_attribute(&mut self, tried: &mut Tried, now_ns: u64, now: Timestamp, late: Option<Attribution>) {
        match self.view(now).attribute(tried) {
            Attributed::Ends(mut ends) => {
                ends.attribution = ends.attribution.or(late);
                self.follow(tried, *ends, now_ns);
            }
            Attributed::NotYet(ends) => {
                self.registry.attributed_never.one();
                self.follow(tried, *ends, now_ns);
            }
            Attributed::OutOfScope => self.leave_out(tried),
        }
    }

    /// Evaluate, classify, judge, fold, record.
    fn follow(&mut self, tried: &mut Tried, ends: Ends, now_ns: u64) {
        let mut flow = judge(&self.snapshot, &mut self.known, tried, ends);
        flow.receipts = tried.receipts.take();
        self.judge_kind(tried, &flow);
        self.find_by_attempt(&flow);
        if let Some(peer) = tried.peer {
            self.exchanged.remember(peer, tried.update, &flow, now_ns);
        }
        let mut written = Vec::new();
        if tried.untold && flow.outcome.state == State::Established {
            self.correlate.release(tried.id);
        }
        if tried.untold && matches!(flow.class, Class::Allowed | Class::Unrestricted) {
            // The loss says it all.
            return;
        }
        if !flow.receipts.are_news() {
            self.fold.remember_told(&flow, now_ns, &mut written);
        } else if self.repeats.adopt(tried, &flow) {
            self.correlate.release(tried.id);
            self.fold.fold_counted(flow, now_ns, &mut written);
        } else if self.fold.passes(&flow) {
            return self.record_flow(&mut flow);
        } else {
            let copy = flow.clone();
            let times = self.fold.fold(flow, now_ns, &mut written);
            self.repeats.consider(tried, &copy, times);
        }
        self.record(written);
    }

    fn view(&self, now: Timestamp) -> View<'_> {
        let Self { snapshot, cgroups, node, host_processes, repeats, naming, .. } = self;
        let (host_processes, names) = (*host_processes, &naming.names);
        View { snapshot, cgroups, node, host_processes, now, repeats, names }
    }

    /// The same, and what was found out before.
    fn view_and_answers(&mut self, now: Timestamp) -> (View<'_>, &mut Answers) {
        let Self { snapshot, cgroups, node, host_processes, repeats, naming, known, .. } = self;
        let (host_processes, names) = (*host_processes, &naming.names);
        (View { snapshot, cgroups, node, host_processes, now, repeats, names }, known)
    }

    /// Once a second.
    fn keep_house(&mut self, capture: &mut Capture, source: &mut Source) -> Result<(), PipelineError> {
        let (now_ns, now) = (clock::now_ns()?, Timestamp::now());
        self.turns = self.turns.wrapping_add(1);
        self.sweep(capture, now_ns, now);
        self.count_datagrams(capture, now_ns, false);
        let mut written = Vec::new();
        self.fold.tick(now_ns, &mut written);
        self.record(written);
        self.find_again(now);
        let counts = capture.counts();
        match &counts {
            Ok(counts) => {
                if self.losses.have_missed(counts) {
                    self.correlate.note_gap(false, now_ns, now_ns);
                }
                self.rescan_due |= self.losses.add_kernel(counts, self.losses_told, now);
            }
            Err(error) => tracing::warn!(%error, "the kernel half's counters cannot be read"),
        }
        self.tell_losses(now);
        self.meter.set_kinds(source.kinds());
        self.post(capture, counts.as_ref().ok());
        source.look();
        if self.turns.is_multiple_of(SELDOM) {
            capture.set_clock()?;
            self.cgroups.expire(now);
            self.known.vendors.forget_gone();
        }
        Ok(())
    }

    /// Look at the whole tree again, where an event was lost or a cgroup came past both hook and scan.
    fn rescan(&mut self) {
        if self.rescan_due && self.rescanned.elapsed() >= RESCAN {
            self.rescan_due = false;
            self.rescanned = Instant::now();
            self.changed = true;
            if let Err(error) = self.cgroups.rescan() {
                tracing::warn!(%error, "cgroups that came meanwhile are not known");
            }
        }
    }

    /// What is judged by it from now on; the event is still to be told.
    fn take_snapshot(&mut self, snapshot: Arc<Snapshot>, problems: &[String], now: Timestamp) -> AgentEvent {
        self.registry.snapshots.one();
        self.node = node_of(&snapshot, &self.node.name);
        let state = state_of(&snapshot, problems);
        self.registry.manifest_problems.set(u64::try_from(state.problems.len()).unwrap_or(u64::MAX));
        self.meter.set_snapshot(&state, &snapshot);
        let event = AgentEvent::Snapshot(state);
        self.live.set_api(finding::api_of(&snapshot, now));
        self.snapshot = snapshot;
        self.changed = true;
        self.judge_repeats(now);
        event
    }

    /// The end, after everything was taken out of the kernel: what is still open is told as far as it is known.
    fn finish(mut self, capture: &mut Capture, reason: &str) -> Result<Counters, PipelineError> {
        let (now_ns, now) = (clock::now_ns()?, Timestamp::now());
        let mut told = Vec::new();
        let mut correlate = std::mem::replace(&mut self.correlate, Correlator::new(true));
        correlate.finish(&self.view(now), &mut told);
        self.correlate = correlate;
        for told in told {
            if let Told::Tried(tried) = told {
                self.first_attribute(tried, now_ns, now);
            }
        }
        self.rescanned = self.rescanned.checked_sub(RESCAN).unwrap_or(self.rescanned);
        self.rescan();
        for mut tried in self.waiting.take_due(u64::MAX) {
            self.last_attribute(&mut tried, now_ns, now, None);
        }
        self.sweep(capture, now_ns, now);
        self.count_datagrams(capture, now_ns, true);
        let mut written = Vec::new();
        self.fold.finish(&mut written);
        self.record(written);
        self.find_last();
        match capture.counts() {
            Ok(counts) => self.settle(&counts, now),
            Err(error) => {
                tracing::error!(%error, "the kernel half's counters cannot be read: losses are not known");
            }
        }
        self.tell_losses(now);
        self.hand_over();
        if !self.sinks.flush(LAST_WORDS) {
            tracing::warn!("an output is slow: what it could not take is counted as lost");
        }
        let counters = self.counters();
        let stop = Stop { reason: reason.to_owned(), counters: counters.clone() };
        self.tell_agent(AgentEvent::Stop(Box::new(stop)), now);
        self.hand_over();
        self.sinks.finish(LAST_WORDS);
        if let Some(ledger) = self.ledger {
            ledger.close();
        }
        Ok(counters)
    }
}

/// Declared verdict × observed outcome, between ends whose software is known.
fn judge(snapshot: &Snapshot, answers: &mut Answers, tried: &Tried, mut ends: Ends) -> Flow {
    let Answers { policies, vendors } = answers;
    vendors.locate(&mut ends.source);
    vendors.locate(&mut ends.destination);
    let Ends { source, destination, target, .. } = &ends;
    let verdict = snapshot.evaluate_with(policies, source, destination, target, tried.protocol, tried.time);
    let names = naming::names_for(destination, &tried.names);
    let (at_source, at_destination) = match ends.direction {
        Direction::Egress => (ends.container.as_deref(), None),
        Direction::Ingress => (None, ends.container.as_deref()),
    };
    let source_whose = vendors.classify(source, at_source, &[]);
    let destination_whose = vendors.classify(destination, at_destination, &names);
    let class = Class::of(&verdict, &tried.outcome);
    let totals = tried.closed.map(|totals| totals.as_opener(ends.direction));
    Flow {
        id: tried.id,
        direction: ends.direction,
        protocol: tried.protocol,
        icmp: tried.protocol.is_icmp().then(|| IcmpMessage::of_port(tried.requested.port())),
        existing: tried.existing,
        count: u64::from(!tried.update),
        first: tried.time,
        last: tried.last,
        update: tried.update,
        duration_ns: totals.and_then(|totals| totals.duration_ns),
        bytes_sent: totals.map(|totals| totals.bytes_sent),
        bytes_received: totals.map(|totals| totals.bytes_received),
        datagrams_sent: None,
        datagrams_received: None,
        retransmits: totals.map(|totals| totals.retransmits),
        srtt: totals.map(|totals| totals.srtt).unwrap_or_default(),
        connect_ns: tried.connect_ns,
        source: ends.source,
        destination: ends.destination,
        source_whose,
        destination_whose,
        names,
        dialed: ends.dialed,
        process: process_of(tried, ends.container),
        verdict,
        outcome: tried.outcome.clone(),
        class,
        attribution: ends.attribution,
        receipts: Receipts::default(),
    }
}

/// Whether a SYN that leaves shows: by its outcome, or by being sent again.
fn sees_syns(capture: &Capture) -> bool {
    let attached = |name| {
        capture.hooks.iter().any(|state| state.hook.name == name && state.status == HookStatus::Attached)
    };
    attached("set_state") && attached("retransmit")
}

/// The process at the local end. An accepted connection's event comes from the network, not from a process.
fn process_of(tried: &Tried, container: Option<Arc<str>>) -> Option<Process> {
    let cgroup_id = tried.cgroup_id?;
    Some(Process {
        pid: tried.task.as_ref().map(|task| task.pid),
        comm: tried.task.as_ref().map(|task| task.comm.clone()),
        exe: None,
        cgroup_id,
        container,
    })
}

/// This node, from the snapshot where it has it.
fn node_of(snapshot: &Snapshot, name: &str) -> Arc<Node> {
    match snapshot.inventory.find_node(name) {
        Some(node) => Arc::clone(node),
        None => Arc::new(Node { name: name.to_owned(), ..Node::default() }),
    }
}

fn state_of(snapshot: &Snapshot, problems: &[String]) -> SnapshotState {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let mut objects = BTreeMap::from([
        ("pods".to_owned(), count(snapshot.inventory.pod_count())),
        ("nodes".to_owned(), count(snapshot.inventory.nodes().count())),
        ("policies".to_owned(), count(snapshot.policies.policy_count())),
    ]);
    if let Some(trial) = &snapshot.trial {
        objects.insert("policies_in_trial".to_owned(), count(trial.policy_count()));
    }
    let problems =
        snapshot.problems.iter().map(ToString::to_string).chain(problems.iter().cloned()).collect();
    SnapshotState {
        revision: snapshot.revision,
        as_of: snapshot.as_of,
        stale_since: snapshot.stale_since,
        objects,
        problems,
    }
}

fn kind_of(fact: &Fact) -> &'static str {
    match fact {
        Fact::Existing { .. } => "existing",
        Fact::Attempt { .. } => "attempt",
        Fact::Established { .. } => "established",
        Fact::Failed { .. } => "failed",
        Fact::Closed { .. } => "closed",
        Fact::Inbound => "inbound",
        Fact::SynRetransmitted => "syn_retransmit",
        Fact::Dropped { .. } => "drop",
        Fact::Error { .. } => "error",
        Fact::Sent { .. } => "sent",
        Fact::SentTo { .. } => "sent_to",
        Fact::Received { .. } => "received",
        Fact::Answered => "answered",
        Fact::Arrived => "arrived",
    }
}
