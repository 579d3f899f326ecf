//! Facts about this host, read from files under a root path (`/`, or a fake tree in tests): kernel, BTF,
//! cgroup2 and bpffs mounts, capabilities, lockdown. What follows from them is for `check` and `load`.

use super::btf::{BtfError, KernelTypes, VMLINUX};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What could be learned about a host. A fact that cannot be read is kept as the error it gave.
pub struct Host {
    /// The running kernel.
    pub kernel: Result<Kernel, HostError>,
    /// The kernel's own types.
    pub types: Result<KernelTypes, BtfError>,
    /// The mount table, as far as flowlog reads it.
    pub mounts: Result<Mounts, HostError>,
    /// What this process may do.
    pub privileges: Result<Privileges, HostError>,
    /// Most memory that this process may lock; absent where nothing limits it, or that cannot be read.
    pub locked_bytes: Option<u64>,
    /// Kernel lockdown; absent where the kernel does not show it.
    pub lockdown: Option<Lockdown>,
}

/// Why a fact could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not say what was looked for.
    #[error("{} has no {what}", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// A kernel release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As the kernel says it (`6.18.44-generic`).
    pub release: String,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// Mounts that flowlog cares about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Mount points of cgroup2, best first: those that show the whole hierarchy, in the order of the table.
    pub cgroup2: Vec<PathBuf>,
    /// Some controllers are on the old hierarchy (hybrid layout).
    pub cgroup1: bool,
    /// Where bpffs is mounted.
    pub bpffs: Option<PathBuf>,
}

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Effective capabilities.
    pub effective: u64,
    /// False in a user namespace, whose capabilities do not count for BPF.
    pub initial_user_namespace: bool,
}

/// How far the kernel is locked down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Not at all.
    None,
    /// Against changes.
    Integrity,
    /// Against changes and against reading kernel memory.
    Confidentiality,
}

/// A capability that flowlog may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Name as people write it.
    pub name: &'static str,
    bit: u32,
}

/// What loading and attaching takes.
pub const NEEDED: [Capability; 3] = [
    Capability { name: "CAP_BPF", bit: 39 },
    Capability { name: "CAP_PERFMON", bit: 38 },
    Capability { name: "CAP_NET_ADMIN", bit: 12 },
];

/// Lifts limits of resources.
const SYS_RESOURCE: Capability = Capability { name: "CAP_SYS_RESOURCE", bit: 24 };

/// Before this kernel, maps count against the limit of locked memory.
const UNLIMITED_SINCE: &str = "5.11";

/// What the kernel half's rings and tables take by default, and a little.
const LEAST_LOCKED_BYTES: u64 = 32 << 20;

/// Stands for all of them.
const SYS_ADMIN: Capability = Capability { name: "CAP_SYS_ADMIN", bit: 21 };

impl Privileges {
    fn has(self, capability: Capability) -> bool {
        self.effective & (1 << capability.bit) != 0
    }

    /// What is missing for loading and attaching.
    pub fn missing(self) -> Vec<&'static str> {
        if self.has(SYS_ADMIN) {
            return Vec::new();
        }
        NEEDED.into_iter().filter(|needed| !self.has(*needed)).map(|needed| needed.name).collect()
    }
}

impl Privileges {
    /// What is held beside what loading and attaching takes, by name, in order.
    pub fn surplus(self) -> Vec<String> {
        let held = caps::all().into_iter().filter(|one| self.effective & one.bitmask() != 0);
        let mut names: Vec<String> = held.map(|one| one.to_string()).collect();
        names.retain(|name| !NEEDED.iter().any(|needed| needed.name == name));
        names.sort();
        names
    }
}

/// Whether the kernel will refuse the maps for want of memory that may be locked. Who may lift the limit does so.
pub fn limits_maps(kernel: &Kernel, privileges: Privileges, locked_bytes: Option<u64>) -> bool {
    !kernel.is_at_least(UNLIMITED_SINCE)
        && !privileges.has(SYS_RESOURCE)
        && locked_bytes.is_some_and(|limit| limit < LEAST_LOCKED_BYTES)
}

impl Kernel {
    /// Whether this kernel is so new; `version` as hooks write it (`5.10`).
    pub fn is_at_least(&self, version: &str) -> bool {
        parse_version(version).is_some_and(|wanted| self.version >= wanted)
    }
}

impl Host {
    /// Read every fact.
    pub fn read(root: &Path) -> Self {
        Self {
            kernel: read_kernel(root),
            types: KernelTypes::read(&under(root, VMLINUX)),
            mounts: read_mounts(root),
            privileges: read_privileges(root),
            locked_bytes: read_locked_limit(root),
            lockdown: fs::read_to_string(under(root, "/sys/kernel/security/lockdown"))
                .ok()
                .and_then(|text| parse_lockdown(&text)),
        }
    }
}

/// Read the running kernel's release.
pub fn read_kernel(root: &Path) -> Result<Kernel, HostError> {
    let (path, text) = read(root, "/proc/sys/kernel/osrelease")?;
    let release = text.trim().to_owned();
    let version = parse_version(&release).ok_or(HostError::Absent { path, what: "kernel version" })?;
    Ok(Kernel { release, version })
}

/// Read the mount table of this process.
pub fn read_mounts(root: &Path) -> Result<Mounts, HostError> {
    let (_, text) = read(root, "/proc/self/mountinfo")?;
    Ok(parse_mounts(&text))
}

/// Read this process's capabilities.
pub fn read_privileges(root: &Path) -> Result<Privileges, HostError> {
    let (path, text) = read(root, "/proc/self/status")?;
    let effective = text
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .ok_or(HostError::Absent { path, what: "effective capabilities (CapEff)" })?;
    // Without the file the kernel has no user namespaces.
    let map = read(root, "/proc/self/uid_map").map(|(_, text)| text).unwrap_or_default();
    let words: Vec<&str> = map.split_whitespace().collect();
    let initial_user_namespace = words.is_empty() || words == ["0", "0", "4294967295"];
    Ok(Privileges { effective, initial_user_namespace })
}

/// Read how much memory this process may lock; absent where nothing limits it, or that cannot be read.
pub fn read_locked_limit(root: &Path) -> Option<u64> {
    let (_, text) = read(root, "/proc/self/limits").ok()?;
    let limits = text.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    limits.split_whitespace().next()?.parse().ok()
}

/// Addresses of this network namespace's interfaces, loopback and link-local ones left out: beside the node's
/// address these are its bridges' and tunnels', from which the kubelet probes pods.
///
/// # Errors
/// The kernel does not list them.
pub fn read_addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    Ok(addresses.filter(|ip| !ip.is_loopback() && !is_link_local(*ip)).collect())
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// A path of the host, under another root.
pub fn under(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn read(root: &Path, path: &str) -> Result<(PathBuf, String), HostError> {
    let path = under(root, path);
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(HostError::Read { path, source }),
    }
}

/// The first two numbers of a release.
fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn parse_lockdown(text: &str) -> Option<Lockdown> {
    let chosen = text.split_whitespace().find(|word| word.starts_with('['))?;
    match chosen {
        "[none]" => Some(Lockdown::None),
        "[integrity]" => Some(Lockdown::Integrity),
        "[confidentiality]" => Some(Lockdown::Confidentiality),
        _ => None,
    }
}

/// Format: proc_pid_mountinfo(5); optional fields end at a lone `-`.
fn parse_mounts(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    let mut parts_of_cgroup2 = Vec::new();
    for line in text.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let mut fields = front.split(' ').skip(3);
        let (Some(shown), Some(point)) = (fields.next(), fields.next()) else { continue };
        let point = unescape(point);
        match back.split(' ').next() {
            Some("cgroup2") if shown == "/" => mounts.cgroup2.push(point),
            Some("cgroup2") => parts_of_cgroup2.push(point),
            Some("cgroup") => mounts.cgroup1 = true,
            Some("bpf") if mounts.bpffs.is_none() => mounts.bpffs = Some(point),
            _ => {}
        }
    }
    mounts.cgroup2.extend(parts_of_cgroup2);
    mounts
}

/// Blanks and backslashes stand as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut path = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        path.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(code.map_or('\\', char::from));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    path.push_str(rest);
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_limit_maps_unless_the_limit_can_be_lifted() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        let limit = |text: &str| {
            let line =
                format!("Limit  Soft Limit  Hard Limit  Units\nMax locked memory         {text}  9  bytes\n");
            fs::write(root.path().join("proc/self/limits"), line).unwrap();
            read_locked_limit(root.path())
        };
        let (small, none) = (limit("65536"), limit("unlimited"));
        assert_eq!((small, none), (Some(65_536), None));
        let kernel = |minor| Kernel { release: String::new(), version: (5, minor) };
        let with = |effective| Privileges { effective, initial_user_namespace: true };
        let three = NEEDED.iter().fold(0, |held, one| held | 1 << one.bit);
        for (minor, effective, locked, refused) in [
            (10, three, small, true),
            (10, three | 1 << SYS_RESOURCE.bit, small, false),
            (10, three, none, false),
            (10, three, Some(64 << 20), false),
            (11, three, small, false),
        ] {
            let found = limits_maps(&kernel(minor), with(effective), locked);
            assert_eq!(found, refused, "5.{minor} {effective:x} {locked:?}");
        }
    }

    #[test]
    fn cgroup2_is_found_wherever_it_is_mounted() {
        for (name, table, expected) in [
            (
                "unified",
                "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
                Mounts { cgroup2: vec!["/sys/fs/cgroup".into()], ..Mounts::default() },
            ),
            (
                "hybrid",
                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                 41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
                Mounts { cgroup2: vec!["/sys/fs/cgroup/unified".into()], cgroup1: true, bpffs: None },
            ),
            (
                "a part of it mounted first",
                "40 31 0:38 /kubepods /mnt/pods rw - cgroup2 none rw\n\
                 41 31 0:38 / /mnt/my\\040cgroups rw - cgroup2 none rw\n\
                 42 31 0:39 / /sys/fs/bpf rw - bpf bpf rw",
                Mounts {
                    cgroup2: vec!["/mnt/my cgroups".into(), "/mnt/pods".into()],
                    cgroup1: false,
                    bpffs: Some("/sys/fs/bpf".into()),
                },
            ),
            (
                "only the old one",
                "32 31 0:29 / /c rw - cgroup cgroup rw,cpu",
                Mounts { cgroup1: true, ..Mounts::default() },
            ),
            ("lines that are none", "\n- cgroup2\n1 2 3\n", Mounts::default()),
        ] {
            assert_eq!(parse_mounts(table), expected, "{name}");
        }
    }

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        for (release, expected) in [
            ("6.18.44-generic", Some((6, 18))),
            ("5.10.0-28-amd64", Some((5, 10))),
            ("5.4", Some((5, 4))),
            ("6.1-rc3", Some((6, 1))),
            ("unknown", None),
            ("6", None),
        ] {
            assert_eq!(parse_version(release), expected, "{release}");
        }
        let kernel = Kernel { release: "5.10.3".into(), version: (5, 10) };
        assert!(kernel.is_at_least("5.10") && kernel.is_at_least("5.8") && kernel.is_at_least("4.19"));
        assert!(!kernel.is_at_least("5.17") && !kernel.is_at_least("6.1"));
    }

    #[test]
    fn administrators_need_nothing_else() {
        for (name, effective, missing) in [
            ("root", u64::MAX, vec![]),
            ("sys_admin alone", 1 << 21, vec![]),
            ("the three", 1 << 39 | 1 << 38 | 1 << 12, vec![]),
            ("no perfmon", 1 << 39 | 1 << 12, vec!["CAP_PERFMON"]),
            ("nothing", 0, vec!["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]),
        ] {
            assert_eq!(Privileges { effective, initial_user_namespace: true }.missing(), missing, "{name}");
        }
    }

    #[test]
    fn what_is_held_beside_what_is_needed_is_named() {
        for (name, effective, surplus) in [
            ("the three", 1 << 39 | 1 << 38 | 1 << 12, vec![]),
            ("two more", 1 << 39 | 1 << 38 | 1 << 12 | 1 << 21 | 1, vec!["CAP_CHOWN", "CAP_SYS_ADMIN"]),
            ("bits that no capability has", 1 << 60, vec![]),
        ] {
            assert_eq!(Privileges { effective, initial_user_namespace: true }.surplus(), surplus, "{name}");
        }
        assert_eq!(Privileges { effective: u64::MAX, initial_user_namespace: true }.surplus().len(), 38);
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        assert_eq!(parse_lockdown("[none] integrity confidentiality\n"), Some(Lockdown::None));
        assert_eq!(parse_lockdown("none [integrity] confidentiality\n"), Some(Lockdown::Integrity));
        assert_eq!(parse_lockdown("none integrity [confidentiality]\n"), Some(Lockdown::Confidentiality));
        assert_eq!(parse_lockdown("garbage"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let host = Host::read(Path::new("/"));
        assert!(host.kernel.is_ok(), "every Linux has a release");
        assert!(host.mounts.is_ok(), "every Linux has a mount table");
        assert!(host.privileges.is_ok(), "every Linux has capabilities");
    }
}
