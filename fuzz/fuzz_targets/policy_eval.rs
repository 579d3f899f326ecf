//! A line of `flowlog policy eval`: no panic, no hang, and one answer by every way.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "another target uses the rest")]
mod checks;
#[path = "../records.rs"]
#[allow(dead_code, reason = "another target uses it")]
mod records;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::case(bytes));
