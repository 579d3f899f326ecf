//! Logs that are read for people: what is given, which records of it, in one order of time, with what is missing.
//!
//! `observe` shows the records one by one, `top` sums them up.

mod choice;
mod files;
mod interrupt;
mod live;
mod merge;
mod show;
mod sift;

pub(super) use choice::{Choice, ChoiceArgs, RowFacts, read_pair};
pub(super) use interrupt::Interrupt;
pub(super) use merge::Next;
pub(super) use show::{Form, Look, Out, Table, ends, loss_text};
pub(super) use sift::{Item, Sieve, Taker};

use super::Called;
use super::logs;
use anyhow::bail;
use jiff::Timestamp;
use live::{Live, LiveArgs};
use merge::{Lane, Merge};
use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

/// A followed file is looked at so often.
const LOOK: Duration = Duration::from_millis(100);

/// What is read.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct InputArgs {
    /// Flow logs: files, folders (all logs in them, rotated and compressed ones, too), or - for standard input; also as
    /// container runtimes keep them (/var/log/pods).
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The same, as other subcommands take them.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    live: LiveArgs,
}

/// Logs that may come while others are read.
enum More {
    Nothing,
    Folders(files::Folders),
    Live(Box<Live>),
}

/// What was opened, on its way to its end.
pub(super) struct Reading {
    merge: Merge,
    more: More,
    /// Nodes of several clusters are among it.
    several: bool,
}

impl InputArgs {
    /// What is read, in words.
    pub(super) fn name(&self, called: Called) -> String {
        let paths: Vec<String> =
            self.paths.iter().chain(&self.logs).map(|path| path.display().to_string()).collect();
        match &paths[..] {
            [] if self.live.is_asked_for() || called == Called::Plugin => {
                "the agents in the cluster".to_owned()
            }
            [] => "standard input".to_owned(),
            [path] if path == "-" => "standard input".to_owned(),
            _ => paths.join(" "),
        }
    }

    /// Begin to read; `name` is that of the subcommand, `tell` is told what is not there yet.
    pub(super) fn open(
        &self,
        name: &str,
        called: Called,
        (follow, since): (bool, Option<Timestamp>),
        tell: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Reading> {
        let mut paths: Vec<PathBuf> = self.paths.iter().chain(&self.logs).cloned().collect();
        let mut merge = Merge::new(follow);
        let live = self.live.is_asked_for() || called == Called::Plugin;
        let (more, several) = if paths.is_empty() && live {
            (More::Live(Box::new(self.live.begin(follow, since)?)), false)
        } else {
            if paths.is_empty() {
                if std::io::stdin().is_terminal() {
                    bail!(
                        "no flow logs: give files or folders (flowlog {name} PATH), --live for those of the agents in a \
                         cluster, or write them into standard input"
                    );
                }
                paths.push("-".into());
            }
            open(paths, &mut merge, follow, tell)?
        };
        Ok(Reading { merge, more, several })
    }
}

/// Files, and what is to be followed of them.
fn open(
    mut paths: Vec<PathBuf>,
    merge: &mut Merge,
    follow: bool,
    tell: &mut dyn FnMut(&str),
) -> anyhow::Result<(More, bool)> {
    let absent = if follow { files::absent(&paths) } else { Vec::new() };
    paths.retain(|path| !absent.contains(path));
    let inputs = logs::inputs(&paths)?;
    let more = match follow {
        true => More::Folders(files::Folders::new(&paths, &inputs, files::followed(&inputs))),
        false => More::Nothing,
    };
    let clusters: BTreeSet<Option<String>> = inputs
        .iter()
        .filter(|input| input.begins.node.is_some())
        .map(|input| input.begins.cluster.clone())
        .collect();
    files::lanes(inputs, follow).into_iter().for_each(|lane| merge.add(lane));
    for path in absent {
        tell(&format!("{} is not there yet: waiting for it", path.display()));
        merge.add(files::late(&path));
    }
    Ok((more, clusters.len() > 1))
}

impl Reading {
    /// Go on a bit; what is to be shown is put into `items`, what cannot be read is told.
    pub(super) fn next(
        &mut self,
        sieve: &mut Sieve,
        items: &mut Vec<Item>,
        tell: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Next> {
        if std::mem::take(&mut self.several) {
            sieve.of_several_clusters();
        }
        self.more.look(tell)?.into_iter().for_each(|lane| self.merge.add(lane));
        let next = self.merge.next(sieve, items);
        sieve.summary.take_problems().iter().for_each(|line| tell(line));
        Ok(next)
    }

    /// What is held, where nobody goes on.
    pub(super) fn rest(&mut self, items: &mut Vec<Item>) {
        self.merge.rest(items);
    }

    /// Wait where there is something to wait for; false at the end.
    pub(super) fn goes_on(&mut self, next: &Next) -> bool {
        match next {
            Next::End if self.more.is_over() => return false,
            Next::End => self.more.wait(LOOK),
            Next::Wait(limit) => {
                self.more.wait(limit.map_or(LOOK, |limit| limit.min(LOOK)));
                self.merge.wake();
            }
            Next::Items | Next::Nothing | Next::MayWait => {}
        }
        true
    }

    /// What there is could not be read.
    pub(super) fn has_failed(&self) -> bool {
        matches!(&self.more, More::Live(live) if live.has_failed())
    }
}

impl More {
    /// Logs that came since.
    fn look(&mut self, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<Lane>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Folders(folders) => Ok(folders.look()),
            Self::Live(live) => live.look(tell),
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

#[cfg(test)]
mod tests;
