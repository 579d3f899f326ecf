//! Benchmarks: the stage they share (`stage.rs`), the rounds they are made of (here), what is said of them
//! (`summary.rs`), what else may be attached (`rivals.rs`), and where the time goes (`programs.rs`).
//!
//! Rounds with and without the agent take turns, in an order that changes from set to set, and each set
//! gives one ratio: what drifts (clock speed, other load) meets all rounds of a set alike.

mod assess;
mod bulk;
mod cluster;
mod connect;
mod drop;
mod load;
mod observe;
mod output;
mod policy;
mod programs;
mod ring;
mod rivals;
mod stage;
mod summary;
mod udp;

pub(crate) use assess::{AssessArgs, assess};
pub(crate) use bulk::bulk;
pub(crate) use cluster::{ClusterArgs, cluster};
pub(crate) use connect::connect;
pub(crate) use drop::drop;
pub(crate) use load::{LoadArgs, load};
pub(crate) use observe::{ObserveArgs, observe};
pub(crate) use output::{OutputArgs, output};
pub(crate) use policy::{PolicyArgs, policy};
pub(crate) use ring::{RingArgs, ring};
pub(crate) use udp::udp;

use crate::command::{cargo, need_root, run, say, target};
use crate::interrupt::Interrupt;
use crate::{build, setup};
use anyhow::{Result, bail};
use clap::Args;
use rivals::Rival;
use serde_json::json;
use stage::Stage;
use std::path::PathBuf;
use summary::Set;

/// Arguments of the benchmarks that attach the agent.
#[derive(Args)]
pub(crate) struct RoundArgs {
    /// Sets of rounds: one without the agent, one with it.
    #[arg(long, default_value_t = 61, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Operations a round, in the place of the benchmark's own number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..))]
    count: Option<u32>,
    /// Have everything told on its own (`flowlog run --each`), so that no connection is counted in the kernel.
    #[arg(long)]
    each: bool,
    /// A round with each of the tools that show the same, too (libbpf-tools, bpftrace), installed where missing.
    #[arg(long)]
    beside: bool,
    /// A round with another build of the agent, too, to compare the two.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// This build of the agent, in the place of a fresh one.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// What a benchmark measures.
struct Work {
    /// Its name: the benchmark's, and the worker's.
    name: &'static str,
    /// What each figure of a round is of; the first is the benchmark's own.
    figures: &'static [&'static str],
    /// Operations a round.
    count: u32,
    /// Attempts of `count` operations that the agent must have seen, or it was not there.
    seen: fn(count: u32) -> u64,
    /// nftables of the network that it is done in.
    filter: &'static str,
    /// Tools that show the same.
    rivals: &'static [Rival],
}

/// What is attached in a round.
enum Attached<'a> {
    Nothing,
    Agent(PathBuf),
    Rival(&'a Rival),
}

impl Attached<'_> {
    fn name(&self) -> String {
        match self {
            Self::Nothing => "alone".to_owned(),
            Self::Agent(program) => format!("with {}", program.display()),
            Self::Rival(rival) => format!("with {}", rival.name),
        }
    }
}

/// Measure, and print the result as the last line, in JSON.
fn measure(work: &Work, args: &RoundArgs) -> Result<()> {
    need_root("the benchmark")?;
    setup::setup()?;
    let program = args.program.clone().map_or_else(|| build::agent(true), Ok)?;
    build::traffic()?;
    let worker = release_traffic()?;
    if args.beside {
        rivals::install(work.rivals)?;
    }
    let interrupt = Interrupt::hold()?;
    let count = args.count.unwrap_or(work.count);
    let stage = Stage::set_up(work, count, args.each)?;
    let mut worker = stage.worker(&worker)?;
    // The first round pays for page faults and cold caches.
    worker.round()?;
    let mut attached = vec![Attached::Nothing, Attached::Agent(program.clone())];
    attached.extend(args.against.clone().map(Attached::Agent));
    let mut refused = Vec::new();
    for rival in work.rivals.iter().filter(|_| args.beside) {
        match stage.round(&Attached::Rival(rival), &mut worker) {
            Ok(_) => attached.push(Attached::Rival(rival)),
            Err(error) => {
                say(&format!("{} is left out: {error:#}", rival.name));
                refused.push((rival.name, format!("{error:#}")));
            }
        }
    }
    let mut sets = Vec::new();
    for number in 0..args.pairs {
        let mut set: Set = vec![Vec::new(); attached.len()];
        for turn in 0..attached.len() {
            interrupt.check()?;
            let index = (turn + usize::try_from(number)?) % attached.len();
            let (Some(what), Some(costs)) = (attached.get(index), set.get_mut(index)) else { continue };
            *costs = stage.round(what, &mut worker)?;
        }
        say(&format!("set {} of {}: {}", number + 1, args.pairs, told(&attached, &set)));
        sets.push(set);
    }
    let mut summary = summary::of(work.figures, &sets, 1);
    summary["bench"] = work.name.into();
    summary["rounds"] = sets.len().into();
    summary["each"] = args.each.into();
    for (index, other) in attached.iter().enumerate().skip(2) {
        let part = summary::of(work.figures, &sets, index);
        match other {
            Attached::Rival(rival) => summary["beside"][rival.name] = part,
            Attached::Agent(_) | Attached::Nothing => summary["against"] = part,
        }
    }
    for (name, error) in refused {
        summary["beside"][name] = json!({"error": error});
    }
    summary["programs"] = programs::look(&stage, &program, &mut worker)?;
    println!("{summary}");
    Ok(())
}

fn told(attached: &[Attached], set: &Set) -> String {
    let told = attached.iter().zip(set).map(|(what, costs)| {
        let wall_ns = costs.first().map_or(0, |cost| cost.wall_ns);
        format!("{wall_ns} ns {}", what.name())
    });
    told.collect::<Vec<_>>().join(", ")
}

fn release_traffic() -> Result<PathBuf> {
    run(cargo()?.args(["build", "--locked", "--release", "--package", "flowlog-tests", "--bins"]))?;
    let worker = target()?.join("release/flowlog-traffic");
    if !worker.is_file() {
        bail!("cargo built no {}", worker.display());
    }
    Ok(worker)
}
