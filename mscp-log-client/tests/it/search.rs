//! Search, pages and tail.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use mscp_log_client::{ErrorKind, TailSettings};
use serde_json::{Value, json};

use crate::server::{Answer, Seen, Server, answer};

/// A store of records `(ingest_us, id)` that understands the paging of the client.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<Vec<(i64, String)>>>);

impl Store {
    pub(crate) fn add(&self, ingest_us: i64, id: &str) {
        self.0.lock().unwrap().push((ingest_us, id.to_owned()));
    }

    pub(crate) fn answer(&self, seen: &Seen) -> Answer {
        let body = &seen.body;
        let key = body["sort"][0].as_object().unwrap().iter().next().unwrap();
        let mut rows = self.0.lock().unwrap().clone();
        rows.sort();
        if key.1 == "desc" {
            rows.reverse();
        }
        let from = body
            .pointer("/query/bool/filter/0/range/ingest_us/gte")
            .and_then(Value::as_i64);
        let ids = body
            .pointer("/query/bool/filter/0/terms/event_id")
            .and_then(Value::as_array);
        let after = body.get("search_after").map(|after| {
            let values = after.as_array().unwrap();
            (
                values[0].as_i64().unwrap(),
                values[1].as_str().unwrap().to_owned(),
            )
        });
        let rows = rows
            .into_iter()
            .filter(|row| from.is_none_or(|from| row.0 >= from))
            .filter(|row| ids.is_none_or(|ids| ids.contains(&json!(row.1))))
            .filter(|row| {
                after.as_ref().is_none_or(|after| {
                    if key.1 == "desc" {
                        row < after
                    } else {
                        row > after
                    }
                })
            });
        let size = usize::try_from(body["size"].as_u64().unwrap()).unwrap();
        let hits: Vec<Value> = rows
            .take(size)
            .map(|(at, id)| {
                json!({"_index": "logstash-http-local-2026.11.23", "_id": id,
                       "_source": {"ingest_us": at, "message": id}, "sort": [at, id]})
            })
            .collect();
        answer(
            200,
            json!({"timed_out": false, "hits": {"total": {"value": 1, "relation": "gte"}, "hits": hits}}),
        )
    }
}

async fn serve(store: &Store) -> Server {
    let store = store.clone();
    Server::start(move |seen, _| store.answer(seen)).await
}

#[tokio::test]
async fn pages_go_on_behind_the_last_record_and_end_with_the_last_page() {
    let store = Store::default();
    for place in 0..25 {
        store.add(place, &format!("{place:02}"));
    }
    let server = serve(&store).await;
    let pages: Vec<Vec<_>> = server
        .client()
        .search("local")
        .size(10)
        .pages()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    let ids: Vec<String> = pages.concat().into_iter().map(|hit| hit.id).collect();
    assert_eq!(
        ids,
        (0..25)
            .rev()
            .map(|place| format!("{place:02}"))
            .collect::<Vec<_>>()
    );
    assert_eq!(server.work().len(), 3);
}

#[tokio::test]
async fn the_body_says_what_was_built_and_the_token_grants_only_this_search() {
    let server = serve(&Store::default()).await;
    let search = server
        .client()
        .search("local")
        .index("logstash-http-local-2026.11.23");
    let search = search
        .words("a b")
        .term("namespace", "shop")
        .since_seconds(60)
        .size(7);
    let found = search
        .member("track_total_hits", json!(true))
        .send()
        .await
        .unwrap();
    assert!(found.at_least && found.hits.is_empty());
    let seen = &server.work()[0];
    assert_eq!(
        seen.path,
        "/api/local/log/logstash-http-local-2026.11.23/_search"
    );
    assert_eq!(
        seen.body,
        json!({
            "query": {"bool": {
                "must": [{"query_string": {"query": "a b", "default_field": "message", "default_operator": "AND"}}],
                "filter": [{"term": {"namespace": {"value": "shop"}}},
                           {"range": {"@timestamp": {"gte": "now-60s"}}}],
            }},
            "size": 7,
            "sort": [{"realtime_us": "desc"}, {"seq": "desc"}, {"event_id": "desc"}],
            "track_total_hits": true,
        })
    );
    let url = "{mscp_api_url}/local/log/logstash-http-local-2026.11.23/_search";
    assert_eq!(
        server.auth()[0].body,
        mscp_log_client::access(&[("POST", url)])
    );
}

#[tokio::test]
async fn the_stores_reason_is_the_errors_text() {
    let reason = "Unknown key for a START_OBJECT in [nothing].";
    let server = Server::start(move |_, _| {
        answer(400, json!({"error": {"root_cause": [{"type": "parsing_exception", "reason": reason}]}, "status": 400}))
    })
    .await;
    let error = server
        .client()
        .search("local")
        .member("nothing", json!({}))
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.to_string().contains(reason), "{error}");
}

#[tokio::test]
async fn a_tail_shows_each_record_once_and_late_ones_within_the_overlap() {
    let store = Store::default();
    for place in 0..5 {
        store.add(100_000_000 + place, &format!("old{place}"));
    }
    let server = serve(&store).await;
    let settings = TailSettings {
        interval: Duration::from_millis(1),
        overlap: Duration::from_secs(30),
    };
    let mut tail = pin!(server.client().search("local").tail(2, settings));
    let mut next = async |count: usize| -> Vec<String> {
        let hits: Vec<_> = tail.as_mut().take(count).try_collect().await.unwrap();
        hits.into_iter().map(|hit| hit.id).collect()
    };
    assert_eq!(
        next(2).await,
        ["old3", "old4"],
        "the last two, oldest first"
    );
    store.add(100_000_010, "new0");
    assert_eq!(next(1).await, ["new0"]);
    // Searchable only now, though received before the newest that was shown.
    store.add(90_000_000, "late");
    store.add(60_000_000, "beyond the overlap");
    assert_eq!(next(1).await, ["late"]);
    store.add(100_000_020, "new1");
    assert_eq!(next(1).await, ["new1"]);
}

#[tokio::test]
async fn a_tail_takes_all_pages_of_what_came_in_between_two_polls() {
    let store = Store::default();
    store.add(1, "00000");
    let server = serve(&store).await;
    let settings = TailSettings {
        interval: Duration::from_millis(1),
        ..Default::default()
    };
    let mut tail = pin!(server.client().search("local").tail(1, settings));
    assert_eq!(tail.next().await.unwrap().unwrap().id, "00000");
    for place in 1..=12_000 {
        store.add(1 + place, &format!("{place:05}"));
    }
    let hits: Vec<_> = tail.as_mut().take(12_000).try_collect().await.unwrap();
    assert!(
        hits.iter()
            .map(|hit| hit.id.clone())
            .eq((1..=12_000).map(|place| format!("{place:05}")))
    );
}

#[tokio::test]
async fn a_tail_goes_on_after_an_error() {
    let store = Store::default();
    store.add(1, "one");
    let kept = store.clone();
    let server = Server::start(move |seen, before| match before {
        4 | 5 => answer(503, json!({"title": "away"})),
        _ => kept.answer(seen),
    })
    .await;
    let settings = TailSettings {
        interval: Duration::from_millis(1),
        ..Default::default()
    };
    let mut tail = pin!(server.client().search("local").tail(1, settings));
    assert_eq!(tail.next().await.unwrap().unwrap().id, "one");
    store.add(2, "two");
    let mut errors = 0;
    loop {
        match tail.next().await.unwrap() {
            Ok(hit) => {
                assert_eq!(hit.id, "two");
                break;
            }
            Err(error) => {
                assert!(error.is_retryable());
                errors += 1;
            }
        }
    }
    assert_eq!(errors, 2);
}
