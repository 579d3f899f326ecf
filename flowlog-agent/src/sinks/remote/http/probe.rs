//! What outputs over HTTP are asked where no line is sent.

use super::client::Answer;
use super::post::Post;
use crate::sinks::probe::{Step, stopped};
use crate::sinks::remote::probe::{unusable, way};
use crate::sinks::{Opening, SinkError};
use hyper::Method;
use std::io;

/// Who is asked.
pub(super) struct Asked<'a>(&'a mut Post);

impl Asked<'_> {
    /// Where lines are posted.
    pub(super) fn path(&self) -> &str {
        &self.0.path
    }

    /// Post this in the place of lines.
    pub(super) fn post(&mut self, body: Vec<u8>) -> io::Result<Answer> {
        let path = self.0.path.clone();
        self.0.client.post(&path, body)
    }

    pub(super) fn post_json(&mut self, path: &str, body: String) -> io::Result<Answer> {
        self.0.client.ask(Method::POST, path, JSON, body.into_bytes())
    }

    pub(super) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.0.client.ask(Method::GET, path, JSON, Vec::new())
    }

    pub(super) fn head(&mut self, path: &str) -> io::Result<Answer> {
        self.0.client.ask(Method::HEAD, path, JSON, Vec::new())
    }
}

const JSON: &str = "application/json";

/// Go there, and ask as this protocol does.
pub(super) fn probe(
    opening: &Opening<'_>,
    open: fn(&Opening<'_>) -> Result<Post, SinkError>,
    ask: fn(&mut Asked<'_>) -> io::Result<Vec<Step>>,
) -> Vec<Step> {
    let mut post = match open(opening) {
        Ok(post) => post,
        Err(error) => return vec![unusable(&error)],
    };
    let mut steps = way(opening);
    if stopped(&steps) {
        return steps;
    }
    let answered = ask(&mut Asked(&mut post));
    steps.extend(answered.unwrap_or_else(|error| {
        let remedy = "see that it speaks HTTP at this port, and answers within `timeout_ms`";
        vec![Step::away("answer", format!("no answer: {error}"), remedy)]
    }));
    steps
}

/// What it says in place of the answer that was asked for.
pub(super) fn refused(answer: &Answer) -> Step {
    let remedy = match answer.status.as_u16() {
        401 | 403 => {
            "give what lets us in and may write there: `token_file`, or `username` and `password_file`"
        }
        404 | 405 => "name the place's port and path as its documentation does",
        429 | 503 => "wait until it takes requests again",
        _ => "mend what it says",
    };
    Step::away("answer", answer.told(), remedy)
}
