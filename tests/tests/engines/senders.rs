//! Trials of senders that exist, unmodified, which push without knowing of this system:
//! OpenTelemetry's SDKs over each of their protocols, and the bulk helpers of
//! Elasticsearch's clients. `make clients` installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Failed, Trial};
use mscp_log_tests::kill::settled;
use mscp_log_tests::process::{self, Node};
use mscp_log_tests::target::{RUNTIME, Target};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

/// An SDK, and the protocols that it has.
const SDKS: &[(&str, &[&str])] = &[
    ("python", &["http/protobuf", "grpc"]),
    ("javascript", &["http/json", "http/protobuf", "grpc"]),
    ("go", &["http/protobuf", "grpc"]),
];

/// Clients of Elasticsearch that have a bulk helper.
const BULK: &[(&str, &str)] = &[
    ("python", "elasticsearch-7"),
    ("python", "elasticsearch-8"),
    ("python", "elasticsearch-9"),
    ("javascript", "elasticsearch-7"),
    ("javascript", "elasticsearch-8"),
    ("javascript", "elasticsearch-9"),
];

/// Programs of the documentation, and what runs them.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("push.py", &["python3"]),
    ("push.mjs", &["node"]),
    ("push.go", &["go", "run"]),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")
}

/// Where `make clients` puts things, and the programs that are run there.
fn folders() -> (PathBuf, PathBuf) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    (here.join("../target/clients"), here.join("clients/otlp"))
}

struct Shared {
    node: Node,
    _data: TempDir,
    token: String,
}

fn shared(shared: &OnceLock<Shared>) -> &Shared {
    shared.get_or_init(|| {
        let data = tempfile::tempdir().unwrap();
        let node = Node::start(data.path(), &[], &[]);
        let access = json!([{"method": ["GET", "HEAD", "POST", "PUT"],
            "url": ["{mscp_api_url}/apps/**", "{mscp_api_url}/local/log/**"]}]);
        let token = RUNTIME.block_on(process::administrator_token(&node, &access));
        Shared {
            node,
            _data: data,
            token,
        }
    })
}

type Run = Box<dyn Fn(&Shared) -> Result<(), Failed> + Send>;

pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    // What is stored is the same whatever the store.
    if target.spec.is_some() {
        return Vec::new();
    }
    let (installed, _) = folders();
    let node = Arc::new(OnceLock::new());
    let mut trials = Vec::new();
    let mut add = |name: String, marker: PathBuf, run: Run| {
        if !marker.exists() {
            eprintln!("{name}: skipped, the sender is not there: run make clients");
            return;
        }
        let node = Arc::clone(&node);
        trials.push(Trial::test(name, move || run(shared(&node))));
    };
    for (language, protocols) in SDKS {
        let marker = installed.join("otlp").join(language).join(".complete");
        for protocol in *protocols {
            let name = format!("senders::otlp_{language}_{}", protocol.replace('/', "_"));
            add(
                name,
                marker.clone(),
                Box::new(|node| otlp(node, language, protocol)),
            );
        }
    }
    for (program, interpreter) in EXAMPLES {
        let name = format!("senders::example_{}", program.replace('.', "_"));
        let there = Command::new(interpreter[0]).arg("version").output().is_ok();
        let marker = if there {
            examples().join(program)
        } else {
            PathBuf::new()
        };
        add(
            name,
            marker,
            Box::new(|node| example(node, program, interpreter)),
        );
    }
    for (language, package) in BULK {
        let folder = installed.join(language);
        let folder = if *language == "python" {
            folder.join(package)
        } else {
            folder
        };
        let name = format!("senders::bulk_{language}_{}", package.replace('-', "_"));
        add(
            name,
            folder.join(".complete"),
            Box::new(move |node| bulk(node, &folder, package)),
        );
    }
    trials
}

fn succeeded(output: Output) -> Result<String, Failed> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).into_owned().into())
}

/// What is stored of an app, by message, once there is as much as expected.
fn stored(shared: &Shared, app: Uuid, expected: u64) -> Vec<Value> {
    RUNTIME.block_on(async {
        let (url, token) = (&shared.node.url, &shared.token);
        let query = json!({"term": {"appid": app}});
        settled(
            url,
            token,
            &query,
            expected,
            std::time::Duration::from_secs(30),
        )
        .await;
        let asked = process::http().post(format!("{url}/api/local/log/_search"));
        let body = json!({"query": query, "size": 100, "sort": ["realtime_us", "seq"]});
        let answer = asked.bearer_auth(token).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        let hits = answer["hits"]["hits"].as_array_mut().unwrap();
        hits.iter_mut().map(|hit| hit["_source"].take()).collect()
    })
}

fn otlp(shared: &Shared, language: &str, protocol: &str) -> Result<(), Failed> {
    let (installed, programs) = folders();
    let (installed, programs) = (
        installed.join("otlp").join(language),
        programs.join(language),
    );
    let mut command = match language {
        "python" => Command::new(installed.join("bin/python")),
        "javascript" => Command::new("node"),
        _ => Command::new(installed.join("otlp")),
    };
    match language {
        "python" => command.arg(programs.join("send.py")),
        "javascript" => command
            .arg(programs.join("send.mjs"))
            .env("CLIENTS", &installed),
        _ => &mut command,
    };
    let (app, url) = (Uuid::new_v4(), &shared.node.url);
    let endpoint = match protocol {
        "grpc" => url.clone(),
        _ => format!("{url}/api/apps/{app}/otlp/v1/logs"),
    };
    command.args([protocol, &endpoint, &app.to_string(), &shared.token]);
    let span: Value = serde_json::from_str(&succeeded(command.output()?)?)?;

    let documents = stored(shared, app, 3);
    let expected = [("first", "info"), ("second", "warn"), ("third", "error")];
    for (document, (which, level)) in documents.iter().zip(expected) {
        assert_eq!(
            document["message"],
            format!("{which} of {language}"),
            "{document}"
        );
        assert_eq!(document["level"], level, "{document}");
        assert_eq!(document["type"], "otlp", "{document}");
        let keywords = document["annotation"].to_string();
        for keyword in ["service.name=shop", "host.name=node1"] {
            assert!(keywords.contains(keyword), "{keyword}: {document}");
        }
    }
    let first = documents[0]["annotation"].to_string();
    for keyword in [
        "shop.order=17",
        "shop.paid=true",
        "shop.price=1.5",
        "shop.names=a",
        "shop.names=b",
    ] {
        assert!(first.contains(keyword), "{keyword}: {first}");
    }
    assert_eq!(documents[1].get("trace_id"), None);
    assert_eq!(documents[2]["trace_id"], span["trace_id"]);
    assert_eq!(documents[2]["span_id"], span["span_id"]);
    Ok(())
}

fn bulk(shared: &Shared, folder: &Path, package: &str) -> Result<(), Failed> {
    let (_, programs) = folders();
    let interpreter = folder.join("bin/python");
    let python = interpreter.exists();
    let mut command = if python {
        let mut command = Command::new(interpreter);
        command.arg(programs.join("bulk.py"));
        command
    } else {
        let mut command = Command::new("node");
        command
            .arg(programs.join("bulk.mjs"))
            .arg(package)
            .env("CLIENTS", folder);
        command
    };
    let app = Uuid::new_v4();
    let endpoint = format!("{}/api/apps/{app}", shared.node.url);
    succeeded(command.args([&endpoint, &shared.token]).output()?)?;

    let ways = if python { 4 } else { 2 };
    let documents = stored(shared, app, 3 * ways);
    let mut messages: Vec<&str> = documents
        .iter()
        .filter_map(|it| it["message"].as_str())
        .collect();
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len() as u64, 3 * ways, "{messages:?}");
    for document in &documents {
        assert_eq!(document["type"], "bulk", "{document}");
        assert_eq!(document["level"], "info", "{document}");
    }
    Ok(())
}

fn example(shared: &Shared, program: &str, interpreter: &[&str]) -> Result<(), Failed> {
    let app = Uuid::new_v4();
    let run = |message: &str, token: &str| {
        Command::new(interpreter[0])
            .args(&interpreter[1..])
            .arg(examples().join(program))
            .args([&app.to_string(), message])
            .env("MSCP_LOG_URL", &shared.node.url)
            .env("MSCP_LOG_TOKEN", token)
            .output()
    };
    let said = succeeded(run("from an example", &shared.token)?)?;
    assert!(said.trim_end().ends_with("Z from an example"), "{said}");
    let documents = stored(shared, app, 1);
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0]["level"], "info");

    let refused = run("from nobody", "no token")?;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("/problems/unauthorized"), "{said}");
    Ok(())
}
