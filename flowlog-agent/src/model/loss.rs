//! Something seen or due that could not be logged: where, why, how many.

use super::Class;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// The stage that lost it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossStage {
    /// The kernel half.
    Kernel,
    /// Bytes from the ring that could not be decoded.
    Decode,
    /// Attempt and outcome could not be held together.
    Correlate,
    /// Attempts that wait for their pod.
    Waiting,
    /// Repeats of a flow.
    Fold,
    /// A sink.
    Sink,
    /// Between two runs: what an agent left in bpffs and the next one cannot tell.
    Restart,
}

/// Why it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The ring buffer was full.
    RingFull,
    /// The ring buffer was filling up: repeats of allowed flows give way first.
    Overload,
    /// What became of it was never seen.
    OutcomeNotSeen,
    /// A program was running already on that CPU, and the kernel does not run it twice.
    HookBusy,
    /// The kernel half could not read a structure.
    Unreadable,
    /// Event of another length, version or kind than this build knows.
    UnknownEvent,
    /// A table of fixed size was full.
    TableFull,
    /// The queue of a sink was full.
    QueueFull,
    /// Writing failed.
    WriteFailed,
    /// The destination answered that it will never take it.
    Refused,
    /// It was damaged where it lay on disk until the destination would take it.
    Damaged,
    /// A record did not fit the line limit even when shortened.
    TooLong,
    /// Left by a build whose events this one does not understand.
    OtherLayout,
    /// The agent was killed before it was told, and it had left the ring by then.
    Killed,
}

/// A counted loss, told in a `loss` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where.
    pub stage: LossStage,
    /// Why.
    pub cause: LossCause,
    /// What was lost, as a word a reader knows: `attempt`, `outcome`, `cgroup`, `flow`, `record`,
    /// `event`.
    pub what: &'static str,
    /// Class of the flows, where it was known already.
    pub class: Option<Class>,
    /// How many.
    pub count: u64,
    /// From when.
    pub first: Timestamp,
    /// To when.
    pub last: Timestamp,
}
