//! One kind, listed once and not watched: for a person who asks, and waits for the answer.

use super::super::served::Served;
use super::{Follower, State, Told, Trouble};
use http::StatusCode;
use std::time::Duration;

/// Tries of a list that may come the next time.
const TRIES: u32 = 3;

/// Tries where nothing answers: a connection that is not there waits long for each.
const TRIES_UNANSWERED: u32 = 2;

/// What a failed list comes to.
enum Outcome {
    /// This is how it stands.
    Stands(State),
    /// It may be otherwise the next time, so many times, after so long.
    Again { why: String, tries: u32, later: Duration },
    /// It will not be otherwise.
    Never { why: String },
}

impl Follower {
    /// Tells all objects as they are stored now, and how it stands with the kind.
    pub(in super::super) async fn once(mut self) {
        // Not out of a cache: what was changed a moment ago is what is asked about.
        self.stored = true;
        let mut tried = 0;
        loop {
            let trouble = match self.list().await {
                Ok(()) => return,
                Err(trouble) => trouble,
            };
            tried += 1;
            let why = match self.weigh(trouble).await {
                // Nobody listens any more: there is nobody to tell it either.
                Outcome::Stands(state) => return drop(self.say(Told::State(self.row.kind, state)).await),
                Outcome::Again { tries, later, .. } if tried < tries => {
                    tokio::time::sleep(later + self.backoff.wait()).await;
                    continue;
                }
                Outcome::Again { why, .. } | Outcome::Never { why } => why,
            };
            return drop(self.lose(&why, None, true).await);
        }
    }

    async fn weigh(&self, trouble: Trouble) -> Outcome {
        let again = |why, later| Outcome::Again { why, tries: TRIES, later };
        match trouble {
            Trouble::NotFound if self.row.optional => self.weigh_served("404").await,
            // Who has no right to a kind is told so before he is told whether there is one.
            Trouble::Refused { status: StatusCode::FORBIDDEN, what, .. } if self.row.optional => {
                self.weigh_served(&what).await
            }
            Trouble::NotFound => Outcome::Never { why: "404: the API server does not serve it".to_owned() },
            Trouble::Refused { status, what, later } => {
                let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
                match busy {
                    true => again(what, later.unwrap_or_default()),
                    false => Outcome::Never { why: what },
                }
            }
            Trouble::Broken { what, .. } | Trouble::Garbled(what) | Trouble::NoStream(what) => {
                Outcome::Again { why: what, tries: TRIES_UNANSWERED, later: Duration::ZERO }
            }
            Trouble::Expired => {
                again("410: the list was forgotten while it was read".to_owned(), Duration::ZERO)
            }
            Trouble::Ended | Trouble::Over => Outcome::Never { why: "ended".to_owned() },
        }
    }

    async fn weigh_served(&self, said: &str) -> Outcome {
        match self.find_served().await {
            Ok(Served::Elsewhere(versions)) if self.row.kind.is_policy() => {
                Outcome::Stands(self.elsewhere(&versions))
            }
            Ok(Served::Nowhere | Served::NoGroup | Served::Elsewhere(_)) => Outcome::Stands(State::Unserved),
            Ok(Served::Here) if said.starts_with("404") => Outcome::Again {
                why: "404, though the API server lists it as served".to_owned(),
                tries: TRIES,
                later: Duration::ZERO,
            },
            Ok(Served::Here) => Outcome::Never { why: said.to_owned() },
            Err(what) => Outcome::Never { why: format!("{said}, and what is served cannot be read: {what}") },
        }
    }
}
