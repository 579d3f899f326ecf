//! Outputs over the network as they are written: what their keys may say, and which of them belong together.

use super::{ConfigError, Origin, Output};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
}

/// Lines that wait on disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    /// The folder, of this output alone.
    pub folder: PathBuf,
    /// Most bytes in it; default 1 GiB.
    #[serde(default = "spool_bytes")]
    pub bytes: u64,
}

fn spool_bytes() -> u64 {
    1 << 30
}

impl Output {
    /// Whether the numbers of its way over the network make sense, and what belongs together is there.
    pub(super) fn check_remote(&self, origin: &Origin) -> Result<(), ConfigError> {
        let range = |key, value: Option<u64>, (least, most): (u64, u64), unit| {
            let Some(value) = value else { return Ok(()) };
            let wrong = || {
                let allowed = format!("{least} to {most} {unit}");
                ConfigError::Range { key, value, origin: origin.clone(), allowed }
            };
            (least..=most).contains(&value).then_some(()).ok_or_else(wrong)
        };
        range("outputs.timeout_ms", self.timeout_ms, (100, 300_000), "milliseconds")?;
        range("outputs.batch_bytes", self.batch_bytes, (16_384, 64 << 20), "bytes")?;
        range("outputs.linger_ms", self.linger_ms, (0, 60_000), "milliseconds")?;
        let spool_bytes = self.spool.as_ref().map(|spool| spool.bytes);
        range("outputs.spool.bytes", spool_bytes, (1 << 20, 1 << 40), "bytes")?;
        let pair = |one, has_one: bool, other, has_other: bool| {
            let (one, other) = if has_one { (one, other) } else { (other, one) };
            let wrong = || ConfigError::Alone { one, other, origin: origin.clone() };
            (has_one == has_other).then_some(()).ok_or_else(wrong)
        };
        let [certificate, key] = [&self.certificate_file, &self.key_file].map(Option::is_some);
        pair("outputs.certificate_file", certificate, "outputs.key_file", key)?;
        let [user, password] = [self.username.is_some(), self.password_file.is_some()];
        pair("outputs.username", user, "outputs.password_file", password)?;
        let [user, password] = [self.proxy_username.is_some(), self.proxy_password_file.is_some()];
        pair("outputs.proxy_username", user, "outputs.proxy_password_file", password)?;
        if user {
            pair("outputs.proxy_username", user, "outputs.proxy", self.proxy.is_some())?;
        }
        Ok(())
    }
}
