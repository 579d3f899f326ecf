//! Where this process is: cgroup, network namespace, command name, CPU; and with whom it ends.

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};
use std::ffi::CString;
use std::fs::{self, File};
use std::path::PathBuf;

/// Options that say where.
#[derive(Args)]
pub(crate) struct SeatArgs {
    /// End when this process, the one that started us, ends.
    #[arg(long)]
    parent: Option<i32>,
    /// Cgroup to enter.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// Network namespace to enter, as a path.
    #[arg(long)]
    netns: Option<PathBuf>,
    /// Command name to take (15 bytes at most).
    #[arg(long)]
    comm: Option<String>,
    /// CPU to stay on.
    #[arg(long)]
    cpu: Option<usize>,
}

impl SeatArgs {
    /// Go there, before anything else is done.
    pub(crate) fn take(&self) -> Result<()> {
        self.parent.map_or(Ok(()), end_with)?;
        // A parent that holds signals back for itself hands that on; what starts here takes them.
        SigSet::all().thread_unblock().context("take signals")?;
        if let Some(cgroup) = &self.cgroup {
            let file = cgroup.join("cgroup.procs");
            fs::write(&file, std::process::id().to_string())
                .with_context(|| format!("enter {}", file.display()))?;
        }
        if let Some(path) = &self.netns {
            let netns = File::open(path).with_context(|| format!("open {}", path.display()))?;
            setns(&netns, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", path.display()))?;
        }
        if let Some(cpu) = self.cpu {
            let mut set = CpuSet::new();
            set.set(cpu).with_context(|| format!("CPU {cpu}"))?;
            sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("stay on CPU {cpu}"))?;
        }
        if let Some(comm) = &self.comm {
            let name = CString::new(comm.as_str()).context("command name")?;
            prctl::set_name(&name).context("take the command name")?;
        }
        Ok(())
    }
}

/// The signal is sent when the parent ends; it may have ended before we asked for it.
fn end_with(parent: i32) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("ask to end with the parent")?;
    if getppid() != Pid::from_raw(parent) {
        bail!("the parent {parent} is gone");
    }
    Ok(())
}
