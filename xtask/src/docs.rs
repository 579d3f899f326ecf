//! Generated documents: written by the binary itself, checked in, and held against it here.

use crate::build;
use crate::command::{repository, run_quietly};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// What the binary prints with these arguments is what stands in this file.
const GENERATED: [(&str, &[&str]); 1] = [("deploy/schema/flowlog.v1.schema.json", &["schema"])];

/// Check them, or write them.
pub(crate) fn docs(write: bool) -> Result<()> {
    let agent = build::agent(false)?;
    for (name, args) in GENERATED {
        let path = repository()?.join(name);
        let now = run_quietly(Command::new(&agent).args(args))?;
        if write {
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .with_context(|| format!("make the folder of {name}"))?;
            fs::write(&path, now).with_context(|| format!("write {name}"))?;
        } else if fs::read_to_string(&path)
            .with_context(|| format!("read {name}; `cargo xtask docs --write`"))?
            != now
        {
            bail!("{name} is out of date: run `cargo xtask docs --write` and look at what changed");
        }
    }
    Ok(())
}
