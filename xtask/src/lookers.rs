//! What the tests of reports need: a browser and something to drive it, and a validator of SARIF.

use crate::command::{repository, run_quietly, say};
use crate::{deploy, setup};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that are taken from Debian where they are missing, with their packages.
const COMMANDS: [(&str, &str); 3] = [("python3", "python3"), ("chromium", "chromium"), ("npm", "npm")];

const MULTITOOL: &str = "@microsoft/sarif-multitool";
const MULTITOOL_VERSION: &str = "5.7.0";

/// Programs for the tests.
pub(crate) struct Lookers {
    /// A Python that drives the browser.
    pub(crate) python: PathBuf,
    /// The validator.
    pub(crate) multitool: PathBuf,
}

/// Install what is missing.
pub(crate) fn install() -> Result<Lookers> {
    setup::install_commands(&COMMANDS, "to look at reports as their readers do")?;
    let tools = repository()?.join("target/tools/report");
    let python = deploy::find_python(&tools, "tests/report/requirements.txt", "to drive the browser")?;
    Ok(Lookers { python: python.join("python"), multitool: find_multitool(&tools)? })
}

/// Its npm package brings a program that runs by itself.
fn find_multitool(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join(format!("sarif-{MULTITOOL_VERSION}"));
    let program = folder.join(format!("node_modules/{MULTITOOL}-linux/Sarif.Multitool"));
    if program.is_file() {
        return Ok(program);
    }
    say(&format!("installing {MULTITOOL} into {}", folder.display()));
    // Renamed last: what is there is whole.
    let fresh = tempfile::tempdir_in(tools).context("make a folder for the validator of SARIF")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error", "--prefix"])
        .arg(fresh.path())
        .arg(format!("{MULTITOOL}@{MULTITOOL_VERSION}"))
        .arg(format!("{MULTITOOL}-linux@{MULTITOOL_VERSION}"));
    run_quietly(&mut npm)?;
    // All that its script would do.
    let installed = fresh.path().join(format!("node_modules/{MULTITOOL}-linux/Sarif.Multitool"));
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", installed.display()))?;
    fs::rename(fresh.keep(), &folder).with_context(|| format!("keep {}", folder.display()))?;
    Ok(program)
}
