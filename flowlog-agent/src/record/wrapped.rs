//! A line as a container runtime keeps it in `/var/log/pods`: `2026-11-30T08:00:00.123456789Z stdout F {…}` (CRI).

/// What a line of a container's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapped<'a> {
    /// Not wrapped.
    Bare(&'a [u8]),
    /// A whole line of standard output, or the last part of one.
    Whole(&'a [u8]),
    /// A part of a line of standard output that goes on in the next.
    Part(&'a [u8]),
    /// Of another stream: the agent's own log, no record.
    Other,
}

/// What is in a line, with or without its newline.
pub fn unwrap_line(line: &[u8]) -> Wrapped<'_> {
    let bare = Wrapped::Bare(line);
    if !line.first().is_some_and(u8::is_ascii_digit) {
        return bare;
    }
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (Some(time), Some(stream), Some(tags), Some(text)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return bare;
    };
    if !time.contains(&b'T') || tags.is_empty() {
        return bare;
    }
    match stream {
        // Further tags may follow behind a colon.
        b"stdout" if tags.split(|byte| *byte == b':').next() == Some(b"P") => {
            Wrapped::Part(text.strip_suffix(b"\n").unwrap_or(text))
        }
        b"stdout" => Wrapped::Whole(text),
        b"stderr" => Wrapped::Other,
        _ => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_puts_around_a_line_is_taken_off() {
        let time = "2026-11-30T08:00:00.123456789Z";
        for (name, line, expected) in [
            ("bare", r#"{"v":1}"#.to_owned(), Wrapped::Bare(br#"{"v":1}"#)),
            ("whole", format!("{time} stdout F {{\"v\":1}}\n"), Wrapped::Whole(b"{\"v\":1}\n")),
            ("with spaces", format!("{time} stdout F a b  c"), Wrapped::Whole(b"a b  c")),
            ("a part", format!("{time} stdout P {{\"v\"\n"), Wrapped::Part(b"{\"v\"")),
            ("more tags", format!("{time} stdout P:x {{\n"), Wrapped::Part(b"{")),
            ("local time", "2026-11-30T09:00:00+01:00 stdout F {}".to_owned(), Wrapped::Whole(b"{}")),
            ("own log", format!("{time} stderr F INFO started\n"), Wrapped::Other),
            ("empty", format!("{time} stdout F \n"), Wrapped::Whole(b"\n")),
            ("cut short", format!("{time} stdout"), Wrapped::Bare(b"2026-11-30T08:00:00.123456789Z stdout")),
            ("something else", "1 stdout F x".to_owned(), Wrapped::Bare(b"1 stdout F x")),
        ] {
            assert_eq!(unwrap_line(line.as_bytes()), expected, "{name}");
        }
    }
}
