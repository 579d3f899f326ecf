//! Flow logs as a user gives them: files, folders with rotated and compressed ones, standard input; read by several threads.

mod blocks;
mod inputs;

pub(super) use blocks::{Blocks, LONGEST, Lines, Step};
pub(super) use inputs::{Form, Input, input, inputs, listed, open};

use crate::model::Observations;
use crate::record::read::{Summing, Window};
use anyhow::{Context as _, bail};
use blocks::feed;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

/// What one thread reads of a file at least.
const SMALLEST_PIECE: u64 = 16 << 20;

/// So much longer than it is packed a compressed log is thought to be.
const PACKED: u64 = 12;

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

/// A moment as people give it.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
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

/// What one thread reads of a log.
#[derive(Clone, Debug)]
struct Piece {
    input: Input,
    from: u64,
    /// To the end where absent: a log may grow.
    to: Option<u64>,
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
    let limit = u64::try_from(LONGEST)?;
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
            feed(reader, packed, summing);
            return Ok(());
        }
        let mut file = File::open(&input.path).with_context(told)?;
        if input.form != Form::Plain {
            let (reader, packed) = open(file).with_context(told)?;
            feed(reader, packed, summing);
            return Ok(());
        }
        file.seek(SeekFrom::Start(*from)).with_context(told)?;
        match to {
            Some(to) => feed(file.take(to - from), false, summing),
            None => feed(file, false, summing),
        }
        Ok(())
    }
}
