//! Which records are asked for.

use super::super::logs::moment;
use crate::record::row::Row;
use anyhow::bail;
use jiff::{SignedDuration, Timestamp};

/// Which records.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ChoiceArgs {
    /// Only records from this time on: a moment (2026-11-30T08:00:00Z), a day (its beginning, UTC), or how long ago (24h, 7d).
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "last")]
    since: Option<Timestamp>,
    /// Only records until this time, likewise.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only records of the last so long (30s, 15m, 2h); with --until of so long before that.
    #[arg(long, value_name = "DURATION")]
    last: Option<SignedDuration>,
}

/// What is asked for.
pub(super) struct Choice {
    since: Option<Timestamp>,
    /// The same as records write it.
    since_written: Option<String>,
    until: Option<Timestamp>,
}

impl ChoiceArgs {
    /// Ready to be asked.
    pub(super) fn choice(&self) -> anyhow::Result<Choice> {
        let since = match self.last {
            Some(last) => Some(self.until.unwrap_or_else(Timestamp::now).checked_sub(last.abs())?),
            None => self.since,
        };
        if let (Some(since), Some(until)) = (since, self.until)
            && since > until
        {
            bail!("--since {since} is after --until {until}");
        }
        let since_written = since.map(|since| since.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string());
        Ok(Choice { since, since_written, until: self.until })
    }
}

impl Choice {
    /// From when on.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// By the time as it is written.
    pub(super) fn is_too_early(&self, written: &str) -> bool {
        match &self.since_written {
            Some(since) => written.len() == since.len() && written.ends_with('Z') && written < &**since,
            None => false,
        }
    }

    /// Whether a line can be one that is asked for: one that is not, is not read.
    pub(super) fn may_pick(&self, _line: &[u8]) -> bool {
        true
    }

    /// Whether a moment lies in the time that is asked for.
    pub(super) fn window_holds(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    /// Whether a record tells of the time that is asked for.
    pub(super) fn is_in_time(&self, row: &Row<'_>) -> bool {
        self.since.is_none_or(|since| row.time >= since)
            && self.until.is_none_or(|until| row.begins() <= until)
    }

    /// Whether it is asked for.
    pub(super) fn picks(&self, row: &Row<'_>) -> bool {
        self.is_in_time(row)
    }
}
