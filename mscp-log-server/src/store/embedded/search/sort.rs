//! In which order hits come: the keys of a sort over the columns of a segment,
//! and the values that compare across segments.

use std::cmp::Ordering;

use mscp_log_core::query::ast::{Order, Scalar, Search, SortKey};
use mscp_log_core::query::date_math::{Formats, Zone};
use serde_json::{Value, json};
use tantivy::columnar::Cardinality;
use tantivy::schema::Schema;
use tantivy::{DocId, SegmentReader};

use super::super::ids::DocumentId;
use super::collect::Found;
use super::columns::Values;
use super::compile::{date_value, scalar_text, wrong_date};
use super::error::EsError;
use super::target::{self, Kind, Target};

/// The order of a search.
pub(crate) struct Plan {
    keys: Vec<Key>,
    /// Keys behind those that were asked for, which hits do not show.
    hidden: usize,
    after: Option<Vec<Raw>>,
    /// Whether hits show their sort values.
    pub(crate) shown: bool,
}

struct Key {
    by: By,
    descending: bool,
    /// What a document without a value has.
    missing: Raw,
    /// What of several values counts.
    pick: Pick,
    format: Option<Formats>,
    /// Dates show nanoseconds.
    nanos: bool,
}

/// Which of several values a document is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    Least,
    Greatest,
    Sum,
    Average,
    Median,
}

enum By {
    Score,
    Position,
    Field(Target),
    /// A field that no document has, of numbers or of texts.
    Unmapped {
        numeric: bool,
    },
}

/// A sort value that compares across segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Raw {
    /// Before all.
    Least,
    /// A number, a date, an id, a score in its order, a position.
    Number(i128),
    /// A string.
    Text(Box<str>),
    /// Behind all.
    Greatest,
}

impl Plan {
    /// The order that `search` asks for.
    pub(crate) fn new(schema: &Schema, search: &Search, now_ms: i64) -> Result<Self, EsError> {
        let by_score = match search.sort.as_slice() {
            [] => true,
            [only] => only.field == "_score" && only.order != Some(Order::Asc),
            _ => false,
        };
        let mut keys = Vec::with_capacity(search.sort.len().max(1));
        if search.sort.is_empty() {
            keys.push(Key {
                by: By::Score,
                descending: true,
                missing: Raw::Least,
                pick: Pick::Greatest,
                format: None,
                nanos: false,
            });
        }
        for key in &search.sort {
            keys.push(Key::new(schema, key, now_ms)?);
        }
        let after = match &search.search_after {
            None => None,
            Some(_) if search.sort.is_empty() => {
                return Err(EsError::illegal_argument(
                    "Sort must contain at least one field.",
                ));
            }
            Some(values) => Some(after_values(&keys, values, now_ms)?),
        };
        if after.is_some() && search.from.unwrap_or(0) > 0 {
            return Err(EsError::invalid_request(
                "Validation Failed: 1: [from] parameter must be set to 0 when [search_after] is used;",
            ));
        }
        Ok(Self {
            shown: !by_score || after.is_some(),
            keys,
            hidden: 0,
            after,
        })
    }

    /// Order what is equal by its place, so that a next page can begin behind
    /// any hit; and begin behind this one.
    pub(crate) fn by_place_at_last(&mut self, after: Option<Vec<Raw>>) {
        self.keys.push(Key {
            by: By::Position,
            nanos: false,
            descending: false,
            missing: Raw::Greatest,
            pick: Pick::Least,
            format: None,
        });
        self.hidden = 1;
        self.after = after;
    }

    /// Where hits are in the order of their places, the first place that has
    /// not been shown.
    pub(crate) fn first_place(&self) -> Option<i128> {
        let first = self.keys.first()?;
        if first.descending || !matches!(first.by, By::Position) {
            return None;
        }
        match self.after.as_deref() {
            Some([Raw::Number(last), ..]) => Some(last + 1),
            _ => Some(0),
        }
    }

    /// The column of the first key and whether it descends, where segments
    /// compare its numbers.
    pub(crate) fn leading(&self) -> Option<(&'static str, bool)> {
        let first = self.keys.first()?;
        match &first.by {
            By::Field(target) if matches!(target.kind, Kind::Long | Kind::Date) => {
                Some((target.column, first.descending))
            }
            _ => None,
        }
    }

    /// Whether documents must be scored to be ordered.
    pub(crate) fn needs_score(&self) -> bool {
        self.keys.iter().any(|key| matches!(key.by, By::Score))
    }

    /// The order of two hits with these values; equal ones keep their places.
    pub(crate) fn compare(&self, left: &[Raw], right: &[Raw]) -> Ordering {
        for (key, (left, right)) in self.keys.iter().zip(left.iter().zip(right)) {
            let order = left.cmp(right);
            if order != Ordering::Equal {
                return if key.descending {
                    order.reverse()
                } else {
                    order
                };
            }
        }
        Ordering::Equal
    }

    /// The order of two hits; equal ones come as they lie.
    pub(crate) fn compare_hits(&self, left: &Found, right: &Found) -> Ordering {
        self.compare(&left.values, &right.values)
            .then_with(|| (left.part, left.address).cmp(&(right.part, right.address)))
    }

    /// The values as a hit shows them.
    pub(crate) fn values(&self, raw: &[Raw], id: &DocumentId) -> Vec<Value> {
        let shown = &self.keys[..self.keys.len() - self.hidden];
        shown
            .iter()
            .zip(raw)
            .map(|(key, raw)| key.value(raw, id))
            .collect()
    }

    /// The first value of a hit as the segments compare it, where segments
    /// compare it without a dictionary.
    pub(crate) fn primary(&self, raw: &[Raw]) -> Option<i128> {
        match raw.first()? {
            Raw::Number(number) => Some(directed(*number, self.keys[0].descending)),
            Raw::Least | Raw::Text(_) | Raw::Greatest => None,
        }
    }

    /// The least first value that a document of `segment` can have, where that
    /// is known without looking at each. `position` as in [`Plan::open`].
    pub(crate) fn best(
        &self,
        segment: &SegmentReader,
        position: i128,
    ) -> Result<Option<i128>, EsError> {
        let Some(first) = self.keys.first() else {
            return Ok(None);
        };
        let target = match &first.by {
            By::Field(target) if matches!(target.kind, Kind::Long | Kind::Date) => target,
            By::Position if !first.descending => return Ok(Some(position)),
            _ => return Ok(None),
        };
        let Raw::Number(missing) = first.missing else {
            return Ok(None);
        };
        if !matches!(first.pick, Pick::Least | Pick::Greatest) {
            return Ok(None);
        }
        let missing = directed(missing, first.descending);
        let column = segment.fast_fields().i64(target.column)?;
        if column.values.num_vals() == 0 {
            return Ok(Some(missing));
        }
        let end = if first.descending {
            column.max_value()
        } else {
            column.min_value()
        };
        let best = directed(i128::from(end), first.descending);
        Ok(Some(if column.get_cardinality() == Cardinality::Full {
            best
        } else {
            best.min(missing)
        }))
    }

    /// The keys over one segment. `position` is what `_doc` gives for its first document.
    pub(crate) fn open(
        &self,
        segment: &SegmentReader,
        position: i128,
    ) -> Result<SegmentKeys<'_>, EsError> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for (place, key) in self.keys.iter().enumerate() {
            let values = match &key.by {
                By::Field(target) => Some(Values::open(segment, target)?),
                By::Score | By::Position | By::Unmapped { .. } => None,
            };
            let missing = local(values.as_ref(), &key.missing)?;
            let after = match &self.after {
                Some(after) => Some(directed(
                    local(values.as_ref(), &after[place])?,
                    key.descending,
                )),
                None => None,
            };
            // Two texts between the same two of a segment have one rank there.
            let tie = match (&key.missing, self.after.as_ref().map(|after| &after[place])) {
                (Raw::Text(missing_text), Some(Raw::Text(after_text)))
                    if after == Some(directed(missing, key.descending)) =>
                {
                    let order = missing_text.cmp(after_text);
                    if key.descending {
                        order.reverse()
                    } else {
                        order
                    }
                }
                _ => Ordering::Equal,
            };
            keys.push(SegmentKey {
                key,
                values,
                missing,
                after,
                tie,
            });
        }
        Ok(SegmentKeys { keys, position })
    }
}

/// The keys of a sort over one segment.
pub(crate) struct SegmentKeys<'a> {
    keys: Vec<SegmentKey<'a>>,
    position: i128,
}

struct SegmentKey<'a> {
    key: &'a Key,
    values: Option<Values>,
    missing: i128,
    after: Option<i128>,
    /// How what is missing lies to `after` where both have the same rank.
    tie: Ordering,
}

impl SegmentKeys<'_> {
    /// The value of a key for a document; less comes first.
    pub(crate) fn value(&self, key: usize, doc: DocId, score: f32) -> i128 {
        let this = &self.keys[key];
        let raw = match (&this.key.by, &this.values) {
            (By::Score, _) => score_rank(score),
            (By::Position, _) => self.position + i128::from(doc),
            (_, Some(values)) => of_document(values, doc, this.key.pick).unwrap_or(this.missing),
            (_, None) => this.missing,
        };
        directed(raw, this.key.descending)
    }

    /// The first value of the last hit of the page before.
    pub(crate) fn after(&self) -> Option<i128> {
        self.keys.first()?.after
    }

    /// The order of two documents by all keys but the first.
    pub(crate) fn compare_rest(&self, left: (DocId, f32), right: (DocId, f32)) -> Ordering {
        for key in 1..self.keys.len() {
            let order = self
                .value(key, left.0, left.1)
                .cmp(&self.value(key, right.0, right.1));
            if order != Ordering::Equal {
                return order;
            }
        }
        left.0.cmp(&right.0)
    }

    /// Whether a document lies behind the last one of the page before.
    pub(crate) fn is_after(&self, primary: i128, doc: DocId, score: f32) -> bool {
        for (place, key) in self.keys.iter().enumerate() {
            let Some(after) = key.after else {
                return true;
            };
            let value = if place == 0 {
                primary
            } else {
                self.value(place, doc, score)
            };
            match value.cmp(&after) {
                Ordering::Less => return false,
                Ordering::Greater => return true,
                Ordering::Equal if key.tie == Ordering::Equal => {}
                Ordering::Equal => return key.tie == Ordering::Greater,
            }
        }
        false
    }

    /// All values of a document in the form that compares across segments.
    pub(crate) fn raw(&self, doc: DocId, score: f32) -> Result<Vec<Raw>, EsError> {
        self.keys
            .iter()
            .map(|this| {
                Ok(match (&this.key.by, &this.values) {
                    (By::Score, _) => Raw::Number(score_rank(score)),
                    (By::Position, _) => Raw::Number(self.position + i128::from(doc)),
                    (_, None) => this.key.missing.clone(),
                    (_, Some(values)) => match of_document(values, doc, this.key.pick) {
                        None => this.key.missing.clone(),
                        Some(place) => match values {
                            Values::Keywords(keywords) => {
                                let place = u64::try_from((place - 1) / 2).unwrap_or(u64::MAX);
                                Raw::Text(keywords.text(place)?.into())
                            }
                            _ => Raw::Number(place),
                        },
                    },
                })
            })
            .collect()
    }
}

impl Key {
    fn new(schema: &Schema, key: &SortKey, now_ms: i64) -> Result<Self, EsError> {
        let by = match key.field.as_str() {
            "_score" => By::Score,
            "_doc" | "_shard_doc" => By::Position,
            name => match target::resolve(schema, name) {
                Some(target) if target.kind == Kind::Text => return Err(no_columns(name)),
                Some(target) if target.kind == Kind::AnyKey => return Err(only_keys(name)),
                Some(target) => By::Field(target),
                None if key.unmapped_type.as_deref() == Some("text") => {
                    return Err(no_columns(name));
                }
                None if key.unmapped_type.is_some() => {
                    let kind = key.unmapped_type.as_deref().unwrap_or_default();
                    check_type(kind)?;
                    By::Unmapped {
                        numeric: NUMBERS.contains(&kind),
                    }
                }
                None => {
                    return Err(EsError::query_shard(format!(
                        "No mapping found for [{name}] in order to sort on"
                    )));
                }
            },
        };
        let default = if matches!(by, By::Score) {
            Order::Desc
        } else {
            Order::Asc
        };
        let descending = key.order.unwrap_or(default) == Order::Desc;
        check_mode(key, &by)?;
        let nanos = shows_nanos(key, &by)?;
        let numeric = match &by {
            By::Field(target) => matches!(target.kind, Kind::Long | Kind::Date),
            By::Unmapped { numeric } => *numeric,
            By::Score | By::Position => true,
        };
        let first = match &key.missing {
            None => false,
            Some(Scalar::String(text)) if text == "_last" => false,
            Some(Scalar::String(text)) if text == "_first" => true,
            Some(value) => {
                let missing = match missing_value(&by, value, now_ms)? {
                    Raw::Number(given) if nanos => {
                        Raw::Number(given.div_euclid(i128::from(NANOS_PER_MS)))
                    }
                    given => given,
                };
                return Self::with_missing(by, descending, missing, key, nanos);
            }
        };
        // First in a descending order is the greatest.
        let missing = match (numeric, first == descending) {
            (true, true) => Raw::Number(i128::from(i64::MAX)),
            // There are no nanoseconds before 1970.
            (true, false) if nanos => Raw::Number(0),
            (true, false) => Raw::Number(i128::from(i64::MIN)),
            (false, true) => Raw::Greatest,
            (false, false) => Raw::Least,
        };
        Self::with_missing(by, descending, missing, key, nanos)
    }

    fn with_missing(
        by: By,
        descending: bool,
        missing: Raw,
        key: &SortKey,
        nanos: bool,
    ) -> Result<Self, EsError> {
        let pick = match key.mode.as_deref() {
            Some("min") => Pick::Least,
            Some("max") => Pick::Greatest,
            Some("sum") => Pick::Sum,
            Some("avg") => Pick::Average,
            Some("median") => Pick::Median,
            _ if descending => Pick::Greatest,
            _ => Pick::Least,
        };
        let format = match &key.format {
            Some(format) => format_of(&by, key, format)?,
            None => None,
        };
        Ok(Self {
            by,
            descending,
            missing,
            pick,
            format,
            nanos,
        })
    }

    fn value(&self, raw: &Raw, id: &DocumentId) -> Value {
        match (raw, &self.by) {
            (Raw::Least | Raw::Greatest, _) => Value::Null,
            (Raw::Text(text), _) => json!(text),
            (Raw::Number(rank), By::Score) => json!(super::fetch::short(score_of(*rank))),
            (Raw::Number(_), By::Field(target)) if target.kind == Kind::Id => {
                json!(id.to_string())
            }
            (Raw::Number(number), by) => {
                let number = i64::try_from(*number).unwrap_or(i64::MAX);
                match (&self.format, by) {
                    (Some(format), By::Field(_) | By::Unmapped { .. }) => {
                        json!(format.write(number, &Zone::default()))
                    }
                    (None, _) if self.nanos => json!(number.saturating_mul(NANOS_PER_MS)),
                    _ => json!(number),
                }
            }
        }
    }
}

/// The format of a key's values, which only dates have.
fn format_of(by: &By, key: &SortKey, format: &str) -> Result<Option<Formats>, EsError> {
    let refused = match by {
        By::Field(target) => match target.kind {
            Kind::Date => None,
            Kind::Long => Some("require a date_time formatter; got [decimal]".to_owned()),
            _ => Some(format!(
                "Field [{}] of type [keyword] does not support custom formats",
                key.field
            )),
        },
        By::Unmapped { .. } if key.unmapped_type.as_deref() == Some("date") => None,
        By::Unmapped { .. } | By::Score | By::Position => return Ok(None),
    };
    match refused {
        Some(reason) => Err(EsError::illegal_argument(reason)),
        None => Formats::parse(format)
            .map(Some)
            .map_err(|error| wrong_date(&error)),
    }
}

/// Nanoseconds of a millisecond.
const NANOS_PER_MS: i64 = 1_000_000;

/// The error for sorting or aggregating by all keys of a flattened field.
pub(crate) fn only_keys(field: &str) -> EsError {
    EsError::illegal_argument(format!(
        "Can only sort and aggregate on the keys of [{field}], such as [{field}.key]"
    ))
}

/// Types of fields that are sorted as whole numbers.
const NUMBERS: [&str; 6] = ["long", "integer", "short", "byte", "date", "date_nanos"];

/// Whether there is such a type of field.
fn check_type(name: &str) -> Result<(), EsError> {
    let known = [
        "boolean",
        "byte",
        "constant_keyword",
        "date",
        "date_nanos",
        "double",
        "flattened",
        "float",
        "half_float",
        "integer",
        "ip",
        "keyword",
        "long",
        "scaled_float",
        "short",
        "text",
        "unsigned_long",
        "version",
        "wildcard",
    ];
    if known.contains(&name) {
        return Ok(());
    }
    Err(EsError::illegal_argument(format!(
        "No mapper found for type [{name}]"
    )))
}

/// Only numbers can be put together.
fn check_mode(key: &SortKey, by: &By) -> Result<(), EsError> {
    if !matches!(key.mode.as_deref(), Some("sum" | "avg" | "median")) {
        return Ok(());
    }
    match by {
        By::Field(target) if !matches!(target.kind, Kind::Long | Kind::Date) => Err(
            EsError::query_shard("we only support AVG, MEDIAN and SUM on number based fields"),
        ),
        By::Unmapped { .. }
            if matches!(
                key.unmapped_type.as_deref(),
                Some("keyword" | "ip" | "flattened" | "constant_keyword" | "version" | "wildcard")
            ) =>
        {
            Err(EsError::query_shard(
                "we only support AVG, MEDIAN and SUM on number based fields",
            ))
        }
        By::Field(_) | By::Score | By::Position | By::Unmapped { .. } => Ok(()),
    }
}

/// Whether `numeric_type` makes nanoseconds of a date.
fn shows_nanos(key: &SortKey, by: &By) -> Result<bool, EsError> {
    let By::Field(target) = by else {
        return Ok(false);
    };
    match (key.numeric_type.as_deref(), &target.kind) {
        (None | Some("long" | "double"), Kind::Long) | (None | Some("date"), Kind::Date) => {
            Ok(false)
        }
        (Some("date_nanos"), Kind::Date) => Ok(true),
        (None, _) => Ok(false),
        (Some(other), _) => Err(EsError::illegal_argument(format!(
            "the numeric_type [{other}] is not supported on [{}]",
            key.field
        ))),
    }
}

/// The value that a sort gives documents without one: numbers and dates take
/// numbers only.
fn missing_value(by: &By, value: &Scalar, now_ms: i64) -> Result<Raw, EsError> {
    let numeric = match by {
        By::Field(target) => matches!(target.kind, Kind::Date | Kind::Long),
        By::Unmapped { numeric } => *numeric,
        By::Score | By::Position => false,
    };
    if let Scalar::String(text) = value
        && numeric
        && text.parse::<i64>().is_err()
    {
        return Err(EsError::not_a_number(text));
    }
    raw_of(by, value, now_ms)
}

/// The error for sorting or aggregating where there are no columns.
pub(crate) fn no_columns(field: &str) -> EsError {
    EsError::illegal_argument(format!(
        "Fielddata is disabled on [{field}] in [logstash-*]. Text fields are not optimised for operations that require per-document field data like aggregations and sorting, so these operations are disabled by default. Please use a keyword field instead. Alternatively, set fielddata=true on [{field}] in order to load field data by uninverting the inverted index. Note that this can use significant memory."
    ))
}

fn after_values(keys: &[Key], values: &[Scalar], now_ms: i64) -> Result<Vec<Raw>, EsError> {
    if values.len() != keys.len() {
        return Err(EsError::illegal_argument(format!(
            "search_after has {} value(s) but sort has {}.",
            values.len(),
            keys.len()
        )));
    }
    keys.iter()
        .zip(values)
        .map(|(key, value)| match (value, &key.format) {
            // Before all others, where what is missing has a text of its own.
            (Scalar::Null, _) if matches!(key.missing, Raw::Text(_)) => Ok(match key.descending {
                true => Raw::Greatest,
                false => Raw::Least,
            }),
            (Scalar::Null, _) => Ok(key.missing.clone()),
            (Scalar::Number(number), None) if key.nanos => match number.0.parse::<i64>() {
                Ok(nanos) => Ok(Raw::Number(i128::from(nanos.div_euclid(NANOS_PER_MS)))),
                Err(_) => raw_of(&key.by, value, now_ms),
            },
            (Scalar::String(text), Some(format)) => format
                .read(text, &Zone::default(), false)
                .map(|ms| Raw::Number(i128::from(ms)))
                .map_err(|error| EsError::illegal_argument(error.to_string())),
            _ => raw_of(&key.by, value, now_ms),
        })
        .collect()
}

/// A value that was written, as the key's documents have it.
fn raw_of(by: &By, value: &Scalar, now_ms: i64) -> Result<Raw, EsError> {
    let text = scalar_text(value);
    let whole = || {
        text.parse::<i64>()
            .map(|number| Raw::Number(i128::from(number)))
            .map_err(|_| EsError::illegal_argument(format!("For input string: \"{text}\"")))
    };
    Ok(match by {
        By::Score => {
            let score: f32 = text
                .parse()
                .map_err(|_| EsError::illegal_argument(format!("For input string: \"{text}\"")))?;
            Raw::Number(score_rank(score))
        }
        By::Position => whole()?,
        By::Unmapped { numeric: true } => whole()?,
        By::Unmapped { numeric: false } => Raw::Text(text.into()),
        By::Field(target) => match target.kind {
            Kind::Long => whole()?,
            Kind::Date => match value {
                Scalar::Number(_) => whole()?,
                _ => Raw::Number(i128::from(date_value(value, now_ms, false)?)),
            },
            Kind::Id => Raw::Number(id_rank(DocumentId::new(&text).key())),
            Kind::Keyword | Kind::Key(_) | Kind::AnyKey | Kind::Text => Raw::Text(text.into()),
        },
    })
}

/// The value of a document: numbers as they are, strings by twice their place
/// and one, so that a string that is not there has a place between.
fn of_document(values: &Values, doc: DocId, pick: Pick) -> Option<i128> {
    match values {
        Values::Nothing => None,
        Values::Ids(column) => Some(id_rank(column.key(doc))),
        Values::Numbers(column) if !column.get_cardinality().is_multivalue() => {
            column.first(doc).map(i128::from)
        }
        Values::Numbers(column) => {
            let mut all = column.values_for_doc(doc);
            let first = all.next()?;
            let value = match pick {
                Pick::Greatest => all.fold(first, i64::max),
                Pick::Least => all.fold(first, i64::min),
                Pick::Sum | Pick::Average | Pick::Median => {
                    let mut numbers: Vec<i64> = std::iter::once(first).chain(all).collect();
                    together(&mut numbers, pick)
                }
            };
            Some(i128::from(value))
        }
        Values::Keywords(keywords) => {
            let all = keywords.of(doc);
            let place = if pick == Pick::Greatest {
                all.max()?
            } else {
                all.min()?
            };
            Some(2 * i128::from(place) + 1)
        }
    }
}

/// Several numbers as one, rounded as Java rounds.
fn together(numbers: &mut [i64], pick: Pick) -> i64 {
    let round = |value: f64| (value + 0.5).floor() as i64;
    match pick {
        Pick::Median => {
            numbers.sort_unstable();
            let middle = numbers.len() / 2;
            if numbers.len() % 2 == 1 {
                return numbers[middle];
            }
            round((numbers[middle - 1] as f64 + numbers[middle] as f64) / 2.0)
        }
        Pick::Average => {
            let sum = numbers.iter().fold(0_i64, |sum, n| sum.wrapping_add(*n));
            round(sum as f64 / numbers.len() as f64)
        }
        _ => numbers.iter().fold(0, |sum: i64, n| sum.wrapping_add(*n)),
    }
}

/// `raw` as the segment's documents compare with it.
pub(crate) fn local(values: Option<&Values>, raw: &Raw) -> Result<i128, EsError> {
    Ok(match raw {
        Raw::Least => i128::MIN,
        Raw::Greatest => i128::MAX,
        Raw::Number(number) => *number,
        Raw::Text(text) => match values {
            Some(Values::Keywords(keywords)) => {
                let (place, exact) = keywords.place(text)?;
                2 * i128::from(place) + i128::from(exact)
            }
            _ => 0,
        },
    })
}

pub(crate) fn directed(value: i128, descending: bool) -> i128 {
    if descending { !value } else { value }
}

/// Ids are unsigned; they keep their order as signed numbers.
pub(crate) fn id_rank(key: u128) -> i128 {
    (key ^ (1 << 127)) as i128
}

/// Scores in the order of their bits.
fn score_rank(score: f32) -> i128 {
    let bits = score.to_bits() as i32;
    i128::from(bits ^ (((bits >> 31) as u32) >> 1) as i32)
}

fn score_of(rank: i128) -> f32 {
    let bits = i32::try_from(rank).unwrap_or_default();
    f32::from_bits((bits ^ (((bits >> 31) as u32) >> 1) as i32) as u32)
}
