//! Counts over time, five seconds a bucket, for as long as the longest window is.

use super::Window;
use jiff::Timestamp;
use std::collections::VecDeque;

/// Seconds of a bucket.
const BUCKET_S: i64 = 5;

/// Buckets that are kept: fifteen minutes.
pub(super) const MOST: i64 = 180;

/// Clocks may be ahead by so many: what is later counts as then.
const AHEAD: i64 = 12;

/// The bucket of a moment.
pub(super) fn bucket(time: Timestamp) -> i64 {
    time.as_second().div_euclid(BUCKET_S)
}

/// The first bucket of so many seconds up to now.
pub(super) fn first_of(seconds: i64, now: i64) -> i64 {
    now - seconds / BUCKET_S + 1
}

/// Buckets that are not empty, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series(VecDeque<(i64, u64)>);

impl Series {
    /// Where a bucket is counted as of now.
    pub(super) fn place(bucket: i64, now: i64) -> i64 {
        bucket.min(now + AHEAD)
    }

    /// Add to a bucket; what is too old for any window is left out.
    pub(super) fn add(&mut self, bucket: i64, count: u64, now: i64) {
        while self.0.front().is_some_and(|(first, _)| *first <= now - MOST) {
            self.0.pop_front();
        }
        if bucket <= now - MOST || count == 0 {
            return;
        }
        let place = self.0.partition_point(|(there, _)| *there < bucket);
        match self.0.get_mut(place) {
            Some((there, sum)) if *there == bucket => *sum = sum.saturating_add(count),
            _ => self.0.insert(place, (bucket, count)),
        }
    }

    /// Take from a bucket again.
    pub(super) fn take(&mut self, bucket: i64, count: u64) {
        let place = self.0.partition_point(|(there, _)| *there < bucket);
        if let Some((there, sum)) = self.0.get_mut(place)
            && *there == bucket
        {
            *sum = sum.saturating_sub(count);
            if *sum == 0 {
                self.0.remove(place);
            }
        }
    }

    /// Add all of another.
    pub(super) fn join(&mut self, other: &Self, now: i64) {
        other.0.iter().for_each(|(bucket, count)| self.add(*bucket, *count, now));
    }

    /// The last bucket that has something.
    pub(super) fn newest(&self) -> Option<i64> {
        self.0.back().map(|(bucket, _)| *bucket)
    }

    /// From a bucket on.
    pub(super) fn sum(&self, from: i64) -> u64 {
        let counts = self.0.iter().rev().take_while(|(bucket, _)| *bucket >= from).map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    }

    /// Add what lies from a bucket on to as many equal parts up to now.
    pub(super) fn spread(&self, from: i64, now: i64, into: &mut [u64]) {
        let length = (now - from + 1).max(1);
        let Ok(parts) = i64::try_from(into.len()) else { return };
        for (bucket, count) in self.0.iter().rev().take_while(|(bucket, _)| *bucket >= from) {
            let part = ((*bucket).min(now) - from) * parts / length;
            if let Some(sum) = usize::try_from(part).ok().and_then(|part| into.get_mut(part)) {
                *sum = sum.saturating_add(*count);
            }
        }
    }
}

/// Counts of the windows, and of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Tally {
    series: Series,
    total: u64,
}

impl Tally {
    pub(in super::super) fn add(&mut self, time: Timestamp, count: u64, now: Timestamp) {
        let now = bucket(now);
        self.series.add(Series::place(bucket(time), now), count, now);
        self.total = self.total.saturating_add(count);
    }

    /// One that was counted at this time or later was none.
    pub(in super::super) fn take_one(&mut self, time: Timestamp) {
        self.total = self.total.saturating_sub(1);
        let of = bucket(time);
        let there = self.series.0.iter().map(|(there, _)| *there).find(|there| *there >= of);
        if let Some(there) = there {
            self.series.take(there, 1);
        }
    }

    pub(in super::super) fn of(&self, window: Window, now: Timestamp) -> u64 {
        window.begins(now).map_or(self.total, |begins| self.series.sum(begins))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_what_fell_into_it() {
        let mut series = Series::default();
        for (bucket, count) in [(10, 1), (12, 2), (11, 4), (12, 8), (190, 16)] {
            series.add(bucket, count, 190);
        }
        // What was older than the longest window at once, or has become so, is not kept.
        assert_eq!(series.0, [(11, 4), (12, 10), (190, 16)]);
        assert_eq!([0, 12, 13, 191].map(|from| series.sum(from)), [30, 26, 16, 0]);
        series.take(12, 10);
        series.take(11, 9);
        series.take(50, 1);
        assert_eq!(series.0, [(190, 16)]);
        series.add(195, 1, 195);
        assert_eq!((first_of(60, 195), series.sum(first_of(60, 195))), (184, 17));
    }

    #[test]
    fn what_is_ahead_of_the_clock_is_now() {
        assert_eq!([99, 100, 105, i64::MAX].map(|bucket| Series::place(bucket, 100)), [99, 100, 105, 112]);
        let mut series = Series::default();
        [(89, 1), (90, 2), (95, 4), (99, 8), (104, 16)]
            .iter()
            .for_each(|(bucket, count)| series.add(*bucket, *count, 100));
        let mut parts = [0; 2];
        series.spread(90, 99, &mut parts);
        assert_eq!(parts, [2, 28]);
    }
}
