//! Aggregations in the form in which Elasticsearch answers.

use std::cmp::Ordering;
use std::collections::HashMap;

use mscp_log_core::query::ast::Order;
use serde_json::{Map, Value, json};

use super::super::collect::Found;
use super::super::error::EsError;
use super::super::fetch::short;
use super::super::shape::{Shape, double};
use super::super::sort::Raw;
use super::composite::Composite;
use super::keys::{of_rank, rank};
use super::merged::{Bucket, Hits, Key, Merged, Numbers, Partial};
use super::path::Path;
use super::plan::{Buckets, Cut, Kind, Node, Plan, Ranges, Shown, Terms};
use super::table::Budget;
use super::top_hits::TopHits;

/// Fetches documents of `top_hits`, as an answer shows them.
pub(crate) type Fetch<'a> = dyn Fn(&TopHits, &[Found]) -> Result<Vec<Value>, EsError> + 'a;

/// In which form an answer is written.
#[derive(Clone, Copy)]
pub(crate) struct Form<'a> {
    /// Whether names say the type (`typed_keys`).
    pub(crate) typed: bool,
    /// Fetches the documents of `top_hits`.
    pub(crate) fetch: &'a Fetch<'a>,
}

/// The `aggregations` of an answer.
pub(crate) fn render(plan: &Plan, merged: Merged, form: Form<'_>) -> Result<Value, EsError> {
    let mut writer = Writer {
        buckets: 0,
        limit: plan.max_buckets,
        form,
        budget: Budget::new(plan.memory_bytes),
    };
    writer.all(&plan.nodes, merged.parts)
}

struct Writer<'a> {
    buckets: usize,
    limit: usize,
    form: Form<'a>,
    /// For the documents of `top_hits`.
    budget: Budget,
}

impl Writer<'_> {
    fn all(&mut self, nodes: &[Node], parts: Vec<Partial>) -> Result<Value, EsError> {
        let mut parts = parts.into_iter();
        let mut all = Map::new();
        for node in nodes {
            let part = parts.next().unwrap_or_else(|| empty(node));
            let mut value = self.one(node, part)?;
            if let Some(meta) = &node.meta {
                value["meta"] = meta.clone();
            }
            let name = if self.form.typed {
                format!("{}#{}", type_of(&node.kind), node.name)
            } else {
                node.name.clone()
            };
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }

    fn one(&mut self, node: &Node, part: Partial) -> Result<Value, EsError> {
        match (&node.kind, part) {
            (Kind::Terms(terms), Partial::Keyed(buckets)) => self.terms(node, terms, buckets),
            (Kind::Histogram(plan), Partial::Keyed(buckets)) => self.histogram(node, plan, buckets),
            (Kind::Ranges(ranges), Partial::Placed(buckets)) => self.ranges(node, ranges, buckets),
            (Kind::Filter(_) | Kind::Missing(_), Partial::Placed(mut buckets)) => {
                self.count(1)?;
                let bucket = buckets.pop().unwrap_or_default();
                self.bucket(node, bucket).map(Value::Object)
            }
            (
                Kind::Filters {
                    filters,
                    named,
                    keyed,
                    other,
                },
                Partial::Placed(buckets),
            ) => {
                self.count(buckets.len())?;
                let names = filters.iter().map(|(name, _)| name).chain(other);
                if *keyed {
                    let mut all = Map::new();
                    for (name, bucket) in names.zip(buckets) {
                        let value = self.bucket(node, bucket)?;
                        all.insert(name.clone(), Value::Object(value));
                    }
                    return Ok(answer_of(Value::Object(all)));
                }
                let mut values = Vec::with_capacity(buckets.len());
                for (name, bucket) in names.zip(buckets) {
                    let mut value = self.bucket(node, bucket)?;
                    if *named {
                        value.insert("key".to_owned(), json!(name));
                    }
                    values.push(Value::Object(value));
                }
                Ok(answer_of(Value::Array(values)))
            }
            (Kind::Numbers { shown, shape, .. }, Partial::Numbers(numbers)) => {
                Ok(shown_numbers(*shown, &numbers, shape))
            }
            (
                Kind::Percentiles {
                    percents,
                    keyed,
                    shape,
                    ..
                },
                Partial::Sample(sample),
            ) => Ok(percentiles(percents, sample.at(percents), *keyed, shape)),
            (Kind::Composite(plan), Partial::Composed(buckets)) => {
                self.composite(node, plan, buckets)
            }
            (Kind::TopHits(plan), Partial::Hits(hits)) => self.top_hits(plan, &hits),
            (Kind::Values { .. }, Partial::Numbers(numbers)) => Ok(json!({"value": numbers.count})),
            (Kind::Distinct { .. }, Partial::Distinct(values)) => {
                Ok(json!({"value": values.len()}))
            }
            _ => Err(EsError::internal("parts of different aggregations")),
        }
    }

    fn count(&mut self, buckets: usize) -> Result<(), EsError> {
        self.buckets = self.buckets.saturating_add(buckets);
        if self.buckets > self.limit {
            return Err(EsError::too_many_buckets(self.limit));
        }
        Ok(())
    }

    /// `doc_count` and the aggregations below.
    fn bucket(&mut self, node: &Node, bucket: Bucket) -> Result<Map<String, Value>, EsError> {
        let mut value = match self.all(&node.below, bucket.below)? {
            Value::Object(value) => value,
            _ => Map::new(),
        };
        value.insert("doc_count".to_owned(), json!(bucket.count));
        Ok(value)
    }

    fn terms(
        &mut self,
        node: &Node,
        terms: &Terms,
        buckets: HashMap<Key, Bucket>,
    ) -> Result<Value, EsError> {
        let mut sorted: Vec<(Key, Bucket)> = buckets
            .into_iter()
            .filter(|(_, bucket)| bucket.count >= terms.min_doc_count)
            .collect();
        // Those below `min_doc_count` are not among the others.
        let total: u64 = sorted.iter().map(|(_, bucket)| bucket.count).sum();
        sort(&mut sorted, &terms.order, &node.below);
        sorted.truncate(terms.size);
        self.count(sorted.len())?;
        let shown: u64 = sorted.iter().map(|(_, bucket)| bucket.count).sum();
        let mut values = Vec::with_capacity(sorted.len());
        for (key, bucket) in sorted {
            let mut value = self.bucket(node, bucket)?;
            match key {
                Key::Number(number) => {
                    if let Some(text) = terms.shape.text(number) {
                        value.insert("key_as_string".to_owned(), json!(text));
                    }
                    value.insert("key".to_owned(), json!(number));
                }
                Key::Text(text) => {
                    value.insert("key".to_owned(), json!(text));
                }
            }
            if terms.show_error {
                value.insert("doc_count_error_upper_bound".to_owned(), json!(0));
            }
            values.push(Value::Object(value));
        }
        let mut answer = answer_of(Value::Array(values));
        answer["doc_count_error_upper_bound"] = json!(0);
        answer["sum_other_doc_count"] = json!(total - shown);
        Ok(answer)
    }

    fn histogram(
        &mut self,
        node: &Node,
        plan: &Buckets,
        mut buckets: HashMap<Key, Bucket>,
    ) -> Result<Value, EsError> {
        if plan.min_doc_count == 0 {
            self.fill(plan, &mut buckets)?;
        }
        let mut sorted: Vec<(Key, Bucket)> = buckets
            .into_iter()
            .filter(|(_, bucket)| bucket.count >= plan.min_doc_count)
            .collect();
        sorted.sort_by(|left, right| left.0.cmp(&right.0));
        if !plan.order.is_empty() {
            sort(&mut sorted, &plan.order, &node.below);
        }
        self.count(sorted.len())?;
        let mut named = Map::new();
        let mut listed = Vec::with_capacity(sorted.len());
        for (key, bucket) in sorted {
            let Key::Number(number) = key else { continue };
            let mut value = self.bucket(node, bucket)?;
            let name = match &plan.cut {
                Cut::Dates(_) => {
                    value.insert("key".to_owned(), json!(number));
                    plan.shape.text(number).ok_or_else(|| number.to_string())
                }
                Cut::Numbers { width, offset } => {
                    let begin = of_rank(number) * width + offset;
                    value.insert("key".to_owned(), json!(begin));
                    plan.shape.computed(begin).ok_or_else(|| double(begin))
                }
            };
            let name = match name {
                Ok(text) => {
                    value.insert("key_as_string".to_owned(), json!(text));
                    text
                }
                Err(plain) => plain,
            };
            if plan.keyed {
                named.insert(name, Value::Object(value));
            } else {
                listed.push(Value::Object(value));
            }
        }
        Ok(if plan.keyed {
            answer_of(Value::Object(named))
        } else {
            answer_of(Value::Array(listed))
        })
    }

    /// Put in the buckets between the first and the last that no document lies in.
    fn fill(&self, plan: &Buckets, buckets: &mut HashMap<Key, Bucket>) -> Result<(), EsError> {
        let numbers = buckets.keys().filter_map(|key| match key {
            Key::Number(number) => Some(*number),
            Key::Text(_) => None,
        });
        let (low, high) = plan.extended;
        let first = numbers.clone().chain(low).min();
        let last = numbers.chain(high).max();
        let (Some(mut key), Some(last)) = (first, last) else {
            return Ok(());
        };
        let mut filled = 0;
        while key <= last {
            buckets.entry(Key::Number(key)).or_default();
            filled += 1;
            if self.buckets + filled > self.limit {
                return Err(EsError::too_many_buckets(self.limit));
            }
            key = match &plan.cut {
                Cut::Dates(rounding) => rounding.next(key),
                Cut::Numbers { .. } => rank(of_rank(key) + 1.0),
            };
        }
        Ok(())
    }

    fn composite(
        &mut self,
        node: &Node,
        plan: &Composite,
        buckets: HashMap<Vec<Raw>, Bucket>,
    ) -> Result<Value, EsError> {
        let mut page: Vec<(Vec<Raw>, Bucket)> = buckets.into_iter().collect();
        page.sort_by(|left, right| plan.compare(&left.0, &right.0));
        page.truncate(plan.size);
        self.count(page.len())?;
        let last = page.last().map(|(key, _)| plan.key(key));
        let mut values = Vec::with_capacity(page.len());
        for (key, bucket) in page {
            let mut value = self.bucket(node, bucket)?;
            value.insert("key".to_owned(), plan.key(&key));
            values.push(Value::Object(value));
        }
        let mut answer = answer_of(Value::Array(values));
        if let Some(last) = last {
            answer["after_key"] = last;
        }
        Ok(answer)
    }

    fn top_hits(&mut self, plan: &TopHits, hits: &Hits) -> Result<Value, EsError> {
        let found = (self.form.fetch)(plan, &hits.best)?;
        self.budget.take(found.iter().map(weight).sum())?;
        let max_score = hits.max_score.map(short);
        let mut answer = json!({
            "total": {"value": hits.total, "relation": "eq"},
            "max_score": max_score,
        });
        answer["hits"] = Value::Array(found);
        Ok(json!({ "hits": answer }))
    }

    fn ranges(
        &mut self,
        node: &Node,
        plan: &Ranges,
        buckets: Vec<Bucket>,
    ) -> Result<Value, EsError> {
        self.count(buckets.len())?;
        let mut named = Map::new();
        let mut listed = Vec::with_capacity(buckets.len());
        for (range, bucket) in plan.ranges.iter().zip(buckets) {
            let mut value = self.bucket(node, bucket)?;
            let text = |end: Option<f64>| match end {
                None => "*".to_owned(),
                Some(end) => plan.shape.computed(end).unwrap_or_else(|| double(end)),
            };
            for (name, end) in [("from", range.from), ("to", range.to)] {
                if let Some(end) = end {
                    value.insert(name.to_owned(), json!(end));
                    if let Some(text) = plan.shape.computed(end) {
                        value.insert(format!("{name}_as_string"), json!(text));
                    }
                }
            }
            let key = range
                .key
                .clone()
                .unwrap_or_else(|| format!("{}-{}", text(range.from), text(range.to)));
            if plan.keyed {
                named.insert(key, Value::Object(value));
            } else {
                value.insert("key".to_owned(), json!(key));
                listed.push(Value::Object(value));
            }
        }
        Ok(if plan.keyed {
            answer_of(Value::Object(named))
        } else {
            answer_of(Value::Array(listed))
        })
    }
}

/// An answer with these buckets, which are not copied.
fn answer_of(buckets: Value) -> Value {
    let mut answer = Map::new();
    answer.insert("buckets".to_owned(), buckets);
    Value::Object(answer)
}

/// Bytes that a value takes, about.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(weight).sum(),
            Value::Object(values) => values.iter().map(|(name, v)| name.len() + weight(v)).sum(),
        }
}

/// The type that `typed_keys` puts before a name.
fn type_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Terms(terms) if terms.numeric => "lterms",
        Kind::Terms(terms) if terms.field.is_none() && terms.missing.is_none() => "umterms",
        Kind::Terms(_) => "sterms",
        Kind::Histogram(buckets) => match buckets.cut {
            Cut::Dates(_) => "date_histogram",
            Cut::Numbers { .. } => "histogram",
        },
        Kind::Ranges(ranges) if ranges.is_dates => "date_range",
        Kind::Ranges(_) => "range",
        Kind::Filter(_) => "filter",
        Kind::Filters { .. } => "filters",
        Kind::Missing(_) => "missing",
        Kind::Numbers { shown, .. } => match shown {
            Shown::Min => "min",
            Shown::Max => "max",
            Shown::Avg => "avg",
            Shown::Sum => "sum",
            Shown::Stats => "stats",
            Shown::Extended(_) => "extended_stats",
        },
        Kind::Percentiles { .. } => "tdigest_percentiles",
        Kind::Composite(_) => "composite",
        Kind::TopHits(_) => "top_hits",
        Kind::Values { .. } => "value_count",
        Kind::Distinct { .. } => "cardinality",
    }
}

fn percentiles(percents: &[f64], values: Vec<Option<f64>>, keyed: bool, shape: &Shape) -> Value {
    let mut named = Map::new();
    let mut listed = Vec::new();
    for (percent, value) in percents.iter().zip(values) {
        let text = value.and_then(|value| shape.computed(value));
        if keyed {
            let name = double(*percent);
            if let Some(text) = text {
                named.insert(format!("{name}_as_string"), json!(text));
            }
            named.insert(name, json!(value));
        } else {
            let mut entry = json!({"key": percent, "value": value});
            if let Some(text) = text {
                entry["value_as_string"] = json!(text);
            }
            listed.push(entry);
        }
    }
    let values = if keyed {
        Value::Object(named)
    } else {
        Value::Array(listed)
    };
    json!({"values": values})
}

/// What an aggregation finds where there is nothing.
fn empty(node: &Node) -> Partial {
    let placed = |count: usize| Partial::Placed((0..count).map(|_| Bucket::default()).collect());
    match &node.kind {
        Kind::Terms(_) | Kind::Histogram(_) => Partial::Keyed(HashMap::new()),
        Kind::Ranges(ranges) => placed(ranges.ranges.len()),
        Kind::Filter(_) | Kind::Missing(_) => placed(1),
        Kind::Filters { filters, other, .. } => {
            placed(filters.len() + usize::from(other.is_some()))
        }
        Kind::Numbers { .. } | Kind::Values { .. } => Partial::Numbers(Numbers::default()),
        Kind::Distinct { .. } => Partial::Distinct(Default::default()),
        Kind::Percentiles { .. } => Partial::Sample(Default::default()),
        Kind::Composite(_) => Partial::Composed(HashMap::new()),
        Kind::TopHits(_) => Partial::Hits(Hits::default()),
    }
}

fn shown_numbers(shown: Shown, numbers: &Numbers, shape: &Shape) -> Value {
    let any = numbers.count > 0;
    let avg = any.then(|| numbers.sum() / numbers.count as f64);
    let least = any.then_some(numbers.least);
    let greatest = any.then_some(numbers.greatest);
    let text = |value: f64| shape.computed(value);
    let single = |value: Option<f64>| {
        let mut answer = json!({"value": value});
        if let Some(text) = value.and_then(text) {
            answer["value_as_string"] = json!(text);
        }
        answer
    };
    let stats = || {
        let mut answer = json!({
            "count": numbers.count,
            "min": least,
            "max": greatest,
            "avg": avg,
            "sum": numbers.sum(),
        });
        for (name, value) in [
            ("min", least),
            ("max", greatest),
            ("avg", avg),
            ("sum", any.then_some(numbers.sum())),
        ] {
            if let Some(text) = value.and_then(text) {
                answer[format!("{name}_as_string")] = json!(text);
            }
        }
        answer
    };
    match shown {
        Shown::Min => single(least),
        Shown::Max => single(greatest),
        Shown::Avg => single(avg),
        Shown::Sum => single(Some(numbers.sum())),
        Shown::Stats => stats(),
        Shown::Extended(sigma) => {
            let mut answer = stats();
            extend(&mut answer, numbers, avg, sigma);
            if any {
                write_beside(&mut answer, shape);
            }
            answer
        }
    }
}

fn extend(answer: &mut Value, numbers: &Numbers, avg: Option<f64>, sigma: f64) {
    let count = numbers.count as f64;
    let spread = avg.map(|_| (numbers.squares() - numbers.sum() * numbers.sum() / count).max(0.0));
    let population = spread.map(|spread| spread / count);
    // One value has no variance of a sample; Elasticsearch says `NaN`, which
    // JSON has as a string.
    let sampling = spread.map(|spread| {
        if numbers.count > 1 {
            json!(spread / (count - 1.0))
        } else {
            json!("NaN")
        }
    });
    let deviation = population.map(f64::sqrt);
    let sampled = sampling.as_ref().map(|variance| match variance.as_f64() {
        Some(variance) => json!(variance.sqrt()),
        None => json!("NaN"),
    });
    let bound = |times: f64, deviation: Option<f64>| {
        avg.zip(deviation)
            .map(|(avg, deviation)| json!(avg + times * deviation))
    };
    let sampled_deviation = sampled.as_ref().and_then(Value::as_f64);
    let sampled_bound = |times: f64| match (avg, sampled_deviation) {
        (Some(_), None) => Some(json!("NaN")),
        _ => bound(times, sampled_deviation),
    };
    answer["sum_of_squares"] = json!(avg.map(|_| numbers.squares()));
    answer["variance"] = json!(population);
    answer["variance_population"] = json!(population);
    answer["variance_sampling"] = json!(sampling);
    answer["std_deviation"] = json!(deviation);
    answer["std_deviation_population"] = json!(deviation);
    answer["std_deviation_sampling"] = json!(sampled);
    answer["std_deviation_bounds"] = json!({
        "upper": bound(sigma, deviation),
        "lower": bound(-sigma, deviation),
        "upper_population": bound(sigma, deviation),
        "lower_population": bound(-sigma, deviation),
        "upper_sampling": sampled_bound(sigma),
        "lower_sampling": sampled_bound(-sigma),
    });
}

/// Beside the further numbers of `extended_stats`, how they are written.
fn write_beside(answer: &mut Value, shape: &Shape) {
    for name in [
        "sum_of_squares",
        "variance",
        "variance_population",
        "variance_sampling",
        "std_deviation",
        "std_deviation_population",
        "std_deviation_sampling",
    ] {
        if let Some(text) = number_of(&answer[name]).and_then(|value| shape.computed(value)) {
            answer[format!("{name}_as_string")] = json!(text);
        }
    }
    let bounds = answer["std_deviation_bounds"].as_object();
    let written: Map<String, Value> = bounds
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let text = shape.computed(number_of(value)?)?;
            Some((name.clone(), json!(text)))
        })
        .collect();
    if !written.is_empty() {
        answer["std_deviation_bounds_as_string"] = Value::Object(written);
    }
}

/// A number as an answer has it, where `NaN` is a text.
fn number_of(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        _ => value.as_f64(),
    }
}

/// Buckets in the order that was asked for, those that are equal by key.
fn sort(buckets: &mut [(Key, Bucket)], order: &[(String, Order)], below: &[Node]) {
    enum By {
        Count,
        Key,
        Path(Path),
    }
    let by: Vec<(By, Order)> = order
        .iter()
        .filter_map(|(path, order)| {
            let by = match path.as_str() {
                "_count" => By::Count,
                "_key" | "_term" | "_time" => By::Key,
                path => By::Path(Path::new(path, below)?),
            };
            Some((by, *order))
        })
        .collect();
    buckets.sort_by(|left, right| {
        for (by, order) in &by {
            let directed = |found: Ordering| match order {
                Order::Asc => found,
                Order::Desc => found.reverse(),
            };
            let found = match by {
                By::Count => directed(left.1.count.cmp(&right.1.count)),
                By::Key => directed(left.0.cmp(&right.0)),
                By::Path(path) => {
                    let (left, right) = (path.value(&left.1), path.value(&right.1));
                    match (left.is_nan(), right.is_nan()) {
                        (false, false) => directed(left.total_cmp(&right)),
                        // What has no number comes last either way.
                        (left, right) => left.cmp(&right),
                    }
                }
            };
            if found != Ordering::Equal {
                return found;
            }
        }
        left.0.cmp(&right.0)
    });
}
