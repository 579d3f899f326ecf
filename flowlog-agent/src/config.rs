//! The configuration: one YAML file as it is written, flags and environment over it, checked settings out.
//!
//! A flag (or its environment variable) beats the file, the file beats the default. What is wrong is named
//! with where it came from. Names of hooks and outputs are checked by the rooms that know them.

pub mod assessment;
mod outputs;
mod remote;
mod selection;

pub use outputs::{Output, Rotate};
pub use remote::{Compression, Spool};
pub use selection::{Condition, Fields, Selecting, Words};

use ipnet::IpNet;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every setting as a person writes it, in the file or by flags; absent where they say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// Name of this node in the cluster; default: the host name.
    pub node: Option<String>,
    /// Name of the cluster, put into every record.
    pub cluster: Option<String>,
    /// Folder with the cluster's objects as YAML or JSON.
    pub manifests: Option<PathBuf>,
    /// Kubeconfig of the cluster to watch, in place of `manifests`; in a pod of the cluster neither is needed.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: its current one.
    pub context: Option<String>,
    /// What is read of the cluster's pods and nodes: `cluster` (all; the default), or `node` (this node's own alone).
    pub cluster_scope: Option<String>,
    /// Folder with policies in trial: judged beside the declared ones, told under `verdict.trial`.
    pub trial_policies: Option<PathBuf>,
    /// The cgroup2 directory to watch; default: the root of the mounted hierarchy.
    pub cgroup_root: Option<PathBuf>,
    /// Where records go: `stdout`, or paths of files; default: `stdout`.
    pub outputs: Option<Vec<Output>>,
    /// What kinds of news outputs are given that do not say it themselves: classes, `denials`, `findings`, or `all` (the
    /// default).
    pub only: Option<Words>,
    /// Conditions of which one must hold, for outputs that have none themselves.
    pub allow: Option<Vec<Condition>>,
    /// Conditions of which none may hold, likewise.
    pub deny: Option<Vec<Condition>>,
    /// Write every connection instead of folding repeats.
    pub each: Option<bool>,
    /// Write the first allowed flow between your own pods of one namespace at once, as any other's.
    pub own_at_once: Option<bool>,
    /// How often repeats of denied and not enforced flows are written, milliseconds; default 10,000.
    pub fold_denied_ms: Option<u64>,
    /// How often repeats of other flows are written, milliseconds; default 60,000.
    pub fold_other_ms: Option<u64>,
    /// How long an attempt waits for its pod to become known, milliseconds; default 2,000.
    pub waiting_ms: Option<u64>,
    /// How long after a policy's change a flow is marked `settling`, milliseconds; default 5,000.
    pub settling_ms: Option<u64>,
    /// How often the kernel's ring is drained, milliseconds; default 20.
    pub drain_ms: Option<u64>,
    /// Size of the ring for connection events, a power of two; default 8 MiB.
    pub events_ring_bytes: Option<u32>,
    /// Size of the ring for cgroup events, a power of two; default 1 MiB.
    pub cgroup_ring_bytes: Option<u32>,
    /// Record processes outside pods, too.
    pub host_processes: Option<bool>,
    /// Tell the executable of processes: keeps CAP_SYS_PTRACE, and files are not confined.
    pub process_exe: Option<bool>,
    /// Ask connection tracking for the backends of services: keeps CAP_NET_ADMIN.
    pub conntrack: Option<bool>,
    /// Give up nothing once attached: capabilities, files, system calls.
    pub keep_privileges: Option<bool>,
    /// Address blocks of pods: an address in here that no pod has is unknown, not external.
    pub pod_cidrs: Option<Vec<String>>,
    /// Address blocks of services.
    pub service_cidrs: Option<Vec<String>>,
    /// Address blocks of nodes, for `cluster_scope: node`: outside of all blocks an address is external.
    pub node_cidrs: Option<Vec<String>>,
    /// Names of external address blocks.
    pub networks: Option<BTreeMap<String, Vec<String>>>,
    /// Keys of the labels that records show, `*` for any letters; default: all but those that only number a roll-out.
    pub labels: Option<Vec<String>>,
    /// Hooks that are not attached, by name.
    pub hooks_off: Option<Vec<String>>,
    /// Observe packets, too: inbound UDP before it is taken, ICMP, SCTP.
    pub packets: Option<bool>,
    /// Show the kernel half's own debug lines.
    pub kernel_log: Option<bool>,
    /// Folder in bpffs in which the kernel half outlives the agent; empty for `flowlog` in the first bpffs.
    pub pin: Option<PathBuf>,
    /// Where metrics and health are answered: `ADDRESS:PORT`, a port of 127.0.0.1, or an address; default: nowhere.
    pub metrics_listen: Option<String>,
    /// Unix socket on which the same and `/debug/snapshot` are answered; default: none.
    pub debug_socket: Option<PathBuf>,
    /// An `ipBlock` matches external addresses and nodes only, never pods, as some network plugins do.
    pub ip_block_external_only: Option<bool>,
    /// A catalogue of yours: whose software is known by what, beside what ships.
    pub vendors: Option<PathBuf>,
    /// What is sensitive.
    pub sensitive: Option<Sensitive>,
    /// Address ranges as clouds publish them: files.
    pub range_files: Option<Vec<PathBuf>>,
    /// A table of autonomous systems.
    pub asn_file: Option<PathBuf>,
    /// Findings that are told while the agent runs.
    pub findings: Option<WrittenFindings>,
}

/// What is told of findings, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenFindings {
    /// Whether any are told; default: yes.
    pub enabled: Option<bool>,
    /// A source probes that is denied or refused at so many targets or ports; default 10.
    pub probe_targets: Option<u64>,
    /// Within so many milliseconds; default 600,000.
    pub probe_within_ms: Option<u64>,
    /// How often repeats of a finding are told at most, milliseconds; default 600,000.
    pub repeat_ms: Option<u64>,
}

/// What is told of findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Whether any are told.
    pub enabled: bool,
    /// A source probes that is denied or refused at so many targets or ports.
    pub probe_targets: u64,
    /// Within so long.
    #[serde(rename = "probe_within_ms", serialize_with = "milliseconds")]
    pub probe_within: Duration,
    /// How often repeats are told at most.
    #[serde(rename = "repeat_ms", serialize_with = "milliseconds")]
    pub repeat: Duration,
}

/// What is sensitive, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sensitive {
    /// Namespaces; `*` for any letters.
    pub namespaces: Vec<String>,
    /// Label selectors of pods, as `kubectl get -l` takes them.
    pub selectors: Vec<String>,
    /// Whether the rules that ship count: data stores and secret stores; they do where nothing is said.
    pub shipped: Option<bool>,
}

/// What is read of the cluster's pods and nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterScope {
    /// All of them.
    #[default]
    Cluster,
    /// This node, and its pods.
    Node,
}

/// The same, from flags and environment.
pub type Overrides = Values;

/// A configuration file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub values: Values,
}

/// The settings in force, checked; written into the `agent` start record as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Name of this node.
    pub node: String,
    /// Name of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Folder with the cluster's objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<PathBuf>,
    /// Kubeconfig of the cluster to watch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// What is read of the cluster's pods and nodes.
    pub cluster_scope: ClusterScope,
    /// Folder with policies in trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_policies: Option<PathBuf>,
    /// The cgroup2 directory to watch, where configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_root: Option<PathBuf>,
    /// Where records go.
    pub outputs: Vec<Output>,
    /// Which records they are given where they do not say.
    #[serde(flatten)]
    pub selecting: Selecting,
    /// Write every connection.
    pub each: bool,
    /// Write the first allowed flow between own pods of one namespace at once, too.
    pub own_at_once: bool,
    /// Fold interval of denied and not enforced flows.
    #[serde(rename = "fold_denied_ms", serialize_with = "milliseconds")]
    pub fold_denied: Duration,
    /// Fold interval of other flows.
    #[serde(rename = "fold_other_ms", serialize_with = "milliseconds")]
    pub fold_other: Duration,
    /// How long an attempt waits for its pod.
    #[serde(rename = "waiting_ms", serialize_with = "milliseconds")]
    pub waiting: Duration,
    /// How long a changed policy settles.
    #[serde(rename = "settling_ms", serialize_with = "milliseconds")]
    pub settling: Duration,
    /// How often the ring is drained.
    #[serde(rename = "drain_ms", serialize_with = "milliseconds")]
    pub drain: Duration,
    /// Size of the ring for connection events.
    pub events_ring_bytes: u32,
    /// Size of the ring for cgroup events.
    pub cgroup_ring_bytes: u32,
    /// Record processes outside pods.
    pub host_processes: bool,
    /// Tell the executable of processes.
    pub process_exe: bool,
    /// Ask connection tracking for the backends of services.
    pub conntrack: bool,
    /// Give up nothing once attached.
    pub keep_privileges: bool,
    /// Address blocks of pods.
    pub pod_cidrs: Vec<IpNet>,
    /// Address blocks of services.
    pub service_cidrs: Vec<IpNet>,
    /// Address blocks of nodes.
    pub node_cidrs: Vec<IpNet>,
    /// Names of external address blocks.
    pub networks: BTreeMap<String, Vec<IpNet>>,
    /// Keys of the labels that records show; absent: all but noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeSet<String>>,
    /// Hooks that are not attached.
    pub hooks_off: BTreeSet<String>,
    /// Observe packets, too.
    pub packets: bool,
    /// Show the kernel half's debug lines.
    pub kernel_log: bool,
    /// Folder in bpffs in which the kernel half outlives the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<PathBuf>,
    /// Where metrics and health are answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// Unix socket on which everything is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug_socket: Option<PathBuf>,
    /// An `ipBlock` never matches pods.
    pub ip_block_external_only: bool,
    /// A catalogue beside the one that ships.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendors: Option<PathBuf>,
    /// What is sensitive.
    pub sensitive: Sensitive,
    /// Files of ranges as clouds publish them.
    pub range_files: Vec<PathBuf>,
    /// A table of autonomous systems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn_file: Option<PathBuf>,
    /// Findings that are told while it runs.
    pub findings: Findings,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key that flowlog does not know.
    #[error("{}:{line}: unknown key `{key}`{}", path.display(), suggestion.as_ref().map(|known| format!("; did you mean `{known}`?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line in it, from 1.
        line: u64,
        /// The key.
        key: String,
        /// The known key most like it.
        suggestion: Option<String>,
    },
    /// The file is no YAML, or a value has the wrong type.
    #[error("{}:{line}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line in it, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A number out of its range.
    #[error("`{key}` is {value} ({origin}): it must be {allowed}")]
    Range {
        /// The setting.
        key: &'static str,
        /// What it was set to.
        value: u64,
        /// Where that came from.
        origin: Origin,
        /// What would be right.
        allowed: String,
    },
    /// Not an address block.
    #[error("`{key}` has `{value}` ({origin}), which is no address block such as 10.244.0.0/16 or fd00::/48")]
    Cidr {
        /// The setting.
        key: String,
        /// What it was set to.
        value: String,
        /// Where that came from.
        origin: Origin,
    },
    /// A text that must not be empty.
    #[error("`{key}` is empty ({origin}): leave it out, or give it a value")]
    Empty {
        /// The setting.
        key: &'static str,
        /// Where that came from.
        origin: Origin,
    },
    /// Two settings that make sense together alone.
    #[error("`{one}` is set ({origin}) and `{other}` is not: they go together")]
    Alone {
        /// What is set.
        one: &'static str,
        /// What is not.
        other: &'static str,
        /// Where the first came from.
        origin: Origin,
    },
    /// Nowhere to listen.
    #[error(
        "`{key}` is `{value}` ({origin}): it must be ADDRESS:PORT, such as 127.0.0.1:{METRICS_PORT} or [::1]:{METRICS_PORT}, or one of the two"
    )]
    Address {
        /// The setting.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// Where that came from.
        origin: Origin,
    },
    /// The cluster would be read from two places.
    #[error("`manifests` ({one}) and `kubeconfig` ({other}): the cluster is read from one of them")]
    TwoSources {
        /// Where the manifests came from.
        one: Origin,
        /// Where the kubeconfig came from.
        other: Origin,
    },
    /// A context of nothing.
    #[error("`context` ({origin}) names a context of a kubeconfig: set `kubeconfig`, too")]
    NoKubeconfig {
        /// Where it came from.
        origin: Origin,
    },
    /// No scope.
    #[error("`cluster_scope` is `{value}` ({origin}): it must be `cluster` or `node`")]
    Scope {
        /// What it was set to.
        value: String,
        /// Where that came from.
        origin: Origin,
    },
    /// What is in a folder is read whole.
    #[error(
        "`cluster_scope` is `node` ({origin}) and `manifests` is set: a folder is read whole, whatever it has"
    )]
    ScopeOfManifests {
        /// Where the scope came from.
        origin: Origin,
    },
    /// No name for this node.
    #[error("the host name cannot be read from {}: {source}; set `node`", path.display())]
    HostName {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where metrics are answered where nobody says at which port. Not one that others have on a node: exporters (9100 to
/// 9999, all given away), Kubernetes (10248 to 10259), node ports (30000 to 32767), connections (from 32768 on).
pub const METRICS_PORT: u16 = 12_477;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag or its environment variable; the setting's key.
    Flag(&'static str),
    /// The file.
    File(PathBuf),
    /// Nobody set it.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(key) => {
                // What may be given several times is named by one of its values.
                let flag = match *key {
                    "outputs" => "output".to_owned(),
                    "hooks_off" => "hook-off".to_owned(),
                    other => other.replace('_', "-"),
                };
                write!(f, "from --{flag} or FLOWLOG_{}", key.to_ascii_uppercase())
            }
            Self::File(path) => write!(f, "from {}", path.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// Read a configuration file.
pub fn load(path: &Path) -> Result<File, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    // A file with comments only is an empty document: it sets nothing.
    let values: Option<Values> =
        serde_saphyr::from_str(text).map_err(|error| explain(path, error.without_snippet()))?;
    Ok(File { path: path.to_owned(), values: values.unwrap_or_default() })
}

fn explain(path: &Path, error: &serde_saphyr::Error) -> ConfigError {
    let line = error.location().map_or(1, |location| location.line());
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => ConfigError::UnknownKey {
            path: path.to_owned(),
            line,
            key: field.clone(),
            suggestion: suggest(field, expected.iter().copied()).map(str::to_owned),
        },
        other => ConfigError::Malformed { path: path.to_owned(), line, reason: one_line(&other.to_string()) },
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The known word most like one that is not known, if any is like it at all.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.replace('-', "_").to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Where a setting comes from: the flags, else the file.
struct Layers<'a> {
    file: Option<&'a File>,
    flags: &'a Overrides,
}

impl Layers<'_> {
    fn find<T: Clone>(&self, key: &'static str, of: fn(&Values) -> &Option<T>) -> Option<(T, Origin)> {
        let by_flag = of(self.flags).clone().map(|value| (value, Origin::Flag(key)));
        by_flag.or_else(|| {
            let file = self.file?;
            Some((of(&file.values).clone()?, Origin::File(file.path.clone())))
        })
    }

    fn value<T: Clone>(&self, key: &'static str, of: fn(&Values) -> &Option<T>, default: T) -> T {
        self.find(key, of).map_or(default, |(value, _)| value)
    }

    fn text(
        &self,
        key: &'static str,
        of: fn(&Values) -> &Option<String>,
    ) -> Result<Option<String>, ConfigError> {
        match self.find(key, of) {
            Some((text, origin)) if text.trim().is_empty() => Err(ConfigError::Empty { key, origin }),
            found => Ok(found.map(|(text, _)| text)),
        }
    }

    /// The cluster is read from one place.
    fn one_source(&self) -> Result<(), ConfigError> {
        let manifests = self.find("manifests", |values| &values.manifests);
        let kubeconfig = self.find("kubeconfig", |values| &values.kubeconfig);
        let context = self.find("context", |values| &values.context);
        match (manifests, kubeconfig, context) {
            (Some((_, one)), Some((_, other)), _) => Err(ConfigError::TwoSources { one, other }),
            (_, None, Some((_, origin))) => Err(ConfigError::NoKubeconfig { origin }),
            _ => Ok(()),
        }
    }

    fn cluster_scope(&self) -> Result<ClusterScope, ConfigError> {
        let manifests = self.find("manifests", |values| &values.manifests);
        match self.find("cluster_scope", |values| &values.cluster_scope) {
            None => Ok(ClusterScope::default()),
            Some((value, _)) if value == "cluster" => Ok(ClusterScope::Cluster),
            Some((value, origin)) if value == "node" => match manifests {
                Some(_) => Err(ConfigError::ScopeOfManifests { origin }),
                None => Ok(ClusterScope::Node),
            },
            Some((value, origin)) => Err(ConfigError::Scope { value, origin }),
        }
    }

    fn milliseconds(
        &self,
        key: &'static str,
        of: fn(&Values) -> &Option<u64>,
        default: u64,
        (least, most): (u64, u64),
    ) -> Result<Duration, ConfigError> {
        let (value, origin) = self.find(key, of).unwrap_or((default, Origin::Default));
        if (least..=most).contains(&value) {
            return Ok(Duration::from_millis(value));
        }
        Err(ConfigError::Range { key, value, origin, allowed: format!("{least} to {most} milliseconds") })
    }

    /// The kernel wants a power of two in whole pages (64 KiB is a whole number of pages everywhere).
    fn ring_bytes(
        &self,
        key: &'static str,
        of: fn(&Values) -> &Option<u32>,
        default: u32,
    ) -> Result<u32, ConfigError> {
        let (value, origin) = self.find(key, of).unwrap_or((default, Origin::Default));
        if value.is_power_of_two() && (65_536..=1_073_741_824).contains(&value) {
            return Ok(value);
        }
        let allowed = "a power of two from 65536 to 1073741824 bytes".to_owned();
        Err(ConfigError::Range { key, value: value.into(), origin, allowed })
    }

    fn cidrs(
        &self,
        key: &'static str,
        of: fn(&Values) -> &Option<Vec<String>>,
    ) -> Result<Vec<IpNet>, ConfigError> {
        let Some((texts, origin)) = self.find(key, of) else { return Ok(Vec::new()) };
        blocks(key, &texts, &origin)
    }

    fn networks(&self) -> Result<BTreeMap<String, Vec<IpNet>>, ConfigError> {
        let Some((named, origin)) = self.find("networks", |values| &values.networks) else {
            return Ok(BTreeMap::new());
        };
        named
            .into_iter()
            .map(|(name, texts)| Ok((name.clone(), blocks(&format!("networks.{name}"), &texts, &origin)?)))
            .collect()
    }

    fn listen(
        &self,
        key: &'static str,
        of: fn(&Values) -> &Option<String>,
    ) -> Result<Option<SocketAddr>, ConfigError> {
        let Some((value, origin)) = self.find(key, of) else { return Ok(None) };
        // Loopback unless told otherwise. An address alone is what a pod is told of its node.
        let port = value.parse::<u16>().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let address = value.parse::<IpAddr>().map(|address| SocketAddr::from((address, METRICS_PORT)));
        let listen = port.or(address).or_else(|_| value.parse());
        listen.map(Some).map_err(|_| ConfigError::Address { key, value, origin })
    }

    fn findings(&self) -> Result<Findings, ConfigError> {
        let found = self.find("findings", |values| &values.findings);
        let (written, origin) = found.unwrap_or((WrittenFindings::default(), Origin::Default));
        let number = |key, value: Option<u64>, default, (least, most), unit| {
            let value = value.unwrap_or(default);
            let allowed = || format!("{least} to {most}{unit}");
            let is_allowed = (least..=most).contains(&value);
            let wrong = || ConfigError::Range { key, value, origin: origin.clone(), allowed: allowed() };
            is_allowed.then_some(value).ok_or_else(wrong)
        };
        let milliseconds = |key, value, range| {
            Ok(Duration::from_millis(number(key, value, 600_000, range, " milliseconds")?))
        };
        Ok(Findings {
            enabled: written.enabled.unwrap_or(true),
            probe_targets: number("findings.probe_targets", written.probe_targets, 10, (2, 1_000), "")?,
            probe_within: milliseconds(
                "findings.probe_within_ms",
                written.probe_within_ms,
                (1_000, 86_400_000),
            )?,
            repeat: milliseconds("findings.repeat_ms", written.repeat_ms, (1_000, 86_400_000))?,
        })
    }

    fn outputs(&self) -> Result<Vec<Output>, ConfigError> {
        let key = "outputs";
        match self.find(key, |values| &values.outputs) {
            None => Ok(vec!["stdout".into()]),
            Some((outputs, origin))
                if outputs.is_empty() || outputs.iter().any(|output| output.to.trim().is_empty()) =>
            {
                Err(ConfigError::Empty { key, origin })
            }
            Some((outputs, origin)) => {
                outputs
                    .iter()
                    .filter_map(|output| output.rotate)
                    .try_for_each(|rotate| rotate.check(&origin))?;
                outputs.iter().try_for_each(|output| output.check_remote(&origin))?;
                Ok(outputs)
            }
        }
    }
}

/// Parse address blocks; host bits are masked off.
fn blocks(key: &str, texts: &[String], origin: &Origin) -> Result<Vec<IpNet>, ConfigError> {
    let parse = |text: &String| {
        let parsed = text.parse::<IpNet>().ok().map(|block| block.trunc());
        parsed.ok_or_else(|| ConfigError::Cidr {
            key: key.to_owned(),
            value: text.clone(),
            origin: origin.clone(),
        })
    };
    texts.iter().map(parse).collect()
}

impl Settings {
    /// Put the layers on each other and check the result.
    pub fn resolve(file: Option<&File>, flags: &Overrides) -> Result<Self, ConfigError> {
        let layers = Layers { file, flags };
        let node = match layers.text("node", |values| &values.node)? {
            Some(node) => node,
            None => host_name()?,
        };
        let fold = (100, 3_600_000);
        layers.one_source()?;
        Ok(Self {
            node,
            cluster: layers.text("cluster", |values| &values.cluster)?,
            manifests: layers.find("manifests", |values| &values.manifests).map(|(path, _)| path),
            kubeconfig: layers.find("kubeconfig", |values| &values.kubeconfig).map(|(path, _)| path),
            context: layers.text("context", |values| &values.context)?,
            cluster_scope: layers.cluster_scope()?,
            trial_policies: layers
                .find("trial_policies", |values| &values.trial_policies)
                .map(|(path, _)| path),
            cgroup_root: layers.find("cgroup_root", |values| &values.cgroup_root).map(|(path, _)| path),
            outputs: layers.outputs()?,
            selecting: Selecting {
                only: layers.find("only", |values| &values.only).map(|(words, _)| words),
                allow: layers.find("allow", |values| &values.allow).map(|(all, _)| all),
                deny: layers.find("deny", |values| &values.deny).map(|(all, _)| all),
            },
            each: layers.value("each", |values| &values.each, false),
            own_at_once: layers.value("own_at_once", |values| &values.own_at_once, false),
            fold_denied: layers.milliseconds(
                "fold_denied_ms",
                |values| &values.fold_denied_ms,
                10_000,
                fold,
            )?,
            fold_other: layers.milliseconds("fold_other_ms", |values| &values.fold_other_ms, 60_000, fold)?,
            waiting: layers.milliseconds("waiting_ms", |values| &values.waiting_ms, 2_000, (0, 60_000))?,
            settling: layers.milliseconds(
                "settling_ms",
                |values| &values.settling_ms,
                5_000,
                (0, 600_000),
            )?,
            drain: layers.milliseconds("drain_ms", |values| &values.drain_ms, 20, (1, 1_000))?,
            events_ring_bytes: layers.ring_bytes(
                "events_ring_bytes",
                |values| &values.events_ring_bytes,
                8 << 20,
            )?,
            cgroup_ring_bytes: layers.ring_bytes(
                "cgroup_ring_bytes",
                |values| &values.cgroup_ring_bytes,
                1 << 20,
            )?,
            host_processes: layers.value("host_processes", |values| &values.host_processes, false),
            process_exe: layers.value("process_exe", |values| &values.process_exe, false),
            conntrack: layers.value("conntrack", |values| &values.conntrack, false),
            keep_privileges: layers.value("keep_privileges", |values| &values.keep_privileges, false),
            pod_cidrs: layers.cidrs("pod_cidrs", |values| &values.pod_cidrs)?,
            service_cidrs: layers.cidrs("service_cidrs", |values| &values.service_cidrs)?,
            node_cidrs: layers.cidrs("node_cidrs", |values| &values.node_cidrs)?,
            networks: layers.networks()?,
            labels: layers
                .find("labels", |values| &values.labels)
                .map(|(keys, _)| keys.into_iter().collect()),
            hooks_off: layers
                .value("hooks_off", |values| &values.hooks_off, Vec::new())
                .into_iter()
                .collect(),
            pin: layers.find("pin", |values| &values.pin).map(|(folder, _)| folder),
            packets: layers.value("packets", |values| &values.packets, false),
            kernel_log: layers.value("kernel_log", |values| &values.kernel_log, false),
            metrics_listen: layers.listen("metrics_listen", |values| &values.metrics_listen)?,
            debug_socket: layers.find("debug_socket", |values| &values.debug_socket).map(|(path, _)| path),
            ip_block_external_only: layers.value(
                "ip_block_external_only",
                |values| &values.ip_block_external_only,
                false,
            ),
            vendors: layers.find("vendors", |values| &values.vendors).map(|(path, _)| path),
            sensitive: layers.value("sensitive", |values| &values.sensitive, Sensitive::default()),
            range_files: layers.value("range_files", |values| &values.range_files, Vec::new()),
            asn_file: layers.find("asn_file", |values| &values.asn_file).map(|(path, _)| path),
            findings: layers.findings()?,
        })
    }
}

const HOST_NAME: &str = "/proc/sys/kernel/hostname";

fn host_name() -> Result<String, ConfigError> {
    let path = PathBuf::from(HOST_NAME);
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Ok(_) => Err(ConfigError::HostName { path, source: io::Error::other("it is empty") }),
        Err(source) => Err(ConfigError::HostName { path, source }),
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<File, String> {
        parse(Path::new("/etc/flowlog.yaml"), text).map_err(|error| error.to_string())
    }

    fn settings(text: &str, flags: &Overrides) -> Result<Settings, String> {
        Settings::resolve(Some(&file(text)?), flags).map_err(|error| error.to_string())
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let flags = Overrides { drain_ms: Some(50), ..Overrides::default() };
        let got = settings("node: worker-1\ndrain_ms: 30\nwaiting_ms: 500\n", &flags).unwrap();
        assert_eq!(got.node, "worker-1");
        assert_eq!(got.drain, Duration::from_millis(50));
        assert_eq!(got.waiting, Duration::from_millis(500));
        assert_eq!(got.settling, Duration::from_secs(5));
        assert_eq!(got.outputs, ["stdout".into()]);
    }

    #[test]
    fn a_port_alone_is_one_of_the_loopback_address_and_an_address_alone_has_the_usual_port() {
        for (written, address) in [
            ("9999", "127.0.0.1:9999"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("'[::]:80'", "[::]:80"),
            ("10.0.0.7", "10.0.0.7:12477"),
            ("'fd00::7'", "[fd00::7]:12477"),
        ] {
            let text = format!("node: a\nmetrics_listen: {written}\n");
            let got = settings(&text, &Overrides::default()).unwrap();
            assert_eq!(got.metrics_listen, Some(address.parse().unwrap()), "{written}");
        }
        assert_eq!(settings("node: a\n", &Overrides::default()).unwrap().metrics_listen, None);
    }

    #[test]
    fn a_file_of_comments_sets_nothing() {
        for text in ["", "# nothing yet\n", "---\n"] {
            assert_eq!(file(text).unwrap().values, Values::default(), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (name, text, expected) in [
            (
                "a key with a typing error",
                "node: a\ncgroup_rot: /x\n",
                "/etc/flowlog.yaml:2: unknown key `cgroup_rot`; did you mean `cgroup_root`?",
            ),
            ("a key like no other", "zzz: 1\n", "/etc/flowlog.yaml:1: unknown key `zzz`"),
            (
                "a key of flags",
                "drain-ms: 20\n",
                "/etc/flowlog.yaml:1: unknown key `drain-ms`; did you mean `drain_ms`?",
            ),
            (
                "a number out of range",
                "drain_ms: 5000\n",
                "`drain_ms` is 5000 (from /etc/flowlog.yaml): it must be 1 to 1000 milliseconds",
            ),
            (
                "a scope that is none",
                "cluster_scope: pod\n",
                "`cluster_scope` is `pod` (from /etc/flowlog.yaml): it must be `cluster` or `node`",
            ),
            (
                "a scope of a folder",
                "manifests: /m\ncluster_scope: node\n",
                "`cluster_scope` is `node` (from /etc/flowlog.yaml) and `manifests` is set: a folder is read whole, whatever it \
                 has",
            ),
            (
                "a ring that is no power of two",
                "events_ring_bytes: 5000000\n",
                "`events_ring_bytes` is 5000000 (from /etc/flowlog.yaml): it must be a power of two from 65536 to 1073741824 bytes",
            ),
            (
                "a block that is none",
                "networks: {office: [198.51.100.0/24, 10.0.0.0/33]}\n",
                "`networks.office` has `10.0.0.0/33` (from /etc/flowlog.yaml), which is no address block such as 10.244.0.0/16 or fd00::/48",
            ),
            (
                "an address without a port",
                "metrics_listen: localhost\n",
                "`metrics_listen` is `localhost` (from /etc/flowlog.yaml): it must be ADDRESS:PORT, such as 127.0.0.1:12477 or [::1]:12477, or one of the two",
            ),
            (
                "an empty name",
                "cluster: ''\n",
                "`cluster` is empty (from /etc/flowlog.yaml): leave it out, or give it a value",
            ),
            (
                "two sources",
                "manifests: /m\nkubeconfig: /k\n",
                "`manifests` (from /etc/flowlog.yaml) and `kubeconfig` (from /etc/flowlog.yaml): the cluster is read from one of them",
            ),
            (
                "a context of nothing",
                "context: staging\n",
                "`context` (from /etc/flowlog.yaml) names a context of a kubeconfig: set `kubeconfig`, too",
            ),
            (
                "a finding of one target",
                "findings: {probe_targets: 1}\n",
                "`findings.probe_targets` is 1 (from /etc/flowlog.yaml): it must be 2 to 1000",
            ),
            (
                "no outputs",
                "outputs: []\n",
                "`outputs` is empty (from /etc/flowlog.yaml): leave it out, or give it a value",
            ),
            (
                "a user without a password",
                "outputs: [{to: 'https://siem', username: me}]\n",
                "`outputs.username` is set (from /etc/flowlog.yaml) and `outputs.password_file` is not: they go together",
            ),
            (
                "a user of no proxy",
                "outputs: [{to: 'https://siem', proxy_username: me, proxy_password_file: /p}]\n",
                "`outputs.proxy_username` is set (from /etc/flowlog.yaml) and `outputs.proxy` is not: they go together",
            ),
            (
                "a spool of nothing",
                "outputs: [{to: 'https://siem', spool: {folder: /s, bytes: 10}}]\n",
                "`outputs.spool.bytes` is 10 (from /etc/flowlog.yaml): it must be 1048576 to 1099511627776 bytes",
            ),
            (
                "a file that is rotated at every line",
                "outputs: [{to: a.json, rotate: {bytes: 100}}]\n",
                "`outputs.rotate.bytes` is 100 (from /etc/flowlog.yaml): it must be 65536 to 1099511627776 bytes",
            ),
            (
                "rotation that keeps nothing",
                "outputs: [{to: a.json, rotate: {keep: 2}}]\n",
                "`outputs.rotate.keep` is 2 (from /etc/flowlog.yaml): it must be 3 to 1000 files",
            ),
        ] {
            assert_eq!(settings(text, &Overrides::default()).unwrap_err(), expected, "{name}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_line() {
        let error = file("node: a\neach: [1]\n").unwrap_err();
        assert!(error.starts_with("/etc/flowlog.yaml:2: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_wrong_flag_is_named_as_flag_and_variable() {
        let flags = Overrides { drain_ms: Some(0), ..Overrides::default() };
        assert_eq!(
            settings("drain_ms: 20\n", &flags).unwrap_err(),
            "`drain_ms` is 0 (from --drain-ms or FLOWLOG_DRAIN_MS): it must be 1 to 1000 milliseconds"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nonexistent/flowlog.yaml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the configuration /nonexistent/flowlog.yaml: "), "{error}");
    }

    #[test]
    fn the_settings_in_force_are_written_with_the_keys_of_the_file() {
        let text = "node: w\npod_cidrs: [10.244.3.7/16]\nlabels: [app]\nhooks_off: [drop]\n";
        let got = serde_json::to_value(settings(text, &Overrides::default()).unwrap()).unwrap();
        assert_eq!(got["fold_denied_ms"], 10_000);
        assert_eq!(got["pod_cidrs"][0], "10.244.0.0/16", "host bits are masked");
        for key in got.as_object().unwrap().keys() {
            let error = file(&format!("{key}: {{{{}}}}\n"));
            assert!(!error.is_err_and(|error| error.contains("unknown key")), "{key}");
        }
    }

    #[test]
    fn a_suggestion_is_made_only_for_a_like_word() {
        assert_eq!(suggest("conect4", ["connect4", "connect6", "drop"]), Some("connect4"));
        assert_eq!(suggest("unrelated", ["connect4", "drop"]), None);
    }
}
