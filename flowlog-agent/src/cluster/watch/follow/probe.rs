//! One kind, asked for as whoever follows it asks: the first object of its list, and the beginning of a watch.
//!
//! That is what an authorizer's answer to a review cannot show: that the list itself is served. Nothing is read beyond that.

use super::super::items::MOST_BYTES;
use super::super::served::Served;
use super::{Follower, MOST_WORDS, Page, Trouble, form, words};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde_json::Value;

/// Whether a kind can be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It is served, and both rights are there.
    Yes,
    /// These rights are missing; what the API server said. It may not even be served.
    Refused {
        /// As RBAC names them.
        verbs: Vec<&'static str>,
        /// The first refusal.
        why: String,
        /// Whether there is anything to be read.
        served: bool,
    },
    /// The API server does not serve it.
    Unserved,
    /// It is served in these versions, which are not read.
    Elsewhere(String),
    /// It cannot be asked for.
    Fails(String),
}

/// A version that no server holds any more: whoever may watch is told that, and nothing else.
const FORGOTTEN: &str = "1";

impl Follower {
    /// Whether this kind can be followed.
    pub(in super::super) async fn probe(self) -> Followed {
        let listed = self.probe_list().await;
        let version = match &listed {
            Ok(version) => version.clone(),
            Err(Trouble::Refused { status: StatusCode::FORBIDDEN, .. }) => FORGOTTEN.to_owned(),
            Err(Trouble::NotFound) if self.row.optional => return self.probe_served().await,
            Err(trouble) => return Followed::Fails(said(trouble)),
        };
        let watched = self.probe_watch(&version).await;
        let mut refusals = Vec::new();
        for (verb, trouble) in [("list", listed.as_ref().err()), ("watch", watched.as_ref().err())] {
            match trouble {
                None | Some(Trouble::Expired) => {}
                Some(Trouble::Refused { status: StatusCode::FORBIDDEN, what, .. }) => {
                    refusals.push((verb, what.clone()));
                }
                Some(trouble) => return Followed::Fails(format!("{verb}: {}", said(trouble))),
            }
        }
        let Some((_, why)) = refusals.first().cloned() else { return Followed::Yes };
        // Who has no right to a kind is told so before he is told whether there is one.
        let served = !self.row.optional || !matches!(self.find_served().await, Ok(Served::Nowhere));
        Followed::Refused { verbs: refusals.into_iter().map(|(verb, _)| verb).collect(), why, served }
    }

    /// The version of a list of one.
    async fn probe_list(&self) -> Result<String, Trouble> {
        let response = self.ask(&form(&[("limit", "1")]), "PartialObjectMetadataList").await?;
        let text = words(response.into_body(), self.timing.list, MOST_BYTES).await;
        let page: Page = serde_json::from_slice(&text)
            .map_err(|error| super::broken(format!("the list cannot be read: {error}")))?;
        Ok(page.metadata.resource_version)
    }

    /// Only the beginning of the answer is waited for.
    async fn probe_watch(&self, version: &str) -> Result<(), Trouble> {
        let query = form(&[("watch", "1"), ("timeoutSeconds", "1"), ("resourceVersion", version)]);
        self.ask(&query, "PartialObjectMetadata").await.map(drop)
    }

    async fn probe_served(&self) -> Followed {
        match self.find_served().await {
            Ok(Served::Elsewhere(versions)) if self.row.kind.is_policy() => {
                Followed::Elsewhere(versions.join(", "))
            }
            Ok(Served::Here) => Followed::Fails("404, though the API server lists it as served".to_owned()),
            Ok(Served::Nowhere | Served::NoGroup | Served::Elsewhere(_)) => Followed::Unserved,
            Err(what) => Followed::Fails(format!("404, and what is served cannot be read: {what}")),
        }
    }

    /// A list of the objects of this name, as it is written.
    pub(in super::super) async fn named(&self, name: &str) -> Result<Vec<u8>, String> {
        let selector = format!("metadata.name={name}");
        let query = form(&[("limit", "1"), ("fieldSelector", &selector)]);
        let response =
            self.ask(&query, "PartialObjectMetadataList").await.map_err(|trouble| said(&trouble))?;
        Ok(words(response.into_body(), self.timing.list, MOST_BYTES).await)
    }

    /// Any document of the server.
    pub(in super::super) async fn look(&self, path: &str) -> Result<(StatusCode, Vec<u8>), String> {
        self.document(path).await
    }

    /// What the server makes of a document that is posted.
    pub(in super::super) async fn post(
        &self,
        path: &str,
        document: &Value,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let request =
            Request::post(path).header(ACCEPT, "application/json").header(CONTENT_TYPE, "application/json");
        let response = self.send_as(request, document.to_string().into_bytes().into()).await;
        let response = response.map_err(|trouble| said(&trouble))?;
        let status = response.status();
        Ok((status, words(response.into_body(), self.timing.answer, MOST_WORDS).await))
    }
}

fn said(trouble: &Trouble) -> String {
    match trouble {
        Trouble::NotFound => "404: the API server does not serve it".to_owned(),
        Trouble::Expired => "410".to_owned(),
        Trouble::Refused { what, .. } | Trouble::Broken { what, .. } => what.clone(),
        Trouble::Garbled(what) | Trouble::NoStream(what) => what.clone(),
        Trouble::Ended | Trouble::Over => "ended".to_owned(),
    }
}
