//! What administrators change and what instances report, in the same database
//! as identity, on each kind of it.

use serde_json::json;

use super::*;
use crate::admin::instances::{self, Report};
use crate::settings::{Kept, keep, kept};

#[tokio::test]
async fn replicas_see_each_others_settings_and_reports() {
    let world = World::new();
    let first = Arc::new(world.replica().await);
    let second = match world.in_folder() {
        true => Arc::clone(&first),
        false => Arc::new(world.replica().await),
    };
    let (first, second) = (first.database(), second.database());

    assert_eq!(kept(first, "north").await.unwrap(), Kept::default());
    for revision in 1..=2 {
        let mut changed = Kept {
            revision,
            ..Kept::default()
        };
        changed.overrides.set("/rotate/age", json!(revision));
        keep(first, "north", &changed, "somebody").await.unwrap();
        assert_eq!(kept(second, "north").await.unwrap(), changed);
    }
    assert_eq!(kept(second, "south").await.unwrap(), Kept::default());

    let mut report = Report {
        id: "a1".to_owned(),
        node: "n1".to_owned(),
        ready: true,
        ..Report::default()
    };
    for revision in 1..=2 {
        report.revision = revision;
        instances::take(first, "north", &report).await.unwrap();
        let known = instances::list(second, "north").await.unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!((known[0].status, &known[0].report), ("up", &report));
    }
    report.leaving = true;
    instances::take(second, "north", &report).await.unwrap();
    assert_eq!(instances::list(first, "north").await.unwrap(), []);
}
