//! What gives way while the ring of events fills up, and in which order.
//!
//! The agent names kinds of connections by [`RepeatKey`](crate::repeat::RepeatKey) as soon as one of them was allowed,
//! went through and came again. Repeats of such kinds are the first that the kernel half no longer hands over; whatever
//! it does not know to be allowed has the rest of the ring to itself.

use core::mem::{offset_of, size_of};

/// Kinds whose judgement the kernel half knows; the one that came longest ago gives way.
pub const MOST_JUDGED: usize = 16_384;
/// Sockets at a time whose attempt was not handed over, by which what else becomes of them is known.
pub const MOST_UNTOLD: usize = 16_384;

/// Attempts of kinds that a policy allows.
pub const ALLOWED: u8 = 0;
/// Attempts of kinds that no policy selects.
pub const UNRESTRICTED: u8 = 1;
/// Closes: the sums of connections that were told.
pub const CLOSES: u8 = 2;
/// What gives way, in this order, is below `STEPS`.
pub const STEPS: usize = 3;

/// Eighths of the ring from which on [`ALLOWED`] gives way; each further step one eighth later.
const FIRST_STEP: u64 = 4;

/// How many steps give way: raised as soon as the ring holds `filled` of its `size` bytes, lowered when it holds an
/// eighth less than that.
pub fn level(filled: u64, size: u64, before: u32) -> u32 {
    let raised = steps_at(filled, size, 0);
    if raised >= before {
        return raised;
    }
    let kept = steps_at(filled, size, 1);
    if kept < before { kept } else { before }
}

fn steps_at(filled: u64, size: u64, more: u64) -> u32 {
    let eighths = filled.saturating_mul(8).checked_div(size).unwrap_or(0) + more;
    match (eighths + 1).saturating_sub(FIRST_STEP) {
        0 => 0,
        1 => 1,
        2 => 2,
        _ => 3,
    }
}

/// How a kind is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Judgement {
    /// By which of the agent's snapshots; it holds while that is the latest.
    pub snapshot: u32,
    /// [`ALLOWED`] or [`UNRESTRICTED`].
    pub class: u32,
}

const _: () = {
    assert!(size_of::<Judgement>() == 8);
    assert!(offset_of!(Judgement, snapshot) == 0);
    assert!(offset_of!(Judgement, class) == 4);
};

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn each_step_begins_an_eighth_later_and_ends_an_eighth_earlier_than_it_began() {
        let levels = |fills: &[u64]| {
            let mut before = 0;
            let mut levels = [0; 8];
            for (at, filled) in fills.iter().enumerate() {
                before = level(*filled, 800, before);
                levels[at] = before;
            }
            levels
        };
        assert_eq!(levels(&[0, 399, 400, 499, 500, 600, 700, 800]), [0, 0, 1, 1, 2, 3, 3, 3]);
        assert_eq!(levels(&[800, 500, 499, 400, 399, 300, 299, 0]), [3, 3, 2, 2, 1, 1, 0, 0]);
        assert_eq!(levels(&[400, 350, 300, 400, 299, 300, 399, 400]), [1, 1, 1, 1, 0, 0, 0, 1]);
    }
}
