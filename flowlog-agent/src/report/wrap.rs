//! Text in columns: what a terminal shows as one cell or two, and where a line may break.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The lines of a text, each of at most so many columns; breaks at spaces, and within a word that is longer than a line.
pub(super) fn lines(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && width(&line) + 1 + width(word) <= columns {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        line = push_long(&mut lines, word, columns);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// What a word leaves for the line that goes on, after the full lines that it takes.
fn push_long(lines: &mut Vec<String>, word: &str, columns: usize) -> String {
    let mut piece = String::new();
    let mut used = 0;
    for c in word.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > columns {
            lines.push(std::mem::take(&mut piece));
            used = 0;
        }
        piece.push(c);
        used += wide;
    }
    piece
}

/// A text of at most so many columns; what was cut is shown by `…`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used <= columns
    });
    fits.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_at_a_space_and_a_long_word_anywhere() {
        for (name, text, columns, expected) in [
            ("fits", "one two", 7, &["one two"][..]),
            ("space", "one two", 6, &["one", "two"]),
            ("long word", "a abcdefgh b", 4, &["a", "abcd", "efgh", "b"]),
            ("wide characters", "日本語", 4, &["日本", "語"]),
            ("nothing", " ", 4, &[]),
        ] {
            assert_eq!(lines(text, columns), expected, "{name}");
        }
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("日本語", 4), "日…");
    }
}
