//! Waiting for a condition with a deadline.

use anyhow::{Result, bail};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How often a condition is looked at that nothing announces.
const POLL: Duration = Duration::from_millis(2);

/// `FLOWLOG_PATIENCE`: where an emulator runs the tests, everything takes so many times longer, and nothing else changes.
fn patience() -> u32 {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| {
        let factor = std::env::var("FLOWLOG_PATIENCE").ok().and_then(|factor| factor.parse().ok());
        factor.unwrap_or(1).max(1)
    });
    *FACTOR
}

/// A deadline, as many times longer as `FLOWLOG_PATIENCE` says.
pub fn stretched(limit: Duration) -> Duration {
    limit.saturating_mul(patience())
}

/// What is left of a limit that is yet to be stretched.
pub fn left(limit: Duration, since: Instant) -> Duration {
    limit.saturating_sub(since.elapsed() / patience())
}

/// Look at `ready` until it is true, for no longer than the stretched limit; an error names `what` was waited for.
pub fn until(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let limit = stretched(limit);
    let deadline = Instant::now() + limit;
    while !ready()? {
        if Instant::now() >= deadline {
            bail!("{what}: not after {limit:?}");
        }
        pause(POLL);
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one pause between two looks at a condition with a deadline"
)]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_named_in_the_error() {
        let error = until("the moon", Duration::from_millis(5), || Ok(false)).unwrap_err();
        assert!(error.to_string().starts_with("the moon: not after"), "{error}");
    }

    #[test]
    fn a_condition_that_holds_at_once_is_not_waited_for() {
        let mut looks = 0;
        until("it", Duration::ZERO, || {
            looks += 1;
            Ok(true)
        })
        .unwrap();
        assert_eq!(looks, 1);
    }
}
