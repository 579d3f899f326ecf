//! The ends of a connection, as compiled rules see them.

use super::shared::Bits;
use super::{Space, Subject};
use std::net::IpAddr;

/// One end.
pub(super) struct End<'a> {
    /// Canonical.
    pub(super) ip: IpAddr,
    /// Absent for an end that no selector can match: a node, an address outside.
    pub(super) pod: Option<PodEnd<'a>>,
}

/// An end that is a pod.
pub(super) struct PodEnd<'a> {
    /// Where it differs, the pods do.
    pub(super) identity: u32,
    pub(super) subject: &'a Subject,
    pub(super) space: &'a Space,
    pub(super) labels: &'a Bits,
}
