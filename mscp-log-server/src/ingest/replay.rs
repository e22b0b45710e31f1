//! Dead letters on their way again: cleaned by the rules of now, and into the
//! buffer once more.
//!
//! A letter is taken out when the buffer has its document durably. If the store
//! refuses it again, that is a new letter. A crash in between leaves both, and
//! the store keeps one document for each `event_id`.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::push::Push;
use crate::buffer::AppendError;
use crate::buffer::dead_letters::{DeadLetters, LettersError, document_of};

/// Documents that are put into the buffer at a time, and about how many bytes.
const AT_ONCE: usize = 1_000;
const AT_ONCE_BYTES: usize = 4 << 20;

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Replayed {
    /// Letters whose documents are on their way to the store again.
    pub replayed: u64,
    /// Letters that stay, because what they hold is no document of ours.
    pub kept: u64,
}

/// Why a replay ended. What was replayed before stays so.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The letters are of a region that this node ships nothing to.
    #[error("this node ships to region {0}, and to no other")]
    OtherRegion(String),
    /// The letters cannot be read or taken out.
    #[error(transparent)]
    Letters(#[from] LettersError),
    /// The buffer takes nothing.
    #[error(transparent)]
    Buffer(#[from] AppendError),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Letters that are replayed together.
#[derive(Default)]
struct Together {
    numbers: Vec<u64>,
    documents: Vec<Bytes>,
    kept: u64,
}

impl Push {
    /// Replay the letters of these numbers that are there; of all when `None`.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn replay(
        self: &Arc<Self>,
        region: &str,
        letters: &Arc<DeadLetters>,
        numbers: Option<Vec<u64>>,
    ) -> Result<Replayed, ReplayError> {
        if region != self.pipeline.region() {
            return Err(ReplayError::OtherRegion(self.pipeline.region().to_owned()));
        }
        // Those of this moment: what is refused again meanwhile stays.
        let mut left = numbers.unwrap_or_else(|| letters.numbers());
        left.sort_unstable_by(|one, other| other.cmp(one));
        left.dedup();
        let mut done = Replayed::default();
        while !left.is_empty() {
            let (push, of) = (Arc::clone(self), Arc::clone(letters));
            let read = move || push.next_of(&of, left);
            let (some, rest) = blocking(read).await??;
            left = rest;
            letters.release(&some.numbers);
            self.pipeline.append(some.documents).await?;
            done.replayed += some.numbers.len() as u64;
            done.kept += some.kept;
            let of = Arc::clone(letters);
            blocking(move || of.remove(&some.numbers)).await??;
        }
        Ok(done)
    }

    /// The next letters, taken off the end of `left`.
    fn next_of(
        &self,
        letters: &DeadLetters,
        mut left: Vec<u64>,
    ) -> Result<(Together, Vec<u64>), LettersError> {
        let mut some = Together::default();
        let mut bytes = 0;
        while some.numbers.len() < AT_ONCE
            && bytes < AT_ONCE_BYTES
            && let Some(number) = left.pop()
        {
            for letter in letters.of_numbers(&[number])? {
                let document = document_of(&letter);
                bytes += document.len();
                match self.pipeline.again(&document) {
                    Some(document) => {
                        some.documents.push(document);
                        some.numbers.push(number);
                    }
                    None => some.kept += 1,
                }
            }
        }
        Ok((some, left))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReplayError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ReplayError::Stopping)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::buffer::dead_letters::Refused;
    use crate::ingest::testing;

    fn letters(documents: &[&str]) -> (tempfile::TempDir, Arc<DeadLetters>) {
        let dir = tempfile::tempdir().unwrap();
        let letters = DeadLetters::below(dir.path());
        let refused: Vec<Refused> = documents
            .iter()
            .map(|document| Refused {
                index: String::new(),
                kind: "mapper_parsing_exception".to_owned(),
                reason: "x".to_owned(),
                document: Bytes::from((*document).to_owned()),
            })
            .collect();
        letters.add(&refused, 1).unwrap();
        (dir, letters)
    }

    const DOCUMENT: &str = r#"{"@timestamp":"2018-01-24T11:13:39.231Z","realtime_us":1516792419231221,"event_id":"000102030405060708090a0b0c0d0e0f","message":"up","index":"logstash-http-local","ingest_us":1,"seq":0}"#;

    #[tokio::test]
    async fn what_is_replayed_is_in_the_buffer_and_no_letter_any_more() {
        let (push, buffer) = testing::push();
        let second = DOCUMENT.replace("0e0f", "0e10");
        let (_dir, letters) = letters(&[DOCUMENT, "no document", &second]);
        let done = push
            .replay("local", &letters, Some(vec![1, 9]))
            .await
            .unwrap();
        assert_eq!(
            done,
            Replayed {
                replayed: 1,
                kept: 0
            }
        );
        assert_eq!(buffer.records().len(), 1);
        let done = push.replay("local", &letters, None).await.unwrap();
        assert_eq!(
            done,
            Replayed {
                replayed: 1,
                kept: 1
            }
        );
        assert_eq!(letters.numbers(), [2]);
        assert_eq!(buffer.records().len(), 2);
    }

    #[tokio::test]
    async fn letters_stay_when_the_buffer_takes_nothing_and_when_they_are_of_another_region() {
        let (push, buffer) = testing::push();
        let (_dir, letters) = letters(&[DOCUMENT]);
        buffer.refuse(|| AppendError::DiskFull);
        let refused = push.replay("local", &letters, None).await;
        assert!(matches!(refused, Err(ReplayError::Buffer(_))));
        let refused = push.replay("other", &letters, None).await;
        assert!(matches!(refused, Err(ReplayError::OtherRegion(_))));
        assert_eq!(letters.numbers(), [1]);
    }
}
