//! The ledger: every line that was written, which of them are promised and
//! why the others are not, and what was found of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::kill::search;

/// Hits of a page when everything is read back.
const PAGE: usize = 5_000;

/// Why a line is not promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It was in a file that was copied and truncated.
    Truncated,
    /// It was in a file that was deleted.
    Deleted,
    /// It is of a pause container.
    Pause,
    /// It is an event over `beats.max_event_bytes`.
    TooLarge,
}

/// A line that was written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) text: String,
    /// Which file or sender.
    pub(super) source: usize,
    pub(super) unpromised: Option<Why>,
    /// Bytes of it that are over `collect.max_line_bytes`: `text` is without them.
    pub(super) cut: u64,
}

/// What became of the lines that were not promised for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpromised {
    /// How many there were.
    pub lines: u64,
    /// How many of these are not in the store.
    pub absent: u64,
    /// The sources that these are of.
    pub sources: BTreeSet<usize>,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Lines that were written, by what took them.
    pub written: BTreeMap<&'static str, u64>,
    /// How often a file was rotated, by how.
    pub rotations: BTreeMap<String, u64>,
    /// Lines that are promised.
    pub promised: u64,
    /// Of these, how many a search found, each counted once.
    pub found: u64,
    /// Of these, how many were longer than is read, and are there without the rest.
    pub cut: u64,
    /// Promised and not found, the first of them.
    pub missing: Vec<String>,
    /// Found more than once, or never written; the first of them.
    pub repeated: Vec<String>,
    /// Lines that are not promised, by why.
    pub unpromised: BTreeMap<Why, Unpromised>,
    /// What counters of the agent and the node say of what was lost and
    /// dropped, by name and labels.
    pub counted: BTreeMap<String, u64>,
    /// Losses that are in no counter, and counters that are wrong.
    pub uncounted: Vec<String>,
    /// What was done to the agent, the node and the link, and how often.
    pub faults: BTreeMap<&'static str, u32>,
    /// How often a Beat sent again.
    pub sent_again: u64,
    /// Records that the SDK gave up.
    pub given_up: u64,
}

impl Outcome {
    /// Whether every promised line is there once, and every other is there
    /// once, or not and counted.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing.is_empty()
            && self.repeated.is_empty()
            && self.uncounted.is_empty()
            && self.found == self.promised
            && self.given_up == 0
    }

    /// Add the counters of losses in `metrics`, as `/metrics` gives them.
    pub(super) fn count(&mut self, metrics: &str) {
        const NAMES: [&str; 4] = [
            "mscp_log_collect_losses_total",
            "mscp_log_collect_lost_bytes_total",
            "mscp_log_clean_dropped_records_total",
            "mscp_log_beats_refused_events_total",
        ];
        for line in metrics.lines() {
            if let Some((name, value)) = line.rsplit_once(' ')
                && NAMES
                    .iter()
                    .any(|known| name.split('{').next() == Some(known))
                && let Ok(value) = value.parse::<u64>()
            {
                *self.counted.entry(name.to_owned()).or_default() += value;
            }
        }
    }

    fn counter(&self, name: &str, labels: &str) -> u64 {
        let name = format!("mscp_log_{name}{{{labels}}}");
        self.counted.get(&name).copied().unwrap_or_default()
    }

    /// Look for every line of the ledger in what was found.
    pub(super) fn settle(&mut self, ledger: &[Entry], mut found: HashMap<String, Found>) {
        let mut cut: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in ledger {
            let of_line = found.remove(&entry.text);
            let times = of_line.as_ref().map_or(0, |found| found.times);
            if times > 1 {
                push(&mut self.repeated, &entry.text);
            }
            if let Some(why) = entry.unpromised {
                let unpromised = self.unpromised.entry(why).or_default();
                unpromised.lines += 1;
                if times == 0 {
                    unpromised.absent += 1;
                    unpromised.sources.insert(entry.source);
                }
                continue;
            }
            self.promised += 1;
            match of_line {
                None => push(&mut self.missing, &entry.text),
                Some(found) => {
                    self.found += 1;
                    self.cut += u64::from(found.cut);
                    if found.cut != (entry.cut > 0) {
                        push(
                            &mut self.repeated,
                            &format!("tagged wrongly: {}", entry.text),
                        );
                    }
                    if entry.cut > 0 {
                        *cut.entry(found.source()).or_default() += entry.cut;
                    }
                }
            }
        }
        // What was never written, so that no line is found in pieces.
        self.repeated.extend(found.into_keys().take(20));
        self.check_counters(&cut);
    }

    /// Every loss must be in a counter.
    fn check_counters(&mut self, cut: &BTreeMap<&str, u64>) {
        for source in ["files", "journal"] {
            let labels = format!("source=\"{source}\",reason=\"too_long\"");
            let counted = self.counter("collect_lost_bytes_total", &labels);
            let expected = cut.get(source).copied().unwrap_or_default();
            if counted != expected {
                let text = format!("{expected} bytes of {source} were cut, counted {counted}");
                self.uncounted.push(text);
            }
        }
        // How many lines a truncation took nobody can know; that there was
        // one in each of these files must be told.
        for (why, reason) in [(Why::Truncated, "truncated"), (Why::Deleted, "deleted")] {
            let sources = self
                .unpromised
                .get(&why)
                .map_or(0, |lost| lost.sources.len());
            let labels = format!("source=\"files\",reason=\"{reason}\"");
            let counted = self.counter("collect_losses_total", &labels);
            if counted < sources as u64 {
                let text =
                    format!("lines of {sources} files are gone ({why:?}), counted {counted}");
                self.uncounted.push(text);
            }
        }
        // A node that is killed is asked when nothing can reach it any more:
        // what it counts after that was not acknowledged, comes again and is
        // counted again.
        for (why, name, labels) in [
            (
                Why::Pause,
                "clean_dropped_records_total",
                "reason=\"pause_container\"",
            ),
            (
                Why::TooLarge,
                "beats_refused_events_total",
                "reason=\"too_large\"",
            ),
        ] {
            let lost = self.unpromised.get(&why).cloned().unwrap_or_default();
            let counted = self.counter(name, labels);
            if lost.absent != lost.lines || counted < lost.lines {
                let text = format!("{lost:?} ({why:?}), counted {counted}");
                self.uncounted.push(text);
            }
        }
    }
}

fn push(list: &mut Vec<String>, line: &str) {
    if list.len() < 20 {
        list.push(line.chars().take(80).collect());
    }
}

/// What a search found of a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) times: u32,
    /// Whether it has the tag that says that there was more.
    cut: bool,
    /// Whether it came from a file.
    of_file: bool,
}

impl Found {
    fn source(&self) -> &'static str {
        match self.of_file {
            true => "files",
            false => "journal",
        }
    }
}

/// Everything that is in the store, by message.
pub(crate) async fn read_back(url: &str, token: &str) -> HashMap<String, Found> {
    let mut found: HashMap<String, Found> = HashMap::new();
    let mut after = Value::Null;
    loop {
        let mut request = json!({
            "size": PAGE, "sort": ["realtime_us", "seq", "event_id"],
            "_source": ["message", "tags", "log.file.path"], "track_total_hits": false,
        });
        if !after.is_null() {
            request["search_after"] = after;
        }
        let mut answer = search(url, token, "_search", &request).await;
        let hits = answer["hits"]["hits"].as_array_mut().expect("hits");
        for hit in hits.iter() {
            let source = &hit["_source"];
            let message = source["message"].as_str().expect("a message");
            let of_line = found.entry(message.to_owned()).or_default();
            of_line.times += 1;
            let tags = source["tags"].as_array().into_iter().flatten();
            of_line.cut = tags.into_iter().any(|tag| tag == "_truncated");
            of_line.of_file = source["log"]["file"]["path"].is_string();
        }
        let Some(last) = hits.last_mut() else { break };
        after = last["sort"].take();
    }
    found
}
