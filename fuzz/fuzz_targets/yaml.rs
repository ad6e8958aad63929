#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| turnup_fuzz::yaml(bytes));
