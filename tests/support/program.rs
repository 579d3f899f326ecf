//! Programs this package runs: found, run to their end, their failures told whole.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Run a system command to its end with `input` on its stdin; the package is named where it is missing.
pub fn run(name: &str, package: &str, args: &[&str], input: &str) -> Result<Output> {
    let mut child = match Command::new(name)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("`{name}` is not installed: install the package {package}")
        }
        other => other.with_context(|| format!("start `{name}`"))?,
    };
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("write to `{name}`"))?;
    }
    let output = child.wait_with_output().with_context(|| format!("wait for `{name}`"))?;
    if !output.status.success() {
        bail!(
            "`{name} {}` failed ({}): {}\ninput:\n{input}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output)
}

/// The repository that this package is of.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The traffic program: `FLOWLOG_TRAFFIC`, else beside the running program.
pub fn traffic() -> Result<PathBuf> {
    find("FLOWLOG_TRAFFIC", "flowlog-traffic", "cargo build -p flowlog-tests")
}

/// The agent: `FLOWLOG_BIN`, else beside the running program.
pub fn flowlog() -> Result<PathBuf> {
    find("FLOWLOG_BIN", "flowlog", "cargo build -p flowlog-agent")
}

fn find(variable: &str, name: &str, remedy: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return existing(PathBuf::from(path))
            .with_context(|| format!("{variable} names a file that is not there; build it with `{remedy}`"));
    }
    let here = std::env::current_exe().context("find the running program")?;
    candidates(&here, name).into_iter().find(|path| path.is_file()).with_context(|| {
        format!("`{name}` is not beside {}: build it with `{remedy}`, or set {variable}", here.display())
    })
}

/// A test runs from `target/<profile>/deps`, a program from `target/<profile>`.
fn candidates(here: &Path, name: &str) -> Vec<PathBuf> {
    here.ancestors()
        .skip(1)
        .take(2)
        .filter(|folder| folder.file_name() != Some(OsStr::new("deps")))
        .map(|folder| folder.join(name))
        .collect()
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is not a file", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_names_its_package() {
        let error = run("flowlog-no-such-command", "some-package", &[], "").unwrap_err();
        assert!(error.to_string().contains("install the package some-package"), "{error}");
    }

    #[test]
    fn a_failing_command_tells_its_input_and_its_words() {
        let error = run("sh", "dash", &["-c", "cat >/dev/null; echo no >&2; exit 3"], "line")
            .unwrap_err()
            .to_string();
        assert!(error.contains("no") && error.contains("input:\nline"), "{error}");
    }

    #[test]
    fn a_test_looks_in_the_profile_folder() {
        let found = candidates(Path::new("/t/debug/deps/node-1"), "flowlog");
        assert_eq!(found, [PathBuf::from("/t/debug/flowlog")]);
        let found = candidates(Path::new("/t/release/xtask"), "flowlog");
        assert_eq!(found[0], PathBuf::from("/t/release/flowlog"));
    }
}
