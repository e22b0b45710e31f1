//! The whole API, for the tests of what concerns all of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::access::tests::{House, house_of};
use super::*;
use crate::buffer::disk::{DiskBuffer, DiskSettings};
use crate::config::Config;
use crate::ingest::testing::push_with;

/// What lies behind the door, without regions.
pub(in crate::api) fn app() -> Arc<App> {
    let (push, _) = push_with(None);
    let data = tempfile::tempdir().unwrap();
    let buffer = DiskBuffer::open(&data.path().join("buffer"), DiskSettings::default()).unwrap();
    let backups = Backups::new(data.path().to_owned(), Arc::new(buffer), BTreeMap::new()).unwrap();
    Arc::new(App {
        backups: Arc::new(backups),
        regions: BTreeMap::new(),
        ways: push::Ways {
            push,
            otlp: true,
            version: (8, 15, 0),
        },
    })
}

pub(in crate::api) fn health() -> Arc<Health> {
    Arc::new(Health::new(BTreeMap::new(), || {}).unwrap())
}

/// A house with every room.
pub(in crate::api) async fn house(settings: &[(&str, &str)]) -> House {
    let whole = |door: Arc<Door>, config: &Config| {
        router(app(), door, health(), Cors::new(&config.http.cors_origins))
    };
    house_of(settings, whole).await
}
