//! Signing in, issue and verification, each on a database of its own.

use mscp_log_core::token::{Claims, sign};

use super::*;

#[tokio::test]
async fn every_reason_to_refuse_a_sign_in_has_one_answer() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let disabled = identity
        .add_account(&root, person("off@x", Access::default()))
        .await
        .unwrap();
    let off = AccountChange {
        disabled: Some(true),
        ..AccountChange::default()
    };
    identity
        .change_account(&root, &disabled.id, off)
        .await
        .unwrap();
    identity
        .add_account(&root, service("robot", Access::default()))
        .await
        .unwrap();
    let mut new = person("new@x", Access::default());
    new.password = None;
    identity.add_account(&root, new).await.unwrap();
    for (email, password) in [
        ("nobody@x", PASSWORD),
        ("root@example.org", "a wrong password"),
        ("off@x", PASSWORD),
        ("robot", PASSWORD),
        ("new@x", PASSWORD),
        ("new@x", ""),
    ] {
        let refused = identity.login(email, &Secret::new(password), PEER).await;
        assert!(
            matches!(refused, Err(LoginError::Refused)),
            "{email}: {refused:?}"
        );
    }
    let refusals = actions(&identity).await;
    let refused = ("token.root".to_owned(), "refused".to_owned());
    assert_eq!(refusals.iter().filter(|row| **row == refused).count(), 6);
}

#[tokio::test]
async fn failures_delay_a_sign_in_and_waiting_ends_the_delay() {
    let world = World::new();
    let identity = world.replica().await;
    let wrong = Secret::new("a wrong password");
    let mut delayed = None;
    for _ in 0..10 {
        if let Err(LoginError::Delayed { retry_after_s }) =
            identity.login("root@example.org", &wrong, PEER).await
        {
            delayed = Some(retry_after_s);
            break;
        }
    }
    let retry_after_s = delayed.unwrap();
    let right = Secret::new(PASSWORD);
    let early = identity.login("root@example.org", &right, PEER).await;
    assert!(
        matches!(early, Err(LoginError::Delayed { .. })),
        "the right password waits too"
    );
    world.wait(i64::try_from(retry_after_s).unwrap());
    assert!(
        identity
            .login("root@example.org", &right, PEER)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_token_grants_what_was_wanted_and_covered() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let ann = identity
        .add_account(&root, person("ann@x", push_to("*")))
        .await
        .unwrap();
    let issued = identity
        .issue(&ann.id, &push_to("a1"), None, Some(PEER))
        .await
        .unwrap();
    assert_eq!(issued.exp, world.now_s() + 3_600);
    let verified = identity.verify(&issued.token, world.now_s()).unwrap();
    assert_eq!(verified.claims.access, Some(push_to("a1")));
    assert_eq!(verified.claims.email, "ann@x");
    assert_eq!(verified.subject(), ann.id);

    let beyond = access(r#"[{"method": ["GET"], "url": ["/**"]}]"#);
    let refused = identity.issue(&ann.id, &beyond, None, Some(PEER)).await;
    assert!(
        matches!(refused, Err(IssueError::NotCovered(_))),
        "{refused:?}"
    );
    let refusal = ("token.access".to_owned(), "refused".to_owned());
    assert!(actions(&identity).await.contains(&refusal));

    let nobody = identity
        .issue("platform:12203", &push_to("a1"), None, None)
        .await;
    assert!(matches!(nobody, Err(IssueError::NoAccount)));
}

#[tokio::test]
async fn a_wish_for_a_lifetime_is_cut_to_the_accounts_longest() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let mut new = person("ann@x", push_to("*"));
    new.max_ttl = Some(7_200);
    let ann = identity.add_account(&root, new).await.unwrap();
    for (wish, lifetime) in [
        (None, 3_600),
        (Some(60), 60),
        (Some(7_200), 7_200),
        (Some(9_999), 7_200),
    ] {
        let issued = identity
            .issue(&ann.id, &push_to("a"), wish, None)
            .await
            .unwrap();
        assert_eq!(issued.exp - world.now_s(), lifetime, "{wish:?}");
    }
    for wish in [0, LONGEST_TTL_S + 1] {
        let refused = identity
            .issue(&ann.id, &push_to("a"), Some(wish), None)
            .await;
        assert!(matches!(refused, Err(IssueError::Ttl(_))));
    }
}

#[tokio::test]
async fn a_token_that_nobody_would_take_is_not_issued() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let many: Vec<String> = (0..600)
        .map(|n| format!(r#"{{"method": ["GET"], "url": ["/api/local/log/index-{n}/_search"]}}"#))
        .collect();
    let wanted = access(&format!("[{}]", many.join(",")));
    let refused = identity.issue(&root.subject, &wanted, None, None).await;
    assert!(
        matches!(refused, Err(IssueError::TooLong(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_wish_that_no_token_can_hold_is_refused_without_work() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let urls: Vec<String> = (0..60_000).map(|n| format!("\"/api/{n}\"")).collect();
    let rule = format!(r#"[{{"method": ["GET"], "url": [{}]}}]"#, urls.join(","));
    let wanted = access(&rule);
    // Compared with each other first, these would take minutes.
    let refused = identity.issue(&root.subject, &wanted, None, None).await;
    assert!(matches!(refused, Err(IssueError::TooLong(_))));
}

#[tokio::test]
async fn a_service_account_has_tokens_that_are_listed_and_taken_back() {
    let world = World::new();
    let identity = world.replica().await;
    let other = world.replica().await;
    let root = administrator(&identity).await;
    let robot = identity
        .add_account(&root, service("Fluent-Bit", push_to("*")))
        .await
        .unwrap();
    assert_eq!(
        (robot.email.as_str(), robot.max_ttl),
        ("fluent-bit", LONGEST_TTL_S)
    );
    let give = |label: &'static str, ttl| {
        let (identity, root, id) = (&identity, &root, &robot.id);
        async move {
            identity
                .issue_service_token(root, id, label, &push_to("a"), ttl)
                .await
        }
    };
    let one = give("node 1", None).await.unwrap();
    let two = give("node 2", Some(60)).await.unwrap();
    assert_eq!(one.exp, world.now_s() + 366 * 86_400);
    assert_eq!(two.exp, world.now_s() + 60);
    assert!(!format!("{one:?}").contains(&one.token));
    let listed = identity.service_tokens(&robot.id).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .any(|token| token.jti == one.jti && token.label == "node 1")
    );
    let verified = identity.verify(&one.token, world.now_s()).unwrap();
    assert!(!verified.is_root());

    identity
        .take_back_service_token(&root, &robot.id, &one.jti)
        .await
        .unwrap();
    assert_eq!(
        identity.verify(&one.token, world.now_s()),
        Err(VerifyError::TakenBack)
    );
    other.refresh().await.unwrap();
    assert_eq!(
        other.verify(&one.token, world.now_s()),
        Err(VerifyError::TakenBack)
    );
    assert!(identity.verify(&two.token, world.now_s()).is_ok());
    let again = identity
        .take_back_service_token(&root, &robot.id, &one.jti)
        .await;
    assert!(matches!(again, Err(ChangeError::NotFound { .. })));
    assert_eq!(identity.service_tokens(&robot.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn service_tokens_are_for_service_accounts_and_within_both_grants() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let ann = identity
        .add_account(&root, person("ann@x", push_to("a")))
        .await
        .unwrap();
    let robot = identity
        .add_account(&root, service("robot", push_to("*")))
        .await
        .unwrap();
    let issue = |who: Actor, id: String, wanted: Access| {
        let identity = &identity;
        async move {
            identity
                .issue_service_token(&who, &id, "", &wanted, None)
                .await
        }
    };
    let to_person = issue(root.clone(), ann.id.clone(), push_to("a")).await;
    assert!(matches!(
        to_person,
        Err(IssueServiceError::Change(ChangeError::Invalid { .. }))
    ));
    let to_nobody = issue(root.clone(), "x".to_owned(), push_to("a")).await;
    assert!(matches!(
        to_nobody,
        Err(IssueServiceError::Change(ChangeError::NotFound { .. }))
    ));
    let beyond_robot = issue(root.clone(), robot.id.clone(), everything()).await;
    assert!(matches!(
        beyond_robot,
        Err(IssueServiceError::Issue(IssueError::NotCovered(_)))
    ));
    let beyond_ann = issue(actor(&ann), robot.id.clone(), push_to("b")).await;
    assert!(matches!(
        beyond_ann,
        Err(IssueServiceError::Change(ChangeError::NotCovered(_)))
    ));
    assert!(
        issue(actor(&ann), robot.id.clone(), push_to("a"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn while_the_database_is_away_tokens_verify_and_nothing_is_issued() {
    let world = World::new();
    let identity = world.replica().await;
    let root = root_of(&identity).await;
    let token = identity
        .issue(&root, &push_to("a"), None, None)
        .await
        .unwrap()
        .token;
    identity.database.close().await;
    assert!(identity.verify(&token, world.now_s()).is_ok());
    let issue = identity.issue(&root, &push_to("a"), None, None).await;
    assert!(matches!(issue, Err(IssueError::Unavailable(_))));
    for _ in 0..50 {
        let login = identity
            .login("root@example.org", &Secret::new(PASSWORD), PEER)
            .await;
        assert!(
            matches!(login, Err(LoginError::Unavailable(_))),
            "it is no failure of the caller"
        );
    }
    assert!(identity.reach().await.is_err());
    assert!(identity.refresh().await.is_err());
    assert!(identity.verify(&token, world.now_s()).is_ok());
}

#[tokio::test]
async fn tokens_of_the_platform_verify_and_are_no_accounts_of_ours() {
    let mut world = World::new();
    world.auth.platform_keys = vec![world.file("console.key", &[b'p'; 40])];
    let identity = world.replica().await;
    let root = root_of(&identity).await;
    let claims = Claims {
        iat: world.now_s(),
        exp: world.now_s() + 60,
        user_id: root.clone(),
        access: Some(push_to("a")),
        ..Claims::default()
    };
    let key = |name: &str, byte| Key::new(name, &[byte; 40]).unwrap();
    let token = sign(&claims, &key("console", b'p'));
    let verified = identity.verify(&token, world.now_s()).unwrap();
    assert!(verified.platform);
    assert_eq!(verified.subject(), format!("platform:{root}"));
    assert!(
        identity
            .verify(&sign(&claims, &key("console", b'q')), world.now_s())
            .is_err()
    );
    // Ours need more than the platform's: what is signed as ours is held to it.
    let ours = Key::new(
        identity.trust.load().signing.as_ref().unwrap().kid(),
        &[b'p'; 40],
    )
    .unwrap();
    assert!(
        identity
            .verify(&sign(&claims, &ours), world.now_s())
            .is_err()
    );
    // Disabling our account does not touch the platform's user of the same id.
    let admin = administrator(&identity).await;
    let ann = identity
        .add_account(&admin, person("ann@x", push_to("*")))
        .await
        .unwrap();
    identity.remove_account(&admin, &ann.id).await.unwrap();
    let same_id = Claims {
        user_id: ann.id,
        ..claims
    };
    assert!(
        identity
            .verify(&sign(&same_id, &key("console", b'p')), world.now_s())
            .is_ok()
    );

    world.auth.platform_keys = vec![world.file("short.key", b"short")];
    assert!(matches!(world.open().await, Err(IdentityError::Key(_))));
}

#[test]
fn every_access_list_of_the_guide_can_be_asked_for() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tokens.md");
    let guide = std::fs::read_to_string(file).unwrap();
    let sent = guide
        .split("-d '")
        .skip(1)
        .filter_map(|rest| rest.split('\'').next());
    let shown = guide
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let base = Base::new("/api", None).unwrap();
    let mut lists = 0;
    for text in sent.chain(shown) {
        let body: serde_json::Value = serde_json::from_str(text).unwrap();
        let list = [&body, &body["access"], &body["grants"]]
            .into_iter()
            .find(|value| value.is_array());
        if let Some(list) = list {
            lists += 1;
            let wanted: Access = list.to_string().parse().unwrap();
            assert!(
                Access::cover(&everything(), &wanted, &base).is_ok(),
                "{text}"
            );
        }
    }
    assert!(lists >= 6, "only {lists} were found");
}
