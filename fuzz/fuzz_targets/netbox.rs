#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| turnup_fuzz::netbox_export(bytes));
