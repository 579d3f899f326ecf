//! What a record costs from the flow to the file: encoding alone, with the sink, and beside serde_json.
//!
//! `cargo xtask bench output` runs it. CPU time of the whole process, so that the writer's thread is in it; the last line is
//! JSON. Flows are those of the log readers' benchmark, with labels, images and names as clusters have them.

#[path = "../logs/estate.rs"]
mod estate;
mod rounds;

use anyhow::{Context, Result, bail};
use estate::Estate;
use rounds::Rounds;
use serde_json::json;
use std::path::PathBuf;

/// Kinds of connection in the estate.
const EDGES: u32 = 10_000;

struct Args {
    records: usize,
    rounds: u32,
    folder: PathBuf,
    /// This way of writing alone, for a profiler.
    way: Option<String>,
}

fn main() -> Result<()> {
    let args = args()?;
    let folder = tempfile::Builder::new().prefix("bench-output-").tempdir_in(&args.folder);
    let folder = folder.with_context(|| format!("make a folder in {}", args.folder.display()))?;
    let estate = Estate::of(EDGES);
    let mut log = estate.log(0);
    let flows = (0..args.records).map(|_| log.next_flow()).collect::<Result<Vec<_>>>()?;
    let mut rounds = Rounds::new(flows, folder.path(), args.way.as_deref())?;
    for number in 1..=args.rounds {
        rounds.turn()?;
        eprintln!("round {number} of {}: {}", args.rounds, rounds.last());
    }
    let mut summary = json!({"bench": "output", "records": args.records, "rounds": args.rounds});
    rounds.tell(&mut summary);
    println!("{summary}");
    Ok(())
}

fn args() -> Result<Args> {
    let mut args = Args { records: 100_000, rounds: 11, folder: std::env::temp_dir(), way: None };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--records" => args.records = value()?.parse().context("--records")?,
            "--rounds" => args.rounds = value()?.parse().context("--rounds")?,
            "--folder" => args.folder = PathBuf::from(value()?),
            "--way" => args.way = Some(value()?),
            // Cargo adds it.
            "--bench" => {}
            other => bail!("`{other}` is no argument of this benchmark"),
        }
    }
    Ok(args)
}
