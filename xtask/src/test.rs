//! Every test, in one run: pure ones, the real binary's, the node's and the kernel's.

mod report;

use crate::command::{cargo, need_root, run, say};
use crate::lookers::Lookers;
use crate::{build, lookers};
use anyhow::{Context, Result, bail};
use clap::Args;
use flowlog_tests::kernel;
use report::Report;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Folder of the policy cases that do not ship with the project.
const CASES: &str = "FLOWLOG_CASES";

/// Arguments of `cargo xtask test`.
#[derive(Args, Default)]
pub(crate) struct TestArgs {
    /// Handed on to the test programs: a name to filter by, or flags such as `--nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Tests on a real kernel share it with all else the machine does. So many may fail and be tried again, alone; what fails
/// twice has failed, and what did not is named at the end, for a flaky test is a defect of its own.
const TRIED_AGAIN: usize = 3;

/// Run them, ignored ones included: no test passes by being left out in silence.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    need_root("`cargo xtask test`")?;
    let agent = build::agent(false)?;
    let traffic = build::traffic()?;
    let lookers = lookers::install()?;
    let mut command = tests(&agent, &traffic, &lookers)?;
    if env::var_os(CASES).is_none() {
        say(&format!(
            "{CASES} is not set: leaving out the tests named cases_*, which read policy cases from there"
        ));
        command.args(["--skip", "cases_"]);
    }
    if !kernel::speaks_sctp() {
        say(
            "this kernel has no SCTP: leaving out the tests named sctp_*; `cargo xtask vm` runs them on kernels that do",
        );
        command.args(["--skip", "sctp_"]);
    }
    let mut report = Report::default();
    let Err(error) = watch(command.args(&args.rest), &mut report) else { return Ok(()) };
    if !report.is_whole() || report.failed.len() > TRIED_AGAIN {
        return Err(error);
    }
    say(&format!("{error:#}; trying again, alone: {}", report.failed.join(", ")));
    run(tests(&agent, &traffic, &lookers)?.args(["--exact", "--test-threads", "1"]).args(&report.failed))
        .context("failed again, alone")?;
    say(&format!("flaky: failed once and passed alone: {}", report.failed.join(", ")));
    Ok(())
}

fn tests(agent: impl AsRef<OsStr>, traffic: impl AsRef<OsStr>, lookers: &Lookers) -> Result<Command> {
    let mut command = cargo()?;
    command
        .args(["test", "--locked", "--no-fail-fast", "--", "--include-ignored"])
        // Each test is a thread, and the C library keeps for each of 16 arenas what the greediest test in it took.
        .env("MALLOC_ARENA_MAX", "2")
        .env("FLOWLOG_BIN", agent)
        .env("FLOWLOG_TRAFFIC", traffic)
        .env("FLOWLOG_BROWSER_PYTHON", &lookers.python)
        .env("FLOWLOG_SARIF_MULTITOOL", &lookers.multitool)
        .env("FLOWLOG_ECS", &lookers.ecs)
        .env("FLOWLOG_OCSF_PYTHON", &lookers.ocsf_python)
        .env("FLOWLOG_RSYSLOG", &lookers.rsyslog)
        .env("FLOWLOG_STORES_PYTHON", &lookers.stores_python)
        .env("FLOWLOG_LOGROTATE", &lookers.logrotate)
        .env("FLOWLOG_KCAT", &lookers.kcat)
        .env("FLOWLOG_CONSUMERS_PYTHON", &lookers.consumers_python)
        .env("FLOWLOG_ROTEL", &lookers.rotel);
    Ok(command)
}

/// Run to the end; what it says goes where ours goes, and is read.
fn watch(command: &mut Command, report: &mut Report) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("run the tests")?;
    let said = child.stdout.take().context("stdout of the tests")?;
    for line in BufReader::new(said).split(b'\n') {
        let line = line.context("read what the tests say")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        report.read(&line);
    }
    let status = child.wait().context("wait for the tests")?;
    if !status.success() {
        bail!("tests failed: {status}");
    }
    Ok(())
}
