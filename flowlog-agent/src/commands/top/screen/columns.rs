//! Rows in columns: as many columns as there is room for beside the names, what matters least going first.

use super::super::model::{By, Row};
use super::super::text::{Letters, age, fit, number, trend};
use super::super::view::Sort;
use super::{BOLD, CHOSEN, DIM, Pen, Scene};
use jiff::Timestamp;
use ratatui::style::{Color, Modifier, Style};

/// A column beside the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Column {
    NotEnforced,
    Denied,
    Blocked,
    Unknown,
    Other,
    Rate,
    Last,
    Trend,
}

impl Column {
    /// Its title, its width with a space before it, and how long it stays.
    fn facts(self) -> (&'static str, usize, u8) {
        match self {
            Self::NotEnforced => ("NOT-ENF", 9, 8),
            Self::Denied => ("DENIED", 8, 7),
            Self::Other => ("OTHER", 8, 6),
            Self::Blocked => ("BLOCKED", 9, 5),
            Self::Last => ("LAST", 5, 4),
            Self::Rate => ("/MIN", 8, 3),
            Self::Unknown => ("UNKN", 8, 2),
            Self::Trend => ("TREND", 9, 1),
        }
    }

    fn sort(self) -> Option<Sort> {
        match self {
            Self::NotEnforced => Some(Sort::NotEnforced),
            Self::Denied => Some(Sort::Denied),
            Self::Blocked => Some(Sort::Blocked),
            Self::Unknown => Some(Sort::Unknown),
            Self::Other => Some(Sort::Other),
            Self::Rate => Some(Sort::Rate),
            Self::Last => Some(Sort::Last),
            Self::Trend => None,
        }
    }

    /// What stands in it.
    pub(in super::super) fn cell(self, row: &Row, now: Timestamp, letters: Letters) -> String {
        match self {
            Self::NotEnforced => number(row.not_enforced),
            Self::Denied => number(row.denied),
            Self::Blocked => number(row.blocked),
            Self::Unknown => number(row.unknown),
            Self::Other => number(row.other),
            Self::Rate => number(row.minute),
            Self::Last => age(now.duration_since(row.last).as_secs()),
            Self::Trend => trend(&row.trend, letters),
        }
    }

    fn style(self, row: &Row, pen: &Pen<'_>) -> Style {
        let (count, colour) = match self {
            Self::NotEnforced => (row.not_enforced, Color::Red),
            Self::Denied => (row.denied, Color::Yellow),
            Self::Blocked => (row.blocked, Color::Magenta),
            Self::Unknown => (row.unknown, Color::Cyan),
            Self::Other => (row.other, Color::Green),
            Self::Rate | Self::Last | Self::Trend => return Style::new(),
        };
        match count {
            0 => DIM,
            _ if self == Self::NotEnforced => pen.style(colour).add_modifier(Modifier::BOLD),
            _ => pen.style(colour),
        }
    }

    /// Those there may be, in their order.
    pub(in super::super) fn all(other: bool) -> Vec<Self> {
        let all = [
            Self::NotEnforced,
            Self::Denied,
            Self::Blocked,
            Self::Unknown,
            Self::Other,
            Self::Rate,
            Self::Last,
            Self::Trend,
        ];
        all.into_iter().filter(|column| other || *column != Self::Other).collect()
    }

    pub(in super::super) fn title(self) -> &'static str {
        self.facts().0
    }
}

/// Columns for which there is room beside names of this width.
fn fitting(width: usize, names: usize, other: bool) -> Vec<Column> {
    let mut columns = Column::all(other);
    let taken = |columns: &[Column]| columns.iter().map(|column| column.facts().1).sum::<usize>();
    while columns.len() > 1 && taken(&columns) + names > width {
        let least = columns.iter().map(|column| column.facts().2).min();
        columns.retain(|column| Some(column.facts().2) != least);
    }
    columns
}

pub(super) fn table(scene: &Scene<'_>, pen: &mut Pen<'_>, page: usize) {
    let view = scene.view;
    let wanted = match view.by {
        By::Pair | By::Policy => 40,
        By::Source | By::Destination | By::Vendor | By::Class => 24,
    };
    let columns = fitting(pen.width(), wanted.min(pen.width() / 2), view.all);
    let names = pen.width().saturating_sub(columns.iter().map(|column| column.facts().1).sum());
    heading(scene, pen, &columns, names);
    let top = pen.y;
    for (number, row) in scene.rows.iter().enumerate().skip(view.place.first).take(page) {
        let is_chosen = number == view.place.chosen;
        let mark = if is_chosen { scene.looks.letters.pick("▶", ">") } else { " " };
        let settling = if row.settling { "~" } else { " " };
        let name = scene.looks.letters.plain(&row.key.text());
        let name = fit(&name, names.saturating_sub(2), scene.looks.letters);
        let base = if is_chosen { CHOSEN } else { Style::new() };
        let mut x = 0;
        for text in [mark, settling, &name] {
            x = put_raw(pen, x, text, base);
        }
        for column in &columns {
            let (_, width, _) = column.facts();
            let cell = column.cell(row, scene.now, scene.looks.letters);
            let style = if is_chosen { base } else { column.style(row, pen) };
            x = put_raw(pen, x, &format!("{cell:>width$}"), style);
        }
        pen.down();
    }
    if scene.rows.is_empty() {
        pen.y = top;
        empty(scene, pen);
    }
}

/// What is drawn in the terminal's own letters already.
fn put_raw(pen: &mut Pen<'_>, x: u16, text: &str, style: Style) -> u16 {
    if x >= pen.area.width || pen.y >= pen.area.bottom() {
        return x;
    }
    let room = usize::from(pen.area.width - x);
    let (end, _) = pen.buffer.set_stringn(pen.area.x + x, pen.y, text, room, style);
    end - pen.area.x
}

fn heading(scene: &Scene<'_>, pen: &mut Pen<'_>, columns: &[Column], names: usize) {
    let view = scene.view;
    let arrow = match view.reverse {
        false => scene.looks.letters.pick("▼", "v"),
        true => scene.looks.letters.pick("▲", "^"),
    };
    let count = scene.rows.len();
    let mut title = format!("  {}", view.by.word().to_uppercase());
    if view.sort == Sort::Name {
        title.push_str(arrow);
    }
    title.push_str(&format!(" ({count})"));
    let hidden = Column::all(view.all).len() - columns.len();
    if hidden > 0 {
        title.push_str(&if names > 30 {
            format!("  {hidden} columns hidden")
        } else {
            format!(" {hidden} hidden")
        });
    }
    let style = BOLD.add_modifier(Modifier::UNDERLINED);
    let mut x = put_raw(pen, 0, &fit(&title, names, scene.looks.letters), style);
    for column in columns {
        let (title, width, _) = column.facts();
        let is_sorted = column.sort() == Some(view.sort);
        // By weight is by the first of these.
        let by_weight = view.sort == Sort::Weight && *column == Column::NotEnforced;
        let title = if is_sorted || by_weight { format!("{title}{arrow}") } else { title.to_owned() };
        x = put_raw(pen, x, &format!("{title:>width$}"), style);
    }
    pen.down();
}

/// Why there is nothing.
fn empty(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    use super::super::log::Reach;
    let view = scene.view;
    let newest = scene.log.newest.map(|newest| scene.now.duration_since(newest).as_secs());
    let mut lines = Vec::new();
    match (scene.log.reach, newest) {
        (Reach::Before, None) => lines.push("reading …".to_owned()),
        (_, None) => lines.push("no records yet: waiting for what is written".to_owned()),
        (_, Some(seconds)) => {
            let what = if view.all { "nothing" } else { "nothing denied, not enforced, blocked or unknown" };
            lines.push(format!("{what} in this window ({})", view.window.name()));
            if view.window.seconds().is_some_and(|window| seconds > window) {
                lines.push(format!("the newest record is {} old", age(seconds)));
                lines.push("w: a longer window; all of a log: --window all".to_owned());
            }
        }
    }
    if view.filter.is_some() {
        lines.push("a filter is set: Esc takes it away".to_owned());
    }
    for line in lines {
        pen.line(&format!("  {line}"), DIM);
    }
}
