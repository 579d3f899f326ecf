//! One kind, listed and then watched, for as long as the agent runs.
//!
//! The list comes as a stream of events where the API server has that (a watch that begins with what there is, up to a
//! bookmark that says so), else in pages. A watch goes on from the last version that was seen; where the server has
//! forgotten it (410), all is listed again. Pages are asked for from the server's cache, as new as what was seen.
//!
//! Kube's own watcher is not used: a 410 that comes as the answer's status, it asks for again and again; a stream that ends
//! before its bookmark, it begins again at once, without an end; a server that cannot stream is asked to for ever; and an
//! object that it cannot parse has no name there any more.

mod once;
mod probe;

pub use probe::Followed;

use super::alike::Alike;
use super::health::{Cause, Pulse};
use super::items::{Items, MOST_BYTES};
use super::kinds::{Kind, Row};
use super::read::{Id, Read, identify, read};
use super::served::{self, Served};
use super::timing::{Backoff, Timing, between};
use http::header::{ACCEPT, RETRY_AFTER, USER_AGENT};
use http::request::Builder;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout};

/// What became of a kind.
#[derive(Debug)]
pub(super) enum Told {
    /// These are all there are.
    Replaced(Kind, Vec<Read>),
    /// One came or changed.
    Put(Kind, Box<Read>),
    /// One went.
    Gone(Kind, Id),
    /// How it stands with the kind itself.
    State(Kind, State),
}

/// How it stands with a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Changes come as they are made.
    InSync,
    /// The API server does not serve it.
    Unserved,
    /// The API server serves it in these versions alone, which are not read.
    Elsewhere(String),
    /// Changes have not come since then.
    Lost { since: Timestamp, why: String },
}

/// Why a list or a watch is over.
#[derive(Debug)]
enum Trouble {
    /// The server ended the watch, as it was asked to.
    Ended,
    /// The server has forgotten the version to go on from.
    Expired,
    /// The server cannot list by a stream.
    NoStream(String),
    /// No such kind, says whoever answered.
    NotFound,
    /// What came cannot be read, or was an error in place of an event.
    Garbled(String),
    /// The server said no, and perhaps when to ask again.
    Refused { status: StatusCode, what: String, later: Option<Duration> },
    /// No answer, or one that broke off or fell silent; since when, where that was not now.
    Broken { what: String, since: Option<Timestamp>, silent: bool },
    /// Nobody listens any more.
    Over,
}

fn broken(what: impl Into<String>) -> Trouble {
    Trouble::Broken { what: what.into(), since: None, silent: false }
}

/// An event of a watch.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    resource_version: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// The bookmark that ends what there is.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What the API server says of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

/// What stands around the items of a page.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    metadata: PageMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// Objects of a page.
const PAGE: u32 = 500;

/// An error's own words are cut here.
const MOST_WORDS: usize = 16 << 10;

/// What a document of what is served is cut at: the list of all groups takes 200 bytes for each.
const MOST_DOCUMENT: usize = 1 << 20;

/// Streams that broke off before their bookmark, after which pages are asked for.
const STREAM_TRIES: u32 = 2;

/// What a server says that does not know a version yet.
const TOO_NEW: &str = "Too large resource version";

/// Errors of a watch in a row after which all is listed again.
const WATCH_TRIES: u32 = 2;

/// Looks in a row by which a kind is not served, before that is believed.
const ABSENT_TRIES: u32 = 2;

/// Follows one kind.
pub(super) struct Follower {
    row: &'static Row,
    /// Selects what is asked for, by its fields.
    fields: Option<String>,
    client: Client,
    timing: Timing,
    tell: Sender<Told>,
    pulse: Arc<Pulse>,
    alike: Alike,
    backoff: Backoff,
    /// The last version that was seen; none while all is to be listed.
    version: Option<String>,
    /// The last version of all, also while all is to be listed: an older list is none.
    seen: Option<String>,
    /// The server's cache cannot list that: what is stored is to be read.
    stored: bool,
    /// The server cannot list by a stream; until when that is taken for so.
    paged: Option<Instant>,
    /// This server sends bookmarks.
    bookmarks: bool,
    /// Since when changes do not come, and whether that was told.
    lost: Option<(Timestamp, bool)>,
    /// It was in sync since it was last found not to be served.
    was_served: bool,
    /// Since when, and by how many looks, it is not served.
    absent: Option<(Instant, u32)>,
    /// Since when a watch goes on beyond what there is.
    going_on: Option<Instant>,
    broken_streams: u32,
    broken_watches: u32,
    expired: u32,
}

impl Follower {
    pub(super) fn new(
        row: &'static Row,
        client: Client,
        timing: Timing,
        tell: Sender<Told>,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self {
            row,
            fields: None,
            client,
            backoff: Backoff::new(timing.again),
            timing,
            tell,
            pulse,
            alike: Alike::default(),
            version: None,
            seen: None,
            stored: false,
            paged: None,
            bookmarks: false,
            lost: Some((Timestamp::now(), false)),
            was_served: false,
            absent: None,
            going_on: None,
            broken_streams: 0,
            broken_watches: 0,
            expired: 0,
        }
    }

    /// Not all objects of the kind, but those with these fields.
    pub(super) fn selecting(self, fields: Option<String>) -> Self {
        Self { fields, ..self }
    }

    /// Of the pods, this node's keep what leads to their containers.
    pub(super) fn on_node(self, node: Arc<str>) -> Self {
        Self { alike: Alike::new(node), ..self }
    }

    /// Until nobody listens any more.
    pub(super) async fn follow(mut self) {
        loop {
            if self.is_still_absent().await {
                tokio::time::sleep(self.pause()).await;
                continue;
            }
            let trouble = if self.version.is_some() || !self.is_paged() {
                self.watch().await
            } else if let Err(trouble) = self.list().await {
                trouble
            } else {
                continue;
            };
            let wait = match self.judge(trouble).await {
                Ok(wait) => wait,
                Err(_over) => return,
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One small request tells where the kind's whole group is still not there: with thousands of agents each one counts.
    async fn is_still_absent(&self) -> bool {
        let path = served::group_path(self.row);
        self.is_believed_absent()
            && matches!(self.document(&path).await, Ok((status, _)) if status == StatusCode::NOT_FOUND)
    }

    /// It was found not to be served, by as many looks as that takes.
    fn is_believed_absent(&self) -> bool {
        self.absent.is_some_and(|(_, looks)| looks >= ABSENT_TRIES) && !self.was_served && self.lost.is_none()
    }

    fn pause(&self) -> Duration {
        between(self.timing.look / 2, self.timing.look)
    }

    fn is_paged(&self) -> bool {
        self.paged.is_some_and(|until| Instant::now() < until)
    }

    /// What to do about it, and how long to wait before.
    async fn judge(&mut self, trouble: Trouble) -> Result<Duration, Trouble> {
        let lived = self.going_on.take().map_or(Duration::ZERO, |since| since.elapsed());
        if lived >= self.timing.again.1 {
            self.is_well();
        }
        if let Some(cause) = self.cause_of(&trouble) {
            self.pulse.begin_anew(cause);
        }
        match trouble {
            Trouble::Over => return Err(Trouble::Over),
            Trouble::Ended => {
                // Until the next one has begun, nothing comes.
                self.lost.get_or_insert((Timestamp::now(), false));
                if lived >= self.timing.again.0 {
                    return Ok(between(Duration::ZERO, self.timing.again.0));
                }
            }
            Trouble::Garbled(what) => {
                self.broken_watches += 1;
                if self.broken_watches >= WATCH_TRIES {
                    self.version = None;
                }
                self.lose(&what, None, true).await?;
            }
            Trouble::NoStream(why) => {
                tracing::debug!(kind = %self.row.kind, why, "no list by a stream: pages are asked for");
                self.paged = Some(Instant::now() + self.timing.pages);
                return Ok(between(Duration::ZERO, self.timing.again.0));
            }
            Trouble::Expired => {
                self.version = None;
                self.expired += 1;
                self.lose("the API server has forgotten where the watch was", None, true).await?;
                if self.expired == 1 {
                    return Ok(between(Duration::ZERO, self.timing.again.0));
                }
            }
            Trouble::NotFound if self.row.optional => {
                self.version = None;
                return self.miss().await;
            }
            Trouble::NotFound => {
                self.version = None;
                self.lose("404: the API server does not serve it", None, true).await?;
            }
            Trouble::Refused { what, later, .. } => {
                self.lose(&what, None, true).await?;
                return Ok(later.unwrap_or_default() + self.backoff.wait());
            }
            Trouble::Broken { what, since, silent } => {
                // One broken watch alone is no outage: servers are restarted one by one.
                let told = self.version.is_none() || self.lost.is_some() || silent;
                self.lose(&what, since, told).await?;
            }
        }
        Ok(self.backoff.wait())
    }

    /// A look for a kind that need not be there begins nothing anew.
    fn cause_of(&self, trouble: &Trouble) -> Option<Cause> {
        match trouble {
            Trouble::Ended => Some(Cause::Ended),
            Trouble::Expired => Some(Cause::Expired),
            Trouble::NoStream(_) => Some(Cause::NoStream),
            Trouble::NotFound => (!self.row.optional).then_some(Cause::Refused),
            Trouble::Garbled(_) => Some(Cause::Garbled),
            Trouble::Refused { .. } => Some(Cause::Refused),
            Trouble::Broken { silent: true, .. } => Some(Cause::Silent),
            Trouble::Broken { .. } => Some(Cause::Broken),
            Trouble::Over => None,
        }
    }

    /// It was answered that there is no such kind.
    async fn miss(&mut self) -> Result<Duration, Trouble> {
        let look = self.pause();
        let (why, tell) = match self.find_served().await {
            Ok(Served::Elsewhere(versions)) if self.row.kind.is_policy() => {
                (self.absent, self.lost, self.was_served) = (None, None, false);
                self.say(Told::State(self.row.kind, self.elsewhere(&versions))).await?;
                return Ok(look);
            }
            Ok(Served::Nowhere | Served::NoGroup | Served::Elsewhere(_)) => {
                let (since, looks) = self.absent.get_or_insert((Instant::now(), 0));
                *looks += 1;
                // A server of an older version answers so for as long as an upgrade takes.
                let is_long = !self.was_served || since.elapsed() >= self.timing.unserved;
                if *looks >= ABSENT_TRIES && is_long {
                    (self.lost, self.was_served) = (None, false);
                    self.backoff.reset();
                    self.say(Told::State(self.row.kind, State::Unserved)).await?;
                    return Ok(look);
                }
                ("404, and the API server does not list it as served".to_owned(), self.was_served)
            }
            Ok(Served::Here) => {
                self.absent = None;
                ("404, though the API server lists it as served".to_owned(), true)
            }
            Err(what) => (format!("404, and what is served cannot be read: {what}"), true),
        };
        self.lose(&why, None, tell).await?;
        Ok(self.backoff.wait())
    }

    fn elsewhere(&self, versions: &[String]) -> State {
        let group = self.row.api_version.split('/').next().unwrap_or_default();
        State::Elsewhere(format!("{group} {}", versions.join(", ")))
    }

    /// What the server's own documents say of the kind.
    async fn find_served(&self) -> Result<Served, String> {
        let row = self.row;
        let path = served::group_path(row);
        let (status, text) = self.document(&path).await?;
        if status == StatusCode::NOT_FOUND {
            // Once it was believed, all groups are not read for it again and again.
            if self.is_believed_absent() {
                return Ok(Served::NoGroup);
            }
            let (status, text) = self.document(served::GROUPS).await?;
            return match served::lists_group(&text, row).filter(|_| status.is_success()) {
                Some(false) => Ok(Served::Nowhere),
                Some(true) => Err(format!("{path}: 404, though it is listed")),
                None => Err(format!("{}: {status}", served::GROUPS)),
            };
        }
        let versions = served::versions(&text).filter(|_| status.is_success());
        let versions = versions.ok_or_else(|| format!("{path}: {status}"))?;
        let mut found = Vec::new();
        for version in versions {
            let path = served::version_path(row, &version);
            let (status, text) = self.document(&path).await?;
            match served::lists_kind(&text, row).filter(|_| status.is_success()) {
                Some(true) => found.push(version),
                Some(false) => {}
                None => return Err(format!("{path}: {status}")),
            }
        }
        Ok(served::judge(row, found))
    }

    async fn document(&self, path: &str) -> Result<(StatusCode, Vec<u8>), String> {
        let response = self.send(path, "application/json").await.map_err(|trouble| match trouble {
            Trouble::Broken { what, .. } => format!("{path}: {what}"),
            _ => path.to_owned(),
        })?;
        let status = response.status();
        Ok((status, words(response.into_body(), self.timing.answer, MOST_DOCUMENT).await))
    }

    async fn lose(&mut self, why: &str, since: Option<Timestamp>, tell: bool) -> Result<(), Trouble> {
        let (since, told) = self.lost.unwrap_or((since.unwrap_or_else(Timestamp::now), false));
        self.lost = Some((since, told || tell));
        if tell {
            let state = State::Lost { since, why: why.to_owned() };
            self.say(Told::State(self.row.kind, state)).await?;
        }
        Ok(())
    }

    /// Changes come again.
    async fn find(&mut self) -> Result<(), Trouble> {
        let is_news = self.lost.take().is_some() || !self.was_served;
        (self.was_served, self.absent) = (true, None);
        if is_news {
            self.say(Told::State(self.row.kind, State::InSync)).await?;
        }
        Ok(())
    }

    async fn say(&self, told: Told) -> Result<(), Trouble> {
        if let Told::State(_, state) = &told {
            self.pulse.set(state);
        }
        self.tell.send(told).await.map_err(|_| Trouble::Over)
    }

    /// All objects, page by page.
    async fn list(&mut self) -> Result<(), Trouble> {
        let (mut found, mut next) = (Vec::new(), String::new());
        let limit = PAGE.to_string();
        // As kube's own clients ask: a limit beside a version would be a read of what is stored, by each agent.
        let first = match &self.seen {
            _ if self.stored => form(&[("limit", &limit)]),
            None => form(&[("limit", &limit), ("resourceVersion", "0")]),
            Some(seen) => form(&[("resourceVersion", seen), ("resourceVersionMatch", "NotOlderThan")]),
        };
        loop {
            let query = match next.is_empty() {
                true => first.clone(),
                false => form(&[("limit", &limit), ("continue", &next)]),
            };
            let page = match self.page(&query, &mut found).await {
                Err(trouble) => {
                    // Forgotten, or never known to this server, which was set back.
                    self.stored |= matches!(&trouble, Trouble::Expired)
                        || matches!(&trouble, Trouble::Refused { what, .. } if what.contains(TOO_NEW));
                    return Err(trouble);
                }
                Ok(page) => page,
            };
            if page.metadata.next.is_empty() {
                if page.metadata.resource_version.is_empty() {
                    return Err(broken("the list has no version to watch from"));
                }
                self.stored = false;
                self.advance(page.metadata.resource_version);
                self.say(Told::Replaced(self.row.kind, found)).await?;
                return self.find().await;
            }
            next = page.metadata.next;
        }
    }

    async fn page(&mut self, query: &str, found: &mut Vec<Read>) -> Result<Page, Trouble> {
        let kind = self.row.kind;
        let mut body = self.ask(query, "PartialObjectMetadataList").await?.into_body();
        let (mut items, mut nameless, alike) = (Items::default(), false, &mut self.alike);
        let mut item = |bytes: &[u8]| match std::str::from_utf8(bytes).ok().and_then(|text| read(kind, text))
        {
            Some((read, _)) => found.push(alike.share(read)),
            None => nameless = true,
        };
        while let Some(bytes) = next_bytes(&mut body, self.timing.list).await? {
            self.pulse.hear(Timestamp::now());
            if !items.feed(&bytes, &mut item) {
                return Err(broken("the answer is no list"));
            }
        }
        if nameless {
            return Err(broken("an object of the list has no name"));
        }
        let around = items.finish().ok_or_else(|| broken("the list broke off"))?;
        serde_json::from_slice(&around).map_err(|error| broken(format!("the list cannot be read: {error}")))
    }

    /// One watch, from where the last one ended or from what there is.
    async fn watch(&mut self) -> Trouble {
        let first = self.version.is_none();
        let length = between(self.timing.watch.0, self.timing.watch.1);
        let body = match self.ask_watch(length).await {
            Ok(response) => response.into_body(),
            Err(trouble) => return trouble,
        };
        let trouble = match self.watch_on(body, length).await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        };
        if first && self.version.is_none() {
            return self.without_first(trouble);
        }
        trouble
    }

    /// A stream that did not come to its bookmark.
    fn without_first(&mut self, trouble: Trouble) -> Trouble {
        let what = match trouble {
            Trouble::Ended => "the stream of what there is ended before it was complete".to_owned(),
            Trouble::Broken { what, .. } | Trouble::Garbled(what) => what,
            trouble => return trouble,
        };
        self.broken_streams += 1;
        match self.broken_streams >= STREAM_TRIES {
            true => Trouble::NoStream(what),
            false => broken(what),
        }
    }

    async fn ask_watch(&self, length: Duration) -> Result<Response<Body>, Trouble> {
        let seconds = length.as_secs().max(1).to_string();
        let mut query =
            form(&[("watch", "1"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", &seconds)]);
        query.push_str(&match &self.version {
            Some(version) => form(&[("resourceVersion", version)]),
            None => form(&[("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]),
        });
        self.ask(&query, "PartialObjectMetadata").await
    }

    async fn watch_on(&mut self, body: Body, length: Duration) -> Result<std::convert::Infallible, Trouble> {
        let mut lines = Lines::new(body, Arc::clone(&self.pulse));
        // What there is, until it is complete.
        let mut found = self.version.is_none().then(Vec::new);
        loop {
            if found.is_none() {
                self.going_on.get_or_insert_with(Instant::now);
            }
            let patience = match (&found, self.bookmarks) {
                (Some(_), _) => self.timing.list,
                (None, true) => self.timing.bookmark,
                (None, false) => length + self.timing.overdue,
            };
            let line = match found.is_none() && self.lost.is_some() {
                false => lines.next(patience).await?,
                // An answer is not yet an event: a server that has forgotten the version says so by the first.
                true => match timeout(self.timing.quiet, lines.next(patience)).await {
                    Ok(line) => line?,
                    Err(_quiet) => {
                        self.find().await?;
                        continue;
                    }
                },
            };
            let Some(line) = line else { return Err(Trouble::Ended) };
            let event: Event<'_> = serde_json::from_slice(line)
                .map_err(|error| Trouble::Garbled(format!("an event cannot be read: {error}")))?;
            self.take(&event, &mut found).await?;
            if found.is_none() {
                self.find().await?;
            }
        }
    }

    async fn take(&mut self, event: &Event<'_>, found: &mut Option<Vec<Read>>) -> Result<(), Trouble> {
        let kind = self.row.kind;
        let text = event.object.get();
        match event.kind {
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_str(text)
                    .map_err(|error| Trouble::Garbled(format!("a bookmark cannot be read: {error}")))?;
                if found.is_some() && !bookmark.metadata.annotations.contains_key(INITIAL_END) {
                    return Ok(());
                }
                self.advance(bookmark.metadata.resource_version);
                if let Some(found) = found.take() {
                    self.broken_streams = 0;
                    self.say(Told::Replaced(kind, found)).await?;
                } else {
                    self.bookmarks = true;
                    self.is_well();
                }
            }
            "ADDED" | "MODIFIED" | "DELETED" => {
                let nameless = || Trouble::Garbled("an object without a name or version".to_owned());
                let (told, version) = match event.kind {
                    "DELETED" => identify(text).map(|(id, version)| (Told::Gone(kind, id), version)),
                    _ => read(kind, text)
                        .map(|(read, version)| (Told::Put(kind, Box::new(self.alike.share(read))), version)),
                }
                .ok_or_else(nameless)?;
                match (&mut *found, told) {
                    (Some(found), Told::Gone(_, id)) => found.retain(|other: &Read| other.id != id),
                    (Some(found), Told::Put(_, read)) => found.push(*read),
                    (_, told) => {
                        let version = version.ok_or_else(nameless)?;
                        self.say(told).await?;
                        self.advance(version);
                        self.is_well();
                    }
                }
            }
            "ERROR" => {
                let status: Status = serde_json::from_str(text).unwrap_or_default();
                let cannot = [400, 422].contains(&status.code) || status.message.contains("not supported");
                return Err(match (status.code, found.is_some() && cannot) {
                    (410, _) => Trouble::Expired,
                    (_, true) => Trouble::NoStream(status.message),
                    (_, false) => Trouble::Garbled(status.message),
                });
            }
            // A kind of event that came after this was written: its object comes by another, too.
            _ => {}
        }
        Ok(())
    }

    fn advance(&mut self, version: String) {
        self.seen = Some(version.clone());
        self.version = Some(version);
    }

    /// A watch lives. A list alone is no sign of that: where it comes, and each watch fails, tries are to be rare.
    fn is_well(&mut self) {
        self.backoff.reset();
        (self.broken_watches, self.expired) = (0, 0);
    }

    /// Asks, and takes an answer that is no error.
    async fn ask(&self, query: &str, metadata: &str) -> Result<Response<Body>, Trouble> {
        let accept = match self.row.metadata_only {
            true => format!("application/json;as={metadata};g=meta.k8s.io;v=v1"),
            false => "application/json".to_owned(),
        };
        let fields =
            self.fields.as_ref().map_or_else(String::new, |fields| form(&[("fieldSelector", fields)]));
        let path = format!("{}?{}{fields}", self.row.path, query.trim_start_matches('&'));
        let response = self.send(&path, &accept).await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => {
                // Read, so that the connection can be used again.
                words(response.into_body(), self.timing.answer, MOST_WORDS).await;
                Err(Trouble::NotFound)
            }
            StatusCode::GONE => Err(Trouble::Expired),
            status => Err(self.refusal(status, response).await),
        }
    }

    async fn send(&self, path: &str, accept: &str) -> Result<Response<Body>, Trouble> {
        self.send_as(Request::get(path).header(ACCEPT, accept), Body::empty()).await
    }

    async fn send_as(&self, request: Builder, body: Body) -> Result<Response<Body>, Trouble> {
        let request = request
            .header(USER_AGENT, concat!("flowlog/", env!("CARGO_PKG_VERSION")))
            .body(body)
            .map_err(|error| broken(error.to_string()))?;
        let answer = timeout(self.timing.answer, self.client.send(request)).await;
        match answer {
            Err(_) => Err(broken("no answer")),
            Ok(Err(error)) => Err(broken(chain(&error))),
            Ok(Ok(response)) => Ok(response),
        }
    }

    async fn refusal(&self, status: StatusCode, response: Response<Body>) -> Trouble {
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let words = words(response.into_body(), self.timing.answer, MOST_WORDS).await;
        let message = serde_json::from_slice::<Status>(&words).unwrap_or_default().message;
        let what = if message.is_empty() { status.to_string() } else { format!("{status}: {message}") };
        let cannot = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        match (cannot, &self.version, self.is_paged()) {
            (true, None, false) => return Trouble::NoStream(what),
            (true, Some(_), _) => return Trouble::Garbled(what),
            _ => {}
        }
        let later = seconds.map(|seconds: u64| Duration::from_secs(seconds.min(60)));
        Trouble::Refused { status, what, later }
    }
}

/// What an answer says, up to so much of it.
async fn words(mut body: Body, patience: Duration, most: usize) -> Vec<u8> {
    let mut words = Vec::new();
    while let Ok(Some(bytes)) = next_bytes(&mut body, patience).await {
        words.extend_from_slice(&bytes);
        if words.len() > most {
            break;
        }
    }
    words
}

/// As a query's parts, each with an `&` before it.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (key, value) in pairs {
        query.push('&');
        query.push_str(key);
        query.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    query.push(char::from(byte));
                }
                other => query.push_str(&format!("%{other:02X}")),
            }
        }
    }
    query
}

/// The lines of a watch.
struct Lines {
    body: Body,
    buffer: Vec<u8>,
    /// What lies before was handed out.
    start: usize,
    /// When the server last said something.
    seen: Timestamp,
    pulse: Arc<Pulse>,
}

impl Lines {
    fn new(body: Body, pulse: Arc<Pulse>) -> Self {
        Self { body, buffer: Vec::new(), start: 0, seen: Timestamp::now(), pulse }
    }

    /// The next whole line; none at the end. Half a line at the end is none: it comes again with the next watch.
    async fn next(&mut self, patience: Duration) -> Result<Option<&[u8]>, Trouble> {
        let mut scanned = self.start;
        loop {
            let rest = self.buffer.get(scanned..).unwrap_or_default();
            if let Some(length) = memchr::memchr(b'\n', rest) {
                let (from, to) = (self.start, scanned + length);
                self.start = to + 1;
                let line = self.buffer.get(from..to).unwrap_or_default();
                if line.iter().all(u8::is_ascii_whitespace) {
                    scanned = self.start;
                    continue;
                }
                return Ok(self.buffer.get(from..to));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            scanned = self.buffer.len();
            if scanned > MOST_BYTES {
                return Err(broken("an event has no end"));
            }
            // What one large event took is not kept for ever.
            if scanned == 0 && self.buffer.capacity() > 1 << 20 {
                self.buffer = Vec::new();
            }
            // A connection may have been dead for a while before that is noticed.
            let since = Some(self.seen);
            let bytes = next_bytes(&mut self.body, patience).await.map_err(|trouble| match trouble {
                Trouble::Broken { what, silent, .. } => Trouble::Broken { what, since, silent },
                other => other,
            })?;
            let Some(bytes) = bytes else { return Ok(None) };
            self.seen = Timestamp::now();
            self.pulse.hear(self.seen);
            self.buffer.extend_from_slice(&bytes);
        }
    }
}

/// The next bytes of an answer.
async fn next_bytes(body: &mut Body, patience: Duration) -> Result<Option<bytes::Bytes>, Trouble> {
    loop {
        let frame = match timeout(patience, body.frame()).await {
            Err(_) => {
                let what = format!("silent for {} s", patience.as_secs());
                return Err(Trouble::Broken { what, since: None, silent: true });
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(broken(format!("the answer broke off: {}", chain(&error)))),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
}

/// An error with what led to it, each once.
pub(super) fn chain(error: &kube::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let word = error.to_string();
        if !words.iter().any(|known| known.contains(&word)) {
            words.push(word);
        }
        source = error.source();
    }
    words.join(": ")
}
