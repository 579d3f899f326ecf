//! Folders that are followed: a log that comes later takes part from then on.

use super::super::merge::{Lane, Source};
use super::super::sift::Sifting;
use super::followed::{Followed, Identity, identity};
use crate::commands::logs::{Blocks, Form, Input, Step, input, listed};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often is looked for new ones.
const LOOK: Duration = Duration::from_secs(1);

/// What was given, and what of it takes part.
pub(in super::super) struct Folders {
    given: Vec<PathBuf>,
    /// Paths that are followed, whatever they name.
    paths: BTreeSet<PathBuf>,
    /// Files that were seen, whatever their names.
    files: BTreeSet<Identity>,
    looked: Instant,
}

/// A log that came while others were followed.
struct Late {
    followed: Followed,
    blocks: Blocks,
    name: Option<String>,
}

/// A log that may come.
pub(in super::super) fn late(path: &Path) -> Lane {
    let name = Some(path.display().to_string());
    let late = Late { followed: Followed::waiting(path), blocks: Blocks::default(), name };
    Lane::new(Box::new(late), Timestamp::MIN)
}

impl Source for Late {
    fn step(&mut self, into: &mut Sifting<'_>) -> Step {
        if let Some(name) = self.name.take() {
            into.trail.begin(&name);
        }
        self.followed.step(&mut self.blocks, into)
    }
}

impl Folders {
    /// These paths; what is there now takes part already.
    pub(in super::super) fn new(given: &[PathBuf], inputs: &[Input], paths: BTreeSet<PathBuf>) -> Self {
        let given = given.iter().filter(|path| path.is_dir()).cloned().collect();
        let files = inputs.iter().filter_map(|input| fs::metadata(&input.path).ok());
        let files = files.map(|metadata| identity(&metadata)).collect();
        Self { given, paths, files, looked: Instant::now() }
    }

    /// There is none to look into.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Lanes of those that came since, where it is time to look.
    pub(in super::super) fn look(&mut self) -> Vec<Lane> {
        if self.looked.elapsed() < LOOK {
            return Vec::new();
        }
        self.looked = Instant::now();
        self.find().iter().map(|path| late(path)).collect()
    }

    /// New ones: what was renamed is known, and what is compressed was read before.
    fn find(&mut self) -> Vec<PathBuf> {
        let (mut found, mut there) = (Vec::new(), BTreeSet::new());
        for folder in &self.given {
            // A folder that goes may come again.
            for path in listed(folder).unwrap_or_default() {
                let Ok(metadata) = fs::metadata(&path) else { continue };
                let identity = identity(&metadata);
                there.insert(identity);
                if !self.files.contains(&identity)
                    && !self.paths.contains(&path)
                    && input(&path).is_ok_and(|input| input.form == Form::Plain)
                {
                    self.paths.insert(path.clone());
                    found.push(path);
                }
            }
        }
        // The number of a file that is gone may be another's.
        self.files = there;
        found
    }
}
