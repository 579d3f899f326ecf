//! `agent` records: what a reader needs to know how complete the log is. Built by the pipeline and the
//! commands, written as they are.

use super::Run;
use super::native::{Head, Moment, Truncated};
use super::shorten::Shortening;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Something that happened to the agent itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// When.
    pub time: Timestamp,
    /// What, with what belongs to it.
    pub event: AgentEvent,
}

/// What happened to the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentEvent {
    /// It captures from now on.
    Start(Box<Start>),
    /// It stops; nothing follows in this run.
    Stop(Box<Stop>),
    /// Its configuration changed; the new one.
    Config(serde_json::Map<String, serde_json::Value>),
    /// The state of the cluster snapshot changed.
    Snapshot(SnapshotState),
    /// Nothing was captured for a while.
    Gap(Gap),
}

/// What the agent starts with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// flowlog's version.
    pub version: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// How the agent is confined; absent where it was told not to be.
    pub confinement: Option<ConfinementState>,
    /// Every hook and its state.
    pub hooks: Vec<HookState>,
    /// The effective configuration.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// The cgroup2 directory that is watched.
    pub cgroup_root: Option<String>,
    /// The snapshot at the start.
    pub snapshot: Option<SnapshotState>,
    /// How the kernel half is kept in bpffs, where it is.
    pub pin: Option<PinState>,
}

/// A kernel half that outlives the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinState {
    /// The folder in bpffs.
    pub path: String,
    /// How this run came to it.
    pub state: PinCondition,
    /// Why what was there could not be used.
    pub why: Option<String>,
    /// When the agent before was last alive.
    pub last_alive: Option<Timestamp>,
    /// It ended in order.
    pub ended: Option<bool>,
    /// Events that it left, and that this run tells.
    pub waiting: Option<u64>,
    /// Of these, such as it may have told.
    pub doubtful: Option<u64>,
    /// Events that nobody can tell.
    pub lost: Option<u64>,
}

/// How a run came to the kernel half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PinCondition {
    /// There was none: it was loaded.
    New,
    /// Taken over from the run before, which observed on without an agent.
    Adopted,
    /// Taken over from another build, or from other settings: its programs were replaced, what waited is told.
    Replaced,
    /// One was there whose events are not understood: it was removed, and one loaded.
    Refused,
}

/// What the agent stops with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stop {
    /// Why it stops: `signal`, `output_closed` (the reader of the only output left), `failure`.
    pub reason: String,
    /// Everything that was counted.
    pub counters: Counters,
}

/// What the agent gave up once the kernel half was attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Confinement")]
pub struct ConfinementState {
    /// Capabilities that it still holds, by name.
    pub capabilities: Vec<String>,
    /// No program that it could start would hold more.
    pub no_new_privileges: bool,
    /// System calls that it does not use are refused (seccomp).
    pub system_calls: bool,
    /// Files that are not its own cannot be reached (Landlock).
    pub files: bool,
    /// Why files can be reached that are not its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A hook as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HookState {
    /// Name of the hook.
    pub name: String,
    /// How it stands.
    pub state: HookCondition,
    /// Why it is not attached, and what is missing without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookCondition {
    /// Attached.
    Attached,
    /// Attached in part, or replaced by a weaker one.
    Degraded,
    /// Not attached: this host does not offer it.
    Missing,
    /// Not attached: switched off by configuration.
    Off,
}

/// The state of the cluster snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotState {
    /// Revision, from 1.
    pub revision: u64,
    /// When it was taken.
    pub as_of: Timestamp,
    /// Since when it lags behind its source; absent while it is in sync.
    pub stale_since: Option<Timestamp>,
    /// Objects by kind, as people name them in the plural (`pods`, `network_policies`).
    pub objects: BTreeMap<String, u64>,
    /// What could not be read, each with file, document and field.
    pub problems: Vec<String>,
}

/// A time without capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// From when.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
    /// Why.
    pub reason: String,
}

/// Everything counted in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counters {
    /// What became of every attempt: `seen` is the sum of the three others.
    pub attempts: Attempts,
    /// Kernel events decoded, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, u64>,
    /// Events that the kernel half could not hand over, by cause.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kernel_losses: BTreeMap<String, u64>,
    /// Attempts lost, by cause.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attempts_lost: BTreeMap<String, u64>,
    /// Records made, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<String, u64>,
    /// Whatever else the stages count, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<String, u64>,
    /// What each sink wrote and lost, by its name, up to this record.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, SinkCounters>,
}

/// What became of every attempt that the hooks saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Attempts {
    /// Attempts that the kernel half saw, those it could not hand over included.
    pub seen: u64,
    /// Attempts that flow records stand for: the sum of their `count`.
    pub recorded: u64,
    /// Attempts that were counted as lost.
    pub lost: u64,
    /// Attempts that the configuration leaves out, such as those of processes outside pods.
    pub out_of_scope: u64,
    /// Attempts of flows that no output wanted.
    pub unselected: u64,
}

impl Attempts {
    /// True where nothing is missing and nothing is told twice.
    pub fn balance(&self) -> bool {
        [self.recorded, self.lost, self.out_of_scope, self.unselected]
            .iter()
            .try_fold(0_u64, |sum, part| sum.checked_add(*part))
            == Some(self.seen)
    }
}

/// What a sink did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SinkCounters {
    /// Lines written.
    pub lines: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Attempts that the written flow records stand for.
    pub attempts: u64,
    /// Lines that were offered and could not be written.
    pub lost_lines: u64,
    /// Attempts that those lines stood for.
    pub lost_attempts: u64,
    /// Attempts of flows that other outputs wanted, and this one did not.
    pub unselected: u64,
    /// Times that writing, opening or syncing failed.
    pub failures: u64,
    /// Times that the file was opened anew.
    pub reopened: u64,
    /// What became of the written lines, where they wait on disk until they are delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolCounters>,
}

/// What became of lines that wait on disk, those of earlier runs included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpoolCounters {
    /// Lines that wait: the next run delivers them.
    pub waiting_lines: u64,
    /// Lines delivered.
    pub delivered_lines: u64,
    /// Lines that the destination refused for good.
    pub refused_lines: u64,
    /// Attempts of these: they are in the sink's `attempts`, since they were put on disk, and in its `lost_attempts`.
    pub refused_attempts: u64,
    /// Lines that were damaged on disk, or gone from there.
    pub damaged_lines: u64,
}

/// What happened to the agent: start, stop, configuration, snapshot, gap.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentLine")]
pub(super) struct AgentLine<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    agent: AgentPart<'a>,
    /// What was left out or shortened to keep the line within its limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<Truncated>,
}

/// The event, with what belongs to it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agent")]
struct AgentPart<'a> {
    /// What happened.
    event: EventName,
    /// flowlog's version (start).
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// Release of the running kernel (start).
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<&'a str>,
    /// How the agent is confined; absent where it was told not to be (start).
    #[serde(skip_serializing_if = "Option::is_none")]
    confinement: Option<&'a ConfinementState>,
    /// Every hook and its state (start).
    #[serde(skip_serializing_if = "Option::is_none")]
    hooks: Option<Vec<HookState>>,
    /// The effective configuration (start, config).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    config: Option<&'a serde_json::Map<String, serde_json::Value>>,
    /// The cgroup2 directory that is watched (start).
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_root: Option<&'a str>,
    /// How the kernel half is kept in bpffs, where it outlives the agent (start).
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<PinPart<'a>>,
    /// State of the cluster snapshot (start, snapshot).
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<SnapshotPart<'a>>,
    /// The time without capture (gap).
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<GapPart<'a>>,
    /// Why it stops (stop).
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// Everything counted in this run (stop).
    #[serde(skip_serializing_if = "Option::is_none")]
    counters: Option<Counters>,
}

/// What happened.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AgentEvent")]
enum EventName {
    /// It captures from now on.
    Start,
    /// It stops; nothing follows in this run.
    Stop,
    /// Its configuration changed.
    Config,
    /// The state of the cluster snapshot changed.
    Snapshot,
    /// Nothing was captured for a while.
    Gap,
}

/// State of the cluster snapshot.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Snapshot")]
struct SnapshotPart<'a> {
    /// Whether it follows its source.
    state: SnapshotSync,
    /// Revision, from 1; `verdict.snapshot` refers to it.
    revision: u64,
    /// When it was taken.
    as_of: Moment,
    /// Since when it lags behind its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_since: Option<Moment>,
    /// Objects by kind.
    objects: BTreeMap<String, u64>,
    /// What could not be read, each with file, document and field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<&'a str>,
    /// How many problems there are, also where the list ends early.
    problem_count: u64,
}

/// Whether the snapshot follows its source.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SnapshotSync {
    /// It is what its source says.
    InSync,
    /// It lags behind its source since `stale_since`.
    Stale,
}

/// A kernel half that outlives the agent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Pin")]
struct PinPart<'a> {
    /// The folder in bpffs.
    path: &'a str,
    /// How this run came to it.
    state: PinCondition,
    /// Why what was there could not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// When the run before was last alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_alive: Option<Moment>,
    /// Whether the run before ended in order; else it was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<bool>,
    /// Events that were not told yet, which this run tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    /// Of these, such as the run before may have told: their records have `flow.replayed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    doubtful: Option<u64>,
    /// Events that nobody can tell any more; a `loss` record says so too.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}

impl<'a> PinPart<'a> {
    fn of(pin: &'a PinState, short: &Shortening) -> Self {
        Self {
            path: short.words(&pin.path),
            state: pin.state,
            why: pin.why.as_deref().map(|why| short.words(why)),
            last_alive: pin.last_alive.map(Moment),
            ended: pin.ended,
            waiting: pin.waiting,
            doubtful: pin.doubtful,
            lost: pin.lost,
        }
    }
}

/// A time without capture.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Gap")]
struct GapPart<'a> {
    /// From when.
    from: Moment,
    /// To when.
    to: Moment,
    /// Why.
    reason: &'a str,
}

impl<'a> AgentLine<'a> {
    pub(super) fn of(agent: &'a Agent, run: &'a Run, short: &Shortening) -> Self {
        let head = Head::of("agent", agent.time, run, short);
        let part = match &agent.event {
            AgentEvent::Start(start) => AgentPart::of_start(start, short),
            AgentEvent::Stop(stop) => AgentPart {
                reason: Some(short.words(&stop.reason)),
                counters: Some(stop.counters.shortened(short)),
                ..AgentPart::bare(EventName::Stop)
            },
            AgentEvent::Config(config) => AgentPart {
                config: short.keeps(Truncated::Config).then_some(config),
                ..AgentPart::bare(EventName::Config)
            },
            AgentEvent::Snapshot(state) => AgentPart {
                snapshot: Some(SnapshotPart::of(state, short)),
                ..AgentPart::bare(EventName::Snapshot)
            },
            AgentEvent::Gap(gap) => {
                AgentPart { gap: Some(GapPart::of(gap, short)), ..AgentPart::bare(EventName::Gap) }
            }
        };
        Self { head, agent: part, truncated: short.taken() }
    }
}

impl<'a> AgentPart<'a> {
    fn bare(event: EventName) -> Self {
        Self {
            event,
            version: None,
            kernel: None,
            confinement: None,
            hooks: None,
            config: None,
            cgroup_root: None,
            pin: None,
            snapshot: None,
            gap: None,
            reason: None,
            counters: None,
        }
    }

    fn of_start(start: &'a Start, short: &Shortening) -> Self {
        Self {
            version: Some(short.name(&start.version)),
            kernel: Some(short.name(&start.kernel)),
            confinement: start.confinement.as_ref(),
            hooks: Some(short.list(&start.hooks).iter().map(|hook| hook.shortened(short)).collect()),
            config: short.keeps(Truncated::Config).then_some(&start.config),
            cgroup_root: start.cgroup_root.as_deref().map(|path| short.words(path)),
            pin: start.pin.as_ref().map(|pin| PinPart::of(pin, short)),
            snapshot: start.snapshot.as_ref().map(|state| SnapshotPart::of(state, short)),
            ..Self::bare(EventName::Start)
        }
    }
}

impl HookState {
    fn shortened(&self, short: &Shortening) -> Self {
        Self {
            name: short.name(&self.name).to_owned(),
            state: self.state,
            why: self.why.as_deref().map(|why| short.words(why).to_owned()),
        }
    }
}

impl Counters {
    fn shortened(&self, short: &Shortening) -> Self {
        Self {
            attempts: self.attempts,
            events: counts(&self.events, short),
            kernel_losses: counts(&self.kernel_losses, short),
            attempts_lost: counts(&self.attempts_lost, short),
            records: counts(&self.records, short),
            stages: counts(&self.stages, short),
            sinks: counts(&self.sinks, short),
        }
    }
}

fn counts<V: Copy>(all: &BTreeMap<String, V>, short: &Shortening) -> BTreeMap<String, V> {
    let entries: Vec<(&String, &V)> = all.iter().collect();
    short.list(&entries).iter().map(|(name, value)| (short.words(name).to_owned(), **value)).collect()
}

impl<'a> SnapshotPart<'a> {
    fn of(state: &'a SnapshotState, short: &Shortening) -> Self {
        Self {
            state: if state.stale_since.is_some() { SnapshotSync::Stale } else { SnapshotSync::InSync },
            revision: state.revision,
            as_of: Moment(state.as_of),
            stale_since: state.stale_since.map(Moment),
            objects: counts(&state.objects, short),
            problems: short.list(&state.problems).iter().map(|problem| short.words(problem)).collect(),
            problem_count: u64::try_from(state.problems.len()).unwrap_or(u64::MAX),
        }
    }
}

impl<'a> GapPart<'a> {
    fn of(gap: &'a Gap, short: &Shortening) -> Self {
        Self { from: Moment(gap.from), to: Moment(gap.to), reason: short.words(&gap.reason) }
    }
}
