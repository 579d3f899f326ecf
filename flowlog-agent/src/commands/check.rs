//! `flowlog check`: what this host can and cannot do, hook by hook, and how to mend it; on request the cluster and the outputs,
//! too.
//!
//! Of the host it reads files only; nothing is loaded, and no output is sent a line. Exit code 0: everything is there; 1: flowlog runs and sees less;
//! 2: it cannot run.

mod cluster;
mod outputs;

use super::Called;
use super::detach::{folder_parser, pin_folder};
use super::selected::{self, Listed};
use crate::capture::hooks::{ANSWERS, Attach, HOOKS, Hook};
use crate::capture::host::{self, Host, Lockdown, under};
use crate::capture::{self, PinnedState, PinnedThere};
use crate::config::{self, Overrides, Settings};
use clap::ValueEnum;
use cluster::{ClusterArgs, ClusterPart, Rule};
use jiff::Timestamp;
use outputs::OutputPart;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `flowlog check`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// The configuration file of `flowlog run`: its outputs are tried, without sending a line.
    #[arg(long, env = "FLOWLOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Outputs to try, as `flowlog run --output` is given them.
    #[arg(long, env = "FLOWLOG_OUTPUTS", value_name = "[FORMAT=]stdout|FILE|URL")]
    outputs: Option<Vec<Listed>>,
    /// The cgroup2 directory that `flowlog run` would watch; default: the root of the mounted hierarchy.
    #[arg(long, env = "FLOWLOG_CGROUP_ROOT", value_name = "PATH")]
    cgroup_root: Option<PathBuf>,
    /// The folder that `flowlog run --pin=DIR` is given; default: `flowlog` in the first bpffs.
    #[arg(long, env = "FLOWLOG_PIN", value_name = "DIR", default_value = "", value_parser = folder_parser())]
    pin: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, at most 80 columns wide.
    Text,
    /// One JSON object.
    Json,
}

/// The oldest kernel with all that flowlog cannot do without.
const OLDEST_KERNEL: &str = "5.10";
const COLUMNS: usize = 80;

/// The answer.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Report {
    /// flowlog's version.
    version: &'static str,
    /// Kernel release, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    /// What it comes to.
    result: Ability,
    /// What the host offers; absent at a workstation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    host: Vec<Row>,
    /// Every hook; absent at a workstation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hooks: Vec<Row>,
    /// The API server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_server: Option<String>,
    /// What the cluster lets the agent do, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cluster: Vec<Row>,
    /// How the agent's pod shows it the node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pod: Vec<Row>,
    /// Rights that are missing, as rules of a ClusterRole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_rights: Vec<Rule>,
    /// What outlives the agent, where something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<PinnedPart>,
    /// Each output, where some were named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<OutputPart>,
}

/// What is kept in bpffs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct PinnedPart {
    /// The folder.
    path: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Hooks that observe.
    hooks: Vec<&'static str>,
    /// Process id of the agent that works with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<u32>,
    /// Whether this build understands it.
    understood: bool,
    /// Whether its kernel half is this build's; else `run` replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<bool>,
    /// When an agent was last alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_alive: Option<String>,
    /// Whether that one ended in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<bool>,
    /// Events that are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    /// Connections that were counted and are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<u64>,
}

/// What was found in the folder, if it could be read.
type Pins = (PathBuf, Result<Option<PinnedThere>, String>);

/// What it comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ability {
    /// Everything is there.
    #[default]
    Complete,
    /// flowlog runs and sees less.
    Degraded,
    /// flowlog cannot run.
    CannotRun,
}

/// One thing looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    name: &'static str,
    state: Mark,
    /// flowlog cannot run without it.
    needed: bool,
    /// What was found, or what a hook gives.
    found: String,
    /// What the log lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Ok,
    Degraded,
    Missing,
}

/// How many arguments a tracepoint hands over, or that there is a function, a helper or a reason for drops; nothing where
/// the kernel has none of that name.
type Tracepoints<'a> = &'a dyn Fn(&str) -> Option<usize>;

/// Look and tell.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    let at_workstation = called == Called::Plugin;
    let file = args.config.as_deref().filter(|_| !at_workstation).map(config::load).transpose()?;
    let settings = Settings::resolve(file.as_ref(), &args.overrides())?;
    let mut report = match called {
        Called::Alone => look_at_host(&settings),
        Called::Plugin => Report { version: env!("CARGO_PKG_VERSION"), ..Report::default() },
    };
    if at_workstation || args.cluster.is_asked() {
        report.add_cluster(args.cluster.look(at_workstation, &settings)?);
    }
    let named = args.outputs.is_some() || file.is_some_and(|file| file.values.outputs.is_some());
    if named && !at_workstation {
        report.add_outputs(outputs::look(&settings)?);
    }
    let text = match args.output {
        Format::Text => report.text(),
        Format::Json => report.json(),
    };
    Ok(match super::answer::print(&text) {
        code if code == ExitCode::SUCCESS => report.exit_code(),
        failed => failed,
    })
}

impl Args {
    fn overrides(&self) -> Overrides {
        Overrides {
            node: self.cluster.node.clone(),
            outputs: selected::all(self.outputs.as_deref()),
            cgroup_root: self.cgroup_root.clone(),
            pin: Some(self.pin.clone()).filter(|folder| !folder.as_os_str().is_empty()),
            ..Overrides::default()
        }
    }
}

fn look_at_host(settings: &Settings) -> Report {
    let root = Path::new("/");
    let host = Host::read(root);
    // Where no bpffs is mounted, nothing is pinned.
    let pins = pin_folder(&settings.pin.clone().unwrap_or_default()).ok().map(|folder| {
        let found = capture::find_pinned(&folder).map_err(|error| error.to_string());
        (folder, found)
    });
    let mut report = match &host.types {
        Ok(types) => {
            let has = |name: &str| {
                types.has_function(name) || types.has_helper(name) || types.has_drop_reason(name)
            };
            let find = |name: &str| types.find_tracepoint(name).or_else(|| has(name).then_some(0));
            look(root, &host, Some(&find), settings.cgroup_root.as_deref())
        }
        Err(_) => look(root, &host, None, settings.cgroup_root.as_deref()),
    };
    report.add_pins(pins.as_ref());
    report
}

fn look(
    root: &Path,
    host: &Host,
    tracepoints: Option<Tracepoints<'_>>,
    cgroup_root: Option<&Path>,
) -> Report {
    let cgroup = look_at_cgroup(root, host, cgroup_root);
    let hooks = HOOKS.iter().chain([&ANSWERS]);
    let hooks: Vec<Row> = hooks.map(|hook| look_at_hook(hook, tracepoints, &cgroup)).collect();
    let rows = vec![
        look_at_kernel(host),
        look_at_types(host),
        look_at_ring_buffer(host),
        cgroup,
        look_at_privileges(host),
        look_at_lockdown(host),
        look_at_bpffs(host),
    ];
    let result = rows.iter().chain(&hooks).map(Row::ability).max().unwrap_or(Ability::Complete);
    let kernel = host.kernel.as_ref().ok().map(|kernel| kernel.release.clone());
    Report { version: env!("CARGO_PKG_VERSION"), kernel, result, host: rows, hooks, ..Report::default() }
}

fn look_at_kernel(host: &Host) -> Row {
    let row = Row::needed("kernel");
    match &host.kernel {
        Ok(kernel) if kernel.is_at_least(OLDEST_KERNEL) => {
            row.ok(format!("{}; {OLDEST_KERNEL} or newer is needed", kernel.release))
        }
        Ok(kernel) => row.missing(
            format!("{} is too old", kernel.release),
            "no ring buffer, no BTF tracepoints: flowlog cannot load",
            format!("boot a kernel of version {OLDEST_KERNEL} or newer"),
        ),
        Err(error) => row.missing(
            error.to_string(),
            "it cannot be told what this kernel offers",
            "mount proc at /proc, as every container runtime does".to_owned(),
        ),
    }
}

fn look_at_types(host: &Host) -> Row {
    let row = Row::needed("btf");
    match &host.types {
        Ok(_) => row.ok("the kernel tells its types in /sys/kernel/btf/vmlinux".to_owned()),
        Err(error) => row.missing(
            error.to_string(),
            "flowlog cannot find its way in the kernel's structures",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 11, Ubuntu 20.10, RHEL 8.2, Amazon Linux \
             2023 and later have it); in a container, mount /sys"
                .to_owned(),
        ),
    }
}

fn look_at_ring_buffer(host: &Host) -> Row {
    let row = Row::needed("ring_buffer");
    let without = "there is nothing in which events could travel";
    match &host.types {
        Ok(types) if types.has_ring_buffer() => row.ok("BPF programs may have ring buffers".to_owned()),
        Ok(_) => row.missing(
            "this kernel has no ring buffer for BPF programs (5.8 has)".to_owned(),
            without,
            format!("boot a kernel of version {OLDEST_KERNEL} or newer"),
        ),
        Err(_) => row.missing(
            "whether the kernel has ring buffers cannot be told without BTF".to_owned(),
            without,
            "see btf above".to_owned(),
        ),
    }
}

fn look_at_cgroup(root: &Path, host: &Host, chosen: Option<&Path>) -> Row {
    let row = Row::needed("cgroup2");
    let without = "no attempt is seen, no process is held to its pod";
    let mounts = match &host.mounts {
        Ok(mounts) => mounts,
        Err(error) => return row.missing(error.to_string(), without, "mount proc at /proc".to_owned()),
    };
    let Some(mount) = mounts.cgroup2.first() else {
        let found = if mounts.cgroup1 { "only cgroup v1 is mounted" } else { "no cgroup2 is mounted" };
        return row.missing(
            found.to_owned(),
            without,
            "boot with systemd.unified_cgroup_hierarchy=1, or: mount -t cgroup2 none /sys/fs/cgroup/unified; in \
             a container, mount the host's /sys/fs/cgroup"
                .to_owned(),
        );
    };
    let hybrid = if mounts.cgroup1 { "; hybrid: v1 controllers beside it" } else { "" };
    let Some(chosen) = chosen else { return row.ok(format!("{}{hybrid}", mount.display())) };
    let inside = mounts.cgroup2.iter().any(|mount| chosen.starts_with(mount));
    if inside && under(root, &chosen.join("cgroup.procs").to_string_lossy()).is_file() {
        return row.ok(format!("{} in {}{hybrid}", chosen.display(), mount.display()));
    }
    row.missing(
        format!("{} is no directory of a cgroup2 hierarchy", chosen.display()),
        without,
        format!("name a directory below {}, or leave --cgroup-root out", mount.display()),
    )
}

fn look_at_privileges(host: &Host) -> Row {
    let row = Row::needed("capabilities");
    let without = "the kernel refuses to load or to attach";
    let privileges = match &host.privileges {
        Ok(privileges) => privileges,
        Err(error) => return row.missing(error.to_string(), without, "mount proc at /proc".to_owned()),
    };
    let missing = privileges.missing();
    if !missing.is_empty() {
        return row.missing(
            format!("{} not effective", missing.join(", ")),
            without,
            "run as root (sudo), or give the container CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (securityContext.\
             capabilities.add); CAP_SYS_ADMIN stands for all three"
                .to_owned(),
        );
    }
    if !privileges.initial_user_namespace {
        return row.missing(
            "held in a user namespace only".to_owned(),
            without,
            "run outside the user namespace (rootful; hostUsers: true in a pod)".to_owned(),
        );
    }
    let limited = |kernel: &host::Kernel| host::limits_maps(kernel, *privileges, host.locked_bytes);
    if host.kernel.as_ref().is_ok_and(limited) {
        return row.missing(
            format!("locked memory is limited to {} bytes", host.locked_bytes.unwrap_or_default()),
            "before 5.11 the kernel half's maps count against that limit: the kernel refuses them",
            "give CAP_SYS_RESOURCE, which lifts it and which `run` gives up once attached, or start it without that \
             limit (`ulimit -l unlimited`, LimitMEMLOCK=infinity)"
                .to_owned(),
        );
    }
    let surplus = privileges.surplus();
    let rest = match &*surplus {
        [] => String::new(),
        few if few.len() <= 4 => format!("; also {}, which `run` gives up", few.join(", ")),
        many => format!("; also {} others, which `run` gives up", many.len()),
    };
    row.ok(format!("CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN{rest}"))
}

fn look_at_lockdown(host: &Host) -> Row {
    let row = Row::optional("lockdown");
    match host.lockdown {
        Some(Lockdown::Confidentiality) => row.degraded(
            "confidentiality: BPF may be kept from reading kernel memory".to_owned(),
            "the kernel may refuse hooks that read its structures",
            "boot with lockdown=integrity, or leave it if `flowlog run` attaches everything".to_owned(),
        ),
        Some(Lockdown::Integrity) => row.ok("integrity; does not matter to flowlog".to_owned()),
        Some(Lockdown::None) => row.ok("none".to_owned()),
        None => row.ok("not shown by this kernel".to_owned()),
    }
}

/// Told only: nothing is pinned unless that is asked for.
fn look_at_bpffs(host: &Host) -> Row {
    let row = Row::optional("bpffs");
    match host.mounts.as_ref().ok().and_then(|mounts| mounts.bpffs.as_ref()) {
        Some(mount) => row.ok(mount.display().to_string()),
        None => row.ok("not mounted; not needed unless capture is to outlive the agent".to_owned()),
    }
}

/// What outlives the agent, and what is to be done about it.
fn look_at_pins((folder, found): &Pins) -> Row {
    let row = Row::optional("pinned");
    let folder = folder.display();
    let there = match found {
        Ok(Some(there)) => there,
        Ok(None) => return row.ok(format!("nothing in {folder}")),
        Err(error) => {
            return row.degraded(
                error.clone(),
                "it cannot be told what is pinned, nor whether an agent is running",
                "run `flowlog check` as root".to_owned(),
            );
        }
    };
    let since = there.since.map(|since| format!(" since {}", shown(since))).unwrap_or_default();
    let what = format!("{folder}{since}: {} hooks observe", there.hooks.len());
    match (&there.state, there.agent) {
        (PinnedState::Strange { why }, _) => row.degraded(
            format!("{what}; {why}"),
            "what waits there is lost when this build is started, and counted in a `loss`",
            "start the build that pinned it once, so that it tells what waits; or `flowlog detach`"
                .to_owned(),
        ),
        (PinnedState::Known { .. }, Some(agent)) => {
            row.ok(format!("{what}; an agent is running with it (process {agent})"))
        }
        (PinnedState::Known { own, last_alive, ended, waiting, counted }, None) => {
            let whose = if *own { "this build's" } else { "another build's, which `run` replaces" };
            let how = if *ended { "ended" } else { "was killed" };
            row.ok(format!(
                "{what}, {whose}; the last agent {how} at {}; {waiting} events and {counted} counted connections \
                 wait: `flowlog run --pin` tells them, `flowlog detach` takes all out",
                shown(*last_alive)
            ))
        }
    }
}

fn shown(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn look_at_hook(hook: &Hook, tracepoints: Option<Tracepoints<'_>>, cgroup: &Row) -> Row {
    let row = Row { needed: hook.needed, ..Row::optional(hook.name) };
    let newer = format!("boot a kernel of version {} or newer", hook.kernel);
    match (hook.attach, tracepoints) {
        (Attach::Packets { .. }, _) if cgroup.state == Mark::Ok => {
            row.ok(format!("{}; off unless `run` is given --packets", hook.gives))
        }
        (Attach::Cgroup, _) if cgroup.state == Mark::Ok => row.ok(hook.gives.to_owned()),
        (Attach::Cgroup | Attach::Packets { .. }, _) => {
            row.missing("no cgroup2 to attach to".to_owned(), hook.without, "see cgroup2 above".to_owned())
        }
        (Attach::Tracepoint { name, .. }, None) => row.missing(
            format!("whether the kernel has {name} cannot be told without BTF"),
            hook.without,
            "see btf above".to_owned(),
        ),
        (Attach::Tracepoint { name, arguments, reason }, Some(find)) => match find(name) {
            Some(found) if found < arguments => {
                row.missing(format!("this kernel's tracepoint {name} tells too little"), hook.without, newer)
            }
            Some(_) => match reason.filter(|reason| find(reason).is_none()) {
                Some(reason) => row.missing(format!("this kernel has no {reason}"), hook.without, newer),
                None => row.ok(hook.gives.to_owned()),
            },
            None => row.missing(format!("this kernel has no tracepoint {name}"), hook.without, newer),
        },
        (Attach::Iterator { name, .. }, None) => row.missing(
            format!("whether the kernel can walk over {name} cannot be told without BTF"),
            hook.without,
            "see btf above".to_owned(),
        ),
        (Attach::Iterator { needs, .. }, Some(find)) => match find(needs) {
            Some(_) => row.ok(hook.gives.to_owned()),
            None => row.missing(format!("this kernel has no {needs}"), hook.without, newer),
        },
        (Attach::Part { .. }, None) => row.missing(
            "whether the kernel has what it takes cannot be told without BTF".to_owned(),
            hook.without,
            "see btf above".to_owned(),
        ),
        (Attach::Part { helper }, Some(find)) => match find(helper) {
            Some(_) => row.ok(hook.gives.to_owned()),
            None => row.missing(format!("this kernel has no {helper}"), hook.without, newer),
        },
    }
}

impl Row {
    fn needed(name: &'static str) -> Self {
        Self { needed: true, ..Self::optional(name) }
    }

    fn optional(name: &'static str) -> Self {
        Self { name, state: Mark::Ok, needed: false, found: String::new(), without: None, remedy: None }
    }

    fn ok(self, found: String) -> Self {
        Self { found, ..self }
    }

    fn degraded(self, found: String, without: &str, remedy: String) -> Self {
        Self { state: Mark::Degraded, ..self.missing(found, without, remedy) }
    }

    fn missing(self, found: String, without: &str, remedy: String) -> Self {
        Self { state: Mark::Missing, found, without: Some(without.to_owned()), remedy: Some(remedy), ..self }
    }

    fn ability(&self) -> Ability {
        match (self.state, self.needed) {
            (Mark::Ok, _) => Ability::Complete,
            (Mark::Missing, true) => Ability::CannotRun,
            (Mark::Degraded | Mark::Missing, _) => Ability::Degraded,
        }
    }

    fn write_text(&self, text: &mut String) {
        let mark = match self.state {
            Mark::Ok => "ok",
            Mark::Degraded => "degraded",
            Mark::Missing => "missing",
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "  {mark:<10}{:<14}", self.name);
        if self.name.len() >= INDENT - NAMES {
            let _ = write!(text, "\n{:INDENT$}", "");
        }
        wrap(text, &self.found, INDENT);
        for (label, words) in [("without it: ", &self.without), ("to mend it: ", &self.remedy)] {
            if let Some(words) = words {
                let _ = write!(text, "{:INDENT$}{label}", "");
                wrap(text, words, INDENT + label.len());
            }
        }
    }
}

impl PinnedPart {
    fn of(folder: &Path, there: &PinnedThere) -> Self {
        let known = match &there.state {
            PinnedState::Known { own, last_alive, ended, waiting, counted } => {
                Some((*own, *last_alive, *ended, *waiting, *counted))
            }
            PinnedState::Strange { .. } => None,
        };
        Self {
            path: folder.display().to_string(),
            since: there.since.map(shown),
            hooks: there.hooks.clone(),
            agent: there.agent,
            understood: known.is_some(),
            own: known.map(|(own, ..)| own),
            last_alive: known.map(|(_, last_alive, ..)| shown(last_alive)),
            ended: known.map(|(_, _, ended, ..)| ended),
            waiting: known.map(|(_, _, _, waiting, _)| waiting),
            counted: known.map(|(.., counted)| counted),
        }
    }
}

/// Columns at which the name of a row and its words begin.
const NAMES: usize = 12;
const INDENT: usize = 26;

fn shown_list(these: &[impl ToString]) -> String {
    these.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Append words after `indent` columns that are there already, further lines indented as far.
fn wrap(text: &mut String, words: &str, indent: usize) {
    let mut column = indent;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > COLUMNS {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > indent {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

impl Report {
    fn add_pins(&mut self, pins: Option<&Pins>) {
        let row = match pins {
            Some(pins) => look_at_pins(pins),
            None => Row::optional("pinned").ok("nothing: no bpffs is mounted".to_owned()),
        };
        self.result = self.result.max(row.ability());
        self.host.push(row);
        let there = pins.and_then(|(folder, found)| Some((folder, found.as_ref().ok()?.as_ref()?)));
        self.pinned = there.map(|(folder, there)| PinnedPart::of(folder, there));
    }

    fn add_cluster(&mut self, part: ClusterPart) {
        self.result = self.result.max(part.ability());
        let ClusterPart { url, cluster, pod, rights } = part;
        (self.api_server, self.cluster, self.pod, self.missing_rights) = (url, cluster, pod, rights);
    }

    fn add_outputs(&mut self, outputs: Vec<OutputPart>) {
        let abilities = outputs.iter().map(OutputPart::ability);
        self.result = abilities.fold(self.result, Ability::max);
        self.outputs = outputs;
    }

    fn text(&self) -> String {
        let mut text = format!("flowlog {}", self.version);
        if !self.host.is_empty() {
            let _ = write!(text, " on Linux {}", self.kernel.as_deref().unwrap_or("of an unknown version"));
        }
        text.push('\n');
        let parts =
            [("Host", &self.host), ("Hooks", &self.hooks), ("Cluster", &self.cluster), ("Pod", &self.pod)];
        for (title, rows) in parts.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            let _ = writeln!(text, "\n{title}");
            rows.iter().for_each(|row| row.write_text(&mut text));
        }
        for output in &self.outputs {
            let _ = writeln!(text, "\nOutput {}", output.output);
            output.rows.iter().for_each(|row| row.write_text(&mut text));
        }
        if !self.missing_rights.is_empty() {
            text.push_str("\nRights that are missing, as rules of a ClusterRole:\n");
            text.push_str(&cluster::yaml(&self.missing_rights));
        }
        text.push('\n');
        wrap(&mut text, self.summary(), 0);
        text
    }

    fn summary(&self) -> &'static str {
        match self.result {
            Ability::Complete if self.host.is_empty() => "flowlog can follow this cluster.",
            Ability::Degraded if self.host.is_empty() => {
                "flowlog can follow this cluster and knows less than it could: see what is not ok above."
            }
            Ability::CannotRun if !self.cluster.is_empty() => {
                "flowlog cannot do its work here: mend what is missing above."
            }
            Ability::Complete => "flowlog can run here and sees all that it can see.",
            Ability::Degraded => {
                "flowlog can run here and sees less than it could: see what is not ok above."
            }
            Ability::CannotRun => "flowlog cannot run here: mend what is missing above.",
        }
    }

    fn json(&self) -> String {
        // Strings and plain enums only: nothing in here can fail to serialize.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.result {
            Ability::Complete => 0,
            Ability::Degraded => 1,
            Ability::CannotRun => 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    const UNIFIED: &str = "29 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
    const ROOT: &str = "Name:\tflowlog\nCapEff:\t000001ffffffffff\n";

    /// A host that has everything but BTF that could be parsed.
    fn tree(changes: &[(&str, &str)]) -> TempDir {
        let tree = tempfile::tempdir().unwrap();
        let everything = [
            ("/proc/sys/kernel/osrelease", "6.12.9-amd64\n"),
            ("/proc/self/mountinfo", UNIFIED),
            ("/proc/self/status", ROOT),
            ("/proc/self/uid_map", "         0          0 4294967295\n"),
            ("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n"),
            ("/sys/fs/cgroup/cgroup.procs", ""),
            ("/sys/fs/cgroup/kubepods.slice/cgroup.procs", ""),
        ];
        for (path, text) in everything.iter().chain(changes) {
            let path = under(tree.path(), path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    fn report(tree: &TempDir, tracepoints: Option<Tracepoints<'_>>, cgroup_root: Option<&str>) -> Report {
        let mut host = Host::read(tree.path());
        if tracepoints.is_some() && !under(tree.path(), "/sys/kernel/btf/vmlinux").exists() {
            host.types = capture::btf::KernelTypes::parse(with_ring_buffer());
        }
        look(tree.path(), &host, tracepoints, cgroup_root.map(Path::new))
    }

    /// BTF of one type: `enum bpf_map_type { BPF_MAP_TYPE_RINGBUF }`. What tracepoints there are, the case says.
    fn with_ring_buffer() -> Vec<u8> {
        let strings = b"\0bpf_map_type\0BPF_MAP_TYPE_RINGBUF\0";
        let types: [u32; 5] = [1, 6 << 24 | 1, 4, 14, 0];
        let types = types.map(u32::to_ne_bytes).concat();
        let lengths = [0, types.len(), types.len(), strings.len()];
        let lengths = lengths.map(|length| u32::try_from(length).unwrap().to_ne_bytes()).concat();
        let header = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
        [&header[..], &24_u32.to_ne_bytes(), &lengths, &types, strings].concat()
    }

    fn row<'a>(report: &'a Report, name: &str) -> &'a Row {
        report.host.iter().chain(&report.hooks).find(|row| row.name == name).unwrap()
    }

    const ALL: Tracepoints<'static> = &|_| Some(9);

    #[test]
    fn a_host_with_everything_is_complete() {
        let report = report(&tree(&[]), Some(ALL), None);
        assert_eq!(report.result, Ability::Complete, "{report:#?}");
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
    }

    #[test]
    fn what_is_needed_and_not_there_is_named_with_its_remedy() {
        for (name, change, of, word) in [
            ("old kernel", ("/proc/sys/kernel/osrelease", "4.19.0-1"), "kernel", "5.10 or newer"),
            (
                "old hierarchy",
                ("/proc/self/mountinfo", "1 2 0:3 / /c rw - cgroup c rw\n"),
                "cgroup2",
                "unified",
            ),
            ("no cgroups", ("/proc/self/mountinfo", ""), "cgroup2", "mount -t cgroup2"),
            (
                "no capabilities",
                ("/proc/self/status", "CapEff:\t0000000000000000\n"),
                "capabilities",
                "CAP_PERFMON",
            ),
            ("user namespace", ("/proc/self/uid_map", "0 100000 65536\n"), "capabilities", "hostUsers"),
        ] {
            let report = report(&tree(&[change]), Some(ALL), None);
            assert_eq!(report.result, Ability::CannotRun, "{name}");
            assert_eq!(report.exit_code(), ExitCode::from(2), "{name}");
            let row = row(&report, of);
            assert_eq!(row.state, Mark::Missing, "{name}");
            assert!(row.remedy.as_ref().unwrap().contains(word), "{name}: {row:?}");
        }
    }

    #[test]
    fn without_btf_no_tracepoint_is_claimed() {
        let report = report(&tree(&[]), None, None);
        assert_eq!(report.result, Ability::CannotRun);
        assert!(row(&report, "btf").found.contains("CONFIG_DEBUG_INFO_BTF"), "{:?}", row(&report, "btf"));
        assert_eq!(row(&report, "set_state").state, Mark::Missing);
        assert_eq!(row(&report, "connect4").state, Mark::Ok, "needs a cgroup, not a tracepoint");
    }

    /// BTF without any type is that of a kernel before 5.8, for all that can be told.
    #[test]
    fn without_ring_buffers_flowlog_cannot_run() {
        let tree = tree(&[]);
        let file = under(tree.path(), "/sys/kernel/btf/vmlinux");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, [&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0][..], &[0; 16]].concat()).unwrap();
        let report = report(&tree, Some(ALL), None);
        assert_eq!((report.result, row(&report, "btf").state), (Ability::CannotRun, Mark::Ok));
        assert!(row(&report, "ring_buffer").remedy.as_ref().unwrap().contains("5.10"), "{report:#?}");
    }

    #[test]
    fn a_btf_file_that_is_none_is_told() {
        let tree = tree(&[("/sys/kernel/btf/vmlinux", "not BTF")]);
        assert!(row(&report(&tree, None, None), "btf").found.contains("not readable as BTF"));
    }

    #[test]
    fn a_hook_that_the_kernel_has_not_degrades_or_forbids() {
        let without_drop: Tracepoints<'_> = &|name| (name != "kfree_skb").then_some(9);
        let degraded = report(&tree(&[]), Some(without_drop), None);
        assert_eq!(degraded.result, Ability::Degraded);
        assert_eq!(degraded.exit_code(), ExitCode::from(1));
        assert_eq!(row(&degraded, "drop").state, Mark::Missing);
        assert!(row(&degraded, "drop").remedy.as_ref().unwrap().contains("5.18"));

        let too_few: Tracepoints<'_> = &|name| Some(if name == "kfree_skb" { 2 } else { 9 });
        assert!(row(&report(&tree(&[]), Some(too_few), None), "drop").found.contains("tells too little"));

        let without_reason: Tracepoints<'_> = &|name| (name != "SKB_DROP_REASON_NETFILTER_DROP").then_some(9);
        assert_eq!(row(&report(&tree(&[]), Some(without_reason), None), "drop").state, Mark::Missing);

        let without_state: Tracepoints<'_> = &|name| (name != "inet_sock_set_state").then_some(9);
        assert_eq!(report(&tree(&[]), Some(without_state), None).result, Ability::CannotRun);

        let without_cookie: Tracepoints<'_> = &|name| (name != "bpf_get_socket_ptr_cookie").then_some(9);
        let degraded = report(&tree(&[]), Some(without_cookie), None);
        assert_eq!((degraded.result, row(&degraded, "existing").state), (Ability::Degraded, Mark::Missing));
        assert!(row(&degraded, "existing").remedy.as_ref().unwrap().contains("5.12"));
    }

    #[test]
    fn lockdown_against_reading_degrades() {
        let tree = tree(&[("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n")]);
        assert_eq!(report(&tree, Some(ALL), None).result, Ability::Degraded);
    }

    #[test]
    fn a_chosen_cgroup_must_be_one() {
        let tree = tree(&[]);
        for (chosen, expected) in [
            ("/sys/fs/cgroup/kubepods.slice", Mark::Ok),
            ("/sys/fs/cgroup/typo.slice", Mark::Missing),
            ("/tmp", Mark::Missing),
        ] {
            let report = report(&tree, Some(ALL), Some(chosen));
            assert_eq!(row(&report, "cgroup2").state, expected, "{chosen}");
            assert_eq!(row(&report, "connect4").state, expected, "{chosen}");
        }
    }

    #[test]
    fn the_text_is_readable_on_80_columns() {
        let worst = tempfile::tempdir().unwrap();
        for report in [report(&tree(&[]), Some(ALL), None), report(&worst, None, Some("/x"))] {
            let text = report.text();
            // What the file system says stands as it is: a path is one word.
            let long = text.lines().find(|line| {
                line.chars().count() > COLUMNS && !line.contains(worst.path().to_str().unwrap())
            });
            assert_eq!(long, None, "{text}");
            for hook in HOOKS {
                assert!(text.contains(hook.name), "{text}");
            }
        }
    }

    #[test]
    fn what_is_pinned_is_told_with_what_to_do_about_it() {
        let time = Timestamp::from_second(1_764_000_000).unwrap();
        let known = |own, ended| PinnedState::Known { own, last_alive: time, ended, waiting: 12, counted: 7 };
        let strange = PinnedState::Strange { why: "its books are of another layout".to_owned() };
        let rows = [
            ("an agent", known(true, false), Some(4_242), Mark::Ok, "(process 4242)"),
            ("none, killed", known(true, false), None, Mark::Ok, "was killed at 2025-11-24T16:00:00Z"),
            ("none, ended", known(false, true), None, Mark::Ok, "another build's, which `run` replaces"),
            ("strange", strange, None, Mark::Degraded, "of another layout"),
        ];
        for (name, state, agent, mark, words) in rows {
            let there = PinnedThere { since: Some(time), hooks: vec!["connect4", "connect6"], agent, state };
            let pins = (PathBuf::from("/sys/fs/bpf/flowlog"), Ok(Some(there)));
            let mut report = report(&tree(&[]), Some(ALL), None);
            report.add_pins(Some(&pins));
            let row = row(&report, "pinned");
            assert_eq!(row.state, mark, "{name}");
            assert!(row.found.contains(words) && row.found.contains("2 hooks observe"), "{name}: {row:?}");
            let long = report.text().lines().find(|line| line.chars().count() > COLUMNS).map(str::to_owned);
            assert_eq!(long, None, "{name}");
            let part = report.pinned.as_ref().unwrap();
            assert_eq!((part.agent, part.understood), (agent, mark == Mark::Ok), "{name}");
        }
        let unread = (PathBuf::from("/x"), Err("--pin /x: Operation not permitted".to_owned()));
        let mut report = report(&tree(&[]), Some(ALL), None);
        report.add_pins(Some(&unread));
        assert_eq!((row(&report, "pinned").state, report.pinned), (Mark::Degraded, None));
    }

    #[test]
    fn json_has_stable_keys() {
        let json: serde_json::Value =
            serde_json::from_str(&report(&tree(&[]), Some(ALL), None).json()).unwrap();
        assert_eq!(json["result"], "complete");
        assert_eq!(json["kernel"], "6.12.9-amd64");
        assert_eq!(json["host"][0]["name"], "kernel");
        assert_eq!(json["host"][0]["state"], "ok");
        assert_eq!(json["hooks"][0]["needed"], true);
    }
}
