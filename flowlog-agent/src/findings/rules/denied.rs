//! FL103: denied attempts.

use super::super::draft::Draft;
use super::super::estate::{Estate, Group, is_foreign, subject, with_vendor};
use crate::model::{Class, FindingId, Severity};

const WHY: &str = "Somebody tries what is denied. Either something that is needed is missing from the policies, or it does \
    what it has no business to do.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let found = estate.by_target(|link, _, _| link.class == Class::DeniedAttempt);
    let drafts = found.into_iter().map(|Group { source, destination, target, links }| {
        let count: u64 = links.iter().map(|link| link.count).sum();
        let first = links.iter().map(|link| link.first).min();
        let last = links.iter().map(|link| link.last).max();
        let seconds = first.zip(last).map_or(0, |(first, last)| last.as_second() - first.as_second());
        let rate = per_hour(count, seconds).map_or_else(String::new, |rate| format!(" ({rate} an hour)"));
        let times = if count == 1 { "once".to_owned() } else { format!("{count} times{rate}") };
        let summary = format!("{} was denied {target}, {times}.", with_vendor(source));
        // Somebody else's software that reaches for what is sensitive is worth more than a look.
        let is_worse = is_foreign(source) && destination.sensitive.is_some();
        Draft::new(FindingId::FL103, subject(source), summary)
            .object(target)
            .vendor(source.vendor.as_deref())
            .severity(if is_worse { Severity::Medium } else { Severity::Low })
            .why(WHY)
            .links(estate, &links)
            .remedy(
                "If the connection is needed, allow it by a rule of its own (`flowlog policy suggest --include denied`). If not, \
                 find out why it is tried, and stop it at its source.",
            )
    });
    drafts.collect()
}

/// Attempts an hour, where they are spread over more than a minute.
fn per_hour(count: u64, seconds: i64) -> Option<u64> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds >= 60)?;
    count.saturating_mul(3_600).checked_div(seconds).filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::per_hour;

    #[test]
    fn a_rate_is_told_of_what_goes_on_for_a_while() {
        assert_eq!([per_hour(10, 59), per_hour(10, 60), per_hour(1, 86_400)], [None, Some(600), None]);
        assert_eq!(per_hour(48, 86_400), Some(2));
    }
}
