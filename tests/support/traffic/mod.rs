//! Traffic: what the program `flowlog-traffic` is told, what it answers, and handles on its processes.

pub mod process;
pub mod step;

pub use process::{Actor, Held, Server};
pub use step::{Answer, Listen, Outcome, Special, Step};
