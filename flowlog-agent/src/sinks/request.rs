//! What is asked of an output: where lines go, and what else is wanted of that place.

use super::{Destination, Remote, Rotation, SpoolPlace};
use crate::record::Mask;
use crate::selection::Selection;

/// An output as somebody asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `[FORMAT=]PLACE`, as the configuration writes it; also the sink's name.
    pub to: String,
    /// Of a file: when the agent itself rotates it.
    pub rotation: Option<Rotation>,
    /// Which records it is given.
    pub selection: Selection,
    /// Which parts of them are left out, in flowlog's own format.
    pub mask: Mask,
    /// Over the network: how it is reached.
    pub remote: Remote,
    /// Over the network: where lines wait on disk until they are delivered.
    pub spool: Option<SpoolPlace>,
}

impl Request {
    /// Where lines go, and in which format.
    pub fn destination(&self) -> Destination<'_> {
        Destination::of(&self.to)
    }
}

impl From<&str> for Request {
    fn from(to: &str) -> Self {
        Self { to: to.to_owned(), ..Self::default() }
    }
}
