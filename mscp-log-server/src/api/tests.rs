//! The whole API, for the tests of what concerns all of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::access::tests::{House, house_of};
use super::*;
use crate::admin::change::Administration;
use crate::admin::live::Live;
use crate::admin::outside::Outside;
use crate::buffer::disk::{DiskBuffer, DiskSettings};
use crate::config::Config;
use crate::ingest::push::Push;
use crate::ingest::testing::{Memory, push_with};
use crate::settings::{Elsewhere, Settings};

/// What lies behind the door, without regions, but with the dead letters of one
/// that is called `x`.
pub(in crate::api) fn app() -> Arc<App> {
    let (push, _) = push_with(None);
    // Its file may go: nothing opens it again.
    let folder = tempfile::tempdir().unwrap();
    app_of(push, "x", DeadLetters::below(folder.path()))
}

/// The same over this push, and with the dead letters of a region.
pub(in crate::api) fn app_of(push: Arc<Push>, region: &str, letters: Arc<DeadLetters>) -> Arc<App> {
    let data = tempfile::tempdir().unwrap();
    let buffer = DiskBuffer::open(&data.path().join("buffer"), DiskSettings::default()).unwrap();
    let none = BTreeMap::new();
    let backups = Backups::new(
        data.path().to_owned(),
        Arc::new(buffer),
        none,
        BTreeMap::new(),
    );
    Arc::new(App {
        backups: Arc::new(backups.unwrap()),
        regions: BTreeMap::new(),
        letters: BTreeMap::from([(region.to_owned(), letters)]),
        rotations: BTreeMap::new(),
        observatories: BTreeMap::new(),
        ways: push::Ways {
            push,
            otlp: true,
            version: (8, 15, 0),
        },
    })
}

/// What lies behind the door of a node with every role.
///
/// It has settings of the region `x`.
pub(in crate::api) fn rooms_of(app: Arc<App>, door: &Door) -> Rooms {
    let live = Arc::new(Live::new(Settings::configured(&Config::default())));
    let identity = Arc::clone(door.identity());
    let (fixed, outside) = (Elsewhere::new(), Outside::default());
    let administration = Administration::new("x", identity, live, fixed, outside);
    let collect = Collect::open(&Config::default(), Arc::new(Memory::default()));
    Rooms {
        api: Some(app),
        parser: collect.map(Arc::new),
        administrations: Arc::new(BTreeMap::from([("x".to_owned(), Arc::new(administration))])),
    }
}

pub(in crate::api) fn health() -> Arc<Health> {
    Arc::new(Health::new().unwrap())
}

/// A house with every room.
pub(in crate::api) async fn house(settings: &[(&str, &str)]) -> House {
    let whole = |door: Arc<Door>, config: &Config| {
        router(
            rooms_of(app(), &door),
            door,
            health(),
            Cors::new(&config.http.cors_origins),
        )
    };
    house_of(settings, whole).await
}
