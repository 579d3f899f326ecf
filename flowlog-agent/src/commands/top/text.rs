//! Texts in so many columns: names that are cut in the middle, numbers, ages, trends. A letter may take two columns.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Letters and marks that the terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    Unicode,
    /// Those of ASCII alone.
    Ascii,
}

impl Letters {
    pub(super) fn pick<'a>(self, unicode: &'a str, ascii: &'a str) -> &'a str {
        match self {
            Self::Unicode => unicode,
            Self::Ascii => ascii,
        }
    }

    /// The text with no other letters.
    pub(super) fn plain(self, text: &str) -> String {
        match self {
            Self::Unicode => text.to_owned(),
            Self::Ascii => text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
                match c {
                    '→' => plain.push_str("->"),
                    '×' => plain.push('x'),
                    '›' => plain.push('>'),
                    '…' => plain.push_str(".."),
                    '·' => plain.push('-'),
                    c if c.is_ascii() => plain.push(c),
                    c => plain.extend(c.escape_default()),
                }
                plain
            }),
        }
    }
}

/// So many columns exactly; a longer text loses its middle, since names differ at both ends.
pub(super) fn fit(text: &str, width: usize, letters: Letters) -> String {
    let own = text.width();
    if own <= width {
        return format!("{text}{}", " ".repeat(width - own));
    }
    let mark = letters.pick("…", "..");
    let Some(room) = width.checked_sub(mark.width()) else { return " ".repeat(width) };
    let head = beginning(text, room - room / 2);
    let tail = ending(text, room / 2);
    let used = head.width() + mark.width() + tail.width();
    format!("{head}{mark}{tail}{}", " ".repeat(width.saturating_sub(used)))
}

/// What of the beginning takes no more columns.
pub(super) fn beginning(text: &str, width: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > width
    });
    end.map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

fn ending(text: &str, width: usize) -> &str {
    let mut used = 0;
    let mut begin = text.len();
    for (place, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        begin = place;
    }
    text.get(begin..).unwrap_or_default()
}

/// In lines of so many columns, the later ones set in; broken at spaces where there are some.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let (mut lines, mut rest, mut set_in) = (Vec::new(), text, 0);
    while !rest.is_empty() {
        let room = width.saturating_sub(set_in).max(1);
        let part = beginning(rest, room);
        let part = if part.is_empty() {
            rest.get(..rest.chars().next().map_or(0, char::len_utf8)).unwrap_or_default()
        } else {
            part
        };
        let cut = match part.rfind(' ') {
            Some(space)
                if part.len() < rest.len()
                    && !rest.get(part.len()..).is_some_and(|rest| rest.starts_with(' '))
                    && space > part.len() / 2 =>
            {
                space
            }
            _ => part.len(),
        };
        lines.push(format!("{}{}", " ".repeat(set_in), rest.get(..cut).unwrap_or_default()));
        rest = rest.get(cut..).unwrap_or_default().trim_start();
        set_in = indent.min(width / 2);
    }
    lines
}

/// `1,204`; what is longer than seven columns in short: `12.3M`.
pub(super) fn number(number: u64) -> String {
    for (unit, word) in [(1_000_000_000_000, 'T'), (1_000_000_000, 'G'), (1_000_000, 'M')] {
        if number >= unit {
            let tenths = number / (unit / 10);
            return match tenths >= 1_000 {
                true => format!("{}{word}", grouped(tenths / 10)),
                false => format!("{}.{}{word}", tenths / 10, tenths % 10),
            };
        }
    }
    grouped(number)
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 4);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `4s`, `3m`, `2h`, `5d`.
pub(super) fn age(seconds: i64) -> String {
    match seconds {
        ..0 => "0s".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A bar for each count, as high as it is beside the highest.
pub(super) fn trend(counts: &[u64], letters: Letters) -> String {
    let bars = match letters {
        Letters::Unicode => ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        Letters::Ascii => ['.', ':', '-', '=', '+', '*', '#', '@'],
    };
    let most = counts.iter().copied().max().unwrap_or_default().max(1);
    let bar = |count: &u64| match count {
        0 => ' ',
        count => {
            let step = (u128::from(*count) * 8).div_ceil(u128::from(most)).saturating_sub(1);
            usize::try_from(step).ok().and_then(|step| bars.get(step)).copied().unwrap_or(' ')
        }
    };
    counts.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_middle_and_keep_their_columns() {
        for (text, width, expected) in [
            ("shop/web", 10, "shop/web  "),
            ("monitoring/prometheus-operator", 13, "monito…erator"),
            ("日本語の名前", 7, "日 …前 "),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            let fitted = fit(text, width, Letters::Unicode);
            assert_eq!(fitted.width(), width, "{fitted}");
            if text.is_ascii() {
                assert_eq!(fitted, expected);
            }
        }
        assert_eq!(fit("monitoring/prometheus", 10, Letters::Ascii), "moni..heus");
        assert_eq!(Letters::Ascii.plain("a → ü"), "a -> \\u{fc}");
    }

    #[test]
    fn long_texts_go_on_below() {
        assert_eq!(wrap("aaa bbb ccc", 8, 2), ["aaa bbb", "  ccc"]);
        assert_eq!(wrap("aaaaaaaaaa", 4, 1), ["aaaa", " aaa", " aaa"]);
        assert_eq!(wrap("日本語", 1, 0), ["日", "本", "語"]);
        assert_eq!(wrap("", 4, 1), Vec::<String>::new());
    }

    #[test]
    fn numbers_and_ages_are_short() {
        for (count, expected) in [
            (0, "0"),
            (1_204, "1,204"),
            (999_999, "999,999"),
            (1_200_000, "1.2M"),
            (123_456_789, "123M"),
            (u64::MAX, "18,446,744T"),
        ] {
            assert_eq!(number(count), expected);
        }
        assert_eq!([-3, 0, 59, 60, 7_300, 200_000].map(age), ["0s", "0s", "59s", "1m", "2h", "2d"]);
    }

    #[test]
    fn a_trend_is_as_high_as_its_highest() {
        assert_eq!(trend(&[0, 1, 4, 8], Letters::Unicode), " ▁▄█");
        assert_eq!(trend(&[0, 0], Letters::Unicode), "  ");
        assert_eq!(trend(&[u64::MAX, 1], Letters::Ascii), "@.");
    }
}
