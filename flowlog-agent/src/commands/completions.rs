//! `flowlog completions`: what a shell needs to complete the words of `flowlog`.

use super::{Arguments, answer};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::process::ExitCode;

/// Arguments of `flowlog completions`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Print them.
pub(super) fn run(args: Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "flowlog", &mut script);
    answer::print(&String::from_utf8_lossy(&script))
}
