//! `cargo xtask bench observe`: how fast logs are looked through, and how soon the first line is there.

use super::assess::{Logs, MAKER, Maker, megabytes, watched};
use super::summary::{quantile, sorted};
use crate::command::{cargo, run, say, target};
use crate::interrupt::Interrupt;
use crate::{build, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Arguments of `cargo xtask bench observe`.
#[derive(Args)]
pub(crate) struct ObserveArgs {
    /// Records, some 2,200 bytes each, in a file for each of 20 nodes.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    records: u64,
    /// Rounds of each case.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// This build of the agent, in the place of a fresh one.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// This build of what makes logs (`cargo bench --bench logs`), in the place of a fresh one.
    #[arg(long, value_name = "PROGRAM")]
    maker: Option<PathBuf>,
}

/// What is asked for, by its name in the summary.
const CASES: [(&str, &[&str]); 7] = [
    ("class", &["--class", "policy_not_enforced"]),
    ("denials", &["--only", "denials"]),
    ("namespace", &["-n", "team-03"]),
    ("nothing", &["--class", "policy_not_enforced", "-n", "nobody"]),
    ("from_to", &["--from", "team-03", "--to", "team-04"]),
    ("vendor", &["--vendor", "vendor 7"]),
    ("all", &[]),
];

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn observe(args: &ObserveArgs) -> Result<()> {
    setup::setup()?;
    let interrupt = Interrupt::hold()?;
    let program = args.program.clone().map_or_else(|| build::agent(true), Ok)?;
    let maker = Maker(args.maker.clone());
    if args.maker.is_none() {
        run(cargo()?.args(MAKER).arg("--no-run"))?;
    }
    let folder = tempfile::Builder::new().prefix("bench-observe-").tempdir_in(target()?);
    let folder = folder.context("make a folder for logs")?;
    let logs = Logs::make(&maker, &folder.path().join("plain"), args.records, 100_000, None)?;
    let one = logs.files()?.first().cloned().context("a log")?;
    say(&format!("{} records, {} bytes", args.records, logs.bytes));
    let mut summary = json!({
        "bench": "observe", "records": args.records, "bytes": logs.bytes, "rounds": args.rounds,
    });
    for (name, words) in CASES {
        let (mut walls, mut firsts, mut cpus, mut peak_mib) = (Vec::new(), Vec::new(), Vec::new(), 0.0_f64);
        for _ in 0..args.rounds {
            interrupt.check()?;
            let (wall_s, cpu_s, peak) = whole(&program, words, &logs.folder)?;
            walls.push(megabytes(logs.bytes) / wall_s);
            cpus.push(megabytes(logs.bytes) / cpu_s);
            peak_mib = peak_mib.max(peak);
            firsts.extend(first_ms(&program, words, &logs.folder)?);
        }
        let median = |figures: Vec<f64>| quantile(&sorted(figures.into_iter()), 2);
        summary[name] = json!({
            "mb_per_s": median(walls).map(f64::round), "mb_per_s_per_core": median(cpus).map(f64::round),
            "first_line_ms": median(firsts), "peak_mib": peak_mib,
        });
        say(&format!("{name}: {}", summary[name]));
    }
    let (wall_s, ..) = whole(&program, &["--class", "policy_not_enforced"], &one)?;
    let bytes = one.metadata().with_context(|| format!("look at {}", one.display()))?.len();
    summary["one_file_mb_per_s"] = json!((megabytes(bytes) / wall_s).round());
    println!("{summary}");
    Ok(())
}

fn command(program: &Path, words: &[&str], logs: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("observe").args(words).arg(logs).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Seconds that all of it takes, and of processors; how much memory at most. What is shown goes to a file.
fn whole(program: &Path, words: &[&str], logs: &Path) -> Result<(f64, f64, f64)> {
    let output = tempfile::tempfile().context("make a file for an answer")?;
    let began = Instant::now();
    let child = command(program, words, logs).stdout::<File>(output).spawn().context("run observe")?;
    let taken = watched(child)?;
    Ok((began.elapsed().as_secs_f64(), taken.cpu_s, taken.peak_mib))
}

/// Until the first line of a record comes; nothing where none does.
fn first_ms(program: &Path, words: &[&str], logs: &Path) -> Result<Option<f64>> {
    let began = Instant::now();
    let mut child = command(program, words, logs).stdout(Stdio::piped()).spawn().context("run observe")?;
    let stdout = child.stdout.take().context("what it shows")?;
    let mut first = None;
    for line in BufReader::new(stdout).lines() {
        if !line.context("read what it shows")?.starts_with("--") {
            first = Some(began.elapsed().as_secs_f64() * 1_000.0);
            break;
        }
    }
    // It ends by itself, since nobody reads any more.
    let status = child.wait().context("wait for observe")?;
    if !status.success() {
        bail!("it failed: {status}");
    }
    Ok(first)
}
