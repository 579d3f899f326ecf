//! `flowlog policy eval`: cases in, answers out, and how they differ from what is expected.
//!
//! One case is in memory at a time. A line that cannot be read is told, and the others are answered.

use crate::cluster::{Case, CaseAnswer, CaseQuery, Expectation};
use crate::model::Decision;
use crate::policy::Cache;
use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use foldhash::HashMap;
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a gzipped file begins (RFC 1952): no JSON does.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Arguments of `flowlog policy eval`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// File with a case on each line, gzipped where its name ends in `.gz`; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    cases: PathBuf,
    /// Compare with the expectations in the file: mismatches and sums go to standard error.
    #[arg(long)]
    expect: bool,
    /// Compare those expectations too on which fewer than two implementations agree.
    #[arg(long, requires = "expect")]
    all: bool,
}

/// An answer line.
#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    results: Vec<Answered<'a>>,
}

#[derive(Serialize)]
struct Answered<'a> {
    id: &'a Value,
    ingress: Decision,
    egress: Decision,
    combined: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// What came of all lines.
#[derive(Default)]
struct Sums {
    cases: usize,
    answers: usize,
    unreadable: usize,
    compared: usize,
    differing: usize,
    left_out: usize,
}

/// Answer every case.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut input = open(&args.cases)?;
    let mut output = BufWriter::new(io::stdout().lock());
    let (mut sums, mut line) = (Sums::default(), Vec::new());
    let name = match args.cases.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => args.cases.display().to_string(),
    };
    for number in 1_u64.. {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            // What came before it stands, and is summed up.
            Err(error) => {
                sums.unreadable += 1;
                tell(&format!("flowlog: {name}, line {number}: nothing can be read from here on: {error}"));
                break;
            }
        }
        if number == 1 && line.starts_with(GZIP) {
            bail!(
                "{name} is gzipped, and no name that ends in .gz says so: rename it, or `gzip -dc` it first"
            );
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match Case::read(&line) {
            Ok(case) => match one(&case, args, &mut sums, &mut output) {
                // Whoever read the answers has gone, and wants no more of them.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written.context("write the answers to standard output")?,
            },
            Err(error) => {
                sums.unreadable += 1;
                tell(&format!("flowlog: {name}, line {number}: {error}"));
            }
        }
    }
    match output.flush() {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        flushed => flushed.context("write the answers to standard output")?,
    }
    if args.expect {
        tell(&sums.to_string());
    }
    Ok(ExitCode::from(if sums.unreadable > 0 { 2 } else { u8::from(sums.differing > 0) }))
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("open the cases {}", path.display()))?;
    let is_gzipped = path.extension().and_then(OsStr::to_str) == Some("gz");
    Ok(if is_gzipped {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(BufReader::new(file))
    })
}

fn one(case: &Case, args: &Args, sums: &mut Sums, output: &mut impl Write) -> io::Result<()> {
    let mut cache = Cache::new(64);
    let answers: Vec<(&CaseQuery, CaseAnswer)> =
        case.queries.iter().map(|query| (query, case.answer(query, &mut cache))).collect();
    let error = problem(case);
    let results = answers.iter().map(|(query, answer)| Answered {
        id: &query.id,
        ingress: answer.ingress.decision,
        egress: answer.egress.decision,
        combined: answer.combined,
        error: error.as_deref(),
    });
    serde_json::to_writer(&mut *output, &Line { case: &case.id, results: results.collect() })?;
    output.write_all(b"\n")?;
    sums.cases += 1;
    sums.answers += answers.len();
    if args.expect {
        compare(case, &answers, args, sums);
    }
    Ok(())
}

/// What of the case could not be read.
fn problem(case: &Case) -> Option<String> {
    let first = case.problems.first()?;
    Some(match case.problems.len() {
        1 => first.to_string(),
        count => format!("{first} (and {} more)", count - 1),
    })
}

fn compare(case: &Case, answers: &[(&CaseQuery, CaseAnswer)], args: &Args, sums: &mut Sums) {
    let by_id: HashMap<String, &(&CaseQuery, CaseAnswer)> =
        answers.iter().map(|answer| (answer.0.id.to_string(), answer)).collect();
    for expected in &case.expected {
        let Some((query, answer)) = by_id.get(&expected.id.to_string()) else {
            sums.differing += 1;
            tell(&format!("{}, query {}: expected, but it is not there", case.id, expected.id));
            continue;
        };
        if !args.all && !expected.is_agreed() {
            sums.left_out += 1;
            continue;
        }
        sums.compared += 1;
        let differences = differences(expected, answer);
        if !differences.is_empty() {
            sums.differing += 1;
            let (source, destination) = (query.source, query.destination);
            tell(&format!(
                "{}, query {} ({source} → {destination} {}/{}): {}",
                case.id,
                expected.id,
                query.port,
                query.protocol.as_kubernetes(),
                differences.join("; ")
            ));
        }
    }
}

fn differences(expected: &Expectation, answer: &CaseAnswer) -> Vec<String> {
    let rows = [
        ("egress", expected.egress, answer.egress.decision),
        ("ingress", expected.ingress, answer.ingress.decision),
        ("combined", expected.combined, answer.combined),
    ];
    let differs = rows.into_iter().filter_map(|(what, expected, got)| {
        let expected = Decision::from(expected?);
        let (wanted, found) = (expected.as_str(), got.as_str());
        (expected != got).then(|| format!("{what} expected {wanted}, got {found}"))
    });
    differs.collect()
}

impl std::fmt::Display for Sums {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cases, answers, unreadable, compared, differing, left_out } = self;
        write!(out, "{cases} cases, {answers} answers: {compared} compared, ")?;
        write!(out, "{differing} differ from what is expected")?;
        if *left_out > 0 {
            write!(out, "; {left_out} left out, on which fewer than two implementations agree (see --all)")?;
        }
        if *unreadable > 0 {
            let lines = if *unreadable == 1 { "line" } else { "lines" };
            write!(out, "; {unreadable} {lines} could not be read")?;
        }
        Ok(())
    }
}

/// A line on standard error; nothing can be done where that is gone.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
