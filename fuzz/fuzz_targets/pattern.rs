//! A pattern that parses is written as it was read, and contains itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mscp_log_core::access::{Base, Pattern};

fuzz_target!(|text: &str| {
    let base = Base::new("/api", Some("https://logs.example.org")).expect("a valid base");
    if let Ok(pattern) = Pattern::parse(text) {
        let again = Pattern::parse(&pattern.to_string()).expect("what is written can be read");
        assert_eq!(again.to_string(), pattern.to_string());
        let _ = pattern.contains(&again, &base);
    }
});
