//! Building: the agent, the kernel half, the traffic program.

use crate::bpf;
use crate::command::{cargo, repository, run, target};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Build the agent, with the kernel half in it; where it is.
pub(crate) fn agent(release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "debug" };
    let mut command = cargo()?;
    command.args(["build", "--locked", "--package", "flowlog-agent"]);
    if release {
        command.arg("--release");
    }
    run(&mut command)?;
    existing(target()?.join(profile).join("flowlog"))
}

/// Build the traffic program, beside xtask, where the harness looks for it.
pub(crate) fn traffic() -> Result<PathBuf> {
    run(cargo()?.args(["build", "--locked", "--package", "flowlog-tests", "--bins"]))?;
    existing(target()?.join("debug/flowlog-traffic"))
}

/// Build the kernel half alone, and print where its object is.
pub(crate) fn kernel_half() -> Result<()> {
    let repository = repository()?;
    let object = bpf::build(&repository, &repository.join("target/bpf")).context("build the kernel half")?;
    println!("{}", object.display());
    Ok(())
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!(
            "cargo built no {}: does CARGO_TARGET_DIR differ from the one that xtask was built in?",
            path.display()
        );
    }
    Ok(path)
}
