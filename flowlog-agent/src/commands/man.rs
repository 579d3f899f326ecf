//! `flowlog man`: manual pages, one for each subcommand.

use super::{Arguments, answer};
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `flowlog man`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// A folder for the pages of flowlog and all its subcommands (`flowlog-policy-lint.1`); without it flowlog's own is printed.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// Print one, or write all.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(folder) = &args.into else {
        let page = render(&Man::new(Arguments::command()))?;
        return Ok(answer::print(&page));
    };
    fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    write(Arguments::command(), "flowlog", folder)?;
    Ok(ExitCode::SUCCESS)
}

fn render(page: &Man) -> anyhow::Result<String> {
    let mut text = Vec::new();
    page.render(&mut text).context("make the page")?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The page of a command, and those of its subcommands.
fn write(command: clap::Command, name: &str, folder: &Path) -> anyhow::Result<()> {
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help") {
        write(subcommand.clone(), &format!("{name}-{}", subcommand.get_name()), folder)?;
    }
    let path = folder.join(format!("{name}.1"));
    let version = env!("CARGO_PKG_VERSION");
    let command = command.name(name.to_owned()).bin_name(name.replace('-', " ")).version(version);
    fs::write(&path, render(&Man::new(command))?).with_context(|| format!("write {}", path.display()))
}
