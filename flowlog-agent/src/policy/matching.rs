//! The three answers that a part of a rule can give, and how they combine.

use std::sync::Arc;

/// Why something cannot be answered, in words for a reader of the log.
pub type Reason = Arc<str>;

/// Whether a selector, peer, port or rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It matches.
    Yes,
    /// It does not.
    No,
    /// It cannot be told, and why.
    Unknown(Reason),
}

impl Match {
    /// Both must hold: one that certainly does not decides.
    pub(super) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No => Self::No,
            Self::Yes => other(),
            Self::Unknown(reason) => match other() {
                Self::No => Self::No,
                Self::Yes | Self::Unknown(_) => Self::Unknown(reason),
            },
        }
    }

    /// All must hold.
    pub(super) fn all(answers: impl IntoIterator<Item = Self>) -> Self {
        let mut unknown = None;
        for answer in answers {
            match answer {
                Self::No => return Self::No,
                Self::Yes => {}
                Self::Unknown(reason) => unknown = unknown.or(Some(reason)),
            }
        }
        unknown.map_or(Self::Yes, Self::Unknown)
    }

    /// One must hold: one that certainly does decides.
    pub(super) fn any(answers: impl IntoIterator<Item = Self>) -> Self {
        let mut unknown = None;
        for answer in answers {
            match answer {
                Self::Yes => return Self::Yes,
                Self::No => {}
                Self::Unknown(reason) => unknown = unknown.or(Some(reason)),
            }
        }
        unknown.map_or(Self::No, Self::Unknown)
    }
}

impl From<bool> for Match {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}
