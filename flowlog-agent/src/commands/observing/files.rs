//! Logs that are files: those of a node one after the other, and, where they are followed, what is written to the last.

mod folders;
mod followed;

pub(super) use folders::{Folders, late};

use super::merge::{Lane, Source};
use super::sift::Sifting;
use crate::commands::logs::{self, Blocks, Form, Input, Lines as _, Step};
use anyhow::Context as _;
use followed::Followed;
use jiff::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The logs of one node, in the order in which they were written.
pub(super) struct Files {
    left: VecDeque<(Input, Option<File>)>,
    /// The last of them is followed.
    follows: bool,
    now: Option<Now>,
    blocks: Blocks,
    /// Those before it, of which one may grow all the same: where a clock was set back, the last is not the newest.
    before: Vec<Before>,
}

/// A file that was read to its end, and stays open.
struct Before {
    name: String,
    lines: u64,
    file: File,
    blocks: Blocks,
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
        Self { left: left.collect(), follows, now: None, blocks: Blocks::default(), before: Vec::new() }
    }

    fn open(&self, input: &Input, file: Option<File>) -> anyhow::Result<Now> {
        let told = || format!("read {}", input.name);
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
            Ok(now) => self.now = Some(now),
            Err(error) => into.problem(&crate::commands::told(&error)),
        }
        Step::Read
    }

    /// The file in hand is at its end.
    fn leave(&mut self, into: &mut Sifting<'_>) {
        let mut blocks = std::mem::take(&mut self.blocks);
        match self.now.take() {
            Some(Now::Read { reader: Reader::Plain(file), .. }) if self.follows => {
                let (name, lines) = (into.trail.file.clone(), into.trail.line);
                self.before.push(Before { name, lines, file, blocks });
            }
            _ => blocks.end(into),
        }
    }

    /// What was written to those before.
    fn look_back(&mut self, into: &mut Sifting<'_>) -> Step {
        let mut found = Step::Nothing;
        for before in &mut self.before {
            let here = (std::mem::take(&mut into.trail.file), into.trail.line);
            (into.trail.file, into.trail.line) = (before.name.clone(), before.lines);
            if before.blocks.step(&mut before.file, false, into) == Step::Read {
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
            None => self.left.front().is_some_and(|(input, _)| input.form == Form::Stream),
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
