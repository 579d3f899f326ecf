//! JSON text that cannot forge: what serde_json leaves raw though a terminal, or a reader that splits
//! lines by Unicode, would act on it is written as `\uXXXX`. Lengths of strings as they will be written.

use std::fmt::Write as _;

/// Characters that serde_json writes raw and that a reader could act on: DEL and C1 controls, the Unicode
/// line separators, and the marks that turn the direction of text. All lie below U+10000: one escape each.
fn is_forging(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}'
        | '\u{2028}' | '\u{2029}'
        | '\u{061c}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}')
}

/// Escape what may forge in the JSON that was written from `start` on. What was escaped before stays as it is.
pub(super) fn escape(out: &mut Vec<u8>, start: usize) {
    let written = out.get(start..).unwrap_or_default();
    // Nearly every text is plain ASCII. One pass without an early end is vectorised, 60 ns for 2 kB.
    if written.iter().fold(true, |plain, byte| plain & (*byte < 0x7f)) {
        return;
    }
    // JSON's own syntax is ASCII below DEL: whatever is escaped here stands inside a string.
    let escaped = escape_forging(&String::from_utf8_lossy(written));
    out.truncate(start);
    out.extend_from_slice(escaped.as_bytes());
}

/// A line of JSON as a terminal may get it: the same values, and nothing that it acts on.
pub fn escape_line(line: &mut Vec<u8>) {
    // Between values JSON takes tabs and carriage returns for spaces; within a text they cannot stand.
    line.iter_mut().filter(|byte| **byte < b' ').for_each(|byte| *byte = b' ');
    escape(line, 0);
}

fn escape_forging(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_forging(c) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Bytes that a character takes inside a JSON string of ours.
fn written_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ if is_forging(c) => 6,
        _ => c.len_utf8(),
    }
}

/// The longest beginning of `text` that takes at most `max_bytes` when written.
pub(super) fn cut(text: &str, max_bytes: usize) -> &str {
    // A character takes at most six bytes, so a short text needs no count.
    if text.len().saturating_mul(6) <= max_bytes {
        return text;
    }
    let mut bytes: usize = 0;
    let end = text.char_indices().find(|(_, c)| {
        bytes = bytes.saturating_add(written_bytes(*c));
        bytes > max_bytes
    });
    end.map_or(text, |(at, _)| text.get(..at).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::json;

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        json::append(&mut out, &text).unwrap();
        escape(&mut out, 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        for (name, text, expected) in [
            ("newline", "a\nb", r#""a\nb""#),
            ("escape sequence", "\u{1b}[2J", r#""\u001b[2J""#),
            ("delete", "a\u{7f}b", r#""a\u007fb""#),
            ("C1 control sequence introducer", "\u{9b}31m", r#""\u009b31m""#),
            ("line separator", "a\u{2028}b\u{2029}", r#""a\u2028b\u2029""#),
            ("right-to-left override", "\u{202e}evil", r#""\u202eevil""#),
            (
                "isolates and marks",
                "\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
                r#""\u2066\u2069\u200e\u200f\u061c""#,
            ),
            ("quotes", r#"","kind":"flow"#, r#""\",\"kind\":\"flow""#),
            ("ordinary text stays", "grüße 日本 🦀", "\"grüße 日本 🦀\""),
        ] {
            assert_eq!(json(text), expected, "{name}");
            assert_eq!(serde_json::from_str::<String>(&json(text)).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn every_escaped_character_is_counted_as_it_is_written() {
        for c in (0..0x3000_u32).filter_map(char::from_u32).chain(['🦀', '\u{feff}', '\u{ffff}']) {
            assert_eq!(json(&c.to_string()).len(), written_bytes(c) + 2, "{c:?}");
        }
    }

    #[test]
    fn a_text_is_cut_at_the_last_character_that_fits() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcde");
        assert_eq!(cut("\n\n\n", 5), "\n\n");
        assert_eq!(cut("\u{1}\u{1}", 11), "\u{1}");
        assert_eq!(cut("日本", 5), "日");
        assert_eq!(cut("日本", 2), "");
    }
}
