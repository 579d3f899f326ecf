//! Whose network an address outside the cluster lies in: by the ranges that clouds publish, else by the autonomous system
//! that announces it. Both are files of the user's; the narrowest range that holds an address counts.
//!
//! What published files say is in `published.rs`, tables of autonomous systems in `announced.rs`, how both are kept in
//! `spans.rs`.

mod announced;
mod published;
mod spans;

use crate::model::VendorSource;
use spans::{Gathered, Spans};
use std::io::BufRead;
use std::net::IpAddr;

/// Ranges that all files of a kind may have together. Azure publishes 100,000 and more, all routes of the internet are
/// 1.3 million; iptoasn's table, which puts neighbours together, has 500,000.
pub const MOST_RANGES: usize = 2_000_000;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RangesError {
    /// No JSON, or of another shape.
    #[error("line {line}: {reason}")]
    Malformed {
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// Nobody's known form.
    #[error(
        "these are no ranges as AWS, Google, Azure, Cloudflare, Fastly or GitHub publish them; ranges of others are told by \
         `networks`"
    )]
    Unrecognised,
    /// No block of addresses where one is due.
    #[error("{at}: `{value}` is no address block")]
    Block {
        /// Where: a line, or the list.
        at: String,
        /// What stands there.
        value: String,
    },
    /// More than is kept.
    #[error("more than {MOST_RANGES} ranges")]
    TooMany,
    /// It has no ranges.
    #[error("it has no ranges in it")]
    Empty,
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
}

/// Whose network an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network<'a> {
    /// As it is told: `aws/S3/eu-west-1`, `AS13335`.
    pub name: &'a str,
    /// Whose it is.
    pub vendor: &'a str,
    /// What tells.
    pub told_by: VendorSource,
}

/// All files, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    published: Spans,
    announced: Spans,
}

/// Files that are being read.
#[derive(Debug, Default)]
pub struct RangesBuilder {
    published: Gathered,
    announced: Gathered,
}

impl RangesBuilder {
    /// Take a file of published ranges; says whose they are. Of equal ranges of two files those of the first count.
    ///
    /// # Errors
    /// It cannot be read whole: nothing of it is to be used then.
    pub fn read_published(&mut self, text: &str) -> Result<&'static str, RangesError> {
        published::read(text, &mut self.published)
    }

    /// Take a table of autonomous systems; says how many ranges it has.
    ///
    /// # Errors
    /// It cannot be read whole: nothing of it is to be used then.
    pub fn read_announced(&mut self, lines: impl BufRead) -> Result<usize, RangesError> {
        announced::read(lines, &mut self.announced)
    }

    /// Put together what was read.
    pub fn build(self) -> Ranges {
        Ranges { published: self.published.build(), announced: self.announced.build() }
    }
}

impl Ranges {
    /// Whose network this address lies in.
    pub fn find(&self, ip: IpAddr) -> Option<Network<'_>> {
        let of = |told_by| move |(name, vendor)| Network { name, vendor, told_by };
        let published = self.published.find(ip).map(of(VendorSource::Range));
        published.or_else(|| self.announced.find(ip).map(of(VendorSource::Asn)))
    }

    /// Intervals that are kept of published ranges, and of those of autonomous systems.
    pub fn len(&self) -> (usize, usize) {
        (self.published.len(), self.announced.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

#[cfg(test)]
mod tests;
