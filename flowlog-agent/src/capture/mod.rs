//! The node's side: kernel in, model out. Everything that is unsafe, or aya's, stays in this room.
//!
//! [`Capture::start`] loads the kernel half and attaches it; [`Capture::drain`] hands over what the hooks saw,
//! as [`Observation`]s; [`Capture::detach`] takes everything out again. Nothing stays behind when the agent is
//! killed either: links live as long as the process that holds them. Unless they are kept in bpffs (`pins.rs`): then
//! they go on without an agent, and the next one takes them over.

pub mod btf;
pub mod cgroups;
pub mod clock;
pub mod confine;
mod conntrack;
pub mod decode;
mod existing;
pub mod heap;
pub mod hooks;
pub mod host;
mod judged;
mod load;
mod pages;
mod peers;
mod pins;
mod process;
mod reader;
mod registers;
mod repeats;
mod ring;

pub use cgroups::{Cgroups, Owner};
pub use confine::{Confinement, Uses, confine};
pub use conntrack::{Conntrack, Tracked};
pub use load::{Capture, HookState, HookStatus, LoadError, OBJECT_SOURCE, Options};
pub use peers::PeerCounts;
pub use pins::{
    Detached, PinError, PinOrigin, Pinned, PinnedState, PinnedThere, Unseen, detach, find_pinned,
};
pub use process::find_exe;
pub use repeats::{KILLED, Kind, LeftBehind, Repeat, RepeatCounts, Slot, account_of, sums_of};
pub use ring::{Batch, Gaps, KernelCounts};
