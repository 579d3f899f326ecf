//! What becomes of a batch by the answers. What is taken is written; a whole that is refused is halved until what is refused is
//! one line, which is lost; whatever else is said, the rest is handed over again later.

use crate::sinks::output::{Batch, WriteError};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// All is there.
    Taken,
    /// All is there but for the lines at these places, which it never takes.
    Without(Vec<usize>, String),
    /// The whole is refused, though parts of it may be taken.
    NotTogether(String),
    /// Not now.
    NotNow(String),
}

/// How far a batch has come.
#[derive(Default)]
struct Progress {
    settled: usize,
    refused: Vec<usize>,
    why: String,
}

impl Progress {
    fn end(self, batch: Batch<'_>, stopped: Option<io::Error>) -> Result<(), WriteError> {
        let Self { settled, refused, why } = self;
        match stopped {
            // What stopped it shows again at once.
            Some(error) if settled == 0 => Err(WriteError::nothing(error)),
            None if settled == batch.len() && refused.is_empty() => Ok(()),
            _ => Err(WriteError::Settled { bytes: batch.start_of(settled), refused, why }),
        }
    }
}

/// Parts of so many bytes at most, each a line at least.
pub(super) fn parts(batch: Batch<'_>, bytes: usize) -> Vec<Range<usize>> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    for place in 1..=batch.len() {
        let more = batch.part(&(begin..place + 1)).len();
        if place == batch.len() || more > bytes {
            parts.push(begin..place);
            begin = place;
        }
    }
    parts
}

/// Hand a batch over in these parts, and in parts of these where it has to be. Orders are looked at in between, once this long has passed.
pub(super) fn send_all(
    batch: Batch<'_>,
    mut left: Vec<Range<usize>>,
    limit: Duration,
    mut send: impl FnMut(&Range<usize>) -> io::Result<Said>,
) -> Result<(), WriteError> {
    let mut progress = Progress::default();
    left.reverse();
    let begin = Instant::now();
    while let Some(places) = left.pop() {
        match send(&places) {
            Ok(Said::Taken) => {}
            Ok(Said::Without(refused, why)) => {
                progress.refused.extend(refused.iter().map(|place| places.start + place));
                progress.why = why;
            }
            Ok(Said::NotTogether(why)) if places.len() <= 1 => {
                progress.refused.push(places.start);
                progress.why = why;
            }
            Ok(Said::NotTogether(_)) => {
                let middle = places.start + places.len() / 2;
                left.push(middle..places.end);
                left.push(places.start..middle);
                continue;
            }
            Ok(Said::NotNow(why)) => return progress.end(batch, Some(io::Error::other(why))),
            Err(error) => return progress.end(batch, Some(error)),
        }
        progress.settled = places.end;
        if begin.elapsed() > limit {
            break;
        }
    }
    progress.end(batch, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_large_as_they_may_be_and_no_line_is_left_out() {
        let ends = [10, 20, 30, 100, 110];
        let batch = Batch { bytes: &[0; 110], ends: &ends };
        for (bytes, expected) in [
            (1, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)][..]),
            (20, &[(0, 2), (2, 3), (3, 4), (4, 5)]),
            (30, &[(0, 3), (3, 4), (4, 5)]),
            (80, &[(0, 3), (3, 5)]),
            (110, &[(0, 5)]),
        ] {
            let got: Vec<_> = parts(batch, bytes).into_iter().map(|part| (part.start, part.end)).collect();
            assert_eq!(got, expected, "{bytes}");
        }
        assert!(parts(Batch { bytes: &[], ends: &[] }, 10).is_empty());
    }
}
