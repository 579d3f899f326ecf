//! Whole lines, block by block, out of whatever is read.

use crate::record::read::Summing;
use std::io::{self, Read};

/// The longest line.
pub(in crate::commands) const LONGEST: usize = 1 << 20;

/// Bytes that are read at once: what a processor's nearer caches hold beside what is known of the lines before.
const READ: usize = 1 << 18;

/// What takes lines.
pub(in crate::commands) trait Lines {
    /// Lines of the log in hand. All are whole but perhaps the last of the log, which has no newline then.
    fn block(&mut self, block: &[u8]);
    /// A line that is too long to be handed over.
    fn too_long(&mut self, limit: usize);
    /// Something about the log in hand.
    fn problem(&mut self, what: &str);
}

impl Lines for Summing {
    fn block(&mut self, block: &[u8]) {
        Self::block(self, block);
    }

    fn too_long(&mut self, limit: usize) {
        Self::too_long(self, limit);
    }

    fn problem(&mut self, what: &str) {
        Self::problem(self, what);
    }
}

/// What came of one look at a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Step {
    /// Bytes, and the lines in them.
    Read,
    /// Nothing now; something may come later.
    Nothing,
    /// There is no more. What is left over is held.
    End,
}

/// What was read and not handed over yet.
#[derive(Debug, Default)]
pub(in crate::commands) struct Blocks {
    buffer: Vec<u8>,
    held: usize,
    /// A line is being passed over that is too long.
    passing: bool,
}

impl Blocks {
    /// Read once. What cannot be read is told, and what came before stays.
    pub(in crate::commands) fn step(
        &mut self,
        reader: &mut (impl Read + ?Sized),
        packed: bool,
        lines: &mut (impl Lines + ?Sized),
    ) -> Step {
        let end = LONGEST.min(self.held + READ);
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        match reader.read(self.buffer.get_mut(self.held..end).unwrap_or_default()) {
            Ok(0) => Step::End,
            Ok(read) => {
                self.take(self.held + read, lines);
                Step::Read
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Step::Read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Nothing,
            Err(error) => {
                self.end(lines);
                let what = if packed { "cannot be unpacked" } else { "cannot be read" };
                lines.problem(&format!("{what} any further: {error}; what came before is counted"));
                Step::End
            }
        }
    }

    fn take(&mut self, filled: usize, lines: &mut (impl Lines + ?Sized)) {
        let new = self.buffer.get(self.held..filled);
        let whole = new.and_then(|new| memchr::memrchr(b'\n', new)).map(|place| self.held + place + 1);
        match whole {
            Some(whole) => {
                self.hand_over(whole, lines);
                self.buffer.copy_within(whole..filled, 0);
                self.held = filled - whole;
            }
            None if filled >= LONGEST => {
                if !self.passing {
                    lines.too_long(LONGEST);
                }
                self.passing = true;
                self.held = 0;
            }
            None => self.held = filled,
        }
    }

    /// Hand over what is left: no newline will come.
    pub(in crate::commands) fn end(&mut self, lines: &mut (impl Lines + ?Sized)) {
        self.hand_over(self.held, lines);
        self.held = 0;
    }

    /// Give back the room that is not in use.
    pub(in crate::commands) fn give_back(&mut self) {
        self.buffer.truncate(self.held);
        self.buffer.shrink_to_fit();
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(in crate::commands) fn room(&self) -> usize {
        self.buffer.capacity()
    }

    /// Forget what is left: it goes on otherwise than it began.
    pub(in crate::commands) fn forget(&mut self) {
        (self.held, self.passing) = (0, false);
    }

    fn hand_over(&mut self, end: usize, lines: &mut (impl Lines + ?Sized)) {
        let block = self.buffer.get(..end).unwrap_or_default();
        let passing = std::mem::take(&mut self.passing);
        let begin = match memchr::memchr(b'\n', block) {
            Some(end) if passing => end + 1,
            None if passing => block.len(),
            _ => 0,
        };
        let block = block.get(begin..).unwrap_or_default();
        if !block.is_empty() {
            lines.block(block);
        }
    }
}

/// Hand over all lines that there are.
pub(super) fn feed(mut reader: impl Read, packed: bool, lines: &mut impl Lines) {
    let mut blocks = Blocks::default();
    while blocks.step(&mut reader, packed, lines) != Step::End {}
    blocks.end(lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Taken {
        lines: Vec<String>,
        too_long: usize,
    }

    impl Lines for Taken {
        fn block(&mut self, block: &[u8]) {
            let text = std::str::from_utf8(block).unwrap();
            self.lines.extend(text.split_inclusive('\n').map(|line| line.chars().take(8).collect()));
        }

        fn too_long(&mut self, _: usize) {
            self.too_long += 1;
        }

        fn problem(&mut self, what: &str) {
            self.lines.push(what.to_owned());
        }
    }

    /// So many bytes at a time.
    struct Slowly<'a>(&'a [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let step = self.1.min(into.len());
            self.0.take(u64::try_from(step).unwrap()).read(into).inspect(|read| self.0 = &self.0[*read..])
        }
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let long = format!("{}\n", "x".repeat(LONGEST + 10));
        for (name, text, expected, too_long) in [
            ("nothing", "", &[][..], 0),
            ("whole", "a\nbc\n", &["a\n", "bc\n"], 0),
            ("the last one is torn", "a\nbc", &["a\n", "bc"], 0),
            ("one too long", &format!("a\n{long}b\n"), &["a\n", "b\n"], 1),
            ("the last one too long", &format!("a\n{}", long.trim_end()), &["a\n"], 1),
            ("two too long", &format!("{long}{long}c\n"), &["c\n"], 2),
        ] {
            for step in [1, 7, 100_000, usize::MAX] {
                if step < 100 && text.len() > 100 {
                    continue;
                }
                let mut taken = Taken::default();
                feed(Slowly(text.as_bytes(), step), false, &mut taken);
                assert_eq!(taken.lines, expected, "{name} by {step}");
                assert_eq!(taken.too_long, too_long, "{name} by {step}");
            }
        }
    }
}
