//! An output as the configuration writes it: `PLACE`, or `FORMAT=PLACE`.

use super::remote::is_remote;
use crate::record::Format;
use std::path::Path;

/// Where lines go, and in which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The format; flowlog's own where none is named.
    pub format: Format,
    /// What a sink opens.
    pub place: &'a str,
}

impl<'a> Destination<'a> {
    /// What an output says. Only a format's name before `=` is one: all else is part of the place.
    pub fn of(output: &'a str) -> Self {
        let named = output.split_once('=').and_then(|(name, place)| {
            let format = Format::ALL.into_iter().find(|format| format.as_str() == name)?;
            Some(Self { format, place })
        });
        named.unwrap_or(Self { format: Format::Flowlog, place: output })
    }

    /// A word before `=` that would be a format's name and is none: a slip of the pen rather than a part of a file's name.
    pub(super) fn unknown_format(self) -> Option<&'a str> {
        let (name, _) = self.place.split_once('=').filter(|_| self.format == Format::Flowlog)?;
        (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(name)
    }

    /// Whether it is standard output.
    pub fn is_stdout(self) -> bool {
        matches!(self.place, "stdout" | "-")
    }

    /// The file, where it is one.
    pub fn file(self) -> Option<&'a Path> {
        (!self.is_stdout() && !is_remote(self.place)).then(|| Path::new(self.place))
    }

    /// Whether the two would write over each other.
    pub(super) fn is_same_place(self, other: Self) -> bool {
        self.place == other.place || (self.is_stdout() && other.is_stdout())
    }
}

/// The outputs of a list with commas between them. Those between the brokers of one output are its own: a topic follows
/// them.
pub fn split(list: &str) -> Vec<&str> {
    let (mut outputs, mut rest) = (Vec::new(), list);
    loop {
        let place = Destination::of(rest).place;
        let brokers = ["kafka://", "kafkas://"].iter().find(|scheme| place.starts_with(**scheme));
        let hosts = brokers.map_or(0, |scheme| {
            let begin = rest.len() - place.len() + scheme.len();
            rest.get(begin..).and_then(|hosts| hosts.find('/')).map_or(rest.len(), |end| begin + end)
        });
        let comma = rest.get(hosts..).and_then(|after| after.find(',')).map(|at| hosts + at);
        let Some((output, more)) = comma.and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?))) else {
            outputs.push(rest);
            return outputs;
        };
        outputs.push(output);
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_ends_an_output_but_not_a_broker() {
        for (list, expected) in [
            ("stdout", &["stdout"][..]),
            ("stdout,ecs=/var/log/ecs.json", &["stdout", "ecs=/var/log/ecs.json"]),
            ("syslog://a,syslog://b:601", &["syslog://a", "syslog://b:601"]),
            (
                "stdout,ecs=kafka://a,b:9093,[::1]:9094/flows,/c.json",
                &["stdout", "ecs=kafka://a,b:9093,[::1]:9094/flows", "/c.json"],
            ),
            ("kafkas://a,b/one,kafka://c,d/two", &["kafkas://a,b/one", "kafka://c,d/two"]),
            // Without a topic nobody can tell: the whole is refused for that.
            ("kafka://a,b,stdout", &["kafka://a,b,stdout"]),
            ("a,,b,", &["a", "", "b", ""]),
        ] {
            assert_eq!(split(list), expected, "{list}");
        }
    }

    #[test]
    fn only_a_format_before_the_sign_is_one() {
        for (output, format, place) in [
            ("stdout", Format::Flowlog, "stdout"),
            ("/var/log/flows.json", Format::Flowlog, "/var/log/flows.json"),
            ("ecs=/var/log/flows.json", Format::Ecs, "/var/log/flows.json"),
            ("ocsf=-", Format::Ocsf, "-"),
            ("ecs=a=b.json", Format::Ecs, "a=b.json"),
            ("/logs/ecs=odd.json", Format::Flowlog, "/logs/ecs=odd.json"),
            ("cef=stdout", Format::Flowlog, "cef=stdout"),
        ] {
            assert_eq!(Destination::of(output), Destination { format, place }, "{output}");
        }
        assert_eq!(Destination::of("cef=stdout").unknown_format(), Some("cef"));
        assert_eq!(Destination::of("./cef=odd.json").unknown_format(), None);
        assert_eq!(Destination::of("ecs=stdout").unknown_format(), None);
        assert_eq!(Destination::of("ecs=stdout").file(), None);
        assert_eq!(Destination::of("ecs=a.json").file(), Some(Path::new("a.json")));
    }
}
