//! How much is told of what the kernel half only counts: sums that outlive the agent, and keep step with the lines that
//! tell them.
//!
//! What is counted is no event, and has no place in the ring at which it could be marked. In its stead each thing that is
//! counted has an account: the sums that lines have told of it so far. What a line adds goes to the account when the line
//! is written, wherever the agent is killed: what one write is to add is noted before it (the journal), so that the next
//! agent, which knows how many of its lines came through, adds the same; and whatever changes together is noted as a whole
//! first (the redo), so that it is never half done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Numbers of an account.
pub const SUMS: usize = 6;
/// What was told of one thing that is counted, or what a line adds to that.
pub type Sums = [u64; SUMS];

/// Words that say what an account is of; their meaning is its owner's.
pub const CONTEXT: usize = 7;
/// What an account is of.
pub type Context = [u64; CONTEXT];

/// Layout of the words; another one is not understood.
const FORMAT: u64 = 0x666c_6f77_7461_6c01;

// Places of the words at the beginning.
const FORMAT_AT: usize = 0;
const REDO: usize = 1;
const NOTED: usize = 2;
const REDO_PAIRS: usize = 16;
const MOST_PAIRS: usize = 16;
const HEAD: usize = 64;

/// Entries of the journal: parts of the lines of one write. What finds none is in doubt after a kill.
const MOST_NOTED: usize = 512;
const ENTRY: usize = 16;
const ENTRY_LINE: usize = 0;
const ENTRY_ACCOUNT: usize = 1;
const ENTRY_DONE: usize = 2;
const ENTRY_DOUBTS: usize = 3;
const ENTRY_SUMS: usize = 4;

const ACCOUNTS: usize = HEAD + MOST_NOTED * ENTRY;
const ACCOUNT: usize = 16;
const STATE: usize = 0;
const CONTEXT_AT: usize = 1;
const SUMS_AT: usize = 8;
const DOUBTS: usize = 14;
/// While it is open, what is carried; afterwards, since when it is left.
const MORE: usize = 15;

/// Words for so many accounts.
pub const fn words_of(accounts: usize) -> usize {
    ACCOUNTS + accounts * ACCOUNT
}

/// How an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was never used.
    Free,
    /// What it is of is counted, or was and is not told to its end.
    Open,
    /// All is told, and nothing is counted any more since this boot time.
    Left(u64),
}

const OPEN: u64 = 1;
const LEFT: u64 = 2;

/// What a line adds to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    account: u32,
    sums: Sums,
    /// How often it was noted as being on its way to one of several outputs.
    doubts: u64,
}

/// The accounts.
#[derive(Debug)]
pub struct Tally {
    words: &'static [AtomicU64],
    /// Held while accounts change.
    changing: Mutex<()>,
    /// After so many changes of a word the agent is killed.
    #[cfg(test)]
    lives: AtomicU64,
}

impl Tally {
    /// Over words that outlive the agent, for so many accounts: those that are in another layout are begun anew. `None`
    /// where there are too few of them.
    pub fn new(words: &'static [AtomicU64], accounts: usize) -> Option<Self> {
        if words.len() < words_of(accounts) {
            return None;
        }
        let tally = Self {
            words,
            changing: Mutex::new(()),
            #[cfg(test)]
            lives: AtomicU64::new(u64::MAX),
        };
        if tally.get(FORMAT_AT) != FORMAT {
            tally.set(REDO, 0);
            tally.set(NOTED, 0);
            (0..accounts).for_each(|account| tally.set(place(account) + STATE, 0));
            tally.set(FORMAT_AT, FORMAT);
        }
        Some(tally)
    }

    /// The same, of words that are not to be changed. `None` where they are in another layout.
    pub fn read(words: &'static [AtomicU64], accounts: usize) -> Option<Self> {
        let format = words.get(FORMAT_AT)?.load(Ordering::Acquire);
        if format == FORMAT { Self::new(words, accounts) } else { None }
    }

    fn get(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// In the order in which it is called: whatever a kill leaves undone comes after what is done.
    fn set(&self, at: usize, value: u64) {
        #[cfg(test)]
        if self.lives.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |lives| lives.checked_sub(1)).is_err()
        {
            return;
        }
        if let Some(word) = self.words.get(at) {
            word.store(value, Ordering::Release);
        }
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        // Whoever held it before has noted what was to be done.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How an account stands.
    pub fn standing(&self, account: u32) -> Standing {
        match self.get(place_of(account) + STATE) {
            OPEN => Standing::Open,
            LEFT => Standing::Left(self.get(place_of(account) + MORE)),
            _ => Standing::Free,
        }
    }

    /// What it is of.
    pub fn context(&self, account: u32) -> Context {
        std::array::from_fn(|word| self.get(place_of(account) + CONTEXT_AT + word))
    }

    /// What was told of it.
    pub fn told(&self, account: u32) -> Sums {
        std::array::from_fn(|sum| self.get(place_of(account) + SUMS_AT + sum))
    }

    /// Whether an output may have more of it than that.
    pub fn is_doubtful(&self, account: u32) -> bool {
        self.get(place_of(account) + DOUBTS) > 0
    }

    /// Begin one, of which nothing was told.
    pub fn open(&self, account: u32, context: &Context) {
        let _changing = self.change();
        let at = place_of(account);
        self.set(at + STATE, 0);
        for (word, value) in context.iter().enumerate() {
            self.set(at + CONTEXT_AT + word, *value);
        }
        (0..SUMS).for_each(|sum| self.set(at + SUMS_AT + sum, 0));
        self.set(at + DOUBTS, 0);
        self.set(at + MORE, 0);
        self.set(at + STATE, OPEN);
    }

    /// So many more come to their end in it that did not begin in it.
    pub fn carry(&self, account: u32, more: u64) {
        let _changing = self.change();
        let at = place_of(account) + MORE;
        self.set(at, self.get(at).wrapping_add(more));
    }

    /// How many do.
    pub fn carried(&self, account: u32) -> u64 {
        self.get(place_of(account) + MORE)
    }

    /// All is told of it, and nothing is counted any more.
    pub fn leave(&self, account: u32, now_ns: u64) {
        self.set(place_of(account) + STATE, 0);
        self.set(place_of(account) + MORE, now_ns);
        self.set(place_of(account) + STATE, LEFT);
    }

    /// Some of it is told.
    pub(super) fn settle(&self, part: &Part) {
        self.add(part, None);
    }

    /// Change an account by what a line has told, and that entry of the journal with it.
    fn add(&self, part: &Part, entry: Option<usize>) {
        let _changing = self.change();
        let at = place_of(part.account);
        let mut pairs = [(0, 0); SUMS + 2];
        for (sum, pair) in pairs.iter_mut().take(SUMS).enumerate() {
            let place = at + SUMS_AT + sum;
            *pair = (place, self.get(place).wrapping_add(part.sums[sum]));
        }
        pairs[SUMS] = (at + DOUBTS, self.get(at + DOUBTS).saturating_sub(part.doubts));
        let done = entry.map(|entry| (noted(entry) + ENTRY_DONE, 1));
        pairs[SUMS + 1] = done.unwrap_or(pairs[SUMS]);
        self.store(&pairs);
    }

    /// All of it, or nothing.
    fn store(&self, pairs: &[(usize, u64)]) {
        for (pair, (place, value)) in pairs.iter().enumerate().take(MOST_PAIRS) {
            self.set(REDO_PAIRS + 2 * pair, number(*place));
            self.set(REDO_PAIRS + 2 * pair + 1, *value);
        }
        self.set(REDO, number(pairs.len().min(MOST_PAIRS)));
        self.redo();
    }

    fn redo(&self) {
        let pairs = index(self.get(REDO)).min(MOST_PAIRS);
        for pair in 0..pairs {
            self.set(index(self.get(REDO_PAIRS + 2 * pair)), self.get(REDO_PAIRS + 2 * pair + 1));
        }
        self.set(REDO, 0);
    }

    /// Note what the lines of a write are to add, each with its line's number among them.
    pub(super) fn note<'a>(&self, parts: impl Iterator<Item = (usize, &'a Part)>) {
        let mut count = 0;
        for (line, part) in parts {
            if count == MOST_NOTED {
                self.spread(part);
                continue;
            }
            let at = noted(count);
            self.set(at + ENTRY_LINE, number(line));
            self.set(at + ENTRY_ACCOUNT, part.account.into());
            self.set(at + ENTRY_DONE, 0);
            self.set(at + ENTRY_DOUBTS, part.doubts);
            for (sum, value) in part.sums.iter().enumerate() {
                self.set(at + ENTRY_SUMS + sum, *value);
            }
            count += 1;
        }
        self.set(NOTED, number(count));
    }

    /// The part that was noted as this one, by their order, is told; one that found no entry, too.
    pub(super) fn settle_noted(&self, part: &Part, order: usize) {
        match order < MOST_NOTED {
            true => self.add(part, Some(order)),
            false => self.add(&Part { doubts: part.doubts + 1, ..*part }, None),
        }
    }

    /// An output may have it from now on, and nobody can look that up.
    pub(super) fn spread(&self, part: &Part) {
        let _changing = self.change();
        let at = place_of(part.account) + DOUBTS;
        self.set(at, self.get(at) + 1);
    }

    /// What the agent before left: finish what it had begun. `written` tells whether a line of its last write came through,
    /// `None` where nobody knows.
    pub(super) fn resolve(&self, written: impl Fn(usize) -> Option<bool>) {
        self.redo();
        for entry in 0..index(self.get(NOTED)).min(MOST_NOTED) {
            let at = noted(entry);
            let part = Part {
                account: u32::try_from(self.get(at + ENTRY_ACCOUNT)).unwrap_or(u32::MAX),
                sums: std::array::from_fn(|sum| self.get(at + ENTRY_SUMS + sum)),
                doubts: self.get(at + ENTRY_DOUBTS),
            };
            if self.get(at + ENTRY_DONE) != 0 {
                continue;
            }
            match written(index(self.get(at + ENTRY_LINE))) {
                Some(true) => self.add(&part, Some(entry)),
                Some(false) => {}
                None => self.spread(&part),
            }
        }
        self.set(NOTED, 0);
    }
}

impl Part {
    /// So much more of an account.
    pub fn new(account: u32, sums: Sums) -> Self {
        Self { account, sums, doubts: 0 }
    }

    /// What settles the doubt that an agent before left at the account.
    #[must_use]
    pub fn with_doubts_of(self, tally: &Tally) -> Self {
        Self { doubts: tally.get(place_of(self.account) + DOUBTS), ..self }
    }

    /// Whether it is of the same account as the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.account == other.account
    }

    /// The other, too.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum = sum.wrapping_add(more);
        }
        self.doubts += other.doubts;
    }

    /// It is on its way to one of several outputs.
    pub(super) fn doubt(&mut self) {
        self.doubts += 1;
    }
}

fn place_of(account: u32) -> usize {
    place(index(account.into()))
}

fn place(account: usize) -> usize {
    ACCOUNTS.saturating_add(account.saturating_mul(ACCOUNT))
}

fn noted(entry: usize) -> usize {
    HEAD + entry * ENTRY
}

/// Numbers that are kept as words; those that are read back may be anything, and lead nowhere then.
fn index(word: u64) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

fn number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    const MANY: usize = 4;

    pub(crate) fn words(accounts: usize) -> &'static [AtomicU64] {
        let words: Vec<AtomicU64> = (0..words_of(accounts)).map(|_| AtomicU64::new(0)).collect();
        words.leak()
    }

    fn tally(words: &'static [AtomicU64]) -> Tally {
        Tally::new(words, MANY).unwrap()
    }

    fn part(account: u32, count: u64) -> Part {
        Part::new(account, [count, 1, 2 * count, 0, u64::MAX, 7])
    }

    fn sums(parts: &[Part], account: u32) -> Sums {
        let mut sum = Part::new(account, Sums::default());
        parts.iter().filter(|part| part.account == account).for_each(|part| sum.add(part));
        sum.sums
    }

    #[test]
    fn an_account_is_as_it_was_left() {
        let words = words(MANY);
        let before = tally(words);
        assert_eq!(before.standing(1), Standing::Free);
        before.open(1, &[1, 2, 3, 4, 5, 6, 7]);
        before.settle(&part(1, 5));
        before.carry(1, 2);
        let after = tally(words);
        assert_eq!((after.standing(1), after.context(1)), (Standing::Open, [1, 2, 3, 4, 5, 6, 7]));
        assert_eq!((after.told(1), after.carried(1)), (part(1, 5).sums, 2));
        after.leave(1, 99);
        assert_eq!((tally(words).standing(1), after.carried(1)), (Standing::Left(99), 99));
        after.open(1, &[0; CONTEXT]);
        assert_eq!((after.told(1), after.carried(1)), ([0; SUMS], 0));
        words[FORMAT_AT].store(3, Ordering::SeqCst);
        assert_eq!(tally(words).standing(1), Standing::Free, "another layout is begun anew");
        assert!(Tally::new(&words[1..], MANY).is_none());
    }

    #[test]
    fn what_nobody_can_look_up_is_in_doubt_until_it_is_told_again() {
        let words = words(MANY);
        let before = tally(words);
        before.open(0, &[0; CONTEXT]);
        before.note([(0, &part(0, 5))].into_iter());
        let after = tally(words);
        after.resolve(|_| None);
        assert!(after.is_doubtful(0) && after.told(0) == [0; SUMS]);
        let again = part(0, 5).with_doubts_of(&after);
        after.spread(&again);
        after.settle(&Part::new(0, [1; SUMS]));
        assert!(after.is_doubtful(0), "another line of it");
        let mut spread = again;
        spread.doubt();
        after.settle(&spread);
        assert!(!after.is_doubtful(0));
    }

    proptest! {
        /// Wherever the agent is killed, and however many lines of its last write came through: what is told by the
        /// accounts is what the lines tell.
        #[test]
        fn accounts_tell_what_the_lines_do(
            writes in prop::collection::vec(
                (prop::collection::vec((0_u32..4, 1_u64..9), 1..6), 0_usize..7),
                1..5,
            ),
            lives in 0_u64..1_200,
        ) {
            let words = words(MANY);
            let killed = tally(words);
            (0..4).for_each(|account| killed.open(account, &[0; CONTEXT]));
            killed.lives.store(lives, Ordering::SeqCst);
            let is_alive = || killed.lives.load(Ordering::SeqCst) > 0;
            let (mut file, mut intended, mut through) = (Vec::new(), false, 0);
            for (lines, written) in &writes {
                let parts: Vec<Part> = lines.iter().map(|(account, count)| part(*account, *count)).collect();
                killed.note(parts.iter().enumerate());
                if !is_alive() {
                    break;
                }
                (intended, through) = (true, (*written).min(parts.len()));
                file.extend_from_slice(&parts[..through]);
                for (order, part) in parts[..through].iter().enumerate() {
                    killed.settle_noted(part, order);
                }
                if !is_alive() {
                    break;
                }
                intended = false;
                // A line that became none.
                killed.settle(&Part::new(3, [1; SUMS]));
                if !is_alive() {
                    break;
                }
                file.push(Part::new(3, [1; SUMS]));
            }
            let next = tally(words);
            next.resolve(|line| Some(intended && line < through));
            let dropped = next.told(3) != sums(&file, 3);
            if dropped {
                // Killed in the middle of it, which is noted and done, or is not.
                file.push(Part::new(3, [1; SUMS]));
            }
            for account in 0..4 {
                prop_assert_eq!(next.told(account), sums(&file, account), "account {}", account);
            }
            let once = next.told(0);
            tally(words).resolve(|line| Some(intended && line < through));
            prop_assert_eq!(next.told(0), once, "resolved once");
        }
    }
}
