//! Where credentials come from, what is asked for with them, and that nobody
//! sees them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use mscp_log_client::{Access, Credentials, ErrorKind, Loss, PushSettings, Pusher, blocking};
use mscp_log_core::access as core;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::raw::{Act, Came, Raw};
use crate::server::token;

fn count(count: u64) -> Act {
    Act::Answer(200, "", json!({"count": count}).to_string())
}

fn refuse() -> Act {
    Act::Answer(401, "", json!({"title": "no"}).to_string())
}

fn give(token: &str) -> Act {
    Act::Answer(200, "", json!({"token": token, "exp": 0}).to_string())
}

/// Requests for tokens have the wanted access, or no body.
fn is_auth(came: &Came) -> bool {
    came.body.is_array() || came.body.is_null()
}

fn access(serial: usize) -> String {
    token(serial, 3600, Some(&json!([])))
}

fn client(server: &Raw, credentials: Credentials) -> blocking::Client {
    blocking::Client::builder(server.url())
        .credentials(credentials)
        .build()
        .unwrap()
}

/// All at once, each one call; gives how many went well.
fn sixty_four(client: &blocking::Client) -> usize {
    let together = Barrier::new(64);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    client.search("local").count()
                })
            })
            .collect();
        let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
        outcomes.filter(Result::is_ok).count()
    })
}

#[test]
fn sixty_four_threads_fetch_one_root_token_and_one_access_token() {
    let server = Raw::start(|came, before| match came {
        came if came.authorization.starts_with("Basic ") => give(&token(before, 3600, None)),
        came if is_auth(came) => give(&access(before)),
        _ => count(1),
    });
    let client = client(&server, Credentials::password("a@b", "pw"));
    assert_eq!(sixty_four(&client), 64);
    let auth = server.came().iter().filter(|came| is_auth(came)).count();
    assert_eq!(auth, 2, "{:?}", server.came());
}

#[test]
fn sixty_four_threads_that_are_refused_at_once_fetch_one_new_token() {
    // The first token is taken back as soon as all threads have used it.
    let refused = Arc::new(Barrier::new(64));
    let server = Raw::start(move |came, before| match came {
        came if is_auth(came) => give(&access(before)),
        came if came.authorization.ends_with(&access(0)) => {
            refused.wait();
            refuse()
        }
        _ => count(1),
    });
    let client = client(&server, Credentials::root_token(token(0, 3600, None)));
    assert_eq!(sixty_four(&client), 64);
    let auth = server.came().iter().filter(|came| is_auth(came)).count();
    assert_eq!(
        auth, 2,
        "one at the beginning, one for all who were refused"
    );
}

#[test]
fn a_callback_is_asked_once_and_again_when_what_it_gave_is_refused() {
    let server = Raw::start(|came, _| {
        if came.authorization.ends_with(&access(1)) {
            count(1)
        } else {
            refuse()
        }
    });
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let credentials = Credentials::callback(move || {
        let serial = counter.fetch_add(1, Ordering::SeqCst);
        Ok(Credentials::token(access(serial))?)
    });
    let client = client(&server, credentials);
    assert_eq!(client.search("local").count().unwrap(), 1);
    assert_eq!(sixty_four(&client), 64);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_callback_that_fails_or_gives_another_says_so() {
    let server = Raw::start(|_, _| count(1));
    let failing = Credentials::callback(|| Err("the vault is sealed".into()));
    let error = client(&server, failing)
        .search("local")
        .count()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.to_string().contains("the vault is sealed"));
    let nested = Credentials::callback(|| Ok(Credentials::callback(|| Err("no".into()))));
    let error = client(&server, nested).search("local").count().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(server.came().is_empty());
}

#[test]
fn a_file_is_read_again_when_it_changes_and_when_its_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let server = Raw::start(|_, before| match before {
        3 => refuse(),
        _ => count(1),
    });
    let client = client(&server, Credentials::token_file(&path));
    let search = client.search("local");
    let error = search.count().unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );

    std::fs::write(&path, format!("{}\n", access(10))).unwrap();
    search.count().unwrap();
    search.count().unwrap();
    // Of another size, so that a clock that stands still does not matter.
    std::fs::write(&path, access(100)).unwrap();
    search.count().unwrap();
    // Refused: the same size and time, and other content.
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, access(200)).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(time).unwrap();
    search.count().unwrap();
    let came = server.came();
    let used: Vec<&str> = came
        .iter()
        .map(|came| came.authorization.strip_prefix("Bearer ").unwrap())
        .collect();
    assert_eq!(
        used,
        [
            access(10),
            access(10),
            access(100),
            access(100),
            access(200)
        ]
    );

    std::fs::write(&path, "no token").unwrap();
    let error = search.count().unwrap_err();
    assert!(error.to_string().contains("does not hold a JWT"), "{error}");
    assert!(!error.to_string().contains("no token"), "{error}");
}

#[test]
fn a_file_of_another_account_makes_an_end_of_the_tokens_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let server = Raw::start(|came, before| match came {
        came if is_auth(came) => give(&access(before)),
        _ => count(1),
    });
    let client = client(&server, Credentials::token_file(&path));
    std::fs::write(&path, token(1, 3600, None)).unwrap();
    client.search("local").count().unwrap();
    std::fs::write(&path, token(22, 3600, None)).unwrap();
    client.search("local").count().unwrap();
    let came = server.came();
    let auth: Vec<_> = came.iter().filter(|came| is_auth(came)).collect();
    assert_eq!(auth.len(), 2);
    assert!(auth[1].authorization.ends_with(&token(22, 3600, None)));
}

/// The server's own rules decide what a built access allows.
#[test]
fn what_is_built_allows_this_and_nothing_else() {
    let app = uuid::Uuid::from_u128(7);
    let built = Access::builder()
        .push(app)
        .search("local")
        .namespace("shop")
        .namespace("bank")
        .app(app)
        .search("far")
        .rule("GET", "{mscp_api_url}/regions")
        .build();
    let rules: core::Access = serde_json::from_value(Value::from(built)).unwrap();
    let base = core::Base::new("/api", None).unwrap();
    let decide = |method: core::Method, path: &str| {
        rules.decide(&base, method, &core::CanonicalPath::parse(path).unwrap())
    };
    let post = core::Method::Post;
    for path in [
        format!("/api/apps/{app}/log"),
        "/api/local/log/_search".to_owned(),
        "/api/local/log/_count".to_owned(),
        "/api/local/log/some-index/_search".to_owned(),
        "/api/far/log/_count".to_owned(),
    ] {
        assert!(decide(post, &path).is_allowed(), "{path}");
    }
    assert!(decide(core::Method::Get, "/api/regions").is_allowed());
    let other = uuid::Uuid::from_u128(8);
    for path in [
        format!("/api/apps/{other}/log"),
        "/api/other/log/_search".to_owned(),
        "/api/local/log/_bulk".to_owned(),
        "/api/local/log/some-index/_delete_by_query".to_owned(),
        "/api/system/users".to_owned(),
    ] {
        assert!(!decide(post, &path).is_allowed(), "{path}");
    }
    let restrictions = |region: &str| {
        let path = format!("/api/{region}/log/_search");
        match decide(post, &path) {
            core::Decision::Allowed { visible, .. } => visible,
            core::Decision::Denied => panic!("{path} is denied"),
        }
    };
    let core::Visible::Restricted(local) = restrictions("local") else {
        panic!("local is restricted");
    };
    assert!(local[0].allows("namespace", "shop") && local[0].allows("namespace", "bank"));
    assert!(!local[0].allows("namespace", "other"));
    assert!(!local[0].allows("appid", &other.to_string()));
    assert!(matches!(restrictions("far"), core::Visible::All));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a secret looks like, and wherever it is put, nothing shows it.
    #[test]
    fn a_secret_is_in_no_debug_print_and_no_error(secret in "[!-~]{12,40}|\\PC{12,40}|[a-z]{6}\n[a-z]{6}") {
        // A server that refuses everything, at once.
        std::thread_local! {
            static SERVER: Raw = Raw::start(|_, _| refuse());
        }
        let url = SERVER.with(Raw::url);
        let all = [
            Credentials::password("a@b", secret.clone()),
            Credentials::password(secret.clone(), "other"),
            Credentials::root_token(secret.clone()),
            Credentials::access_token(secret.clone()),
            Credentials::callback({
                let secret = secret.clone();
                move || Ok(Credentials::access_token(secret.clone()))
            }),
        ];
        let mut shown = String::new();
        if let Err(error) = Credentials::token(secret.clone()) {
            shown.push_str(&format!("{error} {error:?}"));
        }
        for credentials in all {
            shown.push_str(&format!("{credentials:?}"));
            let builder = blocking::Client::builder(&url).credentials(credentials.clone());
            shown.push_str(&format!("{builder:?}"));
            let client = builder.build().unwrap();
            shown.push_str(&format!("{client:?} {:?}", client.search("local")));
            for error in [
                client.search("local").count().unwrap_err(),
                client.grants().unwrap_err(),
                client.issue(&json!([]), None).unwrap_err(),
            ] {
                shown.push_str(&format!("{error} {error:?}"));
                let mut cause = std::error::Error::source(&error);
                while let Some(inner) = cause {
                    shown.push_str(&format!("{inner} {inner:?}"));
                    cause = inner.source();
                }
            }
            let settings = PushSettings {
                deadline: Duration::from_secs(1),
                ..Default::default()
            };
            let pusher = Pusher::builder(&url).credentials(credentials).settings(settings);
            let pusher = pusher.build().unwrap();
            let app = uuid::Uuid::nil();
            pusher.push(&mscp_log_client::Record::now(app, "t", "m")).unwrap();
            let outcome = pusher.close_blocking(Duration::from_secs(60));
            prop_assert_eq!(outcome.dropped.of(Loss::Deadline), 0, "{:?}", outcome);
            shown.push_str(&format!("{pusher:?} {outcome:?}"));
        }
        // As it is, and as a debug print would write it.
        let written = format!("{secret:?}");
        prop_assert!(!shown.contains(&secret), "{shown}");
        prop_assert!(!shown.contains(&written[1..written.len() - 1]), "{shown}");
    }
}
