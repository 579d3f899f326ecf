//! Which records an output is given, as it is written. What keys and words there are is known to the room that asks them.

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// One word, or a list of such. Numbers are words, too: `port: 443`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

/// Keys with their words. Those of one end have its name before them: `source.namespace`, also where they are written as a
/// map under `source`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition(pub Vec<(String, Words)>);

/// What an output says of it, or all of them where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Selecting {
    /// Classes, `denials`, `findings`, or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Words>,
    /// One of these must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Condition>>,
    /// None of these may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<Condition>>,
}

/// Parts of records that an output does not show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// Their paths: `process`, `source.labels`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<Words>,
    /// Keys of the labels that are shown, `*` for any letters; absent: all that the agent shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Words>,
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, or a list of words")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Words, E> {
                Ok(Words(vec![text.to_owned()]))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Words, E> {
                Ok(Words(vec![number.to_string()]))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Words, E> {
                Ok(Words(vec![number.to_string()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(Words(more)) = all.next_element()? {
                    words.extend(more);
                }
                Ok(Words(words))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.0 {
            [one] => serializer.serialize_str(one),
            several => several.serialize(serializer),
        }
    }
}

/// The keys of an end.
struct EndKeys(Vec<(String, Words)>);

impl<'de> Deserialize<'de> for EndKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = EndKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of what an end must be like, such as `{namespace: shop}`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EndKeys, A::Error> {
                let mut keys = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    keys.push(entry);
                }
                Ok(EndKeys(keys))
            }
        }

        deserializer.deserialize_any(Keys)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Condition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a map of what a record must be like, such as `{class: allowed, namespace: kube-*}`",
                )
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Condition, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "source" | "destination" => {
                            let EndKeys(of_end) = map.next_value()?;
                            keys.extend(
                                of_end.into_iter().map(|(one, words)| (format!("{key}.{one}"), words)),
                            );
                        }
                        _ => keys.push((key, map.next_value()?)),
                    }
                }
                Ok(Condition(keys))
            }
        }

        deserializer.deserialize_any(Keys)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, words) in &self.0 {
            map.serialize_entry(key, words)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(text: &str) -> Result<Vec<Condition>, String> {
        serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())
    }

    fn condition(keys: &[(&str, &[&str])]) -> Condition {
        let words = |words: &[&str]| Words(words.iter().map(|word| (*word).to_owned()).collect());
        Condition(keys.iter().map(|(key, all)| ((*key).to_owned(), words(all))).collect())
    }

    #[test]
    fn a_value_is_a_word_or_several_and_an_end_a_map_or_a_part_of_the_key() {
        let text = "- {class: allowed, port: 53}\n- source: {namespace: [a, b*], port: [80, 8000-9000]}\n  destination.vendor: Datadog\n";
        let expected = [
            condition(&[("class", &["allowed"]), ("port", &["53"])]),
            condition(&[
                ("source.namespace", &["a", "b*"]),
                ("source.port", &["80", "8000-9000"]),
                ("destination.vendor", &["Datadog"]),
            ]),
        ];
        let got = conditions(text).unwrap();
        assert_eq!(got, expected);
        assert_eq!(
            conditions(&serde_json::to_string(&got).unwrap()).unwrap(),
            got,
            "told as it can be written"
        );
    }

    #[test]
    fn what_has_another_form_is_told() {
        for (name, text, expected) in [
            ("no map", "- allowed\n", "a map of what a record must be like"),
            ("a map in a list", "- {class: [{a: b}]}\n", "a word, or a list of words"),
            ("an end that is no map", "- {source: shop}\n", "a map of what an end must be like"),
            ("deeper", "- {source: {namespace: {a: b}}}\n", "a word, or a list of words"),
            ("nothing", "- {class: }\n", "a word, or a list of words"),
        ] {
            let error = conditions(text).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
