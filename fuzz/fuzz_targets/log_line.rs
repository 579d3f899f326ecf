//! A line of a log as anybody may have written it: no panic, and its beginning says the same as the whole.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "another target uses the rest")]
mod checks;
#[path = "../records.rs"]
#[allow(dead_code, reason = "another target uses it")]
mod records;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::line(bytes));
