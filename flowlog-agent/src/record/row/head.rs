//! The beginning of a line, read without the rest: whose it is, its number, its kind and time.

use super::super::SCHEMA_VERSION;
use super::Text;
use jiff::Timestamp;
use serde::Deserialize;
use std::borrow::Cow;

/// What tells a line from all others, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineHead<'a> {
    /// Kind of the record.
    pub kind: Text<'a>,
    /// Its number in its run and output.
    pub seq: u64,
    /// When, as it is written.
    time: Text<'a>,
    /// Whose it is.
    pub node: Text<'a>,
    /// The cluster, where configured.
    pub cluster: Option<Text<'a>>,
    /// Run of the agent.
    pub run: Text<'a>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    v: u32,
    #[serde(borrow)]
    kind: Text<'a>,
    seq: u64,
    #[serde(borrow)]
    time: Text<'a>,
    #[serde(borrow)]
    node: Text<'a>,
    #[serde(borrow, default)]
    cluster: Option<Text<'a>>,
    #[serde(borrow)]
    run: Text<'a>,
}

impl<'a> LineHead<'a> {
    /// By its beginning, where it is as this build writes it; the rest is not looked at. Else the line is parsed; nothing where
    /// it has no such beginning.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        Self::split(line).or_else(|| Self::parse(line))
    }

    fn split(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_prefix(br#"{"v":1,"seq":"#)?;
        let digits = line.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
        let (number, line) = line.split_at_checked(digits)?;
        let seq = std::str::from_utf8(number).ok()?.parse().ok()?;
        let (kind, line) = text(line.strip_prefix(br#","kind":""#)?)?;
        let (time, line) = text(line.strip_prefix(br#"","time":""#)?)?;
        let (node, line) = text(line.strip_prefix(br#"","node":""#)?)?;
        let (cluster, line) = match line.strip_prefix(br#"","cluster":""#) {
            Some(line) => text(line).map(|(cluster, line)| (Some(cluster), line))?,
            None => (None, line),
        };
        let (run, _) = text(line.strip_prefix(br#"","run":""#)?)?;
        Some(Self { kind, seq, time, node, cluster, run })
    }

    fn parse(line: &'a [u8]) -> Option<Self> {
        let Fields { v, kind, seq, time, node, cluster, run } = serde_json::from_slice(line).ok()?;
        (v == SCHEMA_VERSION).then_some(Self { kind, seq, time, node, cluster, run })
    }

    /// When; nothing where that is no moment.
    pub fn time(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }

    /// The same as it is written: what is written in UTC with as many digits has the same order.
    pub fn written_time(&self) -> &str {
        &self.time
    }
}

/// A text up to its quote, which is plain, and what follows it.
fn text(line: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let end = memchr::memchr(b'"', line)?;
    let (text, rest) = line.split_at_checked(end)?;
    // A backslash is for the parser, and so is what JSON forbids.
    if text.iter().any(|byte| *byte == b'\\' || *byte < b' ') {
        return None;
    }
    // The quote stays before what follows.
    Some((Text(Cow::Borrowed(std::str::from_utf8(text).ok()?)), rest))
}
