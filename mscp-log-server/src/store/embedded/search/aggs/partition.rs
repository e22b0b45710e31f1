//! Which part of all terms a term belongs to, for `include` by partition. The
//! hashes are Elasticsearch's, so that a client that goes on elsewhere gets
//! the same parts.

/// The seed with which Lucene hashes the terms.
const SEED: u32 = 31;

/// One part of so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partition {
    pub(super) part: i64,
    pub(super) of: i64,
}

impl Partition {
    pub(super) fn has_text(self, term: &str) -> bool {
        let hash = i64::from(murmur3(term.as_bytes(), SEED) as i32);
        hash.rem_euclid(self.of) == self.part
    }

    pub(super) fn has_number(self, number: i64) -> bool {
        mix(number).rem_euclid(self.of) == self.part
    }
}

/// MurmurHash3, the variant of 32 bits (public domain, Austin Appleby).
fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mut hash = seed;
    let blocks = bytes.chunks_exact(4);
    let tail = blocks.remainder();
    let scramble = |word: u32| word.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    for block in blocks {
        let word = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        hash = (hash ^ scramble(word))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let last = tail
        .iter()
        .rev()
        .fold(0, |word: u32, byte| word << 8 | u32::from(*byte));
    hash ^= scramble(last) ^ bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// The mixing of long numbers.
fn mix(number: i64) -> i64 {
    let mut mixed = number as u64;
    mixed = (mixed ^ mixed >> 32).wrapping_mul(0x4cd6_944c_5cc2_0b6d);
    mixed = (mixed ^ mixed >> 29).wrapping_mul(0xfc12_c5b1_9d32_59e9);
    (mixed ^ mixed >> 32) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_fall_into_the_parts_that_elasticsearch_gives_them() {
        let part = |term: &str| (0..5).find(|part| Partition { part: *part, of: 5 }.has_text(term));
        for pod in [0, 1, 2, 8, 10, 12, 13, 15, 16, 19, 20, 22] {
            assert_eq!(part(&format!("pod-{pod}")), Some(0), "pod-{pod}");
        }
        for pod in [3, 4, 5, 6, 7, 9, 11, 14, 17, 18, 21] {
            assert_ne!(part(&format!("pod-{pod}")), Some(0), "pod-{pod}");
        }
        let one = Partition { part: 1, of: 20 };
        assert!(
            [2, -341, -190]
                .into_iter()
                .all(|number| one.has_number(number))
        );
        assert!(
            ![0, 1, 3, 4, 5, 6]
                .into_iter()
                .any(|number| one.has_number(number))
        );
    }
}
