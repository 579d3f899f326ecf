//! Splunk's HTTP Event Collector: each record an event, with its own time and node.
//!
//! Its acknowledgements (`useACK`) are not asked for: an event counts as written when the collector says so.

use super::client::{Answer, Client};
use super::post::{Post, Protocol, by_status};
use super::probe::{Asked, probe, refused};
use crate::record::Line;
use crate::sinks::output::Framer;
use crate::sinks::probe::Step;
use crate::sinks::remote::halving::Said;
use crate::sinks::remote::place::Place;
use crate::sinks::{Opening, SinkError, SinkKind};
use serde::Deserialize;
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
}

fn open(opening: &Opening<'_>) -> Result<Post, SinkError> {
    let place = Place::of(opening.place())?;
    let host = serde_json::Value::from(opening.run.node.as_str()).to_string();
    Ok(Post {
        client: Client::new(opening, &place, "Splunk", "application/json")?,
        path: if matches!(&*place.path, "" | "/") { PATH.to_owned() } else { place.path },
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
    Ok(steps)
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
}

fn source_type(line: &Line) -> &'static str {
    match line.format() {
        crate::record::Format::Flowlog => "flowlog:json",
        crate::record::Format::Ecs => "flowlog:ecs",
        crate::record::Format::Ocsf => "flowlog:ocsf",
    }
}
