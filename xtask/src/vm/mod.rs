//! `cargo xtask vm`: the kernel tests on Debian's kernels, in an emulator.
//!
//! Each kernel is asked first what flowlog sees there (`flowlog check`, and the `agent` start record of a run); both
//! must say what `KERNELS` says. Tests that a kernel cannot pass, since it lacks a hook, are named with the reason
//! and left out (`needs`). All others must pass.

mod archive;
mod cpio;
mod image;
mod machine;
mod needs;
mod report;
mod told;

use crate::command::{cargo, need_root, run_quietly, say, target};
use crate::{build, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use told::Told;

/// A kernel of Debian's, and what flowlog cannot see there.
struct Row {
    /// Its version, as people name it.
    name: &'static str,
    suite: archive::Suite,
    /// Hooks that it does not have.
    lacks: &'static [&'static str],
}

/// Every kernel that is booted, oldest first.
const KERNELS: [Row; 3] = [
    Row {
        name: "5.10",
        suite: archive::BULLSEYE,
        lacks: &["drop", "error_report", "send", "recv", "existing", "answers"],
    },
    Row { name: "6.1", suite: archive::BOOKWORM, lacks: &["send", "recv"] },
    Row { name: "6.12", suite: archive::TRIXIE, lacks: &[] },
];

/// Deadlines of tests are as many times longer in here: an emulated processor is some 15 times slower, and there is
/// one of them.
const PATIENCE: &str = "12";

/// A kernel's tests, all of them, take about twenty minutes.
const LIMIT: Duration = Duration::from_secs(3_600);
/// A few of them take a few minutes, on a busy machine more.
const BRIEF_LIMIT: Duration = Duration::from_secs(900);

/// An emulated processor keeps one of ours busy.
const JOBS: usize = 2;

/// Arguments of `cargo xtask vm`.
#[derive(Args, Default)]
pub(crate) struct VmArgs {
    /// This kernel alone (5.10, 6.1, 6.12); may be given several times.
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
    /// Write the table of kernels and hooks to docs/operating.md.
    #[arg(long, conflicts_with = "kernels")]
    write: bool,
    /// A few quick tests alone, as CI runs them.
    #[arg(long, conflicts_with = "filter")]
    brief: bool,
    /// Leave out tests whose names contain this; may be given several times.
    #[arg(long, value_name = "PART")]
    skip: Vec<String>,
    /// Machines at a time, 2 where nothing else is said: each keeps a processor busy.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Tests whose names contain one of these.
    filter: Vec<String>,
}

impl VmArgs {
    /// What CI runs.
    pub(crate) fn brief() -> Self {
        Self { brief: true, ..Self::default() }
    }
}

/// What the machines are made of.
struct Parts {
    folder: PathBuf,
    agent: PathBuf,
    traffic: PathBuf,
    tests: PathBuf,
    names: Vec<String>,
}

/// Boot, ask, test.
pub(crate) fn vm(args: &VmArgs) -> Result<()> {
    need_root("`cargo xtask vm`")?;
    let chosen = chosen(&args.kernels)?;
    setup::setup_emulator()?;
    let parts = Parts::build()?;
    let jobs = args.jobs.map_or(JOBS, NonZeroUsize::get);
    let results: Vec<Result<Told>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..jobs)
            .map(|lane| {
                let (parts, chosen) = (&parts, &chosen);
                scope.spawn(move || {
                    let own = chosen.iter().skip(lane).step_by(jobs);
                    own.map(|row| test(row, parts, args)).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut lanes: Vec<_> =
            lanes.into_iter().map(|lane| lane.join().unwrap_or_default().into_iter()).collect();
        (0..chosen.len())
            .map(|at| lanes[at % jobs].next().unwrap_or_else(|| bail!("the thread of a machine panicked")))
            .collect()
    });
    let (told, faults): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let faults: Vec<String> =
        faults.into_iter().filter_map(Result::err).map(|fault| format!("{fault:#}")).collect();
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    let told: Vec<Told> = told.into_iter().filter_map(Result::ok).collect();
    if chosen.len() == KERNELS.len() { report::hold(&told, args.write) } else { Ok(()) }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    let known = KERNELS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = names.iter().find(|name| KERNELS.iter().all(|row| row.name != **name)) {
        bail!("there is no kernel {name} to boot: there are {known}");
    }
    Ok(KERNELS.iter().filter(|row| names.is_empty() || names.iter().any(|name| name == row.name)).collect())
}

impl Parts {
    fn build() -> Result<Self> {
        let folder = target()?.join("vm");
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let (agent, traffic, tests) = (build::agent(false)?, build::traffic()?, build_tests()?);
        let listed = run_quietly(std::process::Command::new(&tests).arg("--list"))?;
        let names =
            listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
        Ok(Self { folder, agent, traffic, tests, names })
    }
}

/// Build the kernel tests; cargo says where they are.
fn build_tests() -> Result<PathBuf> {
    let args = ["test", "--locked", "--package", "flowlog-tests", "--test", "kernel", "--no-run"];
    let said = run_quietly(cargo()?.args(args).arg("--message-format=json"))?;
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = messages.filter(|message| message["target"]["name"] == "kernel");
    let mut paths = programs.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    paths.next_back().context("cargo says of no kernel tests that it built them")
}

/// Boot one kernel; an error tells all that is not as it should be.
fn test(row: &Row, parts: &Parts, args: &VmArgs) -> Result<Told> {
    let kernel = archive::kernel(&parts.folder, row.name, row.suite)?;
    let selected: Vec<&str> =
        parts.names.iter().map(String::as_str).filter(|name| is_selected(name, args)).collect();
    let left_out = needs::left_out(&parts.names, row.lacks)?;
    let (without, tests): (Vec<&str>, Vec<&str>) =
        selected.into_iter().partition(|name| left_out.iter().any(|(out, _)| out == name));
    say(&format!("{}: booting {}, {} tests", row.name, kernel.release, tests.len()));
    let began = Instant::now();
    let said = run(row, &kernel, parts, &tests, if args.brief { BRIEF_LIMIT } else { LIMIT })?;
    let told = Told::read(row.name, &said).with_context(|| format!("kernel {}", row.name))?;
    told.check(row.lacks, &tests).with_context(|| format!("kernel {}", row.name))?;
    for (name, reason) in left_out.iter().filter(|(out, _)| without.contains(&out.as_str())) {
        say(&format!("{}: does not apply: {name} ({reason})", row.name));
    }
    say(&format!(
        "{}: {} passed, {} do not apply, {} s",
        row.name,
        tests.len(),
        without.len(),
        began.elapsed().as_secs()
    ));
    Ok(told)
}

fn is_selected(name: &str, args: &VmArgs) -> bool {
    let by_filter = args.filter.is_empty() || args.filter.iter().any(|part| name.contains(part));
    let skipped = args.skip.iter().any(|part| name.contains(part));
    by_filter && !skipped && (!args.brief || needs::BRIEF.contains(&name))
}

/// Boot with these tests; all that the machine said.
fn run(
    row: &Row,
    kernel: &archive::Kernel,
    parts: &Parts,
    tests: &[&str],
    limit: Duration,
) -> Result<String> {
    let path = |extension: &str| parts.folder.join(format!("{}.{extension}", row.name));
    let (image, console, transcript) = (path("cpio"), path("console"), path("said"));
    let programs = [
        image::Program { name: "usr/bin/flowlog", built: &parts.agent },
        image::Program { name: "usr/bin/flowlog-traffic", built: &parts.traffic },
        image::Program { name: "usr/bin/kernel-tests", built: &parts.tests },
    ];
    image::write(&image, kernel, &programs, &script(row, tests))?;
    let mut file = File::create(&transcript).with_context(|| format!("make {}", transcript.display()))?;
    let booted = machine::boot(kernel, &image, &console, limit, |line| {
        writeln!(file, "{line}").with_context(|| format!("write {}", transcript.display()))
    });
    fs::remove_file(&image).with_context(|| format!("remove {}", image.display()))?;
    booted.with_context(|| format!("kernel {}; what it said: {}", row.name, transcript.display()))?;
    let said = fs::read_to_string(&transcript).with_context(|| format!("read {}", transcript.display()))?;
    if !said.contains(&told::mark("end")) {
        bail!("kernel {} ended early; its console:\n{}", row.name, machine::end_of(&console));
    }
    Ok(said)
}

/// The first process: mounts what a node has mounted, asks the agent, lifts the limit of locked memory, against which maps
/// count before 5.11 (the agent says so), runs the tests, ends the machine.
fn script(row: &Row, tests: &[&str]) -> String {
    let (check, start, test, end) =
        (told::mark("check"), told::mark("start"), told::mark("tests"), told::mark("end"));
    let (lacks, tests) = (row.lacks.join(","), tests.join(" "));
    // Without names all tests would run.
    let run = if tests.is_empty() {
        String::new()
    } else {
        format!("kernel-tests --include-ignored --test-threads=2 --exact {tests}")
    };
    format!(
        "#!/bin/sh
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root
export FLOWLOG_BIN=/usr/bin/flowlog FLOWLOG_TRAFFIC=/usr/bin/flowlog-traffic
export FLOWLOG_PATIENCE={PATIENCE} FLOWLOG_HOOKS_MISSING={lacks} RUST_BACKTRACE=0
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mkdir -p /var/tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracing /sys/kernel/tracing
mount -t securityfs security /sys/kernel/security
ip link set lo up
exec >/dev/ttyS1 2>&1
echo '{check}'
flowlog check --output json
echo '{start}'
mkdir /tmp/cluster
echo '{{apiVersion: v1, kind: Node, metadata: {{name: one}}}}' >/tmp/cluster/node.yaml
flowlog run --manifests /tmp/cluster --node one --packets >/tmp/lines &
agent=$!
while [ ! -s /tmp/lines ] && [ -d /proc/$agent ]; do sleep 1; done
kill -TERM $agent
wait $agent
cat /tmp/lines
echo '{test}'
ulimit -l unlimited
{run}
echo '{end}'
echo b >/proc/sysrq-trigger
sleep 60
"
    )
}
