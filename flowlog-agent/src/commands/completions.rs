//! `flowlog completions`: what a shell needs to complete the words of `flowlog`.

use super::{Arguments, answer};
use clap::{Command, CommandFactory as _};
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
    clap_complete::generate(args.shell, &mut offered(&Arguments::command()), "flowlog", &mut script);
    answer::print(&String::from_utf8_lossy(&script))
}

/// The command without what its help does not show: completions would offer that, too.
fn offered(command: &Command) -> Command {
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
    let offered = Command::new(command.get_name().to_owned())
        .args(command.get_arguments().filter(|one| !one.is_hide_set()))
        .groups(command.get_groups())
        .subcommands(shown.map(offered))
        .disable_help_subcommand(command.is_disable_help_subcommand_set());
    let offered = match command.get_version() {
        Some(version) => offered.version(version.to_owned()),
        None => offered,
    };
    match command.get_about() {
        Some(about) => offered.about(about.clone()),
        None => offered,
    }
}
