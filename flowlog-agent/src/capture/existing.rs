//! Connections that were open before the hooks were attached: found once, by an iterator over the files of all
//! processes, in whatever network namespace they are.

use super::decode::{DecodeError, Decoder};
use crate::model::{Fact, Observation};
use aya::Btf;
use aya::programs::{Iter, Program, ProgramError};
use flowlog_common::existing::{ExistingSocket, FLAG_ACCEPTED, FLAG_OPENED, FLAG_UNSEEN};
use foldhash::{HashMap, HashMapExt, HashSet};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read};

const TCP_LISTEN: u8 = 10;

/// What the walk over all files brought.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// Openers' sockets first, so that a listener's finds its opener.
    pub(super) sockets: VecDeque<Observation>,
    /// Records that this build does not understand.
    pub(super) errors: Vec<DecodeError>,
    /// Cookies of those that no hook has ever seen.
    unseen: HashSet<u64>,
}

impl Existing {
    /// Leave out what hooks have seen, or a walk before: it was told.
    pub(super) fn keep_unseen(&mut self) {
        let Self { sockets, unseen, .. } = self;
        sockets.retain(|seen| seen.cookie.is_some_and(|cookie| unseen.contains(&cookie)));
    }
}

/// Why there was no walk.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    /// The kernel does not take the program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The iterator cannot be made.
    #[error(transparent)]
    Link(#[from] aya::programs::links::LinkError),
    /// It cannot be read.
    #[error("read the iterator: {0}")]
    Read(#[from] io::Error),
}

/// Walk over every file that a process has open; nothing of it stays in the kernel.
pub(super) fn walk(
    program: &mut Program,
    iterator: &str,
    btf: &Btf,
    decoder: &mut Decoder,
) -> Result<Existing, WalkError> {
    let program: &mut Iter = program.try_into()?;
    program.load(iterator, btf)?;
    let link = program.attach()?;
    let file = program.take_link(link)?.into_file()?;
    let found = read(file, decoder);
    program.unload()?;
    Ok(found?)
}

fn read(mut file: File, decoder: &mut Decoder) -> io::Result<Existing> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(sort_out(&bytes, decoder))
}

/// One socket, as it was written.
pub(super) struct Found {
    pub(super) state: u8,
    pub(super) flags: u8,
    pub(super) netns: u32,
    pub(super) seen: Observation,
}

fn sort_out(bytes: &[u8], decoder: &mut Decoder) -> Existing {
    let mut existing = Existing::default();
    let mut sockets: HashMap<u64, Found> = HashMap::new();
    let mut order = Vec::new();
    for record in bytes.chunks(size_of::<ExistingSocket>()) {
        match decoder.decode_existing(record) {
            Ok(found) => {
                // Those who hold the same socket: the first stands for it.
                if let Entry::Vacant(entry) = sockets.entry(found.seen.cookie.unwrap_or(0)) {
                    order.push(*entry.key());
                    if found.flags & FLAG_UNSEEN != 0 {
                        existing.unseen.insert(*entry.key());
                    }
                    entry.insert(found);
                }
            }
            Err(error) => existing.errors.push(error),
        }
    }
    let listening: HashSet<(u32, u16)> = sockets.values().filter_map(listens).collect();
    let mut accepted = VecDeque::new();
    for mut found in order.iter().filter_map(|cookie| sockets.remove(cookie)) {
        if found.state == TCP_LISTEN {
            continue;
        }
        let is_opener = has_opened(&found, &listening);
        if let Fact::Existing { opened, .. } = &mut found.seen.fact {
            *opened = is_opener;
        }
        if is_opener { &mut existing.sockets } else { &mut accepted }.push_back(found.seen);
    }
    existing.sockets.append(&mut accepted);
    // Told as of the end of the walk: whatever the hooks saw of one of them before is older.
    let latest = existing.sockets.iter().map(|seen| (seen.boot_ns, seen.time)).max();
    for seen in &mut existing.sockets {
        (seen.boot_ns, seen.time) = latest.unwrap_or((seen.boot_ns, seen.time));
    }
    existing
}

fn listens(found: &Found) -> Option<(u32, u16)> {
    (found.state == TCP_LISTEN).then_some((found.netns, found.seen.local?.port()))
}

/// The socket's own counts tell; where they do not, who has a port on which somebody listens is taken for accepted.
fn has_opened(found: &Found, listening: &HashSet<(u32, u16)>) -> bool {
    match found.flags & (FLAG_OPENED | FLAG_ACCEPTED) {
        FLAG_OPENED => true,
        FLAG_ACCEPTED => false,
        _ => !found.seen.local.is_some_and(|local| listening.contains(&(found.netns, local.port()))),
    }
}

#[cfg(test)]
mod tests {
    use super::{FLAG_ACCEPTED, FLAG_OPENED, FLAG_UNSEEN, sort_out};
    use crate::capture::clock::Clock;
    use crate::capture::decode::Decoder;
    use crate::model::Fact;
    use flowlog_common::ABI_VERSION;

    /// A socket 10.0.0.<cookie>:<port> → 10.0.0.9:443 of namespace 1.
    fn socket(cookie: u8, state: u8, flags: u8, port: u16) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<super::ExistingSocket>()];
        bytes[..4].copy_from_slice(&[ABI_VERSION, state, 2, 6]);
        bytes[4..8].copy_from_slice(&1_u32.to_ne_bytes());
        bytes[8..16].copy_from_slice(&(5 + u64::from(cookie)).to_ne_bytes());
        bytes[24..32].copy_from_slice(&u64::from(cookie).to_ne_bytes());
        for (at, last) in [(32, cookie), (48, 9)] {
            bytes[at..at + 16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last]);
        }
        bytes[64..66].copy_from_slice(&port.to_ne_bytes());
        bytes[66..68].copy_from_slice(&443_u16.to_ne_bytes());
        bytes[68..72].copy_from_slice(&4242_u32.to_ne_bytes());
        bytes[72] = flags;
        bytes[80..85].copy_from_slice(b"curl\0");
        bytes
    }

    #[test]
    fn each_socket_comes_once_openers_first_with_the_end_that_it_is() {
        const LISTEN: u8 = 10;
        const SYN_SENT: u8 = 2;
        let mut elsewhere = socket(6, 1, 0, 81);
        elsewhere[4] = 2;
        let bytes = [
            socket(1, 1, FLAG_ACCEPTED | FLAG_UNSEEN, 40_000),
            socket(2, 1, 0, 80),
            socket(3, 1, FLAG_OPENED, 80),
            socket(4, 1, 0, 40_001),
            socket(5, SYN_SENT, FLAG_OPENED, 40_002),
            elsewhere,
            socket(7, LISTEN, 0, 80),
            socket(8, LISTEN, 0, 81),
            socket(4, 1, 0, 40_001),
            vec![ABI_VERSION; 17],
        ];
        let mut decoder = Decoder::new(Clock::fixed(0), Vec::new());
        let mut existing = sort_out(&bytes.concat(), &mut decoder);
        let found: Vec<_> = existing
            .sockets
            .iter()
            .map(|seen| match &seen.fact {
                Fact::Existing { task, opened, connected } => {
                    assert_eq!((task.pid, &*task.comm), (4242, "curl"));
                    assert_eq!(seen.boot_ns, 11, "the end of the walk");
                    (seen.cookie.unwrap(), *opened, *connected)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            (3, true, true),
            (4, true, true),
            (5, true, false),
            (6, true, true),
            (1, false, true),
            (2, false, true),
        ];
        assert_eq!(found, expected);
        assert_eq!(existing.errors.len(), 1, "what ends early is an error");
        existing.keep_unseen();
        let left: Vec<_> = existing.sockets.iter().filter_map(|seen| seen.cookie).collect();
        assert_eq!(left, [1]);
    }
}
