//! The table of kernels and hooks in docs/operating.md: what the machines said.

use super::told::Told;
use crate::command::repository;
use crate::docs::between;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;

const FILE: &str = "docs/operating.md";
const MARK: &str = "<!-- kernels -->\n";

/// Hold the table against what was said, or write it.
pub(super) fn hold(told: &[Told], write: bool) -> Result<()> {
    let path = repository()?.join(FILE);
    let before = fs::read_to_string(&path).with_context(|| format!("read {FILE}"))?;
    let now = between(&before, MARK, &table(told)).with_context(|| format!("look into {FILE}"))?;
    if write {
        fs::write(&path, now).with_context(|| format!("write {FILE}"))
    } else if before == now {
        Ok(())
    } else {
        bail!("{FILE} is out of date: run `cargo xtask vm --write` and look at what changed")
    }
}

fn table(told: &[Told]) -> String {
    let mut text = String::from("| hook |");
    // Writing to a String cannot fail.
    for told in told {
        let _ = write!(text, " {} |", told.kernel);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(told.len()));
    for (hook, _) in told.first().map_or(&[][..], |told| &told.hooks) {
        let _ = write!(text, "| `{hook}` |");
        for told in told {
            let attached = told.hooks.iter().any(|(name, attached)| name == hook && *attached);
            let _ = write!(text, " {} |", if attached { "attached" } else { "–" });
        }
        text.push('\n');
    }
    text
}
