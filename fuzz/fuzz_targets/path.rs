//! Whatever is taken for a canonical path is a fixed point of canonicalisation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mscp_log_core::access::CanonicalPath;

fuzz_target!(|text: &str| {
    if let Ok(path) = CanonicalPath::parse(text) {
        let again = CanonicalPath::parse(path.as_str()).expect("a canonical path is canonical");
        assert_eq!(again.as_str(), path.as_str());
    }
});
