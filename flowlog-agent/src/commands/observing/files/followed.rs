//! A file that is written to, as `tail -F` follows it: over rotations by name, and from the beginning where it was cut.

use super::super::sift::Sifting;
use crate::commands::logs::{Blocks, Lines as _, Step};
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Which file it is, whatever its name.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(metadata: &fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// A path, and the file that it named last.
pub(super) struct Followed {
    path: PathBuf,
    /// Absent until there is one.
    file: Option<(File, Identity)>,
    /// The path names another file, and this one was read to its end before that was seen.
    left: bool,
}

impl Followed {
    pub(super) fn new(path: &Path, file: File) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        Ok(Self { path: path.to_owned(), file: Some((file, identity)), left: false })
    }

    /// It may come.
    pub(super) fn waiting(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, left: false }
    }

    fn find(&self) -> io::Result<(File, Identity)> {
        let file = File::open(&self.path)?;
        let identity = identity(&file.metadata()?);
        Ok((file, identity))
    }

    pub(super) fn step(&mut self, blocks: &mut Blocks, into: &mut Sifting<'_>) -> Step {
        let Some((file, _)) = &mut self.file else {
            self.file = self.find().ok();
            return if self.file.is_some() { Step::Read } else { Step::Nothing };
        };
        match blocks.step(file, false, into) {
            Step::End => self.at_end(blocks, into),
            step => step,
        }
    }

    /// Nothing more is in it now.
    fn at_end(&mut self, blocks: &mut Blocks, into: &mut Sifting<'_>) -> Step {
        let Some((file, identity)) = &mut self.file else { return Step::Nothing };
        let Ok(there) = fs::metadata(&self.path) else { return Step::Nothing };
        if self::identity(&there) == *identity {
            return match file.stream_position() {
                Ok(at) if there.len() < at => {
                    into.problem("was cut while it was read; what was in it and not read yet is lost");
                    blocks.forget();
                    into.trail.line = 0;
                    if file.seek(SeekFrom::Start(0)).is_ok() { Step::Read } else { Step::Nothing }
                }
                _ => Step::Nothing,
            };
        }
        // Who writes goes on with the old file until he has opened the new one.
        if there.len() == 0 {
            return Step::Nothing;
        }
        if !std::mem::replace(&mut self.left, true) {
            return Step::Read;
        }
        blocks.end(into);
        let name = into.trail.file.clone();
        into.trail.begin(&name);
        (self.file, self.left) = (self.find().ok(), false);
        Step::Read
    }
}
