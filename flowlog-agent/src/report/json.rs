//! An assessment as JSON, one line, as its schema has it.

use super::{ReportError, shown};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use std::io::{self, Write};

/// Compact JSON in which no character acts on whoever shows it raw (what acts or hides, and `<`, is escaped as JSON does), and
/// a line end.
pub(super) fn write_line<T: Serialize>(
    out: &mut (impl Write + ?Sized),
    value: &T,
) -> Result<(), ReportError> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Raw))?;
    Ok(out.write_all(b"\n")?)
}

/// The same without a line end, for a page: what acts or hides is written out in every text but the names of members. Texts
/// of the members `blocks` have many lines.
pub(super) fn write_shown<T: Serialize>(
    out: &mut (impl Write + ?Sized),
    value: &T,
    blocks: &'static [&'static str],
) -> Result<(), ReportError> {
    let formatter = Shown { blocks, is_name: false, name: String::new(), is_block: false };
    Ok(value.serialize(&mut Serializer::with_formatter(out, formatter))?)
}

/// Texts as they are.
struct Raw;

impl Formatter for Raw {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        put(out, fragment)
    }
}

/// Texts as they are shown.
struct Shown {
    blocks: &'static [&'static str],
    /// What is written is the name of a member.
    is_name: bool,
    /// That of the latest one.
    name: String,
    /// Its text has many lines.
    is_block: bool,
}

impl Shown {
    fn show<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        if self.is_block { shown::block(text) } else { shown::line(text) }
    }
}

impl Formatter for Shown {
    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.is_name = true;
        self.name.clear();
        CompactFormatter.begin_object_key(out, first)
    }

    fn end_object_key<W: Write + ?Sized>(&mut self, _out: &mut W) -> io::Result<()> {
        self.is_name = false;
        self.is_block = self.blocks.contains(&self.name.as_str());
        Ok(())
    }

    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if self.is_name {
            self.name.push_str(fragment);
            return put(out, fragment);
        }
        put(out, &self.show(fragment))
    }

    fn write_char_escape<W: Write + ?Sized>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        let acts = match escape {
            CharEscape::Backspace => '\u{8}',
            CharEscape::Tab => '\t',
            CharEscape::LineFeed => '\n',
            CharEscape::FormFeed => '\u{c}',
            CharEscape::CarriageReturn => '\r',
            CharEscape::AsciiControl(byte) => char::from(byte),
            CharEscape::Quote | CharEscape::ReverseSolidus | CharEscape::Solidus => {
                return CompactFormatter.write_char_escape(out, escape);
            }
        };
        let mut text = [0; 4];
        let text: &str = acts.encode_utf8(&mut text);
        match self.show(text) {
            shown if !self.is_name && shown != text => put(out, &shown),
            _ => CompactFormatter.write_char_escape(out, escape),
        }
    }
}

/// Part of a text, in JSON.
fn put<W: Write + ?Sized>(out: &mut W, text: &str) -> io::Result<()> {
    let is_escaped = |c: char| c == '<' || c == '\\' || shown::is_hidden(c);
    let mut rest = text;
    while let Some(at) = rest.find(is_escaped) {
        let (before, from) = rest.split_at(at);
        out.write_all(before.as_bytes())?;
        let mut chars = from.chars();
        let Some(c) = chars.next() else { break };
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        rest = chars.as_str();
    }
    out.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Assessment;
    use crate::report::{schema, small};
    use serde_json::Value;

    fn line<T: Serialize>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        write_line(&mut out, value).unwrap();
        out
    }

    #[test]
    fn it_is_read_back_as_it_was() {
        let assessment = small();
        let json = line(&assessment);
        assert_eq!(serde_json::from_slice::<Assessment>(&json).unwrap(), assessment);
    }

    #[test]
    fn it_is_as_its_schema_says() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let json: Value = serde_json::from_slice(&line(&small())).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&json)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new());
        assert!(!validator.is_valid(&serde_json::json!({"v": 1})));
    }

    #[test]
    fn nothing_in_a_name_gets_out_raw() {
        let hostile = "</script><!--\u{202e}\u{1b}[2J\u{2028}\u{e0041}\u{7f}";
        let json = String::from_utf8(line(&hostile)).unwrap();
        let text = json.strip_suffix('\n').unwrap();
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'<'), "{json}");
        assert_eq!(serde_json::from_str::<String>(text).unwrap(), hostile);
    }

    /// As if each text were shown, and written then.
    #[test]
    fn what_is_shown_is_plain_text_to_a_page() {
        let text = "a\\ \"b\" \u{8}\t\n\u{c}\r\u{1b}\u{7f}\u{9b}</p>\u{202e}\u{e0041}\u{10ffff}\u{1f600}\\n";
        let members = |line: &str, block: &str| serde_json::json!({"policy": block, "other": [line, {"policy": [block], "z\u{1b}\u{202e}": line}]});
        let mut out = Vec::new();
        write_shown(&mut out, &members(text, text), &["policy"]).unwrap();
        let json = String::from_utf8(out).unwrap();
        assert!(json.bytes().all(|byte| byte >= 0x20 && byte != b'<'), "{json}");
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read, members(&shown::line(text), &shown::block(text)));
    }
}
