//! Where the time goes: how often each program of the kernel half ran, and how long, by the kernel's own statistics.

use super::stage::{Stage, Worker};
use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What the kernel half's programs are called, the kernel's copy of a name being 15 bytes long.
const PREFIX: &str = "flowlog_";

/// A round with statistics on. Each run carries the measuring itself, some 40 ns, so these are no costs: they tell what
/// the cost is made of.
pub(super) fn look(stage: &Stage, program: &Path, worker: &mut Worker) -> Result<Value> {
    let _on = enable_stats(Stats::RunTime).context("turn the kernel's statistics of programs on")?;
    // Another flowlog may run on this machine.
    let others = runs()?;
    let runs = stage.with_agent(program, worker, |worker| {
        let before = runs()?;
        worker.round()?;
        let mut now = runs()?;
        now.retain(|program, _| !others.contains_key(program));
        Ok(since(&before, now))
    })?;
    let told = runs.into_iter().filter(|(_, (count, _))| *count > 0).map(|((_, name), (count, time))| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let each = f64::from(count) / f64::from(stage.count);
        let ns = time.checked_div(count).unwrap_or_default().as_nanos();
        (name, json!({"runs": (each * 100.0).round() / 100.0, "ns": u64::try_from(ns).unwrap_or(u64::MAX)}))
    });
    Ok(Value::Object(told.collect::<Map<String, Value>>()))
}

/// By id and name: runs, and the time that they took.
type Runs = BTreeMap<(u32, String), (u64, Duration)>;

fn runs() -> Result<Runs> {
    let mut runs = Runs::new();
    for program in loaded_programs() {
        let program = program.context("list the programs in the kernel")?;
        if let Some(name) = program.name_as_str().and_then(|name| name.strip_prefix(PREFIX)) {
            runs.insert((program.id(), name.to_owned()), (program.run_count(), program.run_time()));
        }
    }
    Ok(runs)
}

fn since(before: &Runs, mut now: Runs) -> Runs {
    for (program, (count, time)) in &mut now {
        if let Some((count_before, time_before)) = before.get(program) {
            *count = count.saturating_sub(*count_before);
            *time = time.saturating_sub(*time_before);
        }
    }
    now
}
