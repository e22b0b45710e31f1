//! Dead letters in a topic of one partition that is compacted: a message is a
//! letter, its number is the message's number and one more, and a message
//! without a value takes out the letter of the same key. What is there is known
//! from reading the topic, so that every process of a platform sees the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::producer::Producer;
use super::settings::{Settings, Talk, told};
use super::topic::{LARGEST_LETTER, PATIENCE};
use crate::buffer::dead_letters::{Kept, Letter, LettersError, MAX_BYTES, Refused, identity, raw};

/// Bytes of a document that is kept whole; of a larger one its beginning is.
const WHOLE: usize = LARGEST_LETTER / 4 * 3;
const BEGINNING: usize = 1 << 20;

/// The only partition.
const PARTITION: i32 = 0;

/// Letters in a topic.
pub(in crate::buffer) struct TopicLetters {
    topic: String,
    reading: ClientConfig,
    producer: Producer,
    state: Mutex<State>,
}

impl std::fmt::Debug for TopicLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicLetters")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    view: View,
    follower: Option<Reader>,
    reader: Option<Reader>,
}

/// What the topic says, up to where it was read.
#[derive(Default)]
struct View {
    letters: BTreeMap<u64, Place>,
    keys: HashMap<Vec<u8>, u64>,
    /// By what identifies a document, so that one that is shipped again after a
    /// crash is not kept twice.
    documents: HashMap<[u8; 16], u64>,
    bytes: u64,
}

struct Place {
    key: Vec<u8>,
    bytes: u64,
    document: [u8; 16],
}

impl View {
    /// A message of the topic.
    fn apply(&mut self, number: u64, key: &[u8], value: Option<&[u8]>) {
        if let Some(old) = self.keys.remove(key)
            && let Some(place) = self.letters.remove(&old)
        {
            self.bytes -= place.bytes;
            // A newer letter may be of the same document.
            if self.documents.get(&place.document) == Some(&old) {
                self.documents.remove(&place.document);
            }
        }
        let Some(value) = value else { return };
        let Ok(letter) = serde_json::from_slice::<Letter>(value) else {
            metrics::counter!("mscp_log_damaged_dead_letters_total").increment(1);
            tracing::error!(number, "a message among the dead letters is none");
            return;
        };
        let place = Place {
            key: key.to_vec(),
            bytes: value.len() as u64,
            document: identity(&letter.document),
        };
        self.bytes += place.bytes;
        self.keys.insert(place.key.clone(), number);
        self.documents.insert(place.document, number);
        self.letters.insert(number, place);
    }
}

/// A consumer of the topic, and where it is.
struct Reader {
    consumer: BaseConsumer<Talk>,
    /// Behind the last message that it gave.
    next: i64,
    /// Where the end was seen to be. Compaction may have taken the last
    /// messages in front of it.
    end: i64,
}

impl Reader {
    fn begin(config: &ClientConfig, topic: &str, at: i64) -> Result<Self, LettersError> {
        let consumer: BaseConsumer<Talk> = config
            .create_with_context(Talk::default())
            .map_err(|error| fault(&error))?;
        let mut partitions = TopicPartitionList::with_capacity(1);
        let at_first = if at == 0 {
            Offset::Beginning
        } else {
            Offset::Offset(at)
        };
        partitions
            .add_partition_offset(topic, PARTITION, at_first)
            .and_then(|()| consumer.assign(&partitions))
            .map_err(|error| fault(&error))?;
        Ok(Self {
            consumer,
            next: at,
            end: 0,
        })
    }

    /// Give every message below `end` to `each`, from where it is.
    fn read_to(
        &mut self,
        end: i64,
        mut each: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), LettersError> {
        let begun = Instant::now();
        // An end that was seen before now is not the one that is looked for.
        let mut stale = true;
        while self.next < end && self.end < end {
            let wait = if stale {
                Duration::ZERO
            } else {
                PATIENCE / 100
            };
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    self.next = message.offset() + 1;
                    each(&message);
                }
                Some(Err(KafkaError::PartitionEOF(_))) if !stale => self.end = end,
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => return Err(fault(&error)),
                None => stale = false,
            }
            if begun.elapsed() > 3 * PATIENCE {
                return Err(LettersError::Topic("it is not read to its end".to_owned()));
            }
        }
        Ok(())
    }

    fn high(&self, topic: &str) -> Result<i64, LettersError> {
        let marks = self.consumer.fetch_watermarks(topic, PARTITION, PATIENCE);
        marks.map(|(_, high)| high).map_err(|error| {
            let reason = self.consumer.client().context().trouble();
            LettersError::Topic(reason.unwrap_or_else(|| told(&error)))
        })
    }
}

fn fault(error: &KafkaError) -> LettersError {
    LettersError::Topic(told(error))
}

fn number_of(message: &BorrowedMessage<'_>) -> u64 {
    u64::try_from(message.offset() + 1).unwrap_or_default()
}

impl TopicLetters {
    /// In the topic of dead letters of `settings`, which is there.
    pub(super) fn open(settings: &Settings) -> Result<Self, String> {
        let topic = settings.dead_topic();
        let timeout = settings.kafka.timeout;
        let producing = settings.producer(LARGEST_LETTER)?;
        let mut reading = settings.reader()?;
        reading
            // It belongs to no group; the name is for the library alone.
            .set("group.id", &settings.group)
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "1024");
        Ok(Self {
            producer: Producer::open(producing, &topic, timeout)?,
            topic,
            reading,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with everything that is in the topic.
    fn now(&self) -> Result<MutexGuard<'_, State>, LettersError> {
        let mut state = self.state();
        let State { view, follower, .. } = &mut *state;
        let follower = match follower {
            Some(follower) => follower,
            None => follower.insert(Reader::begin(&self.reading, &self.topic, 0)?),
        };
        let end = follower.high(&self.topic)?;
        follower.read_to(end, |message| {
            let key = message.key().unwrap_or_default();
            view.apply(number_of(message), key, message.payload());
        })?;
        Ok(state)
    }

    /// See what other processes did.
    pub(in crate::buffer) fn refresh(&self) {
        if let Err(error) = self.now() {
            tracing::debug!(%error, "dead letters are not up to date");
        }
    }

    pub(in crate::buffer) fn add(
        &self,
        refused: &[Refused],
        now_ms: i64,
    ) -> Result<(), LettersError> {
        let state = self.now()?;
        let mut messages: Vec<(String, Vec<u8>)> = Vec::new();
        let mut bytes = 0;
        for one in refused {
            let (document, reason) = whole_or_beginning(one);
            let identity = identity(&document);
            let key = Uuid::from_bytes(identity).simple().to_string();
            let again = |known: &(String, Vec<u8>)| known.0.starts_with(&key);
            if state.view.documents.contains_key(&identity) || messages.iter().any(again) {
                continue;
            }
            let letter = Letter {
                number: 0,
                refused_ms: now_ms,
                index: one.index.clone(),
                kind: one.kind.clone(),
                reason,
                document,
            };
            let value = serde_json::to_vec(&letter).map_err(std::io::Error::from)?;
            bytes += value.len() as u64;
            // A document that is refused again is another letter.
            messages.push((format!("{key}-{}", Uuid::new_v4().simple()), value));
        }
        let used = state.view.bytes;
        if used + bytes > MAX_BYTES {
            let limit = MAX_BYTES;
            return Err(LettersError::Full { used, limit });
        }
        drop(state);
        self.put(
            messages
                .iter()
                .map(|(key, value)| (key.as_bytes(), Some(&value[..]))),
        )?;
        metrics::counter!("mscp_log_dead_letters_total").increment(messages.len() as u64);
        Ok(())
    }

    fn put<'a>(
        &self,
        messages: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), LettersError> {
        let messages: Vec<_> = messages.collect();
        if messages.is_empty() {
            return Ok(());
        }
        let put = self.producer.put_blocking(&messages);
        put.map_err(LettersError::Topic)?;
        self.now().map(drop)
    }

    pub(in crate::buffer) fn page(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Letter>, LettersError> {
        let mut state = self.now()?;
        let below = ..before.unwrap_or(u64::MAX);
        let newest = state.view.letters.range(below).rev().take(limit);
        let newest: Vec<u64> = newest.map(|(number, _)| *number).collect();
        self.read(&mut state, &newest)
    }

    pub(in crate::buffer) fn of_numbers(
        &self,
        numbers: &[u64],
    ) -> Result<Vec<Letter>, LettersError> {
        let mut state = self.state();
        if numbers
            .iter()
            .any(|number| !state.view.letters.contains_key(number))
        {
            drop(state);
            state = self.now()?;
        }
        let there = |number: &&u64| state.view.letters.contains_key(number);
        let there: Vec<u64> = numbers.iter().filter(there).copied().collect();
        self.read(&mut state, &there)
    }

    /// The letters of these numbers, which are there, in their order.
    fn read(&self, state: &mut State, numbers: &[u64]) -> Result<Vec<Letter>, LettersError> {
        let (Some(first), Some(last)) = (numbers.iter().min(), numbers.iter().max()) else {
            return Ok(Vec::new());
        };
        let at = |number: u64| i64::try_from(number - 1).unwrap_or(i64::MAX);
        // Replaying asks for one after the other.
        let reader = match state.reader.take() {
            Some(reader) if reader.next <= at(*first) => reader,
            _ => Reader::begin(&self.reading, &self.topic, at(*first))?,
        };
        let reader = state.reader.insert(reader);
        let mut found: HashMap<u64, Letter> = HashMap::new();
        let read = reader.read_to(at(*last) + 1, |message| {
            let number = number_of(message);
            if numbers.contains(&number)
                && let Some(Ok(letter)) = message.payload().map(serde_json::from_slice::<Letter>)
            {
                found.insert(number, Letter { number, ..letter });
            }
        });
        if read.is_err() {
            state.reader = None;
        }
        read?;
        Ok(numbers
            .iter()
            .filter_map(|number| found.remove(number))
            .collect())
    }

    pub(in crate::buffer) fn numbers(&self) -> Vec<u64> {
        let state = self.now().unwrap_or_else(|error| {
            tracing::warn!(%error, "dead letters are not up to date");
            self.state()
        });
        state.view.letters.keys().copied().collect()
    }

    pub(in crate::buffer) fn release(&self, numbers: &[u64]) {
        let view = &mut self.state().view;
        for number in numbers {
            if let Some(place) = view.letters.get(number) {
                view.documents.remove(&place.document);
            }
        }
    }

    pub(in crate::buffer) fn remove(&self, numbers: &[u64]) -> Result<(), LettersError> {
        let keys: Vec<Vec<u8>> = {
            let letters = &self.now()?.view.letters;
            let places = numbers.iter().filter_map(|number| letters.get(number));
            places.map(|place| place.key.clone()).collect()
        };
        self.put(keys.iter().map(|key| (&key[..], None)))
    }

    pub(in crate::buffer) fn kept(&self) -> Kept {
        let view = &self.state().view;
        Kept {
            letters: view.letters.len() as u64,
            bytes: view.bytes,
        }
    }
}

/// No topic takes a document of any size.
fn whole_or_beginning(refused: &Refused) -> (Box<RawValue>, String) {
    let bytes = refused.document.len();
    if bytes <= WHOLE {
        return (raw(&refused.document), refused.reason.clone());
    }
    metrics::counter!("mscp_log_cut_dead_letters_total").increment(1);
    let reason = format!(
        "{} (the document's first {BEGINNING} bytes)",
        refused.reason
    );
    (raw(&refused.document[..BEGINNING]), reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn letter(document: &str) -> Vec<u8> {
        let letter = Letter {
            number: 0,
            refused_ms: 1,
            index: String::new(),
            kind: "x".to_owned(),
            reason: "x".to_owned(),
            document: raw(document.as_bytes()),
        };
        serde_json::to_vec(&letter).unwrap()
    }

    #[test]
    fn a_letter_is_there_until_its_key_has_no_value() {
        let mut view = View::default();
        view.apply(1, b"a", Some(&letter("{}")));
        view.apply(2, b"b", Some(&letter("{}")));
        assert_eq!(view.letters.len(), 2);
        view.apply(3, b"a", None);
        assert_eq!(view.letters.keys().copied().collect::<Vec<_>>(), [2]);
        assert_eq!(
            view.documents.len(),
            1,
            "the newer letter knows the document"
        );
        view.apply(4, b"b", None);
        assert_eq!((view.bytes, view.documents.len()), (0, 0));
    }
}
