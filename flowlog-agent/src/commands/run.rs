//! `flowlog run`: capture, and write records until told to stop.

use super::detach::{folder_parser, pin_folder};
use super::selected::{self, Listed, requests};
use super::vendors::read_catalog;
use crate::capture::btf::VMLINUX;
use crate::capture::hooks::PACKET_HOOKS;
use crate::capture::host;
use crate::capture::{
    self, Capture, Confinement, Conntrack, HookStatus, OBJECT_SOURCE, PinOrigin, Pinned, Uses,
};
use crate::cluster::watch::{self, Access, Prepared, Reach, Timing};
use crate::cluster::{self, Folders, Store};
use crate::config::{self, ClusterScope, Overrides, Settings};
use crate::inventory::{self, Scope};
use crate::model::ledger::Left;
use crate::pipeline::{self, Classification, Parts, Source};
use crate::policy::{BlockScope, Policy};
use crate::record::{
    ConfinementState, Encoder, HookCondition, HookState, Labelling, PinCondition, PinState, Run, Start,
};
use crate::sinks::{self, Destination, Needs, QueueLimits, Sinks};
use crate::telemetry::{self, Board, Listen, Listeners, LogFormat};
use crate::vendor::Sensitive;
use crate::vendor::ranges::{Ranges, RangesBuilder};
use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `flowlog run`. A flag beats its environment variable, which beats the file.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file (YAML).
    #[arg(long, env = "FLOWLOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder with the cluster's objects: YAML or JSON, as written or as `kubectl get -o yaml` prints them.
    #[arg(long, env = "FLOWLOG_MANIFESTS", value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Kubeconfig of the cluster to watch at its API server; a pod of the cluster needs neither this nor --manifests.
    #[arg(long, env = "FLOWLOG_KUBECONFIG", value_name = "FILE", conflicts_with = "manifests")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: its current one.
    #[arg(long, env = "FLOWLOG_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// What is read of the cluster's pods and nodes: all, or this node's own alone, which leaves who is elsewhere unknown;
    /// default: cluster.
    #[arg(long, env = "FLOWLOG_CLUSTER_SCOPE", value_name = "cluster|node")]
    cluster_scope: Option<String>,
    /// Folder with policies in trial: judged beside the declared ones, never mixed into the verdict.
    #[arg(long, env = "FLOWLOG_TRIAL_POLICIES", value_name = "DIR")]
    trial_policies: Option<PathBuf>,
    /// Name of this node in the cluster; default: the host name.
    #[arg(long, env = "FLOWLOG_NODE", value_name = "NAME")]
    node: Option<String>,
    /// Name of the cluster, put into every record.
    #[arg(long, env = "FLOWLOG_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// The cgroup2 directory to watch; default: the root of the mounted hierarchy.
    #[arg(long, env = "FLOWLOG_CGROUP_ROOT", value_name = "PATH")]
    cgroup_root: Option<PathBuf>,
    /// Where records go: `stdout`, a file, or a place of the network such as `syslogs://HOST` (docs/operating.md has all), with
    /// `ecs=` or `ocsf=` before it in that format; may be given several times.
    #[arg(long = "output", env = "FLOWLOG_OUTPUTS", value_name = "[FORMAT=]stdout|FILE|URL")]
    outputs: Option<Vec<Listed>>,
    /// What kinds of records outputs are given that do not say it themselves: `denials`, `findings`, classes, or `all`.
    #[arg(long, env = "FLOWLOG_ONLY", value_name = "denials|findings|CLASS", value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// Write every connection instead of folding repeats.
    #[arg(long, env = "FLOWLOG_EACH")]
    each: bool,
    /// Write the first allowed flow between your own pods of one namespace at once, as any other's.
    #[arg(long, env = "FLOWLOG_OWN_AT_ONCE")]
    own_at_once: bool,
    /// Record processes outside pods, too.
    #[arg(long, env = "FLOWLOG_HOST_PROCESSES")]
    host_processes: bool,
    /// Tell the executable of processes: keeps CAP_SYS_PTRACE, and files are not confined.
    #[arg(long, env = "FLOWLOG_PROCESS_EXE")]
    process_exe: bool,
    /// Ask the node's connection tracking which backend a service led to, where nothing on this node shows it: keeps
    /// CAP_NET_ADMIN.
    #[arg(long, env = "FLOWLOG_CONNTRACK")]
    conntrack: bool,
    /// Give up nothing once attached: capabilities, files, system calls.
    #[arg(long, env = "FLOWLOG_KEEP_PRIVILEGES")]
    keep_privileges: bool,
    /// How long an attempt waits for its pod to become known, milliseconds; default 2000.
    #[arg(long, env = "FLOWLOG_WAITING_MS", value_name = "MS")]
    waiting_ms: Option<u64>,
    /// How often repeats of denied and not enforced flows are written, milliseconds; default 10000.
    #[arg(long, env = "FLOWLOG_FOLD_DENIED_MS", value_name = "MS")]
    fold_denied_ms: Option<u64>,
    /// How often repeats of other flows are written, milliseconds; default 60000.
    #[arg(long, env = "FLOWLOG_FOLD_OTHER_MS", value_name = "MS")]
    fold_other_ms: Option<u64>,
    /// Size of the ring for connection events, bytes, a power of two; default 8388608.
    #[arg(long, env = "FLOWLOG_EVENTS_RING_BYTES", value_name = "BYTES")]
    events_ring_bytes: Option<u32>,
    /// Do not attach this hook (`flowlog check` lists them); may be given several times.
    #[arg(long = "hook-off", env = "FLOWLOG_HOOKS_OFF", value_name = "HOOK", value_delimiter = ',')]
    hooks_off: Option<Vec<String>>,
    /// Observe packets, too: inbound UDP before a process takes it, ICMP, SCTP; costs every packet a little.
    #[arg(long, env = "FLOWLOG_PACKETS")]
    packets: bool,
    /// Keep the kernel half in bpffs, so that it outlives the agent and the next one goes on where this one stopped;
    /// default: `flowlog` in the first bpffs.
    #[arg(
        long,
        env = "FLOWLOG_PIN",
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = folder_parser()
    )]
    pin: Option<PathBuf>,
    /// Answer `/metrics`, `/livez` and `/readyz` at this address, or at this port of 127.0.0.1; default: 127.0.0.1:12477.
    #[arg(
        long,
        env = "FLOWLOG_METRICS_LISTEN",
        value_name = "ADDRESS:PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "12477"
    )]
    metrics_listen: Option<String>,
    /// Answer the same and `/debug/snapshot` on this Unix socket, which root alone may use.
    #[arg(long, env = "FLOWLOG_DEBUG_SOCKET", value_name = "PATH")]
    debug_socket: Option<PathBuf>,
    /// A catalogue of yours, which adds to the one that ships: your own images, mirrors, vendors.
    #[arg(long, env = "FLOWLOG_VENDORS", value_name = "FILE")]
    vendors: Option<PathBuf>,
    /// Show the kernel half's own debug lines (with `--log debug`).
    #[arg(long, env = "FLOWLOG_KERNEL_LOG")]
    kernel_log: bool,
    /// The agent's own log on stderr: a level, or `target=level,…`.
    #[arg(long, env = "FLOWLOG_LOG", value_name = "LEVEL", default_value = "info")]
    log: String,
    /// Format of the own log.
    #[arg(long, env = "FLOWLOG_LOG_FORMAT", value_name = "text|json", default_value = "text")]
    log_format: LogFormat,
}

/// Run until SIGTERM or SIGINT, or until the reader of standard output has gone where that is the only output.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    telemetry::start_log(&args.log, args.log_format)?;
    let file = args.config.as_deref().map(config::load).transpose()?;
    let settings = Settings::resolve(file.as_ref(), &args.overrides())?;
    // The one thread is the spine's; others read the cluster.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("flowlog-cluster")
        .build()
        .context("start the runtime")?;
    runtime.block_on(capture_and_write(settings))
}

impl Args {
    fn overrides(&self) -> Overrides {
        let flag = |on: bool| on.then_some(true);
        Overrides {
            manifests: self.manifests.clone(),
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster_scope: self.cluster_scope.clone(),
            trial_policies: self.trial_policies.clone(),
            node: self.node.clone(),
            cluster: self.cluster.clone(),
            cgroup_root: self.cgroup_root.clone(),
            outputs: selected::all(self.outputs.as_deref()),
            only: self.only.clone().map(config::Words),
            each: flag(self.each),
            own_at_once: flag(self.own_at_once),
            host_processes: flag(self.host_processes),
            process_exe: flag(self.process_exe),
            conntrack: flag(self.conntrack),
            keep_privileges: flag(self.keep_privileges),
            waiting_ms: self.waiting_ms,
            fold_denied_ms: self.fold_denied_ms,
            fold_other_ms: self.fold_other_ms,
            events_ring_bytes: self.events_ring_bytes,
            hooks_off: self.hooks_off.clone(),
            packets: flag(self.packets),
            kernel_log: flag(self.kernel_log),
            pin: self.pin.clone(),
            metrics_listen: self.metrics_listen.clone(),
            debug_socket: self.debug_socket.clone(),
            vendors: self.vendors.clone(),
            ..Overrides::default()
        }
    }
}

async fn capture_and_write(mut settings: Settings) -> anyhow::Result<ExitCode> {
    settings.pin = settings.pin.map(|written| pin_folder(&written)).transpose()?;
    let hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    // What cannot be used is said before anything is attached; later its files are out of reach.
    let classification = classification(&settings)?;
    let outputs = requests(&settings)?;
    let found = find_source(&settings).await?;
    let options = capture_options(&settings)?;
    refuse_without_privileges()?;
    let listen = Listen { metrics: settings.metrics_listen, debug: settings.debug_socket.clone() };
    let listeners = Listeners::bind(&listen)?;
    let (capture, cgroups) = Capture::start(&options)?;
    let conntrack = settings.conntrack.then(open_conntrack).flatten();
    let confinement = give_up_privileges(&settings, &options, &found, &sinks::needs(&outputs)?)?;
    let source = found.start(&settings)?;
    let board = Arc::new(Board::new(Instant::now()));
    let build = vec![("version", env!("CARGO_PKG_VERSION")), ("kernel_half", OBJECT_SOURCE)];
    let server = listeners.serve(Arc::clone(&board), build)?;
    let encoder =
        Encoder::new(identity(&settings)?, labelling(&settings)).in_formats(sinks::formats(&outputs));
    let sinks = Sinks::start(&outputs, &encoder, QueueLimits::default(), capture.ledger())?;
    let start = Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: host::read_kernel(Path::new("/"))?.release,
        confinement: confinement.as_ref().map(confinement_state),
        hooks: capture.hooks.iter().map(hook_state).collect(),
        config: effective(&settings)?,
        cgroup_root: Some(options.cgroup_root.display().to_string()),
        snapshot: None,
        pin: capture.pinned.as_ref().map(|pinned| pin_state(pinned, &capture)),
    };
    let unasked = |hook: &HookState| PACKET_HOOKS.contains(&hook.name.as_str()) && !settings.packets;
    for hook in start.hooks.iter().filter(|hook| hook.state != HookCondition::Attached && !unasked(hook)) {
        tracing::warn!(hook = hook.name, why = hook.why.as_deref().unwrap_or(""), "hook not attached");
    }
    if !settings.host_processes {
        tracing::info!("processes outside pods are not recorded; --host-processes includes them");
    }
    let in_pod = std::env::var_os(SERVICE_HOST).is_some();
    if cgroups.pods() == 0 && (in_pod || host::read_mounts(Path::new("/"))?.cgroup1) {
        tracing::warn!(
            cgroup = %options.cgroup_root.display(),
            "no cgroup here is a pod's: where the kubelet uses cgroup v1, pods have none in the cgroup2 tree, and no \
             connection of theirs is told"
        );
    }
    tracing::info!(node = settings.node, cgroup = %options.cgroup_root.display(), "capturing");
    let parts = Parts {
        settings,
        capture,
        conntrack,
        cgroups,
        source,
        classification,
        encoder,
        sinks,
        start,
        board: server.is_some().then_some(board),
        in_pod,
        hangup,
    };
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => "signal",
            _ = interrupt.recv() => "signal",
        }
    };
    let pinned = parts.capture.pinned.is_some();
    let counters = pipeline::run(parts, stop).await?;
    // Until here it is alive, whoever asks.
    drop(server);
    tracing::info!(
        seen = counters.attempts.seen,
        recorded = counters.attempts.recorded,
        lost = counters.attempts.lost,
        out_of_scope = counters.attempts.out_of_scope,
        unselected = counters.attempts.unselected,
        "{}",
        if pinned {
            "stopped: the kernel half observes on, for the next agent; `flowlog detach` takes it out"
        } else {
            "stopped: nothing of flowlog is left in the kernel"
        }
    );
    Ok(ExitCode::SUCCESS)
}

/// Where the cluster is read from, before the agent is confined.
enum Found {
    Folders {
        folders: Folders,
        fingerprint: cluster::Fingerprint,
        store: Box<Store>,
    },
    Watched {
        reach: Box<Reach>,
        prepared: Box<Prepared>,
        cluster: Box<cluster::Settings>,
        trial: Vec<Arc<Policy>>,
    },
}

async fn find_source(settings: &Settings) -> anyhow::Result<Found> {
    let access = match (&settings.manifests, &settings.kubeconfig) {
        (Some(manifests), _) => return read_folders(settings, manifests),
        (None, Some(file)) => Access::Kubeconfig { file: file.clone(), context: settings.context.clone() },
        (None, None) if std::env::var_os(SERVICE_HOST).is_some() => Access::InCluster,
        (None, None) => bail!(
            "no cluster: give a folder with its objects (--manifests or FLOWLOG_MANIFESTS), or a kubeconfig \
             (--kubeconfig or FLOWLOG_KUBECONFIG); in a pod of the cluster ({SERVICE_HOST} is set) neither is needed"
        ),
    };
    let trial = match &settings.trial_policies {
        Some(folder) => {
            let loaded = cluster::load(&Folders::from(folder.clone()))?;
            loaded.into_trial()?
        }
        None => Vec::new(),
    };
    let reach = Reach::find(&access).await?;
    let prepared = watch::prepare(&reach)?;
    // What it reads of this host is out of reach later.
    let cluster = Box::new(cluster_settings(settings)?);
    Ok(Found::Watched { reach: Box::new(reach), prepared: Box::new(prepared), cluster, trial })
}

fn read_folders(settings: &Settings, manifests: &Path) -> anyhow::Result<Found> {
    let folders = Folders { manifests: manifests.to_owned(), trial: settings.trial_policies.clone() };
    let loaded = cluster::load(&folders)?;
    pipeline::tell_notes(&loaded);
    let fingerprint = loaded.fingerprint.clone();
    for (kind, count) in loaded.objects.skipped() {
        tracing::info!(kind = %kind, count, "kind not read: it takes no part in names and verdicts");
    }
    let store = Box::new(Store::start(cluster_settings(settings)?, loaded, Timestamp::now())?);
    Ok(Found::Folders { folders, fingerprint, store })
}

impl Found {
    /// Files and folders that are read as long as the agent runs.
    fn reads(&self) -> Vec<PathBuf> {
        match self {
            Self::Folders { folders, .. } => folders.places().into_iter().collect(),
            Self::Watched { reach, .. } => reach.reads.clone(),
        }
    }

    /// TCP ports that are connected to.
    fn ports(&self) -> Vec<u16> {
        match self {
            Self::Folders { .. } => Vec::new(),
            Self::Watched { reach, .. } => reach.ports.clone(),
        }
    }

    fn start(self, settings: &Settings) -> anyhow::Result<Source> {
        Ok(match self {
            Self::Folders { folders, fingerprint, store } => Source::folders(folders, fingerprint, *store),
            Self::Watched { prepared, cluster, trial, .. } => {
                Source::watched(watch::start(*prepared, *cluster, &settings.node, trial, Timing::default())?)
            }
        })
    }
}

/// What the kubelet sets in every pod.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// Absent where this kernel has none, or does not tell.
fn open_conntrack() -> Option<Conntrack> {
    let refused = |error: &std::io::Error| {
        tracing::warn!(
            %error,
            "--conntrack: connection tracking does not answer (nf_conntrack_netlink): backends of services that nothing \
             on this node shows stay unknown"
        );
    };
    Conntrack::open().inspect_err(refused).ok()
}

/// Absent where it was told to keep them.
fn give_up_privileges(
    settings: &Settings,
    options: &capture::Options,
    found: &Found,
    outputs: &Needs,
) -> anyhow::Result<Option<Confinement>> {
    if settings.keep_privileges {
        tracing::warn!("--keep-privileges: capabilities, files and system calls stay as they were given");
        return Ok(None);
    }
    let socket = settings.debug_socket.as_deref().map(folder);
    let uses = Uses {
        read: found.reads().into_iter().chain([options.mount.clone()]).chain(outputs.reads.clone()).collect(),
        reach: found.ports().into_iter().chain(outputs.ports.clone()).collect(),
        write: files(settings).flat_map(written).chain(outputs.writes.clone()).collect(),
        executables: settings.process_exe,
        conntrack: settings.conntrack,
        removes: socket.into_iter().collect(),
        answers: settings.metrics_listen.is_some() || settings.debug_socket.is_some(),
    };
    let kernel = host::read_kernel(Path::new("/"))?;
    let confined = capture::confine(&uses, &kernel).context(
        "flowlog runs with no more privileges than it needs; --keep-privileges lets it run with those it has",
    )?;
    if let Err(why) = &confined.files {
        tracing::warn!(why, "files are not confined to flowlog's own");
    }
    tracing::info!(capabilities = confined.capabilities.join(","), "privileges given up");
    Ok(Some(confined))
}

/// Outputs that are files.
fn files(settings: &Settings) -> impl Iterator<Item = &Path> {
    settings.outputs.iter().filter_map(|output| Destination::of(&output.to).file())
}

fn pin_state(pinned: &Pinned, capture: &Capture) -> PinState {
    let left = |state, left: &Left| PinState {
        path: pinned.path.display().to_string(),
        state,
        why: None,
        last_alive: Some(capture.wall(left.alive_ns)),
        ended: Some(left.ended),
        waiting: Some(left.open),
        doubtful: Some(left.doubtful),
        lost: Some(left.at_risk),
    };
    match &pinned.origin {
        PinOrigin::Adopted(found) => left(PinCondition::Adopted, found),
        PinOrigin::Replaced(found) => left(PinCondition::Replaced, found),
        origin => {
            let refused = match origin {
                PinOrigin::Refused { events, why } => Some((*events, why.clone())),
                _ => None,
            };
            PinState {
                path: pinned.path.display().to_string(),
                state: if refused.is_some() { PinCondition::Refused } else { PinCondition::New },
                lost: refused.as_ref().map(|(events, _)| *events),
                why: refused.map(|(_, why)| why),
                last_alive: None,
                ended: None,
                waiting: None,
                doubtful: None,
            }
        }
    }
}

/// The folder that a file lies in.
fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}

/// What writing a file takes: its folder, since it is renamed and made anew, and it itself where it is there. Of
/// what is no file (a device, a named pipe) it alone. Links are followed.
fn written(output: &Path) -> Vec<PathBuf> {
    match output.metadata() {
        Ok(found) if !found.is_file() => vec![output.to_owned()],
        Ok(_) => {
            let real = output.canonicalize().unwrap_or_else(|_| output.to_owned());
            vec![folder(output), folder(&real), real]
        }
        Err(_) => {
            // A link to a file that is not there yet.
            let leads_to = output.read_link().ok().map(|target| folder(&folder(output).join(target)));
            std::iter::once(folder(output)).chain(leads_to).collect()
        }
    }
}

fn confinement_state(confinement: &Confinement) -> ConfinementState {
    ConfinementState {
        capabilities: confinement.capabilities.clone(),
        no_new_privileges: confinement.no_new_privileges,
        system_calls: confinement.system_calls,
        files: confinement.files.is_ok(),
        why: confinement.files.as_ref().err().cloned(),
    }
}

/// Said by name before the kernel refuses one thing or another for want of them.
fn refuse_without_privileges() -> anyhow::Result<()> {
    let root = Path::new("/");
    let privileges = host::read_privileges(root)?;
    let missing = privileges.missing();
    if missing.is_empty() {
        let locked_bytes = host::read_locked_limit(root);
        if host::limits_maps(&host::read_kernel(root)?, privileges, locked_bytes) {
            tracing::warn!(
                locked_bytes,
                "before 5.11 the kernel half's maps count against the limit of locked memory, and the kernel will refuse \
                 them: give CAP_SYS_RESOURCE, which is given up once attached, or start flowlog without that limit"
            );
        }
        return Ok(());
    }
    bail!(
        "capture needs {}, which this process has not: run it as root, or give the container the capability; \
         `flowlog check` tells what this host lacks",
        missing.join(" and ")
    )
}

fn cluster_settings(settings: &Settings) -> anyhow::Result<cluster::Settings> {
    let networks = settings
        .networks
        .iter()
        .flat_map(|(name, blocks)| blocks.iter().map(|block| (*block, name.clone())))
        .collect();
    let ranges = settings.pod_cidrs.iter().chain(&settings.service_cidrs);
    let (ranges, scope) = match settings.cluster_scope {
        ClusterScope::Cluster => (ranges.copied().collect(), Scope::Cluster),
        ClusterScope::Node => (
            ranges.chain(&settings.node_cidrs).copied().collect(),
            Scope::of_node(&settings.pod_cidrs, &settings.node_cidrs),
        ),
    };
    let own = host::read_addresses().context("read this node's own addresses")?;
    Ok(cluster::Settings {
        inventory: inventory::Settings {
            cluster_ranges: ranges,
            networks,
            scope,
            node_addresses: vec![(settings.node.clone(), own)],
            ..inventory::Settings::default()
        },
        block_scope: if settings.ip_block_external_only {
            BlockScope::OutsidePods
        } else {
            BlockScope::Everything
        },
        settle: SignedDuration::try_from(settings.settling).context("settling_ms")?,
        accept_problems: false,
    })
}

fn capture_options(settings: &Settings) -> anyhow::Result<capture::Options> {
    let mounts = host::read_mounts(Path::new("/"))?;
    let Some(mount) = mounts.cgroup2.into_iter().next() else {
        bail!(
            "no cgroup2 hierarchy is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified`, or boot with \
               systemd.unified_cgroup_hierarchy=1; `flowlog check` tells what this host lacks"
        );
    };
    let cgroup_root = match &settings.cgroup_root {
        Some(root) => root
            .canonicalize()
            .with_context(|| format!("the cgroup to watch, {}, cannot be used", root.display()))?,
        None => mount.clone(),
    };
    Ok(capture::Options {
        mount,
        cgroup_root,
        btf: PathBuf::from(VMLINUX),
        events_bytes: settings.events_ring_bytes,
        cgroups_bytes: settings.cgroup_ring_bytes,
        off: settings.hooks_off.iter().cloned().collect(),
        packets: settings.packets,
        count_repeats: !settings.each,
        debug: settings.kernel_log,
        pin: settings.pin.clone(),
        outputs: files(settings).map(Path::to_owned).collect(),
    })
}

fn identity(settings: &Settings) -> anyhow::Result<Run> {
    let path = "/proc/sys/kernel/random/uuid";
    let id = fs::read_to_string(path).with_context(|| format!("read an id for this run from {path}"))?;
    Ok(Run { node: settings.node.clone(), cluster: settings.cluster.clone(), id: id.trim().to_owned() })
}

fn classification(settings: &Settings) -> anyhow::Result<Classification> {
    let config::Sensitive { namespaces, selectors, shipped } = &settings.sensitive;
    Ok(Classification {
        catalog: read_catalog(settings.vendors.as_deref())?,
        sensitive: Sensitive::new(namespaces, selectors, shipped.unwrap_or(true))?,
        ranges: read_ranges(settings)?,
    })
}

fn read_ranges(settings: &Settings) -> anyhow::Result<Ranges> {
    let mut builder = RangesBuilder::default();
    for path in &settings.range_files {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let whose = builder.read_published(&text).with_context(|| path.display().to_string())?;
        tracing::info!(file = %path.display(), whose, "address ranges read");
    }
    if let Some(path) = &settings.asn_file {
        let file = fs::File::open(path).with_context(|| format!("read {}", path.display()))?;
        let rows =
            builder.read_announced(BufReader::new(file)).with_context(|| path.display().to_string())?;
        tracing::info!(file = %path.display(), rows, "autonomous systems read");
    }
    Ok(builder.build())
}

fn labelling(settings: &Settings) -> Labelling {
    settings.labels.clone().map_or_else(Labelling::default, Labelling::Only)
}

fn effective(settings: &Settings) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    match serde_json::to_value(settings).context("the settings as JSON")? {
        serde_json::Value::Object(map) => Ok(map),
        other => bail!("the settings are no JSON object: {other}"),
    }
}

fn hook_state(hook: &capture::HookState) -> HookState {
    let (state, why) = match &hook.status {
        HookStatus::Attached => (HookCondition::Attached, None),
        HookStatus::Off => (HookCondition::Off, Some(hook.hook.without.to_owned())),
        HookStatus::Missing { why } => {
            (HookCondition::Missing, Some(format!("{why}; without it: {}", hook.hook.without)))
        }
    };
    HookState { name: hook.hook.name.to_owned(), state, why }
}
