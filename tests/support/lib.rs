//! Support for tests of the whole: a node out of namespaces, real sockets, the real binary.
//!
//! Depends on nothing of flowlog itself, so that what it makes and reads is an outside view. `xtask`
//! drives the demo and the benchmark with the same parts.

pub mod agent;
pub mod apiserver;
pub mod case;
pub mod cgroup;
pub mod dns;
pub mod estate;
pub mod kernel;
pub mod manifests;
pub mod matching;
pub mod netns;
pub mod oracle;
pub mod program;
pub mod random;
pub mod scenario;
pub mod services;
pub mod token;
pub mod traffic;
pub mod wait;
pub mod world;

pub use agent::{Agent, Ended};
pub use scenario::Scenario;
pub use traffic::{Actor, Answer, Listen, Outcome, Server, Special, Step};
pub use world::{Place, World};
