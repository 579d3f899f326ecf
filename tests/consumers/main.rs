//! The real agent, and the real programs that take what it writes: stores, shippers, brokers. `cargo xtask test` installs them.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod logrotate;
#[cfg(test)]
#[path = "../kernel/stage.rs"]
#[expect(dead_code, reason = "made for the tests of another folder")]
mod stage;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod talk;
