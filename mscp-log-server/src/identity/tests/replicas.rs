//! Several replicas on one database.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use futures::future::join_all;

use super::*;
use crate::identity::keys::PUBLISHED_S;

const REPLICAS: usize = 4;
const ROTATIONS: usize = 3;

/// Replicas that start at the same time, where the database is a server's; a
/// file is opened by one process, so that nobody else makes its tables.
async fn replicas(world: &World) -> Vec<Arc<Identity>> {
    let mut opened = Vec::new();
    if world.in_folder() {
        opened.push(world.open().await);
    }
    let others = (opened.len()..REPLICAS).map(|_| world.open());
    opened.extend(join_all(others).await);
    let opened: Vec<Opened> = opened.into_iter().map(Result::unwrap).collect();
    let first = opened.iter().filter(|it| it.first_administrator.is_some());
    assert_eq!(first.count(), 1, "one of them made the administrator");
    opened.into_iter().map(|it| Arc::new(it.identity)).collect()
}

/// The subject of the administrator, whom every replica knows.
async fn subject(replicas: &[Arc<Identity>]) -> String {
    root_of(&replicas[0]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_rotate_among_replicas_and_no_token_fails_anywhere_meanwhile() {
    let world = World::new();
    let replicas = replicas(&world).await;
    let subject = subject(&replicas).await;
    let stop = CancellationToken::new();
    let running: Vec<_> = replicas
        .iter()
        .map(|replica| {
            let (replica, stop) = (Arc::clone(replica), stop.clone());
            tokio::spawn(async move { replica.run(stop).await })
        })
        .collect();

    // A stream of tokens, each issued by one replica and verified by all, at
    // once and as long as it goes on.
    let issued = Arc::new(Mutex::new(Vec::<String>::new()));
    let verified = Arc::new(AtomicUsize::new(0));
    let streams: Vec<_> = (0..REPLICAS)
        .map(|own| {
            let (replicas, stop) = (replicas.clone(), stop.clone());
            let (issued, verified) = (Arc::clone(&issued), Arc::clone(&verified));
            let (subject, now_us) = (subject.clone(), Arc::clone(&world.now_us));
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let token = replicas[own]
                        .issue(&subject, &push_to("a"), None, None)
                        .await;
                    let token = token.unwrap().token;
                    // It, the first of all, and some between.
                    let some: Vec<String> = {
                        let mut all = issued.lock().unwrap();
                        all.push(token);
                        let step = (all.len() / 8).max(1);
                        let some = all.iter().rev().step_by(step).take(8);
                        some.chain(all.first()).cloned().collect()
                    };
                    for token in &some {
                        for replica in &replicas {
                            let now_s = now_us.load(Ordering::SeqCst) / SECOND_US;
                            replica.verify(token, now_s).unwrap();
                            verified.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();

    let active = async || {
        let keys = replicas[0].keys().await.unwrap();
        let active = keys.into_iter().find(|key| key.state == State::Active);
        active.unwrap().kid
    };
    let mut signed_by = HashSet::from([active().await]);
    for _ in 0..ROTATIONS {
        // What is published has been read by everybody: that is what the wait
        // between refreshes is for, here without waiting.
        for replica in &replicas {
            replica.refresh().await.unwrap();
        }
        let seen = verified.load(Ordering::Relaxed);
        // Shorter than the life of a token, so that all stay good.
        world.wait(PUBLISHED_S);
        // All at once; one of them does it.
        let rotations = join_all(replicas.iter().map(|replica| async {
            let actor = Actor {
                subject: subject.clone(),
                address: None,
            };
            replica.rotate_keys(&actor).await.is_ok()
        }));
        let done = rotations.await.into_iter().filter(|done| *done).count();
        assert_eq!(done, 1, "one rotates, the others see that it is done");
        assert!(signed_by.insert(active().await), "another key signs");
        // The stream goes on under the new key, at replicas that have not read it.
        while verified.load(Ordering::Relaxed) < seen + 2_000 {
            assert!(streams.iter().all(|stream| !stream.is_finished()));
            tokio::task::yield_now().await;
        }
    }
    stop.cancel();
    for stream in streams {
        stream.await.unwrap();
    }
    for running in running {
        running.await.unwrap();
    }
    let kids: HashSet<String> = issued
        .lock()
        .unwrap()
        .iter()
        .map(|token| replicas[0].verify(token, world.now_s()).unwrap().kid)
        .collect();
    assert_eq!(kids, signed_by, "tokens of every key were in the stream");
    eprintln!(
        "{} tokens of {} keys, verified {} times by {REPLICAS} replicas",
        issued.lock().unwrap().len(),
        kids.len(),
        verified.load(Ordering::Relaxed)
    );
}

#[tokio::test]
async fn changes_of_several_replicas_at_once_are_one_after_the_other() {
    let world = World::new();
    let replicas = replicas(&world).await;
    let subject = subject(&replicas).await;
    let added = join_all(replicas.iter().enumerate().map(|(n, replica)| {
        let actor = Actor {
            subject: subject.clone(),
            address: None,
        };
        async move {
            for round in 0..5 {
                let name = format!("role-{n}-{round}");
                replica
                    .put_role(&actor, &name, Access::default())
                    .await
                    .unwrap();
            }
        }
    }));
    added.await;
    let roles = replicas[0].roles().await.unwrap();
    assert_eq!(roles.len(), REPLICAS * 5);
}
