//! What both halves must agree on: the wire records, the kernel-side counters, and what the agent tells
//! the kernel half before it is loaded. Integers and byte arrays only; the agent's own words are in its
//! `model` room.
#![no_std]

pub mod counter;
pub mod event;
pub mod existing;
pub mod peer;
pub mod repeat;
pub mod settings;
pub mod shed;

/// Version of the layouts and settings in this crate. It stands in the first byte of every event, so an
/// agent that opens rings filled by another build knows at once.
pub const ABI_VERSION: u8 = 1;
