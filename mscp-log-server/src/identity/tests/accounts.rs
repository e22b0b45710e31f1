//! Accounts, roles, and that nobody gives more than they have.

use super::*;

#[tokio::test]
async fn the_first_start_makes_an_administrator_with_every_method_everywhere() {
    let world = World::new();
    let opened = world.open_as(Administrator::default()).await.unwrap();
    let first = opened.first_administrator.unwrap();
    assert!(first.generated);
    assert_eq!(first.email, "admin@localhost");
    assert!(!format!("{first:?}").contains(first.password.expose()));
    let identity = opened.identity;
    let issued = identity
        .login(&first.email, &first.password, PEER)
        .await
        .unwrap();
    let verified = identity.verify(&issued.token, world.now_s()).unwrap();
    assert!(verified.is_root());
    assert_eq!(issued.exp, world.now_s() + 12 * 3_600);
    let grants = identity.grants(&verified.subject()).await.unwrap();
    assert!(everything().is_within(&grants, identity.base()));

    let again = world.open_as(Administrator::default()).await.unwrap();
    assert!(again.first_administrator.is_none());
    assert!(
        again
            .identity
            .login(&first.email, &first.password, PEER)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn the_first_administrator_can_be_given() {
    let world = World::new();
    let first = world.open().await.unwrap().first_administrator.unwrap();
    assert_eq!(
        (first.email.as_str(), first.generated),
        ("root@example.org", false)
    );

    for (email, password) in [("no address", PASSWORD), ("a@b", "short")] {
        let refused = World::new()
            .open_as(Administrator {
                email: Some(email.to_owned()),
                password: Some(Secret::new(password)),
            })
            .await;
        assert!(
            matches!(refused, Err(IdentityError::Administrator { .. })),
            "{email}"
        );
    }
}

#[tokio::test]
async fn an_e_mail_is_the_same_in_any_case() {
    let world = World::new();
    let identity = world.replica().await;
    let issued = identity
        .login(" ROOT@example.ORG", &Secret::new(PASSWORD), PEER)
        .await;
    assert!(issued.is_ok());
    let root = administrator(&identity).await;
    let twice = identity
        .add_account(&root, person("Root@example.org", Access::default()))
        .await;
    assert!(matches!(twice, Err(ChangeError::Taken(_))));
}

#[tokio::test]
async fn a_roles_grants_are_its_holders() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    identity
        .put_role(&root, "pusher", push_to("*"))
        .await
        .unwrap();
    let mut new = person("ann@x", Access::default());
    new.roles = vec!["pusher".to_owned()];
    let ann = identity.add_account(&root, new).await.unwrap();
    assert_eq!(ann.roles, ["pusher"]);
    let issued = identity
        .issue(&ann.id, &push_to("a"), None, None)
        .await
        .unwrap();
    let claims = identity
        .verify(&issued.token, world.now_s())
        .unwrap()
        .claims;
    assert_eq!(claims.role, ["pusher"]);
    assert_eq!(identity.roles().await.unwrap()[0].accounts, 1);

    identity.remove_role(&root, "pusher").await.unwrap();
    let refused = identity.issue(&ann.id, &push_to("a"), None, None).await;
    assert!(matches!(refused, Err(IssueError::NotCovered(_))));
    assert_eq!(
        identity.account(&ann.id).await.unwrap().roles,
        Vec::<String>::new()
    );
    let gone = identity.remove_role(&root, "pusher").await;
    assert!(matches!(gone, Err(ChangeError::NotFound { .. })));
}

#[tokio::test]
async fn a_disabled_account_gets_nothing_and_its_tokens_end_on_every_replica() {
    let world = World::new();
    let identity = world.replica().await;
    let other = world.replica().await;
    let root = administrator(&identity).await;
    let ann = identity
        .add_account(&root, person("ann@x", push_to("*")))
        .await
        .unwrap();
    let token = identity
        .issue(&ann.id, &push_to("a"), None, None)
        .await
        .unwrap()
        .token;
    assert!(other.verify(&token, world.now_s()).is_ok());

    let set = |disabled| AccountChange {
        disabled: Some(disabled),
        ..AccountChange::default()
    };
    identity
        .change_account(&root, &ann.id, set(true))
        .await
        .unwrap();
    let refused = other.issue(&ann.id, &push_to("a"), None, None).await;
    assert!(
        matches!(refused, Err(IssueError::NoAccount)),
        "issue stops at once everywhere"
    );
    assert_eq!(
        identity.verify(&token, world.now_s()),
        Err(VerifyError::TakenBack)
    );
    other.refresh().await.unwrap();
    assert_eq!(
        other.verify(&token, world.now_s()),
        Err(VerifyError::TakenBack)
    );

    identity
        .change_account(&root, &ann.id, set(false))
        .await
        .unwrap();
    assert!(identity.verify(&token, world.now_s()).is_ok());
    let own = identity
        .change_account(&root, &root.subject, set(true))
        .await;
    assert!(matches!(own, Err(ChangeError::OwnAccount)));
}

#[tokio::test]
async fn a_removed_account_is_gone_and_its_tokens_end() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let ann = identity
        .add_account(&root, person("ann@x", push_to("*")))
        .await
        .unwrap();
    let token = identity
        .issue(&ann.id, &push_to("a"), None, None)
        .await
        .unwrap()
        .token;
    identity.remove_account(&root, &ann.id).await.unwrap();
    assert_eq!(
        identity.verify(&token, world.now_s()),
        Err(VerifyError::TakenBack)
    );
    assert!(matches!(
        identity.account(&ann.id).await,
        Err(ChangeError::NotFound { .. })
    ));
    // A new account of the same e-mail is another.
    let again = identity
        .add_account(&root, person("ann@x", push_to("*")))
        .await
        .unwrap();
    assert_ne!(again.id, ann.id);
    let own = identity.remove_account(&root, &root.subject).await;
    assert!(matches!(own, Err(ChangeError::OwnAccount)));
    let reopened = world.replica().await;
    assert_eq!(
        reopened.verify(&token, world.now_s()),
        Err(VerifyError::TakenBack)
    );
}

#[tokio::test]
async fn nobody_gives_what_their_own_grants_do_not_cover() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    identity.put_role(&root, "all", everything()).await.unwrap();
    identity.put_role(&root, "a", push_to("a")).await.unwrap();
    let ann = identity
        .add_account(&root, person("ann@x", push_to("*")))
        .await
        .unwrap();
    let bob = identity
        .add_account(&root, person("bob@x", Access::default()))
        .await
        .unwrap();
    let ann = actor(&ann);
    let refused = |result: Result<Account, ChangeError>, what: &str| {
        assert!(
            matches!(result, Err(ChangeError::NotCovered(_))),
            "{what}: {result:?}"
        );
    };
    let change = |id: &str, wanted: AccountChange| {
        let (identity, ann, id) = (&identity, &ann, id.to_owned());
        async move { identity.change_account(ann, &id, wanted).await }
    };
    let none = AccountChange::default;

    refused(
        identity
            .add_account(&ann, person("c@x", everything()))
            .await,
        "grants of a new one",
    );
    let mut new = person("c@x", Access::default());
    new.roles = vec!["all".to_owned()];
    refused(identity.add_account(&ann, new).await, "a role of a new one");
    refused(
        change(
            &bob.id,
            AccountChange {
                grants: Some(everything()),
                ..none()
            },
        )
        .await,
        "grants",
    );
    let roles = vec!["a".to_owned(), "all".to_owned()];
    refused(
        change(
            &bob.id,
            AccountChange {
                roles: Some(roles),
                ..none()
            },
        )
        .await,
        "a role",
    );
    let to_self = AccountChange {
        grants: Some(everything()),
        ..none()
    };
    refused(change(&ann.subject, to_self).await, "to oneself");
    let password = AccountChange {
        password: Some(Secret::new(PASSWORD)),
        ..none()
    };
    refused(
        change(&root.subject, password).await,
        "the password of a greater one",
    );
    let put = identity.put_role(&ann, "a", everything()).await;
    assert!(
        matches!(put, Err(ChangeError::NotCovered(_))),
        "a role's grants: {put:?}"
    );
    let platform = Actor {
        subject: "platform:1".to_owned(),
        address: None,
    };
    refused(
        identity
            .add_account(&platform, person("c@x", push_to("a")))
            .await,
        "by the platform",
    );

    let rows = actions(&identity).await;
    for action in ["account.add", "account.change", "role.put"] {
        assert!(
            rows.contains(&(action.to_owned(), "refused".to_owned())),
            "{action}"
        );
    }

    // What is covered can be given.
    let grants = AccountChange {
        grants: Some(push_to("b")),
        ..none()
    };
    assert_eq!(change(&bob.id, grants).await.unwrap().grants, push_to("b"));
    let roles = AccountChange {
        roles: Some(vec!["a".to_owned()]),
        ..none()
    };
    assert_eq!(change(&bob.id, roles).await.unwrap().roles, ["a"]);
    let password = AccountChange {
        password: Some(Secret::new("another password")),
        ..none()
    };
    assert!(change(&bob.id, password).await.is_ok());
    assert!(
        identity
            .login("bob@x", &Secret::new("another password"), PEER)
            .await
            .is_ok()
    );

    // Disabling is no gift; enabling a greater one again is.
    let carl = identity
        .add_account(&root, person("carl@x", everything()))
        .await
        .unwrap();
    let set = |disabled| AccountChange {
        disabled: Some(disabled),
        ..none()
    };
    assert!(change(&carl.id, set(true)).await.is_ok());
    refused(change(&carl.id, set(false)).await, "enabling");
    // What an account has already may stay beside what is given.
    let mut kept = everything();
    kept.0.extend(push_to("c").0);
    let more = AccountChange {
        grants: Some(kept),
        ..none()
    };
    assert_eq!(change(&carl.id, more).await.unwrap().grants.0.len(), 2);
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let ann = identity
        .add_account(&root, person("ann@x", push_to("*")))
        .await
        .unwrap();
    let wanted = AccountChange {
        email: Some("other@x".to_owned()),
        password: Some(Secret::new("another password")),
        roles: Some(vec!["no such role".to_owned()]),
        ..AccountChange::default()
    };
    let refused = identity.change_account(&root, &ann.id, wanted).await;
    assert!(matches!(refused, Err(ChangeError::NoRole(_))));
    assert_eq!(identity.account(&ann.id).await.unwrap(), ann);
    assert!(
        identity
            .login("ann@x", &Secret::new(PASSWORD), PEER)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn values_that_cannot_be_are_named() {
    let world = World::new();
    let identity = world.replica().await;
    let root = administrator(&identity).await;
    let field = |result: Result<Account, ChangeError>| match result {
        Err(ChangeError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let add = |new| identity.add_account(&root, new);
    assert_eq!(
        field(add(person("no address", Access::default())).await),
        "email"
    );
    assert_eq!(
        field(add(person("a:b@x", Access::default())).await),
        "email"
    );
    assert_eq!(field(add(service("", Access::default())).await), "email");
    let mut new = person("a@x", Access::default());
    new.password = Some(Secret::new("short"));
    assert_eq!(field(add(new).await), "password");
    let mut new = service("robot", Access::default());
    new.password = Some(Secret::new(PASSWORD));
    assert_eq!(field(add(new).await), "password");
    let mut new = person("a@x", Access::default());
    new.max_ttl = Some(LONGEST_TTL_S + 1);
    assert_eq!(field(add(new).await), "max_ttl");
    let unknown: Access = serde_json::from_str(
        r#"[{"method": ["GET"], "url": ["/x"], "other": {"log": {"wirte": true}}}]"#,
    )
    .unwrap();
    assert_eq!(field(add(person("a@x", unknown)).await), "grants");
    let role = identity.put_role(&root, "a b", Access::default()).await;
    assert!(matches!(
        role,
        Err(ChangeError::Invalid { field: "name", .. })
    ));
}
