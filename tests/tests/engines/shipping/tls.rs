//! The same over TLS, as an installation has it: a peer of the trial's own
//! ends TLS before the engine, and the proxy wants a credential.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use libtest_mimic::Failed;
use mscp_log_tests::engine::Engine;
use mscp_log_tests::proxy::{Fault, Proxy};
use mscp_log_tests::target::RUNTIME;
use mscp_log_tests::tls::{Authority, Face, Peer, Valid};
use reqwest::Method;
use serde_json::json;

use super::{Scene, push_many};

/// A region's name, its variables, and the header that a secret makes.
type Kind<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a dyn Fn(&str) -> String,
);

impl Scene {
    /// A node that finds the engine behind a TLS peer, verified by the
    /// authority whose certificate is in `ca`.
    async fn with_tls(
        engine: &Engine,
        region: &str,
        (face, ca): (Face, &Path),
        variables: &[(&str, &str)],
    ) -> (Self, Peer) {
        let proxy = Proxy::start(&engine.url).await;
        let peer = Peer::start(&proxy.url, face).await;
        let ca = ca.display().to_string();
        let mut all = vec![("STORE_CA_FILE", ca.as_str())];
        all.extend(variables);
        let scene = Self::of(engine, proxy, &peer.https(), region, &all).await;
        (scene, peer)
    }

    /// How many records a search through the node finds.
    async fn searched(&self) -> u64 {
        let url = format!(
            "{}/api/{}/log/{}/_count",
            self.node.url,
            self.region,
            self.indices()
        );
        let request = self.http.post(url).bearer_auth(&self.token);
        let answer = request.json(&json!({"query": {"match_all": {}}})).send();
        let answer: serde_json::Value = answer.await.unwrap().json().await.unwrap();
        answer["count"]
            .as_u64()
            .unwrap_or_else(|| panic!("{answer}"))
    }

    /// What waits is not in the engine, and is no dead letter.
    async fn only_has(&self, messages: &BTreeSet<String>) -> Result<(), Failed> {
        let found = self.found().await;
        if found.len() != messages.len() {
            return Err(format!("{} are there, not {}", found.len(), messages.len()).into());
        }
        self.letters(0).await.map(drop)
    }
}

pub(super) fn certificate(engine: &mut Engine) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let (authority, other) = (Authority::new(), Authority::new());
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let good = authority.face("127.0.0.1", Valid::Now);
        let (scene, peer) = Scene::with_tls(engine, "tls", (good.clone(), &ca), &[]).await;
        let mut messages = push_many(&scene, 10, 0).await;
        scene.has(&messages).await?;
        let node = peer.address.to_string();
        for (round, (face, expected)) in [
            (
                other.face("127.0.0.1", Valid::Now),
                "not signed by an authority in",
            ),
            (
                authority.face("127.0.0.1", Valid::Expired),
                "expired at 2021-01-01T00:00:00Z",
            ),
            (
                authority.face("es.example.org", Valid::Now),
                "is for es.example.org, and not for 127.0.0.1",
            ),
            (Face::Plain, "does not speak TLS there"),
        ]
        .into_iter()
        .enumerate()
        {
            peer.set(face);
            let waiting = push_many(&scene, 10, 10 * (round as u64 + 1)).await;
            scene.says(expected).await?;
            scene.says(&node).await?;
            scene.only_has(&messages).await?;
            messages.extend(waiting);
            peer.set(good.clone());
            scene.has(&messages).await?;
            assert_eq!(scene.searched().await, messages.len() as u64);
        }
        scene.letters(0).await.map(drop)
    })
}

pub(super) fn credentials(engine: &mut Engine) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let good = authority.face("127.0.0.1", Valid::Now);
        let file = folder.path().join("credential");
        let path = file.display().to_string();
        let basic = |secret: &str| format!("Basic {}", BASE64.encode(format!("shipper:{secret}")));
        let api_key = |secret: &str| format!("ApiKey {}", BASE64.encode(secret));
        let bearer = |secret: &str| format!("Bearer {secret}");
        let kinds: [Kind<'_>; 3] = [
            (
                "basic",
                &[("STORE_USER", "shipper"), ("STORE_PASSWORD_FILE", &path)],
                &basic,
            ),
            ("apikey", &[("STORE_API_KEY_FILE", &path)], &api_key),
            ("bearer", &[("STORE_BEARER_FILE", &path)], &bearer),
        ];
        for (region, variables, header) in kinds {
            let (old, new) = ("id:a-well-kept-secret", "id:another-well-kept-one");
            std::fs::write(&file, old).unwrap();
            let at = (good.clone(), ca.as_path());
            let (scene, peer) = Scene::with_tls(engine, region, at, variables).await;
            scene.proxy.set(Fault::Unless(header(old)));
            let mut messages = push_many(&scene, 10, 0).await;
            scene.has(&messages).await?;
            assert_eq!(scene.searched().await, 10);

            // Another is wanted, then the file is gone, then it has that other.
            scene.proxy.set(Fault::Unless(header(new)));
            let waiting = push_many(&scene, 10, 10).await;
            scene
                .says("does not accept the credential that is set (401")
                .await?;
            scene.says(&peer.address.to_string()).await?;
            std::fs::remove_file(&file).unwrap();
            scene.says(&format!("{path} cannot be read")).await?;
            scene.only_has(&messages).await?;
            messages.extend(waiting);
            let told = scene.readiness().await.to_string();
            std::fs::write(&file, new).unwrap();
            scene.has(&messages).await?;
            scene.letters(0).await?;

            let metrics = scene.node.url.clone() + "/metrics";
            let metrics = scene.http.request(Method::GET, metrics);
            let metrics = metrics.bearer_auth(&scene.token).send().await.unwrap();
            let metrics = metrics.text().await.unwrap();
            assert!(metrics.contains("mscp_log_"), "{metrics}");
            let said = scene.node.said();
            assert!(said.contains("TRACE"), "the log is not whole");
            for secret in [old, new] {
                let sent = header(secret);
                let (_, sent) = sent.split_once(' ').unwrap();
                for (place, text) in [("readyz", &told), ("metrics", &metrics), ("log", &said)] {
                    let line = text
                        .lines()
                        .find(|line| line.contains(secret) || line.contains(sent));
                    if let Some(line) = line {
                        return Err(format!("{region}: a secret in {place}: {line}").into());
                    }
                }
            }
        }
        Ok(())
    })
}
