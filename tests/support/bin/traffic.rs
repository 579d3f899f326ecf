//! Makes traffic from a given place: enters a cgroup and a network namespace, then does what it is told.

mod bench;
mod burst;
mod dns;
mod icmp;
mod seat;
mod serve;
mod steps;
mod uring;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use flowlog_tests::dns::Record;
use flowlog_tests::traffic::Step;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Make traffic from a given place.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    seat: seat::SeatArgs,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Do one step, given as JSON, and print its answer.
    Step { json: String },
    /// Say `ready`, then do steps as they come on stdin, one JSON line each, and answer each with a line.
    Script,
    /// Listen, say `ready`, and serve until killed; what comes is sent back.
    Serve(ServeArgs),
    /// Be a name server: say `ready`, and answer until killed.
    Dns {
        /// Where.
        #[arg(long)]
        at: SocketAddr,
        /// How long answers hold, seconds.
        #[arg(long, default_value_t = 60)]
        ttl: u32,
        /// A record, `name=address` or `name=alias`; may be given more than once.
        #[arg(long)]
        record: Vec<Record>,
    },
    /// Become another program, in this place.
    Exec {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        program: Vec<OsString>,
    },
    /// Say `ready`; for each line on stdin, do a round of work and print the nanoseconds of one operation, by the clock and
    /// of CPU time, of each figure.
    Bench(bench::BenchArgs),
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// A TCP address; may be given more than once.
    #[arg(long)]
    pub(crate) tcp: Vec<SocketAddr>,
    /// Speak Multipath TCP on the TCP addresses, too.
    #[arg(long)]
    pub(crate) mptcp: bool,
    /// A UDP address; may be given more than once.
    #[arg(long)]
    pub(crate) udp: Vec<SocketAddr>,
    /// A UDP address whose datagrams are taken without asking from whom they came; may be given more than once.
    #[arg(long)]
    pub(crate) udp_blind: Vec<SocketAddr>,
    /// A UDP address whose datagrams are never taken; may be given more than once.
    #[arg(long)]
    pub(crate) udp_deaf: Vec<SocketAddr>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    cli.seat.take()?;
    match cli.task {
        Task::Step { json } => {
            let step: Step =
                serde_json::from_str(&json).with_context(|| format!("read the step `{json}`"))?;
            println!("{}", serde_json::to_string(&steps::Hands::default().act(&step)?)?);
            Ok(())
        }
        Task::Script => steps::script(),
        Task::Serve(args) => serve::serve(&args),
        Task::Dns { at, ttl, record } => dns::serve(at, &record, ttl),
        Task::Exec { program } => exec(&program),
        Task::Bench(args) => bench::bench(&args),
    }
}

fn exec(program: &[OsString]) -> Result<()> {
    let (name, args) = program.split_first().context("no program was named")?;
    Err(Command::new(name).args(args).exec()).with_context(|| format!("run {}", name.display()))
}
