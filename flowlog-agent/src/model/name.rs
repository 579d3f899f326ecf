//! Names that an address outside the cluster went by. They are told, and decide nothing.

use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// Where a name came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// A DNS answer that the opener's pod took before it opened.
    DnsAnswer,
}

/// A name of an address, as the one who opened had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name that was asked for, in lower case, without the dot at its end.
    pub name: Arc<str>,
    /// The name to which that one led (CNAME), where it is another.
    pub canonical: Option<Arc<str>>,
    /// Where it came from.
    pub source: NameSource,
    /// How long before the attempt it was told last, nanoseconds.
    pub age_ns: u64,
    /// How long whoever told it lets it be kept, seconds.
    pub ttl_s: u32,
}

/// Names of one address, the one that was told last first.
pub type Names = Arc<[Name]>;
