//! A secret out of a file: read again when the file changes, shown nowhere.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What a file says, without white space around it.
pub(super) struct Secret {
    path: PathBuf,
    text: String,
    /// Which file it was, and as of when.
    stamp: Option<Stamp>,
}

type Stamp = (u64, u64, i64, i64);

impl Secret {
    /// Read it.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut secret = Self { path: path.to_owned(), text: String::new(), stamp: None };
        secret.refresh()?;
        Ok(secret)
    }

    /// Read it again where its file changed.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let path = self.path.display();
        let stamp = stamp(&self.path).map_err(|error| io::Error::other(format!("read {path}: {error}")))?;
        if self.stamp == Some(stamp) {
            return Ok(());
        }
        let text = fs::read_to_string(&self.path)
            .map_err(|error| io::Error::other(format!("read {path}: {error}")))?;
        let text = text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(io::Error::other(format!("{path} is to have one line, with a secret in it")));
        }
        text.clone_into(&mut self.text);
        self.stamp = Some(stamp);
        Ok(())
    }

    /// What it says.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_again_when_its_file_changes_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "hush\n").unwrap();
        let mut secret = Secret::read(&path).unwrap();
        assert_eq!(secret.text(), "hush");
        assert!(!format!("{secret:?}").contains("hush"));
        // As a mounted secret is renewed: another file in its place.
        fs::write(folder.path().join("new"), "quiet").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        secret.refresh().unwrap();
        assert_eq!(secret.text(), "quiet");
        fs::write(&path, "two\nlines").unwrap();
        assert!(Secret::read(&path).unwrap_err().to_string().contains("one line"));
        assert!(Secret::read(&folder.path().join("gone")).unwrap_err().to_string().contains("gone"));
    }
}
