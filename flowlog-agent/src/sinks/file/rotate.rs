//! Rotation of a file by the agent itself: `flows.json` becomes `.1`, that `.2`, and so on; from `.2` on they are
//! compressed, on a thread of their own. The newest two stay as they are written: a reader that is behind finds its place.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rotations are this far apart at least: one that tails the file has so long to come to its end.
const APART: Duration = Duration::from_secs(10);

/// Level of zstd: flow logs shrink to a twelfth at 300 MB/s and more.
const LEVEL: i32 = 3;

/// When a file is rotated, and what becomes of the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file of this length or more is rotated.
    pub bytes: u64,
    /// So many old files are kept.
    pub keep: u32,
    /// Whether old files are compressed by zstd, from the second on.
    pub zstd: bool,
}

/// The rotation of one file.
#[derive(Debug)]
pub(super) struct Rotator {
    rotation: Rotation,
    last: Option<Instant>,
    packing: Option<JoinHandle<()>>,
    /// It failed last time: told once.
    failing: bool,
}

impl Rotator {
    pub(super) fn new(rotation: Rotation) -> Self {
        Self { rotation, last: None, packing: None, failing: false }
    }

    /// Whether a file of this length is to be rotated now.
    pub(super) fn is_due(&self, bytes: u64) -> bool {
        bytes >= self.rotation.bytes
            && self.last.is_none_or(|last| last.elapsed() >= APART)
            && self.packing.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Rename `path` and the old ones; true where that name is free now. What cannot be renamed stays, and is gone on with.
    pub(super) fn rotate(&mut self, path: &Path) -> bool {
        self.last = Some(Instant::now());
        match shift(path, self.rotation.keep) {
            Ok(()) => {
                self.failing = false;
                if self.rotation.zstd {
                    self.pack(path);
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, path = %path.display(), "the file cannot be rotated, and grows on");
                }
                false
            }
        }
    }

    /// Compress what is to be, beside the writer.
    fn pack(&mut self, path: &Path) {
        let old: Vec<PathBuf> = (2..=self.rotation.keep).map(|number| numbered(path, number, "")).collect();
        let started = std::thread::Builder::new().name("flowlog-zstd".into()).spawn(move || {
            for file in old.iter().filter(|file| file.exists()) {
                if let Err(error) = compress(file) {
                    tracing::warn!(%error, path = %file.display(), "an old file stays as it is, not compressed");
                }
            }
        });
        match started {
            Ok(thread) => self.packing = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread to compress old files: they stay as they are"),
        }
    }

    /// Wait for what is being compressed. The agent does not: what it leaves is compressed by the next one.
    #[cfg(test)]
    pub(super) fn finish(&mut self) {
        if let Some(packing) = self.packing.take() {
            packing.join().unwrap();
        }
    }
}

const PACKED: &str = ".zst";

fn numbered(path: &Path, number: u32, packed: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}{packed}"));
    PathBuf::from(name)
}

/// The oldest goes, the others move on by one, oldest first.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    for number in (1..=keep).rev() {
        for packed in ["", PACKED] {
            let old = numbered(path, number, packed);
            let moved = match number == keep {
                true => fs::remove_file(&old),
                false => fs::rename(&old, numbered(path, number + 1, packed)),
            };
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    fs::rename(path, numbered(path, 1, ""))
}

/// `flows.json.2` becomes `flows.json.2.zst`: whole, or not at all.
fn compress(file: &Path) -> io::Result<()> {
    let mut packed = OsString::from(file);
    packed.push(PACKED);
    let packed = PathBuf::from(packed);
    let unfinished = unfinished(&packed);
    let result = write_compressed(file, &unfinished).and_then(|()| fs::rename(&unfinished, &packed));
    match result {
        Ok(()) => fs::remove_file(file),
        Err(error) => {
            // It may not be there.
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// Hidden, so that nobody takes it for a log; a leftover of a killed agent is written over by the next one.
fn unfinished(packed: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(packed.file_name().unwrap_or_default());
    packed.with_file_name(name)
}

fn write_compressed(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let target = File::options().write(true).create(true).truncate(true).mode(super::MODE).open(to)?;
    let mut encoder = zstd::Encoder::new(&target, LEVEL)?;
    // A checksum: who unpacks it learns of a broken disk.
    encoder.include_checksum(true)?;
    io::copy(&mut &source, &mut encoder)?;
    encoder.finish()?;
    target.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Rotation = Rotation { bytes: 10, keep: 3, zstd: true };

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn old_files_move_on_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.json");
        for number in 1..=6 {
            fs::write(&path, format!("{number}\n")).unwrap();
            let mut rotator = Rotator::new(TWO);
            assert!(rotator.rotate(&path));
            rotator.finish();
        }
        assert_eq!(names(folder.path()), ["flows.json.1", "flows.json.2.zst", "flows.json.3.zst"]);
        assert_eq!(fs::read_to_string(folder.path().join("flows.json.1")).unwrap(), "6\n");
        for (name, text) in [("flows.json.2.zst", "5\n"), ("flows.json.3.zst", "4\n")] {
            let packed = File::open(folder.path().join(name)).unwrap();
            assert_eq!(io::read_to_string(zstd::Decoder::new(packed).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn rotations_are_apart_and_wait_for_what_is_being_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.json");
        fs::write(&path, "1\n").unwrap();
        let mut rotator = Rotator::new(TWO);
        assert!(!rotator.is_due(9));
        assert!(rotator.is_due(10));
        assert!(rotator.rotate(&path));
        assert!(!rotator.is_due(1_000), "one has just been");
        rotator.last = None;
        let (tell, told) = std::sync::mpsc::channel::<()>();
        rotator.packing = Some(std::thread::spawn(move || told.recv().unwrap_or_default()));
        assert!(!rotator.is_due(1_000), "the last is still being compressed");
        drop(tell);
        rotator.finish();
        assert!(rotator.is_due(10));
    }

    #[test]
    fn what_cannot_be_compressed_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.json.2");
        fs::write(&path, "1\n").unwrap();
        // Its place is taken by what is no file.
        fs::create_dir_all(folder.path().join("flows.json.2.zst/full")).unwrap();
        assert!(compress(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(names(folder.path()), ["flows.json.2", "flows.json.2.zst"]);
    }

    #[test]
    fn a_file_that_cannot_be_renamed_is_left_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.json");
        fs::write(&path, "1\n").unwrap();
        fs::create_dir_all(folder.path().join("flows.json.1/full")).unwrap();
        fs::create_dir_all(folder.path().join("flows.json.2/full")).unwrap();
        let mut rotator = Rotator::new(Rotation { keep: 1, ..TWO });
        assert!(!rotator.rotate(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }
}
