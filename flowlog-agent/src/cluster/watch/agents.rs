//! The logs of the agents' own pods, by the API server: a stream of bytes for each, taken up again where it broke off.
//!
//! What the bytes say is left to whoever asked. Where a log is taken up again some of it comes once more: lines have numbers.

use super::follow::{chain, form};
use super::timing::Backoff;
use super::{Reach, Timing, WatchError};
use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};
use tokio::time::{sleep, timeout};

/// Pieces of a log that wait to be read: the rest stays in the socket, and then at the API server.
const WAITING: usize = 16;

/// Pods of a page.
const PAGE: u32 = 500;

/// Tries of a log that is not followed.
const TRIES: u32 = 3;

/// An error's own words are cut here.
const MOST_WORDS: usize = 16 << 10;

/// A list of names is cut off there: with what is managed, a pod takes some 4 kB.
const MOST_LIST: usize = 64 << 20;

/// Which pods, and which part of their logs.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Namespace of the agents.
    pub namespace: String,
    /// Selects their pods by labels.
    pub selector: String,
    /// Container of the agent.
    pub container: String,
    /// Logs are followed, and pods that come and go.
    pub follow: bool,
    /// Nothing that was written before is needed.
    pub since: Option<Timestamp>,
    /// How often is looked for new pods.
    pub look: Duration,
}

/// What comes while logs are read.
#[derive(Debug)]
pub enum News {
    /// The log of a pod.
    Pod(PodLog),
    /// Something that keeps a log from being read for now, in words.
    Trouble(String),
    /// Why there will be nothing.
    Failed(String),
}

/// The log of a pod.
#[derive(Debug)]
pub struct PodLog {
    /// Its name.
    pub pod: String,
    /// What comes of it; closed where nothing more will.
    pub pieces: Receiver<Piece>,
    /// Whoever reads says here up to when he has read, in seconds: from there on it is taken up again.
    pub read: Arc<AtomicI64>,
}

/// A piece of a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, however they are cut.
    Bytes(Bytes),
    /// It was taken up again: a line that was begun is not gone on with.
    Anew,
}

/// Tells somebody who is not waiting here that something came.
#[derive(Clone, Debug)]
pub struct Bell(pub SyncSender<()>);

impl Bell {
    fn ring(&self) {
        // One ring is as good as many.
        if let Err(TrySendError::Full(()) | TrySendError::Disconnected(())) = self.0.try_send(()) {}
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
struct ItemMeta {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    message: String,
}

/// What a request came to.
enum Refused {
    /// The server says no, and will.
    Never(String),
    /// There is no such pod any more.
    Gone,
    /// It may be otherwise later.
    Later(String),
}

/// Who reads them all.
#[derive(Clone)]
struct Reader {
    client: Client,
    wanted: Arc<Wanted>,
    timing: Timing,
    news: UnboundedSender<News>,
    bell: Bell,
    reading: Arc<Mutex<BTreeSet<String>>>,
}

/// Reads them, to their ends or for ever, and tells what comes.
///
/// # Errors
/// No client can be made.
pub async fn read_agents(
    reach: &Reach,
    wanted: Wanted,
    timing: Timing,
    news: UnboundedSender<News>,
    bell: Bell,
) -> Result<(), WatchError> {
    let client = reach.client()?;
    let reader = Reader { client, wanted: Arc::new(wanted), timing, news, bell, reading: Arc::default() };
    reader.read_all().await;
    reader.bell.ring();
    Ok(())
}

impl Reader {
    async fn read_all(&self) {
        let mut tasks = tokio::task::JoinSet::new();
        let (mut backoff, mut tried, mut known) = (Backoff::new(self.timing.again), 0, None);
        loop {
            let pause = match self.list().await {
                Ok(pods) => {
                    (backoff, tried) = (Backoff::new(self.timing.again), 0);
                    if pods.is_empty() && known.is_none() && !self.wanted.follow {
                        return self.fail(self.nobody());
                    }
                    if pods.is_empty() && known != Some(0) {
                        self.trouble(self.nobody());
                    }
                    known = Some(pods.len());
                    for pod in pods {
                        if self.lock().insert(pod.clone()) {
                            self.begin(pod, &mut tasks);
                        }
                    }
                    self.wanted.look
                }
                Err(Refused::Never(what)) if known.is_none() => return self.fail(what),
                Err(Refused::Later(what)) if known.is_none() && (!self.wanted.follow || tried == 0) => {
                    tried += 1;
                    if tried >= TRIES {
                        return self.fail(what);
                    }
                    if self.wanted.follow {
                        self.trouble(what);
                    }
                    backoff.wait()
                }
                // Those that are read go on.
                Err(_) => backoff.wait(),
            };
            if !self.wanted.follow && known.is_some() {
                while tasks.join_next().await.is_some() {}
                return;
            }
            sleep(pause).await;
            while tasks.try_join_next().is_some() {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nobody(&self) -> String {
        let Wanted { namespace, selector, .. } = &*self.wanted;
        format!(
            "there are no pods in namespace {namespace} with labels {selector}: is flowlog deployed there? \
             --agent-namespace and --agent-selector say where its pods are"
        )
    }

    fn trouble(&self, what: String) {
        self.tell(News::Trouble(what));
    }

    fn fail(&self, what: String) {
        self.tell(News::Failed(what));
    }

    fn tell(&self, news: News) {
        // Nobody listens where all is over.
        let _ = self.news.send(news);
        self.bell.ring();
    }

    fn begin(&self, pod: String, tasks: &mut tokio::task::JoinSet<()>) {
        let (send, pieces) = mpsc::channel(WAITING);
        let read = Arc::new(AtomicI64::new(i64::MIN));
        self.tell(News::Pod(PodLog { pod: pod.clone(), pieces, read: Arc::clone(&read) }));
        let reader = self.clone();
        tasks.spawn(async move {
            reader.read_pod(&pod, &send, &read).await;
            drop(send);
            reader.lock().remove(&pod);
            reader.bell.ring();
        });
    }

    /// The names of the agents' pods.
    async fn list(&self) -> Result<Vec<String>, Refused> {
        let Wanted { namespace, selector, .. } = &*self.wanted;
        let (mut names, mut next) = (Vec::new(), String::new());
        loop {
            let limit = PAGE.to_string();
            let mut query = form(&[("labelSelector", selector), ("limit", &limit)]);
            if !next.is_empty() {
                query.push_str(&form(&[("continue", &next)]));
            }
            let path = format!("/api/v1/namespaces/{namespace}/pods?{}", query.trim_start_matches('&'));
            let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
            let answer = timeout(self.timing.answer, self.ask(&path, accept)).await;
            let body = answer.map_err(|_| Refused::Later("no answer".to_owned()))??;
            let text = whole(body, self.timing.list, MOST_LIST).await.map_err(Refused::Later)?;
            let list: List = serde_json::from_slice(&text)
                .map_err(|error| Refused::Later(format!("the list of pods cannot be read: {error}")))?;
            names.extend(list.items.into_iter().map(|item| item.metadata.name));
            next = list.metadata.next;
            if next.is_empty() {
                return Ok(names);
            }
        }
    }

    /// One log, to its end, or until its pod is gone.
    async fn read_pod(&self, pod: &str, send: &Sender<Piece>, read: &AtomicI64) {
        let (mut backoff, mut tried, mut told) = (Backoff::new(self.timing.again), 0, String::new());
        loop {
            let why = match self.stream(pod, read).await {
                Ok(body) => {
                    if send.send(Piece::Anew).await.is_err() {
                        return;
                    }
                    match self.hand_over(body, send).await {
                        Ok(got) if self.wanted.follow => {
                            if got {
                                (backoff, tried) = (Backoff::new(self.timing.again), 0);
                                told.clear();
                            }
                            None
                        }
                        Ok(_) => return,
                        Err(why) => Some(why),
                    }
                }
                Err(Refused::Gone) => return,
                Err(Refused::Never(why)) => return self.trouble(format!("the log of {pod}: {why}")),
                Err(Refused::Later(why)) => Some(why),
            };
            if send.is_closed() {
                return;
            }
            tried += 1;
            let last = !self.wanted.follow && tried >= TRIES;
            if let Some(why) = why.filter(|why| (self.wanted.follow || last) && *why != told) {
                let then = if last { "" } else { "; it is tried again" };
                self.trouble(format!("the log of {pod}: {why}{then}"));
                told = why;
            }
            if last {
                return;
            }
            sleep(backoff.wait()).await;
        }
    }

    async fn stream(&self, pod: &str, read: &AtomicI64) -> Result<Body, Refused> {
        let Wanted { namespace, container, follow, since, .. } = &*self.wanted;
        let mut query = form(&[("container", container)]);
        if *follow {
            query.push_str(&form(&[("follow", "true")]));
        }
        // A line is written after it happened: nothing of what was not read is older.
        let read = Timestamp::from_second(read.load(Ordering::Relaxed).saturating_sub(1)).ok();
        if let Some(from) = read.max(*since) {
            query.push_str(&form(&[("sinceTime", &from.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())]));
        }
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?{}", query.trim_start_matches('&'));
        // The answer of a log that is silent may begin with its first line: a dead connection is noticed without it.
        let answer = self.ask(&path, "*/*");
        if *follow {
            return answer.await;
        }
        timeout(self.timing.answer, answer)
            .await
            .unwrap_or_else(|_| Err(Refused::Later("no answer".to_owned())))
    }

    /// Whether anything came.
    async fn hand_over(&self, mut body: Body, send: &Sender<Piece>) -> Result<bool, String> {
        let mut got = false;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("it broke off: {}", chain(&error)))?;
            let Ok(bytes) = frame.into_data() else { continue };
            got = true;
            if send.send(Piece::Bytes(bytes)).await.is_err() {
                return Ok(got);
            }
            self.bell.ring();
        }
        Ok(got)
    }

    async fn ask(&self, path: &str, accept: &str) -> Result<Body, Refused> {
        let request = Request::get(path)
            .header(ACCEPT, accept)
            .header(USER_AGENT, concat!("flowlog/", env!("CARGO_PKG_VERSION")))
            .body(Body::empty())
            .map_err(|error| Refused::Never(error.to_string()))?;
        let response = self.client.send(request).await.map_err(|error| Refused::Later(chain(&error)))?;
        match response.status() {
            status if status.is_success() => Ok(response.into_body()),
            status => Err(self.refusal(status, response).await),
        }
    }

    async fn refusal(&self, status: StatusCode, response: Response<Body>) -> Refused {
        let text = whole(response.into_body(), self.timing.answer, MOST_WORDS).await.unwrap_or_default();
        let message = serde_json::from_slice::<Said>(&text).unwrap_or_default().message;
        let what = if message.is_empty() { status.to_string() } else { format!("{status}: {message}") };
        let namespace = &self.wanted.namespace;
        match status {
            StatusCode::NOT_FOUND => Refused::Gone,
            StatusCode::FORBIDDEN => Refused::Never(format!(
                "{what}; whoever observes needs the right to `list` `pods` and to `get` `pods/log` in namespace {namespace}"
            )),
            StatusCode::UNAUTHORIZED => Refused::Never(format!(
                "{what}; the credentials of the kubeconfig are not accepted (any more)"
            )),
            _ => Refused::Later(what),
        }
    }
}

/// All of an answer.
async fn whole(mut body: Body, patience: Duration, most: usize) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    loop {
        let frame = timeout(patience, body.frame()).await.map_err(|_| "the answer fell silent".to_owned())?;
        let Some(frame) = frame else { return Ok(text) };
        let frame = frame.map_err(|error| format!("the answer broke off: {}", chain(&error)))?;
        if let Ok(bytes) = frame.into_data() {
            text.extend_from_slice(&bytes);
        }
        if text.len() > most {
            return Err(format!("the answer is longer than {most} bytes"));
        }
    }
}
