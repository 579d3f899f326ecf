//! Flow logs as a user gives them: files, folders with rotated and compressed ones, standard input; read by several threads.

use crate::model::Observations;
use crate::record::read::{Summing, Window};
use anyhow::{Context as _, bail};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

/// The longest line.
const BLOCK: usize = 1 << 20;

/// Bytes that are read at once: what a processor's nearer caches hold beside what is known of the lines before.
const READ: usize = 1 << 18;

/// What one thread reads of a file at least.
const SMALLEST_PIECE: u64 = 16 << 20;

/// So much longer than it is packed a compressed log is thought to be.
const PACKED: u64 = 12;

/// Folders below the one that was given.
const DEEPEST: usize = 8;

/// What the name of a log has in it, in a folder.
const EXTENSIONS: [&str; 4] = ["json", "jsonl", "ndjson", "log"];

/// Which records.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Flow logs: files, folders (all logs in them, rotated and compressed ones, too), or - for standard input.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    logs: Vec<PathBuf>,
    /// Only records from this time on: a moment (2026-11-30T08:00:00Z), a day (its beginning, UTC), or how long ago (24h, 7d).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only records until this time, likewise.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Threads that read; default: one for each processor.
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(day) = text.parse::<civil::Date>() {
        return day.to_zoned(TimeZone::UTC).map(|day| day.timestamp()).map_err(|error| error.to_string());
    }
    let Ok(ago) = text.parse::<Span>() else {
        return Err(
            "neither a moment (2026-11-30T08:00:00Z), nor a day (2026-11-30), nor how long ago (24h, 7d)"
                .into(),
        );
    };
    let then = Timestamp::now().to_zoned(TimeZone::UTC).checked_sub(ago.abs());
    then.map(|then| then.timestamp()).map_err(|error| error.to_string())
}

/// Read what was given; nothing where nothing was.
pub(super) fn read(args: &LogArgs) -> anyhow::Result<Option<Observations>> {
    if args.logs.is_empty() {
        return Ok(None);
    }
    let window = Window { since: args.since, until: args.until };
    if let (Some(since), Some(until)) = (window.since, window.until)
        && since > until
    {
        bail!("--since {since} is after --until {until}");
    }
    let threads = args.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let shares = plan(&inputs(&args.logs)?, threads)?;
    let first = Summing::new(window);
    let readers: Vec<Summing> = shares.iter().map(|_| first.beside()).collect();
    let mut whole = first;
    thread::scope(|scope| {
        let started: Vec<_> = shares
            .iter()
            .zip(readers)
            .map(|(share, mut summing)| {
                scope.spawn(move || {
                    share.iter().try_for_each(|piece| piece.read(&mut summing)).map(|()| summing)
                })
            })
            .collect();
        for reader in started {
            // Nothing in there panics; if it did, so shall this.
            let summing =
                reader.join().map_err(|_| anyhow::anyhow!("a thread that reads logs has failed"))??;
            whole.merge(summing);
        }
        anyhow::Ok(())
    })?;
    Ok(Some(whole.finish()))
}

/// A log.
#[derive(Clone, Debug)]
struct Input {
    name: String,
    path: PathBuf,
    form: Form,
    bytes: u64,
    /// Node and time of its first record: a node's logs are read one after the other, the oldest first.
    begins: (Option<String>, Option<Timestamp>),
}

/// How a log comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Standard input, a pipe: from the beginning to the end.
    Stream,
    /// A file as it is written.
    Plain,
    /// A compressed file.
    Packed,
}

/// What one thread reads of a log.
#[derive(Clone, Debug)]
struct Piece {
    input: Input,
    from: u64,
    /// To the end where absent: a log may grow.
    to: Option<u64>,
}

/// All logs, in the order in which they are read.
fn inputs(paths: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
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
                begins: (None, None),
            });
        } else if path.is_dir() {
            let mut files = Vec::new();
            find(path, 0, &mut files)?;
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
    // Stable: what does not tell stays as it was given.
    inputs.sort_by(|one, other| one.begins.cmp(&other.begins));
    Ok(inputs)
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

fn input(path: &Path) -> anyhow::Result<Input> {
    let name = path.display().to_string();
    let told = || format!("read {name}");
    let metadata = fs::metadata(path).with_context(told)?;
    let mut input = Input {
        name: name.clone(),
        path: path.to_owned(),
        form: Form::Stream,
        bytes: metadata.len(),
        begins: (None, None),
    };
    if metadata.is_file() {
        let (mut reader, packed) = open(File::open(path).with_context(told)?).with_context(told)?;
        input.form = if packed { Form::Packed } else { Form::Plain };
        input.begins = beginning(&mut reader);
    }
    Ok(input)
}

/// Node and time of the first line, where it is a record. What is wrong with it is told when it is read.
fn beginning(reader: &mut dyn Read) -> (Option<String>, Option<Timestamp>) {
    #[derive(Deserialize)]
    struct First {
        node: Option<String>,
        time: Option<Timestamp>,
    }
    let mut line = Vec::new();
    let limit = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    let read = BufReader::new(reader.take(limit)).read_until(b'\n', &mut line);
    let first = read.ok().and_then(|_| serde_json::from_slice::<First>(&line).ok());
    first.map_or((None, None), |first| (first.node, first.time))
}

/// What is in a file, and whether it was compressed, by its first bytes.
fn open<'a>(mut file: impl Read + Send + 'a) -> anyhow::Result<(Box<dyn Read + Send + 'a>, bool)> {
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

/// The logs, shared out: each thread reads what follows on what the one before reads.
fn plan(inputs: &[Input], threads: usize) -> anyhow::Result<Vec<Vec<Piece>>> {
    let weight = |input: &Input| match input.form {
        Form::Packed => input.bytes.saturating_mul(PACKED),
        Form::Plain | Form::Stream => input.bytes,
    };
    let total: u64 = inputs.iter().map(weight).sum();
    let share = (total / u64::try_from(threads)?).max(SMALLEST_PIECE);
    let mut shares: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut taken = 0;
    for input in inputs {
        let mut from = 0;
        loop {
            if taken >= share {
                shares.push(Vec::new());
                taken = 0;
            }
            let left = weight(input).saturating_sub(from);
            let room = share.saturating_sub(taken).max(SMALLEST_PIECE);
            let cut = if input.form == Form::Plain && left > room.saturating_add(SMALLEST_PIECE) {
                line_from(input, from + room)?
            } else {
                None
            };
            let piece = Piece { input: input.clone(), from, to: cut };
            shares.last_mut().context("there is a share")?.push(piece);
            match cut {
                Some(cut) => {
                    taken = taken.saturating_add(cut - from);
                    from = cut;
                }
                None => {
                    taken = taken.saturating_add(left);
                    break;
                }
            }
        }
    }
    Ok(shares)
}

/// Where the first line begins that begins here or later; nothing where none is near.
fn line_from(input: &Input, at: u64) -> anyhow::Result<Option<u64>> {
    let told = || format!("read {}", input.name);
    let mut file = File::open(&input.path).with_context(told)?;
    let before = at.saturating_sub(1);
    file.seek(SeekFrom::Start(before)).with_context(told)?;
    let limit = u64::try_from(BLOCK)?;
    let mut rest = Vec::new();
    BufReader::new(file.take(limit)).read_until(b'\n', &mut rest).with_context(told)?;
    Ok(rest.ends_with(b"\n").then(|| before.saturating_add(rest.len().try_into().unwrap_or(u64::MAX))))
}

impl Piece {
    fn read(&self, summing: &mut Summing) -> anyhow::Result<()> {
        let Self { input, from, to } = self;
        let told = || format!("read {}", input.name);
        summing.file(&input.name, *from > 0);
        if input.name == "-" {
            let (reader, packed) = open(io::stdin()).context("read standard input")?;
            return feed(reader, packed, summing);
        }
        let mut file = File::open(&input.path).with_context(told)?;
        if input.form != Form::Plain {
            let (reader, packed) = open(file).with_context(told)?;
            return feed(reader, packed, summing);
        }
        file.seek(SeekFrom::Start(*from)).with_context(told)?;
        match to {
            Some(to) => feed(file.take(to - from), false, summing),
            None => feed(file, false, summing),
        }
    }
}

/// Hand over whole lines, block by block. What cannot be read is told, and what came before stays.
fn feed(mut reader: impl Read, packed: bool, summing: &mut Summing) -> anyhow::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut held = 0;
    // A line is being passed over that is too long.
    let mut passing = false;
    loop {
        let room = buffer.get_mut(held..BLOCK.min(held + READ)).unwrap_or_default();
        let read = match reader.read(room) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                hand_over(summing, buffer.get(..held).unwrap_or_default(), passing);
                let what = if packed { "cannot be unpacked" } else { "cannot be read" };
                summing.problem(&format!("{what} any further: {error}; what came before is counted"));
                return Ok(());
            }
        };
        if read == 0 {
            hand_over(summing, buffer.get(..held).unwrap_or_default(), passing);
            return Ok(());
        }
        let filled = held + read;
        let whole = buffer.get(held..filled).and_then(|new| new.iter().rposition(|byte| *byte == b'\n'));
        match whole.map(|place| held + place + 1) {
            Some(whole) => {
                hand_over(summing, buffer.get(..whole).unwrap_or_default(), passing);
                passing = false;
                buffer.copy_within(whole..filled, 0);
                held = filled - whole;
            }
            None if filled == buffer.len() => {
                if !passing {
                    summing.too_long(BLOCK);
                }
                passing = true;
                held = 0;
            }
            None => held = filled,
        }
    }
}

fn hand_over(summing: &mut Summing, block: &[u8], passing: bool) {
    let begin = if passing {
        block.iter().position(|byte| *byte == b'\n').map_or(block.len(), |end| end + 1)
    } else {
        0
    };
    let lines = block.get(begin..).unwrap_or_default();
    if !lines.is_empty() {
        summing.block(lines);
    }
}
