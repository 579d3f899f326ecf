//! Run the binary to its end.

use flowlog_tests::{program, wait};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A command that should end does so within this time.
const LIMIT: Duration = Duration::from_secs(30);

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A fresh directory to run in.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file below it; folders are made as needed.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    /// `flowlog` with these arguments.
    pub(crate) fn flowlog(&self, args: &[&str]) -> Said {
        self.under(&[], args)
    }

    /// The same, started by another program: `setpriv`, `unshare`.
    pub(crate) fn under(&self, starter: &[&str], args: &[&str]) -> Said {
        let flowlog = program::flowlog().unwrap();
        let words: Vec<OsString> = starter
            .iter()
            .map(OsString::from)
            .chain([flowlog.into_os_string()])
            .chain(args.iter().map(OsString::from))
            .collect();
        self.run(&words)
    }

    /// Another program with these arguments.
    pub(crate) fn alone(&self, program: &[&str], args: &[&str]) -> Said {
        let words: Vec<OsString> = program.iter().chain(args).map(OsString::from).collect();
        self.run(&words)
    }

    fn run(&self, words: &[OsString]) -> Said {
        // Beside the directory, so that they are no part of what is looked at.
        let said = tempfile::tempdir().unwrap();
        let file = |name: &str| Stdio::from(File::create(said.path().join(name)).unwrap());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(self.0.path())
            .env_clear()
            .env(
                "PATH",
                std::env::var_os("PATH").as_deref().unwrap_or(OsStr::new("/usr/sbin:/usr/bin:/sbin:/bin")),
            )
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("start {words:?}: {error}"));
        let mut status = None;
        let ended = wait::until("the command ends", LIMIT, || {
            status = child.try_wait()?;
            Ok(status.is_some())
        });
        if ended.is_err() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let text = |name: &str| String::from_utf8(fs::read(said.path().join(name)).unwrap()).unwrap();
        let (stdout, stderr) = (text("stdout"), text("stderr"));
        ended.unwrap_or_else(|error| panic!("{error}: {words:?}\n{stdout}\n{stderr}"));
        Said { code: status.unwrap().code(), stdout, stderr }
    }
}

/// Refused with exit code 2, on stderr alone, in words that hold all of `parts`, each cause told once.
#[track_caller]
pub(crate) fn refused(name: &str, said: &Said, parts: &[&str]) {
    assert_eq!(said.code, Some(2), "{name}: {said:?}");
    assert_eq!(said.stdout, "", "{name}: {said:?}");
    assert!(!said.stderr.contains("panicked"), "{name}: {said:?}");
    assert!(!said.stderr.contains("Verifier output: :"), "{name}: no empty log is shown: {said:?}");
    for part in parts {
        assert!(said.stderr.contains(part), "{name}: `{part}` is not in: {}", said.stderr);
    }
    let causes: Vec<&str> = said.stderr.trim_end().split(": ").collect();
    assert!(
        causes.windows(2).all(|pair| pair[0] != pair[1]),
        "{name}: a cause is told twice: {}",
        said.stderr
    );
}
