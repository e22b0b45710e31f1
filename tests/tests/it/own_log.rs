//! What a node says of itself on its standard error.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mscp_log_tests::process::{EMAIL, Node, PASSWORD};
use serde_json::{Value, json};

use crate::support::{APP_A, Scene, now_us, record};

/// The lines that are objects; the others are what a start prints for people.
fn logged(node: &Node) -> Vec<Value> {
    let said = node.said();
    let lines = said.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_json_has_an_object_in_each_line_and_no_secret_at_any_level() {
    // As much as can be said, of every library.
    let everything = "trace,mscp_log_server=trace,hyper=trace,h2=trace,reqwest=trace";
    let scene = Scene::with(&[
        ("MSCP_LOG_LOG__FORMAT", "json"),
        ("MSCP_LOG_LOG__LEVEL", everything),
    ])
    .await;
    let url = &scene.node.url;
    let mut secrets = vec![PASSWORD.to_owned(), scene.token.clone()];

    // Sign in, rightly and wrongly; by HTTP/2, whose library tells more.
    let http2 = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    let http2 = http2.build().unwrap();
    for password in [PASSWORD, "a wrong passphrase"] {
        secrets.push(password.to_owned());
        secrets.push(STANDARD.encode(format!("{EMAIL}:{password}")));
        let request = http2.post(format!("{url}/api/auth/token_root"));
        let answer = request
            .basic_auth(EMAIL, Some(password))
            .send()
            .await
            .unwrap();
        let body: Value = answer.json().await.unwrap();
        secrets.extend(body["token"].as_str().map(str::to_owned));
    }
    // A session, whose cookie is a root token.
    let request = http2.post(format!("{url}/api/auth/session"));
    let request = request.header("x-requested-with", "tests");
    let answer = request
        .basic_auth(EMAIL, Some(PASSWORD))
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
    assert!(cookie.len() > 100, "{cookie}");
    secrets.push(cookie);
    // Accounts with passwords; a token that does not expire soon.
    let users = "/api/system/users";
    let user = json!({"email": "a@example.org", "password": "the passphrase of an account"});
    secrets.push("the passphrase of an account".to_owned());
    let made = scene.post(&scene.token, users, user).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let service = json!({"email": "s@example.org", "service": true});
    let made = scene.post(&scene.token, users, service).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let tokens = format!("{users}/{}/tokens", made.body["id"].as_str().unwrap());
    let made = scene
        .post(&scene.token, &tokens, json!({"access": []}))
        .await;
    secrets.extend(made.body["token"].as_str().map(str::to_owned));
    // Each way that a token comes; one that does not verify.
    let path = format!("{url}/api/local/log/_search");
    let broken = format!("{}x", scene.token);
    for client in [&scene.http, &http2] {
        for token in [&scene.token, &broken] {
            client
                .get(format!("{path}?jwt={token}&size=0"))
                .send()
                .await
                .unwrap();
            client.get(&path).bearer_auth(token).send().await.unwrap();
            client
                .get(&path)
                .header("authorization", token)
                .send()
                .await
                .unwrap();
            let api_key = format!("ApiKey {token}");
            client
                .get(&path)
                .header("authorization", api_key)
                .send()
                .await
                .unwrap();
            client
                .get(&path)
                .basic_auth("token", Some(token))
                .send()
                .await
                .unwrap();
        }
    }
    let records = json!([record(APP_A, now_us(), 0, "a record")]);
    let push = format!("/api/apps/{APP_A}/log");
    assert_eq!(scene.post(&scene.token, &push, records).await.status, 202);

    let (said, logged) = (scene.node.said(), logged(&scene.node));
    assert!(logged.len() > 100, "{said}");
    for line in &logged {
        let text = |key: &str| line[key].as_str().is_some();
        assert!(
            text("timestamp") && text("level") && text("target"),
            "{line}"
        );
        assert!(line["fields"].is_object(), "{line}");
    }
    for secret in secrets {
        // Of a token, its signature is the secret.
        let secret = secret.rsplit('.').next().unwrap();
        assert!(
            secret.len() > 8 && !said.contains(secret),
            "{secret}: {said}"
        );
    }
}

/// Copies what the node says into a file of its machine's logs, as the runtime
/// of containers does, until it is dropped.
struct Console {
    ended: Arc<AtomicBool>,
}

impl Console {
    async fn of(agent: Arc<Node>, file: &Path) -> Self {
        let ended = Arc::<AtomicBool>::default();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        let over = Arc::clone(&ended);
        tokio::spawn(async move {
            let mut written = 0;
            while !over.load(Ordering::Relaxed) {
                let said = agent.said();
                let end = said.rfind('\n').map_or(0, |end| end + 1);
                file.write_all(&said.as_bytes()[written..end]).unwrap();
                written = end;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Self { ended }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_reads_its_own_console_does_not_feed_itself() {
    let scene = Scene::new().await;
    let access = json!([{"method": ["POST"], "url": ["{mscp_api_url}/local/collect"]}]);
    let token = scene.token_for(access).await;
    let folder = tempfile::tempdir().unwrap();
    let (data, logs) = (folder.path().join("agent"), folder.path().join("logs"));
    std::fs::create_dir(&logs).unwrap();
    let paths = format!("{}/*.log", logs.display());
    let agent = Node::start(
        &data,
        &["--role", "agent"],
        &[
            ("MSCP_LOG_LOG__LEVEL", "trace"),
            ("MSCP_LOG_LOG__FORMAT", "json"),
            ("MSCP_LOG_COLLECT__HOST", "node1"),
            ("MSCP_LOG_COLLECT__URL", &scene.node.url),
            ("MSCP_LOG_COLLECT__TOKEN", &token),
            ("MSCP_LOG_COLLECT__FILES__PATHS", &paths),
            ("MSCP_LOG_COLLECT__FILES__START", "head"),
        ],
    );
    let agent = Arc::new(agent);
    let _console = Console::of(Arc::clone(&agent), &logs.join("agent.log")).await;
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(logs.join("app.log"));
    let mut line = async |number: usize| {
        writeln!(file.as_mut().unwrap(), "marker{number}").unwrap();
        let marker = json!({"match": {"message": format!("marker{number}")}});
        scene.wait_for(marker, 1).await;
    };
    for number in 0..5 {
        line(number).await;
    }
    // Its console is among what it collects.
    let own = logs.join("agent.log").display().to_string();
    let own = json!({"term": {"log.file.path": own}});
    while scene.count(&scene.token, own.clone()).await == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = agent.said().lines().count();
    for number in 5..25 {
        line(number).await;
    }
    let after = agent.said().lines().count();
    assert!(
        after - before < 20,
        "{before} lines, then {after}: {}",
        agent.said()
    );
}
