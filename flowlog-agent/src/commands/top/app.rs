//! What is counted and what is looked at, put together: news in, a picture out. It may stand still while counting goes on.

use super::log::{Log, Reach};
use super::model::{Limits, Model, Row, Scope, Window};
use super::reader::{Batch, State};
use super::screen::{self, Line, Looks, Scene};
use super::view::{Asked, Key, Level, Shown, View};
use crate::record::row;
use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::sync::Arc;

/// Flows that can be walked through.
const MOST_FLOWS: usize = 500;

/// A picture that stands still.
struct Still {
    model: Model,
    now: Timestamp,
    /// Lines that had been read.
    lines: u64,
}

/// All of it.
pub(super) struct App {
    source: String,
    model: Model,
    pub(super) log: Log,
    pub(super) view: View,
    still: Option<Box<Still>>,
    rows: Vec<Row>,
    flows: Vec<Line>,
    chosen: Option<Arc<[u8]>>,
    page: usize,
    details_from: Option<Timestamp>,
    looks: Looks,
}

impl App {
    pub(super) fn new(source: String, view: View, details_from: Option<Timestamp>, looks: Looks) -> Self {
        Self {
            source,
            model: Model::new(Limits::default()),
            log: Log::default(),
            view,
            still: None,
            rows: Vec::new(),
            flows: Vec::new(),
            chosen: None,
            page: 1,
            details_from,
            looks,
        }
    }

    /// Count what came.
    pub(super) fn take(&mut self, batch: Batch, now: Timestamp) {
        let Batch { told, plain, seen, states, notices, lacks, sums, reach, .. } = batch;
        seen.iter().for_each(|(node, time)| self.log.see(node, *time));
        for mut told in told {
            told.key.second = told.opener.as_deref().is_some_and(|node| self.log.nodes.contains_key(node));
            self.model.take(told, now);
        }
        for ((class, second), count) in plain {
            if let Ok(time) = Timestamp::from_second(second) {
                self.model.add_plain(class, time, count, now);
            }
        }
        for (node, state) in states {
            let Some(node) = self.log.node(&node) else { continue };
            match state {
                State::Started => node.stopped = false,
                State::Stopped => node.stopped = true,
                State::Stale(since) => node.stale_since = since,
            }
        }
        notices.into_iter().for_each(|(time, text)| self.log.note(time, text));
        lacks.into_iter().for_each(|(time, what)| self.log.lack(time, what, now));
        (self.log.sums, self.log.reach) = (sums, reach);
    }

    pub(super) fn trouble(&mut self, what: String, now: Timestamp) {
        self.log.note(now, crate::report::shown::line(&what).into_owned());
        self.log.trouble = Some(what);
    }

    /// It cannot go on; what was counted can be looked at.
    pub(super) fn fail(&mut self, what: String) {
        (self.log.failed, self.log.reach) = (Some(what), Reach::Ended);
    }

    /// A key was pressed; whether that was to quit.
    pub(super) fn press(&mut self, key: Key, now: Timestamp) -> bool {
        // What went wrong once need not stand there for ever.
        self.log.trouble = None;
        let shown = Shown { rows: &self.rows, flows: self.flows.len(), page: self.page };
        let asked = self.view.press(key, shown);
        self.chosen = self.flows.get(self.view.place.chosen).map(|(_, line)| Arc::clone(line));
        match asked {
            Asked::Nothing => {}
            Asked::Quit => return true,
            Asked::Pause => self.pause(now),
        }
        false
    }

    fn pause(&mut self, now: Timestamp) {
        self.still = match self.still.take() {
            Some(_) => None,
            None => Some(Box::new(Still { model: self.model.clone(), now, lines: self.log.sums.lines })),
        };
    }

    /// Put together what is to be seen on a screen of this size.
    fn refresh(&mut self, area: Rect, now: Timestamp) {
        let (model, now) = self.still.as_ref().map_or((&self.model, now), |still| (&still.model, still.now));
        let filter = self.view.filter.as_ref();
        let picks = |edge: &_| filter.is_none_or(|filter| filter.picks(edge));
        let View { window, all, .. } = self.view;
        let scope = Scope { window, now, path: &self.view.path, all, picks: &picks };
        let page = screen::page(area, &self.view);
        match self.view.level {
            Level::Rows => {
                let mut rows = model.rows(self.view.by, &scope);
                self.view.sort.order(&mut rows, self.view.reverse);
                self.rows = rows;
                if let Some(key) = &self.view.follows
                    && let Some(place) = self.rows.iter().position(|row| row.key == *key)
                {
                    self.view.place.chosen = place;
                }
                self.view.place.fit(self.rows.len(), page);
            }
            Level::Flows => {
                // Parts of rows are asked of the flows themselves.
                let scope = Scope { picks: &|_| true, ..scope };
                let lines = model.lines(&scope).into_iter();
                let wanted = |line: &Line| filter.is_none_or(|filter| is_wanted(filter, &line.1));
                self.flows = lines.filter(wanted).take(MOST_FLOWS).collect();
                if self.view.place.chosen > 0
                    && let Some(chosen) = &self.chosen
                    && let Some(place) = self.flows.iter().position(|(_, line)| Arc::ptr_eq(line, chosen))
                {
                    self.view.place.chosen = place;
                }
                self.view.place.fit(self.flows.len(), page);
            }
            // What is looked at stays what it is.
            Level::Record | Level::Notices | Level::Help => {}
        }
        self.page = page;
    }

    /// Draw it.
    pub(super) fn draw(&mut self, area: Rect, buffer: &mut Buffer, now: Timestamp) {
        self.refresh(area, now);
        let still = self.still.as_deref();
        let scene = Scene {
            source: &self.source,
            now: still.map_or(now, |still| still.now),
            model: still.map_or(&self.model, |still| &still.model),
            log: &self.log,
            view: &self.view,
            rows: &self.rows,
            flows: &self.flows,
            paused: still.map(|still| self.log.sums.lines.saturating_sub(still.lines)),
            details_from: self.details_from,
            looks: self.looks,
        };
        // A text ends where its last line is seen.
        if let Some(first) = screen::draw(&scene, area, buffer) {
            self.view.scroll = first;
        }
    }

    /// Rows as a table, to be printed.
    pub(super) fn table(&mut self, rows: Option<usize>, now: Timestamp) -> String {
        self.refresh(Rect::new(0, 0, 80, 24), now);
        let shown = self.rows.get(..rows.unwrap_or(usize::MAX).min(self.rows.len())).unwrap_or_default();
        super::batch::table(&super::batch::Printed {
            source: &self.source,
            now,
            model: &self.model,
            log: &self.log,
            view: &self.view,
            rows: shown,
            left_out: self.rows.len() - shown.len(),
        })
    }

    /// Whether nothing of the window was written, and something else was.
    pub(super) fn is_of_another_time(&self, now: Timestamp) -> bool {
        let length = self.view.window.seconds();
        let age = |newest: Timestamp| now.duration_since(newest).as_secs();
        self.view.window != Window::All
            && self.log.newest.is_some_and(|newest| length.is_some_and(|length| age(newest) > length))
    }
}

fn is_wanted(filter: &super::filter::Filter, line: &[u8]) -> bool {
    row::Row::read(line).is_ok_and(|row| filter.picks_flow(&row, &screen::compact(&row, line)))
}

#[cfg(test)]
mod tests {
    use super::super::model::By;
    use super::super::text::Letters;
    use super::super::view::Sort;
    use super::*;

    fn app() -> App {
        let view = View::new(By::Source, Window::Five, false, Sort::Weight);
        App::new("log".to_owned(), view, None, Looks { colour: false, letters: Letters::Unicode })
    }

    #[test]
    fn a_long_text_is_not_gone_beyond() {
        let (mut app, area, now) = (app(), Rect::new(0, 0, 80, 20), Timestamp::UNIX_EPOCH);
        let mut press = |key| {
            app.press(key, now);
            let mut buffer = Buffer::empty(area);
            app.draw(area, &mut buffer, now);
            buffer
        };
        let first = press(Key::Char('?'));
        let pages: Vec<Buffer> = (0..12).map(|_| press(Key::PageDown)).collect();
        assert!(pages[0] != first && pages[5..].iter().all(|page| *page == pages[11]));
        // However often it was pressed at the end, the next key the other way is seen.
        assert_ne!(press(Key::Up), pages[11]);
    }

    #[test]
    fn whose_log_is_read_tells_once() {
        let line = |node: &str, direction: &str, opener: &str| {
            let deny = r#"{"decision":"deny","basis":"isolated"}"#;
            format!(
                r#"{{"v":1,"seq":1,"kind":"flow","time":"1970-01-01T00:00:00Z","node":"{node}","run":"r","flow":{{"id":"{node}",
                "direction":"{direction}","protocol":"tcp","count":1,"first":"1970-01-01T00:00:00Z"}},"source":{{"kind":"pod",
                "namespace":"shop","pod":"web-1","node":"{opener}"}},"destination":{{"kind":"pod","namespace":"shop","pod":"db-0",
                "node":"n2","port":5432}},"verdict":{{"decision":"deny","egress":{deny},"ingress":{deny}}},
                "outcome":{{"state":"established"}},"class":"policy_not_enforced"}}"#
            )
        };
        let now = Timestamp::UNIX_EPOCH;
        for (name, lines, expected) in [
            ("both ends", &[("n2", "ingress", "n1"), ("n1", "egress", "n1")][..], 1),
            ("another opener, whose log is not read", &[("n1", "egress", "n1"), ("n2", "ingress", "n3")], 2),
            ("the listener's alone", &[("n2", "ingress", "n1")], 1),
        ] {
            let mut app = app();
            let mut batch = Batch::default();
            for (node, direction, opener) in lines {
                let line = line(node, direction, opener);
                let row = row::Row::read(line.as_bytes()).unwrap();
                batch.seen.insert((*node).to_owned(), now);
                batch.told.extend(super::super::told::Told::of(&row, line.as_bytes()));
            }
            app.take(batch, now);
            let table = app.table(None, now);
            assert!(table.contains(&format!("not enforced {expected},")), "{name}: {table}");
        }
    }
}
