//! The formats that a record is written in, and how a line of each begins.

use super::SCHEMA_VERSION;
use std::io::Write as _;

/// How an output wants its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// flowlog's own.
    #[default]
    Flowlog,
    /// Elastic Common Schema.
    Ecs,
    /// Open Cybersecurity Schema Framework.
    Ocsf,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Flowlog, Self::Ecs, Self::Ocsf];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flowlog => "flowlog",
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
        }
    }

    /// What stands before `v`, `seq` and the other members of flowlog's own.
    pub(super) const fn opening(self) -> &'static str {
        match self {
            Self::Flowlog => "{",
            Self::Ecs => "{\"flowlog\":{",
            Self::Ocsf => "{\"unmapped\":{\"flowlog\":{",
        }
    }

    /// Bytes of the longest beginning, `"v":1,"seq":18446744073709551615,` after the opening.
    pub(crate) const fn front_bytes(self) -> usize {
        self.opening().len() + 33
    }

    /// Append the beginning of a line with its number in a sink.
    pub(super) fn begin(self, seq: u64, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{}\"v\":{SCHEMA_VERSION},\"seq\":{seq},", self.opening());
    }
}

/// The formats that outputs of a run have: at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    pub(super) first: Format,
    pub(super) more: [Option<Format>; 2],
}

impl Formats {
    /// These, each once; flowlog's own where there are none.
    pub fn of(formats: impl IntoIterator<Item = Format>) -> Self {
        let mut formats = formats.into_iter();
        let mut all = Self::from(formats.next().unwrap_or_default());
        for format in formats.filter(|format| *format != all.first) {
            let known = all.more.contains(&Some(format));
            if let Some(place) = all.more.iter_mut().find(|place| place.is_none()).filter(|_| !known) {
                *place = Some(format);
            }
        }
        all
    }

    /// Whether this is one of them.
    pub fn has(self, format: Format) -> bool {
        self.first == format || self.more.contains(&Some(format))
    }
}

impl From<Format> for Formats {
    fn from(first: Format) -> Self {
        Self { first, more: [None; 2] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_is_counted() {
        for format in Format::ALL {
            let mut out = Vec::new();
            format.begin(u64::MAX, &mut out);
            assert_eq!(out.len(), format.front_bytes(), "{format:?}");
        }
    }

    #[test]
    fn each_format_is_there_once() {
        let [own, ecs, ocsf] = Format::ALL;
        assert_eq!(Formats::of([]), Formats::from(own));
        assert_eq!(Formats::of([ecs, ecs]), Formats::from(ecs));
        let all = Formats::of([ocsf, own, ocsf, own, ecs, ecs]);
        assert_eq!(all, Formats { first: ocsf, more: [Some(own), Some(ecs)] });
        assert!(Format::ALL.iter().all(|format| all.has(*format)));
        assert!(!Formats::of([own, ecs]).has(ocsf));
    }
}
