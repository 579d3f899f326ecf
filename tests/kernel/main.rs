//! The real binary on the real kernel: sockets, filters and pods of a world of namespaces, and what the lines
//! say of them.

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod attribution;
#[cfg(test)]
mod balancer;
#[cfg(test)]
mod books;
#[cfg(test)]
mod confine;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod existing;
#[cfg(test)]
mod findings;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod names;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod outputs;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod resolver;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod selection;
#[cfg(test)]
mod services;
#[cfg(test)]
mod special;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod storms;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod udp;
#[cfg(test)]
mod untouched;
#[cfg(test)]
mod watched;
