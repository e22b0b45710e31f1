//! Whose turn it is to rotate records.

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
    let turn = first.rotation_turn("north").await.unwrap().unwrap();
    assert_eq!(turn.times.last_run_us, None);
    assert_eq!(turn.times.database_us.is_none(), world.in_folder());
    assert!(second.rotation_turn("north").await.unwrap().is_none());
    first.rotation_done(turn, 17).await.unwrap();

    let turn = second.rotation_turn("north").await.unwrap().unwrap();
    assert_eq!(turn.times.last_run_us, Some(17));
    // As when its node ends in the middle.
    drop(turn);
    let turn = loop {
        // The server hears of it a little later.
        if let Some(turn) = first.rotation_turn("north").await.unwrap() {
            break turn;
        }
    };
    first.rotation_done(turn, 18).await.unwrap();
    let times = second.rotation_times("north").await.unwrap();
    assert_eq!(times.last_run_us, Some(18));
    let elsewhere = second.rotation_times("south").await.unwrap();
    assert_eq!(elsewhere.last_run_us, None);
}
