//! OpenTelemetry's protocol for logs over HTTP, in protobuf: each record a log record, its line the body, whatever its format.
//!
//! A log record is encoded once, as it stands in a request; a request is those bytes with their wrapping around them.

use super::client::{Answer, Client};
use super::post::{Post, Protocol, by_status};
use super::probe::{Asked, probe, refused};
use crate::model::Severity;
use crate::record::{Content, Line};
use crate::sinks::output::{Batch, Framer};
use crate::sinks::probe::Step;
use crate::sinks::remote::halving::Said;
use crate::sinks::remote::place::Place;
use crate::sinks::{Opening, SinkError, SinkKind};
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::io;
use std::ops::Range;
use std::sync::Arc;

pub(in crate::sinks) const KIND: SinkKind = SinkKind {
    name: "otlp",
    takes: |place| place.starts_with("otlp+http://") || place.starts_with("otlp+https://"),
    open: |opening| Ok(Box::new(open(opening)?)),
    probe: |opening| probe(opening, open, ask),
    #[cfg(test)]
    fixture: || super::tests::fixture("otlp+http", "", super::server::Kind::Otlp),
    #[cfg(test)]
    consumer: false,
};

/// Where a collector takes logs.
const PATH: &str = "/v1/logs";

/// Numbers of fields: `ExportLogsServiceRequest.resource_logs`, `ResourceLogs.resource` and `.scope_logs`, `ScopeLogs.scope`
/// and `.log_records` (opentelemetry-proto, logs/v1/logs.proto).
const RESOURCE_LOGS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_LOGS: u32 = 2;
const SCOPE: u32 = 1;
const LOG_RECORDS: u32 = 2;

struct Otlp {
    /// `ResourceLogs.resource`, as a field.
    resource: Vec<u8>,
    /// `ScopeLogs.scope`, likewise.
    scope: Vec<u8>,
    ids: String,
}

fn open(opening: &Opening<'_>) -> Result<Post, SinkError> {
    let place = Place::of(opening.place())?;
    let run = opening.run;
    let cluster = run.cluster.iter().map(|cluster| text("k8s.cluster.name", cluster));
    let resource = Resource {
        attributes: [
            text("service.name", "flowlog"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &run.id),
            text("k8s.node.name", &run.node),
        ]
        .into_iter()
        .chain(cluster)
        .collect(),
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "flowlog".to_owned(), ..InstrumentationScope::default() };
    let protocol = Otlp {
        resource: field(RESOURCE, &resource.encode_to_vec()),
        scope: field(SCOPE, &scope.encode_to_vec()),
        ids: format!("{}-{}", run.id, opening.number),
    };
    Ok(Post {
        client: Client::new(opening, &place, "Bearer", "application/x-protobuf")?,
        path: if matches!(&*place.path, "" | "/") { PATH.to_owned() } else { place.path },
        protocol: Arc::new(protocol),
        batch_bytes: opening.remote().batch_bytes,
        linger: opening.remote().linger,
        asked: None,
        receipts: None,
    })
}

/// A request without a record.
fn ask(asked: &mut Asked<'_>) -> io::Result<Vec<Step>> {
    let answer = asked.post(Vec::new())?;
    Ok(vec![match answer.status.as_u16() {
        200..=299 => Step::fine("answer", "it takes requests for logs".to_owned()),
        404 | 405 => Step::away(
            "answer",
            answer.told(),
            "name the port at which the collector takes OTLP over HTTP, and its path where that is not /v1/logs",
        ),
        _ => refused(&answer),
    }])
}

fn any(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

/// A message as a field of another.
fn field(number: u32, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 12);
    append_head(&mut out, number, message.len());
    out.extend_from_slice(message);
    out
}

fn append_head(out: &mut Vec<u8>, number: u32, length: usize) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(u64::try_from(length).unwrap_or(u64::MAX), out);
}

fn severity(severity: Severity) -> SeverityNumber {
    match severity {
        Severity::Info => SeverityNumber::Info,
        Severity::Low => SeverityNumber::Info3,
        Severity::Medium => SeverityNumber::Warn,
        Severity::High => SeverityNumber::Error,
        Severity::Critical => SeverityNumber::Fatal,
    }
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

impl Framer for Otlp {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        let about = line.about();
        let mut body = Vec::new();
        line.append_to(seq, &mut body);
        let class = match line.content() {
            Content::Flow { class, .. } => Some(text("flowlog.class", class.as_str())),
            Content::Finding | Content::Loss(_) | Content::Agent => None,
        };
        let record = LogRecord {
            time_unix_nano: nanos(about.time),
            observed_time_unix_nano: nanos(Timestamp::now()),
            severity_number: severity(about.severity).into(),
            severity_text: about.severity.as_str().to_owned(),
            body: Some(any(String::from_utf8_lossy(&body).trim_end())),
            attributes: [
                text("flowlog.kind", about.kind),
                text("log.record.uid", &format!("{}-{seq}", self.ids)),
            ]
            .into_iter()
            .chain(class)
            .collect(),
            event_name: format!("flowlog.{}", about.kind),
            ..LogRecord::default()
        };
        append_head(out, LOG_RECORDS, record.encoded_len());
        // There is always room in a Vec.
        let _ = record.encode(out);
    }
}

impl Protocol for Otlp {
    fn body(&self, batch: Batch<'_>, places: &Range<usize>) -> Vec<u8> {
        let records = batch.part(places);
        let mut scope_logs = Vec::with_capacity(12);
        append_head(&mut scope_logs, SCOPE_LOGS, self.scope.len() + records.len());
        let inner = self.resource.len() + scope_logs.len() + self.scope.len() + records.len();
        let mut body = Vec::with_capacity(inner + 12);
        append_head(&mut body, RESOURCE_LOGS, inner);
        for part in [&self.resource, &scope_logs, &self.scope] {
            body.extend_from_slice(part);
        }
        body.extend_from_slice(records);
        body
    }

    /// Which records a collector rejected it does not say, and it is not to be asked again: the last ones are told as lost.
    fn judge(&self, answer: &Answer, lines: usize) -> Said {
        if !answer.status.is_success() {
            return by_status(answer);
        }
        let Ok(told) = ExportLogsServiceResponse::decode(&*answer.body) else {
            return Said::NotNow("its answer is none of OTLP's".to_owned());
        };
        let Some(partial) = told.partial_success.filter(|partial| partial.rejected_log_records > 0) else {
            return Said::Taken;
        };
        let rejected = usize::try_from(partial.rejected_log_records).unwrap_or(lines).min(lines);
        let why = partial.error_message.chars().filter(|letter| !letter.is_control()).take(200).collect();
        Said::Without((lines - rejected..lines).collect(), why)
    }
}
