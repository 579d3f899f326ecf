//! Several logs in one order of time, each in its own: what comes first is shown as soon as no other log can come before it.
//!
//! A log is read a block at a time, and only while it may come before what the others have: memory hangs on how many there are.
//! Of logs that are still written one may be silent for ever; what the others have then waits for it for a moment only: while it
//! has just been read or begun, and for what happened just now. No clock that is wrong makes it wait for longer.

use super::sift::{Item, Sieve, Sifting, Trail};
use crate::commands::logs::Step;
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};

/// So long a log that has nothing more holds up the others, and what happened just now waits for the others.
const HOLD: Duration = Duration::from_millis(500);

/// So long after it was read an item waits for others that may go on for ever: a clock that is behind has them come late.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// So long a log that was begun and has told nothing yet holds up the others.
const BEGIN: Duration = Duration::from_secs(2);

/// What happened so long ago has come from everywhere, as far as clocks agree.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// Where lines come from.
pub(in crate::commands) trait Source: Send {
    /// Read once.
    fn step(&mut self, into: &mut Sifting<'_>) -> Step;

    /// Reading may take until somebody writes.
    fn may_wait(&self) -> bool {
        false
    }
}

/// A log that takes part.
pub(in crate::commands) struct Lane {
    source: Box<dyn Source>,
    trail: Trail,
    state: Step,
    begun: Instant,
    /// When something was read of it last.
    read: Option<Instant>,
    /// When it was looked at last.
    looked: Instant,
    /// It was read to where it grew then: what comes later was written later.
    lives: bool,
}

impl Lane {
    /// Nothing in it is before this time.
    pub(in crate::commands) fn new(source: Box<dyn Source>, begins: Timestamp) -> Self {
        let (trail, begun) = (Trail::from(begins), Instant::now());
        Self { source, trail, state: Step::Read, begun, read: None, looked: begun, lives: false }
    }

    /// How long it holds up the others yet, where it has nothing now.
    fn holds(&self, now: Instant) -> Duration {
        let (since, limit) = self.read.map_or((self.begun, BEGIN), |read| (read, HOLD));
        limit.saturating_sub(now.saturating_duration_since(since))
    }

    fn place(&self) -> Timestamp {
        self.trail.items.front().map_or(self.trail.place, |item| item.place)
    }
}

/// What comes next.
pub(in crate::commands) enum Next {
    /// These, in order.
    Items,
    /// A log was read, and nothing is to be shown yet.
    Nothing,
    /// A log is to be read that may keep us waiting.
    MayWait,
    /// All that can be told now was: come back by then, or when there is something to read.
    Wait(Option<Duration>),
    /// All logs are at their end.
    End,
}

/// All logs.
pub(in crate::commands) struct Merge {
    lanes: Vec<Lane>,
    follows: bool,
    /// The lane that may keep us waiting is to be read now.
    waited: bool,
}

impl Merge {
    /// `follows`: logs grow, and a silent one does not hold up the others.
    pub(in crate::commands) fn new(follows: bool) -> Self {
        Self { lanes: Vec::new(), follows, waited: false }
    }

    pub(in crate::commands) fn add(&mut self, lane: Lane) {
        self.lanes.push(lane);
    }

    /// Something may have come.
    pub(in crate::commands) fn wake(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.state == Step::Nothing) {
            lane.state = Step::Read;
        }
    }

    /// Go on a bit; what is to be shown is put into `items`.
    pub(in crate::commands) fn next(&mut self, sieve: &mut Sieve, items: &mut Vec<Item>) -> Next {
        self.lanes.retain(|lane| lane.state != Step::End || !lane.trail.items.is_empty());
        if let Some(next) = self.overdue(sieve, items) {
            return next;
        }
        let first = self.first();
        let before = |place| first.is_none_or(|(_, first)| place <= first);
        // Those that may have something before it.
        let empty = self.lanes.iter().enumerate().filter(|(_, lane)| lane.trail.items.is_empty());
        let holding: Vec<(usize, &Lane)> = empty.filter(|(_, lane)| before(lane.place())).collect();
        let (is_held, now) = (!holding.is_empty(), Instant::now());
        let holds = holding.iter().map(|(_, lane)| lane.holds(now)).max().unwrap_or_default();
        let readable = holding.into_iter().filter(|(_, lane)| lane.state == Step::Read);
        if let Some((place, _)) = readable.min_by_key(|(_, lane)| lane.place()) {
            return self.read(place, sieve);
        }
        let Some((place, _)) = first else {
            return if self.lanes.is_empty() { Next::End } else { Next::Wait(None) };
        };
        if !self.follows && is_held {
            return Next::Wait(None);
        }
        let (until, clock) = (self.bound(place), Timestamp::now());
        // So long an item waits yet for what others may have.
        let waits = |item: &Item, holds: Duration| {
            let is_fresh = is_held && clock.duration_since(item.place) < FRESH;
            let read = now.saturating_duration_since(item.read);
            holds.max(if is_fresh { HOLD.saturating_sub(read) } else { Duration::ZERO })
        };
        let Some(lane) = self.lanes.get_mut(place) else { return Next::End };
        let Some(first) = lane.trail.items.front() else { return Next::Nothing };
        let wait = waits(first, holds);
        if !wait.is_zero() {
            return Next::Wait(Some(wait));
        }
        let may_go = |item: &mut Item| item.place <= until && waits(item, Duration::ZERO).is_zero();
        while let Some(item) = lane.trail.items.pop_front_if(may_go) {
            items.push(item);
        }
        Next::Items
    }

    /// What was read long ago is shown, whatever has others come before it.
    fn overdue(&mut self, sieve: &mut Sieve, items: &mut Vec<Item>) -> Option<Next> {
        let now = Instant::now();
        let is_old = |item: &Item| now.saturating_duration_since(item.read) >= LONGEST_HOLD;
        let old = |lane: &Lane| lane.trail.items.front().is_some_and(is_old);
        if !self.follows || !self.lanes.iter().any(old) {
            return None;
        }
        let with = self.lanes.iter().enumerate().filter(|(_, lane)| old(lane));
        let mut places: Vec<(Timestamp, usize)> = with.map(|(place, lane)| (lane.place(), place)).collect();
        places.sort_unstable();
        let (first, place) = places.first().copied()?;
        let until = places.get(1).map_or(Timestamp::MAX, |(until, _)| *until);
        let others =
            || self.lanes.iter().enumerate().filter(|(other, lane)| *other != place && lane.place() <= first);
        // What was there before comes in its order, however long it takes to read.
        if others().any(|(_, lane)| !lane.lives && lane.state != Step::End) {
            return None;
        }
        // Whoever shows may have kept us waiting: what was written meanwhile is looked for.
        let mut unread = others().filter(|(_, lane)| lane.trail.items.is_empty() && lane.state != Step::End);
        let unread = unread.find(|(_, lane)| now.saturating_duration_since(lane.looked) >= HOLD);
        if let Some((other, _)) = unread {
            return Some(self.read(other, sieve));
        }
        // It waits for a log that was begun just now.
        if others().any(|(_, lane)| lane.read.is_none() && !lane.holds(now).is_zero()) {
            return None;
        }
        let lane = self.lanes.get_mut(place)?;
        while let Some(item) = lane.trail.items.pop_front_if(|item| item.place <= until && is_old(item)) {
            items.push(item);
        }
        Some(Next::Items)
    }

    /// All that is held, in order: nobody will wait for what others may have.
    pub(in crate::commands) fn rest(&mut self, items: &mut Vec<Item>) {
        while let Some((place, _)) = self.first() {
            let others = self
                .lanes
                .iter()
                .enumerate()
                .filter(|(other, lane)| *other != place && !lane.trail.items.is_empty());
            let until = others.map(|(_, lane)| lane.place()).min().unwrap_or(Timestamp::MAX);
            let Some(lane) = self.lanes.get_mut(place) else { return };
            while let Some(item) = lane.trail.items.pop_front_if(|item| item.place <= until) {
                items.push(item);
            }
        }
    }

    fn read(&mut self, place: usize, sieve: &mut Sieve) -> Next {
        let Some(lane) = self.lanes.get_mut(place) else { return Next::Nothing };
        if lane.source.may_wait() && !std::mem::replace(&mut self.waited, true) {
            return Next::MayWait;
        }
        self.waited = false;
        let Lane { source, trail, state, read, looked, lives, .. } = lane;
        *looked = Instant::now();
        trail.look(*looked);
        *state = source.step(&mut Sifting { sieve, trail });
        match *state {
            Step::Read => *read = Some(Instant::now()),
            Step::Nothing => *lives = true,
            Step::End => {}
        }
        Next::Nothing
    }

    /// The lane whose next item comes first, and where that is.
    fn first(&self) -> Option<(usize, Timestamp)> {
        let with = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.trail.items.is_empty());
        with.map(|(place, lane)| (place, lane.place())).min_by_key(|(_, time)| *time)
    }

    /// Up to where this lane's items come before those of all others.
    fn bound(&self, place: usize) -> Timestamp {
        let held_up = |lane: &Lane| !self.follows || lane.state == Step::Read || !lane.trail.items.is_empty();
        let others = self.lanes.iter().enumerate().filter(|(other, lane)| *other != place && held_up(lane));
        others.map(|(_, lane)| lane.place()).min().unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests;
