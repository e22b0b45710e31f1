//! A body of pushed records is read to its end or refused with the record
//! and the field at fault; within its limits either way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mscp_log_core::record::{self, Limits, Window};

fuzz_target!(|body: &[u8]| {
    let window = Window {
        now_us: 1_516_792_420_000_000,
        max_past_us: 30 * 86_400_000_000,
        max_future_us: 600_000_000,
    };
    let limits = Limits {
        max_records: 16,
        max_message_bytes: 256,
    };
    for records in [
        record::json(body, None, &window, &limits),
        record::ndjson(body, None, &window, &limits),
    ] {
        match records {
            Ok(records) => {
                assert!(!records.is_empty() && records.len() <= 16);
                assert!(records.iter().all(|r| r.message.len() <= 256));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
