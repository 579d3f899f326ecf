//! Running other programs, and where things are.

use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository that this xtask was built from.
pub(crate) fn repository() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_owned).context("xtask's crate has no parent folder")
}

/// Cargo's target folder: the running xtask lies in `<target>/<profile>`.
pub(crate) fn target() -> Result<PathBuf> {
    let here = env::current_exe().context("find the running xtask")?;
    let target = here.ancestors().nth(2).context("xtask does not lie in a target folder")?;
    Ok(target.to_owned())
}

/// What cargo tells the program that it runs about that program. Build scripts of libraries ask to be run again where it
/// changes (`ring`'s does): from here and from a shell they would be built anew in turns.
const TOLD_BY_CARGO: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// The cargo that runs us.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if TOLD_BY_CARGO.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
    command.current_dir(repository()?);
    Ok(command)
}

/// Run to the end, output where ours goes; an error names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    let status = command.status().with_context(|| format!("run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Run to the end without showing its output, but for a failure's.
pub(crate) fn run_quietly(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let output = command.output().with_context(|| format!("run `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Say what is done, on stderr.
pub(crate) fn say(what: &str) {
    eprintln!("xtask: {what}");
}

/// Fail with a clear word unless we are root.
pub(crate) fn need_root(task: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("{task} makes network namespaces and cgroups and loads BPF programs: run it as root");
    }
    Ok(())
}

/// True where a program of this name can be found.
pub(crate) fn is_installed(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error =
            run_quietly(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(
            error.starts_with("`sh -c echo why >&2; exit 3` failed: exit status: 3")
                && error.ends_with("why"),
            "{error}"
        );
    }

    #[test]
    fn a_program_is_looked_for_on_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("flowlog-no-such-program"));
    }
}
