//! Logs that are files: those of a node one after the other, and, where they are followed, what is written to the last.

mod folders;
mod followed;
mod piped;

pub(super) use folders::{Folders, late};

use super::merge::{Lane, Source};
use super::sift::{Sifting, Trail};
use crate::commands::logs::{self, Blocks, Form, Input, Lines as _, Step};
use anyhow::Context as _;
use followed::{Followed, Identity, identity};
use jiff::Timestamp;
use piped::Piped;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The logs of one node, in the order in which they were written.
pub(super) struct Files {
    left: VecDeque<(Input, Option<File>)>,
    /// The last of them is followed.
    follows: bool,
    now: Option<Now>,
    /// Where the file in hand was found.
    path: PathBuf,
    blocks: Blocks,
    /// Those before it, of which one may grow all the same: where a clock was set back, the last is not the newest.
    before: Vec<Before>,
}

/// A file that was read to its end. It is open while it is known to grow; others are looked at by their names.
struct Before {
    name: String,
    path: PathBuf,
    identity: Identity,
    /// Bytes and lines of it that were read.
    at: u64,
    lines: u64,
    file: Option<File>,
    blocks: Blocks,
}

impl Before {
    fn new(path: PathBuf, mut file: File, trail: &Trail, mut blocks: Blocks) -> io::Result<Self> {
        let (identity, at) = (identity(&file.metadata()?), file.stream_position()?);
        blocks.give_back();
        let (name, lines) = (trail.file.clone(), trail.line);
        Ok(Self { name, path, identity, at, lines, file: None, blocks })
    }

    /// Open where it has grown.
    fn open(&self) -> Option<File> {
        let there = std::fs::metadata(&self.path).ok()?;
        if identity(&there) != self.identity || there.len() <= self.at {
            return None;
        }
        let mut file = File::open(&self.path).ok()?;
        let is_it = identity(&file.metadata().ok()?) == self.identity;
        file.seek(SeekFrom::Start(self.at)).ok()?;
        is_it.then_some(file)
    }
}

/// The file in hand.
enum Now {
    /// It is read to its end.
    Read { reader: Reader, packed: bool, waits: bool },
    /// It grows.
    Grows(Followed),
}

enum Reader {
    Plain(File),
    Other(Box<dyn Read + Send>),
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(into),
            Self::Other(reader) => reader.read(into),
        }
    }
}

impl Files {
    fn new(left: Vec<Input>, follows: bool) -> Self {
        // What is renamed while those before it are read stays what it is.
        let open = |input: &Input| match input.form {
            Form::Plain | Form::Packed if follows => File::open(&input.path).ok(),
            _ => None,
        };
        let left = left.into_iter().map(|input| {
            let file = open(&input);
            (input, file)
        });
        Self {
            left: left.collect(),
            follows,
            now: None,
            path: PathBuf::new(),
            blocks: Blocks::default(),
            before: Vec::new(),
        }
    }

    fn open(&self, input: &Input, file: Option<File>) -> anyhow::Result<Now> {
        let told = || format!("read {}", input.name);
        if self.follows && input.form == Form::Stream {
            let piped = match input.name == "-" {
                true => Piped::new(|| Ok(io::stdin()))?,
                false => {
                    let path = input.path.clone();
                    Piped::new(move || File::open(path))?
                }
            };
            return Ok(Now::Read { reader: Reader::Other(Box::new(piped)), packed: false, waits: false });
        }
        if input.name == "-" {
            let (reader, packed) = logs::open(io::stdin()).context("read standard input")?;
            return Ok(Now::Read { reader: Reader::Other(reader), packed, waits: true });
        }
        let file = match file {
            Some(file) => file,
            None => File::open(&input.path).with_context(told)?,
        };
        if self.follows && self.left.is_empty() && input.form == Form::Plain {
            return Ok(Now::Grows(Followed::new(&input.path, file).with_context(told)?));
        }
        let (reader, packed) = match input.form {
            Form::Plain => (Reader::Plain(file), false),
            Form::Packed | Form::Stream => {
                let (reader, packed) = logs::open(file).with_context(told)?;
                (Reader::Other(reader), packed)
            }
        };
        Ok(Now::Read { reader, packed, waits: input.form == Form::Stream })
    }
}

impl Files {
    /// Begin with the next file.
    fn next(&mut self, into: &mut Sifting<'_>) -> Step {
        let Some((input, file)) = self.left.pop_front() else { return Step::End };
        into.trail.begin(&input.name);
        match self.open(&input, file) {
            Ok(now) => (self.now, self.path) = (Some(now), input.path),
            Err(error) => into.problem(&crate::commands::told(&error)),
        }
        Step::Read
    }

    /// The file in hand is at its end.
    fn leave(&mut self, into: &mut Sifting<'_>) {
        let mut blocks = std::mem::take(&mut self.blocks);
        match self.now.take() {
            Some(Now::Read { reader: Reader::Plain(file), .. }) if self.follows => {
                let path = std::mem::take(&mut self.path);
                match Before::new(path, file, into.trail, blocks) {
                    Ok(before) => self.before.push(before),
                    Err(error) => into.problem(&format!("cannot be looked at again: {error}")),
                }
            }
            _ => blocks.end(into),
        }
    }

    /// What was written to those before.
    fn look_back(&mut self, into: &mut Sifting<'_>) -> Step {
        let mut found = Step::Nothing;
        for before in &mut self.before {
            if before.file.is_none() {
                before.file = before.open();
            }
            let Some(file) = &mut before.file else { continue };
            let here = (std::mem::take(&mut into.trail.file), into.trail.line);
            (into.trail.file, into.trail.line) = (before.name.clone(), before.lines);
            if before.blocks.step(file, false, into) == Step::Read {
                found = Step::Read;
            }
            before.lines = into.trail.line;
            (into.trail.file, into.trail.line) = here;
        }
        found
    }
}

impl Source for Files {
    fn step(&mut self, into: &mut Sifting<'_>) -> Step {
        match &mut self.now {
            None => self.next(into),
            Some(Now::Grows(followed)) => match followed.step(&mut self.blocks, into) {
                Step::Nothing => self.look_back(into),
                step => step,
            },
            Some(Now::Read { reader, packed, .. }) => match self.blocks.step(reader, *packed, into) {
                Step::End => {
                    self.leave(into);
                    Step::Read
                }
                step => step,
            },
        }
    }

    fn may_wait(&self) -> bool {
        match &self.now {
            Some(Now::Read { waits, .. }) => *waits,
            Some(Now::Grows(_)) => false,
            None => !self.follows && self.left.front().is_some_and(|(input, _)| input.form == Form::Stream),
        }
    }
}

/// The logs of each node; what does not tell its node is one of its own.
fn by_node(inputs: Vec<Input>) -> Vec<Vec<Input>> {
    let whose = |input: &Input| (input.begins.cluster.clone(), input.begins.node.clone());
    let mut nodes: Vec<Vec<Input>> = Vec::new();
    for input in inputs {
        match nodes.last_mut().filter(|node| node.last().map(whose) == Some(whose(&input))) {
            Some(node) if input.begins.node.is_some() => node.push(input),
            _ => nodes.push(vec![input]),
        }
    }
    nodes
}

/// A lane for each node.
pub(super) fn lanes(inputs: Vec<Input>, follows: bool) -> Vec<Lane> {
    let lane = |node: Vec<Input>| {
        let begins = node.iter().map(|input| input.begins.time.unwrap_or(Timestamp::MIN)).min();
        Lane::new(Box::new(Files::new(node, follows)), begins.unwrap_or(Timestamp::MIN))
    };
    by_node(inputs).into_iter().map(lane).collect()
}

/// Paths that are followed by their names.
pub(super) fn followed(inputs: &[Input]) -> BTreeSet<PathBuf> {
    let nodes = by_node(inputs.to_vec()).into_iter();
    nodes
        .filter_map(|mut node| node.pop())
        .filter(|last| last.form == Form::Plain)
        .map(|last| last.path)
        .collect()
}

/// Those paths that name nothing yet.
pub(super) fn absent(paths: &[PathBuf]) -> Vec<PathBuf> {
    let is_absent = |path: &&PathBuf| **path != Path::new("-") && !path.exists();
    paths.iter().filter(is_absent).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::choice::ChoiceArgs;
    use super::super::show::{Form as Shown, Look};
    use super::super::sift::Sieve;
    use super::*;
    use std::io::Write as _;

    fn line(seq: u64) -> String {
        format!(
            r#"{{"v":1,"seq":{seq},"kind":"agent","time":"2026-11-30T08:00:00Z","node":"n","run":"r","agent":{{"event":"config"}}}}"#
        ) + "\n"
    }

    #[test]
    fn a_file_that_was_read_gives_back_what_it_took_and_is_read_on_where_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["flows.json.1", "flows.json"].map(|name| folder.path().join(name));
        std::fs::write(&old, line(1) + &line(2)[..40]).unwrap();
        std::fs::write(&new, line(3)).unwrap();
        let inputs = logs::inputs(&[folder.path().to_owned()]).unwrap();
        let look = Look { form: Shown::Json, colour: false, terminal: false };
        let mut sieve = Sieve::new(ChoiceArgs::default().choice().unwrap(), Box::new(look));
        let (mut trail, mut files) = (Trail::from(Timestamp::MIN), Files::new(inputs, true));
        let mut read = |files: &mut Files| {
            while files.step(&mut Sifting { sieve: &mut sieve, trail: &mut trail }) != Step::Nothing {}
            (trail.items.len(), sieve.missing())
        };
        // Two lines, and what is told of the gap.
        assert_eq!(read(&mut files), (3, 1));
        let before = &files.before[0];
        assert!(before.file.is_none() && before.blocks.room() <= 40, "{} bytes", before.blocks.room());
        let mut old = File::options().append(true).open(old).unwrap();
        old.write_all(&line(2).as_bytes()[40..]).unwrap();
        assert_eq!(read(&mut files), (4, 0));
    }
}
