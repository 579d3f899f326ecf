//! Kernel time to wall-clock time.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// The distance between `CLOCK_BOOTTIME` and `CLOCK_REALTIME`, as measured at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    boot_to_wall_ns: i128,
}

/// A clock of the kernel cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read the kernel clock {clock}: {source}")]
pub struct ClockError {
    clock: &'static str,
    source: nix::Error,
}

impl Clock {
    /// Measure now. The wall clock is stepped and slewed, so this is repeated while the agent runs.
    ///
    /// # Errors
    /// The kernel lacks one of the clocks.
    pub fn measure() -> Result<Self, ClockError> {
        let before = boot_ns()?;
        let wall = read_ns(ClockId::CLOCK_REALTIME, "CLOCK_REALTIME")?;
        let after = boot_ns()?;
        Ok(Self { boot_to_wall_ns: wall - (before + after) / 2 })
    }

    /// A clock with a known distance, for tests and replays.
    pub fn fixed(boot_to_wall_ns: i128) -> Self {
        Self { boot_to_wall_ns }
    }

    /// Wall-clock time of a boot time; the epoch for what no wall clock can have shown.
    pub fn wall(&self, boot_ns: u64) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(boot_ns) + self.boot_to_wall_ns)
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Nanoseconds since boot, as the kernel half stamps its events.
///
/// # Errors
/// The kernel lacks the clock.
pub fn now_ns() -> Result<u64, ClockError> {
    boot_ns().map(|now| u64::try_from(now).unwrap_or(0))
}

fn boot_ns() -> Result<i128, ClockError> {
    read_ns(ClockId::CLOCK_BOOTTIME, "CLOCK_BOOTTIME")
}

fn read_ns(id: ClockId, clock: &'static str) -> Result<i128, ClockError> {
    let time = clock_gettime(id).map_err(|source| ClockError { clock, source })?;
    Ok(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn boot_time_becomes_wall_time() {
        let clock = Clock::fixed(1_700_000_000_000_000_000);
        assert_eq!(clock.wall(5_000_000_001).to_string(), "2023-11-14T22:13:25.000000001Z");
    }

    #[test]
    fn the_measured_distance_leads_to_now() {
        let clock = Clock::measure().unwrap();
        let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
        let boot_ns = u64::try_from(boot.tv_sec()).unwrap() * 1_000_000_000;
        let distance = jiff::Timestamp::now().duration_since(clock.wall(boot_ns));
        assert!(distance.as_millis().abs() < 5_000, "{distance:?}");
    }
}
