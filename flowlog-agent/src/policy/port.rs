//! Which ports a rule opens.

use super::matching::{Match, Reason};
use super::peer::why_unknown;
use crate::model::{Endpoint, Party, Protocol};

/// One item of a rule's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A protocol, with ports.
    Of {
        /// The protocol.
        protocol: Protocol,
        /// The ports.
        numbers: Numbers,
    },
    /// The ports of any protocol that the destination pod declares under this name.
    Named(String),
    /// Could not be read, and why.
    Undetermined(Reason),
}

/// The ports of a protocol that an item opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Every port.
    Every,
    /// From the first to the last, both included.
    Range(u16, u16),
    /// Those that the destination pod declares under this name.
    Named(String),
}

impl Port {
    pub(super) fn matches(&self, destination: &Party, protocol: Protocol, port: Option<u16>) -> Match {
        match self {
            Self::Of { protocol: opened, .. } if *opened != protocol => Match::No,
            Self::Of { numbers: Numbers::Every, .. } => Match::Yes,
            Self::Of { numbers: Numbers::Range(first, last), .. } => match port {
                Some(port) => (*first..=*last).contains(&port).into(),
                None => Match::Unknown("the destination port is not known".into()),
            },
            Self::Of { numbers: Numbers::Named(name), .. } | Self::Named(name) => {
                named(name, destination, protocol, port)
            }
            Self::Undetermined(reason) => Match::Unknown(reason.clone()),
        }
    }
}

/// A name means the ports that the destination pod declares under it: none, one or several.
fn named(name: &str, destination: &Party, protocol: Protocol, port: Option<u16>) -> Match {
    let pod = match &destination.endpoint {
        Endpoint::Pod(pod) if !pod.host_network => pod,
        Endpoint::Service(_) | Endpoint::Unknown { .. } => return Match::Unknown(why_unknown(destination)),
        _ => return Match::No,
    };
    let is_it = |number: u16| match port {
        Some(port) => Match::from(port == number),
        None => Match::Unknown("the destination port is not known".into()),
    };
    let declared = pod.ports.iter().filter(|declared| declared.protocol == protocol);
    let declared = declared.filter(|declared| declared.name.as_deref() == Some(name));
    Match::any(declared.map(|declared| is_it(declared.port)))
}
