//! Roles as processes: an agent, a parser, and what ships and answers, with
//! the broker between the last two.

use std::fmt::Write as _;
use std::path::Path;

use libtest_mimic::Failed;
use mscp_log_tests::engine::kafka::Kafka;
use mscp_log_tests::process::{self, Node};
use mscp_log_tests::target::RUNTIME;

use super::node::Scene;
use super::{until, variables};

/// A node with these variables, started off the threads that wait.
fn start(data: &Path, variables: &[(String, String)]) -> Node {
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    tokio::task::block_in_place(|| Node::start(data, &[], &variables))
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(key, value)| (format!("MSCP_LOG_{key}"), value.to_owned()))
        .collect()
}

async fn status(node: &Node, path: &str) -> u16 {
    let asked = process::http()
        .get(format!("{}{path}", node.url))
        .send()
        .await;
    asked.unwrap().status().as_u16()
}

pub(super) fn apart(broker: &mut Kafka) -> Result<(), Failed> {
    const LINES: usize = 3_000;
    RUNTIME.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let scene = Scene::start(broker, "roles", &[("MSCP_LOG_ROLES", "api,shipper")]).await;

        let data = folder.path().join("parser");
        let mut parsing: Vec<(String, String)> = variables(broker, "roles").into_iter().collect();
        parsing.extend(pairs([
            ("ROLES", "parser"),
            ("BEATS__LISTEN", "127.0.0.1:0"),
            ("BEATS__INSECURE", "true"),
        ]));
        let mut parser = start(&data, &parsing);
        assert_eq!(status(&parser, "/readyz").await, 200, "{}", parser.said());

        let log = folder.path().join("app.log");
        let lines = |numbers: std::ops::Range<usize>| {
            let mut text = String::new();
            for number in numbers {
                writeln!(text, "line {number}").unwrap();
            }
            text
        };
        std::fs::write(&log, lines(0..LINES / 2)).unwrap();
        let hosts = parser.beats.unwrap().to_string();
        let collecting = |hosts: &str| {
            pairs([
                ("ROLES", "agent"),
                ("COLLECT__HOST", "node1"),
                ("COLLECT__FILES__PATHS", &log.display().to_string()),
                ("COLLECT__LUMBERJACK__HOSTS", hosts),
            ])
        };
        let own = folder.path().join("agent");
        let mut agent = start(&own, &collecting(&hosts));
        until("the first lines", async || {
            scene.messages().await.len() >= LINES / 2
        })
        .await?;

        // Both go, and come again elsewhere.
        parser.kill();
        agent.kill();
        let mut all = std::fs::read_to_string(&log).unwrap();
        all.push_str(&lines(LINES / 2..LINES));
        std::fs::write(&log, all).unwrap();
        parser = start(&data, &parsing);
        agent = start(&own, &collecting(&parser.beats.unwrap().to_string()));
        until("every line", async || scene.messages().await.len() >= LINES).await?;
        let mut found = scene.messages().await;
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), LINES, "each line once");
        assert_eq!(scene.messages().await.len(), LINES, "each line once");

        // Each serves its own part and nothing else.
        let (token, http) = (scene.token(), process::http());
        let ask = async |url: &str, path: &str| {
            let asked = http.post(format!("{url}{path}")).bearer_auth(token);
            asked.send().await.unwrap().status().as_u16()
        };
        assert_eq!(ask(scene.url(), "/api/local/collect").await, 404);
        assert_eq!(ask(scene.url(), "/api/local/log/_search").await, 200);
        // It has accounts of its own: nothing is shared but the topic.
        assert_eq!(ask(&parser.url, "/api/local/collect").await, 401);
        drop(agent);
        Ok(())
    })
}
