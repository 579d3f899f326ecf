//! Losses on their way to their records: added up by stage, cause and kind, told at most once a second.

use crate::capture::KernelCounts;
use crate::model::{Class, Ledger, Loss, LossCause, LossStage, Receipts};
use jiff::Timestamp;

/// What was lost since the last telling.
#[derive(Default)]
pub(super) struct Losses {
    held: Vec<Loss>,
    /// The duty to tell of it.
    receipts: Receipts,
    kernel: KernelCounts,
    /// Events that were lost with the agent before.
    killed: u64,
}

/// Places of the numbers in the ledger: those by kind, the others, those by hook.
const BY_KIND: usize = 0;
const CGROUP: usize = 24;
const UNREADABLE: usize = 25;
const TABLE_FULL: usize = 26;
const SHED: usize = 27;
const SHED_CLOSES: usize = 29;
const ANSWERS_LOST: usize = 30;
const ANSWERS_UNREADABLE: usize = 31;
const BY_HOOK: usize = 32;

fn numbers(counts: &mut KernelCounts) -> impl Iterator<Item = (usize, &mut u64)> {
    let by_kind = counts.lost.iter_mut().zip(BY_KIND..).map(|((_, count), at)| (at, count));
    let by_hook = counts.missed.iter_mut().zip(BY_HOOK..).map(|((_, count), at)| (at, count));
    let others = [
        (CGROUP, &mut counts.cgroup_lost),
        (UNREADABLE, &mut counts.unreadable),
        (TABLE_FULL, &mut counts.table_full),
        (SHED_CLOSES, &mut counts.shed_closes),
        (ANSWERS_LOST, &mut counts.answers_lost),
        (ANSWERS_UNREADABLE, &mut counts.answers_unreadable),
    ];
    let shed = counts.shed.iter_mut().zip(SHED..SHED_CLOSES).map(|((_, count), at)| (at, count));
    by_kind.chain(others).chain(shed).chain(by_hook)
}

impl Losses {
    /// Go on where the agent before stopped telling; `counts` are those of now. What it never told comes with the next
    /// look. Programs that are `new` have missed nothing yet.
    pub(super) fn resume(&mut self, mut counts: KernelCounts, ledger: &Ledger, new: bool) {
        for (at, count) in numbers(&mut counts) {
            *count = if new && at >= BY_HOOK { 0 } else { ledger.told(at) };
        }
        self.kernel = counts;
    }

    /// What was lost with the agent before is to be told.
    pub(super) fn lose_killed(&mut self, events: u64, since: Timestamp, now: Timestamp) {
        if events > 0 {
            self.add(LossStage::Restart, LossCause::Killed, "event", None, events, since);
            self.held
                .iter_mut()
                .filter(|loss| loss.cause == LossCause::Killed)
                .for_each(|loss| loss.last = now);
            self.killed = events;
        }
    }

    /// All that was taken so far is written: the next agent is not to tell it again. Told twice, where the agent is killed
    /// between the writing and this.
    pub(super) fn commit(&mut self, ledger: &Ledger) {
        ledger.forgive(std::mem::take(&mut self.killed));
        for (at, count) in numbers(&mut self.kernel) {
            ledger.set_told(at, *count);
        }
    }

    /// What the kernel half lost before this run.
    pub(super) fn kernel(&self) -> &KernelCounts {
        &self.kernel
    }

    /// Count a loss.
    pub(super) fn add(
        &mut self,
        stage: LossStage,
        cause: LossCause,
        what: &'static str,
        class: Option<Class>,
        count: u64,
        time: Timestamp,
    ) {
        let same =
            |loss: &&mut Loss| (loss.stage, loss.cause, loss.what, loss.class) == (stage, cause, what, class);
        match self.held.iter_mut().find(same) {
            Some(loss) => {
                loss.count += count;
                loss.last = time;
            }
            None => self.held.push(Loss { stage, cause, what, class, count, first: time, last: time }),
        }
    }

    /// Count what the kernel half lost since the last call; `since` is when that was. True where cgroup events
    /// were among it, so that the tree is to be scanned again.
    pub(super) fn add_kernel(&mut self, counts: &KernelCounts, since: Timestamp, now: Timestamp) -> bool {
        let before = std::mem::replace(&mut self.kernel, counts.clone());
        let cgroups = counts.cgroup_lost.saturating_sub(before.cgroup_lost);
        let rows = [
            (LossCause::RingFull, "cgroup", cgroups),
            (LossCause::RingFull, "dns_answer", counts.answers_lost.saturating_sub(before.answers_lost)),
            (
                LossCause::Unreadable,
                "dns_answer",
                counts.answers_unreadable.saturating_sub(before.answers_unreadable),
            ),
            (LossCause::Unreadable, "drop", counts.unreadable.saturating_sub(before.unreadable)),
            (LossCause::TableFull, "sent", counts.table_full.saturating_sub(before.table_full)),
            (LossCause::Overload, "closed", counts.shed_closes.saturating_sub(before.shed_closes)),
        ];
        let by_kind = counts
            .lost
            .iter()
            .map(|(kind, lost)| (LossCause::RingFull, *kind, lost.saturating_sub(before.lost(kind))));
        let by_hook = counts
            .missed
            .iter()
            .map(|(hook, missed)| (LossCause::HookBusy, *hook, missed.saturating_sub(before.missed(hook))));
        let unclassed = rows.into_iter().chain(by_kind).chain(by_hook);
        let unclassed = unclassed.map(|(cause, what, count)| (cause, what, None, count));
        let shed = counts.shed.iter().map(|(class, shed)| {
            (LossCause::Overload, "attempt", Some(*class), shed.saturating_sub(before.shed(*class)))
        });
        for (cause, what, class, count) in unclassed.chain(shed).filter(|(.., count)| *count > 0) {
            let stage = LossStage::Kernel;
            self.held.push(Loss { stage, cause, what, class, count, first: since, last: now });
        }
        cgroups > 0
    }

    /// Whether the kernel left out runs of our programs since the last call of `add_kernel`.
    pub(super) fn have_missed(&self, counts: &KernelCounts) -> bool {
        counts.missed.iter().any(|(hook, missed)| *missed > self.kernel.missed(hook))
    }

    /// These events are told by a loss that was counted.
    pub(super) fn hold(&mut self, receipts: Receipts) {
        self.receipts.add(receipts);
    }

    /// What is to be told now.
    pub(super) fn take(&mut self) -> (Vec<Loss>, Receipts) {
        (std::mem::take(&mut self.held), self.receipts.take())
    }
}

#[cfg(test)]
mod tests {
    use super::Losses;
    use crate::capture::KernelCounts;
    use crate::model::{Class, Loss, LossCause, LossStage};
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn equal_losses_become_one_with_its_first_and_last_time() {
        let mut losses = Losses::default();
        let start = Timestamp::UNIX_EPOCH;
        let later = start + SignedDuration::from_secs(1);
        losses.add(LossStage::Decode, LossCause::UnknownEvent, "event", None, 2, start);
        losses.add(LossStage::Decode, LossCause::UnknownEvent, "event", None, 3, later);
        let (told, _) = losses.take();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].count, told[0].first, told[0].last), (5, start, later));
        assert!(losses.take().0.is_empty());
    }

    #[test]
    fn kernel_losses_are_told_as_what_came_since_the_last_look() {
        let mut losses = Losses::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut counts = KernelCounts { lost: vec![("attempt", 3)], ..KernelCounts::default() };
        assert!(!losses.add_kernel(&counts, now, now));
        counts.lost = vec![("attempt", 10)];
        counts.cgroup_lost = 1;
        counts.shed = vec![(Class::Allowed, 5)];
        counts.shed_closes = 2;
        assert!(losses.add_kernel(&counts, now, now), "a lost cgroup event asks for a scan");
        assert!(!losses.add_kernel(&counts, now, now));
        let told = |loss: Loss| (loss.cause, loss.what, loss.class, loss.count);
        let told: Vec<_> = losses.take().0.into_iter().map(told).collect();
        let expected = [
            (LossCause::RingFull, "attempt", None, 3),
            (LossCause::RingFull, "cgroup", None, 1),
            (LossCause::Overload, "closed", None, 2),
            (LossCause::RingFull, "attempt", None, 7),
            (LossCause::Overload, "attempt", Some(Class::Allowed), 5),
        ];
        assert_eq!(told, expected);
    }
}
