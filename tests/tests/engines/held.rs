//! What a real engine holds where, before nodes of it are taken away.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use mscp_log_server::admin::kubernetes::Held;
use mscp_log_tests::target::{RUNTIME, Running, Target};
use reqwest::Method;
use serde_json::json;

use crate::spread::{ask, store};

const INDEX: &str = "another-held";

pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    let Some(spec) = target.spec else {
        return Vec::new();
    };
    let name = format!("{}::held::shards_votes_and_exclusions_are_read", spec.name);
    // Elasticsearch 6 has no list of who votes.
    let votes = !spec.name.starts_with("elasticsearch-6");
    let target = Arc::clone(target);
    vec![Trial::test(name, move || {
        RUNTIME.block_on(read(target.running(), votes));
        Ok::<(), Failed>(())
    })]
}

async fn read(running: &Running, votes: bool) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(running, folder.path()).await;
    let settings = json!({"settings": {"number_of_shards": 2, "number_of_replicas": 3}});
    let (status, answer) = ask(running, Method::PUT, &format!("/{INDEX}"), Some(settings)).await;
    assert_eq!(status, 200, "{answer}");
    // Its primaries are somewhere.
    let wait = format!("/_cluster/health/{INDEX}?wait_for_status=yellow&timeout=30s");
    ask(running, Method::GET, &wait, None).await;
    let (_, nodes) = ask(running, Method::GET, "/_cat/nodes?format=json&h=name", None).await;
    let only = nodes[0]["name"].as_str().unwrap();

    let held = Held::of(&store).await.unwrap();
    assert_eq!(held.copies, 4);
    assert_eq!(held.shards.keys().collect::<Vec<_>>(), [only]);
    assert!(held.shards[only] >= 2, "{held:?}");
    assert!(held.unassigned >= 6, "{held:?}");
    let voters: Vec<&str> = held.voters.iter().map(String::as_str).collect();
    assert_eq!(voters, if votes { vec![only] } else { vec![] });
    assert!(held.excluded.is_empty(), "{held:?}");

    let exclude = |names: serde_json::Value| json!({"transient": {"cluster.routing.allocation.exclude._name": names}});
    let names = Some(exclude(json!("nobody-1,nobody-2")));
    let (status, answer) = ask(running, Method::PUT, "/_cluster/settings", names).await;
    assert_eq!(status, 200, "{answer}");
    let held = Held::of(&store).await.unwrap();
    let excluded: Vec<&str> = held.excluded.iter().map(String::as_str).collect();
    assert_eq!(excluded, ["nobody-1", "nobody-2"]);
    let nobody = Some(exclude(json!(null)));
    ask(running, Method::PUT, "/_cluster/settings", nobody).await;
    ask(running, Method::DELETE, &format!("/{INDEX}"), None).await;
}
