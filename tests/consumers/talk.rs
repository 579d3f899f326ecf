//! A program that is asked on its standard input and answers on its standard output, a line of JSON each.

use flowlog_tests::program;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What `cargo xtask test` installed.
pub(crate) fn installed(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test` sets it"))
}

/// A file of the repository.
pub(crate) fn file(path: &str) -> PathBuf {
    program::repository().join(path)
}

/// Where a package's libraries are unpacked to.
pub(crate) fn libraries(root: &Path) -> PathBuf {
    let folders = fs::read_dir(root.join("usr/lib")).unwrap().map(|entry| entry.unwrap().path());
    folders.into_iter().find(|path| path.to_str().unwrap().ends_with("-linux-gnu")).unwrap()
}

/// Killed when dropped.
pub(crate) struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What it said first.
    pub(crate) first: Value,
}

impl Talk {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut talk = Self { child, stdin, stdout, first: Value::Null };
        talk.first = talk.next();
        talk
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub(crate) fn ask(&mut self, what: &Value) -> Value {
        writeln!(self.stdin, "{what}").unwrap();
        self.next()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
