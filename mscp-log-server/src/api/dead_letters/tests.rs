#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};
use serde_json::Value;

use super::super::access::tests::{House, house_of};
use super::super::tests::{app_of, health, rooms_of};
use super::super::{cors::Cors, router};
use super::*;
use crate::buffer::dead_letters::Refused;
use crate::ingest::testing::{Memory, push_with};

struct Post {
    house: House,
    token: String,
    buffer: Arc<Memory>,
    _folder: tempfile::TempDir,
}

impl Post {
    /// With so many letters for the region `local`.
    async fn open(count: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::below(folder.path());
        for n in 0..count {
            let document = format!(
                r#"{{"realtime_us":1,"event_id":"{n:032x}","message":"m","index":"logstash-http-local","ingest_us":1}}"#
            );
            let refused = Refused {
                index: "logstash-http-local-1970.01.01".to_owned(),
                kind: "mapper_parsing_exception".to_owned(),
                reason: "failed to parse".to_owned(),
                document: Bytes::from(document),
            };
            letters.add(&[refused], 7).unwrap();
        }
        let (push, buffer) = push_with(None);
        let app = app_of(push, "local", letters);
        let whole = |door: Arc<Door>, _: &crate::config::Config| {
            router(rooms_of(app, &door), door, health(), Cors::new(&[]))
        };
        let house = house_of(&[], whole).await;
        let all = json!([{"method": ["GET", "POST", "PUT", "DELETE"], "url": ["/**"]}]);
        let token = house.token(all).await;
        Self {
            house,
            token,
            buffer,
            _folder: folder,
        }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/{path}"))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let (status, _, body): (StatusCode, HeaderMap, Value) = self.house.send(request).await;
        (status, body)
    }
}

const LETTERS: &str = "local/system/log/dead-letters";

#[tokio::test]
async fn letters_are_listed_replayed_and_taken_out() {
    let post = Post::open(3).await;
    let (status, page) = post.call("GET", &format!("{LETTERS}?limit=2"), "").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert_eq!(page["total"], 3);
    assert_eq!(page["dead_letters"][0]["number"], 3);
    assert_eq!(page["dead_letters"][0]["type"], "mapper_parsing_exception");
    assert_eq!(page["dead_letters"][0]["document"]["message"], "m");
    let (_, rest) = post.call("GET", &format!("{LETTERS}?before=2"), "").await;
    assert_eq!(rest["dead_letters"].as_array().unwrap().len(), 1);

    let replay = format!("{LETTERS}/replay");
    let (status, done) = post.call("POST", &replay, r#"{"numbers":[3]}"#).await;
    assert_eq!((status, &done["replayed"]), (StatusCode::OK, &json!(1)));
    let (status, _) = post.call("DELETE", &format!("{LETTERS}/2"), "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, done) = post.call("POST", &replay, "").await;
    assert_eq!(done, json!({"replayed": 1, "kept": 0}));
    assert_eq!(post.buffer.records().len(), 2);
    let (_, page) = post.call("GET", LETTERS, "").await;
    assert_eq!(page["total"], 0);
}

#[tokio::test]
async fn what_is_not_there_or_malformed_is_said() {
    let post = Post::open(1).await;
    for (method, path, body, expected) in [
        ("GET", "other/system/log/dead-letters", "", 404),
        ("DELETE", "local/system/log/dead-letters/9", "", 404),
        ("DELETE", "local/system/log/dead-letters/x", "", 400),
        ("GET", "local/system/log/dead-letters?limit=0", "", 400),
        ("GET", "local/system/log/dead-letters?befor=1", "", 400),
        (
            "POST",
            "local/system/log/dead-letters/replay",
            "{\"number\":1}",
            400,
        ),
        ("PUT", "local/system/log/dead-letters", "", 405),
    ] {
        let (status, body) = post.call(method, path, body).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}: {body}");
    }
    post.buffer.refuse(|| crate::buffer::AppendError::DiskFull);
    let (status, body) = post.call("POST", &format!("{LETTERS}/replay"), "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert_eq!(post.call("GET", LETTERS, "").await.1["total"], 1);
}
