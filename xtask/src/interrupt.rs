//! Ctrl-C and its kin as a question to ask between steps, so that what was made is also removed.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGINT, SIGTERM and SIGHUP, held back from the moment this is made. The traffic program, and what it
/// becomes, takes them again: the terminal's Ctrl-C reaches the children directly.
#[derive(Debug)]
pub(crate) struct Interrupt(SignalFd);

impl Interrupt {
    /// Hold them back; before any thread is started, so that none is left to take them.
    pub(crate) fn hold() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("hold back signals")?;
        let fd = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
        Ok(Self(fd.context("make a signalfd")?))
    }

    /// An error when one came.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.read_signal().context("read the signalfd")? {
            Some(_) => bail!("interrupted; everything that was made has been removed"),
            None => Ok(()),
        }
    }
}
