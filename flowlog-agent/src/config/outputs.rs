//! Outputs as they are written: a text that says where lines go, or a map with that text under `to` and what else is
//! wanted of it. Which places there are is known to the room that opens them.

use super::remote::{Compression, Spool};
use super::selection::{Condition, Fields, Selecting, Words};
use super::{ConfigError, Origin, Remote};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// One output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// `[FORMAT=]PLACE`: `stdout`, `/var/log/flowlog/flows.json`, `ecs=/var/log/flowlog/ecs.json`.
    pub to: String,
    /// Of a file: when the agent itself rotates it; absent: somebody else does.
    pub rotate: Option<Rotate>,
    /// Which records it is given, where it says another than all of them.
    pub selecting: Selecting,
    /// Which parts of them it does not show.
    pub fields: Option<Fields>,
    /// Over the network: how it is reached.
    pub remote: Remote,
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
        range("outputs.rotate.keep", self.keep.into(), (1, 1_000), "files")
    }
}

impl Default for Rotate {
    fn default() -> Self {
        Self { bytes: 100 << 20, keep: 5, zstd: true }
    }
}

/// The map.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Where lines go.
    to: String,
    /// The format of lines, where `to` does not name it.
    #[serde(skip_serializing)]
    format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotate: Option<Rotate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    only: Option<Words>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<Condition>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny: Option<Vec<Condition>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linger_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<Compression>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spool: Option<Spool>,
}

impl From<&str> for Output {
    fn from(to: &str) -> Self {
        Self { to: to.to_owned(), ..Self::default() }
    }
}

impl TryFrom<Written> for Output {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written {
            to,
            format,
            rotate,
            only,
            allow,
            deny,
            fields,
            ca_file,
            certificate_file,
            key_file,
            token_file,
            username,
            password_file,
            timeout_ms,
            batch_bytes,
            linger_ms,
            compression,
            spool,
        } = written;
        let remote = Remote {
            ca_file,
            certificate_file,
            key_file,
            token_file,
            username,
            password_file,
            timeout_ms,
            batch_bytes,
            linger_ms,
            compression,
            spool,
        };
        let to = match format {
            None => to,
            Some(format) if names_format(&to) => {
                return Err(format!("an output has `format: {format}`, and `to: {to}` names one, too"));
            }
            Some(format) => format!("{format}={to}"),
        };
        Ok(Self { to, rotate, selecting: Selecting { only, allow, deny }, fields, remote })
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
                let written = Written::deserialize(MapAccessDeserializer::new(map))?;
                Output::try_from(written).map_err(A::Error::custom)
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
        let Self { to, rotate, selecting: Selecting { only, allow, deny }, fields, remote } = self.clone();
        let Remote {
            ca_file,
            certificate_file,
            key_file,
            token_file,
            username,
            password_file,
            timeout_ms,
            batch_bytes,
            linger_ms,
            compression,
            spool,
        } = remote;
        Written {
            to,
            format: None,
            rotate,
            only,
            allow,
            deny,
            fields,
            ca_file,
            certificate_file,
            key_file,
            token_file,
            username,
            password_file,
            timeout_ms,
            batch_bytes,
            linger_ms,
            compression,
            spool,
        }
        .serialize(serializer)
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
        assert_eq!(got[0].remote.spool.as_ref().unwrap().bytes, 1 << 30);
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
