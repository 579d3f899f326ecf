//! The screen: what is read and how well, sums, rows or flows, keys. Drawn anew each time; the terminal gets what differs.

mod columns;
mod help;
mod record;

pub(super) use columns::Column;
pub(super) use record::details;

use super::log::{Log, Reach};
use super::model::{By, Model, Row};
use super::text::{self, Letters, age, fit, number};
use super::view::{Level, View};
use crate::commands::observing::{Form, Look, Out};
use crate::model::Class;
use crate::record::row;
use crate::report::shown;
use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use std::sync::Arc;
use unicode_width::UnicodeWidthStr as _;

/// A record and its time.
pub(super) type Line = (Timestamp, Arc<[u8]>);

/// The narrowest and lowest that a table is drawn in.
const LEAST: (u16, u16) = (40, 9);

/// How it is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) colour: bool,
    pub(super) letters: Letters,
}

/// All that is drawn.
pub(super) struct Scene<'a> {
    /// What is read.
    pub(super) source: &'a str,
    pub(super) now: Timestamp,
    pub(super) model: &'a Model,
    pub(super) log: &'a Log,
    pub(super) view: &'a View,
    pub(super) rows: &'a [Row],
    pub(super) flows: &'a [Line],
    /// Records that came since the picture was stopped.
    pub(super) paused: Option<u64>,
    /// From when on ordinary attempts have rows.
    pub(super) details_from: Option<Timestamp>,
    pub(super) looks: Looks,
}

/// Lines of a list that fit on a screen of this size.
pub(super) fn page(area: Rect, view: &View) -> usize {
    let taken = match view.level {
        Level::Rows => 7,
        Level::Flows => 6,
        Level::Record | Level::Notices | Level::Help => 5,
    };
    let crumbs = u16::from(has_crumbs(view));
    usize::from(area.height.saturating_sub(taken + crumbs))
}

fn has_crumbs(view: &View) -> bool {
    matches!(view.level, Level::Rows | Level::Flows)
        && (!view.path.is_empty() || view.filter.is_some() || view.level == Level::Flows)
}

/// A part of a line that is there whole or not at all.
struct Part {
    lead: String,
    text: String,
    style: Style,
}

impl Part {
    fn width(&self) -> usize {
        self.lead.width() + self.text.width()
    }
}

/// One line after the other.
struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    looks: Looks,
    y: u16,
}

impl Pen<'_> {
    fn style(&self, colour: Color) -> Style {
        if self.looks.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// Write at a column of the line; the column behind it.
    fn put(&mut self, x: u16, text: &str, style: Style) -> u16 {
        if x >= self.area.width || self.y >= self.area.bottom() {
            return x;
        }
        let text = self.looks.letters.plain(text);
        let room = usize::from(self.area.width - x);
        let (end, _) = self.buffer.set_stringn(self.area.x + x, self.y, text, room, style);
        end - self.area.x
    }

    /// Write whole parts, each behind what leads to it, as long as they fit.
    fn parts(&mut self, parts: &[Part]) {
        let mut x = 0;
        for Part { lead, text, style } in parts {
            let width = self.looks.letters.plain(lead).width() + self.looks.letters.plain(text).width();
            if x > 0 && usize::from(x) + width > self.width() {
                break;
            }
            x = self.put(x, lead, DIM);
            x = self.put(x, text, *style);
        }
        self.down();
    }

    fn line(&mut self, text: &str, style: Style) {
        self.put(0, text, style);
        self.down();
    }

    /// A line that is styled to its end.
    fn bar(&mut self, text: &str, style: Style) {
        let width = usize::from(self.area.width);
        let text = fit(&self.looks.letters.plain(text), width, self.looks.letters);
        self.line(&text, style);
    }

    fn down(&mut self) {
        self.y = self.y.saturating_add(1);
    }

    fn width(&self) -> usize {
        usize::from(self.area.width)
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draw all of it. Of a long text the first line that is shown.
pub(super) fn draw(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) -> Option<usize> {
    let mut pen = Pen { buffer, area, looks: scene.looks, y: area.y };
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(scene, &mut pen);
        return None;
    }
    title(scene, &mut pen);
    sums(scene, &mut pen);
    of_the_log(scene, &mut pen);
    let page = page(area, scene.view);
    let first = match scene.view.level {
        Level::Rows => {
            tabs(scene, &mut pen);
            crumbs(scene, &mut pen);
            columns::table(scene, &mut pen, page);
            None
        }
        Level::Flows => {
            crumbs(scene, &mut pen);
            flows(scene, &mut pen, page);
            None
        }
        Level::Record => {
            let chosen = scene.flows.get(scene.view.place.chosen);
            let lines = chosen.map(|(_, line)| details(line)).unwrap_or_default();
            Some(long(scene, &mut pen, lines, page))
        }
        Level::Notices => Some(long(scene, &mut pen, notices(scene), page)),
        Level::Help => Some(long(scene, &mut pen, help::lines(), page)),
    };
    pen.y = area.bottom().saturating_sub(2);
    status(scene, &mut pen);
    keys(scene, &mut pen);
    first
}

/// Where no table fits: what matters, and what would do.
fn too_small(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    let count = |class| number(scene.model.of_class(class, scene.view.window, scene.now).count);
    pen.line(&format!("{} not enforced", count(Class::PolicyNotEnforced)), BOLD);
    pen.line(&format!("{} denied, {}", count(Class::DeniedAttempt), scene.view.window.name()), BOLD);
    let (window, now) = (scene.view.window, scene.now);
    let missing = scene.log.lost(window, now).saturating_add(scene.log.missing.of(window, now));
    pen.line(&format!("{} lost", number(missing)), Style::new());
    pen.line(&format!("needs {}x{}", LEAST.0, LEAST.1), Style::new());
    pen.line("q quit", DIM);
}

fn title(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    let state = match (scene.paused, scene.log.reach) {
        (Some(since), _) => format!("PAUSED +{}", number(since)),
        (None, Reach::Before) => "READING".to_owned(),
        (None, Reach::Live) => "LIVE".to_owned(),
        (None, Reach::Ended) => "ENDED".to_owned(),
    };
    let right = format!("{} · {state} · {}Z ", scene.view.window.name(), scene.now.strftime("%H:%M:%S"));
    let room = pen.width().saturating_sub(right.width() + 1);
    let left = format!(" flowlog top  {}", shown::line(scene.source));
    let text = format!("{} {right}", fit(&left, room, scene.looks.letters));
    let style = if scene.looks.colour { Style::new().fg(Color::Black).bg(Color::Cyan) } else { CHOSEN };
    pen.bar(&text, style.add_modifier(Modifier::BOLD));
}

/// Attempts by class, whatever rows are shown.
fn sums(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    let of = |classes: &[Class]| {
        let sums = classes.iter().map(|class| scene.model.of_class(*class, scene.view.window, scene.now));
        sums.fold((0_u64, 0_u64), |(count, minute), sum| {
            (count.saturating_add(sum.count), minute.saturating_add(sum.minute))
        })
    };
    let groups: [(&str, &str, &[Class], Color); 5] = [
        ("NOT ENFORCED", "NOT-ENF", &[Class::PolicyNotEnforced], Color::Red),
        ("DENIED", "DENIED", &[Class::DeniedAttempt], Color::Yellow),
        ("BLOCKED", "BLOCKED", &[Class::BlockedThoughAllowed, Class::BlockedUnexplained], Color::Magenta),
        ("UNKNOWN", "UNKN", &[Class::Undetermined], Color::Cyan),
        (
            "other",
            "other",
            &[Class::Allowed, Class::Unrestricted, Class::Refused, Class::Failed],
            Color::Green,
        ),
    ];
    let parts = |short: bool, rates: bool, most: usize| -> Vec<Part> {
        let mut parts = Vec::new();
        for (long, name, classes, colour) in groups.iter().take(most) {
            let (count, minute) = of(classes);
            let name = if short { name } else { long };
            let lead = if short || parts.is_empty() { " " } else { "   " };
            let style =
                if count > 0 { pen.style(*colour).add_modifier(Modifier::BOLD) } else { Style::new() };
            parts.push(Part { lead: format!("{lead}{name} "), text: number(count), style });
            if rates && minute > 0 {
                parts.push(Part {
                    lead: " ".to_owned(),
                    text: format!("{}/min", number(minute)),
                    style: DIM,
                });
            }
        }
        parts
    };
    let ways = [
        (false, true, 5),
        (true, true, 5),
        (false, false, 5),
        (true, false, 5),
        (true, false, 4),
        (true, false, 3),
    ];
    let ways = ways.into_iter().map(|(short, rates, most)| parts(short, rates, most));
    let fits = |parts: &Vec<Part>| parts.iter().map(Part::width).sum::<usize>() <= pen.width();
    let chosen = ways.into_iter().find(fits).unwrap_or_else(|| parts(true, false, 2));
    pen.parts(&chosen);
}

/// Who tells, and what is missing: what matters most comes first, for what does not fit is left out.
fn of_the_log(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    let log = scene.log;
    let alarm = pen.style(Color::Red).add_modifier(Modifier::BOLD);
    let warning = pen.style(Color::Yellow);
    let mut parts: Vec<Part> = Vec::new();
    let mut add = |text: String, style: Style| {
        let lead = if parts.is_empty() { " " } else { " · " };
        parts.push(Part { lead: lead.to_owned(), text, style });
    };
    let (window, now) = (scene.view.window, scene.now);
    let lost = log.lost(window, now);
    add(format!("lost {}", number(lost)), if lost > 0 { alarm } else { DIM });
    let gaps = log.missing.of(window, now);
    add(format!("gaps {}", number(gaps)), if gaps > 0 { alarm } else { DIM });
    let uncaptured = log.uncaptured.of(window, now);
    if uncaptured > 0 {
        add(format!("{uncaptured}× without capture"), alarm);
    }
    if log.sums.refused > 0 {
        add(format!("unreadable {}", number(log.sums.refused)), alarm);
    }
    if scene.model.replayed > 0 {
        add(format!("{} perhaps twice", number(scene.model.replayed)), warning);
    }
    let plural = if log.nodes.len() == 1 { "" } else { "s" };
    add(format!("{} node{plural}", number(u64::try_from(log.nodes.len()).unwrap_or(u64::MAX))), DIM);
    if let Some((node, since, more)) = log.stale() {
        let more = if more > 1 { format!(" +{}", more - 1) } else { String::new() };
        add(
            format!("policies stale since {}Z: {}{more}", since.strftime("%H:%M"), shown::line(node)),
            warning,
        );
    }
    if log.reach == Reach::Live
        && let quiet = log.quiet(scene.now)
        && let Some((node, seconds)) = quiet.first()
    {
        let more = if quiet.len() > 1 { format!(" +{}", quiet.len() - 1) } else { String::new() };
        add(format!("quiet {}: {}{more}", age(*seconds), shown::line(node)), warning);
    }
    if log.stopped() > 0 {
        add(format!("stopped {}", log.stopped()), warning);
    }
    add(format!("{} lines", number(log.sums.lines)), DIM);
    pen.parts(&parts);
}

fn tabs(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    let short = pen.width() < 76;
    let mut x = 0;
    for (by, digit) in By::ALL.iter().zip(1..) {
        let word = if short { by.word().get(..3).unwrap_or_default() } else { by.word() };
        let style = if *by == scene.view.by { CHOSEN.add_modifier(Modifier::BOLD) } else { Style::new() };
        let end = if short { "" } else { " " };
        x = pen.put(x, &format!(" {digit} {word}{end}"), style);
    }
    if scene.view.all {
        let from =
            scene.details_from.filter(|_| !short).map(|from| from.strftime(" since %H:%MZ").to_string());
        pen.put(x, &format!(" +a{}", from.unwrap_or_default()), BOLD);
    }
    pen.down();
}

/// The way down to here, and what is filtered.
fn crumbs(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    let view = scene.view;
    if !has_crumbs(view) {
        return;
    }
    let steps = view.path.iter().map(|step| format!("{} {}", step.by.word(), step.key.text()));
    let mut text = std::iter::once("all".to_owned()).chain(steps).collect::<Vec<_>>().join(" › ");
    if view.level == Level::Flows {
        text.push_str(" › flows");
    }
    let filter = view
        .filter
        .as_ref()
        .map_or_else(String::new, |filter| format!("  /{}", shown::line(&filter.written)));
    let filter = text::beginning(&filter, pen.width() / 2).to_owned();
    let room = pen.width().saturating_sub(filter.width() + 1);
    let x = pen.put(0, &format!(" {}", fit(&text, room, scene.looks.letters).trim_end()), BOLD);
    let style = pen.style(Color::Yellow);
    pen.put(x, &filter, style);
    pen.down();
}

/// Records as `observe` shows them, the newest first.
fn flows(scene: &Scene<'_>, pen: &mut Pen<'_>, page: usize) {
    let heading = format!(" {} last records, the newest first, times in UTC", scene.flows.len());
    pen.line(&heading, DIM);
    let place = &scene.view.place;
    let bottom = pen.area.bottom().saturating_sub(2);
    // As many as fit, from one on that keeps the chosen one in sight.
    let mut first = place.first.min(place.chosen);
    let height =
        |flow: usize| scene.flows.get(flow).map_or(0, |(_, line)| wrapped(line, pen.width()).0.len());
    while first < place.chosen && (first..=place.chosen).map(height).sum::<usize>() > page {
        first += 1;
    }
    for (number, (_, line)) in scene.flows.iter().enumerate().skip(first) {
        let (lines, class) = wrapped(line, pen.width());
        let style = if number == place.chosen {
            CHOSEN
        } else {
            class.map_or_else(Style::new, |class| style_of(class, scene.looks))
        };
        for text in lines {
            if pen.y >= bottom {
                return;
            }
            if number == place.chosen { pen.bar(&text, style) } else { pen.line(&text, style) }
        }
    }
}

fn wrapped(line: &[u8], width: usize) -> (Vec<String>, Option<Class>) {
    let Ok(row) = row::Row::read(line) else { return (Vec::new(), None) };
    (text::wrap(&compact(&row, line), width, 13), row.class)
}

/// One line, as `observe` has it.
pub(super) fn compact(row: &row::Row<'_>, line: &[u8]) -> String {
    let look = Look { form: Form::Compact, colour: false, terminal: true };
    match look.show(row, line) {
        Out::Line(text) => String::from_utf8_lossy(&text).trim_end().to_owned(),
        Out::Cells(..) | Out::Notice(_) => String::new(),
    }
}

fn style_of(class: Class, looks: Looks) -> Style {
    if !looks.colour {
        return Style::new();
    }
    match class {
        Class::PolicyNotEnforced => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Class::DeniedAttempt => Style::new().fg(Color::Yellow),
        Class::BlockedThoughAllowed | Class::BlockedUnexplained => Style::new().fg(Color::Magenta),
        Class::Undetermined => Style::new().fg(Color::Cyan),
        Class::Allowed | Class::Unrestricted | Class::Refused | Class::Failed => Style::new(),
    }
}

/// A text that may be longer than the screen; the first of its lines that is shown.
fn long(scene: &Scene<'_>, pen: &mut Pen<'_>, lines: Vec<(String, String)>, page: usize) -> usize {
    let title = lines.iter().map(|(title, _)| title.width()).max().unwrap_or_default().min(24);
    let mut shown: Vec<(String, String)> = Vec::new();
    for (name, text) in lines {
        let parts = text::wrap(&text, pen.width().saturating_sub(title + 3).max(8), 2);
        let mut names = std::iter::once(name).chain(std::iter::repeat(String::new()));
        if parts.is_empty() {
            shown.push((names.next().unwrap_or_default(), String::new()));
        }
        shown.extend(parts.into_iter().map(|part| (names.next().unwrap_or_default(), part)));
    }
    let first = scene.view.scroll.min(shown.len().saturating_sub(page.max(1)));
    for (name, text) in shown.iter().skip(first).take(page) {
        let x = pen.put(1, &fit(name, title, scene.looks.letters), BOLD);
        pen.put(x + 1, text, Style::new());
        pen.down();
    }
    let left = shown.len().saturating_sub(first + page);
    if left > 0 {
        pen.y = pen.area.bottom().saturating_sub(2);
        pen.put(0, &format!(" {left} more lines below"), DIM);
    }
    first
}

/// What is missing from the log, the latest first.
fn notices(scene: &Scene<'_>) -> Vec<(String, String)> {
    let log = scene.log;
    let mut lines: Vec<(String, String)> =
        log.trouble.iter().map(|text| ("now".to_owned(), shown::line(text).into_owned())).collect();
    for (node, of) in log.nodes.iter().filter(|(_, node)| node.stale_since.is_some() || node.stopped) {
        let stale = of.stale_since.map(|since| format!("its policies are as of {since}"));
        let text = if of.stopped { Some("its agent was stopped".to_owned()) } else { stale };
        lines.push((shown::line(node).into_owned(), text.unwrap_or_default()));
    }
    for (node, seconds) in log.quiet(scene.now) {
        lines.push((shown::line(node).into_owned(), format!("told nothing for {}", age(seconds))));
    }
    lines.extend(sum_of_lacks(scene));
    let is_shown = |(time, _): &&(Timestamp, String)| scene.view.window.holds(*time, scene.now);
    let notices = log.notices.iter().rev().filter(is_shown);
    lines.extend(notices.map(|(time, text)| (time.strftime("%H:%M:%SZ").to_string(), text.clone())));
    if scene.model.unmatched > 0 {
        let text = format!(
            "{} tell what became of attempts that were not read; they are shown and count nothing",
            number(scene.model.unmatched)
        );
        lines.push(("updates".to_owned(), text));
    }
    if lines.is_empty() {
        lines.push(("log".to_owned(), "nothing is missing from what was read".to_owned()));
    }
    let earlier = log.notices.iter().filter(|notice| !is_shown(notice)).count();
    if earlier > 0 {
        lines.push(("earlier".to_owned(), format!("{earlier} more notices: w, a longer window")));
    }
    lines
}

/// What the header counts, in words: not all of it has a notice of its own.
fn sum_of_lacks(scene: &Scene<'_>) -> Option<(String, String)> {
    let (log, window, now) = (scene.log, scene.view.window, scene.now);
    let texts = [
        (log.lost.of(window, now), "attempts lost by the agents"),
        (log.lost_events.of(window, now), "other events lost by the agents"),
        (log.missing.of(window, now), "lines missing"),
        (log.uncaptured.of(window, now), "times without capture"),
        (log.sums.refused, "lines unreadable"),
        (scene.model.replayed, "attempts perhaps twice"),
    ];
    let texts = texts.iter().filter(|(count, _)| *count > 0);
    let texts: Vec<String> = texts.map(|(count, what)| format!("{} {what}", number(*count))).collect();
    (!texts.is_empty()).then(|| (format!("in all, {}", window.name()), texts.join(", ")))
}

/// What is being written, what is wrong, or the whole name of what is chosen.
fn status(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    let view = scene.view;
    let alarm = pen.style(Color::Red).add_modifier(Modifier::BOLD);
    let y = pen.y;
    if let Some(input) = &view.input {
        let (input, room) = (shown::line(input), pen.width().saturating_sub(2));
        // Its end is where is written.
        let skipped = input.width().saturating_sub(room.saturating_sub(1));
        let input: String = input.chars().skip(skipped).collect();
        if let Some(wrong) = &view.wrong {
            let wrong = text::wrap(&shown::line(wrong), pen.width().saturating_sub(1), 2);
            let lines = u16::try_from(wrong.len()).unwrap_or(u16::MAX).min(y.saturating_sub(pen.area.y + 5));
            pen.y = y - lines;
            for line in wrong.iter().take(lines.into()) {
                pen.bar(&format!(" {line}"), alarm);
            }
        }
        pen.y = y;
        let cursor = scene.looks.letters.pick("█", "_");
        pen.bar(&format!("/{input}{cursor}"), BOLD);
    } else if let Some(text) = scene.log.failed.as_ref().or(scene.log.trouble.as_ref()) {
        pen.bar(&format!(" {}", shown::line(text)), alarm);
    } else if let Some(key) =
        view.filter.as_ref().and_then(|filter| filter.asks_of_flows()).filter(|_| view.level == Level::Rows)
    {
        pen.bar(
            &format!(" `{key}` differs within a row: exact among flows (f), here by each row's last record"),
            alarm,
        );
    } else if let (Level::Rows, Some(row)) = (view.level, scene.rows.get(view.place.chosen)) {
        let settling = if row.settling { "  ~ settling: a policy of it had just changed" } else { "" };
        pen.line(&format!(" {}{settling}", row.key.text()), BOLD);
    } else {
        pen.down();
    }
    pen.y = y + 1;
}

fn keys(scene: &Scene<'_>, pen: &mut Pen<'_>) {
    let texts: &[&str] = match (scene.view.input.is_some(), scene.view.level) {
        (true, _) => &["Enter filter", "Esc leave", "words or KEY=VALUE, !not"],
        (_, Level::Rows) => &[
            "q quit",
            "? help",
            "Enter open",
            "/ filter",
            "s sort",
            "w window",
            "p pause",
            "a other",
            "f flows",
            "n notices",
        ],
        (_, Level::Flows) => {
            &["q quit", "? help", "Enter record", "Esc back", "/ filter", "p pause", "w window"]
        }
        (_, Level::Record) => &["q quit", "Esc back", "j/k scroll", "p pause"],
        (_, Level::Help | Level::Notices) => &["q quit", "Esc back", "j/k scroll"],
    };
    let mut parts = Vec::new();
    for text in texts {
        let (key, word) = text.split_once(' ').unwrap_or((text, ""));
        parts.push(Part { lead: String::new(), text: format!(" {key} {word} "), style: DIM });
    }
    pen.parts(&parts);
}

#[cfg(test)]
mod tests;
