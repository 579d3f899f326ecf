//! Brings the kernel object in: builds the kernel half from source, so that what is embedded is what is on disk. And makes
//! the HTML report's parts ready.

#[allow(dead_code, reason = "xtask uses the rest of this file")]
#[path = "../xtask/src/bpf.rs"]
mod bpf;
#[path = "build/report.rs"]
mod report;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), String> {
    embed().map_err(|error| error.to_string())
}

fn embed() -> Result<(), Box<dyn Error>> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    report::prepare(&manifest_dir)?;
    let repository = manifest_dir.parent().ok_or("the agent's crate has no parent folder")?;
    // Relative to this package, so that two checkouts which share a target folder each look at their own sources.
    for source in bpf::SOURCES.into_iter().chain(["xtask/src/bpf.rs"]) {
        println!("cargo::rerun-if-changed=../{source}");
    }
    let object = bpf::build(repository, &repository.join("target/bpf"))?;
    let copy = Path::new(&env::var("OUT_DIR")?).join("flowlog.bpf.o");
    fs::copy(&object, &copy)?;
    println!("cargo::rustc-env=FLOWLOG_BPF_OBJECT={}", copy.display());
    println!("cargo::rustc-env=FLOWLOG_BPF_SOURCE={}", bpf::hash_sources(repository)?);
    Ok(())
}
