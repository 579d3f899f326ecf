//! Which records are asked for: by kind, time, class, and who stands at their ends.
//!
//! Conditions are those that outputs have (`selection`). What is not known of a record speaks for showing it.

mod facts;
mod needles;
mod who;

use super::super::logs::moment;
use crate::record::row::Row;
use crate::selection::{Condition, Only, Selection};
use anyhow::bail;
pub(in crate::commands) use facts::RowFacts;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use needles::Needles;
pub(in crate::commands) use who::read_pair;

/// Which records. Of several conditions all must hold, of several values of one any.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What is shown")]
pub(in crate::commands) struct ChoiceArgs {
    /// Only records from this time on: a moment (2026-11-30T08:00:00Z), a day (its beginning, UTC), or how long ago (24h, 7d).
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "last")]
    since: Option<Timestamp>,
    /// Only records until this time, likewise.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only records of the last so long (30s, 15m, 2h, 7d); with --until of so long before that.
    #[arg(long, value_name = "DURATION", value_parser = length)]
    last: Option<SignedDuration>,
    /// Kinds of records: flow, finding, loss, agent.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_enum)]
    kind: Vec<Kind>,
    /// What is news: denials (what did not get through though it should, or did though it should not, and findings),
    /// findings, or classes.
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    only: Vec<String>,
    /// Classes, such as denied_attempt, policy_not_enforced, allowed.
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    class: Vec<String>,
    /// Severities.
    #[arg(long, value_name = "SEVERITY", value_delimiter = ',')]
    severity: Vec<String>,
    /// What the policies say: allow, deny, mixed, unknown.
    #[arg(long, value_name = "DECISION", value_delimiter = ',')]
    verdict: Vec<String>,
    /// What became of it, such as established, dropped, refused.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    outcome: Vec<String>,
    /// Namespaces of either end; `*` stands for any letters, here and in other names.
    #[arg(short, long, value_name = "NAMESPACE", value_delimiter = ',')]
    namespace: Vec<String>,
    /// Pods at either end: [NAMESPACE/]NAME.
    #[arg(long, value_name = "POD", value_delimiter = ',')]
    pod: Vec<String>,
    /// Owners of pods at either end: [NAMESPACE/][KIND/]NAME.
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    workload: Vec<String>,
    /// Labels of a pod at either end, as kubectl selects them; given twice, one of the two selectors must hold.
    #[arg(short = 'l', long = "label", value_name = "SELECTOR")]
    labels: Vec<String>,
    /// Vendors at either end, or origins: first_party, platform, third_party, unknown.
    #[arg(long, value_name = "VENDOR", value_delimiter = ',')]
    vendor: Vec<String>,
    /// Addresses or blocks of such at either end, also the address that was dialed.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    cidr: Vec<String>,
    /// Ports of the listener, or ranges of such (8000-8999).
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    port: Vec<String>,
    /// Protocols: tcp, udp, sctp, icmp, icmpv6.
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    protocol: Vec<String>,
    /// Which end's node tells it: egress is the opener's, ingress the listener's.
    #[arg(long, value_name = "DIRECTION", value_delimiter = ',')]
    direction: Vec<String>,
    /// Who opened it: NAMESPACE, NAMESPACE/POD-OR-WORKLOAD, an address or block, or KEY:VALUE, such as vendor:datadog,
    /// kind:external, labels:app=web.
    #[arg(long, value_name = "WHO")]
    from: Vec<String>,
    /// Who listens, likewise.
    #[arg(long, value_name = "WHO")]
    to: Vec<String>,
    /// None of which this holds: KEY=VALUE[,VALUE], by the keys above, also behind `source.` or `destination.`
    /// (class=allowed, source.namespace=kube-system).
    #[arg(long = "not", value_name = "KEY=VALUE")]
    deny: Vec<String>,
}

/// A length of time as people give it; a day has 24 hours.
fn length(text: &str) -> Result<SignedDuration, String> {
    let span = text.parse::<Span>().ok();
    let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let length = length.map(|length| length.abs());
    length.ok_or_else(|| "no length of time (30s, 15m, 2h, 7d, 1d 12h)".to_owned())
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Flow,
    Finding,
    Loss,
    Agent,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Finding => "finding",
            Self::Loss => "loss",
            Self::Agent => "agent",
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Choice {
    since: Option<Timestamp>,
    /// The same as records write it.
    since_written: Option<String>,
    until: Option<Timestamp>,
    kinds: Vec<Kind>,
    selection: Selection,
    needles: Needles,
}

impl ChoiceArgs {
    /// Ready to be asked.
    pub(in crate::commands) fn choice(&self) -> anyhow::Result<Choice> {
        let since = match self.last {
            Some(last) => Some(self.until.unwrap_or_else(Timestamp::now).checked_sub(last)?),
            None => self.since,
        };
        if let (Some(since), Some(until)) = (since, self.until)
            && since > until
        {
            bail!("--since {since} is after --until {until}");
        }
        let since_written = since.map(|since| since.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string());
        Ok(Choice {
            since,
            since_written,
            until: self.until,
            kinds: self.kind.clone(),
            selection: self.selection()?,
            needles: Needles::of(self),
        })
    }

    /// The same from this time on, where no other was given; a given end has it before.
    #[must_use]
    pub(in crate::commands) fn beginning(mut self, now: Timestamp, length: SignedDuration) -> Self {
        if self.since.is_none() && self.last.is_none() {
            self.since = self.until.unwrap_or(now).checked_sub(length).ok();
        }
        self
    }

    /// What stands behind the flags of conditions, by their keys.
    fn keys(&self) -> [(&'static str, &[String]); 13] {
        [
            ("class", &self.class),
            ("severity", &self.severity),
            ("verdict", &self.verdict),
            ("outcome", &self.outcome),
            ("namespace", &self.namespace),
            ("pod", &self.pod),
            ("workload", &self.workload),
            ("labels", &self.labels),
            ("vendor", &self.vendor),
            ("cidr", &self.cidr),
            ("port", &self.port),
            ("protocol", &self.protocol),
            ("direction", &self.direction),
        ]
    }

    fn selection(&self) -> anyhow::Result<Selection> {
        let only = if self.only.is_empty() { Only::default() } else { Only::read("--only", &self.only)? };
        let keys: Vec<(String, Vec<String>)> = self
            .keys()
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(key, values)| (key.to_owned(), values.to_vec()))
            .collect();
        let (from, to) =
            (who::ways("--from", "source", &self.from)?, who::ways("--to", "destination", &self.to)?);
        let mut allow = Vec::new();
        for from in &from {
            for to in &to {
                let all: Vec<_> = keys.iter().chain(from).chain(to).collect();
                if !all.is_empty() {
                    let written = all.iter().map(|(key, values)| (&**key, &**values));
                    allow.push(Condition::read("", written)?);
                }
            }
        }
        let deny = self.deny.iter().map(|written| who::denied(written)).collect::<anyhow::Result<_>>()?;
        Ok(Selection { only, allow, deny })
    }
}

impl Choice {
    /// From when on.
    pub(in crate::commands) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Until when.
    pub(in crate::commands) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether every record of that time is asked for.
    pub(in crate::commands) fn is_of_time_alone(&self) -> bool {
        self.kinds.is_empty() && self.selection.is_everything()
    }

    /// By the time as it is written.
    pub(in crate::commands) fn is_too_early(&self, written: &str) -> bool {
        match &self.since_written {
            Some(since) => written.len() == since.len() && written.ends_with('Z') && written < &**since,
            None => false,
        }
    }

    /// Whether a line can be one that is asked for: one that cannot is not read.
    pub(in crate::commands) fn may_pick(&self, line: &[u8]) -> bool {
        self.needles.may_be_in(line)
    }

    /// Whether no time is asked for.
    pub(in crate::commands) fn is_of_all_time(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    /// Whether some of this time is asked for.
    pub(in crate::commands) fn overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        self.since.is_none_or(|since| to >= since) && self.until.is_none_or(|until| from.min(to) <= until)
    }

    /// Whether a record tells of the time that is asked for.
    pub(in crate::commands) fn is_in_time(&self, row: &Row<'_>) -> bool {
        self.overlaps(row.begins(), row.time)
    }

    /// Whether it is asked for.
    pub(in crate::commands) fn picks(&self, row: &Row<'_>) -> bool {
        let is_of_kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.name() == &*row.kind);
        if !is_of_kind || !self.is_in_time(row) {
            return false;
        }
        match &*row.kind {
            "flow" | "finding" => self.selection.wants(&RowFacts(row)),
            // Of these no condition holds or not: they are told as notices where something else is asked for.
            _ => !self.kinds.is_empty() || self.selection.is_everything(),
        }
    }

    /// The same, and no line is passed over unread.
    #[cfg(test)]
    fn reading_all(self) -> Self {
        Self { needles: Needles::default(), ..self }
    }
}

#[cfg(test)]
mod tests;
