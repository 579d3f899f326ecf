//! Records in columns. A page of them is held until its widths are known.

use super::ends::{destination, party};
use super::{Out, finding_text, style_of, word};
use crate::record::row::Row;
use crate::report::shown;
use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

/// Rows whose columns are laid out together.
const PAGE: usize = 500;

/// A column is never made narrower than that.
const NARROWEST: usize = 6;

const TITLES: [&str; 8] =
    ["TIME", "CLASS", "VERDICT×OUTCOME", "SOURCE", "DESTINATION", "PROCESS", "DROP", "COUNT"];

/// Columns that give way where the terminal is too narrow: names.
const GIVES_WAY: [usize; 2] = [3, 4];

/// The row of a record.
pub(super) fn cells(row: &Row<'_>) -> Out {
    let time = row.time.strftime("%m-%d %H:%M:%S%.3f").to_string();
    let mut cells = vec![time, word(row)];
    if let (Some(flow), Some(source), Some(to)) = (&row.flow, &row.source, &row.destination) {
        let both = row.verdict.as_ref().zip(row.outcome.as_ref());
        let both = both.map(|(verdict, outcome)| (verdict.decision.as_str(), outcome.state.as_str()));
        cells.push(both.map_or_else(String::new, |(verdict, outcome)| format!("{verdict}×{outcome}")));
        cells.extend([party(source), destination(to, flow.protocol)]);
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
#[derive(Debug, Default)]
pub(in super::super) struct Table {
    rows: Vec<(Vec<String>, Style)>,
}

impl Table {
    /// Add a row; the page, where it is full.
    pub(in super::super) fn add(
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
    pub(in super::super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What there is, laid out.
    pub(in super::super) fn page(&mut self, width: Option<usize>, colour: bool) -> String {
        let rows = std::mem::take(&mut self.rows);
        let titles: Vec<String> = TITLES.iter().map(|title| (*title).to_owned()).collect();
        let widths = widths(std::iter::once(&titles).chain(rows.iter().map(|(cells, _)| cells)), width);
        let mut page = String::new();
        line(&mut page, &titles, &widths, colour.then(|| Style::new().bold()), 0..TITLES.len());
        for (cells, style) in &rows {
            line(&mut page, cells, &widths, colour.then_some(*style), 1..2);
        }
        page
    }
}

/// Of each column what its longest cell takes; less where the whole would be too wide.
fn widths<'a>(rows: impl Iterator<Item = &'a Vec<String>>, limit: Option<usize>) -> Vec<usize> {
    let mut widths = vec![0; TITLES.len()];
    // What is no flow is one text to the end of the line.
    for cells in rows.filter(|cells| cells.len() == TITLES.len()) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.width());
        }
    }
    let Some(limit) = limit else { return widths };
    let over =
        |widths: &[usize]| (widths.iter().sum::<usize>() + 2 * (TITLES.len() - 1)).saturating_sub(limit);
    while over(&widths) > 0 {
        let widest = GIVES_WAY.into_iter().max_by_key(|place| widths.get(*place).copied().unwrap_or(0));
        match widest.and_then(|place| widths.get_mut(place)).filter(|width| **width > 2 * NARROWEST) {
            Some(width) => *width -= 1,
            None => break,
        }
    }
    widths
}

fn line(
    page: &mut String,
    cells: &[String],
    widths: &[usize],
    style: Option<Style>,
    styled: std::ops::Range<usize>,
) {
    let mut text = String::new();
    let last = cells.len().saturating_sub(1);
    for (place, cell) in cells.iter().enumerate() {
        let width = widths.get(place).copied().unwrap_or(0);
        let whole = place == last && cells.len() < widths.len();
        let cell = if whole { cell.clone() } else { cut(cell, width) };
        let pad = if place == last { 0 } else { width.saturating_sub(cell.width()) + 2 };
        let style = style.filter(|_| styled.contains(&place));
        match style {
            Some(style) => text.push_str(&format!("{style}{cell}{style:#}")),
            None => text.push_str(&cell),
        }
        text.push_str(&" ".repeat(pad));
    }
    page.push_str(text.trim_end());
    page.push('\n');
}

/// The text in so many columns; what is cut is marked.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if cut.width() + c.to_string().width() + 1 > width {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}
