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
use std::collections::VecDeque;
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
}

/// The file in hand.
enum Now {
    /// It is read to its end.
    Read { reader: Box<dyn Read + Send>, packed: bool, waits: bool },
    /// It grows.
    Grows(Followed),
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
        Self { left: left.collect(), follows, now: None, blocks: Blocks::default() }
    }

    fn open(&self, input: &Input, file: Option<File>) -> anyhow::Result<Now> {
        let told = || format!("read {}", input.name);
        if input.name == "-" {
            let (reader, packed) = logs::open(io::stdin()).context("read standard input")?;
            return Ok(Now::Read { reader, packed, waits: true });
        }
        let file = match file {
            Some(file) => file,
            None => File::open(&input.path).with_context(told)?,
        };
        if self.follows && self.left.is_empty() && input.form == Form::Plain {
            return Ok(Now::Grows(Followed::new(&input.path, file).with_context(told)?));
        }
        let (reader, packed): (Box<dyn Read + Send>, bool) = match input.form {
            Form::Plain => (Box::new(file), false),
            Form::Packed | Form::Stream => logs::open(file).with_context(told)?,
        };
        Ok(Now::Read { reader, packed, waits: input.form == Form::Stream })
    }
}

impl Source for Files {
    fn step(&mut self, into: &mut Sifting<'_>) -> Step {
        let Some(now) = &mut self.now else {
            let Some((input, file)) = self.left.pop_front() else { return Step::End };
            into.trail.begin(&input.name);
            match self.open(&input, file) {
                Ok(now) => self.now = Some(now),
                Err(error) => into.problem(&super::super::told(&error)),
            }
            return Step::Read;
        };
        match now {
            Now::Grows(followed) => followed.step(&mut self.blocks, into),
            Now::Read { reader, packed, .. } => match self.blocks.step(&mut **reader, *packed, into) {
                Step::End => {
                    self.blocks.end(into);
                    self.now = None;
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

/// A lane for each node; what does not tell its node is one of its own.
pub(super) fn lanes(inputs: Vec<Input>, follows: bool) -> Vec<Lane> {
    let mut nodes: Vec<Vec<Input>> = Vec::new();
    for input in inputs {
        let whose = |input: &Input| (input.begins.cluster.clone(), input.begins.node.clone());
        match nodes.last_mut().filter(|node| node.last().map(whose) == Some(whose(&input))) {
            Some(node) if input.begins.node.is_some() => node.push(input),
            _ => nodes.push(vec![input]),
        }
    }
    nodes
        .into_iter()
        .map(|node| {
            let begins = node.iter().map(|input| input.begins.time.unwrap_or(Timestamp::MIN)).min();
            Lane::new(Box::new(Files::new(node, follows)), begins.unwrap_or(Timestamp::MIN))
        })
        .collect()
}

/// Those paths that name nothing yet.
pub(super) fn absent(paths: &[PathBuf]) -> Vec<PathBuf> {
    let is_absent = |path: &&PathBuf| **path != Path::new("-") && !path.exists();
    paths.iter().filter(is_absent).cloned().collect()
}
