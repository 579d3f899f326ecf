//! Records of any kind in every format: one line each, that no text can forge, and nothing left out without a word.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "another target uses the rest")]
mod checks;
#[path = "../records.rs"]
mod records;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::encoded(bytes));
