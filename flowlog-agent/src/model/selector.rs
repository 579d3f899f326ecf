//! Label selectors as `kubectl get -l` takes them: `app=db,tier in (a,b),!canary`.

use super::Labels;
use std::iter::Peekable;
use std::str::CharIndices;

/// All requirements must hold; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    written: String,
    all: Vec<Requirement>,
}

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The key exists and its value is one of these.
    In(String, Vec<String>),
    /// The key is missing, or its value is none of these.
    NotIn(String, Vec<String>),
    /// The key exists.
    Exists(String),
    /// The key is missing.
    DoesNotExist(String),
}

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'static str),
}

impl Selector {
    /// From what is written.
    ///
    /// # Errors
    /// Why it can select nothing that is meant, in words that name it.
    pub fn parse(written: &str) -> Result<Self, String> {
        let refuse = |why: String| format!("`{written}` is no label selector: {why}");
        let tokens = tokens(written).map_err(refuse)?;
        if tokens.is_empty() {
            return Err(refuse("it is empty, and would select every pod".to_owned()));
        }
        let mut reader = Reader { tokens: &tokens };
        Ok(Self { all: reader.requirements().map_err(refuse)?, written: written.trim().to_owned() })
    }

    /// As it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// What must hold of labels that are not at hand as a whole.
    pub fn requirements(&self) -> &[Requirement] {
        &self.all
    }

    /// Whether these labels are selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.all.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}

struct Reader<'t, 'a> {
    tokens: &'t [Token<'a>],
}

impl<'a> Reader<'_, 'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut all = vec![self.requirement()?];
        while let Some(token) = self.next() {
            match token {
                Token::Sign(",") => all.push(self.requirement()?),
                other => return Err(format!("{} where `,` is due", shown(Some(other)))),
            }
        }
        Ok(all)
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let key = match self.next() {
            Some(Token::Sign("!")) => return Ok(Requirement::DoesNotExist(self.key()?)),
            Some(Token::Word(word)) => key(word)?,
            other => return Err(format!("{} where a key is due", shown(other))),
        };
        Ok(match self.tokens.first() {
            None | Some(Token::Sign(",")) => Requirement::Exists(key),
            Some(Token::Sign("=" | "==")) => Requirement::In(key, vec![self.value()?]),
            Some(Token::Sign("!=")) => Requirement::NotIn(key, vec![self.value()?]),
            Some(Token::Word("in")) => Requirement::In(key, self.values()?),
            Some(Token::Word("notin")) => Requirement::NotIn(key, self.values()?),
            other => return Err(format!("{} behind the key `{key}`", shown(other.copied()))),
        })
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(word)) => key(word),
            other => Err(format!("{} where a key is due", shown(other))),
        }
    }

    /// What stands behind a sign; `key=` asks for an empty value.
    fn value(&mut self) -> Result<String, String> {
        self.next();
        match self.tokens.first() {
            Some(Token::Word(word)) => {
                self.next();
                value(word)
            }
            None | Some(Token::Sign(",")) => Ok(String::new()),
            other => Err(format!("{} where a value is due", shown(other.copied()))),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        self.next();
        match self.next() {
            Some(Token::Sign("(")) => {}
            other => return Err(format!("{} where `(` is due", shown(other))),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Some(Token::Word(word)) => values.push(value(word)?),
                other => return Err(format!("{} where a value is due", shown(other))),
            }
            match self.next() {
                Some(Token::Sign(",")) => {}
                Some(Token::Sign(")")) => return Ok(values),
                other => return Err(format!("{} where `,` or `)` is due", shown(other))),
            }
        }
    }
}

fn shown(token: Option<Token<'_>>) -> String {
    match token {
        Some(Token::Word(text)) => format!("`{text}`"),
        Some(Token::Sign(text)) => format!("`{text}`"),
        None => "the end".to_owned(),
    }
}

fn tokens(written: &str) -> Result<Vec<Token<'_>>, String> {
    let mut letters = written.char_indices().peekable();
    let mut tokens = Vec::new();
    while let Some((at, letter)) = letters.next() {
        let twice =
            |letters: &mut Peekable<CharIndices<'_>>| letters.next_if(|(_, next)| *next == '=').is_some();
        tokens.push(match letter {
            blank if blank.is_whitespace() => continue,
            '=' if twice(&mut letters) => Token::Sign("=="),
            '=' => Token::Sign("="),
            '!' if twice(&mut letters) => Token::Sign("!="),
            '!' => Token::Sign("!"),
            ',' => Token::Sign(","),
            '(' => Token::Sign("("),
            ')' => Token::Sign(")"),
            '<' | '>' => return Err(format!("`{letter}` compares numbers, which is not read here")),
            _ => {
                let mut end = at + letter.len_utf8();
                while let Some((next, more)) = letters.next_if(|(_, next)| is_of_word(*next)) {
                    end = next + more.len_utf8();
                }
                Token::Word(written.get(at..end).unwrap_or_default())
            }
        });
    }
    Ok(tokens)
}

fn is_of_word(letter: char) -> bool {
    !letter.is_whitespace() && !matches!(letter, '=' | '!' | ',' | '(' | ')' | '<' | '>')
}

/// A label's key: a name, with a domain before it or without.
fn key(word: &str) -> Result<String, String> {
    let (prefix, name) = word.split_once('/').map_or((None, word), |(prefix, name)| (Some(prefix), name));
    let is_domain = |prefix: &str| {
        (1..=253).contains(&prefix.len())
            && prefix
                .chars()
                .all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || "-.".contains(one))
    };
    if name.is_empty() || !is_value(name) || prefix.is_some_and(|prefix| !is_domain(prefix)) {
        return Err(format!("`{word}` is no key of a label"));
    }
    Ok(word.to_owned())
}

fn value(word: &str) -> Result<String, String> {
    if is_value(word) { Ok(word.to_owned()) } else { Err(format!("`{word}` is no value of a label")) }
}

/// As the API takes them: letters and digits at both ends, `-`, `_` and `.` between them.
fn is_value(text: &str) -> bool {
    let is_end = |letter: char| letter.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(|letter| is_end(letter) || "-_.".contains(letter))
        && text.starts_with(is_end)
        && text.ends_with(is_end)
}

#[cfg(test)]
mod tests {
    use super::Selector;
    use crate::model::Labels;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn it_selects_what_kubectl_would() {
        let db = labels(&[("app", "db"), ("tier", "a"), ("example.com/owner", "me"), ("empty", "")]);
        let rows = [
            ("app=db", true),
            ("app==db", true),
            (" app = db ", true),
            ("app=web", false),
            ("app!=web", true),
            ("app!=db", false),
            ("missing!=x", true),
            ("app", true),
            ("missing", false),
            ("!missing", true),
            ("! app", false),
            ("tier in (a,b)", true),
            ("tier in ( a , b ),app=db", true),
            ("tier in (a,b),app=web", false),
            ("tier notin (a)", false),
            ("missing notin (a)", true),
            ("example.com/owner=me,!missing", true),
            ("empty=", true),
            ("empty=,app=db", true),
            ("app=", false),
            // A key may be called like an operator.
            ("in", false),
            ("in in (in)", false),
        ];
        for (written, expected) in rows {
            assert_eq!(Selector::parse(written).map(|one| one.matches(&db)), Ok(expected), "{written}");
        }
        assert!(Selector::parse("in in (in)").unwrap().matches(&labels(&[("in", "in")])));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_reason() {
        for (written, why) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("app=db,", "the end where a key is due"),
            (",app", "`,` where a key is due"),
            ("app db", "`db` behind the key `app`"),
            ("app=a b", "`b` where `,` is due"),
            ("app in a", "`a` where `(` is due"),
            ("app in (a", "the end where `,` or `)` is due"),
            ("app in ()", "`)` where a value is due"),
            ("app in (a,)", "`)` where a value is due"),
            ("!", "the end where a key is due"),
            ("!app=db", "`=` where `,` is due"),
            ("cpu>4", "`>` compares numbers"),
            ("app=shop-*", "`shop-*` is no value"),
            ("A.B/c=d", "`A.B/c` is no key"),
            ("a/b/c=d", "`a/b/c` is no key"),
            ("-a=d", "`-a` is no key"),
        ] {
            let error = Selector::parse(written).unwrap_err();
            assert!(error.contains(why), "{written}: {error}");
        }
    }
}
