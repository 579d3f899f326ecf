//! Which cgroup belongs to which pod: a scan of the tree at start, events from then on; what went is kept for a
//! while, since its last connections are still being told.

use super::decode::CgroupChange;
use foldhash::{HashMap, HashMapExt};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How long a cgroup that went is remembered.
const KEEP_REMOVED: SignedDuration = SignedDuration::from_mins(5);
/// Cgroups remembered at most; beyond, the ones that went are forgotten first.
const MOST: usize = 65_536;
/// Scans at start, at most; the last finds nothing new. When a cgroup is removed just where a listing of its parent
/// stands, the listing goes on from a neighbour and may leave one out (kernfs_dir_pos in fs/kernfs/dir.c).
const MOST_SCANS: usize = 10;
/// Scope prefixes of container runtimes (systemd driver): containerd, CRI-O, Docker, Podman.
const RUNTIME_PREFIXES: [&str; 4] = ["cri-containerd-", "crio-", "docker-", "libpod-"];

/// Whose a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A pod's, by the uid in its path (for a static pod the hash of its manifest).
    Pod {
        /// `metadata.uid`, or `kubernetes.io/config.hash` of a static pod.
        uid: String,
        /// The container's runtime id; absent for the pod's own cgroup.
        container: Option<String>,
    },
    /// The node's own: a service, a user's session, the root.
    Host,
    /// Outside the cgroup that the configuration names.
    OutOfScope,
}

/// The tree cannot be scanned.
#[derive(Debug, thiserror::Error)]
#[error("scan the cgroup tree at {path}: {source}")]
pub struct ScanError {
    path: PathBuf,
    source: io::Error,
}

struct Entry {
    owner: Owner,
    removed: Option<Timestamp>,
}

/// Every cgroup of the hierarchy, by id.
pub struct Cgroups {
    mount: PathBuf,
    /// Path of the cgroup that is observed, from the mount; empty for all.
    scope: PathBuf,
    entries: HashMap<u64, Entry>,
    /// Cgroups forgotten early because the table was full.
    forgotten: u64,
}

impl Cgroups {
    /// Start from a scan of `mount`; `root` is the cgroup that is observed, at or below it.
    ///
    /// # Errors
    /// The tree cannot be read, or `root` does not lie below `mount`.
    pub fn scan(mount: &Path, root: &Path) -> Result<Self, ScanError> {
        let scope = root.strip_prefix(mount).map_err(|_| ScanError {
            path: root.to_owned(),
            source: io::Error::other(format!("does not lie below the cgroup2 mount {}", mount.display())),
        })?;
        let mut cgroups =
            Self { mount: mount.to_owned(), scope: scope.to_owned(), entries: HashMap::new(), forgotten: 0 };
        for _ in 0..MOST_SCANS {
            if cgroups.rescan()? == 0 {
                break;
            }
        }
        Ok(cgroups)
    }

    /// Scan again, after events were lost. What is gone from the tree stays until its time is over. Returns how many
    /// were found that were not known.
    ///
    /// # Errors
    /// The mount itself cannot be read; cgroups that vanish during the scan are passed over.
    pub fn rescan(&mut self) -> Result<usize, ScanError> {
        let before = self.entries.len();
        let mount = self.mount.clone();
        let metadata = fs::metadata(&mount).map_err(|source| ScanError { path: mount.clone(), source })?;
        self.insert(metadata.ino(), Path::new(""));
        let mut folders = vec![mount];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    let path = entry.path();
                    if let Ok(relative) = path.strip_prefix(&self.mount) {
                        let relative = relative.to_owned();
                        self.insert(metadata.ino(), &relative);
                    }
                    folders.push(path);
                }
            }
        }
        Ok(self.entries.len().saturating_sub(before))
    }

    /// Take an event. False where it had no usable path, so that a rescan is due.
    #[must_use]
    pub fn apply(&mut self, change: &CgroupChange, now: Timestamp) -> bool {
        // One that was made before the hooks were attached and goes before the scan comes by is known by its end alone.
        if change.made || !self.entries.contains_key(&change.id) {
            let Some(path) = &change.path else { return !change.made };
            self.insert(change.id, Path::new(path.trim_start_matches('/')));
        }
        if !change.made
            && let Some(entry) = self.entries.get_mut(&change.id)
        {
            entry.removed = Some(now);
        }
        true
    }

    /// Whose a cgroup is; `None` where it was never seen.
    pub fn find(&self, id: u64) -> Option<&Owner> {
        self.entries.get(&id).map(|entry| &entry.owner)
    }

    /// Forget what went long ago.
    pub fn expire(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| {
            entry.removed.is_none_or(|removed| now.duration_since(removed) < KEEP_REMOVED)
        });
    }

    /// How many cgroups are known, and how many had to be forgotten early.
    pub fn size(&self) -> (usize, u64) {
        (self.entries.len(), self.forgotten)
    }

    /// How many of them are pods' or their containers', and not gone.
    pub fn pods(&self) -> usize {
        let is_pod = |entry: &&Entry| entry.removed.is_none() && matches!(entry.owner, Owner::Pod { .. });
        self.entries.values().filter(is_pod).count()
    }

    fn insert(&mut self, id: u64, relative: &Path) {
        if self.entries.len() >= MOST && !self.entries.contains_key(&id) {
            self.make_room();
        }
        let owner = if relative.starts_with(&self.scope) { owner_of(relative) } else { Owner::OutOfScope };
        self.entries.insert(id, Entry { owner, removed: None });
    }

    fn make_room(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.removed.is_none());
        if self.entries.len() == before {
            self.entries.retain(|_, entry| matches!(entry.owner, Owner::Pod { .. }));
        }
        self.forgotten += u64::try_from(before - self.entries.len()).unwrap_or(0);
    }
}

/// Read a cgroup's path from its end: nested nodes and delegated sub-cgroups add components at either side.
///
/// Layouts: cgroupfs driver `kubepods/[burstable|besteffort/]pod<uid>/<container>`; systemd driver
/// `kubepods.slice/kubepods-<qos>.slice/kubepods-<qos>-pod<uid with _>.slice/<runtime>-<container>.scope`.
fn owner_of(path: &Path) -> Owner {
    let components: Vec<&str> = path.iter().filter_map(|component| component.to_str()).collect();
    let pod = components.iter().enumerate().rev().find_map(|(index, name)| Some((index, pod_uid(name)?)));
    match pod {
        Some((index, uid)) => {
            Owner::Pod { uid, container: components.get(index + 1).and_then(|name| container_id(name)) }
        }
        None => Owner::Host,
    }
}

fn pod_uid(component: &str) -> Option<String> {
    let name = component.strip_suffix(".slice");
    let uid = match name {
        Some(name) => name.rsplit_once("-pod")?.1.replace('_', "-"),
        None => component.strip_prefix("pod")?.to_owned(),
    };
    let known = match uid.len() {
        36 => uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'),
        32 => uid.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => false,
    };
    known.then_some(uid)
}

fn container_id(component: &str) -> Option<String> {
    let id = match component.strip_suffix(".scope") {
        Some(scope) => RUNTIME_PREFIXES.iter().find_map(|prefix| scope.strip_prefix(prefix))?,
        None => component,
    };
    let known = id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    known.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Cgroups, Owner, owner_of};
    use crate::capture::decode::CgroupChange;
    use jiff::{SignedDuration, Timestamp};
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    const UID: &str = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
    const CONTAINER: &str = "4f1c6e0b3f9a4f1c6e0b3f9a4f1c6e0b3f9a4f1c6e0b3f9a4f1c6e0b3f9a4f1c";

    fn pod(container: Option<&str>) -> Owner {
        Owner::Pod { uid: UID.to_owned(), container: container.map(str::to_owned) }
    }

    #[test]
    fn every_layout_is_read_from_its_end() {
        let underscored = UID.replace('-', "_");
        let rows = [
            (
                "cgroupfs, best effort",
                format!("kubepods/besteffort/pod{UID}/{CONTAINER}"),
                pod(Some(CONTAINER)),
            ),
            ("cgroupfs, guaranteed", format!("kubepods/pod{UID}/{CONTAINER}"), pod(Some(CONTAINER))),
            ("cgroupfs, the pod itself", format!("kubepods/burstable/pod{UID}"), pod(None)),
            (
                "systemd, containerd",
                format!(
                    "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/cri-containerd-{CONTAINER}.scope"
                ),
                pod(Some(CONTAINER)),
            ),
            (
                "systemd, CRI-O, guaranteed",
                format!("kubepods.slice/kubepods-pod{underscored}.slice/crio-{CONTAINER}.scope"),
                pod(Some(CONTAINER)),
            ),
            (
                "CRI-O's monitor is the pod's, but no container",
                format!("kubepods.slice/kubepods-pod{underscored}.slice/crio-conmon-{CONTAINER}.scope"),
                pod(None),
            ),
            (
                "nested node",
                format!(
                    "docker/{CONTAINER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{underscored}.slice/cri-containerd-{CONTAINER}.scope"
                ),
                pod(Some(CONTAINER)),
            ),
            (
                "delegated below the container",
                format!("kubepods/pod{UID}/{CONTAINER}/init.scope"),
                pod(Some(CONTAINER)),
            ),
            (
                "static pod",
                "kubepods/burstable/pod0123456789abcdef0123456789abcdef".to_owned(),
                Owner::Pod { uid: "0123456789abcdef0123456789abcdef".to_owned(), container: None },
            ),
            ("a service", "system.slice/sshd.service".to_owned(), Owner::Host),
            ("a folder that only looks like one", "podman/podcast".to_owned(), Owner::Host),
            ("the root", String::new(), Owner::Host),
        ];
        for (name, path, expected) in rows {
            assert_eq!(owner_of(Path::new(&path)), expected, "{name}");
        }
    }

    #[test]
    fn a_scan_finds_what_exists_and_events_add_what_comes() {
        let mount = tempfile::tempdir().unwrap();
        let existing = mount.path().join(format!("kubepods/pod{UID}/{CONTAINER}"));
        fs::create_dir_all(&existing).unwrap();
        let mut cgroups = Cgroups::scan(mount.path(), mount.path()).unwrap();
        let id = fs::metadata(&existing).unwrap().ino();
        assert_eq!(cgroups.find(id), Some(&pod(Some(CONTAINER))));
        assert_eq!(cgroups.find(u64::MAX), None);

        let made = CgroupChange { id: u64::MAX, made: true, path: Some(format!("/kubepods/pod{UID}")) };
        assert!(cgroups.apply(&made, Timestamp::UNIX_EPOCH));
        assert_eq!(cgroups.find(u64::MAX), Some(&pod(None)));
    }

    #[test]
    fn a_cgroup_that_went_is_kept_for_a_while() {
        let mount = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::scan(mount.path(), mount.path()).unwrap();
        let start = Timestamp::UNIX_EPOCH;
        assert!(cgroups.apply(&CgroupChange { id: 5, made: true, path: Some(format!("/pod{UID}")) }, start));
        assert!(cgroups.apply(&CgroupChange { id: 5, made: false, path: None }, start));
        cgroups.expire(start + SignedDuration::from_mins(4));
        assert_eq!(cgroups.find(5), Some(&pod(None)));
        cgroups.expire(start + SignedDuration::from_mins(6));
        assert_eq!(cgroups.find(5), None);
    }

    #[test]
    fn a_cgroup_that_goes_before_the_scan_is_known_by_its_end() {
        let mount = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::scan(mount.path(), mount.path()).unwrap();
        let gone = CgroupChange { id: 5, made: false, path: Some(format!("/pod{UID}")) };
        assert!(cgroups.apply(&gone, Timestamp::UNIX_EPOCH));
        assert_eq!(cgroups.find(5), Some(&pod(None)));
        cgroups.expire(Timestamp::UNIX_EPOCH + SignedDuration::from_mins(6));
        assert_eq!(cgroups.find(5), None);
    }

    #[test]
    fn what_lies_outside_the_observed_cgroup_is_out_of_scope() {
        let mount = tempfile::tempdir().unwrap();
        let inside = mount.path().join(format!("mine/pod{UID}"));
        let outside = mount.path().join(format!("kubepods/pod{UID}"));
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(&outside).unwrap();
        let cgroups = Cgroups::scan(mount.path(), &mount.path().join("mine")).unwrap();
        assert_eq!(cgroups.find(fs::metadata(inside).unwrap().ino()), Some(&pod(None)));
        assert_eq!(cgroups.find(fs::metadata(outside).unwrap().ino()), Some(&Owner::OutOfScope));
    }

    #[test]
    fn an_event_without_a_path_asks_for_a_rescan() {
        let mount = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::scan(mount.path(), mount.path()).unwrap();
        assert!(!cgroups.apply(&CgroupChange { id: 5, made: true, path: None }, Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn a_root_elsewhere_is_an_error_that_names_both() {
        let mount = tempfile::tempdir().unwrap();
        let error = Cgroups::scan(mount.path(), Path::new("/elsewhere")).err().unwrap().to_string();
        assert!(error.contains("/elsewhere") && error.contains(mount.path().to_str().unwrap()), "{error}");
    }
}
