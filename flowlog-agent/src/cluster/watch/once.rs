//! The cluster as its API server tells it now, read once.
//!
//! What is read makes the same snapshot as for the agent; what could not be read leaves unknown what it leaves unknown
//! there.

use super::follow::{Follower, State, Told};
use super::gather::{Gather, Gathered};
use super::kinds::{KINDS, Kind, Needed};
use super::read::{Id, Object};
use super::standing::{self, Standings};
use super::{Reach, TOLD, Timing, WatchError};
use crate::cluster::{Loaded, NoAddress, Problem, Settings, Snapshot, Store};
use crate::policy::Policy;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A cluster that was read.
#[derive(Debug)]
pub struct Reading {
    /// What came of it.
    pub snapshot: Arc<Snapshot>,
    /// The kinds that could not be read, by name, with the reason.
    pub unread: BTreeMap<&'static str, String>,
    /// Objects that are not understood.
    pub problems: Vec<Problem>,
    without_address: HashMap<Id, NoAddress>,
}

impl Reading {
    /// Why the service of this name has no address, where it is one of those.
    pub fn find_without_address(&self, namespace: &str, name: &str) -> Option<&NoAddress> {
        self.without_address.get(&(namespace.into(), name.into()))
    }
}

/// Reads a cluster. `trial` are policies in trial beside those annotated so.
///
/// # Errors
/// Nothing at all could be read.
pub async fn read(
    reach: &Reach,
    settings: Settings,
    trial: Vec<Arc<Policy>>,
    timing: &Timing,
) -> Result<Reading, WatchError> {
    let (now, client) = (Timestamp::now(), reach.client()?);
    let mut store = Store::start(settings, Loaded::default(), now)?;
    let empty = store.snapshot();
    // No node is this one: none of its pods is any nearer than others.
    let mut gather = Gather::new(Arc::default(), Standings::new(now), trial);
    // Until it is heard of otherwise.
    let failed = || KINDS.iter().map(|row| (row.kind, "reading it failed".to_owned()));
    let (mut lost, mut without_address): (BTreeMap<Kind, String>, _) = (failed().collect(), HashMap::new());
    let (tell, mut told) = mpsc::channel(TOLD);
    for row in &KINDS {
        let (client, tell, pulse) = (client.clone(), tell.clone(), Arc::default());
        tokio::spawn(Follower::new(row, client, timing.clone(), tell, pulse).once());
    }
    drop(tell);
    while let Some(news) = told.recv().await {
        match &news {
            Told::State(kind, State::Lost { why, .. }) => drop(lost.insert(*kind, why.clone())),
            Told::State(kind, State::Elsewhere(versions)) => {
                lost.insert(*kind, standing::elsewhere(versions));
            }
            Told::Replaced(Kind::Service, services) => {
                without_address.extend(services.iter().filter_map(|read| match &read.object {
                    Some(Object::WithoutAddress(why)) => Some((read.id.clone(), why.clone())),
                    _ => None,
                }));
            }
            Told::State(kind, State::InSync | State::Unserved) => drop(lost.remove(kind)),
            _ => {}
        }
        gather.add(news, &empty.inventory);
    }
    let mut needed = KINDS.iter().filter(|row| row.needed != Needed::Nothing && !row.optional);
    if needed.all(|row| lost.contains_key(&row.kind)) {
        return Err(WatchError::Unread { url: reach.url(), why: causes(&lost) });
    }
    let Gathered { changes, .. } = gather.take();
    let snapshot = store.apply_as(changes, gather.standings.standing(), now);
    let unread: BTreeMap<&str, String> = lost.into_iter().map(|(kind, why)| (kind.row().name, why)).collect();
    let of_objects =
        |problem: &&Problem| problem.object.as_deref().is_none_or(|object| !unread.contains_key(object));
    let problems = snapshot.problems.iter().filter(of_objects).cloned().collect();
    Ok(Reading { snapshot, unread, problems, without_address })
}

/// Each cause once, with the kinds that it keeps from being read where there are several.
fn causes(unread: &BTreeMap<Kind, String>) -> String {
    let mut by_cause: Vec<(&str, Vec<&str>)> = Vec::new();
    for (kind, why) in unread {
        match by_cause.iter_mut().find(|(known, _)| known == why) {
            Some((_, kinds)) => kinds.push(kind.row().name),
            None => by_cause.push((why, vec![kind.row().name])),
        }
    }
    match &by_cause[..] {
        [(why, _)] => (*why).to_owned(),
        several => {
            let told: Vec<String> =
                several.iter().map(|(why, kinds)| format!("{} ({why})", kinds.join(", "))).collect();
            told.join("; ")
        }
    }
}
