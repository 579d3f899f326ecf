//! `cargo xtask bench assess`: what reading flow logs costs `flowlog assess` and all else that takes `--logs`, beside DuckDB.
//!
//! Logs are made by the agent's own encoder (`flowlog-agent/benches/logs`). How fast: files, read by one thread, again and again.
//! How much memory: as many records as are asked for, all different, made while they are read.

use super::ring::resident_mib;
use super::summary::{quantile, sorted};
use crate::command::{cargo, repository, run, run_quietly, say, target};
use crate::deploy::find_python;
use crate::interrupt::Interrupt;
use crate::{build, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use flowlog_tests::wait;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Arguments of `cargo xtask bench assess`.
#[derive(Args)]
pub(crate) struct AssessArgs {
    /// Records of the longest log, whose memory is measured.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    records: u64,
    /// Records of the files that are read for speed, some 2,200 bytes each; at most `--records`.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    file_records: u64,
    /// Different edges, more or less.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(250..=900_000))]
    edges: u32,
    /// Rounds: each program reads the files once in each.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Leave DuckDB out.
    #[arg(long)]
    alone: bool,
    /// This build of the agent, in the place of a fresh one.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// This build of what makes logs (`cargo bench --bench logs`), in the place of a fresh one.
    #[arg(long, value_name = "PROGRAM")]
    maker: Option<PathBuf>,
    /// Another build of the agent, too, to compare the two.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
}

/// By then ten million records are read, by whatever machine.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Ticks of a second in `/proc/PID/stat` (USER_HZ), on every architecture that we run on.
const TICKS: f64 = 100.0;

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn assess(args: &AssessArgs) -> Result<()> {
    setup::setup()?;
    let interrupt = Interrupt::hold()?;
    let program = args.program.clone().map_or_else(|| build::agent(true), Ok)?;
    let maker = Maker(args.maker.clone());
    if args.maker.is_none() {
        run(cargo()?.args(MAKER).arg("--no-run"))?;
    }
    let python = if args.alone { None } else { Some(python()?) };
    let folder = tempfile::Builder::new().prefix("bench-assess-").tempdir_in(target()?);
    let folder = folder.context("make a folder for logs")?;
    let files = args.file_records.min(args.records);
    let plain = Logs::make(&maker, &folder.path().join("plain"), files, args.edges, None)?;
    let edges = count_edges(&program, &plain)?;
    say(&format!("{files} records, {} bytes, {edges} edges", plain.bytes));
    let mut rounds = Rounds::default();
    for number in 1..=args.rounds {
        interrupt.check()?;
        rounds.add("flowlog", plain.read_by(&program, &["edges", "--summary", "--threads", "1"])?);
        if let Some(against) = &args.against {
            rounds.add("against", plain.read_by(against, &["edges", "--summary", "--threads", "1"])?);
        }
        if let Some(python) = &python {
            rounds.add("duckdb", plain.read_by_duckdb(python, "sums")?);
        }
        say(&format!("round {number} of {}: {}", args.rounds, rounds.last()));
    }
    let mut summary = json!({
        "bench": "assess", "file_records": files, "edges": edges, "rounds": args.rounds,
        "line_bytes": plain.bytes / files.max(1),
        "mb_per_s_per_core": rounds.speed("flowlog", plain.bytes),
    });
    if args.against.is_some() {
        summary["against_ratio"] = json!(rounds.ratio("against"));
        summary["against_mb_per_s_per_core"] = json!(rounds.speed("against", plain.bytes));
    }
    if let Some(python) = &python {
        summary["duckdb_ratio"] = json!(rounds.ratio("duckdb"));
        summary["duckdb_mb_per_s_per_core"] = json!(rounds.speed("duckdb", plain.bytes));
        summary["duckdb_same_answer_ratio"] =
            json!(same_answer(args, &maker, &program, python, folder.path())?);
    }
    let whole = plain.read_by(&program, &["assess", "--output", "json", "--fail-on", "never"])?;
    summary["assess"] = json!({"cpu_s": whole.cpu_s, "rss_mib": whole.peak_mib});
    for pack in ["gz", "zst"] {
        interrupt.check()?;
        summary["packed"][pack] = packed(args, &maker, &program, folder.path(), pack)?;
    }
    drop(plain);
    let mut longer = Vec::new();
    for records in [args.records / 10, args.records / 10 * 3, args.records] {
        interrupt.check()?;
        let read = read_stream(&maker, &program, records, args.edges)?;
        say(&format!("{records} records from a pipe: {:.1} MiB", read.peak_mib));
        summary["rss_mib"] = json!(read.peak_mib);
        let speed = read.bytes.map(|bytes| megabytes(bytes) / read.cpu_s).map(f64::round);
        longer.push(json!({"records": records, "rss_mib": read.peak_mib, "mb_per_s_per_core": speed}));
    }
    summary["records"] = json!(longer);
    println!("{summary}");
    Ok(())
}

/// What makes logs.
pub(super) const MAKER: [&str; 7] =
    ["bench", "--quiet", "--locked", "--package", "flowlog-agent", "--bench", "logs"];

/// What makes logs, built where cargo runs it.
pub(super) struct Maker(pub(super) Option<PathBuf>);

impl Maker {
    fn command(&self, records: u64, edges: u32, to: &Path) -> Result<Command> {
        let mut command = match &self.0 {
            Some(program) => Command::new(program),
            None => {
                let mut command = cargo()?;
                command.args(MAKER).arg("--");
                command
            }
        };
        command.args(["--records", &records.to_string(), "--edges", &edges.to_string(), "--to"]).arg(to);
        Ok(command)
    }
}

/// What one program took to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) cpu_s: f64,
    pub(super) peak_mib: f64,
    /// What it says that it read.
    bytes: Option<u64>,
}

/// Logs in a folder; they go with this.
pub(super) struct Logs {
    pub(super) folder: PathBuf,
    records: u64,
    pub(super) bytes: u64,
}

impl Drop for Logs {
    fn drop(&mut self) {
        // Whatever is left goes with the folder around it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Logs {
    pub(super) fn make(
        maker: &Maker,
        folder: &Path,
        records: u64,
        edges: u32,
        pack: Option<&str>,
    ) -> Result<Self> {
        fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
        let mut logs = Self { folder: folder.to_owned(), records, bytes: 0 };
        let mut command = maker.command(records, edges, folder)?;
        if let Some(pack) = pack {
            command.args(["--pack", pack]);
        }
        run(&mut command)?;
        for file in logs.files()? {
            logs.bytes += file.metadata().with_context(|| format!("look at {}", file.display()))?.len();
        }
        Ok(logs)
    }

    pub(super) fn files(&self) -> Result<Vec<PathBuf>> {
        let entries =
            fs::read_dir(&self.folder).with_context(|| format!("list {}", self.folder.display()))?;
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry.context("list logs")?.path());
        }
        files.sort();
        Ok(files)
    }

    fn read_by(&self, program: &Path, words: &[&str]) -> Result<Taken> {
        let mut command = Command::new(program);
        command.args(words).arg("--logs").arg(&self.folder).stdin(Stdio::null());
        let (taken, said) = measured(&mut command)?;
        let read = said["inputs"]["records"].as_object().map_or(&said, |_| &said["inputs"]["records"]);
        let flows = &read["lines"]["flow"];
        if flows.as_u64() != Some(self.records) {
            bail!("{} read {flows} of {} flows", program.display(), self.records);
        }
        Ok(Taken { bytes: read["bytes"].as_u64(), ..taken })
    }

    fn read_by_duckdb(&self, python: &Path, query: &str) -> Result<Taken> {
        let mut command = Command::new(python);
        command.arg(repository()?.join("xtask/src/bench/assess.py")).arg(query).args(self.files()?);
        let (taken, said) = measured(&mut command)?;
        // Of the query alone, without what Python takes to begin.
        let cpu_s = said["cpu_s"].as_f64().context("DuckDB's time")?;
        Ok(Taken { cpu_s, ..taken })
    }
}

/// Run it to its end; what it took, and what it said.
fn measured(command: &mut Command) -> Result<(Taken, Value)> {
    let output = tempfile::NamedTempFile::new().context("make a file for an answer")?;
    command.stdout(output.reopen().context("open a file for an answer")?);
    let child = command.spawn().with_context(|| format!("run {:?}", command.get_program()))?;
    let taken = watched(child)?;
    let text = fs::read_to_string(output.path()).context("read an answer")?;
    Ok((taken, serde_json::from_str(&text).with_context(|| format!("an answer in JSON, not `{text:.200}`"))?))
}

/// See it to its end. What it took of CPUs is still told when it has ended and was not waited for; its memory is not.
pub(super) fn watched(mut child: Child) -> Result<Taken> {
    let pid = child.id();
    let (mut peak_mib, mut cpu_s) = (0.0, None);
    wait::until("a program ends", PATIENCE, || {
        peak_mib = resident_mib(pid)?["peak"].as_f64().unwrap_or(peak_mib);
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("look at a running program")?;
        // What follows the name, which may have anything in it.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok());
        cpu_s = ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / TICKS);
        Ok(fields.first() == Some(&"Z"))
    })?;
    let status = child.wait().context("wait for a program")?;
    if !status.success() {
        bail!("it failed: {status}");
    }
    Ok(Taken { cpu_s: cpu_s.context("its CPU time")?, peak_mib, bytes: None })
}

fn count_edges(program: &Path, logs: &Logs) -> Result<usize> {
    let mut command = Command::new(program);
    let lines = run_quietly(command.args(["edges", "--logs"]).arg(&logs.folder))?;
    Ok(lines.lines().count())
}

/// How much more DuckDB takes for the same answer, of a tenth of the records.
fn same_answer(
    args: &AssessArgs,
    maker: &Maker,
    program: &Path,
    python: &Path,
    folder: &Path,
) -> Result<Option<f64>> {
    let records = (args.file_records.min(args.records) / 10).max(1_000);
    let logs = Logs::make(maker, &folder.join("tenth"), records, args.edges, None)?;
    let mut rounds = Rounds::default();
    for _ in 0..args.rounds.div_ceil(3) {
        rounds.add("flowlog", logs.read_by(program, &["edges", "--summary", "--threads", "1"])?);
        rounds.add("duckdb", logs.read_by_duckdb(python, "edges")?);
    }
    Ok(rounds.ratio("duckdb"))
}

/// The same lines, packed: a fifth of them.
fn packed(args: &AssessArgs, maker: &Maker, program: &Path, folder: &Path, pack: &str) -> Result<Value> {
    let records = (args.file_records.min(args.records) / 5).max(1_000);
    let logs = Logs::make(maker, &folder.join(pack), records, args.edges, Some(pack))?;
    let mut rounds = Rounds::default();
    let mut bytes = 0;
    for _ in 0..args.rounds.div_ceil(3) {
        let read = logs.read_by(program, &["edges", "--summary", "--threads", "1"])?;
        bytes = read.bytes.unwrap_or_default();
        rounds.add("flowlog", read);
    }
    let speed = rounds.speed("flowlog", bytes);
    Ok(
        json!({"mb_per_s_per_core": speed, "packed_to": quantile(&[megabytes(logs.bytes) / megabytes(bytes)], 2)}),
    )
}

/// Read so many records from a pipe, in which they are as they are made.
fn read_stream(maker: &Maker, program: &Path, records: u64, edges: u32) -> Result<Taken> {
    let mut making = maker
        .command(records, edges, Path::new("-"))?
        .stdout(Stdio::piped())
        .spawn()
        .context("make records")?;
    let stdout = making.stdout.take().context("records from a pipe")?;
    let mut command = Command::new(program);
    command.args(["edges", "--summary", "--logs", "-"]).stdin(stdout);
    let read = measured(&mut command);
    // It holds the pipe's other end: without a reader the maker ends.
    drop(command);
    let made = making.wait().context("wait for what makes records")?;
    let (taken, said) = read?;
    if !made.success() || said["lines"]["flow"].as_u64() != Some(records) {
        bail!("{} read {} of {records} flows", program.display(), said["lines"]["flow"]);
    }
    Ok(Taken { bytes: said["bytes"].as_u64(), ..taken })
}

fn python() -> Result<PathBuf> {
    let tools = repository()?.join("target/tools/deploy");
    Ok(find_python(&tools, "deploy/ci/requirements.txt", "to read logs with DuckDB")?.join("python"))
}

/// CPU seconds by who took them, round by round.
#[derive(Debug, Default)]
struct Rounds(Vec<(&'static str, Vec<f64>)>);

impl Rounds {
    fn add(&mut self, who: &'static str, taken: Taken) {
        match self.0.iter_mut().find(|(name, _)| *name == who) {
            Some((_, times)) => times.push(taken.cpu_s),
            None => self.0.push((who, vec![taken.cpu_s])),
        }
    }

    fn of(&self, who: &str) -> &[f64] {
        self.0.iter().find(|(name, _)| *name == who).map_or(&[], |(_, times)| times)
    }

    fn last(&self) -> String {
        let told = self.0.iter().map(|(name, times)| format!("{name} {:.2} s", times.last().unwrap_or(&0.0)));
        told.collect::<Vec<_>>().join(", ")
    }

    /// Megabytes a second of a core, of the median round.
    fn speed(&self, who: &str, bytes: u64) -> Option<f64> {
        let times = sorted(self.of(who).iter().copied());
        quantile(&times, 2).map(|cpu_s| (megabytes(bytes) / cpu_s).round())
    }

    /// So many times flowlog's time another takes, in the median of the rounds' ratios.
    fn ratio(&self, other: &str) -> Option<f64> {
        let pairs = self.of("flowlog").iter().zip(self.of(other));
        quantile(&sorted(pairs.map(|(ours, theirs)| theirs / ours)), 2)
    }
}

/// Of a million bytes.
pub(super) fn megabytes(bytes: u64) -> f64 {
    // Kilobytes of a log fit; a thousandth is beyond what is shown.
    f64::from(u32::try_from(bytes / 1_000).unwrap_or(u32::MAX)) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(cpu_s: f64) -> Taken {
        Taken { cpu_s, peak_mib: 0.0, bytes: None }
    }

    #[test]
    fn the_ratio_is_that_of_the_median_round() {
        let mut rounds = Rounds::default();
        for (ours, theirs) in [(1.0, 4.0), (2.0, 10.0), (1.0, 9.0)] {
            rounds.add("flowlog", taken(ours));
            rounds.add("duckdb", taken(theirs));
        }
        assert_eq!(rounds.ratio("duckdb"), Some(5.0));
        assert_eq!(rounds.speed("flowlog", 500_000_000), Some(500.0));
        assert_eq!(rounds.ratio("against"), None);
    }

    #[test]
    fn what_a_program_took_is_known_when_it_has_ended() {
        let mut busy = Command::new("sh");
        busy.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo '{\"done\":1}'"]);
        let (taken, said) = measured(&mut busy).unwrap();
        assert!(taken.cpu_s > 0.0 && taken.peak_mib > 0.1, "{taken:?}");
        assert_eq!(said["done"], 1);
        assert!(measured(Command::new("sh").args(["-c", "exit 3"])).is_err());
    }
}
