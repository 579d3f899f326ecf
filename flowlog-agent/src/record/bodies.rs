//! Room for the bodies of lines, used again once a line is written: it is taken on one thread and would be given back on
//! another, which costs an allocator as much as the line itself.

use std::sync::{Arc, Mutex, PoisonError};

/// What follows a line's beginning; copies of a line share it.
pub(super) type Body = Arc<Vec<u8>>;

/// Room that waits to be used again: as many lines as the spine hands over at once. An encoder takes all of it when it has none.
const MOST_IDLE: usize = 256;

/// Room for the longest line, and no more.
const MOST_BYTES: usize = 8_192;

/// Room to write bodies into. A copy has the same room given back to it.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    idle: Vec<Body>,
    given_back: Arc<Mutex<Vec<Body>>>,
}

impl Bodies {
    /// A body with this text.
    pub(super) fn holding(&mut self, text: &[u8]) -> Body {
        if self.idle.is_empty() {
            let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut self.idle, &mut given_back);
        }
        let mut body = self.idle.pop().unwrap_or_default();
        let Some(room) = Arc::get_mut(&mut body) else { return Arc::new(text.to_vec()) };
        room.clear();
        room.extend_from_slice(text);
        body
    }

    /// Take these back, unless somebody else has them still.
    pub(super) fn give_back(&self, bodies: impl IntoIterator<Item = Body>) {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        for mut body in bodies {
            let fits = Arc::get_mut(&mut body).is_some_and(|room| room.capacity() <= MOST_BYTES);
            if fits && given_back.len() < MOST_IDLE {
                given_back.push(body);
            }
        }
    }
}

impl Clone for Bodies {
    fn clone(&self) -> Self {
        Self { idle: Vec::new(), given_back: Arc::clone(&self.given_back) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bodies, MOST_BYTES, MOST_IDLE};
    use std::sync::Arc;

    #[test]
    fn room_is_used_again_when_nobody_has_it() {
        let mut bodies = Bodies::default();
        let other = bodies.clone();
        let body = bodies.holding(b"a long one");
        let (place, copy) = (body.as_ptr(), Arc::clone(&body));
        other.give_back([body]);
        assert_ne!(bodies.holding(b"next").as_ptr(), place, "a copy is still there");
        assert_eq!(**copy, *b"a long one");
        other.give_back([copy]);
        let again = bodies.holding(b"short");
        assert_eq!((again.as_ptr(), &**again), (place, &b"short"[..]));
    }

    #[test]
    fn no_more_room_is_kept_than_said() {
        let mut bodies = Bodies::default();
        let all: Vec<_> = (0..MOST_IDLE + 10).map(|_| bodies.holding(b"x")).collect();
        bodies.give_back(all);
        bodies.give_back([Arc::new(Vec::with_capacity(MOST_BYTES + 1))]);
        assert_eq!(bodies.given_back.lock().unwrap().len(), MOST_IDLE);
    }
}
