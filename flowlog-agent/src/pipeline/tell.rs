//! What becomes lines, and how they go to the sinks.

use super::correlate::Tried;
use super::{Spine, state_of};
use crate::capture::{Capture, find_exe};
use crate::model::{Flow, LossCause, LossStage};
use crate::record::{Agent, AgentEvent, EncodeError, Gap, Line, Start, Wanted};
use jiff::Timestamp;

impl Spine {
    /// Flows become lines, and lines go to every sink.
    pub(super) fn record(&mut self, flows: Vec<Flow>) {
        for mut flow in flows {
            self.record_flow(&mut flow);
        }
    }

    pub(super) fn record_flow(&mut self, flow: &mut Flow) {
        if let Some(process) = flow.process.as_mut().filter(|_| self.process_exe) {
            process.exe =
                process.pid.zip(process.comm.as_deref()).and_then(|(pid, comm)| find_exe(pid, comm));
        }
        let wanted = self.sinks.wanted(flow);
        if wanted == Wanted::BY_NONE {
            return self.leave_unselected(flow);
        }
        let encoded = match wanted {
            Wanted::BY_ALL => self.encoder.flow(flow),
            some => self.encoder.flow_for(flow, self.sinks.formats(some)),
        };
        match encoded {
            Ok(line) => {
                match flow.existing {
                    true => self.registry.existing_recorded.add(flow.count),
                    false => {
                        self.registry.attempts_recorded.add(flow.count);
                        self.meter.count(flow.class, flow.direction, flow.count);
                    }
                }
                self.sink("flow", line.wanted(wanted).with(flow.receipts.take()));
                self.find_by_flow(flow);
            }
            Err(error) => self.lose_record(&error, flow),
        }
    }

    /// No output wants it: it is counted, what follows from it is told, and there is nothing to tell of its events.
    fn leave_unselected(&mut self, flow: &mut Flow) {
        match flow.existing {
            true => self.registry.existing_unselected.add(flow.count),
            false => {
                self.registry.attempts_unselected.add(flow.count);
                self.meter.count(flow.class, flow.direction, flow.count);
            }
        }
        drop(flow.receipts.take());
        self.find_by_flow(flow);
    }

    pub(super) fn sink(&mut self, kind: &'static str, line: Line) {
        self.registry.records.add(kind, 1);
        self.outbox.push(line);
    }

    pub(super) fn hand_over(&mut self) {
        self.sinks.offer(self.outbox.drain(..));
    }

    pub(super) fn lose_record(&mut self, error: &EncodeError, flow: &mut Flow) {
        tracing::error!(%error, "a flow cannot be recorded");
        self.registry.encode_errors.one();
        match flow.existing {
            true => self.registry.existing_lost.add(flow.count),
            false => self.registry.attempts_lost.add("too_long", flow.count),
        }
        let class = Some(flow.class);
        self.losses.add(LossStage::Fold, LossCause::TooLong, "flow", class, flow.count, flow.last);
        self.losses.hold(flow.receipts.take());
    }

    pub(super) fn leave_out(&self, tried: &Tried) {
        match (tried.update, tried.existing) {
            (true, _) => {}
            (false, true) => self.registry.existing_out_of_scope.one(),
            (false, false) => self.registry.attempts_out_of_scope.one(),
        }
    }

    pub(super) fn tell_start(&mut self, mut start: Start) {
        let state = state_of(&self.snapshot, &[]);
        self.meter.set_snapshot(&state, &self.snapshot);
        start.snapshot = Some(state);
        self.tell_agent(AgentEvent::Start(Box::new(start)), Timestamp::now());
    }

    /// What nobody saw between this run and the one before, where that is known.
    pub(super) fn tell_gap(&mut self, capture: &Capture) {
        let unseen = capture.pinned.as_ref().and_then(|pinned| pinned.unseen.as_ref());
        let Some(unseen) = unseen else { return };
        let now = Timestamp::now();
        let from = capture.wall(unseen.since_ns).min(now);
        self.tell_agent(AgentEvent::Gap(Gap { from, to: now, reason: unseen.why.clone() }), now);
    }

    pub(super) fn tell_agent(&mut self, event: AgentEvent, time: Timestamp) {
        match self.encoder.agent(&Agent { time, event }) {
            Ok(line) => self.sink("agent", line),
            Err(error) => tracing::error!(%error, "a record about the agent cannot be written"),
        }
    }

    pub(super) fn tell_losses(&mut self, now: Timestamp) {
        self.losses_told = now;
        for (loss, receipts) in self.losses.take() {
            self.meter.lose(&loss);
            match self.encoder.loss(&loss) {
                Ok(line) => self.sink("loss", line.with(receipts)),
                Err(error) => tracing::error!(%error, ?loss, "a loss cannot be recorded"),
            }
        }
    }
}
