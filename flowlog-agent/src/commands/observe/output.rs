//! Where it is shown: standard output, written when somebody would wait for it, a reader that left being no failure.

use super::{Form, Look};
use crate::commands::observing::{Item, Out, Table};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::io::{self, BufWriter, Stdout, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is written waits no longer than that, however much is read meanwhile.
const SOON: Duration = Duration::from_millis(20);

/// Standard output.
pub(super) struct Output {
    out: BufWriter<Stdout>,
    look: Look,
    table: Table,
    width: Option<usize>,
    /// The day that times are of.
    day: Option<Date>,
    /// Since when something waits.
    since: Option<Instant>,
}

impl Output {
    pub(super) fn new(look: Look) -> Self {
        let width = look.terminal.then(terminal_width);
        let out = BufWriter::with_capacity(1 << 16, io::stdout());
        Self { out, look, table: Table::default(), width, day: None, since: None }
    }

    /// Write these.
    pub(super) fn put(&mut self, items: &mut Vec<Item>) -> io::Result<()> {
        for item in items.drain(..) {
            self.since.get_or_insert_with(Instant::now);
            if self.look.form == Form::Compact {
                self.turn_day(&item)?;
            }
            match item.out {
                Out::Line(line) => self.out.write_all(&line)?,
                Out::Cells(cells, style) => {
                    let page = self.table.add(cells, style, self.width, self.look.colour);
                    self.out.write_all(page.unwrap_or_default().as_bytes())?;
                }
                Out::Notice(text) => super::tell(&text),
            }
        }
        Ok(())
    }

    /// A short time is one of a day that was named before.
    fn turn_day(&mut self, item: &Item) -> io::Result<()> {
        let day = item.time.to_zoned(TimeZone::UTC).date();
        if self.day != Some(day) {
            self.day = Some(day);
            let (dimmed, end) = match self.look.colour {
                true => ("\u{1b}[2m", "\u{1b}[0m"),
                false => ("", ""),
            };
            writeln!(self.out, "{dimmed}-- {day} (UTC){end}")?;
        }
        Ok(())
    }

    /// What waits long enough is written.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        match self.since {
            Some(since) if since.elapsed() >= SOON => self.flush(),
            _ => Ok(()),
        }
    }

    /// Nothing waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.since.take().is_some() {
            self.out.flush()?;
        }
        Ok(())
    }

    /// All of it, to its end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if !self.table.is_empty() {
            let page = self.table.page(self.width, self.look.colour);
            self.out.write_all(page.as_bytes())?;
        }
        self.out.flush()
    }
}

/// Columns of the terminal; where it does not tell, the narrowest that is common.
fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(80, |(terminal_size::Width(width), _)| usize::from(width))
}

/// The exit code where no more can be written.
pub(super) fn ending(written: io::Result<()>) -> Option<ExitCode> {
    match written {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(ExitCode::SUCCESS),
        Err(error) => {
            super::tell(&format!("cannot write the answer to standard output: {error}"));
            Some(ExitCode::from(2))
        }
    }
}
