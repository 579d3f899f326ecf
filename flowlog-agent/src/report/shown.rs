//! Names made visible: what a terminal, a page or a reader's eye would act on or not see is written out.

use std::borrow::Cow;

/// Characters that act or hide: controls, line separators, marks that turn the direction of text, what has no width,
/// tags and variation selectors.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}'..='\u{ffff}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// A text of one line: each character that acts or hides is written as `\n`, `\t` or `\u{202e}`.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_hidden)
}

/// A text of many lines, such as a policy: line ends stay.
pub fn block(text: &str) -> Cow<'_, str> {
    escape(text, |c| c != '\n' && is_hidden(c))
}

fn escape(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_or_hides_is_written_out() {
        for (name, text, expected) in [
            ("plain", "shop/frontend", "shop/frontend"),
            ("other scripts", "größe-日本-🦀", "größe-日本-🦀"),
            ("escape sequence", "a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("line end", "a\nb\tc", "a\\nb\\tc"),
            ("C1", "a\u{9b}b", "a\\u{9b}b"),
            ("right-to-left override", "a\u{202e}b", "a\\u{202e}b"),
            ("isolates", "\u{2066}a\u{2069}", "\\u{2066}a\\u{2069}"),
            ("no width", "a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("tag", "a\u{e0041}", "a\\u{e0041}"),
        ] {
            assert_eq!(line(text), expected, "{name}");
        }
    }

    #[test]
    fn lines_of_a_block_stay_lines() {
        assert_eq!(block("a:\n  b\u{1b}\r\n"), "a:\n  b\\u{1b}\\r\n");
    }
}
