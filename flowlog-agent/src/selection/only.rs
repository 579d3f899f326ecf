//! What kinds of news: classes, findings, and one word for all that was denied.

use super::words::{self, Word};
use super::{Answer, Facts, RecordKind, Said, SelectionError};
use crate::model::{Class, Decision, State};

/// What kinds of news are among it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// All.
    #[default]
    All,
    /// These.
    These(Vec<News>),
}

/// A kind of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// What did not get through though it should, or did though it should not; what is not known to be no denial; findings.
    Denials,
    /// Findings.
    Findings,
    /// Flows of a class.
    Class(Class),
}

/// What did not get through though it should, or did though it should not.
const DENIALS: [Class; 4] =
    [Class::PolicyNotEnforced, Class::DeniedAttempt, Class::BlockedThoughAllowed, Class::BlockedUnexplained];

impl Only {
    /// From words: classes, `denials`, `findings`, or `all`. `key` is how the user calls where they stand.
    ///
    /// # Errors
    /// A word means nothing, or there is none.
    pub fn read<T: AsRef<str>>(key: &str, written: &[T]) -> Result<Self, SelectionError> {
        if written.is_empty() {
            return Err(SelectionError::NoValue { key: key.to_owned(), such_as: "denials" });
        }
        let mut these = Vec::new();
        for word in written {
            match words::read(key, "a class", &NEWS, word.as_ref())? {
                None => return Self::all(key, written),
                Some(news) => these.push(news),
            }
        }
        Ok(Self::These(these))
    }

    fn all<T: AsRef<str>>(key: &str, written: &[T]) -> Result<Self, SelectionError> {
        match written {
            [_] => Ok(Self::All),
            _ => Err(SelectionError::AllAndMore { key: key.to_owned() }),
        }
    }

    pub(super) fn answer(&self, facts: &impl Facts) -> Answer {
        let Self::These(these) = self else { return Answer::Yes };
        let is_finding = facts.kind() == RecordKind::Finding;
        Answer::any(these.iter().map(|news| match news {
            News::Denials if is_finding => Answer::Yes,
            News::Denials => denial(facts),
            News::Findings => is_finding.into(),
            News::Class(class) if !is_finding => facts.class().answer(|is| is == *class),
            News::Class(_) => Answer::No,
        }))
    }
}

/// What the rules could not say is a denial unless it is known to have got through.
fn denial(facts: &impl Facts) -> Answer {
    match facts.class() {
        Said::Is(Class::Undetermined) => {
            let got_through = |state| matches!(state, State::Established | State::Answered | State::Received);
            let denied = facts.verdict().answer(|decision| decision == Decision::Deny);
            denied.max(facts.outcome().answer(|state| !got_through(state)))
        }
        said => said.answer(|class| DENIALS.contains(&class)),
    }
}

const NEWS: [Word<Option<News>>; 12] = {
    const fn class(class: Class) -> Word<Option<News>> {
        Word { name: class.as_str(), means: Some(News::Class(class)) }
    }
    [
        Word { name: "denials", means: Some(News::Denials) },
        Word { name: "findings", means: Some(News::Findings) },
        Word { name: "all", means: None },
        class(Class::PolicyNotEnforced),
        class(Class::DeniedAttempt),
        class(Class::BlockedThoughAllowed),
        class(Class::BlockedUnexplained),
        class(Class::Undetermined),
        class(Class::Unrestricted),
        class(Class::Refused),
        class(Class::Failed),
        class(Class::Allowed),
    ]
};
