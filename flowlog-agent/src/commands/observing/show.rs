//! Records as lines for people: compact, wide, cells of a table; or as they are.
//!
//! Whatever a line holds is somebody's text: nothing of it reaches a terminal as anything but characters.

pub(in crate::commands) mod ends;
mod table;

pub(in crate::commands) use table::Table;

use super::sift::Taker;
use crate::model::{Direction, Severity};
use crate::record::row::{AgentRow, EndRow, FindingRow, FlowRow, LossRow, Row, SideRow, VerdictRow};
use crate::report::shown;
use anstyle::{AnsiColor, Style};
use ends::{destination, labels, party, peer};
use jiff::Timestamp;
use std::fmt::Write as _;

/// How records are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::commands) enum Form {
    /// One short line each.
    Compact,
    /// One long line each: policies, node, labels, bytes, too.
    Wide,
    /// The records as they are, one JSON object a line; gaps and losses on stderr.
    Json,
    /// In columns, a page at a time.
    Table,
}

/// What is written of a record or a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Out {
    /// A line, with its newline.
    Line(Vec<u8>),
    /// A row of a table.
    Cells(Vec<String>, Style),
    /// Not of the log but about it.
    Notice(String),
}

/// How it is all to look.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Look {
    pub(in crate::commands) form: Form,
    /// Styles are written.
    pub(in crate::commands) colour: bool,
    /// A terminal shows it.
    pub(in crate::commands) terminal: bool,
}

/// Columns of a class: the longest that is common.
const CLASS: usize = 19;

/// The style of what matters so much.
pub(in crate::commands) fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Critical | Severity::High => AnsiColor::Red.on_default().bold(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::Low => AnsiColor::Cyan.on_default(),
        Severity::Info => AnsiColor::Green.on_default(),
    }
}

const OF_NOTICES: Style = AnsiColor::Magenta.on_default().bold();

impl Taker for Look {
    fn record(&mut self, row: &Row<'_>, line: &[u8]) -> Option<Out> {
        Some(self.show(row, line))
    }

    fn notice(&mut self, time: Timestamp, what: &str, text: &str) -> Option<Out> {
        Some(self.note(time, what, text))
    }
}

impl Look {
    /// A record that was asked for.
    pub(in crate::commands) fn show(&self, row: &Row<'_>, line: &[u8]) -> Out {
        match self.form {
            Form::Json => Out::Line(self.json(line)),
            Form::Table => table::cells(row),
            Form::Compact | Form::Wide => {
                let wide = self.form == Form::Wide;
                let mut text = self.begin(row.time, wide);
                self.say(&mut text, row, wide);
                text.push('\n');
                Out::Line(text.into_bytes())
            }
        }
    }

    /// Something about the log, at its place between the records.
    fn note(&self, time: Timestamp, what: &str, text: &str) -> Out {
        let text = shown::line(text);
        if matches!(self.form, Form::Json | Form::Table) {
            return Out::Notice(text.into_owned());
        }
        let mut line = self.begin(time, self.form == Form::Wide);
        self.put(&mut line, OF_NOTICES, &format!("{what:CLASS$}"));
        let _ = writeln!(line, " {text}");
        Out::Line(line.into_bytes())
    }

    fn begin(&self, time: Timestamp, wide: bool) -> String {
        let mut line = String::with_capacity(160);
        let time = time.strftime(if wide { "%Y-%m-%dT%H:%M:%S%.3fZ" } else { "%H:%M:%S%.3f" }).to_string();
        self.put(&mut line, Style::new().dimmed(), &time);
        line.push(' ');
        line
    }

    fn put(&self, line: &mut String, style: Style, text: &str) {
        // Writing to a String cannot fail.
        let _ = if self.colour { write!(line, "{style}{text}{style:#}") } else { write!(line, "{text}") };
    }

    fn say(&self, line: &mut String, row: &Row<'_>, wide: bool) {
        if wide {
            let _ = write!(line, "{} ", shown::line(&row.node));
        }
        let is_missing = row.loss.is_some() || row.agent.as_ref().is_some_and(|agent| agent.gap.is_some());
        let style = if is_missing { OF_NOTICES } else { row.severity.map_or_else(Style::new, style_of) };
        let class = word(row);
        self.put(line, style, &format!("{class:CLASS$}"));
        line.push(' ');
        if let (Some(flow), Some(source), Some(to)) = (&row.flow, &row.source, &row.destination) {
            self.flow(line, row, flow, (source, to), wide);
        } else if let Some(finding) = &row.finding {
            line.push_str(&finding_text(finding));
        } else if let Some(loss) = &row.loss {
            line.push_str(&loss_text(&row.node, loss));
        } else if let Some(agent) = &row.agent {
            line.push_str(&agent_text(&row.node, agent));
        }
    }

    fn flow(
        &self,
        line: &mut String,
        row: &Row<'_>,
        flow: &FlowRow,
        (source, to): (&EndRow<'_>, &EndRow<'_>),
        wide: bool,
    ) {
        let _ = write!(line, "{} → {}", party(source), destination(to, flow.protocol));
        if let (Some(verdict), Some(outcome)) = (&row.verdict, &row.outcome) {
            let _ = write!(line, " {}×{}", verdict.decision.as_str(), outcome.state.as_str());
            if let Some(drop) = &outcome.drop {
                let _ = write!(line, " {} at {}", shown::line(&drop.reason), shown::line(&drop.place));
            }
            if let Some(errno) = outcome.errno.as_ref().filter(|_| wide) {
                let _ = write!(line, " {}", shown::line(errno));
            }
        }
        if let Some(comm) = row.process.as_ref().and_then(|process| process.comm.as_ref()) {
            let _ = write!(line, " {}", shown::line(comm));
        }
        marks(line, row, flow);
        if wide {
            more(line, row, flow, (source, to));
        }
    }

    /// The line as it is; a terminal gets none of what it would act on, and the same JSON.
    fn json(&self, line: &[u8]) -> Vec<u8> {
        let mut out = line.to_vec();
        if self.terminal {
            crate::record::escape_line(&mut out);
        }
        out.push(b'\n');
        out
    }
}

/// What stands in a record's first column.
fn word(row: &Row<'_>) -> String {
    match (&row.class, &row.finding) {
        (Some(class), _) => class.as_str().to_owned(),
        (None, Some(finding)) => format!("finding {}", shown::line(&finding.id)),
        (None, None) => shown::line(&row.kind).into_owned(),
    }
}

fn marks(line: &mut String, row: &Row<'_>, flow: &FlowRow) {
    match flow.count {
        0 if flow.update => line.push_str(" update"),
        1 => {}
        count => {
            let _ = write!(line, " ×{count}");
        }
    }
    for (holds, mark) in [
        (flow.existing, "existing"),
        (flow.direction == Direction::Ingress, "ingress"),
        (row.verdict.as_ref().is_some_and(|verdict| verdict.settling), "settling"),
        (row.verdict.as_ref().is_some_and(|verdict| verdict.stale_since.is_some()), "stale"),
        (flow.replayed, "replayed"),
    ] {
        if holds {
            let _ = write!(line, " {mark}");
        }
    }
}

/// What only a wide line has.
fn more(line: &mut String, row: &Row<'_>, flow: &FlowRow, (source, to): (&EndRow<'_>, &EndRow<'_>)) {
    if let Some(verdict) = &row.verdict {
        let _ = write!(line, " | {}", verdict_text(verdict));
    }
    if let Some(dialed) = &row.dialed {
        let _ = write!(line, " | dialed {}", peer(dialed));
    }
    if let (Some(sent), Some(received)) = (flow.bytes_sent, flow.bytes_received) {
        let _ = write!(line, " | sent {sent} B, received {received} B");
    }
    for (end, of) in [("from", source), ("to", to)] {
        if let Some(text) = labels(of) {
            let _ = write!(line, " | {end} {text}");
        }
    }
    if let Some(how) = &row.attribution {
        let _ = write!(line, " | pod found: {}", shown::line(&how.how));
    }
}

fn verdict_text(verdict: &VerdictRow<'_>) -> String {
    let side = |side: &SideRow<'_>| {
        let mut text = format!("{} {}", side.decision.as_str(), shown::line(&side.basis));
        for policy in &side.policies {
            let namespace =
                policy.namespace.as_ref().map_or_else(String::new, |name| format!("{}/", &**name));
            let rule = policy.rule.map_or_else(String::new, |rule| format!("#{rule}"));
            let name = format!("{namespace}{}", &*policy.name);
            let _ = write!(text, " {}{rule}", shown::line(&name));
        }
        text
    };
    format!("egress {}, ingress {}", side(&verdict.egress), side(&verdict.ingress))
}

fn finding_text(finding: &FindingRow<'_>) -> String {
    let object = finding.object.as_ref().map_or_else(String::new, |object| format!(" → {}", &**object));
    let count = if finding.count == 1 { String::new() } else { format!(" ×{}", finding.count) };
    let text = format!("{}: {}{object}{count}", &*finding.title, &*finding.subject);
    shown::line(&text).into_owned()
}

/// `n1 lost 12 attempts (kernel, ring_full), 08:00:01 to 08:00:02`.
pub(in crate::commands) fn loss_text(node: &str, loss: &LossRow<'_>) -> String {
    let class = loss.class.map_or_else(String::new, |class| format!(", {}", class.as_str()));
    let time = |time: Timestamp| time.strftime("%H:%M:%S").to_string();
    let text = format!(
        "{node} lost {} ({}, {}{class}), {} to {}",
        lost(&loss.what, loss.count),
        &*loss.stage,
        &*loss.cause,
        time(loss.first),
        time(loss.last)
    );
    shown::line(&text).into_owned()
}

/// So many of what was lost, in words: of its kinds some are those of the kernel half's events.
fn lost(what: &str, count: u64) -> String {
    let (one, several) = match what {
        "attempt" => ("attempt", "attempts"),
        "outcome" => ("outcome", "outcomes"),
        "flow" => ("flow", "flows"),
        "record" => ("record", "records"),
        "event" => ("event", "events"),
        "cgroup" => ("cgroup", "cgroups"),
        "established" => ("outcome (established)", "outcomes (established)"),
        "failed" => ("outcome (failed)", "outcomes (failed)"),
        "closed" => ("end of a connection", "ends of connections"),
        "inbound" => ("accepted connection", "accepted connections"),
        "syn_retransmit" => ("repeated SYN", "repeated SYNs"),
        "drop" => ("dropped packet", "dropped packets"),
        "error" => ("reported error", "reported errors"),
        "sent" => ("datagram sent on a connected socket", "datagrams sent on a connected socket"),
        "sent_to" => ("datagram sent without a connection", "datagrams sent without a connection"),
        "received" => ("datagram that was received", "datagrams that were received"),
        "answered" => ("datagram that answered", "datagrams that answered"),
        "arrived" => ("packet that arrived", "packets that arrived"),
        other => return format!("{count} × {}", other.replace('_', " ")),
    };
    format!("{count} {}", if count == 1 { one } else { several })
}

fn agent_text(node: &str, agent: &AgentRow<'_>) -> String {
    let mut text = format!("{node}: {}", &*agent.event);
    if let Some(version) = &agent.version {
        let _ = write!(text, ", flowlog {}", &**version);
    }
    let missing: Vec<&str> =
        agent.hooks.iter().filter(|hook| &*hook.state != "attached").map(|hook| &*hook.name).collect();
    if !missing.is_empty() {
        let _ = write!(text, ", without all of: {}", missing.join(", "));
    }
    if let Some(snapshot) = &agent.snapshot {
        let _ = write!(text, ", snapshot {} {}", snapshot.revision, &*snapshot.state);
        if let Some(problems) = snapshot.problem_count.filter(|count| *count > 0) {
            let _ = write!(text, ", not understood: {problems}");
        }
    }
    if let Some(gap) = &agent.gap {
        let _ = write!(text, ", nothing was captured from {} to {}: {}", gap.from, gap.to, &*gap.reason);
    }
    if let Some(reason) = &agent.reason {
        let _ = write!(text, ", {}", &**reason);
    }
    shown::line(&text).into_owned()
}

#[cfg(test)]
mod tests;
