//! The protocol: who asks for what, and what goes over the wire.

use super::history::{History, How, Request, Shared, row_of, status, under};
use super::logs;
use super::{Authority, CUSTOM, Drop, Fault, KINDS, KindRow};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

/// Pieces of an answer; an error breaks the connection.
pub(super) struct Pieces {
    pieces: mpsc::Receiver<Result<Bytes, io::Error>>,
    /// An error that came, kept for a turn: it would take with it what lies in the connection's buffer, which is written
    /// when there is nothing to be had.
    error: Option<io::Error>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match self.pieces.poll_recv(context) {
            Poll::Ready(Some(Err(error))) => {
                self.error = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => other.map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }
}

/// Until it is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<(TlsAcceptor, Arc<Authority>)>,
    shared: Arc<Shared>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        connections.spawn(async move {
            let Some((acceptor, authority)) = tls else { return talk(stream, &shared, None).await };
            // Who does not trust the certificate goes away.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let user = certificate.and_then(|certificate| authority.find_user(certificate));
            talk(stream, &shared, user).await;
        });
    }
}

/// Answers what comes over a connection, from this user where its certificate tells.
async fn talk<S>(stream: S, shared: &Arc<Shared>, user: Option<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = |request| {
        let (shared, user) = (Arc::clone(shared), user.clone());
        async move { Ok::<_, Infallible>(answer(&shared, user, &request).await) }
    };
    // A connection that a test breaks is an error here, as it is meant.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
}

/// A request, understood.
struct Asked {
    row: &'static KindRow,
    /// Of this namespace alone.
    namespace: Option<String>,
    query: BTreeMap<String, String>,
    metadata_only: bool,
    watch: bool,
    initial: bool,
    fault: Option<Fault>,
}

async fn answer(
    shared: &Arc<Shared>,
    user: Option<String>,
    request: &hyper::Request<Incoming>,
) -> Response<Pieces> {
    let query = query_of(request.uri().query().unwrap_or_default());
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accept = header(ACCEPT).to_owned();
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    if let Some(pod) = logs::asked(&parts) {
        let user = user.unwrap_or_else(|| shared.look(|history| history.user.clone()));
        return logs::answer(shared, pod, query, &user).await;
    }
    let namespace = match parts[..] {
        ["api", "v1", "namespaces", namespace, _] => Some(namespace),
        _ => None,
    };
    let (group, plural) = match parts[..] {
        ["api", "v1", plural] | ["api", "v1", "namespaces", _, plural] => ("", plural),
        ["apis", group, _, plural] => (group, plural),
        _ => ("", ""),
    };
    let watch = ["1", "true"].contains(&query.get("watch").map_or("", String::as_str));
    let initial = query.get("sendInitialEvents").is_some_and(|value| value == "true");
    let authorization = header(AUTHORIZATION);
    let posts = request.method() == hyper::Method::POST;
    let impersonates: Vec<String> = ["impersonate-user", "impersonate-group"]
        .iter()
        .flat_map(|name| request.headers().get_all(*name))
        .filter_map(|value| Some(value.to_str().ok()?.to_owned()))
        .collect();
    let from = query.get("resourceVersion").and_then(|version| version.parse::<u64>().ok());
    let (refused, fault) = shared.look(|history| {
        let unauthorized = user.is_none()
            && history.token.as_ref().is_some_and(|token| authorization != format!("Bearer {token}"));
        let known = row_of(plural).filter(|row| served_at(row, &parts) && history.serves(row.0));
        let how = How { watch, initial, going_on: query.contains_key("continue") };
        let fault = history.take_fault(plural, how);
        let user = impersonates.first().or(user.as_ref()).unwrap_or(&history.user).clone();
        let forbidden = history.forbids(&user, if watch { "watch" } else { "list" }, group, plural);
        let refused = if unauthorized {
            Some(status(401, "Unauthorized", "Unauthorized"))
        } else if let Some(Fault::Plain(code)) = &fault {
            Some(plain(*code))
        } else if posts {
            Some(review(&parts, &user).unwrap_or_else(|| plain(404)))
        } else if forbidden.is_some() {
            forbidden
        } else if let Some(document) = known.is_none().then(|| document(history, &parts)) {
            // What is not there is not there in plain text.
            Some(document.unwrap_or_else(|| plain(404)))
        } else if let Some(Fault::Status(code, message)) = &fault {
            Some(status(*code, message, message))
        } else if let Some(Fault::Busy(_)) = &fault {
            Some(status(429, "TooManyRequests", "too many requests, please try again later"))
        } else if !watch && from.is_some_and(|from| from > history.version) {
            let message = format!("Too large resource version: {from:?}, current: {}", history.version);
            Some(status(504, "Timeout", &message))
        } else if initial && !history.streams {
            let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is \
                           forbidden for watch unless the WatchList feature gate is enabled";
            Some(status(422, "Invalid", message))
        } else {
            None
        };
        history.requests.push(Request {
            verb: match (known.is_some(), watch) {
                _ if posts => "create",
                (false, _) if plural.is_empty() => "get",
                (_, true) => "watch",
                (_, false) => "list",
            },
            group: group.to_owned(),
            plural: plural.to_owned(),
            query: query.clone(),
            accept: accept.clone(),
            impersonates: impersonates.clone(),
            status: refused.as_ref().map_or(200, code_of),
        });
        (refused, fault)
    });
    if let Some(refused) = refused {
        let mut response = whole(code_of(&refused), &refused);
        if let Some(Fault::Busy(seconds)) = fault {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        return response;
    }
    let Some(row) = row_of(plural) else { return whole(404, &Value::Null) };
    let asked = Asked {
        row,
        namespace: namespace.map(str::to_owned),
        query,
        metadata_only: accept.contains("as=PartialObjectMetadata"),
        watch,
        initial,
        fault,
    };
    if asked.fault == Some(Fault::NoAnswer) {
        std::future::pending::<()>().await;
    }
    match asked.watch {
        true => watch_from(shared, asked),
        false => list(shared, &asked),
    }
}

fn served_at(row: &KindRow, parts: &[&str]) -> bool {
    // What is in a namespace can be asked for there alone.
    let parts = match parts {
        ["api", "v1", "namespaces", _, plural] if row.3 => &["api", "v1", plural][..],
        other => other,
    };
    let expected = match row.2.split_once('/') {
        None => vec!["api", row.2, row.0],
        Some((group, version)) => vec!["apis", group, version, row.0],
    };
    expected == parts
}

/// What else than an API server answers, and an API server where there is nothing.
fn plain(code: u16) -> Value {
    format!("{code} page not found\n").into()
}

/// Who the user is, to himself.
fn review(parts: &[&str], user: &str) -> Option<Value> {
    (parts == ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"]).then(|| {
        json!({
            "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"userInfo": {"username": user, "groups": ["system:authenticated"]}},
        })
    })
}

/// What is said to be served: all groups, a group's versions, a version's kinds.
fn document(history: &History, parts: &[&str]) -> Option<Value> {
    let served = || {
        let own = KINDS
            .iter()
            .filter(|row| history.serves(row.0))
            .filter_map(|row| Some((row.0, row.2.split_once('/')?)));
        let too = history.versions.iter().filter_map(|(plural, version)| {
            Some((*plural, (row_of(plural)?.2.split_once('/')?.0, *version)))
        });
        own.chain(too)
    };
    let versions = |group: &str| -> BTreeSet<&str> {
        served().filter(|(_, of)| of.0 == group).map(|(_, of)| of.1).collect()
    };
    let about = |group: &str| {
        let versions: Vec<Value> = versions(group)
            .into_iter()
            .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
            .collect();
        json!({"name": group, "preferredVersion": versions[0], "versions": versions})
    };
    match parts {
        ["version"] => {
            Some(json!({"major": "1", "minor": "34", "gitVersion": "v1.34.1", "platform": "linux/amd64"}))
        }
        ["apis"] => {
            let groups: BTreeSet<&str> = served().map(|(_, of)| of.0).collect();
            let groups: Vec<Value> = groups.into_iter().map(about).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", group] if !versions(group).is_empty() => {
            let mut document = about(group);
            document["kind"] = "APIGroup".into();
            Some(document)
        }
        ["apis", group, version] if versions(group).contains(version) => {
            let kinds = served().filter(|(_, of)| of == &(*group, *version));
            let resource = |plural: &str| {
                let (kind, namespaced) = row_of(plural).map_or(("", false), |row| (row.1, row.3));
                json!({
                    "name": plural, "singularName": kind.to_lowercase(), "kind": kind, "namespaced": namespaced,
                    "verbs": ["get", "list", "watch"],
                })
            };
            let resources: Vec<Value> = kinds.map(|(plural, _)| resource(plural)).collect();
            let of = format!("{group}/{version}");
            Some(json!({"kind": "APIResourceList", "groupVersion": of, "resources": resources}))
        }
        _ => None,
    }
}

/// A status' code; that of plain text stands at its beginning, and a document is well.
fn code_of(status: &Value) -> u16 {
    match status.as_str() {
        Some(text) => text.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(500),
        None if status["kind"] == "SelfSubjectReview" => 201,
        None => status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(200),
    }
}

fn query_of(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.bytes());
        while let Some(byte) = rest.next() {
            let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0);
            bytes.push(match byte {
                b'%' => u8::try_from(digit() * 16 + digit()).unwrap_or(b'?'),
                b'+' => b' ',
                other => other,
            });
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

pub(super) fn response(code: u16, pieces: mpsc::Receiver<Result<Bytes, io::Error>>) -> Response<Pieces> {
    let mut response = Response::new(Pieces { pieces, error: None });
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

pub(super) fn whole(code: u16, value: &Value) -> Response<Pieces> {
    let (send, receive) = mpsc::channel(1);
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let _ = send.try_send(Ok(Bytes::from(text)));
    response(code, receive)
}

/// Writes one answer, as slowly as it is to be.
struct Writer {
    shared: Arc<Shared>,
    plural: &'static str,
    send: mpsc::Sender<Result<Bytes, io::Error>>,
    slow: Option<(usize, Duration)>,
}

impl Writer {
    /// False where nobody reads any more.
    async fn write(&self, text: &str) -> bool {
        self.shared.look(|history| {
            *history.bytes.entry(self.plural.to_owned()).or_default() +=
                u64::try_from(text.len()).unwrap_or(0);
        });
        let Some((step, pause)) = self.slow else {
            return self.send.send(Ok(Bytes::copy_from_slice(text.as_bytes()))).await.is_ok();
        };
        for piece in text.as_bytes().chunks(step) {
            if self.send.send(Ok(Bytes::copy_from_slice(piece))).await.is_err() {
                return false;
            }
            tokio::time::sleep(pause).await;
        }
        true
    }

    /// Half of it, and the connection breaks.
    async fn cut(&self, text: &str) {
        let half = text.as_bytes().get(..text.len() / 2).unwrap_or_default();
        if self.send.send(Ok(Bytes::copy_from_slice(half))).await.is_ok() {
            let _ = self.send.send(Err(io::Error::other("cut"))).await;
        }
    }
}

fn writer(shared: &Arc<Shared>, asked: &Asked) -> (Writer, mpsc::Receiver<Result<Bytes, io::Error>>) {
    let (send, receive) = mpsc::channel(16);
    let slow = match asked.fault {
        Some(Fault::Slow(step, pause)) => Some((step, pause)),
        _ => None,
    };
    (Writer { shared: Arc::clone(shared), plural: asked.row.0, send, slow }, receive)
}

/// Whether an object is among those that are asked for: by the fields that this server knows.
fn is_selected(text: &str, asked: &Asked) -> bool {
    let labels = asked.query.get("labelSelector");
    if labels.is_none() && asked.namespace.is_none() && !asked.query.contains_key("fieldSelector") {
        return true;
    }
    let object: Value = serde_json::from_str(text).unwrap_or_default();
    let metadata = &object["metadata"];
    let has = |part: &str| part.split_once('=').is_some_and(|(key, value)| metadata["labels"][key] == value);
    if labels.is_some_and(|labels| !labels.split(',').all(has))
        || asked.namespace.as_ref().is_some_and(|namespace| metadata["namespace"] != **namespace)
    {
        return false;
    }
    let Some(selector) = asked.query.get("fieldSelector") else { return true };
    selector.split(',').all(|part| {
        let (path, wanted) = part.split_once('=').unwrap_or((part, ""));
        let value = path.split('.').fold(&object, |value, key| &value[key]);
        value.as_str().unwrap_or_default() == wanted
    })
}

/// An object as it stands in a list or an event.
fn shown(text: &str, asked: &Asked, in_list: bool) -> String {
    if !asked.metadata_only && !in_list {
        return text.to_owned();
    }
    let mut object: Value = serde_json::from_str(text).unwrap_or_default();
    if asked.metadata_only {
        return json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        })
        .to_string();
    }
    // The items of built-in kinds do not repeat what they are; those of others do.
    let built_in = !CUSTOM.contains(&asked.row.0);
    if let (Value::Object(fields), true) = (&mut object, built_in) {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object.to_string()
}

/// Where the next page begins, at the version of the first.
fn token_of(query: &BTreeMap<String, String>) -> Option<(u64, usize)> {
    let (version, from) = query.get("continue")?.split_once('.')?;
    Some((version.parse().ok()?, from.parse().ok()?))
}

fn list(shared: &Arc<Shared>, asked: &Asked) -> Response<Pieces> {
    let limit = asked.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let token = token_of(&asked.query);
    let (version, forgotten, texts) =
        shared.look(|history| (history.version, history.forgotten, history.texts(asked.row.0)));
    let texts: Vec<_> = texts.into_iter().filter(|(_, text)| is_selected(text, asked)).collect();
    let (version, from) = token.unwrap_or((version, 0));
    let wanted =
        asked.query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
    let texts: Vec<_> = texts.into_iter().filter(|(id, _)| wanted.is_none_or(|name| id.1 == name)).collect();
    if token.is_some() && version <= forgotten {
        let message = "The provided continue parameter is too old to display a consistent list result.";
        return whole(410, &status(410, "Expired", message));
    }
    let rest = texts.len().saturating_sub(from.saturating_add(limit));
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if rest > 0 {
        metadata["continue"] = format!("{version}.{}", from + limit).into();
        metadata["remainingItemCount"] = rest.into();
    }
    let kind = if asked.metadata_only { "PartialObjectMetadata" } else { asked.row.1 };
    let api_version = if asked.metadata_only { "meta.k8s.io/v1" } else { asked.row.2 };
    let head =
        format!(r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{metadata},"items":["#);
    let items: Vec<String> =
        texts.iter().skip(from).take(limit).map(|(_, text)| shown(text, asked, true)).collect();
    let (writer, receive) = writer(shared, asked);
    let fault = asked.fault.clone();
    tokio::spawn(async move {
        if fault == Some(Fault::Silent) {
            writer.send.closed().await;
            return;
        }
        if !writer.write(&head).await {
            return;
        }
        for (number, item) in items.iter().enumerate() {
            if fault == Some(Fault::CutAfter(number)) {
                return writer.cut(item).await;
            }
            let comma = if number == 0 { "" } else { "," };
            if !writer.write(&format!("{comma}{item}")).await {
                return;
            }
        }
        if fault == Some(Fault::CutAfter(items.len())) {
            return writer.cut("]}").await;
        }
        writer.write("]}\n").await;
    });
    response(200, receive)
}

fn line(word: &str, object: &str) -> String {
    format!("{{\"type\":\"{word}\",\"object\":{object}}}\n")
}

fn bookmark(asked: &Asked, version: u64, ends_initial: bool) -> String {
    let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    if ends_initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let (kind, api_version) = match asked.metadata_only {
        true => ("PartialObjectMetadata", "meta.k8s.io/v1"),
        false => (asked.row.1, asked.row.2),
    };
    line("BOOKMARK", &json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}).to_string())
}

fn watch_from(shared: &Arc<Shared>, asked: Asked) -> Response<Pieces> {
    let from = asked.query.get("resourceVersion").and_then(|version| version.parse::<u64>().ok());
    let (forgotten, by_status) = shared.look(|history| (history.forgotten, history.gone_by_status));
    let message = format!("too old resource version: {} ({forgotten})", from.unwrap_or(0));
    let expired = from.filter(|from| *from > 0 && *from <= forgotten);
    if expired.is_some() && by_status {
        return whole(410, &status(410, "Expired", &message));
    }
    let (writer, receive) = writer(shared, &asked);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        shared.look(|history| *history.watching.entry(asked.row.0).or_default() += 1);
        let error = match &asked.fault {
            Some(Fault::ErrorEvent(code, message)) => Some(status(*code, message, message)),
            _ => expired.map(|_| status(410, "Expired", &message)),
        };
        match error {
            Some(error) => drop(writer.write(&line("ERROR", &error.to_string())).await),
            None => watch(&shared, &asked, from, &writer).await,
        }
        shared.look(|history| *history.watching.entry(asked.row.0).or_default() -= 1);
    });
    response(200, receive)
}

async fn watch(shared: &Arc<Shared>, asked: &Asked, from: Option<u64>, writer: &Writer) {
    if asked.fault == Some(Fault::Silent) {
        return writer.send.closed().await;
    }
    let mut changes = shared.changes();
    let (mut version, texts, bookmarks, dropped) = shared
        .look(|history| (history.version, history.texts(asked.row.0), history.bookmarks, history.dropped.0));
    let seconds = asked.query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(1_800);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut cut_after = match asked.fault {
        Some(Fault::CutAfter(count)) => count,
        _ => usize::MAX,
    };
    // Without a version there is all there is, also where nothing marks its end.
    match from.filter(|from| *from > 0) {
        Some(from) => version = from,
        None => {
            for (_, text) in texts.into_iter().filter(|(_, text)| is_selected(text, asked)) {
                let line = line("ADDED", &shown(&text, asked, false));
                if cut_after == 0 {
                    return writer.cut(&line).await;
                }
                cut_after -= 1;
                if !writer.write(&line).await {
                    return;
                }
            }
            let marks = asked.initial && asked.fault != Some(Fault::Legacy);
            if asked.fault == Some(Fault::NoBookmark) {
                return;
            }
            if cut_after == 0 {
                return writer.cut(&bookmark(asked, version, true)).await;
            }
            if marks && !writer.write(&bookmark(asked, version, true)).await {
                return;
            }
        }
    }
    let mut next_bookmark = bookmarks.map(|interval| Instant::now() + interval);
    loop {
        let (events, now, drops, how, served, forgotten) = shared.look(|history| {
            let new = history.events.partition_point(|event| event.version <= version);
            let new = history.events.get(new..).unwrap_or_default().iter();
            let new = new.filter(|event| event.plural == asked.row.0).cloned().collect::<Vec<_>>();
            let served = history.serves(asked.row.0);
            (new, history.version, history.dropped.0, history.dropped.1, served, history.forgotten)
        });
        if version < forgotten {
            // Changes between were forgotten before they were written here.
            let message = format!("too old resource version: {version} ({forgotten})");
            let error = line("ERROR", &status(410, "Expired", &message).to_string());
            writer.write(&error).await;
            return;
        }
        for event in events {
            // As API servers do: what is selected no longer is deleted as it was, what was not before is added.
            let is = event.word != "DELETED" && is_selected(&event.object, asked);
            let was =
                event.word != "ADDED" && is_selected(event.before.as_ref().unwrap_or(&event.object), asked);
            let (word, object) = match (was, is) {
                (false, false) => continue,
                (false, true) => ("ADDED", &event.object),
                (true, true) => ("MODIFIED", &event.object),
                (true, false) => ("DELETED", event.before.as_ref().unwrap_or(&event.object)),
            };
            let object = if word == event.word { Arc::clone(object) } else { under(object, event.version) };
            let line = line(word, &shown(&object, asked, false));
            if cut_after == 0 {
                return writer.cut(&line).await;
            }
            cut_after -= 1;
            if !writer.write(&line).await {
                return;
            }
        }
        version = version.max(now);
        if drops != dropped {
            if how == Drop::MidLine {
                writer.cut(&bookmark(asked, version, false)).await;
            }
            return;
        }
        if !served {
            return;
        }
        let wanted = asked.query.get("allowWatchBookmarks").is_some_and(|wanted| wanted == "true");
        let at = next_bookmark.filter(|_| wanted).unwrap_or(end).min(end);
        tokio::select! {
            _ = changes.changed() => {}
            () = writer.send.closed() => return,
            () = sleep_until(at) => {
                if Instant::now() >= end {
                    return;
                }
                if !writer.write(&bookmark(asked, version, false)).await {
                    return;
                }
                next_bookmark = bookmarks.map(|interval| Instant::now() + interval);
            }
        }
    }
}
