//! What the running kernel can do.

use socket2::{Domain, Protocol, Socket, Type};

/// Whether it has SCTP, built in or as a module that it may load.
pub fn speaks_sctp() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(nix::libc::IPPROTO_SCTP))).is_ok()
}
