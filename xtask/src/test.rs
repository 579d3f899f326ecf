//! Every test, in one run: pure ones, the real binary's, the node's and the kernel's.

use crate::build;
use crate::command::{cargo, need_root, run, say};
use anyhow::Result;
use clap::Args;
use flowlog_tests::kernel;
use std::env;
use std::ffi::OsString;

/// Folder of the policy cases that do not ship with the project.
const CASES: &str = "FLOWLOG_CASES";

/// Arguments of `cargo xtask test`.
#[derive(Args, Default)]
pub(crate) struct TestArgs {
    /// Handed on to the test programs: a name to filter by, or flags such as `--nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Run them, ignored ones included: no test passes by being left out in silence.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    need_root("`cargo xtask test`")?;
    let agent = build::agent(false)?;
    let traffic = build::traffic()?;
    let mut command = cargo()?;
    command
        .args(["test", "--locked", "--no-fail-fast", "--", "--include-ignored"])
        .env("FLOWLOG_BIN", agent)
        .env("FLOWLOG_TRAFFIC", traffic);
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
    run(command.args(&args.rest))
}
