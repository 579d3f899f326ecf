//! What a user would otherwise run: tools of Debian's that show the same, on the same hooks.
//!
//! They attach by tracefs, which is mounted for each of them in a mount namespace of its own: the machine's mounts stay
//! as they are.

use crate::command::is_installed;
use crate::setup;
use anyhow::{Context, Result, bail};
use flowlog_tests::traffic::process::{self, Held};
use flowlog_tests::traffic::step::Seat;
use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Compiling a script and attaching takes a second or two.
const START: Duration = Duration::from_secs(30);

/// A tool.
pub(super) struct Rival {
    /// As it stands in the result.
    pub(super) name: &'static str,
    /// The command and its arguments.
    pub(super) command: &'static [&'static str],
    /// Debian's package.
    pub(super) package: &'static str,
}

/// A script of bpftrace's that prints what it has counted each second.
pub(super) const fn bpftrace(name: &'static str, command: &'static [&'static str]) -> Rival {
    Rival { name, command, package: "bpftrace" }
}

/// Install what is missing.
pub(super) fn install(rivals: &[Rival]) -> Result<()> {
    let is_missing = |rival: &&Rival| rival.command.first().is_some_and(|command| !is_installed(command));
    let mut missing: Vec<&str> = rivals.iter().filter(is_missing).map(|rival| rival.package).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    setup::install_packages(&missing, "to measure flowlog beside them")
}

/// A tool that runs, what it says going to a file; killed when dropped.
pub(super) struct Running {
    name: &'static str,
    folder: tempfile::TempDir,
    process: std::cell::RefCell<Held>,
}

const SAID: &str = "said";
const COMPLAINED: &str = "complained";

impl Running {
    pub(super) fn start(rival: &Rival, seat: &Seat) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for what a tool says")?;
        let file =
            |name: &str| File::create(folder.path().join(name)).context("make a file for what a tool says");
        let child = process::command(seat)?
            .args(["exec", "--", "unshare", "--mount", "--propagation", "private", "sh", "-c"])
            .args(["mount -t tracefs tracefs /sys/kernel/tracing && exec \"$@\"", "sh"])
            .args(rival.command)
            .stdin(Stdio::null())
            .stdout(file(SAID)?)
            .stderr(file(COMPLAINED)?)
            .spawn()
            .with_context(|| format!("start {}", rival.name))?;
        Ok(Self { name: rival.name, folder, process: Held::new(child).into() })
    }

    /// Have work done until the tool says something of it: it prints a heading, at most, of its own.
    pub(super) fn wait_until_it_sees(&self, mut work: impl FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + START;
        while self.lines(SAID)? < 3 {
            if self.process.borrow_mut().child().try_wait().context("look at the tool")?.is_some() {
                let said = fs::read_to_string(self.folder.path().join(COMPLAINED)).unwrap_or_default();
                let said = said.lines().rev().take(4).collect::<Vec<_>>().join(" / ");
                bail!("{} does not run here: {said}", self.name);
            }
            if Instant::now() > deadline {
                bail!("{} says nothing of what is done", self.name);
            }
            work()?;
        }
        Ok(())
    }

    fn lines(&self, name: &str) -> Result<usize> {
        let path = self.folder.path().join(name);
        Ok(fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?.lines().count())
    }
}
