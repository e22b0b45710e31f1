//! Keys, what is kept at rest, and the audit.

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn the_database_file_is_its_owners_alone() {
    let world = World::new();
    if !world.in_folder() {
        return;
    }
    let identity = world.replica().await;
    root_of(&identity).await;
    for name in [
        "identity.sqlite",
        "identity.sqlite-wal",
        "identity.sqlite-shm",
    ] {
        let file = world.folder.path().join(name);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn revoking_a_key_ends_its_tokens_and_signing_goes_on() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let token = identity
        .issue(&root.subject, &push_to("a"), None, None)
        .await
        .unwrap()
        .token;
    let kid = identity.verify(&token, world.now_s()).unwrap().kid;
    identity.revoke_key(&root, &kid).await.unwrap();
    let unknown = identity.verify(&token, world.now_s());
    assert_eq!(unknown, Err(VerifyError::Token(TokenError::UnknownKey)));
    let fresh = identity
        .issue(&root.subject, &push_to("a"), None, None)
        .await
        .unwrap()
        .token;
    assert!(identity.verify(&fresh, world.now_s()).is_ok());
    let again = identity.revoke_key(&root, &kid).await;
    assert!(matches!(again, Err(KeyChangeError::NotFound(_))));
}

#[tokio::test]
async fn keys_rotate_when_it_is_time_and_not_before_they_are_known() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let early = identity.rotate_keys(&root).await;
    assert!(matches!(early, Err(KeyChangeError::NotYet(_))));
    let active = |keys: &[KeyState]| {
        keys.iter()
            .find(|key| key.state == State::Active)
            .unwrap()
            .kid
            .clone()
    };
    let first = active(&identity.keys().await.unwrap());
    world.wait(86_399);
    identity.rotate_if_due().await.unwrap();
    assert_eq!(active(&identity.keys().await.unwrap()), first);
    world.wait(1);
    identity.rotate_if_due().await.unwrap();
    let second = active(&identity.keys().await.unwrap());
    assert_ne!(second, first);
    identity.sweep().await.unwrap();
    let kept = identity.keys().await.unwrap();
    assert!(
        kept.iter().all(|key| key.kid != first),
        "its tokens have all expired: {kept:?}"
    );
}

#[tokio::test]
async fn keys_are_encrypted_with_the_master_key_also_those_from_before() {
    let mut world = World::new();
    let identity = world.replica().await;
    let root = root_of(&identity).await;
    let token = identity
        .issue(&root, &push_to("a"), None, None)
        .await
        .unwrap()
        .token;
    world.auth.master_key_file = Some(world.file("master", &[9; 32]));
    let sealed = world.replica().await;
    assert!(sealed.verify(&token, world.now_s()).is_ok());
    let rows = rows::keys(sealed.database.pool()).await.unwrap();
    assert!(
        rows.iter()
            .all(|row| row.kept.starts_with("xchacha20poly1305:"))
    );

    world.auth.master_key_file = Some(world.file("other", &[8; 32]));
    let wrong = world.open().await;
    assert!(matches!(
        wrong,
        Err(IdentityError::Seal(SealError::WrongMasterKey(_)))
    ));
    world.auth.master_key_file = None;
    let without = world.open().await;
    assert!(matches!(
        without,
        Err(IdentityError::Seal(SealError::NoMasterKey(_)))
    ));
}

#[tokio::test]
async fn the_audit_is_read_a_page_at_a_time_newest_first() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    for n in 0..5 {
        world.wait(1);
        identity
            .put_role(&root, &format!("r{n}"), Access::default())
            .await
            .unwrap();
    }
    let page = |before, limit| Page {
        before,
        subject: Some(root.subject.clone()),
        limit,
    };
    let first = identity.audit(&page(None, 3)).await.unwrap();
    let targets: Vec<&str> = first.iter().map(|row| row.target.as_str()).collect();
    assert_eq!(targets, ["r4", "r3", "r2"]);
    let second = identity
        .audit(&page(Some(first[2].id.clone()), 2))
        .await
        .unwrap();
    let targets: Vec<&str> = second.iter().map(|row| row.target.as_str()).collect();
    assert_eq!(targets, ["r1", "r0"]);
    assert_eq!(second[0].address, PEER.to_string());
    world.wait(401 * 86_400);
    identity.sweep().await.unwrap();
    assert!(identity.audit(&Page::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_noted_is_written_before_a_node_stops() {
    let world = World::new();
    let identity = Arc::new(world.replica().await);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (identity, shutdown) = (Arc::clone(&identity), shutdown.clone());
        async move { identity.run(shutdown).await }
    });
    for n in 0..100 {
        identity.note(Entry {
            subject: "s".to_owned(),
            address: None,
            action: "search.restricted",
            target: n.to_string(),
            outcome: Outcome::Done,
            detail: serde_json::json!({}),
        });
    }
    shutdown.cancel();
    running.await.unwrap();
    let again = world.replica().await;
    let page = Page {
        subject: Some("s".to_owned()),
        ..Page::default()
    };
    assert_eq!(again.audit(&page).await.unwrap().len(), 100);
}

#[test]
fn secrets_that_cannot_be_used_are_named_before_a_start() {
    let mut world = World::new();
    assert_eq!(check_secrets(&world.auth), []);
    world.auth.master_key_file = Some(world.file("master", b"too short"));
    world.auth.platform_keys = vec![
        world.file("good.key", &[b'p'; 32]),
        world.file("short.key", b"short"),
        world.folder.path().join("missing.key"),
    ];
    let keys: Vec<String> = check_secrets(&world.auth)
        .into_iter()
        .map(|fault| fault.key)
        .collect();
    assert_eq!(
        keys,
        [
            "auth.master_key_file",
            "auth.platform_keys",
            "auth.platform_keys"
        ]
    );
}

/// One step of the replicas of an installation.
#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Issue { replica: usize, ttl_s: u64 },
    Rotate(usize),
    Sweep(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..30i64).prop_map(Step::Wait),
        2 => (60..90_000i64).prop_map(Step::Wait),
        4 => (0..2usize, 60..86_400u64).prop_map(|(replica, ttl_s)| Step::Issue { replica, ttl_s }),
        4 => (0..2usize).prop_map(Step::Rotate),
        2 => (0..2usize).prop_map(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn on_replicas_of_one_database_a_token_stays_valid_until_exp(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let replicas = [world.replica().await, world.replica().await];
            let root = administrator(&replicas[0]).await;
            let mut refreshed = [world.now_s(); 2];
            let mut issued: Vec<Issued> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(seconds) => world.wait(seconds),
                    Step::Issue { replica, ttl_s } => {
                        let wanted = push_to("a");
                        let token = replicas[replica].issue(&root.subject, &wanted, Some(ttl_s), None);
                        issued.push(token.await.unwrap());
                    }
                    // Too early is fine.
                    Step::Rotate(replica) => drop(replicas[replica].rotate_keys(&root).await),
                    Step::Sweep(replica) => replicas[replica].sweep().await.unwrap(),
                }
                for (replica, at_s) in replicas.iter().zip(&mut refreshed) {
                    if world.now_s() - *at_s > crate::identity::keys::REFRESH_S {
                        replica.refresh().await.unwrap();
                        *at_s = world.now_s();
                    }
                }
                for token in &issued {
                    for replica in &replicas {
                        let holds = replica.verify(&token.token, world.now_s());
                        let expected = token.exp > world.now_s() - 30;
                        assert_eq!(holds.is_ok(), expected, "{holds:?}");
                    }
                }
            }
        });
    }
}
