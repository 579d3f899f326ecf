//! Kafka: each record a message, keyed by its node, all of a node in one partition and so in order. A batch is written once
//! every replica in sync has it.

use super::dial::{Reactor, within};
use super::halving::{self, Said};
use super::place::{Host, Place};
use super::probe::{unusable, way};
use super::secret::Secret;
use super::{refuse_proxy, tls};
use crate::record::Line;
use crate::sinks::output::{Batch, Framer, Output, WriteError};
use crate::sinks::probe::{Step, stopped};
use crate::sinks::{Opening, Remote, SinkError, SinkKind};

use rskafka::BackoffConfig;
use rskafka::chrono::{DateTime, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub(in crate::sinks) const KIND: SinkKind = SinkKind {
    name: "kafka",
    takes: |place| place.starts_with("kafka://") || place.starts_with("kafkas://"),
    open: |opening| Ok(Box::new(Kafka::open(opening)?)),
    probe,
    #[cfg(test)]
    fixture: tests::fixture,
    #[cfg(test)]
    consumer: true,
};

/// A broker takes 1,048,588 bytes at a time unless it is told otherwise; what a message takes beside its line is among it.
const BATCH_BYTES: usize = 900_000;
/// Before each line, its time.
const TIME_BYTES: usize = 8;

struct Kafka {
    place: Place,
    topic: String,
    remote: Remote,
    reactor: Reactor,
    node: Vec<u8>,
    password: Option<(String, Secret)>,
    partition: Option<Arc<PartitionClient>>,
}

/// As far as the leader of the partition that lines go to.
fn probe(opening: &Opening<'_>) -> Vec<Step> {
    let mut kafka = match Kafka::open(opening) {
        Ok(kafka) => kafka,
        Err(error) => return vec![unusable(&error)],
    };
    let mut steps = way(opening);
    if !stopped(&steps) {
        let topic = kafka.topic.clone();
        steps.push(match kafka.connect() {
            Ok(partition) => Step::fine(
                "topic",
                format!("{topic}: lines of this node go to its partition {}", partition.partition()),
            ),
            Err(error) => Step::away(
                "topic",
                format!("{topic} is not to be had: {error}"),
                "see that the topic is there, that the user and the password are right and may describe and write it, \
                 and that the brokers advertise names and ports that this node reaches",
            ),
        });
    }
    steps
}

impl Kafka {
    fn open(opening: &Opening<'_>) -> Result<Self, SinkError> {
        let place = Place::of(opening.place())?;
        refuse_proxy(opening.place(), opening.remote())?;
        let wrong = |why: String| SinkError::Place { output: opening.place().to_owned(), why };
        let told = |source| SinkError::Remote { output: opening.place().to_owned(), source };
        let topic = place.path.trim_start_matches('/').to_owned();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(is_name) {
            return Err(wrong(format!("it has to end with a topic, as in {}/flowlog", opening.place())));
        }
        let remote = opening.remote().clone();
        let far = place.hosts.iter().any(|host| !host.is_loopback());
        if !place.encrypted && far && remote.user.is_some() {
            return Err(wrong("its password would cross the network for all to read: use kafkas".to_owned()));
        }
        if place.encrypted {
            tls::client_config(&remote).map_err(told)?;
        }
        let password = match &remote.user {
            Some((user, file)) => Some((user.clone(), Secret::read(file).map_err(told)?)),
            None => None,
        };
        let node = opening.run.node.clone().into_bytes();
        Ok(Self { place, topic, remote, reactor: Reactor::default(), node, password, partition: None })
    }

    fn builder(&self) -> io::Result<ClientBuilder> {
        let brokers = self.place.hosts.iter().map(Host::authority).collect();
        // It tries again by itself for ever, and tells why to nobody.
        let backoff = BackoffConfig { deadline: Some(self.remote.timeout / 2), ..BackoffConfig::default() };
        let mut builder = ClientBuilder::new(brokers).client_id("flowlog").backoff_config(backoff);
        if self.place.encrypted {
            builder = builder.tls_config(Arc::new(tls::client_config(&self.remote)?));
        }
        if let Some((user, secret)) = &self.password {
            let credentials = Credentials::new(user.clone(), secret.text().to_owned());
            builder = builder.sasl_config(SaslConfig::ScramSha512(credentials));
        }
        Ok(builder)
    }

    fn connect(&mut self) -> io::Result<Arc<PartitionClient>> {
        if let Some(partition) = &self.partition {
            return Ok(Arc::clone(partition));
        }
        let builder = self.builder()?;
        let Self { reactor, remote, topic, node, .. } = self;
        let found = reactor.run(within(remote.timeout, async {
            let client = builder.build().await.map_err(io::Error::other)?;
            let partitions = partitions_of(&client, topic).await?;
            let chosen = partition_of(node, partitions.len()).and_then(|at| partitions.get(at)).copied();
            let chosen =
                chosen.ok_or_else(|| io::Error::other(format!("there is no topic `{topic}`: create it")))?;
            let client = client.partition_client(topic.clone(), chosen, UnknownTopicHandling::Error);
            client.await.map_err(io::Error::other)
        }))?;
        let found = Arc::new(found);
        self.partition = Some(Arc::clone(&found));
        Ok(found)
    }

    fn produce(&mut self, batch: Batch<'_>, places: &Range<usize>) -> io::Result<Said> {
        let partition = self.connect()?;
        let records: Vec<Record> = batch.frames(places.clone()).map(|frame| self.record(frame)).collect();
        let compression = if self.remote.compressed { Compression::Gzip } else { Compression::NoCompression };
        let limit = self.remote.timeout;
        let answer =
            self.reactor.run(within(limit, async { Ok(partition.produce(records, compression).await) }));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.partition = None;
                return Err(error);
            }
        };
        match answer {
            Ok(_) => Ok(Said::Taken),
            Err(Error::ServerError { protocol_error: error, .. }) if is_of_data(error) => {
                Ok(Said::NotTogether(format!("it answered {error}")))
            }
            Err(error) => {
                self.partition = None;
                Err(io::Error::other(error))
            }
        }
    }

    fn record(&self, frame: &[u8]) -> Record {
        let (time, line) = frame.split_first_chunk::<TIME_BYTES>().unwrap_or((&[0; TIME_BYTES], frame));
        Record {
            key: Some(self.node.clone()),
            value: Some(line.to_vec()),
            headers: BTreeMap::new(),
            timestamp: DateTime::<Utc>::from_timestamp_millis(i64::from_le_bytes(*time)).unwrap_or_default(),
        }
    }
}

/// What it says of data rather than of itself.
fn is_of_data(error: ProtocolError) -> bool {
    matches!(
        error,
        ProtocolError::CorruptMessage
            | ProtocolError::MessageTooLarge
            | ProtocolError::RecordListTooLarge
            | ProtocolError::InvalidRecord
            | ProtocolError::InvalidTimestamp
    )
}

async fn partitions_of(client: &Client, topic: &str) -> io::Result<Vec<i32>> {
    let topics = client.list_topics().await.map_err(io::Error::other)?;
    let found = topics.into_iter().find(|found| found.name == topic);
    Ok(found.map(|found| found.partitions.into_iter().collect()).unwrap_or_default())
}

/// As Kafka's own producers choose by a key: murmur2 without its sign, over so many partitions.
fn partition_of(key: &[u8], partitions: usize) -> Option<usize> {
    let hash = usize::try_from(murmur2(key) & 0x7fff_ffff).ok()?;
    hash.checked_rem(partitions)
}

/// Kafka's hash of keys (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ u32::try_from(data.len()).unwrap_or(0);
    let chunks = data.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        let mut word = u32::from_le_bytes(chunk.try_into().unwrap_or_default()).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (byte, shift) in rest.iter().zip([0, 8, 16]) {
            hash ^= u32::from(*byte) << shift;
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Lines without their newlines, each behind its time.
struct Messages;

impl Framer for Messages {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&line.about().time.as_millisecond().to_le_bytes());
        line.append_to(seq, out);
        if out.last() == Some(&b'\n') {
            out.pop();
        }
    }
}

impl Output for Kafka {
    fn framer(&self) -> Arc<dyn Framer> {
        Arc::new(Messages)
    }

    fn batch_bytes(&self) -> usize {
        self.remote.batch_bytes.min(BATCH_BYTES)
    }

    fn write(&mut self, batch: Batch<'_>, _: Duration) -> Result<(), WriteError> {
        let limit = self.remote.timeout;
        let all = 0..batch.len();
        halving::send_all(batch, vec![all], limit, |places| self.produce(batch, places))
    }

    fn linger(&self) -> Duration {
        self.remote.linger
    }

    fn goes_together(&self) -> bool {
        true
    }

    fn tick(&mut self) -> Result<bool, WriteError> {
        Ok(false)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.partition = None;
        self.password.as_mut().map_or(Ok(()), |(_, secret)| secret.refresh())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(in crate::sinks) mod tests;
