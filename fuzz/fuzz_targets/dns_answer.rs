//! A DNS answer as a pod may get it: no panic, no hang, and names that are names.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "another target uses the rest")]
mod checks;
#[path = "../records.rs"]
#[allow(dead_code, reason = "another target uses it")]
mod records;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::answer(bytes));
