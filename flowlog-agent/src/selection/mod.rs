//! Which records are written, or shown: conditions, put together to a selection.
//!
//! A [`Condition`] is asked over [`Facts`], so that one and the same is asked of a flow on its way to the sinks and of a
//! line that was read back. Whatever is not known of a flow speaks for writing it: in `allow` it counts as a match, in
//! `deny` as none. A loss, and what tells of the agent itself, is never asked about: that always goes everywhere.
//!
//! `words.rs` has the names of values, `read.rs` makes conditions of what people write, `condition.rs` and `end.rs` ask
//! them, `flow.rs` has the facts of what the agent makes itself.

mod answer;
mod condition;
mod end;
mod facts;
mod flow;
mod only;
mod read;
mod words;

pub use answer::Answer;
pub use condition::Condition;
pub use facts::{End, EndKind, Facts, LabelsOf, RecordKind, Said};
pub use only::Only;
pub use read::SelectionError;

/// Which records one reader or one output is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What kinds of news.
    pub only: Only,
    /// One of these must hold; all do where there is none.
    pub allow: Vec<Condition>,
    /// None of these may hold.
    pub deny: Vec<Condition>,
}

impl Selection {
    /// Whether it is everything, whatever the facts.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a record with these facts is among it: unless it is known that it is not.
    pub fn wants(&self, facts: &impl Facts) -> bool {
        self.only.answer(facts) != Answer::No
            && (self.allow.is_empty()
                || self.allow.iter().any(|condition| condition.answer(facts) != Answer::No))
            && !self.deny.iter().any(|condition| condition.answer(facts) == Answer::Yes)
    }
}

#[cfg(test)]
mod tests;
