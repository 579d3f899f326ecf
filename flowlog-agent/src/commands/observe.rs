//! `flowlog observe`: the records of a log for people, filtered, several nodes' in one order of time, with its gaps.

mod output;

use super::Called;
use super::observing::{ChoiceArgs, Form, InputArgs, Interrupt, Look, Next, Reading, Sieve};
use crate::report::shown;
use anyhow::bail;
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
    let reading = args.inputs.open("observe", called, (args.follow, choice.since()), &mut tell)?;
    // A pipe that says nothing is waited for, whatever comes.
    let interrupt = if args.follow && !args.inputs.has_stdin() {
        Interrupt::hold(false, || {})?
    } else {
        Interrupt::default()
    };
    let look = args.look();
    observe(&mut Sieve::new(choice, Box::new(look)), Output::new(look), reading, &interrupt)
}

/// Show what comes, to its end.
fn observe(
    sieve: &mut Sieve,
    mut output: Output,
    mut reading: Reading,
    interrupt: &Interrupt,
) -> anyhow::Result<ExitCode> {
    let mut items = Vec::new();
    while !interrupt.came() {
        let next = reading.next(sieve, &mut items, &mut tell)?;
        let put = output.put(&mut items).and_then(|()| match next {
            Next::Items | Next::Nothing => output.tick(),
            Next::MayWait | Next::Wait(_) | Next::End => output.flush(),
        });
        if let Some(code) = output::ending(put) {
            return Ok(code);
        }
        if !reading.goes_on(&next) {
            break;
        }
    }
    if let Some(code) = output::ending(output.finish()) {
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
