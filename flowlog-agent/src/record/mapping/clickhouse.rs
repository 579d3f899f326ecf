//! A table of ClickHouse with a column for each field.

use super::{Field, Inner};
use std::fmt::Write as _;

const HEAD: &str = "\
-- Records in ClickHouse, a column for each field of flowlog's own format. Made by `flowlog schema --mapping clickhouse`.
--
-- An address is a text: IPv4 and IPv6 stand in one column, and isIPAddressInRange() takes a text. What is absent is empty, or NULL
-- where a number is. A line that comes twice is there once as soon as its parts are merged, or with FINAL.
CREATE TABLE IF NOT EXISTS flowlog_records
(
";

const TAIL: &str = ")
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(time)
ORDER BY (kind, class, time, node, run, seq)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;
";

/// The statement that makes it.
pub(super) fn table(fields: &Field) -> String {
    let Field::Parts(parts) = fields else { return String::new() };
    let mut text = HEAD.to_owned();
    let columns: Vec<String> = parts.iter().map(|(name, field)| column(name, field, 1)).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", columns.join(",\n"));
    text + TAIL
}

fn column(name: &str, field: &Field, depth: usize) -> String {
    format!("{}`{name}` {}", "    ".repeat(depth), type_of(field, depth))
}

fn type_of(field: &Field, depth: usize) -> String {
    let maybe = |optional: bool, name: String| if optional { format!("Nullable({name})") } else { name };
    match field {
        Field::Text { few: true } => "LowCardinality(String)".to_owned(),
        Field::Text { few: false } | Field::Ip => "String".to_owned(),
        Field::Time { optional } => maybe(*optional, "DateTime64(9, 'UTC')".to_owned()),
        Field::Whole { bits, optional } => maybe(*optional, format!("UInt{bits}")),
        Field::Flag { optional } => maybe(*optional, "Bool".to_owned()),
        Field::Map(Inner::Text) => "Map(LowCardinality(String), String)".to_owned(),
        Field::Map(Inner::Whole) => "Map(LowCardinality(String), UInt64)".to_owned(),
        // As JSON.
        Field::Map(Inner::Any) => "String".to_owned(),
        Field::List(inner) => format!("Array({})", type_of(inner, depth)),
        Field::Parts(parts) => {
            let columns: Vec<String> =
                parts.iter().map(|(name, field)| column(name, field, depth + 1)).collect();
            format!("Tuple(\n{})", columns.join(",\n"))
        }
    }
}
