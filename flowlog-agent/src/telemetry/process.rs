//! What the agent itself uses, as the kernel accounts it: processor time by thread, memory, descriptors. Read where it
//! is asked for, and only then.

use nix::unistd::{SysconfVar, sysconf};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Threads are named so, each after the stage that it works for.
const OURS: &str = "flowlog-";
/// The first thread is the spine's.
const SPINE: &str = "spine";
/// A thread that we did not start.
const OTHER: &str = "other";

/// What the whole process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) started_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) open_descriptors: u64,
}

/// A thread as it was last seen.
#[derive(Debug)]
struct Thread {
    stage: String,
    started_ticks: u64,
    cpu_ticks: u64,
}

/// Processor time by stage. What a thread had used when it was last seen stays counted when it has ended.
#[derive(Debug, Default)]
pub(super) struct Threads {
    seen: BTreeMap<u32, Thread>,
    ended_ticks: BTreeMap<String, u64>,
}

impl Threads {
    /// Seconds by stage, up to now.
    pub(super) fn look(&mut self, proc: &Path) -> io::Result<BTreeMap<String, f64>> {
        let own = std::process::id();
        let mut now = BTreeMap::new();
        for entry in fs::read_dir(proc.join("self/task"))? {
            let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // It may have ended since the folder was read.
            let Ok(text) = fs::read_to_string(proc.join(format!("self/task/{id}/stat"))) else { continue };
            let Some(stat) = Stat::parse(&text) else { continue };
            let stage = if id == own { SPINE } else { stat.name.strip_prefix(OURS).unwrap_or(OTHER) };
            let (started_ticks, cpu_ticks) = (stat.started_ticks, stat.cpu_ticks);
            now.insert(id, Thread { stage: stage.to_owned(), started_ticks, cpu_ticks });
        }
        for (id, before) in std::mem::take(&mut self.seen) {
            if now.get(&id).is_none_or(|thread| thread.started_ticks != before.started_ticks) {
                *self.ended_ticks.entry(before.stage).or_default() += before.cpu_ticks;
            }
        }
        self.seen = now;
        let mut ticks = self.ended_ticks.clone();
        for thread in self.seen.values() {
            *ticks.entry(thread.stage.clone()).or_default() += thread.cpu_ticks;
        }
        Ok(ticks.into_iter().map(|(stage, ticks)| (stage, seconds(ticks))).collect())
    }
}

/// What `/proc` says of the process.
pub(super) fn usage(proc: &Path) -> io::Result<Usage> {
    let absent = |what: &str| io::Error::other(format!("{} has no {what}", proc.display()));
    let text = fs::read_to_string(proc.join("self/stat"))?;
    let stat = Stat::parse(&text).ok_or_else(|| absent("times in self/stat"))?;
    let memory = fs::read_to_string(proc.join("self/statm"))?;
    let pages: Option<u64> = memory.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    let booted = fs::read_to_string(proc.join("stat"))?;
    let booted: Option<f64> =
        booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let descriptors = fs::read_dir(proc.join("self/fd"))?.count();
    Ok(Usage {
        cpu_seconds: seconds(stat.cpu_ticks),
        started_seconds: booted.ok_or_else(|| absent("btime in stat"))? + seconds(stat.started_ticks),
        resident_bytes: pages.ok_or_else(|| absent("pages in self/statm"))?
            * system(SysconfVar::PAGE_SIZE, 4_096),
        // The folder that is read is one of them.
        open_descriptors: u64::try_from(descriptors.saturating_sub(1)).unwrap_or(u64::MAX),
    })
}

/// proc_pid_stat(5): the parts that we read.
#[derive(Debug, PartialEq, Eq)]
struct Stat<'a> {
    name: &'a str,
    cpu_ticks: u64,
    started_ticks: u64,
}

impl<'a> Stat<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        // The name may have blanks and brackets of its own.
        let (head, tail) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        // The first of these is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { name, cpu_ticks: field(14)?.checked_add(field(15)?)?, started_ticks: field(22)? })
    }
}

fn seconds(ticks: u64) -> f64 {
    let hertz = system(SysconfVar::CLK_TCK, 100);
    // Whole seconds and hundredths apart: both fit a u32 for 136 years of processor time.
    let part = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    part(ticks / hertz) + part(ticks % hertz) / part(hertz)
}

/// A constant of this system; what it is on Linux everywhere where it does not say.
fn system(name: SysconfVar, usual: u64) -> u64 {
    sysconf(name)
        .ok()
        .flatten()
        .and_then(|value| u64::try_from(value).ok())
        .filter(|value| *value > 0)
        .unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn stat(name: &str, cpu: [u64; 2], started: u64) -> String {
        let [user, system] = cpu;
        format!("7 ({name}) S 1 7 7 0 -1 0 0 0 0 0 {user} {system} 0 0 20 0 1 0 {started} 1000 10 0\n")
    }

    /// A `/proc` with these threads.
    fn fake(threads: &[(u32, &str, u64, u64)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (id, name, cpu, started) in threads {
            let task = folder.path().join(format!("self/task/{id}"));
            fs::create_dir_all(&task).unwrap();
            fs::write(task.join("stat"), stat(name, [*cpu, 0], *started)).unwrap();
        }
        folder
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = stat("a) S (b", [250, 50], 99);
        assert_eq!(Stat::parse(&text), Some(Stat { name: "a) S (b", cpu_ticks: 300, started_ticks: 99 }));
        assert_eq!(Stat::parse("7 (short) S 1"), None);
    }

    #[test]
    fn a_thread_that_ended_stays_counted_for_its_stage() {
        let own = std::process::id();
        let mut threads = Threads::default();
        let first = fake(&[(own, "anything", 500, 1), (11, "flowlog-sink", 100, 2), (12, "tokio", 20, 3)]);
        let told = threads.look(first.path()).unwrap();
        let expected = [("other", 0.2), ("sink", 1.0), ("spine", 5.0)];
        assert_eq!(told, expected.map(|(stage, seconds)| (stage.to_owned(), seconds)).into());
        // The sink's thread is gone; its number is another's now.
        let second = fake(&[(own, "anything", 600, 1), (11, "flowlog-sink", 30, 9)]);
        let told = threads.look(second.path()).unwrap();
        let expected = [("other", 0.2), ("sink", 1.3), ("spine", 6.0)];
        assert_eq!(told, expected.map(|(stage, seconds)| (stage.to_owned(), seconds)).into());
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage(&PathBuf::from("/proc")).unwrap();
        assert!(usage.resident_bytes > 100_000 && usage.open_descriptors >= 3, "{usage:?}");
        assert!(usage.started_seconds > 1_600_000_000.0, "{usage:?}");
    }
}
