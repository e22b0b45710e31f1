//! The kinds of searches that people and dashboards make of logs.

use mscp_log_core::query::analyze;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::corpus::{Corpus, DAY_US};

/// Hits on a page.
const PAGE: u32 = 100;

const HOUR_US: i64 = 3_600_000_000;

/// One kind of search.
pub(crate) struct Class {
    pub(crate) name: &'static str,
    /// Twice as many as are measured: the first half warms up.
    pub(crate) bodies: Vec<Value>,
}

/// Messages whose words are searched for.
const MESSAGES: usize = 2_000;

struct Draw {
    random: StdRng,
    messages: Vec<Vec<String>>,
    from_us: i64,
    days: u32,
}

impl Draw {
    /// Words of a message, without numbers: those are nearly all unique.
    fn words(&mut self) -> Vec<String> {
        loop {
            let place = self.random.random_range(0..self.messages.len());
            let words = &self.messages[place];
            let has_digit = |word: &String| word.bytes().any(|byte| byte.is_ascii_digit());
            let longest = words
                .split(has_digit)
                .max_by_key(|run| run.len())
                .unwrap_or_default();
            if longest.len() >= 2 {
                return longest.to_vec();
            }
        }
    }

    fn word(&mut self) -> String {
        let words = self.words();
        words[self.random.random_range(0..words.len())].clone()
    }

    fn phrase(&mut self) -> String {
        let words = self.words();
        let length = words.len().min(self.random.random_range(2..4));
        let start = self.random.random_range(0..=words.len() - length);
        words[start..start + length].join(" ")
    }

    fn namespace(&mut self) -> String {
        format!("team-{}", self.random.random_range(0..20))
    }

    fn prefix(&mut self) -> String {
        self.word().chars().take(3).collect()
    }

    /// A time range of 1 to 12 hours in one of the days.
    fn range(&mut self) -> Value {
        let day = i64::from(self.random.random_range(0..self.days));
        let start = self.from_us + day * DAY_US + self.random.random_range(0..12 * HOUR_US);
        let end = start + self.random.random_range(HOUR_US..12 * HOUR_US);
        json!({"range": {"realtime_us": {"gte": start, "lt": end}}})
    }
}

/// The classes, with `count` searches to measure of each.
pub(crate) fn classes(corpus: &Corpus, count: usize) -> Vec<Class> {
    let mut generator = corpus.generator();
    let messages = (0..MESSAGES)
        .map(|_| {
            let message = generator.message();
            let words = analyze::tokens(&message);
            words.map(|word| word.text.into_owned()).collect()
        })
        .collect();
    let mut draw = Draw {
        random: StdRng::seed_from_u64(corpus.seed()),
        messages,
        from_us: corpus.from_us,
        days: corpus.days,
    };
    let histogram =
        json!({"by": {"date_histogram": {"field": "@timestamp", "fixed_interval": "24m"}}});
    let mut class = |name, body: &mut dyn FnMut(&mut Draw) -> Value| Class {
        name,
        bodies: (0..2 * count).map(|_| body(&mut draw)).collect(),
    };
    vec![
        class("newest 100 by term", &mut |draw| {
            newest(&json!({"match": {"message": draw.word()}}))
        }),
        class("newest 100 by phrase", &mut |draw| {
            newest(&json!({"match_phrase": {"message": draw.phrase()}}))
        }),
        class("newest 100 by term and namespace", &mut |draw| {
            newest(&json!({"bool": {"filter": [
                {"term": {"namespace": draw.namespace()}},
                {"match": {"message": draw.word()}},
            ]}}))
        }),
        class("newest 100 by prefix", &mut |draw| {
            newest(&json!({"prefix": {"message": draw.prefix()}}))
        }),
        class(
            "date_histogram of everything",
            &mut |_| json!({"size": 0, "query": {"match_all": {}}, "aggs": histogram}),
        ),
        class(
            "date_histogram, by term",
            &mut |draw| json!({"size": 0, "query": {"match": {"message": draw.word()}}, "aggs": histogram}),
        ),
        class("terms on namespace, 1 to 12 h", &mut |draw| {
            terms("namespace", &draw.range())
        }),
        class("terms on pod, 1 to 12 h", &mut |draw| {
            terms("pod", &draw.range())
        }),
    ]
}

fn newest(query: &Value) -> Value {
    json!({"size": PAGE, "query": query, "sort": [{"@timestamp": "desc"}]})
}

fn terms(field: &str, range: &Value) -> Value {
    json!({
        "size": 0,
        "query": {"bool": {"filter": [range]}},
        "aggs": {"by": {"terms": {"field": field, "size": 20}}},
    })
}
