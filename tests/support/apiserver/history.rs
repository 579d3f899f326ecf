//! What the server keeps: objects, every change under one counter of versions, and what is to go wrong.

use super::logs::Log;
use super::{CUSTOM, Drop, Fault, KINDS, KindRow, Which};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Verb as RBAC has it: get, list, watch or create.
    pub verb: &'static str,
    /// API group.
    pub group: String,
    /// Plural.
    pub plural: String,
    /// The query, decoded.
    pub query: BTreeMap<String, String>,
    /// What it accepts.
    pub accept: String,
    /// Who it is to be taken for, in place of whoever asks: a user, and groups.
    pub impersonates: Vec<String>,
    /// The status of its answer.
    pub status: u16,
}

/// A change of one object.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) plural: &'static str,
    pub(super) word: &'static str,
    pub(super) object: Arc<str>,
    /// As it was before, where it was there.
    pub(super) before: Option<Arc<str>>,
}

pub(super) type Id = (String, String);

/// All there is.
pub(super) struct History {
    pub(super) version: u64,
    objects: BTreeMap<&'static str, BTreeMap<Id, (u64, Arc<str>)>>,
    pub(super) events: Vec<Event>,
    /// Changes that are kept; older ones are forgotten.
    pub(super) kept: usize,
    /// Versions up to this one are forgotten.
    pub(super) forgotten: u64,
    pub(super) gone_by_status: bool,
    unserved: BTreeSet<&'static str>,
    /// Kinds that are listed in another version, too.
    pub(super) versions: Vec<(&'static str, &'static str)>,
    pub(super) streams: bool,
    pub(super) bookmarks: Option<Duration>,
    pub(super) token: Option<String>,
    /// Who asks, where nobody else is named.
    pub(super) user: String,
    /// Plurals and verbs that the user has no right to; `*` for all verbs.
    pub(super) forbidden: BTreeSet<(&'static str, &'static str)>,
    pub(super) faults: Vec<(Which, Fault, usize)>,
    pub(super) dropped: (u64, Drop),
    pub(super) logs: BTreeMap<Id, Log>,
    pub(super) dropped_logs: (u64, Drop),
    pub(super) requests: Vec<Request>,
    pub(super) bytes: BTreeMap<String, u64>,
    pub(super) watching: BTreeMap<&'static str, usize>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            version: 100,
            objects: BTreeMap::new(),
            events: Vec::new(),
            kept: usize::MAX,
            forgotten: 0,
            gone_by_status: false,
            unserved: BTreeSet::from(CUSTOM),
            versions: Vec::new(),
            streams: true,
            bookmarks: None,
            token: None,
            user: "system:serviceaccount:flowlog:flowlog".to_owned(),
            forbidden: BTreeSet::new(),
            faults: Vec::new(),
            dropped: (0, Drop::Clean),
            logs: BTreeMap::new(),
            dropped_logs: (0, Drop::Clean),
            requests: Vec::new(),
            bytes: BTreeMap::new(),
            watching: BTreeMap::new(),
        }
    }
}

/// The history, and who waits for it to go on.
pub(super) struct Shared {
    history: Mutex<History>,
    changed: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { history: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Shared {
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = change(&mut history);
        drop(history);
        self.changed.send_modify(|changes| *changes += 1);
        answer
    }

    /// The same, where nobody needs to know.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

pub(super) fn row_of(plural: &str) -> Option<&'static KindRow> {
    KINDS.iter().find(|row| row.0 == plural)
}

impl History {
    pub(super) fn apply(&mut self, mut object: Value) {
        let (kind, version) = (object["kind"].clone(), object["apiVersion"].clone());
        let row = KINDS.iter().find(|row| kind == row.1 && version == row.2);
        assert!(row.is_some(), "no such kind: {object}");
        let Some((plural, _, _, namespaced)) = row else { return };
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        assert!(*namespaced != namespace.is_empty(), "namespace of {object}");
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{namespace}-{name}").into();
        }
        let text: Arc<str> = object.to_string().into();
        let objects = self.objects.entry(plural).or_default();
        let before = objects.insert((namespace, name), (self.version, Arc::clone(&text)));
        let word = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let before = before.map(|(_, text)| text);
        self.note(Event { version: self.version, plural, word, object: text, before });
    }

    pub(super) fn delete(&mut self, plural: &str, namespace: &str, name: &str) {
        let row = row_of(plural);
        assert!(row.is_some(), "no such kind: {plural}");
        let Some((plural, ..)) = row else { return };
        let id = (namespace.to_owned(), name.to_owned());
        let Some((_, text)) = self.objects.get_mut(plural).and_then(|objects| objects.remove(&id)) else {
            return;
        };
        self.version += 1;
        // The last state, under the version of the deletion.
        let object = under(&text, self.version);
        self.note(Event { version: self.version, plural, word: "DELETED", object, before: None });
    }

    fn note(&mut self, event: Event) {
        self.events.push(event);
        // Half at a time: each would move all the others.
        if self.events.len() / 2 > self.kept {
            let old = self.events.len() - self.kept;
            let last = self.events.drain(..old).next_back();
            self.forgotten = last.map_or(self.forgotten, |event| event.version);
        }
    }

    pub(super) fn objects(&self) -> Vec<Value> {
        let texts = self.objects.values().flat_map(BTreeMap::values);
        texts.filter_map(|(_, text)| serde_json::from_str(text).ok()).collect()
    }

    pub(super) fn texts(&self, plural: &str) -> Vec<(Id, Arc<str>)> {
        let objects = self.objects.get(plural).into_iter().flatten();
        objects.map(|(id, (_, text))| (id.clone(), Arc::clone(text))).collect()
    }

    pub(super) fn forget(&mut self, by_status: bool) {
        // Anything else of the cluster goes on meanwhile.
        self.version += 10;
        self.forgotten = self.version - 1;
        self.gone_by_status = by_status;
        self.events.clear();
    }

    pub(super) fn serve(&mut self, plural: &'static str, serves: bool) {
        if serves {
            self.unserved.remove(plural);
            return;
        }
        let ids: Vec<Id> = self.texts(plural).into_iter().map(|(id, _)| id).collect();
        ids.iter().for_each(|(namespace, name)| self.delete(plural, namespace, name));
        self.unserved.insert(plural);
    }

    pub(super) fn hide(&mut self, plural: &'static str, hides: bool) {
        match hides {
            true => self.unserved.insert(plural),
            false => self.unserved.remove(plural),
        };
    }

    pub(super) fn serves(&self, plural: &str) -> bool {
        !self.unserved.contains(plural)
    }

    /// Why this is not allowed. It is asked before whether there is such a kind.
    pub(super) fn forbids(&self, user: &str, verb: &str, group: &str, plural: &str) -> Option<Value> {
        let forbidden = |(of, what): &(&str, &str)| *of == plural && (*what == "*" || *what == verb);
        self.forbidden.iter().find(|row| forbidden(row))?;
        let of = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let message = format!(
            "{of} is forbidden: User \"{user}\" cannot {verb} resource \"{plural}\" in API group \"{group}\" at the \
             cluster scope"
        );
        Some(status(403, "Forbidden", &message))
    }

    /// The fault that befalls this request.
    pub(super) fn take_fault(&mut self, plural: &str, how: How) -> Option<Fault> {
        let fits = |which: &Which| {
            (which.plural.is_empty() || which.plural == plural)
                && which.watch.is_none_or(|wanted| wanted == how.watch)
                && which.initial.is_none_or(|wanted| wanted == how.initial)
                && which.going_on.is_none_or(|wanted| wanted == how.going_on)
        };
        let (_, fault, times) = self.faults.iter_mut().find(|(which, _, times)| *times > 0 && fits(which))?;
        *times -= 1;
        Some(fault.clone())
    }
}

/// How something is asked for.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) watch: bool,
    /// With what is there already.
    pub(super) initial: bool,
    /// A page after the first.
    pub(super) going_on: bool,
}

/// An object's last state, under the version of what became of it.
pub(super) fn under(text: &str, version: u64) -> Arc<str> {
    let mut object: Value = serde_json::from_str(text).unwrap_or_default();
    object["metadata"]["resourceVersion"] = version.to_string().into();
    object.to_string().into()
}

/// An error as API servers write it.
pub(super) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code,
    })
}
