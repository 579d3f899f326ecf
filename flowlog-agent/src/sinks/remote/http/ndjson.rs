//! Lines as they are, so many in a post: what any receiver of newline-delimited JSON takes.

use super::client::{Answer, Client};
use super::post::{Post, Protocol, by_status};
use super::probe::{Asked, probe};
use crate::record::Line;
use crate::sinks::output::Framer;
use crate::sinks::probe::Step;
use crate::sinks::remote::halving::Said;
use crate::sinks::remote::place::Place;
use crate::sinks::{Opening, SinkError, SinkKind};
use std::io;
use std::sync::Arc;

pub(in crate::sinks) const KIND: SinkKind = SinkKind {
    name: "ndjson",
    takes: |place| {
        ["http://", "https://", "ndjson+http://", "ndjson+https://"]
            .iter()
            .any(|scheme| place.starts_with(scheme))
    },
    open: |opening| Ok(Box::new(open(opening)?)),
    probe: |opening| probe(opening, open, ask),
    #[cfg(test)]
    fixture: || super::tests::fixture("ndjson+http", "/", super::server::Kind::Lines),
    #[cfg(test)]
    consumer: false,
};

struct Ndjson;

fn open(opening: &Opening<'_>) -> Result<Post, SinkError> {
    let place = Place::of(opening.place())?;
    Ok(Post {
        client: Client::new(opening, &place, "Bearer", "application/x-ndjson")?,
        path: if place.path.is_empty() { "/".to_owned() } else { place.path },
        protocol: Arc::new(Ndjson),
        batch_bytes: opening.remote().batch_bytes,
        linger: opening.remote().linger,
        asked: None,
        receipts: None,
    })
}

/// Whoever takes lines says of nothing else what it thinks.
fn ask(_: &mut Asked<'_>) -> io::Result<Vec<Step>> {
    let found = "whether it takes lines cannot be told without sending one: nothing was sent";
    Ok(vec![Step::fine("answer", found.to_owned())])
}

impl Framer for Ndjson {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        line.append_to(seq, out);
    }
}

impl Protocol for Ndjson {
    fn judge(&self, answer: &Answer, _: usize) -> Said {
        by_status(answer)
    }
}
