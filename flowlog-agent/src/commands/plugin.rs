//! `kubectl flowlog …`: the binary under the name by which kubectl finds it as its plugin.
//!
//! What asks a cluster or reads files takes kubectl's defaults there; what needs the node's kernel says that it does.

use super::Called;
use anyhow::bail;
use clap::Command;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// As the file is named that kubectl starts for `kubectl flowlog`.
const FILE: &str = "kubectl-flowlog";

/// As people call it.
const NAME: &str = "kubectl flowlog";

/// What works on the machine that it is started on, and what is for nobody to call.
const OF_THE_NODE: [&str; 2] = ["run", "detach"];
const HIDDEN: [&str; 6] = ["run", "detach", "completions", "man", "schema", "edges"];

/// Options of `check` that are about the machine that it is started on.
const OF_THE_HOST: [&str; 5] = ["cgroup_root", "pin", "in_cluster", "outputs", "config"];

impl Called {
    /// By the name that the program was started with.
    pub(super) fn by(program: Option<&OsStr>) -> Self {
        match program.and_then(|program| Path::new(program).file_name()) {
            Some(name) if name == FILE => Self::Plugin,
            _ => Self::Alone,
        }
    }
}

/// The command line as kubectl's users see it.
pub(super) fn command(command: Command) -> Command {
    reworded(command.bin_name(NAME)).mut_subcommands(|command| {
        let hidden = HIDDEN.contains(&command.get_name());
        let command = command.hide(hidden);
        match command.get_name() {
            "check" => OF_THE_HOST
                .iter()
                .fold(command, |command, option| command.mut_arg(option, |option| option.hide(true)))
                .about("Tell what an account may read of this cluster for flowlog, and how to mend it")
                .after_help(
                    "Exit code: 0 flowlog can follow the cluster, 1 it knows less, 2 it cannot do its work.\n\n\
                     Examples:\n  kubectl flowlog check\n  \
                     kubectl flowlog check --as system:serviceaccount:flowlog:flowlog --node worker-1",
                ),
            _ => command,
        }
    })
}

/// Its examples as they are called here.
fn reworded(command: Command) -> Command {
    let examples =
        command.get_after_help().map(|text| text.to_string().replace("\n  flowlog ", "\n  kubectl flowlog "));
    let command = match examples {
        Some(text) => command.after_help(text),
        None => command,
    };
    command.mut_subcommands(reworded)
}

/// What does not work from a workstation says so, whatever else is asked of it.
pub(super) fn refuse_on_workstation(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let asked = arguments.find(|word| !word.as_encoded_bytes().starts_with(b"-"));
    match asked.as_ref().and_then(|word| word.to_str()).filter(|word| OF_THE_NODE.contains(word)) {
        Some(word @ "run") => bail!(
            "`{NAME} {word}` does not run from here: it observes the kernel of the machine that it is started on. Deploy \
             it on the nodes (kubectl apply -k deploy/kustomize/base), or call `flowlog {word}` on one"
        ),
        Some(word) => bail!(
            "`{NAME} {word}` does not run from here: it takes out what is kept in the kernel of the machine that it is \
             started on. On all nodes: kubectl apply -k deploy/kustomize/overlays/detach; on one: `flowlog {word}`"
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_tells_who_calls() {
        for (program, called) in [
            (Some("/usr/local/bin/kubectl-flowlog"), Called::Plugin),
            (Some("kubectl-flowlog"), Called::Plugin),
            (Some("./flowlog"), Called::Alone),
            (Some("/opt/kubectl-flowlog/flowlog"), Called::Alone),
            (None, Called::Alone),
        ] {
            assert_eq!(Called::by(program.map(OsStr::new)), called, "{program:?}");
        }
    }
}
