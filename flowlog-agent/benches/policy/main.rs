//! What the policy engine costs: a question, a load, an update, memory, and how they grow with the cluster.
//!
//! `cargo xtask bench policy` runs it. CPU time of the one thread that works; the last line is JSON.

mod make;
mod measure;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use make::Size;
use measure::Figures;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Pods, policies, namespaces.
const CASES: [(&str, Size); 3] = [
    ("small", Size { pods: 100, policies: 50, namespaces: 2 }),
    ("big", Size { pods: 5_000, policies: 1_000, namespaces: 100 }),
    ("dense", Size { pods: 5_000, policies: 1_000, namespaces: 5 }),
];

/// 50 pods and 10 policies a namespace.
const GROWTH: [Size; 6] = [
    Size { pods: 100, policies: 20, namespaces: 2 },
    Size { pods: 500, policies: 100, namespaces: 10 },
    Size { pods: 1_000, policies: 200, namespaces: 20 },
    Size { pods: 5_000, policies: 1_000, namespaces: 100 },
    Size { pods: 10_000, policies: 2_000, namespaces: 200 },
    Size { pods: 50_000, policies: 10_000, namespaces: 1_000 },
];

struct Args {
    cases: Option<PathBuf>,
    seed: u64,
    growth: bool,
}

fn main() -> Result<()> {
    let args = args()?;
    let mut cases = serde_json::Map::new();
    for (name, size) in CASES {
        let case = match &args.cases {
            Some(folder) => read(&folder.join(format!("{name}.json.gz")))?,
            None => make::case(size, args.seed),
        };
        let figures = measure::case(&case).with_context(|| format!("case {name}"))?;
        say(name, &figures);
        cases.insert(name.to_owned(), figures.to_json());
    }
    let mut growth = Vec::new();
    for size in GROWTH.iter().filter(|_| args.growth) {
        let case = make::case(*size, args.seed);
        let figures = measure::case(&case).with_context(|| format!("{} pods", size.pods))?;
        say(&format!("{} pods, {} policies", size.pods, size.policies), &figures);
        growth.push(figures.to_json());
    }
    let made = args.cases.is_none();
    println!("{}", json!({"bench": "policy", "made": made, "cases": cases, "growth": growth}));
    Ok(())
}

fn say(name: &str, figures: &Figures) {
    eprintln!("{name}: {figures}");
}

fn args() -> Result<Args> {
    let mut args = Args { cases: None, seed: 1, growth: true };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--cases" => args.cases = Some(PathBuf::from(value()?)),
            "--seed" => args.seed = value()?.parse().context("--seed")?,
            "--no-growth" => args.growth = false,
            // Cargo adds it.
            "--bench" => {}
            other => bail!("`{other}` is no argument of this benchmark"),
        }
    }
    Ok(args)
}

/// The first case of a file.
fn read(path: &Path) -> Result<Value> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut line = String::new();
    BufReader::new(GzDecoder::new(file))
        .read_line(&mut line)
        .with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&line).with_context(|| format!("parse {}", path.display()))
}
