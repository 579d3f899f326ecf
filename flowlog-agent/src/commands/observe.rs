//! `flowlog observe`: the records of a log for people, filtered, several nodes' in one order of time, with its gaps.

mod choice;
mod files;
mod interrupt;
mod live;
mod merge;
mod output;
mod show;
mod sift;

use super::Called;
use super::logs;
use crate::report::shown;
use anyhow::bail;
use choice::ChoiceArgs;
use interrupt::Interrupt;
use live::{Live, LiveArgs};
use merge::{Lane, Merge, Next};
use output::Output;
use show::{Form, Look};
use sift::Sieve;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A followed file is looked at so often.
const LOOK: Duration = Duration::from_millis(100);

/// Arguments of `flowlog observe`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Flow logs: files, folders (all logs in them, rotated and compressed ones, too), or - for standard input; also as
    /// container runtimes keep them (/var/log/pods).
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The same, as other subcommands take them.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    logs: Vec<PathBuf>,
    /// Go on with what is written from now on, over rotations by name.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    live: LiveArgs,
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
    fn has_stdin(&self) -> bool {
        let mut paths = self.paths.iter().chain(&self.logs).peekable();
        paths.peek().is_none() && !self.live.is_asked_for() || paths.any(|path| path == Path::new("-"))
    }

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

/// Logs that may come while others are read.
enum More {
    Nothing,
    Folders(files::Folders),
    Live(Box<Live>),
}

/// Run the subcommand.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    if args.follow && args.output == Form::Table {
        bail!("a table is for what has an end: with --follow take `-o compact` or `-o wide`");
    }
    let choice = args.choice.choice()?;
    let mut paths: Vec<PathBuf> = args.paths.iter().chain(&args.logs).cloned().collect();
    let mut merge = Merge::new(args.follow);
    let live = args.live.is_asked_for() || called == Called::Plugin;
    let more = if paths.is_empty() && live {
        More::Live(Box::new(args.live.begin(args.follow, choice.since())?))
    } else {
        if paths.is_empty() {
            if std::io::stdin().is_terminal() {
                bail!(
                    "no flow logs: give files or folders (flowlog observe PATH), --live for those of the agents in a \
                     cluster, or write them into standard input"
                );
            }
            paths.push("-".into());
        }
        open(paths, &mut merge, args.follow)?
    };
    // A pipe that says nothing is waited for, whatever comes.
    let interrupt = if args.follow && !args.has_stdin() { Interrupt::hold()? } else { Interrupt::default() };
    observe(&mut Sieve::new(choice, args.look()), merge, more, &interrupt)
}

/// Files, and what is to be followed of them.
fn open(mut paths: Vec<PathBuf>, merge: &mut Merge, follow: bool) -> anyhow::Result<More> {
    let absent = if follow { files::absent(&paths) } else { Vec::new() };
    paths.retain(|path| !absent.contains(path));
    let inputs = logs::inputs(&paths)?;
    let more = match follow {
        true => More::Folders(files::Folders::new(&paths, &inputs, files::followed(&inputs))),
        false => More::Nothing,
    };
    files::lanes(inputs, follow).into_iter().for_each(|lane| merge.add(lane));
    for path in absent {
        tell(&format!("{} is not there yet: waiting for it", path.display()));
        merge.add(files::late(&path));
    }
    Ok(more)
}

/// Show what comes, to its end.
fn observe(
    sieve: &mut Sieve,
    mut merge: Merge,
    mut more: More,
    interrupt: &Interrupt,
) -> anyhow::Result<ExitCode> {
    let mut output = Output::new(sieve.look);
    let mut items = Vec::new();
    while !interrupt.came() {
        more.look()?.into_iter().for_each(|lane| merge.add(lane));
        let next = merge.next(sieve, &mut items);
        let put = output.put(&mut items).and_then(|()| match next {
            Next::Items | Next::Nothing => output.tick(),
            Next::MayWait | Next::Wait(_) | Next::End => output.flush(),
        });
        if let Some(code) = output::ending(put) {
            return Ok(code);
        }
        sieve.summary.take_problems().iter().for_each(|line| tell(line));
        match next {
            Next::End if more.is_over() => break,
            Next::End => more.wait(LOOK),
            Next::Wait(limit) => {
                more.wait(limit.map_or(LOOK, |limit| limit.min(LOOK)));
                merge.wake();
            }
            Next::Items | Next::Nothing | Next::MayWait => {}
        }
    }
    if let Some(code) = output::ending(output.finish()) {
        return Ok(code);
    }
    sieve.finish().iter().for_each(|line| tell(line));
    let failed = sieve.summary.is_foreign() || (sieve.summary.is_empty() && more.has_failed());
    Ok(if failed { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

impl More {
    /// Logs that came since.
    fn look(&mut self) -> anyhow::Result<Vec<Lane>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Folders(folders) => Ok(folders.look()),
            Self::Live(live) => live.look(),
        }
    }

    /// None will come.
    fn is_over(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Folders(folders) => folders.is_empty(),
            Self::Live(live) => live.is_over(),
        }
    }

    /// What there is could not be read.
    fn has_failed(&self) -> bool {
        matches!(self, Self::Live(live) if live.has_failed())
    }

    fn wait(&self, limit: Duration) {
        match self {
            Self::Nothing | Self::Folders(_) => pause(limit),
            Self::Live(live) => live.wait(limit),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "files do not tell when they grow")]
fn pause(limit: Duration) {
    std::thread::sleep(limit);
}

/// Says something beside the answer.
fn tell(line: &str) {
    super::source::tell(&shown::line(line));
}
