//! Cgroups of a node as kubelet lays them out, in a subtree of our own.

use crate::wait;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Subtrees are named `flowlog-world.<pid>.<start time of that pid>.<n>`: whose they are can be told later.
const PREFIX: &str = "flowlog-world.";

/// How long a cgroup may stay busy after its last process was reaped.
const SETTLE: Duration = Duration::from_secs(5);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How cgroups of pods are named: kubelet's `cgroupDriver`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// `kubepods/besteffort/pod<uid>/<id>`.
    #[default]
    Cgroupfs,
    /// `kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<uid>.slice/cri-containerd-<id>.scope`.
    Systemd,
}

/// Quality of service of a pod; it decides where its cgroup lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Qos {
    /// Right under `kubepods`.
    Guaranteed,
    /// Under `burstable`.
    Burstable,
    /// Under `besteffort`.
    #[default]
    BestEffort,
}

impl Qos {
    fn part(self) -> Option<&'static str> {
        match self {
            Self::Guaranteed => None,
            Self::Burstable => Some("burstable"),
            Self::BestEffort => Some("besteffort"),
        }
    }
}

/// Path of a pod's cgroup below the node's root.
pub fn pod_path(naming: Naming, qos: Qos, uid: &str) -> PathBuf {
    match (naming, qos.part()) {
        (Naming::Cgroupfs, None) => PathBuf::from(format!("kubepods/pod{uid}")),
        (Naming::Cgroupfs, Some(part)) => PathBuf::from(format!("kubepods/{part}/pod{uid}")),
        (Naming::Systemd, part) => {
            let uid = uid.replace('-', "_");
            let parent = part.map_or("kubepods".to_owned(), |part| format!("kubepods-{part}"));
            let above = part.map_or(PathBuf::from("kubepods.slice"), |_| {
                Path::new("kubepods.slice").join(format!("{parent}.slice"))
            });
            above.join(format!("{parent}-pod{uid}.slice"))
        }
    }
}

/// Name of a container's cgroup in its pod's; `runtime` is the scheme of `containerID`.
pub fn container_name(naming: Naming, runtime: &str, id: &str) -> String {
    match (naming, runtime) {
        (Naming::Cgroupfs, _) => id.to_owned(),
        (Naming::Systemd, "cri-o") => format!("crio-{id}.scope"),
        (Naming::Systemd, "docker") => format!("docker-{id}.scope"),
        (Naming::Systemd, _) => format!("cri-containerd-{id}.scope"),
    }
}

/// Where cgroup v2 is mounted: the whole hierarchy, or beside v1 (hybrid).
pub fn find_mount() -> Result<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    mount_in(&table)
        .context("no cgroup2 mount in /proc/self/mountinfo: mount one (`mount -t cgroup2 none DIR`)")
}

fn mount_in(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ")
            .then(|| mount.split(' ').nth(4).map(|path| unescape(path).into()))
            .flatten()
    })
}

/// The kernel writes space, tab, newline and backslash as octal.
fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (code, sign)| path.replace(code, sign))
}

/// A subtree under the real mount; removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Subtree {
    top: PathBuf,
}

impl Subtree {
    /// Make one, after removing those of processes that are gone.
    pub fn create() -> Result<Self> {
        let mount = find_mount()?;
        remove_leftovers(&mount)?;
        let pid = std::process::id();
        let start = start_of(pid).context("start time of this process")?;
        let top = mount.join(format!("{PREFIX}{pid}.{start}.{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&top).with_context(|| format!("make cgroup {} (root is needed)", top.display()))?;
        Ok(Self { top })
    }

    /// The directory of the subtree.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// Make a cgroup and those above it.
    pub fn make(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.top.join(path);
        fs::create_dir_all(&path).with_context(|| format!("make cgroup {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Subtree {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.top) {
            eprintln!("leaving cgroup {} behind: {error:#}", self.top.display());
        }
    }
}

/// Remove a cgroup and all below it, deepest first, once its processes are gone.
pub fn remove(cgroup: &Path) -> Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("read {}", cgroup.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", cgroup.display()))?;
        if entry.file_type().with_context(|| format!("look at {}", entry.path().display()))?.is_dir() {
            remove(&entry.path())?;
        }
    }
    wait::until(&format!("remove cgroup {}", cgroup.display()), SETTLE, || match fs::remove_dir(cgroup) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        other => other.map(|()| true).with_context(|| format!("remove {}", cgroup.display())),
    })
}

/// A process that was killed outright could not clean up; its children died with it.
fn remove_leftovers(mount: &Path) -> Result<()> {
    for entry in fs::read_dir(mount).with_context(|| format!("read {}", mount.display()))? {
        let entry = entry.with_context(|| format!("read {}", mount.display()))?;
        if entry.file_name().to_str().and_then(owner).is_some_and(|(pid, start)| start_of(pid) != Some(start))
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn owner(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Start time of a process in ticks since boot: with the pid it names a process once and for all.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in brackets and may hold anything; starttime is field 22, the 20th after it.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_lie_where_kubelet_puts_them() {
        let uid = "0aa1-bb";
        let table = [
            (Naming::Cgroupfs, Qos::BestEffort, "kubepods/besteffort/pod0aa1-bb"),
            (Naming::Cgroupfs, Qos::Guaranteed, "kubepods/pod0aa1-bb"),
            (
                Naming::Systemd,
                Qos::Burstable,
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0aa1_bb.slice",
            ),
            (Naming::Systemd, Qos::Guaranteed, "kubepods.slice/kubepods-pod0aa1_bb.slice"),
        ];
        for (naming, qos, expected) in table {
            assert_eq!(pod_path(naming, qos, uid), PathBuf::from(expected), "{naming:?} {qos:?}");
        }
    }

    #[test]
    fn a_scope_carries_the_runtime() {
        assert_eq!(container_name(Naming::Systemd, "containerd", "ab"), "cri-containerd-ab.scope");
        assert_eq!(container_name(Naming::Systemd, "cri-o", "ab"), "crio-ab.scope");
        assert_eq!(container_name(Naming::Cgroupfs, "containerd", "ab"), "ab");
    }

    #[test]
    fn the_mount_is_found_beside_version_one() {
        let table = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                     32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     41 31 0:38 / /sys/fs/cgroup/my\\040place rw shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(table), Some(PathBuf::from("/sys/fs/cgroup/my place")));
        assert_eq!(mount_in("1 2 0:3 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn a_name_tells_its_owner() {
        assert_eq!(owner("flowlog-world.12.345.0"), Some((12, 345)));
        assert_eq!(owner("system.slice"), None);
        assert_eq!(owner("flowlog-world.x.345.0"), None);
    }

    #[test]
    fn this_process_has_a_start_time_and_a_free_pid_has_none() {
        assert!(start_of(std::process::id()).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_of(u32::MAX), None);
    }
}
