//! The hand-written reader of container names finds what the original's
//! expression finds, in any text.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mscp_log_core::container;
use regex::Regex;

static ORIGINAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"k8s_(?<container>[a-zA-Z0-9\-]+)\.(?<containerid>[0-9a-f]{6,8})_(?<controler>[a-zA-Z0-9\-]+)-(?<podid>[a-z0-9]+)_(?<namespace>[a-zA-Z0-9\-]+)_(?<uuid>[0-9a-f]{8}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{12})_(?<resourceid>[0-9a-f]{8})")
        .expect("the expression is well-formed")
});

fuzz_target!(|text: &str| {
    let ours = container::dotted(text);
    match ORIGINAL.captures(text) {
        None => assert_eq!(ours, None),
        Some(theirs) => {
            let ours = ours.expect("the expression finds a name");
            assert_eq!(ours.container, &theirs["container"]);
            assert_eq!(ours.containerid, Some(&theirs["containerid"]));
            assert_eq!(ours.controler, &theirs["controler"]);
            assert_eq!(ours.podid, &theirs["podid"]);
            assert_eq!(ours.namespace, &theirs["namespace"]);
            assert_eq!(ours.uuid, &theirs["uuid"]);
            assert_eq!(ours.resourceid, &theirs["resourceid"]);
        }
    }
    let _ = container::docker(text, "node");
    let _ = container::link(text);
    let _ = container::pod_log(text);
    let _ = container::pod_dir(text);
});
