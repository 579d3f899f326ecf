//! A scenario: manifests, an enforcement, servers, and traffic in order with what is to come of it.
//!
//! A folder with `manifests/`, `node.nft` and `traffic.yaml`, and `trial/` where policies are in trial.

use crate::manifests::Cluster;
use crate::traffic::{Answer, Listen, Outcome, Server, Step};
use crate::world::{Place, Plan, World};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A scenario folder, read.
#[derive(Debug)]
pub struct Scenario {
    folder: PathBuf,
    script: Script,
}

/// `traffic.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    node: String,
    servers: Vec<ServerPlan>,
    steps: Vec<Act>,
}

/// A process that listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerPlan {
    at: String,
    comm: String,
    listen: Listen,
}

/// One step of the traffic, and what is to come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Who: a place.
    pub at: String,
    /// Under which command name.
    pub comm: String,
    /// What it is, in words for a reader.
    pub about: String,
    /// What it does.
    pub step: Step,
    /// What the process itself must see.
    pub sees: Sees,
    /// What the record must say.
    pub record: Expected,
}

/// What a process saw.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sees {
    /// Outcome of the step.
    pub outcome: Outcome,
    /// Its error, if it is to have one.
    #[serde(default)]
    pub errno: Option<String>,
}

/// What a record must say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Class of the flow.
    pub class: String,
    /// State of its outcome.
    pub state: String,
    /// Reason of the drop that the kernel reports.
    #[serde(default)]
    pub drop: Option<String>,
    /// What the policies in trial would decide.
    #[serde(default)]
    pub trial: Option<String>,
}

impl Scenario {
    /// Read a scenario folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("traffic.yaml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let script = serde_saphyr::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        Ok(Self { folder: folder.to_owned(), script })
    }

    /// The demo's.
    pub fn demo() -> Result<Self> {
        Self::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clusters/demo"))
    }

    /// The agent's `--manifests`.
    pub fn manifests(&self) -> PathBuf {
        self.folder.join("manifests")
    }

    /// The agent's `--trial-policies`, if there are any.
    pub fn trial_policies(&self) -> Option<PathBuf> {
        Some(self.folder.join("trial")).filter(|folder| folder.is_dir())
    }

    /// Whose is whose: the agent's `--vendors`, where there is such a file.
    pub fn vendors(&self) -> Option<PathBuf> {
        Some(self.folder.join("vendors.yaml")).filter(|file| file.is_file())
    }

    /// The agent's `--node`.
    pub fn node(&self) -> &str {
        &self.script.node
    }

    /// The traffic, in order.
    pub fn acts(&self) -> &[Act] {
        &self.script.steps
    }

    /// Build its world, enforcement loaded, servers up.
    pub fn stage(&self) -> Result<(World, Vec<Server>)> {
        let mut world = Plan::new(Cluster::read(&self.manifests())?, self.node()).build()?;
        world.enforce_file(&self.folder.join("node.nft"))?;
        let mut servers = Vec::new();
        for plan in &self.script.servers {
            let Ok(place) = plan.at.parse::<Place>();
            servers.push(world.serve(&place, Some(&plan.comm), &plan.listen)?);
        }
        Ok((world, servers))
    }
}

impl Act {
    /// Where it happens.
    pub fn place(&self) -> Place {
        let Ok(place) = self.at.parse();
        place
    }

    /// Do it, in a process of its own that ends with it.
    pub fn perform(&self, world: &World) -> Result<Answer> {
        world.actor(&self.place(), Some(&self.comm))?.act(&self.step).with_context(|| self.about.clone())
    }

    /// The part of the opener's record that must be there; the namespace and the beginning of the pod's
    /// name are not in it, see `is_told_by`.
    pub fn record(&self) -> Value {
        let mut outcome = json!({ "state": self.record.state });
        if let Some(reason) = &self.record.drop {
            outcome["drop"] = json!({ "reason": reason });
        }
        let mut record = json!({
            "kind": "flow",
            "flow": { "direction": "egress" },
            "process": { "comm": self.comm },
            "class": self.record.class,
            "outcome": outcome,
        });
        if let Some(decision) = &self.record.trial {
            record["verdict"] = json!({ "trial": { "decision": decision } });
        }
        record
    }

    /// True where a line is the opener's record of this step: who, and the address it asked for.
    pub fn is_told_by(&self, line: &Value) -> bool {
        let Some(to) = self.step.target() else { return false };
        let asked = if line["dialed"]["ip"].is_string() { &line["dialed"] } else { &line["destination"] };
        let ip = to.ip().to_canonical().to_string();
        let (namespace, pod) = self.at.split_once('/').unwrap_or(("", &self.at));
        line["kind"] == "flow"
            && line["flow"]["direction"] == "egress"
            && line["source"]["namespace"] == namespace
            && line["source"]["pod"].as_str().is_some_and(|name| name.starts_with(pod))
            && asked["ip"] == ip
            && asked["port"] == to.port()
            && line["process"]["comm"] == self.comm.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_demo_is_read_and_each_step_has_a_record_of_its_own() {
        let scenario = Scenario::demo().unwrap();
        let keys: BTreeSet<_> = scenario
            .acts()
            .iter()
            .map(|act| (act.at.clone(), act.comm.clone(), act.step.target().map(|to| to.to_string())))
            .collect();
        assert_eq!(keys.len(), scenario.acts().len());
        assert!(scenario.acts().len() >= 16);
    }

    #[test]
    fn the_demo_has_its_pods_in_four_namespaces_on_the_node() {
        let scenario = Scenario::demo().unwrap();
        let pods = Cluster::read(&scenario.manifests()).unwrap().pods().unwrap();
        let here: Vec<_> = pods.iter().filter(|pod| pod.node == scenario.node()).collect();
        let namespaces: BTreeSet<_> = here.iter().map(|pod| pod.namespace.as_str()).collect();
        assert_eq!((here.len(), namespaces.len()), (8, 4));
        let addresses: BTreeSet<_> = pods.iter().flat_map(|pod| &pod.ips).collect();
        assert_eq!(addresses.len(), 2 * pods.len(), "each pod has one address of each family");
    }
}
