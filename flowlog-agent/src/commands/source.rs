//! Where the cluster comes from that a question is about: a folder, or its API server.

use super::Called;
use crate::cluster::watch::{self, Access, Reach, Reading, Timing, WrittenKind};
use crate::cluster::{self, Folders, Linting, Problem, Settings};
use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// Which cluster.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SourceArgs {
    /// Folder with the cluster's objects: YAML or JSON, as written or as `kubectl get -o yaml` prints them.
    #[arg(long, env = "FLOWLOG_MANIFESTS", value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Ask the API server, as kubectl finds it: KUBECONFIG, ~/.kube/config, in a pod its service account.
    #[arg(long, conflicts_with = "manifests")]
    live: bool,
    /// The same by this kubeconfig.
    #[arg(long, env = "FLOWLOG_KUBECONFIG", value_name = "FILE", conflicts_with = "manifests")]
    kubeconfig: Option<PathBuf>,
    /// The same by this context of the kubeconfig; default: its current one.
    #[arg(long, env = "FLOWLOG_CONTEXT", value_name = "NAME")]
    context: Option<String>,
}

/// What a question is put to.
pub(super) enum Source {
    /// A folder.
    Folders(Folders),
    /// An API server.
    Live(Box<Live>),
}

/// An API server that can be asked.
pub(super) struct Live {
    runtime: Runtime,
    reach: Reach,
    trial: Option<PathBuf>,
}

impl SourceArgs {
    /// The same where a cluster is not needed; at a workstation it is the one that kubectl would ask.
    pub(super) fn find_source(
        &self,
        called: Called,
        trial: Option<PathBuf>,
    ) -> anyhow::Result<Option<Source>> {
        let Self { manifests, live, kubeconfig, context } = self;
        let is_named = manifests.is_some() || *live || kubeconfig.is_some() || context.is_some();
        if is_named || called == Called::Plugin { self.source(called, trial).map(Some) } else { Ok(None) }
    }

    /// `trial` is a folder with policies in trial.
    pub(super) fn source(&self, called: Called, trial: Option<PathBuf>) -> anyhow::Result<Source> {
        match self.find(called, trial)? {
            Some(source) => Ok(source),
            None => bail!(
                "no cluster: give a folder with its objects (--manifests DIR), or --live for the one that kubectl would \
                 ask (--kubeconfig FILE and --context NAME choose another)"
            ),
        }
    }

    /// The same, where one is named.
    pub(super) fn find(&self, called: Called, trial: Option<PathBuf>) -> anyhow::Result<Option<Source>> {
        let Self { manifests, live, kubeconfig, context } = self.clone();
        match manifests {
            Some(manifests) => Ok(Some(Source::Folders(Folders { manifests, trial }))),
            None if live || kubeconfig.is_some() || context.is_some() || called == Called::Plugin => {
                let runtime = runtime()?;
                let reach = runtime.block_on(Reach::find(&Access::User { file: kubeconfig, context }))?;
                Ok(Some(Source::Live(Box::new(Live { runtime, reach, trial }))))
            }
            None => Ok(None),
        }
    }
}

pub(super) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("start the runtime")
}

impl Live {
    /// The namespace of the context.
    pub(super) fn namespace(&self) -> &str {
        self.reach.namespace()
    }

    /// Reads all that takes part in verdicts.
    pub(super) fn read(&self) -> anyhow::Result<Reading> {
        let trial = match &self.trial {
            Some(folder) => cluster::load(&Folders::from(folder.clone()))?.into_trial()?,
            None => Vec::new(),
        };
        let timing = Timing::default();
        let read = watch::read_once(&self.reach, Settings::default(), trial, &timing);
        Ok(self.runtime.block_on(read)?)
    }

    /// Looks through its policies. With what is found comes what could not be looked at, in words.
    pub(super) fn lint(&self) -> anyhow::Result<(Linting, Vec<String>)> {
        let (mut listed, mut unread) = (Vec::new(), Vec::new());
        for WrittenKind { api_version, kind, plural, needed } in watch::written_kinds() {
            match self.list(api_version, kind, plural) {
                Ok(Some(objects)) => listed.push((plural.to_owned(), objects)),
                Ok(None) => {}
                Err(error) if needed => return Err(error.context(format!("read {plural}"))),
                Err(error) => unread.push(format!(
                    "{plural} could not be read: pods that they would make and that are not there yet are not looked at: \
                     {error:#}"
                )),
            }
        }
        Ok((cluster::lint_listed(listed, self.trial.as_deref())?, unread))
    }

    /// The objects of a kind, as they are; absent where the server does not have the kind.
    pub(super) fn list(
        &self,
        api_version: &str,
        kind: &str,
        plural: &str,
    ) -> anyhow::Result<Option<Vec<serde_json::Value>>> {
        let listed = watch::list(&self.reach, api_version, kind, plural);
        Ok(self.runtime.block_on(listed)?)
    }
}

/// What could not be read of the kinds that take part, beside the answer: where that hangs on it, it says so itself.
pub(super) fn tell_unread(read: &Reading, takes_part: impl Fn(&str) -> bool) {
    let kinds = read.unread.iter().filter(|(kind, _)| takes_part(kind));
    let kinds = kinds.map(|(kind, why)| format!("{kind} could not be read: {why}"));
    let is_about = |problem: &&Problem| {
        let kind = problem.object.as_deref().and_then(|object| object.split(' ').next());
        kind.is_none_or(&takes_part)
    };
    let objects = read.problems.iter().filter(is_about).map(|problem| format!("not understood: {problem}"));
    kinds.chain(objects).for_each(|line| tell(&line));
}

/// Says something beside the answer.
pub(super) fn tell(line: &str) {
    // Where stderr is gone, the answer is not.
    let _ = writeln!(std::io::stderr(), "flowlog: {}", line.replace(char::is_control, "\u{fffd}"));
}
