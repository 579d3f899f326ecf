//! The cluster's part of `flowlog check`: whether the agent could follow it, and whether its pod shows it the node.

use super::{Ability, Row, shown_list};
use crate::capture::Cgroups;
use crate::capture::host::{self, under};
use crate::cluster::watch::{self, Access, Followed, Needed, Probe, ProbedKind, ProbedNode, Reach, Timing};
use crate::config::Settings;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tokio::runtime::Builder;

/// Which cluster, and what of the agent's settings matters to it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// Look at the cluster, too, as the agent does in its pod: API server, rights, node, mounts.
    #[arg(long)]
    in_cluster: bool,
    /// Look at the cluster of this kubeconfig.
    #[arg(long, env = "FLOWLOG_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Look at the cluster of this context; default: the kubeconfig's current one.
    #[arg(long, env = "FLOWLOG_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// Ask in the name of this account, as `kubectl --as` does: `system:serviceaccount:flowlog:flowlog` is the agent's.
    #[arg(long = "as", value_name = "ACCOUNT")]
    account: Option<String>,
    /// Name of the node; default: the host name.
    #[arg(long, env = "FLOWLOG_NODE", value_name = "NAME")]
    pub(super) node: Option<String>,
}

/// What was found of the cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterPart {
    /// The API server's address, where there is a way to it.
    pub(super) url: Option<String>,
    /// The API server, the account, each kind, the node.
    pub(super) cluster: Vec<Row>,
    /// How the agent's pod shows it the node; empty where this is no place for an agent.
    pub(super) pod: Vec<Row>,
    /// What is missing, as rules of a ClusterRole.
    pub(super) rights: Vec<Rule>,
}

/// A rule of a ClusterRole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) api_groups: Vec<&'static str>,
    pub(super) resources: Vec<&'static str>,
    pub(super) verbs: Vec<&'static str>,
}

impl ClusterArgs {
    /// Whether the cluster is to be looked at.
    pub(super) fn is_asked(&self) -> bool {
        self.in_cluster || self.kubeconfig.is_some() || self.context.is_some() || self.account.is_some()
    }

    fn access(&self, at_workstation: bool, settings: &Settings) -> Access {
        let file = self.kubeconfig.clone().or_else(|| settings.kubeconfig.clone());
        let context = self.context.clone().or_else(|| settings.context.clone());
        match (at_workstation, file) {
            // As the agent takes it: without a program that makes credentials.
            (false, Some(file)) => Access::Kubeconfig { file, context },
            (false, None) if self.in_cluster && context.is_none() => Access::InCluster,
            (_, file) => Access::User { file, context },
        }
    }

    /// Looks. At a workstation there is no node, unless one is named, and no pod.
    pub(super) fn look(&self, at_workstation: bool, settings: &Settings) -> anyhow::Result<ClusterPart> {
        let node = (!at_workstation || self.node.is_some()).then_some(&*settings.node);
        let runtime = Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let asked = runtime.block_on(async {
            let reach = Reach::find(&self.access(at_workstation, settings)).await?;
            let reach = match &self.account {
                Some(account) => reach.taken_for(account),
                None => reach,
            };
            watch::probe(&reach, node, &Timing::default()).await
        });
        let mut part = match &asked {
            Ok(probe) => told(probe),
            Err(error) => ClusterPart { cluster: vec![no_way(&error.to_string())], ..ClusterPart::default() },
        };
        let found = asked.ok().and_then(|probe| probe.node);
        if let (Some(name), Some(found)) = (node, &found) {
            let boot_id = (!at_workstation).then(read_boot_id).flatten();
            part.cluster.push(look_at_node(name, found, boot_id.as_deref()));
        }
        if !at_workstation {
            let addresses = found.and_then(Result::ok).flatten().map(|node| node.addresses);
            let own = host::read_addresses().unwrap_or_default();
            part.pod.push(look_at_processes(Path::new("/")));
            part.pod.extend(addresses.map(|node| look_at_network(&node, &own)));
            part.pod.push(look_at_cgroups());
        }
        Ok(part)
    }
}

fn no_way(why: &str) -> Row {
    Row::needed("api_server").missing(
        why.to_owned(),
        "who is who and what is declared is unknown, and the agent is not started",
        "give a kubeconfig that leads to the cluster, or run it in a pod with a service account's token \
         (automountServiceAccountToken: true)"
            .to_owned(),
    )
}

fn told(probe: &Probe) -> ClusterPart {
    let mut part = ClusterPart { url: Some(probe.url.clone()), ..ClusterPart::default() };
    part.cluster.push(look_at_server(probe));
    part.cluster.extend(probe.account.as_ref().map(look_at_account));
    part.cluster.extend(probe.kinds.iter().map(look_at_kind));
    part.rights = rules(&probe.kinds);
    part
}

fn look_at_server(probe: &Probe) -> Row {
    let row = Row::needed("api_server");
    let why = match &probe.server {
        Ok(Some(version)) => return row.ok(format!("{} answers, Kubernetes {version}", probe.url)),
        Ok(None) => return row.ok(format!("{} answers, and does not tell its version", probe.url)),
        Err(why) => why,
    };
    let remedy = match why.contains("certificate") {
        true => {
            "give the kubeconfig the authority that signed its certificate (certificate-authority), and the name \
                 that this is for"
        }
        false => {
            "see that the address is the API server's, and that no firewall stands between; in a pod: \
                  hostNetwork: true"
        }
    };
    row.missing(
        format!("{} does not answer: {}", probe.url, why.trim_start_matches("/version: ")),
        "who is who and what is declared stays unknown until it does",
        remedy.to_owned(),
    )
}

fn look_at_account(account: &Result<Option<String>, String>) -> Row {
    let row = Row::needed("account");
    match account {
        Ok(Some(name)) => row.ok(name.clone()),
        Ok(None) => row.ok("accepted; whose it is, the API server does not tell".to_owned()),
        Err(why) if why.starts_with("403") => row.missing(
            why.clone(),
            "what this account may do cannot be told",
            "ask as somebody who may impersonate it, or without --as".to_owned(),
        ),
        Err(why) => row.missing(
            format!("the credentials are not accepted: {why}"),
            "nothing is read: who is who and what is declared stays unknown",
            "in a pod: start it anew, with a ServiceAccount that is there; else log in again, so that the kubeconfig \
             has credentials that are valid"
                .to_owned(),
        ),
    }
}

fn look_at_kind(kind: &ProbedKind) -> Row {
    let (without, needed) = match kind.needed {
        Needed::Names => ("who is not known is `unknown`, never external; the agent is not ready", true),
        Needed::Rules => ("every verdict is `unknown`; the agent is not ready", true),
        Needed::Nothing => ("pods of a CronJob are told as their Job's", false),
    };
    let row = Row { needed, ..Row::optional(kind.plural) };
    let version = match kind.group {
        "" => kind.version.to_owned(),
        group => format!("{group}/{}", kind.version),
    };
    match &kind.followed {
        Followed::Yes => row.ok(version),
        Followed::Unserved => row.ok(format!("{version} is not served here; it is followed once it is")),
        Followed::Elsewhere(versions) => row.missing(
            format!("served as {versions}, and {} alone is read", kind.version),
            without,
            "serve that version, too, or take a flowlog that reads the other".to_owned(),
        ),
        Followed::Refused { verbs, why, served } => {
            let verbs = verbs.join(" and ");
            let there = if *served { "" } else { ", and is not served here" };
            row.missing(
                format!("{version}{there}; no right to {verbs}: {why}"),
                without,
                "give the account the rights below".to_owned(),
            )
        }
        Followed::Fails(why) => row.missing(
            format!("{version} cannot be followed: {why}"),
            without,
            "mend what the API server says; the agent tries again until then".to_owned(),
        ),
    }
}

/// What is missing, kinds of a group with the same verbs together.
fn rules(kinds: &[ProbedKind]) -> Vec<Rule> {
    let mut missing: BTreeMap<(&str, Vec<&str>), Vec<&'static str>> = BTreeMap::new();
    for kind in kinds {
        if let Followed::Refused { verbs, .. } = &kind.followed {
            missing.entry((kind.group, verbs.clone())).or_default().push(kind.plural);
        }
    }
    let rule = |((group, verbs), resources)| Rule { api_groups: vec![group], resources, verbs };
    missing.into_iter().map(rule).collect()
}

/// The rules as they are written into a ClusterRole.
pub(super) fn yaml(rules: &[Rule]) -> String {
    let mut text = String::new();
    for Rule { api_groups, resources, verbs } in rules {
        let groups = api_groups.iter().map(|group| if group.is_empty() { "\"\"" } else { group });
        let groups = groups.collect::<Vec<_>>().join(", ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - apiGroups: [{groups}]");
        let _ = writeln!(text, "    resources:");
        for resource in resources {
            let _ = writeln!(text, "      - {resource}");
        }
        let _ = writeln!(text, "    verbs: [{}]", verbs.join(", "));
    }
    text
}

fn read_boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn look_at_node(name: &str, found: &Result<Option<ProbedNode>, String>, boot_id: Option<&str>) -> Row {
    let row = Row::needed("node");
    let without =
        "containers of this node's pods have no name, and what the node itself does is taken for another's";
    let remedy =
        "give the node's name as the cluster has it: --node, or FLOWLOG_NODE by the field spec.nodeName";
    match found {
        Err(why) => row.missing(
            format!("whether there is {name} cannot be told: {why}"),
            without,
            "see nodes above".to_owned(),
        ),
        Ok(None) => row.missing(format!("there is no node {name}"), without, remedy.to_owned()),
        Ok(Some(ProbedNode { boot_id: Some(other), .. })) if boot_id.is_some_and(|own| own != other) => row
            .degraded(
                format!(
                    "{name} is another machine, or has just been started: its boot id is not this kernel's"
                ),
                without,
                remedy.to_owned(),
            ),
        Ok(Some(_)) => row.ok(name.to_owned()),
    }
}

/// The first PID namespace has this number, by the kernel's ABI (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

fn look_at_processes(root: &Path) -> Row {
    let row = Row::optional("pid_namespace");
    match std::fs::read_link(under(root, "/proc/self/ns/pid")) {
        Ok(own) if own.as_os_str() == FIRST_PID_NAMESPACE => row.ok("the node's own".to_owned()),
        Ok(_) => row.degraded(
            "not the node's own".to_owned(),
            "connections that are older than flowlog are not told, nor `process.exe`",
            "hostPID: true".to_owned(),
        ),
        Err(error) => row.degraded(
            format!("cannot be told: {error}"),
            "whether connections that are older than flowlog are told",
            "mount proc at /proc".to_owned(),
        ),
    }
}

fn look_at_network(node: &[IpAddr], own: &[IpAddr]) -> Row {
    let row = Row::optional("network");
    match node.iter().find(|address| own.contains(address)) {
        Some(address) => row.ok(format!("the node's own: {address} is an address here")),
        None => row.degraded(
            format!("not the node's own: none of {} is an address here", shown_list(node)),
            "this namespace's addresses are taken for the node's, and the node's other ones are not known",
            "hostNetwork: true".to_owned(),
        ),
    }
}

/// Whether the tree that is mounted here shows the pods.
fn look_at_cgroups() -> Row {
    let row = Row::needed("pod_cgroups");
    let without = "no connection of a pod is told as its own";
    let mount = host::read_mounts(Path::new("/")).ok().and_then(|mounts| mounts.cgroup2.into_iter().next());
    let Some(mount) = mount else {
        return row.missing("no cgroup2 is mounted".to_owned(), without, "see cgroup2 above".to_owned());
    };
    match Cgroups::scan(&mount, &mount) {
        Ok(found) if found.pods() > 0 => row.ok(format!("{} pods below {}", found.pods(), mount.display())),
        Ok(_) => row.missing(
            format!("no cgroup below {} is a pod's", mount.display()),
            without,
            "mount the node's /sys/fs/cgroup (hostPath) over the container's own view; where the kubelet is on cgroup \
             v1, pods have none in this tree"
                .to_owned(),
        ),
        Err(error) => row.missing(error.to_string(), without, "mount the node's /sys/fs/cgroup".to_owned()),
    }
}

impl ClusterPart {
    pub(super) fn ability(&self) -> Ability {
        let rows = self.cluster.iter().chain(&self.pod);
        rows.map(Row::ability).max().unwrap_or(Ability::Complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::Mark;

    fn kind(plural: &'static str, group: &'static str, needed: Needed, followed: Followed) -> ProbedKind {
        ProbedKind { name: plural, plural, group, version: "v1", needed, followed }
    }

    fn refused(verbs: &[&'static str]) -> Followed {
        Followed::Refused { verbs: verbs.to_vec(), why: "403 Forbidden".to_owned(), served: true }
    }

    #[test]
    fn missing_rights_are_rules_that_can_be_pasted() {
        let both = ["list", "watch"];
        let kinds = [
            kind("pods", "", Needed::Names, refused(&both)),
            kind("networkpolicies", "networking.k8s.io", Needed::Rules, refused(&["watch"])),
            kind("nodes", "", Needed::Names, refused(&both)),
            kind("namespaces", "", Needed::Rules, Followed::Yes),
        ];
        let text = yaml(&rules(&kinds));
        let right = "  - apiGroups: [\"\"]\n    resources:\n      - pods\n      - nodes\n    verbs: [list, watch]\n  \
                     - apiGroups: [networking.k8s.io]\n    resources:\n      - networkpolicies\n    verbs: [watch]\n";
        assert_eq!(text, right);
    }

    #[test]
    fn what_is_missing_weighs_what_hangs_on_it() {
        let rows = [
            (Needed::Rules, refused(&["list"]), Ability::CannotRun),
            (Needed::Names, Followed::Fails("500".to_owned()), Ability::CannotRun),
            (Needed::Rules, Followed::Elsewhere("v1beta1".to_owned()), Ability::CannotRun),
            (Needed::Nothing, refused(&["list"]), Ability::Degraded),
            (Needed::Rules, Followed::Unserved, Ability::Complete),
            (Needed::Rules, Followed::Yes, Ability::Complete),
        ];
        for (needed, followed, ability) in rows {
            let row = look_at_kind(&kind("things", "x", needed, followed.clone()));
            assert_eq!(row.ability(), ability, "{followed:?}: {row:?}");
        }
    }

    #[test]
    fn the_node_is_held_against_this_machine() {
        let node = |boot: Option<&str>| {
            Ok(Some(ProbedNode { boot_id: boot.map(str::to_owned), addresses: Vec::new() }))
        };
        let rows = [
            ("it", node(Some("a")), Some("a"), Mark::Ok),
            ("another", node(Some("b")), Some("a"), Mark::Degraded),
            ("it does not tell", node(None), Some("a"), Mark::Ok),
            ("at a workstation", node(Some("b")), None, Mark::Ok),
            ("none", Ok(None), Some("a"), Mark::Missing),
            ("not to be told", Err("403".to_owned()), Some("a"), Mark::Missing),
        ];
        for (name, found, own, mark) in rows {
            assert_eq!(look_at_node("n1", &found, own).state, mark, "{name}");
        }
        let address = |written: &str| written.parse::<IpAddr>().unwrap();
        let own = [address("10.0.0.1"), address("172.17.0.1")];
        assert_eq!(look_at_network(&[address("10.0.0.1")], &own).state, Mark::Ok);
        assert_eq!(look_at_network(&[address("10.0.0.2")], &own).state, Mark::Degraded);
    }
}
