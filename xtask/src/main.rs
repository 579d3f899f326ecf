//! Everything a developer or CI runs, one subcommand each: `cargo xtask …`.

mod bench;
mod bpf;
mod build;
mod ci;
mod command;
mod demo;
mod deploy;
mod docs;
mod fuzz;
mod image;
mod interrupt;
mod layers;
mod lint;
mod lookers;
mod setup;
mod test;
mod vm;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// Everything a developer or CI runs.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need and this machine lacks, saying what.
    Setup,
    /// Build the agent with the kernel half in it.
    Build {
        /// Optimised, as it ships.
        #[arg(long)]
        release: bool,
    },
    /// Build the kernel half alone and say where it is.
    Bpf,
    /// Show what flowlog sees: a node of namespaces, real traffic, real records (root).
    Demo(demo::DemoArgs),
    /// Run every test, kernel tests included (root).
    Test(test::TestArgs),
    /// Run the kernel tests on Debian's kernels from 5.10 on, in an emulator (root).
    Vm(vm::VmArgs),
    /// Check the manifests, the chart and the metrics (root; makes a Python environment in `target`).
    Deploy,
    /// Build the image, without a daemon, and look at it (root; minutes).
    Image(image::ImageArgs),
    /// What CI runs: set-up, lints, layers, documents, manifests, tests.
    Ci,
    /// Hold the agent's imports against the house's floors.
    Layers,
    /// Check that generated documents are up to date.
    Docs {
        /// Write them instead.
        #[arg(long)]
        write: bool,
    },
    /// Measure.
    #[command(subcommand)]
    Bench(Bench),
    /// Formatting and clippy, both halves.
    Lint(LintArgs),
    /// Feed what reads manifests, policy cases, DNS answers and logs with random input (installs cargo-fuzz where missing).
    Fuzz(fuzz::FuzzArgs),
}

#[derive(Subcommand)]
enum Bench {
    /// What connect+accept+close on loopback costs with the agent attached, as a ratio (root).
    Connect(bench::RoundArgs),
    /// What a datagram of an unconnected socket costs with the agent attached: sent, taken, sent to many (root).
    Udp(bench::RoundArgs),
    /// What bytes over one TCP connection cost with the agent attached (root).
    Bulk(bench::RoundArgs),
    /// What a datagram that a filter drops costs with the agent attached (root).
    Drop(bench::RoundArgs),
    /// What a record costs from the flow to the file, in each format
    Output(bench::OutputArgs),
    /// What the policy engine costs: a question, a load, an update, memory, and how they grow.
    Policy(bench::PolicyArgs),
    /// What following a large cluster costs: memory, CPU while it changes, how soon a policy is in force (root).
    Cluster(bench::ClusterArgs),
    /// What an agent costs the API server, in requests and bytes, at its start and for each hour.
    Load(bench::LoadArgs),
    /// What a flow costs the agent from the ring to a JSON line, and how many a core takes a second (root).
    Ring(bench::RingArgs),
    /// What reading flow logs costs: bytes a second of a core, memory, beside DuckDB (fetched; a Python environment in `target`).
    Assess(bench::AssessArgs),
    /// How fast `flowlog observe` looks through logs, and how soon its first line is there.
    Observe(bench::ObserveArgs),
}

#[derive(Args)]
struct LintArgs {
    /// Licences, bans and sources of dependencies too (installs cargo-deny where missing: minutes).
    #[arg(long)]
    deny: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => setup::setup(),
        Task::Build { release } => setup::setup().and_then(|()| build::agent(release)).map(|path| {
            println!("{}", path.display());
        }),
        Task::Bpf => setup::setup().and_then(|()| build::kernel_half()),
        Task::Demo(args) => demo::demo(&args),
        Task::Test(args) => setup::setup().and_then(|()| test::test(&args)),
        Task::Vm(args) => vm::vm(&args),
        Task::Deploy => setup::setup().and_then(|()| deploy::deploy()),
        Task::Image(args) => setup::setup().and_then(|()| image::image(&args)),
        Task::Ci => ci::ci(),
        Task::Layers => layers::layers(),
        Task::Docs { write } => setup::setup().and_then(|()| docs::docs(write)),
        Task::Bench(Bench::Connect(args)) => bench::connect(&args),
        Task::Bench(Bench::Udp(args)) => bench::udp(&args),
        Task::Bench(Bench::Bulk(args)) => bench::bulk(&args),
        Task::Bench(Bench::Drop(args)) => bench::drop(&args),
        Task::Bench(Bench::Output(args)) => bench::output(&args),
        Task::Bench(Bench::Policy(args)) => bench::policy(&args),
        Task::Bench(Bench::Cluster(args)) => bench::cluster(&args),
        Task::Bench(Bench::Load(args)) => bench::load(&args),
        Task::Bench(Bench::Ring(args)) => bench::ring(&args),
        Task::Bench(Bench::Assess(args)) => bench::assess(&args),
        Task::Bench(Bench::Observe(args)) => bench::observe(&args),
        Task::Fuzz(args) => setup::setup().and_then(|()| fuzz::fuzz(&args)),
        Task::Lint(args) => setup::setup().and_then(|()| lint::lint(args.deny)),
    }
}
