//! Flow logs for the benchmark of what reads them, by the encoder that the agent writes them with.
//!
//! `cargo xtask bench assess` runs it: into a folder, a file for each node, as agents leave them; or to standard output, the nodes'
//! lines mixed, as a collector hands them over.

mod estate;

use anyhow::{Context, Result, bail};
use estate::{Estate, Log, NODES};
use flate2::Compression;
use flate2::write::GzEncoder;
use flowlog::record::{Encoder, Labelling, Run};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// Lines of a node that stand together where nodes are mixed.
const TOGETHER: u64 = 100;

struct Args {
    records: u64,
    edges: u32,
    to: Option<PathBuf>,
    pack: Pack,
}

/// How files are compressed.
#[derive(Clone, Copy)]
enum Pack {
    No,
    Gz,
    Zst,
}

impl Pack {
    fn extension(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Gz => ".gz",
            Self::Zst => ".zst",
        }
    }
}

fn main() -> Result<()> {
    let args = args()?;
    let estate = Estate::of(args.edges);
    let nodes = u64::from(NODES);
    let mut logs: Vec<_> = (0..NODES).map(|node| Lines::of(&estate, node)).collect();
    let share = |node: u64| args.records / nodes + u64::from(node < args.records % nodes);
    let mut lines = Vec::new();
    match &args.to {
        Some(folder) => {
            for (node, log) in (0..).zip(&mut logs) {
                let path = folder.join(format!("worker-{node}.json{}", args.pack.extension()));
                let told = || format!("write {}", path.display());
                let file = BufWriter::with_capacity(1 << 20, File::create(&path).with_context(told)?);
                // Both as their programs do it where nothing is said.
                match args.pack {
                    Pack::No => write(log, share(node), file)?,
                    Pack::Gz => write(log, share(node), GzEncoder::new(file, Compression::default()))?,
                    Pack::Zst => write(log, share(node), zstd::Encoder::new(file, 3)?.auto_finish())?,
                }
            }
        }
        None => {
            let mut out = io::stdout().lock();
            let mut left: Vec<u64> = (0..nodes).map(share).collect();
            while left.iter().any(|left| *left > 0) {
                for (log, left) in logs.iter_mut().zip(&mut left) {
                    lines.clear();
                    let count = TOGETHER.min(*left);
                    for _ in 0..count {
                        log.append_line(&mut lines)?;
                    }
                    *left -= count;
                    out.write_all(&lines).context("write to standard output")?;
                }
            }
        }
    }
    Ok(())
}

/// A node's log as lines.
struct Lines<'a> {
    log: Log<'a>,
    encoder: Encoder,
    seq: u64,
}

impl<'a> Lines<'a> {
    fn of(estate: &'a Estate, node: u32) -> Self {
        let run = Run {
            node: format!("worker-{node}"),
            cluster: Some("production".to_owned()),
            id: format!("6f0e6f529a1f4c398f3d2f6b1f2f{node:04x}"),
        };
        Self { log: estate.log(node), encoder: Encoder::new(run, Labelling::default()), seq: 0 }
    }

    fn append_line(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.seq += 1;
        self.encoder.flow(&self.log.next_flow()?)?.append_to(self.seq, out);
        Ok(())
    }
}

fn write(log: &mut Lines<'_>, records: u64, mut out: impl Write) -> Result<()> {
    let mut line = Vec::new();
    for _ in 0..records {
        line.clear();
        log.append_line(&mut line)?;
        out.write_all(&line).context("write a line")?;
    }
    out.flush().context("write the last lines")
}

fn args() -> Result<Args> {
    let mut args = Args { records: 1_000_000, edges: 100_000, to: None, pack: Pack::No };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--records" => args.records = value()?.parse().context("--records")?,
            "--edges" => args.edges = value()?.parse().context("--edges")?,
            "--to" => args.to = Some(PathBuf::from(value()?)).filter(|to| to.as_os_str() != "-"),
            "--pack" => {
                args.pack = match value()?.as_str() {
                    "gz" => Pack::Gz,
                    "zst" => Pack::Zst,
                    other => bail!("--pack takes gz or zst, not `{other}`"),
                }
            }
            // Cargo adds it.
            "--bench" => {}
            other => bail!("`{other}` is no argument of this program"),
        }
    }
    Ok(args)
}
