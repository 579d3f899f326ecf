//! What a line gives up to stay within its limit, in which order, and what it says about it.

use super::native::Truncated;
use super::text;
use std::cell::RefCell;

/// How far a line is shortened: each step takes all that the steps before it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    drops: &'static [Truncated],
    policies: usize,
    words_bytes: usize,
    name_bytes: usize,
    list_items: usize,
}

const LABELS: &[Truncated] = &[Truncated::Labels];
const ALL_LABELS: &[Truncated] = &[Truncated::Labels, Truncated::NamespaceLabels];
const EXTRAS: &[Truncated] = &[Truncated::Labels, Truncated::NamespaceLabels, Truncated::Config];
const MAX: usize = usize::MAX;

const WHOLE: Step = Step { drops: &[], policies: MAX, words_bytes: MAX, name_bytes: MAX, list_items: MAX };

/// The steps, in order. 253 bytes is the longest name the Kubernetes API accepts. The last step fits whatever
/// the model holds: about 50 texts of 64 bytes and 3,000 bytes of keys and numbers (tested), of other formats some 20 more.
const STEPS: [Step; 10] = [
    WHOLE,
    Step { drops: LABELS, policies: MAX, words_bytes: MAX, name_bytes: MAX, list_items: MAX },
    Step { drops: ALL_LABELS, policies: MAX, words_bytes: MAX, name_bytes: MAX, list_items: MAX },
    Step { drops: ALL_LABELS, policies: 8, words_bytes: MAX, name_bytes: MAX, list_items: MAX },
    Step { drops: ALL_LABELS, policies: 1, words_bytes: MAX, name_bytes: MAX, list_items: 32 },
    Step { drops: EXTRAS, policies: 1, words_bytes: 253, name_bytes: MAX, list_items: 32 },
    Step { drops: EXTRAS, policies: 1, words_bytes: 160, name_bytes: 253, list_items: 16 },
    Step { drops: EXTRAS, policies: 1, words_bytes: 96, name_bytes: 96, list_items: 16 },
    Step { drops: EXTRAS, policies: 1, words_bytes: 64, name_bytes: 64, list_items: 8 },
    Step { drops: EXTRAS, policies: 1, words_bytes: 32, name_bytes: 32, list_items: 4 },
];

/// One step, and what it really took from the line in hand.
pub(super) struct Shortening {
    step: Step,
    taken: RefCell<Vec<Truncated>>,
}

impl Shortening {
    /// Takes nothing.
    pub(super) fn none() -> Self {
        Self { step: WHOLE, taken: RefCell::default() }
    }

    /// Every step, mildest first; the first one takes nothing.
    pub(super) fn steps() -> impl Iterator<Item = Self> {
        STEPS.iter().map(|step| Self { step: *step, taken: RefCell::default() })
    }

    /// What was really taken, in the order of the steps.
    pub(super) fn taken(&self) -> Vec<Truncated> {
        self.taken.take()
    }

    fn take(&self, part: Truncated) {
        let mut taken = self.taken.borrow_mut();
        if let Err(at) = taken.binary_search(&part) {
            taken.insert(at, part);
        }
    }

    /// Whether a part that is there stays.
    pub(super) fn keeps(&self, part: Truncated) -> bool {
        let keeps = !self.step.drops.contains(&part);
        if !keeps {
            self.take(part);
        }
        keeps
    }

    /// The beginning of a list of policies.
    pub(super) fn policies<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        self.first(all, self.step.policies, Truncated::Policies)
    }

    /// The names of an address: all of them, or the first.
    pub(super) fn names<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        self.first(all, self.step.policies, Truncated::Names)
    }

    /// The beginning of any other list.
    pub(super) fn list<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        self.first(all, self.step.list_items, Truncated::Lists)
    }

    fn first<'a, T>(&self, all: &'a [T], count: usize, part: Truncated) -> &'a [T] {
        let Some(kept) = all.get(..count) else { return all };
        if kept.len() < all.len() {
            self.take(part);
        }
        kept
    }

    /// A reason or a path.
    pub(super) fn words<'a>(&self, text: &'a str) -> &'a str {
        self.cut(text, self.step.words_bytes, Truncated::Reasons)
    }

    /// A name.
    pub(super) fn name<'a>(&self, text: &'a str) -> &'a str {
        self.cut(text, self.step.name_bytes, Truncated::Names)
    }

    fn cut<'a>(&self, text: &'a str, max_bytes: usize, part: Truncated) -> &'a str {
        let kept = text::cut(text, max_bytes);
        if kept.len() < text.len() {
            self.take(part);
        }
        kept
    }
}
