//! Choices from a seed, and the words and values that both the documents and
//! the requests draw from, so that requests find documents.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// A source of choices that is the same for the same seed.
#[derive(Debug)]
pub struct Dice(StdRng);

impl Dice {
    /// The choices of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// A number of `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: u32) -> bool {
        self.0.random_range(0..100) < share
    }

    /// One of `values`, which are not empty.
    pub fn pick<'a, T: ?Sized>(&mut self, values: &[&'a T]) -> &'a T {
        values[self.below(values.len())]
    }

    /// `low` to `high` results of `make`.
    pub fn some<T>(
        &mut self,
        low: usize,
        high: usize,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let count = low + self.below(high - low + 1);
        (0..count).map(|_| make(self)).collect()
    }

    /// Puts `make`'s value under `name` in so many of a hundred cases.
    pub fn maybe(
        &mut self,
        share: u32,
        body: &mut Value,
        name: &str,
        make: impl FnOnce(&mut Self) -> Value,
    ) {
        if self.percent(share) {
            body[name] = make(self);
        }
    }

    /// A word or a few signs of a message, with what makes analysis hard.
    pub fn word(&mut self) -> String {
        match self.below(40) {
            0 => "長".repeat(self.below(6) + 1),
            // A letter more than a token may have, and twice that.
            1 => "x".repeat([254, 255, 256, 511][self.below(4)]),
            2 => format!(
                "{}.{}.{}.{}",
                self.below(256),
                self.below(256),
                self.below(3),
                self.below(3)
            ),
            3 => self.below(100_000).to_string(),
            _ => self.pick(WORDS).to_owned(),
        }
    }

    /// A few words with signs between them.
    pub fn text(&mut self) -> String {
        let words = self.some(0, 8, Self::word);
        let mut text = String::new();
        for word in words {
            if !text.is_empty() {
                text.push_str(self.pick(&[
                    " ", " ", " ", " ", ", ", "-", "_", "/", ": ", "\t", "\n", "",
                ]));
            }
            text.push_str(&word);
        }
        text
    }

    /// A value of a keyword field.
    pub fn name(&mut self) -> String {
        if self.percent(1) {
            return "n".repeat(8_190 + self.below(3));
        }
        self.pick(NAMES).to_owned()
    }

    /// A value that a query asks for. Of the longest ones Lucene makes no
    /// automaton, and refuses the query where there are documents.
    pub fn asked(&mut self) -> String {
        self.pick(NAMES).to_owned()
    }

    /// A field of keywords.
    pub fn keyword(&mut self) -> &'static str {
        self.pick(KEYWORDS)
    }

    /// A number as a field of whole numbers may meet it.
    pub fn number(&mut self) -> Value {
        match self.below(12) {
            0 => json!(i64::MAX),
            1 => json!(i64::MIN),
            2 => json!(0),
            3 => json!(-1),
            4 => json!(9_007_199_254_740_993_i64),
            _ => json!(self.between(-3, 20)),
        }
    }

    /// Microseconds since the epoch within [`DAYS`], of which many are the same.
    pub fn time_us(&mut self) -> i64 {
        let day = self.below(DAYS.len());
        let second = self.between(0, 23) * 3_600 + self.between(0, 3) * 60;
        let fraction = [0, 1, 999, 1_000, 500_000, 999_999][self.below(6)];
        (FIRST_DAY_S + i64::try_from(day).unwrap_or_default() * 86_400 + second) * 1_000_000
            + fraction
    }
}

/// 2026-03-28: the days around the change of the clocks in Europe.
pub const FIRST_DAY_S: i64 = 1_774_656_000;

/// The days of the documents, as index names end.
pub const DAYS: &[&str] = &["2026.03.28", "2026.03.29", "2026.03.30"];

/// Fields of keywords.
pub const KEYWORDS: &[&str] = &[
    "namespace",
    "namespace",
    "pod",
    "level",
    "level",
    "tags",
    "annotation",
    "type",
    "zone",
    "appid",
    "log.file.path",
];

/// Names under `annotations`.
pub const KEYS: &[&str] = &["user", "team", "a.b", "ünï", "n"];

const NAMES: &[&str] = &[
    "a",
    "b",
    "c",
    "default",
    "kube-system",
    "web-1",
    "web-2",
    "Error",
    "error",
    "ERROR",
    "",
    "日志",
    "日",
    "é",
    "e\u{301}",
    "10",
    "9",
    "true",
    "a b",
    "x=y",
    "user=a",
    "*",
    "a*",
    "\\",
    "\"",
    "\u{1F600}",
    "ß",
    "İ",
    "\u{0}",
    "z\u{FFFF}",
    "\u{10FFFF}",
];

const WORDS: &[&str] = &[
    "error",
    "Error",
    "ERROR",
    "errors",
    "eror",
    "timeout",
    "Time-Out",
    "time",
    "out",
    "a",
    "b",
    "the",
    "GET",
    "get",
    "/api/v1/orders",
    "quick",
    "brown",
    "fox",
    "dog's",
    "can\u{2019}t",
    "it''s",
    "3.14",
    "1,024",
    "1.2.3",
    "2026-03-28T10:00:00Z",
    "10:15",
    "user@example.org",
    "key=value",
    "snake_case_name",
    "CamelCase",
    "a.b.c",
    "x-y-z",
    "0x1F",
    "blk_-160899",
    "100%",
    "$5",
    "日志",
    "错误",
    "日",
    "订单已支付",
    "日本語テキスト",
    "カタカナ",
    "ひらがな",
    "한국어",
    "로그",
    "ошибка",
    "Ошибка",
    "ΣΑΣ",
    "σας",
    "İstanbul",
    "ıIiİ",
    "straße",
    "STRASSE",
    "é",
    "e\u{301}",
    "naïve",
    "العربية",
    "עברית",
    "ภาษาไทย",
    "हिन्दी",
    "ລາວ",
    "မြန်မာ",
    "ខ្មែរ",
    "😀",
    "👩\u{200D}👩\u{200D}👧",
    "🇩🇪",
    "👍🏽",
    "1️⃣",
    "©",
    "™",
    "☎",
    "→",
    "…",
    "\u{FEFF}bom",
    "zero\u{200B}width",
    "soft\u{AD}hyphen",
    "no\u{A0}break",
    "\u{0}",
    "𝒳𝓎",
    "ﬁn",
    "Ⅷ",
    "①",
    "²",
    "½",
    "_",
    "__a",
    "a_",
    "-",
    "--flag",
];
