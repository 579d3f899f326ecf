//! Splunk's HTTP Event Collector: each record an event, with its own time and node.
//!
//! Where its token has acknowledgements (`useACK`), an event counts as written when an indexer has it to keep; else when the
//! collector takes it.

use super::client::{Answer, Client};
use super::post::{Post, Protocol, by_status};
use super::probe::{Asked, probe, refused};
use super::receipts::Receipts;
use crate::record::Line;
use crate::sinks::output::Framer;
use crate::sinks::probe::{Step, stopped};
use crate::sinks::remote::halving::Said;
use crate::sinks::remote::place::Place;
use crate::sinks::{Opening, SinkError, SinkKind};
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use sha1::{Digest as _, Sha1};
use std::io::{self, Write as _};
use std::sync::Arc;

pub(in crate::sinks) const KIND: SinkKind = SinkKind {
    name: "splunk",
    takes: |place| place.starts_with("splunk+http://") || place.starts_with("splunk+https://"),
    open: |opening| Ok(Box::new(open(opening)?)),
    probe: |opening| probe(opening, open, ask),
    #[cfg(test)]
    fixture: || super::tests::fixture("splunk+http", "", super::server::Kind::Splunk),
    #[cfg(test)]
    consumer: false,
};

/// Where it takes events with their times.
const PATH: &str = "/services/collector/event";

/// Where it tells of itself.
const HEALTH: &str = "/services/collector/health";

/// What it says of a request without data, once it knows who asks.
const NO_DATA: u16 = 5;

/// What is not acknowledged within so many times `timeout_ms` is sent again: five minutes, after which a collector may have
/// forgotten.
const ACKNOWLEDGED_WITHIN: u32 = 30;

/// What it says of data rather than of itself: no data, invalid data, no or an empty event, fields that it cannot index.
const OF_DATA: [u16; 5] = [5, 6, 12, 13, 15];

struct Splunk {
    /// As JSON.
    host: String,
}

/// What it answers.
#[derive(Deserialize)]
struct Told {
    code: u16,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

fn open(opening: &Opening<'_>) -> Result<Post, SinkError> {
    let place = Place::of(opening.place())?;
    let host = serde_json::Value::from(opening.run.node.as_str()).to_string();
    let client = Client::new(opening, &place, "Splunk", "application/json")?;
    let channel = channel(&opening.run.id, opening.number);
    let told =
        |error| SinkError::Remote { output: opening.place().to_owned(), source: io::Error::other(error) };
    let value = HeaderValue::try_from(&channel).map_err(told)?;
    let path = if matches!(&*place.path, "" | "/") { PATH.to_owned() } else { place.path };
    let limit = client.timeout().saturating_mul(ACKNOWLEDGED_WITHIN);
    Ok(Post {
        client: client.with_header(HeaderName::from_static("x-splunk-request-channel"), value),
        receipts: Some(Receipts::new(acknowledgements(&path), limit)),
        path,
        protocol: Arc::new(Splunk { host }),
        batch_bytes: opening.remote().batch_bytes,
        linger: opening.remote().linger,
        asked: None,
    })
}

/// Its health, and a request without an event: a token that it knows is told that no data is there.
fn ask(asked: &mut Asked<'_>) -> io::Result<Vec<Step>> {
    let health = asked.get(HEALTH)?;
    let mut steps = vec![match health.status.as_u16() {
        200..=299 => Step::fine("health", "the collector is healthy".to_owned()),
        503 => Step::away("health", health.told(), "wait until the indexer takes events again"),
        _ => Step::fine("health", format!("not told: {}", health.told())),
    }];
    let answer = asked.post(Vec::new())?;
    let told: Option<Told> = serde_json::from_slice(&answer.body).ok();
    steps.push(match told.map(|told| told.code) {
        Some(NO_DATA) => Step::fine("token", "the collector knows the token".to_owned()),
        Some(1) => Step::away("token", answer.told(), "switch the token on, or give another"),
        Some(2..=4) => {
            Step::away("token", answer.told(), "give the token of an HTTP Event Collector: `token_file`")
        }
        _ if answer.status.as_u16() == 404 => {
            Step::away("token", answer.told(), "name the port of the HTTP Event Collector, 8088 as it ships")
        }
        _ => refused(&answer),
    });
    if !stopped(&steps) {
        let path = acknowledgements(asked.path());
        let answer = asked.post_json(&path, r#"{"acks":[]}"#.to_owned())?;
        let told = match answer.status.is_success() {
            true => "the token has them: an event is written once an indexer has it to keep",
            false => "the token has none: an event is written once the collector takes it",
        };
        steps.push(Step::fine("acknowledge", told.to_owned()));
    }
    Ok(steps)
}

/// Where it tells which events it has to keep.
fn acknowledgements(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{}/ack{query}", path.strip_suffix("/event").unwrap_or("/services/collector"))
}

/// Whose acknowledgements are whose: an id (RFC 9562, version 8) that no other output of no other run has.
fn channel(run: &str, number: usize) -> String {
    let digest = Sha1::digest(format!("{run}-{number}"));
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    let id = u128::from_be_bytes(id) & !(0xf << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{id:032X}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

impl Framer for Splunk {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        let time = line.about().time;
        let (second, nanos) = (time.as_second(), time.subsec_nanosecond().unsigned_abs());
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            r#"{{"time":{second}.{nanos:09},"host":{},"source":"flowlog","sourcetype":"{}","event":"#,
            self.host,
            source_type(line)
        );
        line.append_to(seq, out);
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        out.extend_from_slice(b"}\n");
    }
}

impl Protocol for Splunk {
    fn judge(&self, answer: &Answer, _: usize) -> Said {
        let told: Option<Told> = serde_json::from_slice(&answer.body).ok();
        match told {
            // It knows us, our token and the index: what it refuses is what we sent.
            Some(told) if answer.status.as_u16() == 400 && !OF_DATA.contains(&told.code) => {
                Said::NotNow(answer.told())
            }
            _ => by_status(answer),
        }
    }

    fn receipt(&self, answer: &Answer) -> Option<u64> {
        let told: Told = serde_json::from_slice(&answer.body).ok()?;
        told.ack_id
    }
}

fn source_type(line: &Line) -> &'static str {
    match line.format() {
        crate::record::Format::Flowlog => "flowlog:json",
        crate::record::Format::Ecs => "flowlog:ecs",
        crate::record::Format::Ocsf => "flowlog:ocsf",
    }
}
