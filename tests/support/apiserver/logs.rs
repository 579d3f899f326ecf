//! Logs of pods, as API servers hand them on from a node: whole or followed, from a time on, until the container ends.

use super::history::{Request, Shared, status};
use super::serve::{Pieces, response, whole};
use super::{Drop, Which};
use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What a container has written, each line with the second that it was written in.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    lines: Vec<(String, String)>,
    /// How often the container has begun.
    pub(super) begun: u64,
    /// It does not run.
    pub(super) ended: bool,
}

impl Log {
    pub(super) fn write(&mut self, time: &str, line: &str) {
        if self.begun == 0 || self.ended {
            // What the container before wrote is another log.
            *self = Self { lines: Vec::new(), begun: self.begun + 1, ended: false };
        }
        self.lines.push((time.to_owned(), line.to_owned()));
    }
}

/// The namespace and name of a pod whose log is asked for.
pub(super) fn asked<'a>(parts: &[&'a str]) -> Option<(&'a str, &'a str)> {
    match parts {
        ["api", "v1", "namespaces", namespace, "pods", pod, "log"] => Some((namespace, pod)),
        _ => None,
    }
}

/// Answers.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    (namespace, pod): (&str, &str),
    query: BTreeMap<String, String>,
    user: &str,
) -> Response<Pieces> {
    let refused = shared.look(|history| {
        let refused = refusal(history, (namespace, pod), &query, user);
        history.requests.push(Request {
            verb: "get",
            group: String::new(),
            plural: "pods/log".to_owned(),
            query: query.clone(),
            accept: String::new(),
            impersonates: Vec::new(),
            status: refused.as_ref().map_or(200, |(code, _)| *code),
        });
        refused
    });
    if let Some((code, refused)) = refused {
        return whole(code, &refused);
    }
    let (send, mut receive) = mpsc::channel(16);
    let (shared, pod) = (Arc::clone(shared), (namespace.to_owned(), pod.to_owned()));
    tokio::spawn(async move { stream(&shared, &pod, &query, &send).await });
    // The node answers when it has something to tell, and so does the server.
    let first = receive.recv().await;
    let (forward, pieces) = mpsc::channel(16);
    if let Some(first) = first {
        let _ = forward.send(first).await;
        tokio::spawn(async move {
            while let Some(piece) = receive.recv().await {
                if forward.send(piece).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut response = response(200, pieces);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn refusal(
    history: &mut super::history::History,
    (namespace, pod): (&str, &str),
    query: &BTreeMap<String, String>,
    user: &str,
) -> Option<(u16, Value)> {
    let fault =
        history.take_fault("pods/log", super::history::How { watch: false, initial: false, going_on: false });
    if let Some(super::Fault::Status(code, message)) = fault {
        return Some((code, status(code, message, message)));
    }
    let says_no = |(of, what): &(&str, &str)| *of == "pods/log" && (*what == "*" || *what == "get");
    if history.forbidden.iter().any(says_no) {
        let message = format!(
            "pods \"{pod}\" is forbidden: User \"{user}\" cannot get resource \"pods/log\" in API group \"\" in the namespace \
             \"{namespace}\""
        );
        return Some((403, status(403, "Forbidden", &message)));
    }
    let id = (namespace.to_owned(), pod.to_owned());
    let found = history.texts("pods").into_iter().find(|(known, _)| *known == id);
    let Some((_, text)) = found else {
        return Some((404, status(404, "NotFound", &format!("pods \"{pod}\" not found"))));
    };
    let object: Value = serde_json::from_str(&text).unwrap_or_default();
    let container = query.get("container").map_or("", String::as_str);
    let containers = object["spec"]["containers"].as_array();
    if !containers.is_some_and(|all| all.iter().any(|one| one["name"] == container)) {
        let message = format!("container {container} is not valid for pod {pod}");
        return Some((400, status(400, "BadRequest", &message)));
    }
    if history.logs.get(&id).is_none_or(|log| log.begun == 0) {
        let message =
            format!("container \"{container}\" in pod \"{pod}\" is waiting to start: ContainerCreating");
        return Some((400, status(400, "BadRequest", &message)));
    }
    None
}

async fn stream(
    shared: &Arc<Shared>,
    pod: &(String, String),
    query: &BTreeMap<String, String>,
    send: &mpsc::Sender<Result<Bytes, io::Error>>,
) {
    let follow = query.get("follow").is_some_and(|follow| follow == "true");
    let since = query.get("sinceTime").cloned().unwrap_or_default();
    let mut changes = shared.changes();
    let (begun, dropped) =
        shared.look(|history| (history.logs.get(pod).map_or(0, |log| log.begun), history.dropped_logs.0));
    let mut read = 0;
    loop {
        let (lines, is_over, drops, how) = shared.look(|history| {
            let (drops, how) = history.dropped_logs;
            match history.logs.get(pod).filter(|log| log.begun == begun) {
                Some(log) => (log.lines.get(read..).unwrap_or_default().to_vec(), log.ended, drops, how),
                None => (Vec::new(), true, drops, how),
            }
        });
        read += lines.len();
        // To the second, as the node reads it.
        for (_, line) in lines.iter().filter(|(time, _)| time.get(..19) >= since.get(..19)) {
            if send.send(Ok(Bytes::from(format!("{line}\n")))).await.is_err() {
                return;
            }
        }
        if drops != dropped {
            if how == Drop::MidLine {
                // Whatever was to come next.
                let next = b"{\"v\":1,\"seq\":99999,\"kind\":\"fl";
                let _ = send.send(Ok(Bytes::from_static(next))).await;
                let _ = send.send(Err(io::Error::other("cut"))).await;
            }
            return;
        }
        if is_over || !follow {
            return;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = send.closed() => return,
        }
    }
}

/// Requests for logs.
pub fn of_logs() -> Which {
    super::of("pods/log")
}
