//! Network namespaces without names: each lives as long as the open file that holds it.
//!
//! Nothing is mounted under /run/netns, so nothing can stay behind: when this process ends, in whatever
//! way, the kernel takes the namespaces with it. Others enter by `/proc/<pid>/fd/<n>`.

use crate::program;
use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::thread;

/// A network namespace of ours.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Make one with its loopback up; `name` is for error messages alone.
    pub fn create(name: &str) -> Result<Self> {
        let file = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (root is needed)")?;
            File::open("/proc/thread-self/ns/net").context("open the new network namespace")
        })
        .with_context(|| format!("network namespace of {name}"))?;
        let netns = Self { name: name.to_owned(), file };
        netns.ip(&["link set lo up"])?;
        Ok(netns)
    }

    /// Path by which another process enters it, while this process lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// Do something inside. It runs on a thread of its own that ends with it: a child started here that
    /// asks to die with its parent would die at once.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).context("enter it")?;
            work()
        })
        .with_context(|| format!("in the network namespace of {}", self.name))
    }

    /// Run lines of `ip -batch`.
    pub fn ip<S: AsRef<str>>(&self, lines: &[S]) -> Result<()> {
        let batch: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
        self.inside(|| program::run("ip", "iproute2", &["-batch", "-"], &batch)).map(drop)
    }

    /// What `ip` with these arguments prints.
    pub fn ip_shows(&self, args: &[&str]) -> Result<String> {
        let output = self.inside(|| program::run("ip", "iproute2", args, ""))?;
        String::from_utf8(output.stdout).context("output of `ip`")
    }

    /// Load an nftables ruleset.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        self.inside(|| program::run("nft", "nftables", &["-f", "-"], ruleset)).map(drop)
    }

    /// Set sysctls under /proc/sys/net; they are this namespace's own.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.inside(|| {
            settings.iter().try_for_each(|(key, value)| {
                let path = format!("/proc/sys/net/{key}");
                std::fs::write(&path, value).with_context(|| format!("write {value} to {path}"))
            })
        })
    }
}

/// A namespace belongs to a thread: a thread that changes its own must not come back to the pool.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join().map_err(|_| anyhow!("the thread panicked"))?)
}
