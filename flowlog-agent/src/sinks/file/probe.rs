//! Whether a file could be written, and for how long. Nothing is made.

use crate::sinks::Opening;
use crate::sinks::file::{MODE, Rotation};
use crate::sinks::probe::{Step, stopped};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Less than this is told: some minutes of a busy node.
const LITTLE_BYTES: u64 = 256 << 20;

/// Look at a file, its folder and its disk.
pub(in crate::sinks) fn probe(opening: &Opening<'_>) -> Vec<Step> {
    let path = Path::new(opening.place());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut steps = vec![look_at_folder(folder)];
    if stopped(&steps) {
        return steps;
    }
    let found = path.metadata().ok();
    steps.push(look_at_file(path, folder, found.as_ref()));
    let regular = found.as_ref().is_none_or(Metadata::is_file);
    if regular && !stopped(&steps) {
        let rotation = opening.request.rotation;
        steps.push(look_at_rotation(path, rotation));
        let now = found.map_or(0, |found| found.len());
        steps.push(look_at_space(folder, rotation.map(|rotation| most_bytes(rotation).saturating_sub(now))));
    } else if opening.request.rotation.is_some() {
        steps.push(not_rotated());
    }
    steps
}

/// A folder in which something is made.
pub(in crate::sinks) fn look_at_folder(folder: &Path) -> Step {
    if !folder.is_dir() {
        let remedy = "create it first; in a pod, mount a folder of the node (hostPath)";
        return Step::unusable("folder", format!("{} is no folder", folder.display()), remedy);
    }
    match access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Step::fine("folder", format!("{} can be written", folder.display())),
        Err(error) => Step::unusable(
            "folder",
            format!("{} cannot be written: {}", folder.display(), error.desc()),
            "give flowlog's user the right to write in it; in a pod, mount it without readOnly",
        ),
    }
}

fn look_at_file(path: &Path, folder: &Path, found: Option<&Metadata>) -> Step {
    let shown = path.display();
    let Some(found) = found else {
        let name = path.file_name().unwrap_or_default().display();
        return Step::fine(
            "file",
            format!("{name} is not there yet: made in {} with mode {MODE:o}", folder.display()),
        );
    };
    if found.is_dir() {
        return Step::unusable("file", format!("{shown} is a folder"), "name a file in it");
    }
    if let Err(error) = access(path, AccessFlags::W_OK) {
        let remedy = "give flowlog's user the right to write it";
        return Step::unusable("file", format!("{shown} cannot be written: {}", error.desc()), remedy);
    }
    if !found.is_file() {
        let what =
            if found.file_type().is_fifo() { "a named pipe: lines wait for its reader" } else { "a device" };
        return Step::fine("file", format!("{shown} is {what}"));
    }
    let mode = found.permissions().mode() & 0o777;
    let told = format!("{} bytes, mode {mode:o}, owner {}:{}", found.len(), found.uid(), found.gid());
    if mode & 0o007 != 0 {
        let remedy = format!("chmod {MODE:o} {shown}");
        return Step::doubtful("file", format!("{told}: everybody here may read who talks to whom"), remedy);
    }
    Step::fine("file", told)
}

fn look_at_rotation(path: &Path, rotation: Option<Rotation>) -> Step {
    match rotation {
        None => Step::fine("rotation", "not by flowlog: by logrotate, say, or the file grows".to_owned()),
        Some(_) if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) => not_rotated(),
        Some(Rotation { bytes, keep, .. }) => {
            Step::fine("rotation", format!("at {bytes} bytes, {keep} old files are kept"))
        }
    }
}

fn not_rotated() -> Step {
    Step::unusable(
        "rotation",
        "it is no file of its own".to_owned(),
        "name a file and no link to one, or leave `rotate` out",
    )
}

/// All files of a rotation, none of them compressed.
fn most_bytes(rotation: Rotation) -> u64 {
    rotation.bytes.saturating_mul(u64::from(rotation.keep).saturating_add(1))
}

/// Whether the disk of a folder has room for so many bytes more, or for some where nobody knows how many.
pub(in crate::sinks) fn look_at_space(folder: &Path, more: Option<u64>) -> Step {
    let free = match statvfs(folder) {
        Ok(found) => found.blocks_available().saturating_mul(found.fragment_size()),
        Err(error) => return Step::fine("space", format!("not told: {}", error.desc())),
    };
    let found = format!("{free} bytes are free");
    match more {
        Some(more) if more > free => Step::doubtful(
            "space",
            format!("{found}, and {more} more may be taken"),
            "make room, or let it take less",
        ),
        None if free < LITTLE_BYTES => Step::doubtful("space", found, "make room"),
        _ => Step::fine("space", found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Run;
    use crate::sinks::Request;
    use crate::sinks::probe::Standing;
    use std::fs;

    fn look(path: &Path, rotation: Option<Rotation>) -> Vec<(&'static str, Standing, String)> {
        let request = Request { rotation, ..Request::from(path.to_str().unwrap()) };
        let run = Run { node: "n".into(), cluster: None, id: "r".into() };
        let steps = probe(&Opening { request: &request, run: &run, number: 0 });
        steps.into_iter().map(|step| (step.name, step.standing, step.found)).collect()
    }

    fn of<'a>(steps: &'a [(&'static str, Standing, String)], name: &str) -> (Standing, &'a str) {
        let found = steps.iter().find(|(step, ..)| *step == name);
        let (_, standing, found) = found.unwrap_or_else(|| panic!("no {name} in {steps:?}"));
        (*standing, found)
    }

    #[test]
    fn a_file_that_is_to_be_made_is_looked_at_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.json");
        let steps = look(&path, None);
        assert!(steps.iter().all(|(_, standing, _)| *standing == Standing::Fine), "{steps:?}");
        assert!(of(&steps, "file").1.contains("mode 640"), "{steps:?}");
        assert!(!path.exists());
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of(&look(&folder.path().join("gone/a.json"), None), "folder").0, Standing::Unusable);
        assert_eq!(of(&look(folder.path(), None), "file").0, Standing::Unusable);
        let open = folder.path().join("open.json");
        fs::write(&open, "").unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
        let steps = look(&open, None);
        assert_eq!(of(&steps, "file").0, Standing::Doubtful);
        assert!(of(&steps, "file").1.contains("mode 644"), "{steps:?}");
    }

    #[test]
    fn a_rotation_takes_a_file_of_its_own_and_room() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink(folder.path().join("flows.json"), &link).unwrap();
        let small = Rotation { bytes: 65_536, keep: 3, zstd: true };
        assert_eq!(of(&look(&link, Some(small)), "rotation").0, Standing::Unusable);
        assert_eq!(of(&look(Path::new("/dev/full"), Some(small)), "rotation").0, Standing::Unusable);
        let path = folder.path().join("flows.json");
        assert_eq!(of(&look(&path, Some(small)), "space").0, Standing::Fine);
        let huge = Rotation { bytes: 1 << 60, keep: 3, zstd: true };
        assert_eq!(of(&look(&path, Some(huge)), "space").0, Standing::Doubtful);
    }
}
