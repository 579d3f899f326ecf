//! The rows as text, once: for scripts and cron. Names are whole and numbers have digits alone.

use super::log::Log;
use super::model::{Model, Row};
use super::screen::Column;
use super::text::{Letters, age};
use super::view::View;
use crate::model::Class;
use crate::report::shown;
use jiff::Timestamp;
use std::fmt::Write as _;

/// What is printed.
pub(super) struct Printed<'a> {
    pub(super) source: &'a str,
    pub(super) now: Timestamp,
    pub(super) model: &'a Model,
    pub(super) log: &'a Log,
    pub(super) view: &'a View,
    pub(super) rows: &'a [Row],
    pub(super) left_out: usize,
}

pub(super) fn table(printed: &Printed<'_>) -> String {
    let Printed { source, now, model, log, view, rows, left_out } = *printed;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "flowlog top: {}, window {}, {}",
        shown::line(source),
        view.window.name(),
        now.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    let of = |classes: &[Class]| -> u64 {
        classes
            .iter()
            .map(|class| model.of_class(*class, view.window, now).count)
            .fold(0, u64::saturating_add)
    };
    let _ = writeln!(
        out,
        "not enforced {}, denied {}, blocked {}, unknown {}, other {}",
        of(&[Class::PolicyNotEnforced]),
        of(&[Class::DeniedAttempt]),
        of(&[Class::BlockedThoughAllowed, Class::BlockedUnexplained]),
        of(&[Class::Undetermined]),
        of(&[Class::Allowed, Class::Unrestricted, Class::Refused, Class::Failed])
    );
    let _ = write!(out, "lost {}, gaps {}", log.lost(view.window, now), log.missing.of(view.window, now));
    for (count, what) in [
        (log.uncaptured.of(view.window, now), "times without capture"),
        (log.sums.refused, "lines unreadable"),
        (model.replayed, "attempts perhaps twice"),
        (model.unmatched, "updates of attempts that were not read"),
    ] {
        if count > 0 {
            let _ = write!(out, ", {count} {what}");
        }
    }
    if let Some((node, since, _)) = log.stale() {
        let _ = write!(out, ", policies stale since {since} ({})", shown::line(node));
    }
    let _ = writeln!(out, ", nodes {}, lines {}\n", log.nodes.len(), log.sums.lines);
    let columns: Vec<Column> =
        Column::all(view.all).into_iter().filter(|column| *column != Column::Trend).collect();
    for column in &columns {
        let _ = write!(out, "{:>10}", column.title());
    }
    let _ = writeln!(out, "  {}", view.by.word().to_uppercase());
    for row in rows {
        for column in &columns {
            let _ = write!(out, "{:>10}", cell(*column, row, now));
        }
        let settling = if row.settling { " (settling)" } else { "" };
        let _ = writeln!(out, "  {}{settling}", row.key.text());
    }
    if left_out > 0 {
        let _ = writeln!(out, "and {left_out} more rows");
    }
    out
}

fn cell(column: Column, row: &Row, now: Timestamp) -> String {
    match column {
        Column::NotEnforced => row.not_enforced.to_string(),
        Column::Denied => row.denied.to_string(),
        Column::Blocked => row.blocked.to_string(),
        Column::Unknown => row.unknown.to_string(),
        Column::Other => row.other.to_string(),
        Column::Rate => row.minute.to_string(),
        Column::Last => age(now.duration_since(row.last).as_secs()),
        Column::Trend => column.cell(row, now, Letters::Ascii),
    }
}
