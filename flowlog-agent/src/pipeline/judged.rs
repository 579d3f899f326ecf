//! Which kinds of connections the kernel half may stop handing over when its ring fills up: those that were allowed, went
//! through, and came again. What it knows of them holds for one snapshot; the first that does not go well ends it.

use super::correlate::{Origin, Tried};
use super::repeats::place_of;
use crate::capture::Repeat;
use crate::model::{Class, Decision, Flow, State};
use flowlog_common::shed::MOST_JUDGED;
use foldhash::{HashMap, HashMapExt};
use lru::LruCache;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

/// What is known of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It came once. Most kinds never come again, and a word to the kernel half costs a system call.
    Seen,
    /// Repeats of it may give way.
    Judged,
    /// They may not: behind a service it depends on the backend.
    Kept,
}

/// The stage.
pub(super) struct Judged {
    kinds: LruCache<Repeat, Kind>,
    /// How many judged kinds lead to an address, by which a packet without a socket finds them.
    by_far: HashMap<SocketAddr, usize>,
    wanted: Vec<(Repeat, Class)>,
    unwanted: Vec<Repeat>,
}

impl Judged {
    pub(super) fn new() -> Self {
        Self {
            kinds: LruCache::new(NonZeroUsize::new(MOST_JUDGED).unwrap_or(NonZeroUsize::MIN)),
            by_far: HashMap::new(),
            wanted: Vec::new(),
            unwanted: Vec::new(),
        }
    }

    /// Take note of a flow; a kind is returned that is to be decided on, since it came again.
    pub(super) fn see(&mut self, tried: &Tried, flow: &Flow) -> Option<Repeat> {
        if is_bad(flow) {
            self.doubt(tried, flow);
            return None;
        }
        if !is_good(flow) {
            return None;
        }
        let kind = place_of(tried, flow)?;
        match self.kinds.get(&kind) {
            Some(Kind::Seen) => Some(kind),
            Some(Kind::Judged | Kind::Kept) => None,
            None => {
                self.put(kind, Kind::Seen);
                None
            }
        }
    }

    /// What is declared of all that may stand behind the kind's address, where that is one thing.
    pub(super) fn decide(&mut self, kind: Repeat, class: Option<Class>) {
        let Some(class) = class else {
            self.put(kind, Kind::Kept);
            return;
        };
        self.put(kind, Kind::Judged);
        *self.by_far.entry(kind.far).or_default() += 1;
        self.wanted.push((kind, class));
    }

    /// What the kernel half is to know.
    pub(super) fn take_wanted(&mut self) -> Vec<(Repeat, Class)> {
        std::mem::take(&mut self.wanted)
    }

    /// What it is to forget.
    pub(super) fn take_unwanted(&mut self) -> Vec<Repeat> {
        std::mem::take(&mut self.unwanted)
    }

    /// Another snapshot: nothing that was judged holds.
    pub(super) fn clear(&mut self) {
        self.kinds.clear();
        self.by_far.clear();
        self.wanted.clear();
        self.unwanted.clear();
    }

    fn doubt(&mut self, tried: &Tried, flow: &Flow) {
        if tried.origin != Origin::Packet {
            if let Some(kind) = place_of(tried, flow) {
                self.leave(kind);
            }
            return;
        }
        let far = tried.taken.unwrap_or(tried.requested);
        if self.by_far.contains_key(&far) {
            let alike = |kind: &Repeat| kind.far == far && kind.protocol == tried.protocol;
            let kinds: Vec<Repeat> = self.kinds.iter().map(|(kind, _)| *kind).filter(alike).collect();
            for kind in kinds {
                self.leave(kind);
            }
        }
    }

    fn leave(&mut self, kind: Repeat) {
        if self.kinds.pop(&kind) == Some(Kind::Judged) {
            self.forget_far(kind.far);
            self.wanted.retain(|(wanted, _)| *wanted != kind);
            self.unwanted.push(kind);
        }
    }

    /// One that gives way for another stays known to the kernel half, which does the same.
    fn put(&mut self, kind: Repeat, known: Kind) {
        if let Some((evicted, Kind::Judged)) = self.kinds.push(kind, known) {
            self.forget_far(evicted.far);
        }
    }

    fn forget_far(&mut self, far: SocketAddr) {
        if let Some(count) = self.by_far.get_mut(&far) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_far.remove(&far);
            }
        }
    }
}

/// Allowed whatever is asked, and it went through.
pub(super) fn is_good(flow: &Flow) -> bool {
    let trial = flow.verdict.trial.as_ref();
    matches!(flow.class, Class::Allowed | Class::Unrestricted)
        && !flow.verdict.settling
        && trial.is_none_or(|trial| trial.decision == Decision::Allow)
}

/// Denied, blocked, or nobody there.
fn is_bad(flow: &Flow) -> bool {
    match flow.class {
        Class::Allowed | Class::Unrestricted => false,
        Class::Failed => matches!(flow.outcome.state, State::Unreachable | State::Pending),
        _ => true,
    }
}
