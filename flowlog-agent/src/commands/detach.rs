//! `flowlog detach`: take what is kept in bpffs out of the kernel.

use crate::capture::{self, host};
use anyhow::bail;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `flowlog detach`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The folder that `flowlog run --pin=DIR` was given; default: `flowlog` in the first bpffs.
    #[arg(long, env = "FLOWLOG_PIN", value_name = "DIR", default_value = "", value_parser = folder_parser())]
    pin: PathBuf,
}

/// Remove, and say what.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = pin_folder(&args.pin)?;
    let Some(detached) = capture::detach(&folder)? else {
        return Ok(super::answer::print(&format!("nothing is pinned in {}\n", folder.display())));
    };
    let mut text = String::new();
    for name in &detached.removed {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "removed {}", folder.join(name).display());
    }
    let _ =
        writeln!(text, "removed {}: nothing of flowlog is left in the kernel from there", folder.display());
    if detached.untold > 0 {
        let _ = writeln!(text, "{} events that no agent has told are lost", detached.untold);
    }
    if detached.counted > 0 {
        let _ = writeln!(text, "{} connections that were counted and not told are lost", detached.counted);
    }
    Ok(super::answer::print(&text))
}

/// A path that may be empty, which clap's own parser of paths refuses.
pub(super) fn folder_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The folder as written, or the one that is taken where nothing is.
pub(super) fn pin_folder(written: &Path) -> anyhow::Result<PathBuf> {
    if !written.as_os_str().is_empty() {
        return Ok(written.to_owned());
    }
    match host::read_mounts(Path::new("/"))?.bpffs {
        Some(bpffs) => Ok(bpffs.join("flowlog")),
        None => bail!("--pin: no bpffs is mounted: `mount -t bpf bpf /sys/fs/bpf`, or run without --pin"),
    }
}
