//! Yes, no, or not known.

/// What is answered to a condition, the least first: all of several is the least of them, any of several the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It does not hold.
    No,
    /// What it asks for is not known.
    Unknown,
    /// It holds.
    Yes,
}

impl Answer {
    /// This holds, and the other, which is asked only where that matters.
    pub(super) fn and(self, other: impl FnOnce() -> Self) -> Self {
        if self == Self::No { Self::No } else { self.min(other()) }
    }

    /// All of them hold.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().fold(Self::Yes, Self::min)
    }

    /// One of them holds.
    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut any = Self::No;
        for part in parts {
            any = any.max(part);
            if any == Self::Yes {
                break;
            }
        }
        any
    }
}

impl From<bool> for Answer {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}
