//! Whose turn something is, among the instances of a database.

use super::*;

#[tokio::test]
async fn one_has_the_turn_until_it_is_done_or_gone() {
    let world = World::new();
    let first = Arc::new(world.replica().await);
    // Several processes share a server, and a file has one.
    let second = match world.in_folder() {
        true => Arc::clone(&first),
        false => Arc::new(world.replica().await),
    };
    let (first, second) = (first.database(), second.database());
    let turn = first.turn("rotation north").await.unwrap().unwrap();
    assert!(second.turn("rotation north").await.unwrap().is_none());
    assert!(second.turn("rotation south").await.unwrap().is_some());
    turn.end().await.unwrap();

    let turn = second.turn("rotation north").await.unwrap().unwrap();
    // As when its node ends in the middle.
    drop(turn);
    loop {
        // The server hears of it a little later.
        if first.turn("rotation north").await.unwrap().is_some() {
            break;
        }
    }
}
