//! The documents: days of a platform, from a seed.

use std::time::{SystemTime, UNIX_EPOCH};

use mscp_log_tests::generate::Generator;

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// Documents that are the same each time they are made.
pub(crate) struct Corpus {
    seed: u64,
    lines: Vec<String>,
    records: usize,
    pub(crate) days: u32,
    /// The first microsecond of the days that they are of.
    pub(crate) from_us: i64,
}

impl Corpus {
    /// `records` documents over the whole of the last `days` days but today.
    pub(crate) fn new(seed: u64, lines: Vec<String>, records: usize, days: u32) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        Self {
            seed,
            lines,
            records,
            days,
            from_us: (now_us.div_euclid(DAY_US) - i64::from(days)) * DAY_US,
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn generator(&self) -> Generator {
        let count = i64::try_from(self.records).unwrap_or(i64::MAX).max(1);
        // A little less than the days hold, as the gaps are drawn.
        let gap_us = (i64::from(self.days) * DAY_US / 1_000 * 995 / count).max(1);
        Generator::new(self.seed, self.lines.clone(), self.from_us).every(gap_us)
    }

    /// Hand the bodies of `_bulk` requests over, `per_body` documents each;
    /// the bytes of all together.
    pub(crate) fn bodies(&self, per_body: usize, mut each: impl FnMut(String)) -> u64 {
        let mut generator = self.generator();
        let mut bytes = 0;
        let mut left = self.records;
        while left > 0 {
            let count = left.min(per_body);
            left -= count;
            let mut body = String::with_capacity(count * 640);
            for _ in 0..count {
                let (index, id, document) = generator.document();
                // One index a day: what serves an engine best.
                let day = index.get(index.len() - 10..).unwrap_or_default();
                let head = format!(
                    "{{\"create\":{{\"_index\":\"logstash-bench-{day}\",\"_id\":\"{id}\"}}}}\n"
                );
                body.push_str(&head);
                body.push_str(&document.to_string());
                body.push('\n');
            }
            bytes += body.len() as u64;
            each(body);
        }
        bytes
    }
}
