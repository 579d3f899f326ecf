//! Outputs over HTTP: batches that are posted, answers that are judged, halves where a whole is refused.
//!
//! `client.rs` posts, `post.rs` decides what becomes of a batch by the answers; a file for each protocol says what a batch
//! looks like and what an answer means. `receipts.rs` waits where an answer is not the last word.

mod client;
pub(in crate::sinks) mod elastic;
pub(in crate::sinks) mod ndjson;
pub(in crate::sinks) mod otlp;
mod post;
mod probe;
mod receipts;
pub(in crate::sinks) mod splunk;

#[cfg(test)]
mod receipts_tests;
#[cfg(test)]
pub(in crate::sinks) mod server;
#[cfg(test)]
mod tests;
