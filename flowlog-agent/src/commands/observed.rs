//! What was observed, and the cluster that it was observed in: what `policy suggest` and `simulate` are asked about.

use super::Called;
use super::logs::{self, LogArgs};
use super::source::{self, Source, SourceArgs};
use crate::cluster::{self, Settings, Snapshot, Store};
use crate::model::{Backend, Node, Observations, Pod, Protocol};
use crate::policy::observed::Cast;
use crate::policy::suggest::{Choice, Input, Outside, SuggestError, Suggester, Suggestion};
use crate::policy::{BlockScope, PolicySet};
use anyhow::bail;
use ipnet::IpNet;
use jiff::Timestamp;
use std::io::Write as _;
use std::sync::Arc;

/// Which records, and which cluster.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ObservedArgs {
    #[command(flatten)]
    pub(super) logs: LogArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

/// Records, and the objects where they were given.
pub(super) struct Observed {
    pub(super) records: Observations,
    pub(super) cluster: Option<Arc<Snapshot>>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) nodes: Vec<Arc<Node>>,
}

impl Observed {
    /// Reads both.
    pub(super) fn read(args: &ObservedArgs, called: Called) -> anyhow::Result<Self> {
        // What is wrong with the cluster is told before gigabytes are read.
        let cluster = args.source.find_source(called, None)?.map(read_cluster).transpose()?;
        let Some(records) = logs::read(&args.logs)? else {
            bail!("no records: give flow logs (--logs PATH: files, folders, - for standard input)");
        };
        tell_problems(&records);
        let (mut pods, mut nodes): (Vec<Arc<Pod>>, Vec<Arc<Node>>) = Default::default();
        if let Some(cluster) = &cluster {
            pods = cluster.inventory.pods().cloned().collect();
            nodes = cluster.inventory.nodes().cloned().collect();
            pods.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
            nodes.sort_by(|one, other| one.name.cmp(&other.name));
        }
        Ok(Self { records, cluster, pods, nodes })
    }

    /// What is declared, where objects tell.
    pub(super) fn declared(&self) -> Option<&PolicySet> {
        self.cluster.as_ref().map(|cluster| &*cluster.policies)
    }

    /// What stands behind the port of a service.
    fn backends(&self, namespace: &str, name: &str, protocol: Protocol, port: u16) -> Vec<Backend> {
        self.cluster.as_ref().map_or_else(Vec::new, |cluster| {
            cluster.inventory.service_backends(namespace, name, port, protocol, cluster.as_of)
        })
    }

    /// Policies out of it.
    pub(super) fn suggest(
        &self,
        networks: &[(IpNet, String)],
        ranges: &[IpNet],
        choice: &Choice,
    ) -> Result<Suggestion, SuggestError> {
        // Addresses of pods are not known: blocks of addresses outside the cluster are not theirs.
        let scope =
            if choice.outside == Outside::Any { BlockScope::Everything } else { BlockScope::OutsidePods };
        let nothing = PolicySet::new([], scope);
        let backing =
            |namespace: &str, name: &str, protocol, port| self.backends(namespace, name, protocol, port);
        Suggester::new(Input {
            edges: &self.records.edges,
            pods: self.pods.clone(),
            nodes: self.nodes.clone(),
            backing: Box::new(backing),
            declared: self.declared().unwrap_or(&nothing),
            networks,
            ranges,
        })
        .suggest(choice)
    }

    /// Everybody who takes part, for these sets of policies.
    pub(super) fn with_cast<T>(&self, sets: &[&PolicySet], use_it: impl FnOnce(&Cast<'_>) -> T) -> T {
        let backing =
            |namespace: &str, name: &str, protocol, port| self.backends(namespace, name, protocol, port);
        use_it(&Cast::new(&self.pods, &self.nodes, Box::new(backing), &self.records.edges, sets))
    }
}

fn read_cluster(source: Source) -> anyhow::Result<Arc<Snapshot>> {
    let snapshot = match source {
        Source::Folders(folders) => {
            let loaded = cluster::load_estate(&folders)?;
            Store::start(Settings::default(), loaded, Timestamp::UNIX_EPOCH)?.snapshot()
        }
        Source::Live(live) => {
            let read = live.read()?;
            source::tell_unread(&read, |_| true);
            read.snapshot
        }
    };
    if let Some(why) = &snapshot.unread {
        bail!("what is declared cannot be told: {why}");
    }
    Ok(snapshot)
}

/// What could not be read, beside the answer.
fn tell_problems(records: &Observations) {
    let problems = records.problems.iter().map(|problem| {
        let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
        format!("{}{line}: {}", problem.file, problem.what)
    });
    let more =
        (records.more_problems > 0).then(|| format!("{} more could not be read", records.more_problems));
    for line in problems.chain(more).chain(records.limits.iter().cloned()) {
        // Where stderr is gone, the answer is not.
        let _ = writeln!(std::io::stderr(), "flowlog: {}", line.replace(char::is_control, "\u{fffd}"));
    }
}

/// `1 policy`, `2 policies`.
pub(super) fn plural(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}
