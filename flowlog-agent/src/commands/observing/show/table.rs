//! Records in columns. A page of them is held until its widths are known.

use super::ends::{listener, name, vendor};
use super::{Out, finding_text, style_of, word};
use crate::record::row::Row;
use crate::report::shown;
use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

/// Rows whose columns are laid out together.
const PAGE: usize = 500;

/// Names are cut to no less than that before other columns give way.
const NARROW: usize = 22;

/// In a narrower terminal a time is one of the day.
const SHORT_TIMES: usize = 100;

const TITLES: [&str; 9] =
    ["TIME", "CLASS", "VERDICT×OUTCOME", "SOURCE", "DESTINATION", "VENDOR", "PROCESS", "DROP", "COUNT"];

/// Columns of names, which are cut where the terminal is too narrow.
const NAMES: [usize; 2] = [3, 4];

/// Columns that are left out then, in this order.
const LEFT_OUT: [usize; 4] = [7, 6, 2, 5];

/// The row of a record.
pub(super) fn cells(row: &Row<'_>) -> Out {
    let time = row.time.strftime("%m-%d %H:%M:%S%.3f").to_string();
    let mut cells = vec![time, word(row)];
    if let (Some(flow), Some(source), Some(to)) = (&row.flow, &row.source, &row.destination) {
        let both = row.verdict.as_ref().zip(row.outcome.as_ref());
        let both = both.map(|(verdict, outcome)| (verdict.decision.as_str(), outcome.state.as_str()));
        cells.push(both.map_or_else(String::new, |(verdict, outcome)| format!("{verdict}×{outcome}")));
        cells.extend([name(source), listener(to, flow.protocol)]);
        let vendors: Vec<String> = [source, to].into_iter().filter_map(vendor).collect();
        cells.push(vendors.join(" → "));
        let comm = row.process.as_ref().and_then(|process| process.comm.as_ref());
        cells.push(comm.map_or_else(String::new, |comm| shown::line(comm).into_owned()));
        let drop = row.outcome.as_ref().and_then(|outcome| outcome.drop.as_ref());
        cells.push(drop.map_or_else(String::new, |drop| shown::line(&drop.reason).into_owned()));
        cells.push(flow.count.to_string());
    } else {
        let text = match (&row.finding, &row.loss, &row.agent) {
            (Some(finding), _, _) => finding_text(finding),
            (_, Some(loss), _) => super::loss_text(&row.node, loss),
            (_, _, Some(agent)) => super::agent_text(&row.node, agent),
            _ => String::new(),
        };
        cells.extend([String::new(), text]);
    }
    Out::Cells(cells, row.severity.map_or_else(Style::new, style_of))
}

/// A page in the making.
#[derive(Clone, Debug, Default)]
pub(in crate::commands) struct Table {
    rows: Vec<(Vec<String>, Style)>,
}

impl Table {
    /// Add a row; the page, where it is full.
    pub(in crate::commands) fn add(
        &mut self,
        cells: Vec<String>,
        style: Style,
        width: Option<usize>,
        colour: bool,
    ) -> Option<String> {
        self.rows.push((cells, style));
        (self.rows.len() >= PAGE).then(|| self.page(width, colour))
    }

    /// Whether rows wait for their page.
    pub(in crate::commands) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What there is, laid out.
    pub(in crate::commands) fn page(&mut self, width: Option<usize>, colour: bool) -> String {
        let mut rows = std::mem::take(&mut self.rows);
        if width.is_some_and(|width| width < SHORT_TIMES) {
            for time in rows.iter_mut().filter_map(|(cells, _)| cells.first_mut()) {
                *time =
                    time.split(' ').next_back().and_then(|time| time.get(..8)).unwrap_or_default().to_owned();
            }
        }
        let titles: Vec<String> = TITLES.iter().map(|title| (*title).to_owned()).collect();
        let widths = widths(std::iter::once(&titles).chain(rows.iter().map(|(cells, _)| cells)), width);
        let mut page = String::new();
        line(&mut page, &titles, &widths, colour.then(|| Style::new().bold()), width);
        for (cells, style) in &rows {
            line(&mut page, cells, &widths, colour.then_some(*style), width);
        }
        page
    }
}

/// Of each column what its longest cell takes; less, or nothing, where the whole would be too wide.
fn widths<'a>(rows: impl Iterator<Item = &'a Vec<String>>, limit: Option<usize>) -> Vec<usize> {
    let mut widths = vec![0; TITLES.len()];
    // What is no flow is one text to the end of the line.
    for cells in rows.filter(|cells| cells.len() == TITLES.len()) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.width());
        }
    }
    let Some(limit) = limit else { return widths };
    let taken = |widths: &[usize]| -> usize {
        widths.iter().filter(|width| **width > 0).map(|width| width + 2).sum::<usize>().saturating_sub(2)
    };
    for column in LEFT_OUT {
        let mut narrow = widths.clone();
        for place in NAMES {
            if let Some(name) = narrow.get_mut(place) {
                *name = (*name).min(NARROW);
            }
        }
        if taken(&narrow) > limit
            && let Some(width) = widths.get_mut(column)
        {
            *width = 0;
        }
    }
    while taken(&widths) > limit {
        let widest = NAMES.into_iter().max_by_key(|place| widths.get(*place).copied().unwrap_or(0));
        match widest.and_then(|place| widths.get_mut(place)).filter(|width| **width > 8) {
            Some(width) => *width -= 1,
            None => break,
        }
    }
    widths
}

/// Only the titles, and the class, have a style.
fn line(page: &mut String, cells: &[String], widths: &[usize], style: Option<Style>, limit: Option<usize>) {
    let is_text = cells.len() < widths.len();
    let last = cells.len().saturating_sub(1);
    let mut at = 0;
    for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if *width == 0 {
            continue;
        }
        let cell = match is_text && place == last {
            true => limit.map_or_else(|| cell.clone(), |limit| cut(cell, limit.saturating_sub(at))),
            false => cut(cell, *width),
        };
        let pad = if place == last { 0 } else { width.saturating_sub(cell.width()) + 2 };
        at += cell.width() + pad;
        match style.filter(|_| place == 1 || cells.first().is_some_and(|first| first == TITLES[0])) {
            Some(style) => page.push_str(&format!("{style}{cell}{style:#}")),
            None => page.push_str(&cell),
        }
        page.push_str(&" ".repeat(pad));
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
}

/// The text in so many columns. What is left out is marked, and taken from the middle: names end with what tells them apart.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let front = take(text.chars(), room.div_ceil(2));
    let back: String = take(text.chars().rev(), room - front.width()).chars().rev().collect();
    format!("{front}…{back}")
}

/// As many of them as have room.
fn take(chars: impl Iterator<Item = char>, room: usize) -> String {
    let mut taken = String::new();
    for c in chars {
        taken.push(c);
        if taken.width() > room {
            taken.pop();
            break;
        }
    }
    taken
}
