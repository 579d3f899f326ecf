//! `flowlog observe`: the records of a log for people, filtered, several nodes' in one order of time, with its gaps.

mod output;

use super::Called;
use super::observing::{ChoiceArgs, Form, InputArgs, Interrupt, Look, Next, Reading, Sieve};
use crate::report::shown;
use anyhow::bail;
use jiff::Timestamp;
use output::Output;
use std::io::IsTerminal as _;
use std::process::ExitCode;

/// Arguments of `flowlog observe`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    inputs: InputArgs,
    /// Go on with what is written from now on, over rotations by name.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// How records are shown.
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Form::Compact)]
    output: Form,
    /// Whether to colour.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Colour {
    /// Where a terminal shows it, and NO_COLOR is not set.
    Auto,
    Always,
    Never,
}

impl Args {
    fn look(&self) -> Look {
        let stdout = std::io::stdout();
        let colour = match self.color {
            Colour::Auto => anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
            Colour::Always => true,
            Colour::Never => false,
        };
        Look { form: self.output, colour, terminal: stdout.is_terminal() }
    }
}

/// Run the subcommand.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    if args.follow && args.output == Form::Table {
        bail!("a table is for what has an end: with --follow take `-o compact` or `-o wide`");
    }
    let choice = args.choice.choice()?;
    // What was asked for until a time that has passed is there, or never comes.
    let follow = args.follow && choice.until().is_none_or(|until| until > Timestamp::now());
    let reading = args.inputs.open("observe", called, (follow, choice.since()), &mut tell)?;
    let interrupt = if follow { Interrupt::hold(false, || {})? } else { Interrupt::default() };
    let end = End { interrupt, until: choice.until().filter(|_| follow), has_passed: false };
    let look = args.look();
    observe(&mut Sieve::new(choice, Box::new(look)), Output::new(look), reading, end)
}

/// When what follows ends.
struct End {
    interrupt: Interrupt,
    until: Option<Timestamp>,
    /// The time had passed when all that was there was read.
    has_passed: bool,
}

impl End {
    /// Whether it has come. What is written until then is read, so it comes when there is nothing more to read.
    fn came(&mut self, next: &Next) -> bool {
        let waits = matches!(next, Next::Wait(_) | Next::End);
        let has_passed = waits && self.until.is_some_and(|until| Timestamp::now() > until);
        self.interrupt.came() || has_passed && std::mem::replace(&mut self.has_passed, true)
    }
}

/// Show what comes, to its end.
fn observe(
    sieve: &mut Sieve,
    mut output: Output,
    mut reading: Reading,
    mut end: End,
) -> anyhow::Result<ExitCode> {
    let mut items = Vec::new();
    loop {
        let next = reading.next(sieve, &mut items, &mut tell)?;
        let put = output.put(&mut items).and_then(|()| match next {
            Next::Items | Next::Nothing => output.tick(),
            Next::MayWait | Next::Wait(_) | Next::End => output.flush(),
        });
        if let Some(code) = output::ending(put) {
            return Ok(code);
        }
        if end.came(&next) || !reading.goes_on(&next) {
            break;
        }
    }
    reading.rest(&mut items);
    if let Some(code) = output::ending(output.put(&mut items).and_then(|()| output.finish())) {
        return Ok(code);
    }
    sieve.finish().iter().for_each(|line| tell(line));
    let failed = sieve.summary.is_foreign() || (sieve.summary.is_empty() && reading.has_failed());
    Ok(if failed { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// Says something beside the answer.
fn tell(line: &str) {
    super::source::tell(&shown::line(line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn what_follows_ends_when_its_time_has_passed_and_all_of_it_was_read() {
        let end = |seconds: i64| {
            let until = Some(Timestamp::now() + SignedDuration::from_secs(seconds));
            End { interrupt: Interrupt::default(), until, has_passed: false }
        };
        let mut passed = end(-1);
        for (next, expected) in [
            (Next::Items, false),
            (Next::Nothing, false),
            // What was written last is looked for once more.
            (Next::Wait(None), false),
            (Next::Items, false),
            (Next::Wait(None), true),
        ] {
            assert_eq!(passed.came(&next), expected);
        }
        let mut to_come = end(3_600);
        assert!(!to_come.came(&Next::Wait(None)) && !to_come.came(&Next::End));
        let mut without = End { until: None, ..end(0) };
        assert!(!without.came(&Next::Wait(None)) && !without.came(&Next::Wait(None)));
    }
}
