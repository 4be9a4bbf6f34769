#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fardel_tests::fuzz::ack(data));
