//! flowlog's agent: the rooms, bottom floor first. `docs/architecture.md` walks through them.

pub mod capture;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod findings;
pub mod inventory;
pub mod model;
pub mod pipeline;
pub mod policy;
pub mod record;
pub mod report;
pub mod scan;
pub mod selection;
pub mod sinks;
pub mod telemetry;
#[cfg(test)]
pub mod testkit;
pub mod vendor;
