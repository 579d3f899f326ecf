//! Elasticsearch's and OpenSearch's bulk interface: each record is created under an id of its own, so that one that is sent
//! again is there once.

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
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;

pub(in crate::sinks) const KIND: SinkKind = SinkKind {
    name: "elastic",
    takes: |place| place.starts_with("elastic+http://") || place.starts_with("elastic+https://"),
    open: |opening| Ok(Box::new(open(opening)?)),
    probe: |opening| probe(opening, open, ask),
    #[cfg(test)]
    fixture: || super::tests::fixture("elastic+http", "/flows", super::server::Kind::Elastic),
    #[cfg(test)]
    consumer: false,
};

/// Of each item of the answer no more than is read.
const ASKED: &str = "_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";

struct Elastic {
    /// What ids of this output begin with: nobody else's do.
    ids: String,
}

/// What it answers.
#[derive(Deserialize)]
struct Told {
    errors: bool,
    #[serde(default)]
    items: Vec<BTreeMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    error: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
}

/// What it says of itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct About {
    cluster_name: String,
    version: Version,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    number: String,
    distribution: Option<String>,
}

#[derive(Deserialize)]
struct Rights {
    has_all_requested: bool,
}

fn open(opening: &Opening<'_>) -> Result<Post, SinkError> {
    let place = Place::of(opening.place())?;
    let index = place.path.trim_matches('/');
    let is_name = |letter: char| letter.is_ascii_graphic() && !"/?#\\\"*<>|,".contains(letter);
    if index.is_empty() || !index.chars().all(is_name) {
        let why = format!("it has to end with an index or a data stream, as in {}/flowlog", opening.place());
        return Err(SinkError::Place { output: opening.place().to_owned(), why });
    }
    Ok(Post {
        client: Client::new(opening, &place, "ApiKey", "application/x-ndjson")?,
        path: format!("/{index}/{ASKED}"),
        protocol: Arc::new(Elastic { ids: format!("{}-{}", opening.run.id, opening.number) }),
        batch_bytes: opening.remote().batch_bytes,
        linger: opening.remote().linger,
        asked: None,
        receipts: None,
    })
}

/// Who it is, whether we may create documents in the index, and whether that is there.
fn ask(asked: &mut Asked<'_>) -> io::Result<Vec<Step>> {
    let answer = asked.get("/")?;
    if !answer.status.is_success() {
        return Ok(vec![refused(&answer)]);
    }
    let about: About = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut steps = vec![Step::fine("answer", about.told())];
    let index = asked.path().trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let question = json!({"index": [{"names": [index], "privileges": ["create_doc"]}]}).to_string();
    let rights = asked.post_json("/_security/user/_has_privileges", question)?;
    // OpenSearch, and Elasticsearch without its security, do not know the question.
    let rights: Option<Rights> =
        serde_json::from_slice(&rights.body).ok().filter(|_| rights.status.is_success());
    if let Some(Rights { has_all_requested }) = rights {
        steps.push(match has_all_requested {
            true => Step::fine("rights", format!("documents may be created in {index}")),
            false => Step::away(
                "rights",
                format!("no document may be created in {index}"),
                format!("give the key, or the user's role, the privilege `create_doc` on {index}"),
            ),
        });
    }
    let there = asked.head(&format!("/{index}"))?;
    steps.push(match there.status.as_u16() {
        200..=299 => Step::fine("index", format!("{index} is there")),
        404 => Step::fine(
            "index",
            format!("{index} is not there: the first record makes it, where a template or action.auto_create_index allows"),
        ),
        _ => Step::fine("index", format!("whether {index} is there is not told: status {}", there.status)),
    });
    Ok(steps)
}

impl Framer for Elastic {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, r#"{{"create":{{"_id":"{}-{seq}"}}}}"#, self.ids);
        line.append_to(seq, out);
    }
}

impl Protocol for Elastic {
    fn judge(&self, answer: &Answer, lines: usize) -> Said {
        if !answer.status.is_success() {
            return by_status(answer);
        }
        let told: Told = match serde_json::from_slice(&answer.body) {
            Ok(told) => told,
            Err(error) => return Said::NotNow(format!("its answer is none of a bulk request: {error}")),
        };
        if !told.errors {
            return Said::Taken;
        }
        if told.items.len() != lines {
            return Said::NotNow(format!("it answered for {} records of {lines}", told.items.len()));
        }
        of_items(told.items.iter().map(|item| item.values().next()))
    }
}

/// Where one of them is not taken now, all are sent again: those that are there are known by their ids.
fn of_items<'a>(items: impl Iterator<Item = Option<&'a Item>>) -> Said {
    let (mut refused, mut why) = (Vec::new(), String::new());
    for (place, item) in items.enumerate() {
        let Some(item) = item else { return Said::NotNow("an item of its answer is empty".to_owned()) };
        match item.status {
            200..=299 | 409 => {}
            400 | 413 | 422 => {
                refused.push(place);
                why = item.told();
            }
            _ => return Said::NotNow(item.told()),
        }
    }
    if refused.is_empty() { Said::Taken } else { Said::Without(refused, why) }
}

impl About {
    fn told(&self) -> String {
        let Self { cluster_name, version: Version { number, distribution } } = self;
        let clean =
            |text: &str| text.chars().filter(|letter| !letter.is_control()).take(80).collect::<String>();
        let kind = distribution.as_deref().unwrap_or("elasticsearch");
        format!("{} {}, cluster {}", clean(kind), clean(number), clean(cluster_name))
    }
}

impl Item {
    fn told(&self) -> String {
        let Some(Trouble { kind, reason }) = &self.error else { return format!("status {}", self.status) };
        let [kind, reason] = [kind, reason].map(|text| text.as_deref().unwrap_or("-"));
        let reason: String = reason.chars().filter(|letter| !letter.is_control()).take(200).collect();
        format!("status {}: {kind}: {reason}", self.status)
    }
}
