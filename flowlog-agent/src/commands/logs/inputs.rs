//! What a user gives as logs: files, folders, standard input; which are there, how each comes, what each begins with.

use super::blocks::LONGEST;
use crate::record::{Wrapped, unwrap_line};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// Folders below the one that was given.
const DEEPEST: usize = 8;

/// What the name of a log has in it, in a folder.
const EXTENSIONS: [&str; 4] = ["json", "jsonl", "ndjson", "log"];

/// Lines of the agent's own log that are passed over to find the first record of a log, in bytes.
const PASSED: usize = 1 << 18;

/// A log.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Input {
    pub(in crate::commands) name: String,
    pub(in crate::commands) path: PathBuf,
    pub(in crate::commands) form: Form,
    pub(in crate::commands) bytes: u64,
    pub(in crate::commands) begins: Begin,
}

/// What its first record tells: a node's logs are read one after the other, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(in crate::commands) struct Begin {
    #[serde(default)]
    pub(in crate::commands) cluster: Option<String>,
    #[serde(default)]
    pub(in crate::commands) node: Option<String>,
    #[serde(default)]
    run: Option<String>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    pub(in crate::commands) time: Option<Timestamp>,
}

/// How a log comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Form {
    /// Standard input, a pipe: from the beginning to the end.
    Stream,
    /// A file as it is written.
    Plain,
    /// A compressed file.
    Packed,
}

/// All logs, in the order in which they are read.
pub(in crate::commands) fn inputs(paths: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    let mut stdin = false;
    for path in paths {
        if path == Path::new("-") {
            if std::mem::replace(&mut stdin, true) {
                bail!("standard input (-) is given twice");
            }
            let name = "-".to_owned();
            inputs.push(Input {
                name,
                path: path.clone(),
                form: Form::Stream,
                bytes: 0,
                begins: Begin::default(),
            });
        } else if path.is_dir() {
            let files = listed(path)?;
            if files.is_empty() {
                bail!(
                    "no flow logs in {}: files named .json, .jsonl, .ndjson or .log are, rotated (flows.json.1) and \
                     compressed ones (flows.json.2.zst), too",
                    path.display()
                );
            }
            for file in files {
                inputs.push(input(&file)?);
            }
        } else {
            inputs.push(input(path)?);
        }
    }
    sort(&mut inputs);
    Ok(inputs)
}

/// By node, run by run, and those of a run by their numbers: a log may begin with what a fold tells late.
fn sort(inputs: &mut [Input]) {
    let run = |begin: &Begin| (begin.cluster.clone(), begin.node.clone(), begin.run.clone());
    let mut runs = BTreeMap::new();
    for begin in inputs.iter().map(|input| &input.begins) {
        let time = runs.entry(run(begin)).or_insert(begin.time);
        *time = (*time).min(begin.time);
    }
    // Stable: what does not tell stays as it was given.
    inputs.sort_by_cached_key(|input| {
        let Begin { cluster, node, run: of, seq, time } = input.begins.clone();
        let begins = runs.get(&run(&input.begins)).copied().flatten();
        (cluster, node, begins, of, seq, time)
    });
}

/// The logs in a folder and those below it.
pub(in crate::commands) fn listed(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    find(folder, 0, &mut files)?;
    Ok(files)
}

fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if depth > DEEPEST {
        return Ok(());
    }
    let told = || format!("read the folder {}", folder.display());
    let mut entries: Vec<_> =
        fs::read_dir(folder).and_then(Iterator::collect::<io::Result<_>>).with_context(told)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Of links, those to files: one to a folder may lead back.
        if entry.file_type().with_context(told)?.is_dir() {
            find(&path, depth + 1, found)?;
        } else if path.is_file() && is_log(&entry.file_name().to_string_lossy()) {
            found.push(path);
        }
    }
    Ok(())
}

/// `flows.json`, `flows.json.1`, `flows.json-20261130`, `flows.json.2.zst`.
fn is_log(name: &str) -> bool {
    let mut parts = name.split('.');
    let hidden = parts.next().is_none_or(str::is_empty);
    !hidden && parts.any(|part| part.split('-').next().is_some_and(|part| EXTENSIONS.contains(&part)))
}

/// A file, and what it begins with.
pub(in crate::commands) fn input(path: &Path) -> anyhow::Result<Input> {
    let name = path.display().to_string();
    let told = || format!("read {name}");
    let metadata = fs::metadata(path).with_context(told)?;
    let mut input = Input {
        name: name.clone(),
        path: path.to_owned(),
        form: Form::Stream,
        bytes: metadata.len(),
        begins: Begin::default(),
    };
    if metadata.is_file() {
        let (mut reader, packed) = open(File::open(path).with_context(told)?).with_context(told)?;
        input.form = if packed { Form::Packed } else { Form::Plain };
        input.begins = beginning(&mut reader);
    }
    Ok(input)
}

impl Begin {
    fn read(record: &[u8]) -> Option<Self> {
        let begin: Self = serde_json::from_slice(record).ok()?;
        (begin.node.is_some() && begin.run.is_some() && begin.seq.is_some()).then_some(begin)
    }
}

/// What the first record tells. In a container's log the agent's own may come before it; what is wrong with a line is told
/// when it is read.
fn beginning(reader: &mut dyn Read) -> Begin {
    let limit = u64::try_from(LONGEST + PASSED).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(reader.take(limit));
    let (mut line, mut record, mut passed) = (Vec::new(), Vec::new(), 0);
    while passed < PASSED && reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let is_whole = match unwrap_line(&line) {
            Wrapped::Bare(text) | Wrapped::Whole(text) => {
                record.extend_from_slice(text);
                true
            }
            Wrapped::Part(text) => {
                record.extend_from_slice(text);
                false
            }
            Wrapped::Other => false,
        };
        if is_whole {
            if let Some(begin) = Begin::read(&record) {
                return begin;
            }
            record.clear();
        }
        passed += line.len();
        line.clear();
    }
    Begin::default()
}

/// What is in a file, and whether it was compressed, by its first bytes.
pub(in crate::commands) fn open<'a>(
    mut file: impl Read + Send + 'a,
) -> anyhow::Result<(Box<dyn Read + Send + 'a>, bool)> {
    let mut magic = Vec::new();
    (&mut file).take(6).read_to_end(&mut magic)?;
    let whole = Cursor::new(magic.clone()).chain(file);
    Ok(match &magic[..] {
        [0x1f, 0x8b, ..] => (Box::new(flate2::read::MultiGzDecoder::new(whole)), true),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (Box::new(zstd::Decoder::new(whole)?), true),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => bail!("compressed by xz: unpack it first (xz -d)"),
        [b'B', b'Z', b'h', ..] => bail!("compressed by bzip2: unpack it first (bzip2 -d)"),
        [b'P', b'K', 3, 4, ..] => bail!("a zip archive: unpack it first"),
        _ => (Box::new(whole), false),
    })
}
