//! Formatting, clippy for both halves, and on request the dependencies' licences and sources.

use crate::command::{cargo, repository, run, say, target};
use anyhow::Result;
use std::process::Command;

/// Pinned: its checks grow with its versions.
const DENY_VERSION: &str = "0.20.2";

/// Check everything that needs no test to run.
pub(crate) fn lint(deny: bool) -> Result<()> {
    run(cargo()?.args(["fmt", "--all", "--check"]))?;
    run(cargo()?.args(["clippy", "--locked", "--all-targets", "--", "--deny", "warnings"]))?;
    run(&mut kernel_half_clippy()?)?;
    if deny { check_dependencies() } else { Ok(()) }
}

/// Clippy for the kernel half, as if for this machine: the toolchains that build it for BPF bring no clippy,
/// and what differs between the two targets lies in aya. Nothing is linked, so no object comes of it.
fn kernel_half_clippy() -> Result<Command> {
    let mut command = cargo()?;
    command
        .env("RUSTC_BOOTSTRAP", "1")
        // The hash of the sources that the real build passes in.
        .env("FLOWLOG_SOURCE", "0".repeat(32))
        .args(["clippy", "--locked", "--package", "flowlog-ebpf", "--profile", "bpf", "--target-dir"])
        .arg(target()?.join("clippy-ebpf"))
        .args(["--", "--deny", "warnings"]);
    Ok(command)
}

fn check_dependencies() -> Result<()> {
    let (root, version) = (repository()?.join("target/tools"), DENY_VERSION);
    let program = root.join("bin/cargo-deny");
    let found = Command::new(&program).arg("--version").output();
    if !found.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim_end().ends_with(version)) {
        say(&format!("building cargo-deny {version} into {}: several minutes, once", root.display()));
        let install = ["install", "cargo-deny", "--version", version, "--locked", "--quiet", "--root"];
        run(cargo()?.args(install).arg(&root))?;
    }
    let mut command = Command::new(&program);
    command.current_dir(repository()?).args(["deny", "check", "bans", "licenses", "sources"]);
    run(&mut command)?;
    Ok(())
}
