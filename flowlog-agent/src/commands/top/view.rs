//! What the user looks at: rows by which name, of which part, in which order; and what keys do to that.

use super::filter::Filter;
use super::model::{By, Row, RowKey, Step, Window};

/// A key, as far as it means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Esc,
    Backspace,
    /// The line that is written is emptied.
    Clear,
}

/// What is to be done that is not the view's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Quit,
    /// Stop, or go on.
    Pause,
}

/// How deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Rows,
    /// Single records.
    Flows,
    /// One record, in full.
    Record,
    /// What is missing from the log.
    Notices,
    Help,
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// What matters most first: not enforced, denied, blocked, unknown.
    Weight,
    Name,
    NotEnforced,
    Denied,
    Blocked,
    Unknown,
    Other,
    Rate,
    Last,
}

impl Sort {
    const ALL: [Self; 9] = [
        Self::Weight,
        Self::Name,
        Self::NotEnforced,
        Self::Denied,
        Self::Blocked,
        Self::Unknown,
        Self::Other,
        Self::Rate,
        Self::Last,
    ];

    fn step(self, by: usize) -> Self {
        let place = Self::ALL.iter().position(|one| *one == self).unwrap_or_default();
        Self::ALL.get((place + by) % Self::ALL.len()).copied().unwrap_or(Self::Weight)
    }

    /// Put rows into this order.
    pub(super) fn order(self, rows: &mut [Row], reverse: bool) {
        rows.sort_by(|one, other| {
            let by_name = || one.key.cmp(&other.key);
            let ordering = match self {
                Self::Weight => other.weight().cmp(&one.weight()).then_with(|| other.last.cmp(&one.last)),
                Self::Name => by_name(),
                Self::NotEnforced => other.not_enforced.cmp(&one.not_enforced),
                Self::Denied => other.denied.cmp(&one.denied),
                Self::Blocked => other.blocked.cmp(&one.blocked),
                Self::Unknown => other.unknown.cmp(&one.unknown),
                Self::Other => other.other.cmp(&one.other),
                Self::Rate => other.minute.cmp(&one.minute),
                Self::Last => other.last.cmp(&one.last),
            };
            let ordering = if reverse { ordering.reverse() } else { ordering };
            ordering.then_with(by_name)
        });
    }
}

/// Where a list stands: which of it is chosen, and which is shown first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) chosen: usize,
    pub(super) first: usize,
}

impl Place {
    fn go(&mut self, key: Key, length: usize, page: usize) {
        let last = length.saturating_sub(1);
        self.chosen = match key {
            Key::Up | Key::Char('k') => self.chosen.saturating_sub(1),
            Key::Down | Key::Char('j') => self.chosen.saturating_add(1),
            Key::PageUp => self.chosen.saturating_sub(page.max(1)),
            Key::PageDown => self.chosen.saturating_add(page.max(1)),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            _ => self.chosen,
        }
        .min(last);
    }

    /// Show what is chosen, in so many lines.
    pub(super) fn fit(&mut self, length: usize, page: usize) {
        self.chosen = self.chosen.min(length.saturating_sub(1));
        self.first = self.first.min(self.chosen).min(length.saturating_sub(page.max(1)));
        self.first = self.first.max((self.chosen + 1).saturating_sub(page.max(1)));
    }
}

/// What the user looks at.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) by: By,
    pub(super) path: Vec<Step>,
    /// Where the user came from, one for each step and for the flows.
    back: Vec<(By, Place)>,
    pub(super) level: Level,
    /// What help and notices were called from.
    under: Level,
    pub(super) window: Window,
    pub(super) all: bool,
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    pub(super) filter: Option<Filter>,
    /// The filter that is being written, and what is wrong with it.
    pub(super) input: Option<String>,
    pub(super) wrong: Option<String>,
    pub(super) place: Place,
    /// The row that stays chosen wherever it goes; none follows the place.
    pub(super) follows: Option<RowKey>,
    /// Lines of a long text that are above.
    pub(super) scroll: usize,
}

/// What keys are about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) rows: &'a [Row],
    /// How many flows there are.
    pub(super) flows: usize,
    /// How many of them fit on the screen.
    pub(super) page: usize,
}

impl View {
    pub(super) fn new(by: By, window: Window, all: bool, sort: Sort) -> Self {
        Self {
            by,
            path: Vec::new(),
            back: Vec::new(),
            level: Level::Rows,
            under: Level::Rows,
            window,
            all,
            sort,
            reverse: false,
            filter: None,
            input: None,
            wrong: None,
            place: Place::default(),
            follows: None,
            scroll: 0,
        }
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: Key, shown: Shown<'_>) -> Asked {
        if self.input.is_some() {
            self.write(key);
            return Asked::Nothing;
        }
        match (self.level, key) {
            (_, Key::Char('q')) => return Asked::Quit,
            (_, Key::Char('p' | ' ')) => return Asked::Pause,
            (Level::Help | Level::Notices, Key::Esc | Key::Enter)
            | (Level::Help, Key::Char('?'))
            | (Level::Notices, Key::Char('n')) => {
                self.level = self.under;
            }
            (_, Key::Char('?')) => self.turn_to(Level::Help),
            (_, Key::Char('n')) => self.turn_to(Level::Notices),
            (Level::Notices, Key::Char('w')) => self.window = self.window.next(),
            (Level::Help | Level::Notices | Level::Record, Key::Up | Key::Char('k')) => {
                self.scroll = self.scroll.saturating_sub(1);
            }
            (Level::Help | Level::Notices | Level::Record, Key::Down | Key::Char('j')) => self.scroll += 1,
            (Level::Help | Level::Notices | Level::Record, Key::PageDown) => self.scroll += shown.page.max(1),
            (Level::Help | Level::Notices | Level::Record, Key::PageUp) => {
                self.scroll = self.scroll.saturating_sub(shown.page.max(1));
            }
            (Level::Help | Level::Notices | Level::Record, Key::Home) => self.scroll = 0,
            (Level::Record, Key::Esc | Key::Left | Key::Backspace) => self.level = Level::Flows,
            (Level::Rows | Level::Flows, key) => self.press_list(key, shown),
            _ => {}
        }
        Asked::Nothing
    }

    fn turn_to(&mut self, level: Level) {
        if !matches!(self.level, Level::Help | Level::Notices) {
            self.under = self.level;
        }
        (self.level, self.scroll) = (level, 0);
    }

    fn press_list(&mut self, key: Key, shown: Shown<'_>) {
        match key {
            Key::Enter | Key::Right => self.enter(shown),
            Key::Esc | Key::Left | Key::Backspace => self.leave(key),
            Key::Char('/') => {
                self.input =
                    Some(self.filter.as_ref().map_or_else(String::new, |filter| filter.written.clone()));
                self.wrong = None;
            }
            Key::Char('w') => self.window = self.window.next(),
            Key::Char('a') => self.all = !self.all,
            Key::Char('s') => self.sort = self.sort.step(1),
            Key::Char('S') => self.sort = self.sort.step(8),
            Key::Char('r') => self.reverse = !self.reverse,
            Key::Char('f') if self.level == Level::Rows => self.show_flows(),
            Key::Char(digit @ '1'..='6') if self.level == Level::Rows => {
                let by = By::ALL.iter().zip('1'..).find(|(_, named)| *named == digit);
                (self.by, self.place, self.follows) =
                    (by.map_or(self.by, |(by, _)| *by), Place::default(), None);
            }
            _ => {
                let length = if self.level == Level::Rows { shown.rows.len() } else { shown.flows };
                self.place.go(key, length, shown.page);
                // Who went somewhere looks at that row, wherever it moves; at the top it is whatever is there.
                let chosen = shown.rows.get(self.place.chosen).filter(|_| self.place.chosen > 0);
                self.follows = chosen.map(|row| row.key.clone());
            }
        }
    }

    /// Into what is chosen: the other end first, then the flows.
    fn enter(&mut self, shown: Shown<'_>) {
        if self.level == Level::Flows {
            if shown.flows > 0 {
                (self.level, self.scroll) = (Level::Record, 0);
            }
            return;
        }
        let Some(row) = shown.rows.get(self.place.chosen) else { return };
        let step = Step { by: self.by, key: row.key.clone() };
        self.path.push(step);
        let has = |by: By| self.path.iter().any(|step| step.by == by || step.by == By::Pair);
        let next = match self.by {
            By::Pair => None,
            By::Source => (!has(By::Destination)).then_some(By::Destination),
            By::Destination => (!has(By::Source)).then_some(By::Source),
            By::Vendor | By::Policy | By::Class => {
                (!has(By::Source) || !has(By::Destination)).then_some(By::Pair)
            }
        };
        self.back.push((self.by, std::mem::take(&mut self.place)));
        self.follows = None;
        match next {
            Some(by) => self.by = by,
            None => self.level = Level::Flows,
        }
    }

    /// The flows of all that is there.
    fn show_flows(&mut self) {
        self.back.push((self.by, std::mem::take(&mut self.place)));
        (self.level, self.follows) = (Level::Flows, None);
    }

    fn leave(&mut self, key: Key) {
        // What is narrowed last is widened first.
        let Some((by, place)) = self.back.pop() else {
            if key == Key::Esc {
                self.filter = None;
            }
            return;
        };
        // Flows of all have no step of their own.
        if self.path.len() > self.back.len() {
            self.path.pop();
        }
        (self.by, self.place, self.level, self.follows) = (by, place, Level::Rows, None);
    }

    fn write(&mut self, key: Key) {
        let Some(text) = &mut self.input else { return };
        match key {
            Key::Char(c) => text.push(c),
            Key::Backspace => {
                text.pop();
            }
            Key::Clear => text.clear(),
            Key::Esc => self.input = None,
            Key::Enter => match Filter::read(text) {
                Ok(filter) => {
                    (self.filter, self.input) = (filter, None);
                    (self.place, self.follows) = Default::default();
                }
                Err(wrong) => {
                    self.wrong = Some(wrong);
                    return;
                }
            },
            _ => {}
        }
        self.wrong = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::top::model::{Limits, Model, Scope};
    use crate::commands::top::told::{self, Told};
    use crate::model::{Class, Decision, Direction, State};
    use jiff::Timestamp;

    fn model() -> Model {
        let mut model = Model::new(Limits::default());
        for (source, destination, count) in [("a", "x", 1), ("b", "x", 5), ("b", "y", 7), ("c", "z", 3)] {
            let name = |text: &str| Some(text.into());
            let key = told::Key {
                source: name(source),
                destination: name(destination),
                vendor: name("v"),
                policy: name("p"),
                class: Class::DeniedAttempt,
                state: State::Dropped,
                decision: Decision::Deny,
                direction: Direction::Egress,
                second: false,
            };
            let (update, sums, replayed, settling) = Default::default();
            let (time, line) = (Timestamp::UNIX_EPOCH, (*b"{}").into());
            model.take(
                Told { key, opener: None, time, id: None, count, update, sums, replayed, settling, line },
                time,
            );
        }
        model
    }

    /// Presses keys one after the other, as the screen has it; the rows that are seen then.
    fn press(view: &mut View, keys: &[Key]) -> Vec<String> {
        let model = model();
        let rows = |view: &View| {
            let now = Timestamp::UNIX_EPOCH;
            let picks = |edge: &_| view.filter.as_ref().is_none_or(|filter| filter.picks(edge));
            let scope = Scope { window: view.window, now, path: &view.path, all: view.all, picks: &picks };
            let mut rows = model.rows(view.by, &scope);
            view.sort.order(&mut rows, view.reverse);
            rows
        };
        for key in keys {
            let rows = rows(view);
            view.press(*key, Shown { rows: &rows, flows: 2, page: 2 });
        }
        rows(view).iter().map(|row| row.key.text()).collect()
    }

    fn view() -> View {
        View::new(By::Source, Window::Five, false, Sort::Weight)
    }

    #[test]
    fn rows_are_opened_to_their_other_end_and_then_to_their_flows() {
        let (mut view, down, enter, esc) = (view(), Key::Down, Key::Enter, Key::Esc);
        assert_eq!(press(&mut view, &[]), ["b", "c", "a"]);
        assert_eq!(press(&mut view, &[enter]), ["y", "x"]);
        assert_eq!((view.by, view.level), (By::Destination, Level::Rows));
        assert_eq!(press(&mut view, &[down, enter]), ["x"]);
        assert_eq!((view.level, view.path.len()), (Level::Flows, 2));
        press(&mut view, &[down, enter]);
        assert_eq!((view.level, view.place.chosen), (Level::Record, 1));
        // Back the same way, each list as it was left.
        press(&mut view, &[Key::Char('?'), esc, esc]);
        assert_eq!(view.level, Level::Flows);
        assert_eq!(press(&mut view, &[esc]), ["y", "x"]);
        assert_eq!(view.place.chosen, 1);
        assert_eq!(press(&mut view, &[esc]), ["b", "c", "a"]);
        assert_eq!((view.by, view.path.len()), (By::Source, 0));
        // Other names of a part; pairs have both ends, and all their flows at once.
        assert_eq!(press(&mut view, &[Key::Char('5'), enter]), ["b → y", "b → x", "c → z", "a → x"]);
        press(&mut view, &[enter]);
        assert_eq!((view.level, view.path.len()), (Level::Flows, 2));
        press(&mut view, &[esc, Key::Char('f')]);
        assert_eq!((view.level, view.path.len()), (Level::Flows, 1));
        assert_eq!(press(&mut view, &[esc, esc]), ["p"]);
        assert_eq!(view.level, Level::Rows);
    }

    #[test]
    fn a_filter_is_written_mended_and_taken_away() {
        let mut view = view();
        let write = |text: &str| text.chars().map(Key::Char).collect::<Vec<_>>();
        press(&mut view, &[&[Key::Char('/')][..], &write("class=q"), &[Key::Enter]].concat());
        assert!(view.wrong.as_ref().unwrap().contains("not a class") && view.input.is_some());
        // Letters are letters while it is written.
        assert_eq!(
            press(&mut view, &[&[Key::Clear][..], &write("y!"), &[Key::Backspace, Key::Enter]].concat()),
            ["b"]
        );
        assert_eq!((view.input.clone(), view.wrong.clone()), (None, None));
        // Left as it was.
        assert_eq!(press(&mut view, &[Key::Char('/'), Key::Char('z'), Key::Esc]), ["b"]);
        assert_eq!(press(&mut view, &[Key::Esc]), ["b", "c", "a"]);
    }

    #[test]
    fn rows_are_sorted_by_every_column_and_the_other_way_round() {
        let mut view = view();
        assert_eq!(press(&mut view, &[Key::Char('s')]), ["a", "b", "c"]);
        assert_eq!(press(&mut view, &[Key::Char('r')]), ["c", "b", "a"]);
        assert_eq!(press(&mut view, &[Key::Char('r'), Key::Char('s'), Key::Char('s')]), ["b", "c", "a"]);
        assert_eq!(view.sort, Sort::Denied);
        press(&mut view, &[Key::Char('S'); 3]);
        assert_eq!(view.sort, Sort::Weight);
        press(&mut view, &[Key::Char('w'), Key::Char('w'), Key::Char('a')]);
        assert_eq!((view.window, view.all), (Window::All, true));
    }

    #[test]
    fn who_walks_stays_with_the_row_and_at_the_top_with_the_place() {
        let mut view = view();
        press(&mut view, &[Key::Down]);
        assert_eq!(view.follows.as_ref().map(RowKey::text).as_deref(), Some("c"));
        press(&mut view, &[Key::PageDown, Key::PageDown]);
        assert_eq!(view.place.chosen, 2);
        press(&mut view, &[Key::Home]);
        assert_eq!((view.follows.is_none(), view.place.chosen), (true, 0));
        let mut place = Place { chosen: 9, first: 0 };
        for (length, page, expected) in
            [(20, 5, (9, 5)), (20, 12, (9, 5)), (4, 3, (3, 1)), (0, 3, (0, 0)), (3, 0, (0, 0))]
        {
            place.fit(length, page);
            assert_eq!((place.chosen, place.first), expected, "{length} {page}");
        }
    }

    #[test]
    fn quitting_and_pausing_are_not_the_views() {
        let mut view = view();
        let shown = Shown { rows: &[], flows: 0, page: 1 };
        for (key, asked) in
            [(Key::Char('q'), Asked::Quit), (Key::Char(' '), Asked::Pause), (Key::Enter, Asked::Nothing)]
        {
            assert_eq!(view.press(key, shown), asked);
        }
        // Nothing was there to be opened.
        assert_eq!(view.level, Level::Rows);
    }
}
