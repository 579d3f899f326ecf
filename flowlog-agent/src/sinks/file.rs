//! A file, appended to: survives rotation by rename, a vanished directory, a full disk and a read-only
//! remount. A named pipe or a device as the path works too.

pub(super) mod probe;
mod rotate;

pub use rotate::Rotation;

use super::output::{self, Batch, Output, PIPE_BATCH_BYTES, WriteError};
use super::{Request, SinkError, SinkKind};
use crate::model::ledger::Place;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rotate::Rotator;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) const KIND: SinkKind = SinkKind {
    name: "file",
    takes: |place| !super::remote::is_remote(place),
    open: |opening| Ok(Box::new(FileOutput::asked(opening.request)?)),
    probe: probe::probe,
    #[cfg(test)]
    fixture: tests::fixture,
    #[cfg(test)]
    consumer: false,
};

/// Owner and group read it, nobody else: the lines say who talks to whom.
const MODE: u32 = 0o640;

/// Lines for a regular file go out in larger pieces: one write(2) of 64 KiB costs little more than of 1 KiB.
const FILE_BATCH_BYTES: usize = 65_536;

/// A file that was renamed has a new one in its place by then, or nobody makes one but we.
const MADE_WITHIN: Duration = Duration::from_millis(100);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(1);

/// A file that is appended to.
struct FileOutput {
    path: PathBuf,
    /// Absent while a named pipe has no reader, or after opening it anew failed.
    open: Option<Open>,
    /// A line was torn and could not be taken back: it is ended before the next one begins.
    torn: bool,
    /// It was opened anew since it was last asked for that.
    replaced: bool,
    rotator: Option<Rotator>,
}

struct Open {
    file: File,
    regular: bool,
    /// Device and inode: another one under the path means that the file was renamed or replaced.
    identity: (u64, u64),
}

impl FileOutput {
    fn asked(request: &Request) -> Result<Self, SinkError> {
        let mut output = Self::open(Path::new(request.destination().place))?;
        if let Some(rotation) = request.rotation {
            let link = output.path.symlink_metadata().is_ok_and(|found| found.is_symlink());
            if link || !output.open.as_ref().is_some_and(|open| open.regular) {
                return Err(SinkError::NotRotated { output: request.to.clone() });
            }
            output.rotator = Some(Rotator::new(rotation));
        }
        Ok(output)
    }

    fn open(path: &Path) -> Result<Self, SinkError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !directory.is_dir() {
            return Err(SinkError::NoDirectory { path: path.to_owned(), directory: directory.to_owned() });
        }
        let mut output =
            Self { path: path.to_owned(), open: None, torn: false, replaced: false, rotator: None };
        match output.reopen() {
            Ok(()) => Ok(output),
            // A named pipe that nobody reads yet: the writer tries again.
            Err(_) if path.metadata().is_ok_and(|found| found.file_type().is_fifo()) => Ok(output),
            Err(source) => Err(SinkError::Open { path: path.to_owned(), source }),
        }
    }

    fn write_regular(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        self.replace_if_renamed().map_err(nothing_written)?;
        self.end_torn_line().map_err(nothing_written)?;
        let Some(open) = &self.open else { return Err(nothing_written(io::ErrorKind::NotConnected.into())) };
        let (written, result) = output::write_all(&open.file, lines);
        let Err(error) = result else { return Ok(()) };
        let whole = output::whole_lines(lines.get(..written).unwrap_or_default());
        if written > whole {
            self.torn = take_back(&open.file, written - whole).is_err();
        }
        Err(WriteError::Failed { written: whole, error })
    }

    fn write_stream(&mut self, lines: &[u8], wait: Duration) -> Result<(), WriteError> {
        self.end_torn_line().map_err(nothing_written)?;
        let Some(open) = &self.open else { return Err(nothing_written(io::ErrorKind::NotConnected.into())) };
        if !output::wait_writable(&open.file, wait).map_err(nothing_written)? {
            return Err(WriteError::NotReady);
        }
        let (written, result) = output::write_all(&open.file, lines);
        let Err(error) = result else { return Ok(()) };
        let whole = output::whole_lines(lines.get(..written).unwrap_or_default());
        // The next reader of a broken pipe starts afresh; a device keeps what it got.
        self.torn = written > whole && error.kind() != io::ErrorKind::BrokenPipe;
        Err(WriteError::Failed { written: whole, error })
    }

    /// What goes into a file of another name, or of none, is missed by whoever follows it by its name: rsyslog reads a renamed
    /// file to its end once, and leaves it.
    fn replace_if_renamed(&mut self) -> io::Result<()> {
        if self.is_at_its_name() {
            return Ok(());
        }
        self.wait_for_its_name();
        self.reopen()?;
        self.replaced = true;
        Ok(())
    }

    /// Whoever renames may be about to make the new file, with a mode of its own: one that is there before is put aside by
    /// logrotate, with what was written to it.
    #[expect(
        clippy::disallowed_methods,
        reason = "without inotify a folder does not tell that a file is made in it"
    )]
    fn wait_for_its_name(&self) {
        let renamed = |open: &Open| open.file.metadata().is_ok_and(|found| found.nlink() > 0);
        if !self.open.as_ref().is_some_and(renamed) {
            return;
        }
        let began = Instant::now();
        while began.elapsed() < MADE_WITHIN && !self.path.exists() {
            std::thread::sleep(LOOK);
        }
    }

    fn is_at_its_name(&self) -> bool {
        let Some(open) = &self.open else { return false };
        match self.path.metadata() {
            Ok(found) => identity(&found) == open.identity,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Between two writes: where the next one goes is told beforehand.
    fn rotate_if_due(&mut self) -> io::Result<bool> {
        let (Some(open), Some(rotator)) = (&self.open, &mut self.rotator) else { return Ok(false) };
        if !rotator.is_due(open.file.metadata()?.len()) || !rotator.rotate(&self.path) {
            return Ok(false);
        }
        self.reopen()?;
        Ok(true)
    }

    fn end_torn_line(&mut self) -> io::Result<()> {
        if !self.torn {
            return Ok(());
        }
        let Some(open) = &self.open else { return Err(io::ErrorKind::NotConnected.into()) };
        output::write_all(&open.file, b"\n").1?;
        self.torn = false;
        Ok(())
    }
}

impl Output for FileOutput {
    fn batch_bytes(&self) -> usize {
        let regular = self.open.as_ref().is_some_and(|open| open.regular);
        if regular { FILE_BATCH_BYTES } else { PIPE_BATCH_BYTES }
    }

    fn write(&mut self, batch: Batch<'_>, wait: Duration) -> Result<(), WriteError> {
        match &self.open {
            Some(open) if open.regular => self.write_regular(batch.bytes),
            Some(_) => self.write_stream(batch.bytes, wait),
            None => Err(nothing_written(io::ErrorKind::NotConnected.into())),
        }
    }

    fn place(&mut self) -> Option<Place> {
        self.open.as_ref().filter(|open| open.regular)?;
        self.replace_if_renamed().and_then(|()| self.end_torn_line()).ok()?;
        let open = self.open.as_ref()?;
        let bytes = open.file.metadata().ok()?.len();
        Some(Place { identity: open.identity, bytes })
    }

    fn tick(&mut self) -> Result<bool, WriteError> {
        if self.open.is_none() {
            return Ok(false);
        }
        self.replace_if_renamed().map_err(nothing_written)?;
        if std::mem::take(&mut self.replaced) {
            return Ok(true);
        }
        self.rotate_if_due().map_err(nothing_written)
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(old) = self.open.take().filter(|old| old.regular) {
            // The last lines of a rotated file are as durable as the others.
            let _ = old.file.sync_data();
        }
        // Without O_NONBLOCK opening a named pipe would wait for its reader.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .custom_flags(flags.bits())
            .open(&self.path)?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        let found = file.metadata()?;
        let regular = found.is_file();
        if regular {
            self.torn = found.len() > 0 && ends_torn(&self.path);
        }
        self.open = Some(Open { file, regular, identity: identity(&found) });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match &self.open {
            Some(open) if open.regular => open.file.sync_all(),
            _ => Ok(()),
        }
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn nothing_written(error: io::Error) -> WriteError {
    WriteError::Failed { written: 0, error }
}

/// Cut a torn line off, where nobody else has appended behind it.
fn take_back(mut file: &File, torn_bytes: usize) -> io::Result<()> {
    let torn = u64::try_from(torn_bytes).map_err(io::Error::other)?;
    let end = file.stream_position()?;
    if file.metadata()?.len() != end {
        return Err(io::Error::other("somebody else appends to this file"));
    }
    file.set_len(end.saturating_sub(torn))
}

/// Whether a file ends in the middle of a line, as a crash or a full disk leaves it. One that cannot be read
/// is taken to be whole.
fn ends_torn(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last().is_ok_and(|byte| byte != b'\n')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sinks::tests::Fixture;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    pub(in crate::sinks) fn fixture() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let output = Box::new(FileOutput::open(&path).unwrap());
        let read_back = move || {
            let text = fs::read_to_string(&path).unwrap();
            drop(directory);
            text
        };
        Fixture { output, framed: false, read_back: Box::new(read_back) }
    }

    fn one(bytes: &[u8]) -> Batch<'_> {
        Batch { bytes, ends: &[] }
    }

    fn written(output: &mut FileOutput, text: &str) {
        output.write(one(text.as_bytes()), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gone/flows.jsonl");
        let error = FileOutput::open(&path).err().unwrap().to_string();
        assert!(error.contains("gone does not exist; create it first"), "{error}");
    }

    #[test]
    fn a_directory_in_place_of_a_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = FileOutput::open(directory.path()).err().unwrap().to_string();
        assert!(error.starts_with("cannot open "), "{error}");
    }

    #[test]
    fn a_new_file_is_not_for_everyone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let _output = FileOutput::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn a_line_that_a_crash_left_torn_is_ended_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        fs::write(&path, "{\"v\":1}\n{\"v\":1,\"se").unwrap();
        let mut output = FileOutput::open(&path).unwrap();
        written(&mut output, "{}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"v\":1}\n{\"v\":1,\"se\n{}\n");
    }

    #[test]
    fn a_torn_line_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let mut output = FileOutput::open(&path).unwrap();
        written(&mut output, "{}\n{\"tor");
        take_back(&output.open.as_ref().unwrap().file, 5).unwrap();
        written(&mut output, "{\"v\":1}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n{\"v\":1}\n");
    }

    #[test]
    fn a_torn_line_is_not_taken_back_over_the_words_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let mut output = FileOutput::open(&path).unwrap();
        written(&mut output, "{\"tor");
        OpenOptions::new().append(true).open(&path).unwrap().set_len(20).unwrap();
        assert!(take_back(&output.open.as_ref().unwrap().file, 5).is_err());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the file is made while the writer waits for it")]
    fn the_file_that_logrotate_is_about_to_make_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let mut output = FileOutput::open(&path).unwrap();
        written(&mut output, "1\n");
        fs::rename(&path, directory.path().join("flows.jsonl.1")).unwrap();
        let made = path.clone();
        let logrotate = std::thread::spawn(move || {
            std::thread::sleep(MADE_WITHIN / 4);
            // It puts aside what is there.
            OpenOptions::new().create_new(true).write(true).mode(0o600).open(made).map(|_| ())
        });
        written(&mut output, "2\n");
        logrotate.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_renamed_file_is_left_with_the_next_line_or_tick() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let mut output = FileOutput::open(&path).unwrap();
        written(&mut output, "1\n");
        assert!(!output.tick().unwrap(), "nothing happened yet");
        let old = |number: u32| directory.path().join(format!("flows.jsonl.{number}"));
        fs::rename(&path, old(1)).unwrap();
        written(&mut output, "2\n");
        assert!(output.tick().unwrap(), "it is told, if late");
        assert!(!output.tick().unwrap(), "and once");
        fs::rename(&path, old(2)).unwrap();
        // As logrotate makes it, with a mode of its own.
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).unwrap();
        assert!(output.tick().unwrap());
        written(&mut output, "3\n");
        let texts = [old(1), old(2), path.clone()].map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(texts, ["1\n", "2\n", "3\n"]);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_of_its_length_is_rotated_at_the_next_tick() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let rotation = Some(Rotation { bytes: 4, keep: 3, zstd: true });
        let to = path.to_str().unwrap().to_owned();
        let request = Request { to, rotation, ..Request::default() };
        let mut output = FileOutput::asked(&request).unwrap();
        written(&mut output, "1\n");
        assert!(!output.tick().unwrap(), "it is short");
        written(&mut output, "2\n");
        assert!(output.tick().unwrap());
        written(&mut output, "3\n4\n");
        assert!(!output.tick().unwrap(), "the last rotation has just been");
        assert_eq!(fs::read_to_string(directory.path().join("flows.jsonl.1")).unwrap(), "1\n2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n4\n");
    }

    #[test]
    fn what_is_no_file_of_its_own_is_not_rotated() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link.jsonl");
        std::os::unix::fs::symlink(directory.path().join("flows.jsonl"), &link).unwrap();
        for to in ["/dev/null", link.to_str().unwrap()] {
            let rotation = Some(Rotation { bytes: 1, keep: 1, zstd: false });
            let refused = FileOutput::asked(&Request { rotation, ..Request::from(to) });
            assert!(matches!(refused, Err(SinkError::NotRotated { .. })), "{to}");
        }
    }

    #[test]
    fn a_removed_file_is_replaced_before_the_next_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let mut output = FileOutput::open(&path).unwrap();
        written(&mut output, "1\n");
        fs::remove_file(&path).unwrap();
        written(&mut output, "2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn a_named_pipe_waits_for_a_reader_without_blocking() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut output = FileOutput::open(&path).unwrap();
        assert!(matches!(
            output.write(one(b"1\n"), Duration::ZERO),
            Err(WriteError::Failed { written: 0, .. })
        ));
        // Opened for both, a pipe does not wait for its other end.
        let mut reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        output.reopen().unwrap();
        written(&mut output, "1\n");
        let mut got = [0; 2];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"1\n");
    }

    #[test]
    fn a_full_device_is_an_error_and_no_line() {
        let mut output = FileOutput::open(Path::new("/dev/full")).unwrap();
        match output.write(one(b"1\n"), Duration::ZERO) {
            Err(WriteError::Failed { written: 0, error }) => assert_eq!(error.raw_os_error(), Some(28)),
            other => panic!("{other:?}"),
        }
    }
}
