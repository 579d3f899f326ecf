//! How far what was gathered can be relied on: kind by kind, and in one word for the snapshot.

use super::super::{Problem, Standing};
use super::follow::State;
use super::kinds::{KINDS, Kind, Needed};
use super::read::{Id, SOURCE};
use foldhash::HashSet;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Problems of single objects that are told; more are only counted.
const MOST_PROBLEMS: usize = 100;

/// What is known of the kinds and of objects that are not understood.
#[derive(Debug)]
pub(super) struct Standings {
    started: Timestamp,
    states: BTreeMap<Kind, State>,
    /// Kinds of which all objects were read once, or that are served in no version.
    known: BTreeSet<Kind>,
    problems: BTreeMap<(Kind, Id), (Problem, bool)>,
}

impl Standings {
    pub(super) fn new(started: Timestamp) -> Self {
        Self { started, states: BTreeMap::new(), known: BTreeSet::new(), problems: BTreeMap::new() }
    }

    /// A kind's state, told in the own log where it changed. True where that is news.
    pub(super) fn set(&mut self, kind: Kind, state: State) -> bool {
        let before = self.states.get(&kind);
        if before == Some(&state) {
            return false;
        }
        let lost = |state: Option<&State>| matches!(state, Some(State::Lost { .. }));
        match &state {
            State::Lost { since, why } if !lost(before) => {
                tracing::warn!(%kind, %since, why, "not in sync with the API server");
            }
            State::InSync => tracing::info!(%kind, "in sync with the API server"),
            State::Unserved => {
                tracing::info!(%kind, "not served by the API server");
            }
            State::Elsewhere(versions) => {
                tracing::warn!(%kind, versions, "served by the API server in versions that are not read");
            }
            State::Lost { .. } => {}
        }
        match state {
            State::InSync | State::Unserved => drop(self.known.insert(kind)),
            State::Elsewhere(_) => drop(self.known.remove(&kind)),
            State::Lost { .. } => {}
        }
        self.states.insert(kind, state);
        true
    }

    /// Whether all objects of a kind were read once.
    pub(super) fn is_known(&self, kind: Kind) -> bool {
        self.known.contains(&kind)
    }

    /// Whether a kind is not in sync, and is told to be so.
    pub(super) fn is_lost(&self, kind: Kind) -> bool {
        matches!(self.states.get(&kind), Some(State::Lost { .. }))
    }

    /// What is wrong with an object; `lost` where nothing of it can be used. True where that is news.
    pub(super) fn set_problem(&mut self, kind: Kind, id: &Id, problem: Option<Problem>, lost: bool) -> bool {
        if problem.is_none() && self.problems.is_empty() {
            return false;
        }
        let key = (kind, id.clone());
        let Some(problem) = problem else { return self.problems.remove(&key).is_some() };
        let news = self.problems.get(&key).is_none_or(|(before, _)| *before != problem);
        if news {
            tracing::warn!(%problem, "an object is not understood");
        }
        self.problems.insert(key, (problem, lost));
        news
    }

    /// The one node that is asked for is not there: by another name, so would be its pods.
    pub(super) fn set_no_node(&mut self, node: &str) -> bool {
        let id = (Arc::from(""), node.into());
        let what = "there is no node of this name: give the node's name in the cluster (--node)".to_owned();
        self.set_problem(Kind::Node, &id, Some(problem(Some(format!("Node {node}")), what)), true)
    }

    /// Forget what is wrong with objects of a kind that are not there any more. True where that is news.
    pub(super) fn forget_others(&mut self, kind: Kind, there: &HashSet<Id>) -> bool {
        let before = self.problems.len();
        self.problems.retain(|(of, id), _| *of != kind || there.contains(id));
        self.problems.len() != before
    }

    /// For the next snapshot.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            stale_since: self.stale_since(),
            incomplete: self.why(Needed::Names),
            unread: self.why(Needed::Rules),
            problems: self.told().into(),
        }
    }

    fn stale_since(&self) -> Option<Timestamp> {
        let since = KINDS.iter().filter_map(|row| match self.states.get(&row.kind) {
            None => Some(self.started),
            Some(State::Lost { since, .. }) => Some(*since),
            Some(State::InSync | State::Unserved | State::Elsewhere(_)) => None,
        });
        since.min()
    }

    /// Why something that is needed for this is not known.
    fn why(&self, needed: Needed) -> Option<Arc<str>> {
        let rows = KINDS.iter().filter(|row| row.needed == needed);
        let missing: Vec<String> =
            rows.filter(|row| !self.is_known(row.kind)).map(|row| self.why_missing(row.kind)).collect();
        if !missing.is_empty() {
            return Some(format!("not read from the API server: {}", missing.join("; ")).into());
        }
        let lost = self.problems.iter().find(|((kind, _), (_, lost))| *lost && kind.row().needed == needed);
        lost.map(|(_, (problem, _))| format!("not understood: {problem}").into())
    }

    fn why_missing(&self, kind: Kind) -> String {
        match self.states.get(&kind) {
            Some(State::Lost { why, .. }) => format!("{kind} ({why})"),
            Some(State::Elsewhere(versions)) => format!("{kind} ({})", elsewhere(versions)),
            _ => kind.to_string(),
        }
    }

    fn told(&self) -> Vec<Problem> {
        let kinds = self.states.iter().filter_map(|(kind, state)| match state {
            State::Lost { since, why } => {
                Some(problem(Some(kind.to_string()), format!("not in sync since {since}: {why}")))
            }
            State::Elsewhere(versions) => Some(problem(Some(kind.to_string()), elsewhere(versions))),
            State::InSync | State::Unserved => None,
        });
        let objects = self.problems.values().map(|(problem, _)| problem.clone()).take(MOST_PROBLEMS);
        let more = self.problems.len().saturating_sub(MOST_PROBLEMS);
        let more = (more > 0).then(|| problem(None, format!("{more} more objects are not understood")));
        kinds.chain(objects).chain(more).collect()
    }
}

/// Why a kind of other versions is not known.
pub(super) fn elsewhere(versions: &str) -> String {
    format!("served as {versions}, which is not read")
}

fn problem(object: Option<String>, what: String) -> Problem {
    Problem { file: PathBuf::from(SOURCE), object, what, ..Problem::default() }
}
