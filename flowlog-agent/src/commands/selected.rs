//! What is asked of each output: from what is written to what the sinks take.

use crate::config::{self, Condition as Written, Fields, Output, Rotate, Selecting, Settings, Words};
use crate::record::{Mask, MaskError};
use crate::selection::{Condition, Only, Selection, SelectionError};
use crate::sinks::{self, ProxyPlace, Remote, Request, Rotation, SpoolPlace};
use std::time::Duration;

/// What can mean nothing, named with its output.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// What it selects.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// What it leaves out.
    #[error(transparent)]
    Mask(#[from] MaskError),
}

/// Outputs as a flag or a variable lists them.
#[derive(Clone, Debug)]
pub(super) struct Listed(Vec<Output>);

impl From<&str> for Listed {
    fn from(list: &str) -> Self {
        Self(sinks::split(list).into_iter().map(Output::from).collect())
    }
}

/// All that were listed, in order.
pub(super) fn all(lists: Option<&[Listed]>) -> Option<Vec<Output>> {
    lists.map(|lists| lists.iter().flat_map(|Listed(outputs)| outputs.clone()).collect())
}

/// What is asked of each output.
///
/// # Errors
/// A selection, or a list of parts, that can mean nothing.
pub(super) fn requests(settings: &Settings) -> Result<Vec<Request>, RequestError> {
    let outputs = settings.outputs.iter().enumerate();
    outputs.map(|(number, output)| request(number, output, &settings.selecting)).collect()
}

fn request(number: usize, output: &Output, for_all: &Selecting) -> Result<Request, RequestError> {
    let rotation = output.rotate.map(|Rotate { bytes, keep, zstd }| Rotation { bytes, keep, zstd });
    let selection = selection(&output.selecting(), &format!("outputs[{number}]."), for_all)?;
    let mask = mask(output.fields.as_ref(), &format!("outputs[{number}].fields.drop"))?;
    let spool = output.spool.clone().map(|config::Spool { folder, bytes }| SpoolPlace { folder, bytes });
    Ok(Request { to: output.to.clone(), rotation, selection, mask, remote: reached(output), spool })
}

/// What it leaves out.
fn mask(fields: Option<&Fields>, key: &str) -> Result<Mask, MaskError> {
    let Some(Fields { drop, labels }) = fields else { return Ok(Mask::default()) };
    let mask = match drop {
        Some(Words(paths)) => Mask::read(key, paths)?,
        None => Mask::default(),
    };
    Ok(match labels {
        Some(Words(keys)) => mask.with_labels(keys),
        None => mask,
    })
}

/// How an output over the network is reached.
fn reached(output: &Output) -> Remote {
    let written = output.clone();
    let default = Remote::default();
    let milliseconds = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
    let bytes = written.batch_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    Remote {
        ca_file: written.ca_file,
        certificate: written.certificate_file.zip(written.key_file),
        token_file: written.token_file,
        user: written.username.zip(written.password_file),
        timeout: milliseconds(written.timeout_ms, default.timeout),
        batch_bytes: bytes.unwrap_or(default.batch_bytes),
        linger: milliseconds(written.linger_ms, default.linger),
        compressed: written.compression == Some(config::Compression::Gzip),
        proxy: written
            .proxy
            .map(|to| ProxyPlace { to, user: written.proxy_username.zip(written.proxy_password_file) }),
    }
}

/// What an output says itself, key by key, goes before what is said for all of them.
fn selection(own: &Selecting, place: &str, for_all: &Selecting) -> Result<Selection, SelectionError> {
    let only = match (&own.only, &for_all.only) {
        (Some(Words(words)), _) => Only::read(&format!("{place}only"), words)?,
        (None, Some(Words(words))) => Only::read("only", words)?,
        (None, None) => Only::All,
    };
    let conditions =
        |key: &str, own: &Option<Vec<Written>>, for_all: &Option<Vec<Written>>| match (own, for_all) {
            (Some(all), _) => read(&format!("{place}{key}"), all),
            (None, Some(all)) => read(key, all),
            (None, None) => Ok(Vec::new()),
        };
    let allow = conditions("allow", &own.allow, &for_all.allow)?;
    Ok(Selection { only, allow, deny: conditions("deny", &own.deny, &for_all.deny)? })
}

fn read(place: &str, written: &[Written]) -> Result<Vec<Condition>, SelectionError> {
    let one = |(number, Written(keys)): (usize, &Written)| {
        let keys = keys.iter().map(|(key, Words(words))| (key.as_str(), words.as_slice()));
        Condition::read(&format!("{place}[{number}]"), keys)
    };
    written.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn of(text: &str) -> Result<Vec<Request>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.yaml");
        fs::write(&path, format!("node: a\n{text}")).unwrap();
        let file = config::load(&path).map_err(|error| error.to_string())?;
        let settings = Settings::resolve(Some(&file), &config::Overrides::default());
        requests(&settings.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    #[test]
    fn an_output_says_it_itself_or_takes_what_is_said_for_all() {
        let got = of("only: denials\ndeny: [{port: 53}]\noutputs: [stdout, {to: a, only: all}, {to: b, deny: []}, {to: c, \
                      only: [allowed, findings], allow: [{namespace: shop}]}]\n")
        .unwrap();
        let only = |words: &[&str]| Only::read("", words).unwrap();
        let condition = |key: &str, word: &str| Condition::read("", [(key, &[word.to_owned()][..])]).unwrap();
        let port = || vec![condition("port", "53")];
        let got: Vec<Selection> = got.into_iter().map(|request| request.selection).collect();
        let expected = [
            Selection { only: only(&["denials"]), allow: vec![], deny: port() },
            Selection { only: Only::All, allow: vec![], deny: port() },
            Selection { only: only(&["denials"]), allow: vec![], deny: vec![] },
            Selection {
                only: only(&["allowed", "findings"]),
                allow: vec![condition("namespace", "shop")],
                deny: port(),
            },
        ];
        assert_eq!(got, expected);
        assert!(of("").unwrap()[0].selection.is_everything());
    }

    #[test]
    fn an_output_shows_labels_of_its_own_list() {
        let got = of("outputs: [{to: a, fields: {labels: [team, app.*]}}, {to: b, fields: {drop: process, labels: []}}]\n").unwrap();
        let keys = ["team", "app.*"].map(str::to_owned);
        assert_eq!(got[0].mask, Mask::default().with_labels(&keys));
        assert_eq!(got[1].mask, Mask::read("", &["process"]).unwrap().with_labels(&[]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_output() {
        for (text, expected) in [
            (
                "only: denial\n",
                "`only` has `denial`, which is not a class: there are denials, findings, all,",
            ),
            ("outputs: [stdout, {to: a, only: [allow]}]\n", "`outputs[1].only` has `allow`"),
            ("outputs: [{to: a, deny: [{port: 1}, {}]}]\n", "`outputs[0].deny[1]` asks for nothing"),
            (
                "deny: [{destination: {cidr: 10/8}}]\n",
                "`deny[0].destination.cidr` has `10/8`, which is no address",
            ),
            ("allow: [{source: {}}]\n", "`allow[0]` asks for nothing"),
            (
                "allow: [{clas: allowed}]\n",
                "`allow[0].clas` is no key of a condition: there are kind, class,",
            ),
            ("outputs: [{to: a, denny: []}]\n", "denny"),
            ("outputs: [{to: a, fields: {drop: [process, clas]}}]\n", "`outputs[0].fields.drop` has `clas`"),
            ("outputs: [{to: a, fields: {dropp: []}}]\n", "dropp"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
