//! Verdict × outcome: the class of a flow, and how much it matters.

use super::{Basis, Decision, Outcome, State, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where declared verdict and observed outcome meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A policy allows it and it went through.
    Allowed,
    /// No policy selects either end, and it went through.
    Unrestricted,
    /// The policies deny it and it did not go through.
    DeniedAttempt,
    /// The policies deny it and it went through all the same.
    PolicyNotEnforced,
    /// A policy allows it and something blocked it.
    BlockedThoughAllowed,
    /// No policy selects either end, and something blocked it.
    BlockedUnexplained,
    /// Allowed, and the far end refused it (nobody listens).
    Refused,
    /// Allowed, and it did not come about for reasons other than a filter.
    Failed,
    /// The verdict is mixed or unknown, or it is a deny, and the connection was open before the agent was there.
    Undetermined,
}

/// How much a class matters to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Ordinary traffic.
    Info,
    /// Worth a look.
    Low,
    /// A denial that held, or a misconfiguration.
    Medium,
    /// A declared deny that does not hold.
    High,
    /// Findings alone: to be mended before anything else.
    Critical,
}

impl Severity {
    /// All of them, the most severe first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Info];

    /// The name in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl Severity {
    /// The severity that syslog has for it (RFC 5424, 6.2.1): informational to critical.
    pub fn syslog(self) -> u8 {
        match self {
            Self::Info => 6,
            Self::Low => 5,
            Self::Medium => 4,
            Self::High => 3,
            Self::Critical => 2,
        }
    }
}

impl Class {
    /// Every class, in the order in which tables show them: what matters most first.
    pub const ALL: [Self; 9] = [
        Self::PolicyNotEnforced,
        Self::DeniedAttempt,
        Self::BlockedThoughAllowed,
        Self::BlockedUnexplained,
        Self::Undetermined,
        Self::Unrestricted,
        Self::Refused,
        Self::Failed,
        Self::Allowed,
    ];

    /// The name in a record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Unrestricted => "unrestricted",
            Self::DeniedAttempt => "denied_attempt",
            Self::PolicyNotEnforced => "policy_not_enforced",
            Self::BlockedThoughAllowed => "blocked_though_allowed",
            Self::BlockedUnexplained => "blocked_unexplained",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Undetermined => "undetermined",
        }
    }

    /// Judge: the table "Verdict × outcome" of the flow model (`docs/log-format.md`).
    pub fn of(verdict: &Verdict, outcome: &Outcome) -> Self {
        match verdict.decision {
            Decision::Mixed | Decision::Unknown => Self::Undetermined,
            // It may be older than the policy, and plugins differ in what they do with it then.
            Decision::Deny if outcome.is_found() => Self::Undetermined,
            Decision::Deny if outcome.reached_far_end() => Self::PolicyNotEnforced,
            Decision::Deny => Self::DeniedAttempt,
            Decision::Allow => Self::of_allowed(restricted(verdict), outcome.state),
        }
    }

    fn of_allowed(restricted: bool, state: State) -> Self {
        match state {
            State::Established | State::Answered | State::Received if restricted => Self::Allowed,
            State::Established | State::Answered | State::Received => Self::Unrestricted,
            State::Rejected | State::Dropped if restricted => Self::BlockedThoughAllowed,
            State::Rejected | State::Dropped => Self::BlockedUnexplained,
            State::Refused => Self::Refused,
            State::Unreachable | State::Aborted | State::Sent | State::Pending | State::Unknown => {
                Self::Failed
            }
        }
    }

    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::PolicyNotEnforced => Severity::High,
            Self::DeniedAttempt | Self::BlockedThoughAllowed => Severity::Medium,
            Self::BlockedUnexplained | Self::Undetermined | Self::Unrestricted => Severity::Low,
            Self::Allowed | Self::Refused | Self::Failed => Severity::Info,
        }
    }
}

/// False only where no policy selects the pods in either direction.
fn restricted(verdict: &Verdict) -> bool {
    [&verdict.egress, &verdict.ingress].iter().any(|side| side.basis != Basis::Unselected)
}
