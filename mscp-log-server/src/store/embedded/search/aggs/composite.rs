//! `composite`: buckets by several values at once, in their order, a page at a
//! time.
//!
//! A page has few of very many buckets, so a segment keeps only the first
//! `size` behind `after`. That is exact: a bucket that is left out has `size`
//! others before it, and they stay.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use mscp_log_core::query::ast::{self, CompositeKind, CompositeSource, Order, Scalar};
use serde_json::{Value, json};
use tantivy::{DocId, SegmentReader};

use super::super::columns::Values;
use super::super::compile::{Compiler, scalar_text};
use super::super::error::EsError;
use super::super::shape::Shape;
use super::super::sort::{Raw, directed, id_rank, local};
use super::super::target::{Kind as FieldKind, Target};
use super::plan::{column, formats, numeric, zone};
use super::rounding::{Remembered, Rounding};
use super::table::Budget;

/// Buckets where nothing is said.
const DEFAULT_SIZE: u64 = 10;

/// Bytes of a bucket besides its key's values.
const BUCKET_BYTES: usize = 64;

/// What is asked for.
pub(super) struct Composite {
    pub(super) size: usize,
    sources: Vec<Source>,
    after: Option<Vec<Raw>>,
}

struct Source {
    name: String,
    field: Option<Target>,
    cut: Cut,
    descending: bool,
    /// What documents without a value have; `None` leaves them out.
    missing: Option<Raw>,
    shape: Shape,
}

/// How the values of a source become those of a key.
enum Cut {
    Values,
    /// The begin in milliseconds.
    Dates(Rounding),
    /// The bucket's number: it begins at so many times the width.
    Numbers(f64),
}

impl Composite {
    pub(super) fn new(
        compiler: &Compiler<'_>,
        name: &str,
        asked: &ast::Composite,
        max_buckets: usize,
    ) -> Result<Self, EsError> {
        let size = usize::try_from(asked.size.unwrap_or(DEFAULT_SIZE)).unwrap_or(usize::MAX);
        if size > max_buckets {
            return Err(EsError::too_many_buckets(max_buckets));
        }
        let mut sources = Vec::with_capacity(asked.sources.len());
        for (name, source) in &asked.sources {
            sources.push(Source::new(compiler, name, source)?);
        }
        let after = match &asked.after {
            Some(values) => Some(after(name, &sources, values)?),
            None => None,
        };
        Ok(Self {
            size,
            sources,
            after,
        })
    }

    /// The order of two keys.
    pub(super) fn compare(&self, left: &[Raw], right: &[Raw]) -> Ordering {
        let pairs = left.iter().zip(right);
        for (source, (left, right)) in self.sources.iter().zip(pairs) {
            let order = match left.cmp(right) {
                order if source.descending => order.reverse(),
                order => order,
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }

    fn is_after(&self, key: &[Raw]) -> bool {
        self.after
            .as_deref()
            .is_none_or(|after| self.compare(key, after) == Ordering::Greater)
    }

    /// A key as an answer shows it.
    pub(super) fn key(&self, key: &[Raw]) -> Value {
        let values = self.sources.iter().zip(key);
        Value::Object(
            values
                .map(|(source, raw)| (source.name.clone(), source.value(raw)))
                .collect(),
        )
    }
}

impl Source {
    fn new(compiler: &Compiler<'_>, name: &str, source: &CompositeSource) -> Result<Self, EsError> {
        let mut shape = Shape::Plain;
        let (field, cut) = match &source.kind {
            CompositeKind::Terms { field } => (column(compiler, field)?, Cut::Values),
            CompositeKind::Histogram { field, interval } => {
                let width = interval
                    .0
                    .parse()
                    .map_err(|_| EsError::number_format(&interval.0))?;
                (numeric(compiler, field, "histogram")?, Cut::Numbers(width))
            }
            CompositeKind::DateHistogram(histogram) => {
                let zone = zone(histogram.time_zone.as_deref())?;
                if let Some(format) = &histogram.format {
                    shape = Shape::Dates(formats(Some(format))?, zone);
                }
                let field = numeric(compiler, &histogram.field, "date_histogram")?;
                (field, Cut::Dates(Rounding::new(histogram, zone)?))
            }
        };
        let descending = source.order == Some(Order::Desc);
        let first = match source.missing_order.as_deref() {
            Some("first") => true,
            Some("last") => false,
            _ => !descending,
        };
        let missing = if first == descending {
            Raw::Greatest
        } else {
            Raw::Least
        };
        Ok(Self {
            name: name.to_owned(),
            field,
            cut,
            descending,
            missing: (source.missing_bucket == Some(true)).then_some(missing),
            shape,
        })
    }

    fn is_text(&self) -> bool {
        matches!(self.cut, Cut::Values)
            && !self
                .field
                .as_ref()
                .is_some_and(|field| matches!(field.kind, FieldKind::Long | FieldKind::Date))
    }

    fn value(&self, raw: &Raw) -> Value {
        match raw {
            Raw::Least | Raw::Greatest => Value::Null,
            Raw::Text(text) => json!(text),
            Raw::Number(number) => {
                let number = i64::try_from(*number).unwrap_or(i64::MAX);
                match &self.cut {
                    Cut::Numbers(width) => json!(number as f64 * width),
                    Cut::Dates(_) | Cut::Values => match self.shape.text(number) {
                        Some(text) => json!(text),
                        None => json!(number),
                    },
                }
            }
        }
    }

    /// A value of `after`; the error is why it cannot be one.
    fn after(&self, value: &Scalar) -> Result<Raw, String> {
        let text = scalar_text(value);
        if self.is_text() {
            return match value {
                Scalar::String(text) => Ok(Raw::Text(text.as_str().into())),
                Scalar::Bool(_) => Err("invalid value, expected string, got Boolean".to_owned()),
                // A field that no document has takes any value.
                _ if self.field.is_none() => Ok(Raw::Text(text.into())),
                _ => Err("invalid value, expected string, got Integer".to_owned()),
            };
        }
        if let (Shape::Dates(formats, zone), Scalar::String(text)) = (&self.shape, value) {
            return formats
                .read(text, zone, false)
                .map(|ms| Raw::Number(i128::from(ms)))
                .map_err(|error| error.to_string());
        }
        let wrong = || format!("For input string: \"{text}\"");
        if let Cut::Numbers(width) = self.cut {
            let number: f64 = text.parse().map_err(|_| wrong())?;
            return Ok(Raw::Number((number / width).floor() as i128));
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(Raw::Number(i128::from(number)));
        }
        match (value, text.parse::<f64>()) {
            (Scalar::Number(_), Ok(number)) => Ok(Raw::Number(number as i128)),
            _ => Err(wrong()),
        }
    }
}

fn after(name: &str, sources: &[Source], values: &[(String, Scalar)]) -> Result<Vec<Raw>, EsError> {
    if values.len() != sources.len() {
        return Err(EsError::illegal_argument(format!(
            "[after] has {} value(s) but [sources] has {}",
            values.len(),
            sources.len()
        )));
    }
    let mut after = Vec::with_capacity(sources.len());
    for (place, source) in sources.iter().enumerate() {
        let of = &source.name;
        let Some((_, value)) = values.iter().find(|(name, _)| name == of) else {
            return Err(EsError::illegal_argument(format!(
                "Missing value for [after.{of}]"
            )));
        };
        after.push(match (value, &source.missing) {
            (Scalar::Null, Some(missing)) => missing.clone(),
            (Scalar::Null, None) => {
                return Err(EsError::illegal_argument(format!(
                    "Invalid value for [after.{of}], expected comparable, got [null]"
                )));
            }
            (value, _) => source.after(value).map_err(|reason| {
                EsError::date_format(format!(
                    "Cannot set after key in the composite aggregation [{name}] - incompatible value in the position {place}: {reason}"
                ))
            })?,
        });
    }
    Ok(after)
}

/// The buckets of a page in one segment. Values are numbers that compare as
/// the key does: places of strings in their dictionary, turned where the order
/// descends.
pub(super) struct Composing<'a> {
    plan: &'a Composite,
    sources: Vec<Opened<'a>>,
    after: Option<Box<[i128]>>,
    /// Ids have no places: their texts by the number that stands for them.
    ids: HashMap<i128, Box<str>>,
    slots: BTreeMap<Box<[i128]>, u32>,
    last: Option<(Box<[i128]>, u32)>,
    counts: Vec<u64>,
    /// A key and where it is taken from, for the document at hand.
    key: Vec<i128>,
    at: Vec<usize>,
}

struct Opened<'a> {
    source: &'a Source,
    values: Values,
    remembered: Option<Remembered<'a>>,
    missing: Option<i128>,
    /// The values of the document at hand.
    found: Vec<i128>,
}

impl<'a> Composing<'a> {
    pub(super) fn open(plan: &'a Composite, segment: &SegmentReader) -> Result<Self, EsError> {
        let mut sources = Vec::with_capacity(plan.sources.len());
        for source in &plan.sources {
            let values = match &source.field {
                Some(target) => Values::open(segment, target)?,
                None => Values::Nothing,
            };
            let missing = source.missing.as_ref().map(|raw| match raw {
                Raw::Greatest => i128::MAX,
                _ => i128::MIN,
            });
            sources.push(Opened {
                source,
                remembered: match &source.cut {
                    Cut::Dates(rounding) => Some(Remembered::new(rounding)),
                    Cut::Values | Cut::Numbers(_) => None,
                },
                missing: missing.map(|value| directed(value, source.descending)),
                values,
                found: Vec::new(),
            });
        }
        let has_ids = sources
            .iter()
            .any(|opened| matches!(opened.values, Values::Ids(_)));
        let after = match &plan.after {
            // The numbers of ids are not in the order of their texts.
            Some(after) if !has_ids => Some(
                sources
                    .iter()
                    .zip(after)
                    .map(|(opened, raw)| {
                        let value = local(Some(&opened.values), raw)?;
                        Ok(directed(value, opened.source.descending))
                    })
                    .collect::<Result<_, EsError>>()?,
            ),
            _ => None,
        };
        Ok(Self {
            plan,
            key: vec![0; sources.len()],
            at: vec![0; sources.len()],
            sources,
            after,
            ids: HashMap::new(),
            slots: BTreeMap::new(),
            last: None,
            counts: Vec::new(),
        })
    }

    /// Count a document in each bucket that it belongs to.
    pub(super) fn count(
        &mut self,
        doc: DocId,
        budget: &mut Budget,
        mut each: impl FnMut(u32),
    ) -> Result<(), EsError> {
        for opened in &mut self.sources {
            opened.read(doc, &mut self.ids, budget)?;
            if opened.found.is_empty() {
                return Ok(());
            }
        }
        self.at.fill(0);
        // The keys come in their order, so what is behind the page ends it.
        loop {
            for (place, opened) in self.sources.iter().enumerate() {
                self.key[place] = opened.found[self.at[place]];
            }
            match self.bucket(budget)? {
                Where::Before => {}
                Where::Bucket(bucket) => {
                    self.counts[bucket as usize] += 1;
                    each(bucket);
                }
                Where::Behind => return Ok(()),
            }
            let mut place = self.sources.len();
            loop {
                let Some(before) = place.checked_sub(1) else {
                    return Ok(());
                };
                place = before;
                self.at[place] += 1;
                if self.at[place] < self.sources[place].found.len() {
                    break;
                }
                self.at[place] = 0;
            }
        }
    }

    fn bucket(&mut self, budget: &mut Budget) -> Result<Where, EsError> {
        let key = self.key.as_slice();
        if let Some((last, bucket)) = &self.last
            && **last == *key
        {
            return Ok(Where::Bucket(*bucket));
        }
        if self.after.as_deref().is_some_and(|after| key <= after) {
            return Ok(Where::Before);
        }
        if let Some(bucket) = self.slots.get(key) {
            self.last = Some((key.into(), *bucket));
            return Ok(Where::Bucket(*bucket));
        }
        if self.ids.is_empty() && self.slots.len() == self.plan.size {
            match self.slots.last_key_value() {
                Some((worst, _)) if key < &**worst => {
                    self.slots.pop_last();
                }
                _ => return Ok(Where::Behind),
            }
        }
        budget.take(BUCKET_BYTES + size_of_val(key))?;
        let bucket = self.counts.len() as u32;
        self.counts.push(0);
        self.slots.insert(key.into(), bucket);
        self.last = Some((key.into(), bucket));
        Ok(Where::Bucket(bucket))
    }

    /// How many buckets were ever made.
    pub(super) fn made(&self) -> usize {
        self.counts.len()
    }

    /// The buckets of the page: keys, numbers and documents.
    pub(super) fn found(&self) -> Result<Vec<(Vec<Raw>, usize, u64)>, EsError> {
        let mut found = Vec::with_capacity(self.slots.len());
        for (key, slot) in &self.slots {
            let key = self
                .sources
                .iter()
                .zip(key)
                .map(|(opened, value)| self.raw(opened, *value))
                .collect::<Result<Vec<Raw>, EsError>>()?;
            if self.plan.is_after(&key) {
                let slot = *slot as usize;
                found.push((key, slot, self.counts[slot]));
            }
        }
        Ok(found)
    }

    fn raw(&self, opened: &Opened<'_>, value: i128) -> Result<Raw, EsError> {
        let value = directed(value, opened.source.descending);
        Ok(match (&opened.values, value) {
            (_, i128::MIN) => Raw::Least,
            (_, i128::MAX) => Raw::Greatest,
            (Values::Keywords(keywords), place) => {
                let place = u64::try_from((place - 1) / 2).unwrap_or(u64::MAX);
                Raw::Text(keywords.text(place)?.into())
            }
            (Values::Ids(_), number) => {
                Raw::Text(self.ids.get(&number).cloned().unwrap_or_default())
            }
            (_, number) => Raw::Number(number),
        })
    }
}

enum Where {
    /// Not behind `after`.
    Before,
    Bucket(u32),
    /// Not on this page, and nor is what follows.
    Behind,
}

impl Opened<'_> {
    fn read(
        &mut self,
        doc: DocId,
        ids: &mut HashMap<i128, Box<str>>,
        budget: &mut Budget,
    ) -> Result<(), EsError> {
        let (found, descending) = (&mut self.found, self.source.descending);
        found.clear();
        match &self.values {
            Values::Nothing => {}
            Values::Numbers(column) => {
                for value in column.values_for_doc(doc) {
                    let value = match (&self.source.cut, &mut self.remembered) {
                        (Cut::Numbers(width), _) => (value as f64 / width).floor() as i64,
                        (_, Some(remembered)) => remembered.floor(value),
                        _ => value,
                    };
                    found.push(directed(i128::from(value), descending));
                }
            }
            Values::Keywords(keywords) => {
                let places = keywords.of(doc);
                found.extend(places.map(|p| directed(2 * i128::from(p) + 1, descending)));
            }
            Values::Ids(column) => {
                let number = id_rank(column.key(doc));
                if let std::collections::hash_map::Entry::Vacant(slot) = ids.entry(number) {
                    budget.take(BUCKET_BYTES)?;
                    slot.insert(column.id(doc).to_string().into());
                }
                found.push(directed(number, descending));
            }
        }
        if found.is_empty() {
            found.extend(self.missing);
        }
        found.sort_unstable();
        found.dedup();
        Ok(())
    }
}
