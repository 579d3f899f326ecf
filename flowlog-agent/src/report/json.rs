//! An assessment as JSON, one line, as its schema has it.

use super::ReportError;
use super::shown;
use crate::model::Assessment;
use serde::Serialize;
use std::fmt::Write as _;

/// The assessment, and a line end.
pub(super) fn render(assessment: &Assessment) -> Result<Vec<u8>, ReportError> {
    let mut json = text(assessment)?;
    json.push('\n');
    Ok(json.into_bytes())
}

/// Compact JSON in which no character acts on whoever shows it raw: what acts or hides, and `<`, is escaped as JSON does.
pub(super) fn text<T: Serialize>(value: &T) -> Result<String, ReportError> {
    let json = serde_json::to_string(value)?;
    // JSON's own syntax has none of these: whatever is escaped here stands inside a string.
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '<' || shown::is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{schema, small};
    use serde_json::Value;

    #[test]
    fn it_is_read_back_as_it_was() {
        let assessment = small();
        let json = render(&assessment).unwrap();
        assert_eq!(serde_json::from_slice::<Assessment>(&json).unwrap(), assessment);
    }

    #[test]
    fn it_is_as_its_schema_says() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let json: Value = serde_json::from_slice(&render(&small()).unwrap()).unwrap();
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
        let json = text(&hostile).unwrap();
        assert!(json.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'<'), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }
}
