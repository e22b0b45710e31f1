//! A search that is read is written so that it reads the same, with a
//! restriction around it and without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mscp_log_core::access::Restriction;
use mscp_log_core::query::ast::Search;

fuzz_target!(|body: &[u8]| {
    let Ok(search) = Search::parse(body, &[]) else {
        return;
    };
    let again = Search::parse(search.emit().as_bytes(), &[]).expect("what is written can be read");
    assert_eq!(again, search);
    let mut only = Restriction::none();
    only.namespace = Some(["shop".to_owned()].into());
    if let Ok(restricted) = search.restrict(&[only]) {
        let again = Search::parse(restricted.emit().as_bytes(), &[])
            .expect("what is restricted can be read");
        assert_eq!(again, restricted);
    }
});
