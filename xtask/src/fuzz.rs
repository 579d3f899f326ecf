//! `cargo xtask fuzz`: each fuzz target for a while, from the fixtures on.
//!
//! Without a sanitizer any compiler will do: our own code is safe Rust, and what is looked for are panics, hangs
//! and answers that differ. Corpora grow in `target/fuzz`; what made a target fail lies there as well, and is to
//! be copied to `fuzz/inputs`, which every run of the tests goes through.

use crate::command::{cargo, repository, run, run_quietly, say};
use anyhow::{Context, Result, bail};
use clap::Args;
use flowlog_tests::case::Case;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pinned, as the other tools are.
const VERSION: &str = "0.13.2";

const TARGETS: [&str; 6] =
    ["manifests", "policy_eval", "policy_differential", "dns_answer", "log_line", "encoded"];

/// Arguments of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// The target; all of them, one after the other, where none is named.
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
    /// How long each runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Build, and run until the time is over or something is found.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    let repository = repository()?;
    let place = repository.join("target/fuzz");
    let tool = find_tool(&repository)?;
    // Called as cargo does it, so that the toolchain is the one that runs us.
    let mut build = Command::new(tool);
    build.args(["fuzz", "build", "--fuzz-dir"]).arg(repository.join("fuzz"));
    run(build.args(["--sanitizer", "none", "--target-dir"]).arg(&place).current_dir(&repository))?;
    let programs = place.join(host()?).join("release");
    let chosen = args.target.as_deref();
    for target in TARGETS.into_iter().filter(|target| chosen.is_none_or(|chosen| chosen == *target)) {
        let corpus = place.join("corpus").join(target);
        seed(&repository, target, &corpus)?;
        let mut command = Command::new(programs.join(target));
        command.arg(&corpus).current_dir(&place);
        command.arg(format!("-max_total_time={}", args.seconds));
        command.arg(format!("-dict={}", repository.join("fuzz/words.dict").display()));
        command.arg(format!("-artifact_prefix={}/{target}-", place.display()));
        // An input that takes longer than this hangs; the largest seed takes 0.1 s.
        command.args(["-timeout=5", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1"]);
        run(&mut command).with_context(|| {
            format!("{target}: copy the input that it names to fuzz/inputs/{target}, and mend it")
        })?;
    }
    Ok(())
}

/// Here, where it was put before, on the path, or built now.
fn find_tool(repository: &Path) -> Result<PathBuf> {
    let root = repository.join("target/tools");
    let own = root.join("bin/cargo-fuzz");
    for candidate in [own.clone(), PathBuf::from("cargo-fuzz")] {
        let found = Command::new(&candidate).args(["fuzz", "--version"]).output();
        if found.is_ok_and(|output| output.status.success()) {
            return Ok(candidate);
        }
    }
    say(&format!("building cargo-fuzz {VERSION} into {}: a minute, once", root.display()));
    let install = ["install", "cargo-fuzz", "--version", VERSION, "--locked", "--quiet", "--root"];
    run(cargo()?.args(install).arg(&root))?;
    Ok(own)
}

fn host() -> Result<String> {
    let told = run_quietly(Command::new("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` does not say which host it is for")?.to_owned())
}

/// The fixtures, in the form that the target reads, and what was found once.
fn seed(repository: &Path, target: &str, corpus: &Path) -> Result<()> {
    fs::create_dir_all(corpus).with_context(|| format!("make {}", corpus.display()))?;
    let put = |name: &str, bytes: &[u8]| {
        let path = corpus.join(name);
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
    };
    for path in files(&repository.join("fuzz/inputs").join(target))? {
        put(&name(&path)?, &read(&path)?)?;
    }
    match target {
        "dns_answer" | "log_line" | "encoded" => {}
        "policy_differential" => {
            for seed in 0..64_u64 {
                // A seed and a few changes.
                let bytes: Vec<u8> =
                    (0..5).flat_map(|number| (seed * 2_654_435_761 * (number + 1)).to_le_bytes()).collect();
                put(&format!("seed-{seed}"), &bytes)?;
            }
        }
        _ => {
            for path in files(&repository.join("tests/fixtures/policies"))? {
                let bytes = read(&path)?;
                let case: Case =
                    serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?;
                let manifest = case.manifest().to_string();
                put(&name(&path)?, if target == "manifests" { manifest.as_bytes() } else { &bytes })?;
            }
        }
    }
    if target == "manifests" {
        for path in files(&repository.join("tests/fixtures/clusters/demo/manifests"))? {
            put(&name(&path)?, &read(&path)?)?;
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || format!("list {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(list)? {
        let path = entry.with_context(list)?.path();
        if path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        bail!("nothing in {}", folder.display());
    }
    Ok(found)
}

fn name(path: &Path) -> Result<String> {
    let name = path.file_name().with_context(|| format!("{} has no name", path.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
