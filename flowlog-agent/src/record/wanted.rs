//! Which outputs a line is for.

/// Outputs, by their order: as many as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted(u64);

impl Wanted {
    /// Most outputs of a run.
    pub const MOST: usize = 64;
    /// By every output.
    pub const BY_ALL: Self = Self(u64::MAX);
    /// By none.
    pub const BY_NONE: Self = Self(0);

    /// By this output, too.
    #[must_use]
    pub fn and_by(self, output: usize) -> Self {
        Self(self.0 | bit(output))
    }

    /// Whether this output wants it.
    pub fn is_by(self, output: usize) -> bool {
        self.0 & bit(output) != 0
    }
}

fn bit(output: usize) -> u64 {
    u32::try_from(output).ok().and_then(|output| 1_u64.checked_shl(output)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn each_output_has_its_own_bit() {
        for output in 0..Wanted::MOST {
            let wanted = Wanted::BY_NONE.and_by(output);
            let by: Vec<usize> = (0..Wanted::MOST).filter(|other| wanted.is_by(*other)).collect();
            assert_eq!(by, [output]);
            assert!(Wanted::BY_ALL.is_by(output));
        }
        assert_eq!(Wanted::BY_NONE.and_by(Wanted::MOST), Wanted::BY_NONE);
    }
}
