//! Outputs as they are written: a text that says where lines go, or a map with that text under `to` and what else is
//! wanted of it. Which places there are is known to the room that opens them.

use super::remote::{Compression, Spool};
use super::selection::{Condition, Fields, Selecting, Words};
use super::{ConfigError, Origin};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// One output, every key as it is written. `Self` stands in for the derived forms, since a text alone is one, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Output {
    /// `[FORMAT=]PLACE`: `stdout`, `/var/log/flowlog/flows.json`, `ecs=/var/log/flowlog/ecs.json`.
    pub to: String,
    /// The format of lines, where `to` does not name it; once read, it does.
    #[serde(skip_serializing)]
    format: Option<String>,
    /// Of a file: when the agent itself rotates it; absent: somebody else does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<Rotate>,
    /// Which records it is given, where it says another than all of them: classes, `denials`, `findings`, or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Words>,
    /// One of these must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Condition>>,
    /// None of these may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<Condition>>,
    /// Which parts of them it does not show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// Over the network: certificates of the authorities that the far end's may be of, PEM; default: this host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// A file with the token that lets us in. Secrets are named by their files alone, so that none is in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// A user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file with the user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Over HTTP: the proxy that it goes through, `http://HOST:PORT`; default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// A user's name for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_username: Option<String>,
    /// A file with that user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_password_file: Option<PathBuf>,
    /// How long a connection, or an answer, may take, milliseconds; default 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Most bytes of lines that go together; default 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_bytes: Option<u64>,
    /// How long lines wait for others to go with them, milliseconds; default 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger_ms: Option<u64>,
    /// How what is sent is compressed; default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Where lines wait on disk until they are delivered; absent: in memory alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<Spool>,
}

/// When a file is rotated, and what becomes of the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotate {
    /// A file of this length or more is rotated.
    pub bytes: u64,
    /// So many old files are kept.
    pub keep: u32,
    /// Whether old files are compressed by zstd, from the second on.
    pub zstd: bool,
}

impl Rotate {
    /// Whether its numbers make sense.
    pub(super) fn check(self, origin: &Origin) -> Result<(), ConfigError> {
        let range = |key, value, (least, most): (u64, u64), unit| {
            let wrong = || {
                let allowed = format!("{least} to {most} {unit}");
                ConfigError::Range { key, value, origin: origin.clone(), allowed }
            };
            (least..=most).contains(&value).then_some(()).ok_or_else(wrong)
        };
        range("outputs.rotate.bytes", self.bytes, (65_536, 1 << 40), "bytes")?;
        range("outputs.rotate.keep", self.keep.into(), (3, 1_000), "files")
    }
}

impl Default for Rotate {
    fn default() -> Self {
        Self { bytes: 100 << 20, keep: 5, zstd: true }
    }
}

impl From<&str> for Output {
    fn from(to: &str) -> Self {
        Self { to: to.to_owned(), ..Self::default() }
    }
}

impl Output {
    /// What it selects itself.
    pub fn selecting(&self) -> Selecting {
        let Self { only, allow, deny, .. } = self.clone();
        Selecting { only, allow, deny }
    }

    /// The same with its format in `to`.
    fn named(self) -> Result<Self, String> {
        let Self { to, format: Some(format), .. } = &self else { return Ok(self) };
        if names_format(to) {
            return Err(format!("an output has `format: {format}`, and `to: {to}` names one, too"));
        }
        Ok(Self { to: format!("{format}={to}"), format: None, ..self })
    }
}

/// Whether a text begins with a word and `=`.
fn names_format(to: &str) -> bool {
    to.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Output;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("where lines go, such as `stdout` or a file, or a map with that under `to`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Output, E> {
                Ok(Output::from(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Output, A::Error> {
                // The derived one, not this.
                Output::deserialize(MapAccessDeserializer::new(map))?.named().map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// As short as it can be written.
impl Serialize for Output {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::from(&*self.to) {
            return serializer.serialize_str(&self.to);
        }
        // The derived one, not this.
        Self::serialize(self, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(text: &str) -> Result<Vec<Output>, String> {
        serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())
    }

    #[test]
    fn an_output_is_a_text_or_a_map() {
        let got = outputs("- stdout\n- ecs=/a.json\n- to: /b.json\n- {to: /c.json, format: ocsf}\n").unwrap();
        let expected = ["stdout", "ecs=/a.json", "/b.json", "ocsf=/c.json"].map(Output::from);
        assert_eq!(got, expected);
    }

    #[test]
    fn an_output_is_told_as_it_can_be_written() {
        let text = "- stdout\n- {to: /b.json, format: ecs, rotate: {keep: 9}, only: denials, deny: [{port: [53, 80]}], fields: {drop: process}}\n";
        let got = outputs(text).unwrap();
        let told = serde_json::to_string(&got).unwrap();
        let rotate = r#"{"bytes":104857600,"keep":9,"zstd":true}"#;
        let select = r#""only":"denials","deny":[{"port":["53","80"]}],"fields":{"drop":"process"}"#;
        assert_eq!(told, format!(r#"["stdout",{{"to":"ecs=/b.json","rotate":{rotate},{select}}}]"#));
        assert_eq!(outputs(&told).unwrap(), got);
    }

    #[test]
    fn an_output_over_the_network_is_told_as_it_is_written() {
        let text = "- {to: splunk+https://siem.example.com, token_file: /run/secrets/token, spool: {folder: /var/lib/flowlog/siem}}\n";
        let got = outputs(text).unwrap();
        assert_eq!(got[0].spool.as_ref().unwrap().bytes, 1 << 30);
        let told = serde_json::to_string(&got).unwrap();
        assert_eq!(
            told,
            r#"[{"to":"splunk+https://siem.example.com","token_file":"/run/secrets/token","spool":{"folder":"/var/lib/flowlog/siem","bytes":1073741824}}]"#
        );
        assert_eq!(outputs(&told).unwrap(), got);
    }

    #[test]
    fn what_is_wrong_with_a_map_is_told() {
        for (name, text, expected) in [
            ("an unknown key", "- {to: /a.json, formats: ecs}\n", "formats"),
            ("no place", "- {format: ecs}\n", "to"),
            (
                "two formats",
                "- {to: ecs=/a.json, format: ocsf}\n",
                "an output has `format: ocsf`, and `to: ecs=/a.json` names one, too",
            ),
            ("a number", "- 3\n", "where lines go"),
        ] {
            let error = outputs(text).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
