//! What has to be known of a line on disk where its destination refuses it: what it stood for, so that the loss is told as it
//! would have been of a line in memory.

use crate::model::{Class, Loss, LossCause, LossStage};
use crate::record::{Content, Line};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// What a line stood for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sinks) enum Parcel {
    /// A flow of this class, and so many attempts: none where it only adds an outcome.
    Flow { class: Class, attempts: u64 },
    /// A finding.
    Finding,
    /// A loss, which is told again.
    Loss(Box<Loss>),
    /// Anything else. Builds that did not tell losses from it have left them as such.
    Other,
}

/// Classes, stages and causes by their place, which is on disk: a new one goes last.
const CLASSES: [Class; 9] = [
    Class::Allowed,
    Class::Unrestricted,
    Class::DeniedAttempt,
    Class::PolicyNotEnforced,
    Class::BlockedThoughAllowed,
    Class::BlockedUnexplained,
    Class::Refused,
    Class::Failed,
    Class::Undetermined,
];
const STAGES: [LossStage; 7] = [
    LossStage::Kernel,
    LossStage::Decode,
    LossStage::Correlate,
    LossStage::Waiting,
    LossStage::Fold,
    LossStage::Sink,
    LossStage::Restart,
];
const CAUSES: [LossCause; 14] = [
    LossCause::RingFull,
    LossCause::Overload,
    LossCause::OutcomeNotSeen,
    LossCause::HookBusy,
    LossCause::Unreadable,
    LossCause::UnknownEvent,
    LossCause::TableFull,
    LossCause::QueueFull,
    LossCause::WriteFailed,
    LossCause::Refused,
    LossCause::Damaged,
    LossCause::TooLong,
    LossCause::OtherLayout,
    LossCause::Killed,
];
const LOSS: u8 = 253;
const FINDING: u8 = 254;
const OTHER: u8 = 255;
const NO_CLASS: u8 = 255;

impl Parcel {
    pub(super) fn of(line: &Line) -> Self {
        match line.content() {
            Content::Flow { class, count } => Self::Flow { class: *class, attempts: *count },
            Content::Finding => Self::Finding,
            Content::Loss(loss) => Self::Loss(loss.clone()),
            Content::Agent => Self::Other,
        }
    }

    /// Attempts that are lost with it.
    pub(in crate::sinks) fn attempts(&self) -> u64 {
        match self {
            Self::Flow { attempts, .. } => *attempts,
            Self::Finding | Self::Loss(_) | Self::Other => 0,
        }
    }

    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let (kind, count) = match self {
            Self::Flow { class, attempts } => (place(&CLASSES, class).unwrap_or(OTHER), *attempts),
            Self::Finding => (FINDING, 0),
            Self::Loss(loss) => (LOSS, loss.count),
            Self::Other => (OTHER, 0),
        };
        out.push(kind);
        out.extend_from_slice(&count.to_le_bytes());
        if let Self::Loss(loss) = self {
            append_loss(loss, out);
        }
    }

    /// The parcel at the beginning, and the frame behind it.
    pub(super) fn read(body: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = body.split_first()?;
        let (count, rest) = rest.split_first_chunk()?;
        let count = u64::from_le_bytes(*count);
        let parcel = match *kind {
            LOSS => return read_loss(count, rest),
            FINDING => Self::Finding,
            place => match CLASSES.get(usize::from(place)) {
                Some(class) => Self::Flow { class: *class, attempts: count },
                None => Self::Other,
            },
        };
        Some((parcel, rest))
    }
}

fn place<T: PartialEq>(all: &[T], one: &T) -> Option<u8> {
    all.iter().position(|other| other == one).and_then(|place| u8::try_from(place).ok())
}

fn append_loss(loss: &Loss, out: &mut Vec<u8>) {
    let class = loss.class.and_then(|class| place(&CLASSES, &class)).unwrap_or(NO_CLASS);
    let what = loss.what.as_bytes();
    let length = u8::try_from(what.len()).unwrap_or(u8::MAX);
    let [stage, cause] =
        [place(&STAGES, &loss.stage), place(&CAUSES, &loss.cause)].map(|place| place.unwrap_or(u8::MAX));
    out.extend_from_slice(&[stage, cause, class, length]);
    for time in [loss.first, loss.last] {
        // Until 2262 that is all of it.
        let nanoseconds = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        out.extend_from_slice(&nanoseconds.to_le_bytes());
    }
    out.extend_from_slice(what.get(..usize::from(length)).unwrap_or_default());
}

fn read_loss(count: u64, rest: &[u8]) -> Option<(Parcel, &[u8])> {
    let ([stage, cause, class, length], rest) = rest.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (last, rest) = rest.split_first_chunk()?;
    let (what, frame) = rest.split_at_checked(usize::from(*length))?;
    let time = |bytes: &[u8; 8]| Timestamp::from_nanosecond(i64::from_le_bytes(*bytes).into()).ok();
    let loss = Loss {
        stage: *STAGES.get(usize::from(*stage))?,
        cause: *CAUSES.get(usize::from(*cause))?,
        what: lasting(std::str::from_utf8(what).ok()?),
        class: CLASSES.get(usize::from(*class)).copied(),
        count,
        first: time(first)?,
        last: time(last)?,
    };
    Some((Parcel::Loss(Box::new(loss)), frame))
}

/// Words that were read, each kept once and as long as the agent runs: there are some dozen, kinds of events and hooks.
fn lasting(word: &str) -> &'static str {
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    const MOST: usize = 256;
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(word) {
        return known;
    }
    if words.len() >= MOST {
        return "event";
    }
    let kept: &'static str = Box::leak(word.into());
    words.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::{JsonSchema, schema_for};
    use serde::Serialize;
    use serde_json::Value;

    fn comes_back(parcel: &Parcel) {
        let mut out = Vec::new();
        parcel.append_to(&mut out);
        out.extend_from_slice(b"{}\n");
        assert_eq!(Parcel::read(&out), Some((parcel.clone(), &b"{}\n"[..])));
        for at in 0..out.len() - 3 {
            assert_eq!(Parcel::read(&out[..at]), None, "{parcel:?} cut at {at}");
        }
    }

    #[test]
    fn every_kind_comes_back() {
        for class in Class::ALL {
            comes_back(&Parcel::Flow { class, attempts: 3 });
        }
        comes_back(&Parcel::Finding);
        comes_back(&Parcel::Other);
        let [first, last] = [7, 1_800_000_000_000_000_001].map(|at| Timestamp::from_nanosecond(at).unwrap());
        for (stage, cause) in STAGES.iter().flat_map(|stage| CAUSES.iter().map(move |cause| (*stage, *cause)))
        {
            for class in [None, Some(Class::DeniedAttempt)] {
                let what = "attempt";
                comes_back(&Parcel::Loss(Box::new(Loss {
                    stage,
                    cause,
                    what,
                    class,
                    count: 40,
                    first,
                    last,
                })));
            }
        }
    }

    /// A stage or a cause that is not in its list would not come back.
    #[test]
    fn no_stage_and_no_cause_is_missing() {
        fn names<T: JsonSchema>() -> BTreeSet<String> {
            let schema = serde_json::to_value(schema_for!(T)).unwrap();
            let all = schema["oneOf"].as_array().unwrap();
            all.iter().map(|one| one["const"].as_str().unwrap().to_owned()).collect()
        }
        fn told<T: Serialize>(all: &[T]) -> BTreeSet<String> {
            let word = |one| serde_json::to_value(one).unwrap();
            all.iter().map(word).map(|word: Value| word.as_str().unwrap().to_owned()).collect()
        }
        assert_eq!(told(&STAGES), names::<LossStage>());
        assert_eq!(told(&CAUSES), names::<LossCause>());
        assert_eq!(told(&CLASSES), names::<Class>());
    }
}
