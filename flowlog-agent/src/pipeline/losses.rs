//! Losses on their way to their records: added up by stage, cause and kind, told at most once a second.

use crate::capture::{KILLED, KernelCounts, account_of};
use crate::model::tally::Context;
use crate::model::{Class, Ledger, Loss, LossCause, LossStage, Part, Receipts};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What was lost since the last telling.
#[derive(Default)]
pub(super) struct Losses {
    held: Vec<(Loss, Receipts)>,
    /// The duty to tell of events that are among it.
    receipts: Receipts,
    kernel: KernelCounts,
    /// Where what was told is marked, where it outlives the agent.
    ledger: Option<&'static Ledger>,
}

/// Accounts of the numbers in the tally: those by kind, the others, those by hook.
const BY_KIND: u32 = 0;
const CGROUP: u32 = 24;
const UNREADABLE: u32 = 25;
const TABLE_FULL: u32 = 26;
const SHED: u32 = 27;
const SHED_CLOSES: u32 = 29;
const ANSWERS_LOST: u32 = 30;
const ANSWERS_UNREADABLE: u32 = 31;
const BY_HOOK: u32 = 32;

fn numbers(counts: &mut KernelCounts) -> impl Iterator<Item = (u32, &mut u64)> {
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
    /// What is told of the kernel half's losses is marked from now on.
    pub(super) fn keep(&mut self, ledger: &'static Ledger) {
        self.ledger = Some(ledger);
    }

    /// Go on where the agent before stopped telling; `counts` are those of now. What it never told comes with the next
    /// look. Programs that are `new` have missed nothing yet.
    pub(super) fn resume(&mut self, mut counts: KernelCounts, new: bool) {
        let Some(tally) = self.ledger.and_then(Ledger::tally) else { return };
        for (number, count) in numbers(&mut counts) {
            let account = account_of(number);
            let [told, ..] = tally.told(account);
            if told > *count || (new && number >= BY_HOOK) {
                // Counted from the beginning.
                tally.open(account, &Context::default());
                *count = 0;
            } else {
                *count = told;
            }
        }
        self.kernel = counts;
    }

    /// The duty to tell of so much of one of the kernel half's losses.
    fn duty(&self, number: u32, count: u64) -> Receipts {
        let kept = self.ledger.filter(|ledger| ledger.tally().is_some());
        let part = Part::new(account_of(number), [count, 0, 0, 0, 0, 0]);
        kept.map_or_else(Receipts::untracked, |ledger| Receipts::of_part(ledger, part, false))
    }

    /// What was lost with the agent before is to be told.
    pub(super) fn lose_killed(&mut self, events: u64, since: Timestamp, now: Timestamp) {
        if events > 0 {
            let loss = Loss {
                stage: LossStage::Restart,
                cause: LossCause::Killed,
                what: "event",
                class: None,
                count: events,
                first: since,
                last: now,
            };
            self.held.push((loss, self.duty(KILLED, events)));
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
        match self.held.iter_mut().map(|(loss, _)| loss).find(same) {
            Some(loss) => {
                loss.count += count;
                loss.last = time;
            }
            None => {
                let loss = Loss { stage, cause, what, class, count, first: time, last: time };
                self.held.push((loss, Receipts::untracked()));
            }
        }
    }

    /// Count what the kernel half lost since the last call; `since` is when that was. True where cgroup events
    /// were among it, so that the tree is to be scanned again.
    pub(super) fn add_kernel(&mut self, counts: &KernelCounts, since: Timestamp, now: Timestamp) -> bool {
        let mut before = std::mem::replace(&mut self.kernel, counts.clone());
        let mut counts = counts.clone();
        let kinds: Vec<&str> = counts.lost.iter().map(|(kind, _)| *kind).collect();
        let hooks: Vec<&str> = counts.missed.iter().map(|(hook, _)| *hook).collect();
        let classes: Vec<Class> = counts.shed.iter().map(|(class, _)| *class).collect();
        let told: BTreeMap<u32, u64> = numbers(&mut before).map(|(number, count)| (number, *count)).collect();
        let mut cgroups = false;
        for (number, count) in numbers(&mut counts) {
            let new = count.saturating_sub(told.get(&number).copied().unwrap_or(0));
            if new == 0 {
                continue;
            }
            let nth = |first: u32| usize::try_from(number - first).unwrap_or(usize::MAX);
            let (cause, what, class) = match number {
                CGROUP => (LossCause::RingFull, "cgroup", None),
                UNREADABLE => (LossCause::Unreadable, "drop", None),
                TABLE_FULL => (LossCause::TableFull, "sent", None),
                SHED_CLOSES => (LossCause::Overload, "closed", None),
                ANSWERS_LOST => (LossCause::RingFull, "dns_answer", None),
                ANSWERS_UNREADABLE => (LossCause::Unreadable, "dns_answer", None),
                BY_HOOK.. => (LossCause::HookBusy, hooks.get(nth(BY_HOOK)).copied().unwrap_or("hook"), None),
                SHED.. => (LossCause::Overload, "attempt", classes.get(nth(SHED)).copied()),
                _ => (LossCause::RingFull, kinds.get(nth(BY_KIND)).copied().unwrap_or("event"), None),
            };
            cgroups |= number == CGROUP;
            let stage = LossStage::Kernel;
            let loss = Loss { stage, cause, what, class, count: new, first: since, last: now };
            self.held.push((loss, self.duty(number, new)));
        }
        cgroups
    }

    /// Whether the kernel left out runs of our programs since the last call of `add_kernel`.
    pub(super) fn have_missed(&self, counts: &KernelCounts) -> bool {
        counts.missed.iter().any(|(hook, missed)| *missed > self.kernel.missed(hook))
    }

    /// These events are told by a loss that was counted.
    pub(super) fn hold(&mut self, receipts: Receipts) {
        self.receipts.add(receipts);
    }

    /// What is to be told now, each with its duty; lines are written in order, so events are told with the last of them.
    pub(super) fn take(&mut self) -> Vec<(Loss, Receipts)> {
        if let Some((_, last)) = self.held.last_mut() {
            last.add(self.receipts.take());
        }
        std::mem::take(&mut self.held)
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
        let told = losses.take();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].0.count, told[0].0.first, told[0].0.last), (5, start, later));
        assert!(losses.take().is_empty());
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
        let told: Vec<_> = losses.take().into_iter().map(|(loss, _)| told(loss)).collect();
        let expected = [
            (LossCause::RingFull, "attempt", None, 3),
            (LossCause::RingFull, "attempt", None, 7),
            (LossCause::RingFull, "cgroup", None, 1),
            (LossCause::Overload, "closed", None, 2),
            (LossCause::Overload, "attempt", Some(Class::Allowed), 5),
        ];
        assert_eq!(told, expected);
    }
}
