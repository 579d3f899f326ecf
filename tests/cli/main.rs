//! The real binary in a fresh directory: what it prints, what it refuses and how, its exit codes.

#[cfg(test)]
mod assess;
#[cfg(test)]
mod bin;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod live;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod observe;
#[cfg(test)]
mod outputs;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod suggest;
#[cfg(test)]
mod top;
#[cfg(test)]
mod vendors;
