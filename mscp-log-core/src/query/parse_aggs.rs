//! The aggregations of a search.

use super::ast::{
    Aggregation, AggregationKind, Bounds, Composite, CompositeKind, CompositeSource, DateHistogram,
    Histogram, Metric, Number, Order, RangeAggregation, RangeBucket, Scalar, TermsAggregation,
    TermsSelection,
};
use super::error::QueryError;
use super::json::{Kind, Result, Value};
use super::parse::{Whole, order, part, unknown};
use super::parse_query::{MAX_QUERY_DEPTH, query};

/// How deep aggregations may nest.
const MAX_DEPTH: usize = 20;

/// Aggregations that count documents which the query does not match, or that
/// read what no query names.
const SEEING_PAST: &[&str] = &[
    "global",
    "significant_terms",
    "significant_text",
    "nested",
    "reverse_nested",
    "children",
    "parent",
    "scripted_metric",
    "bucket_script",
    "bucket_selector",
    "rare_terms",
    "categorize_text",
    "random_sampler",
];

/// The aggregations of a search, in the order in which they are written.
pub(super) fn aggregations(value: Value) -> Result<Vec<(String, Aggregation)>> {
    level(value, MAX_DEPTH)
}

fn level(value: Value, depth: usize) -> Result<Vec<(String, Aggregation)>> {
    if depth == 0 {
        return Err(value.error(format!(
            "aggregations are nested more than {MAX_DEPTH} deep"
        )));
    }
    let mut list = Vec::new();
    for (name, body) in value.object("aggs")? {
        if name.is_empty() || name.contains(['[', ']', '>']) {
            let reason = format!(
                "Invalid aggregation name [{name}]. Aggregation names can contain any character except '[', ']', and '>'"
            );
            return Err(body.error(reason));
        }
        let aggregation = aggregation(&name, body, depth)?;
        list.push((name, aggregation));
    }
    Ok(list)
}

fn aggregation(name: &str, body: Value, depth: usize) -> Result<Aggregation> {
    let at = body.at;
    let (mut found, mut below, mut meta) = (None, None, None);
    for (key, value) in body.object(name)? {
        match key.as_str() {
            "aggs" | "aggregations" if below.is_none() => below = Some(level(value, depth - 1)?),
            "meta" => {
                if !matches!(value.kind, Kind::Object(_)) {
                    return Err(value.unexpected("meta"));
                }
                let mut text = String::new();
                super::emit::value(&mut text, &value);
                meta = Some(text);
            }
            _ if found.is_some() => {
                return Err(value.error(format!(
                    "Found two aggregation type definitions in [{name}]: [{key}]"
                )));
            }
            _ => {
                let kind = kind(&key, value)?;
                found = Some((key, kind));
            }
        }
    }
    let Some((key, kind)) = found else {
        return Err(
            QueryError::parsing(format!("Missing definition for aggregation [{name}]")).at(at),
        );
    };
    let aggs = below.unwrap_or_default();
    if !aggs.is_empty() && is_metric(&kind) {
        let reason = format!("Aggregator [{name}] of type [{key}] cannot accept sub-aggregations");
        return Err(QueryError::of_kind("aggregation_initialization_exception", reason).at(at));
    }
    Ok(Aggregation { kind, aggs, meta })
}

fn is_metric(kind: &AggregationKind) -> bool {
    matches!(
        kind,
        AggregationKind::Cardinality { .. }
            | AggregationKind::Percentiles { .. }
            | AggregationKind::Stats(_)
            | AggregationKind::ExtendedStats { .. }
            | AggregationKind::Min(_)
            | AggregationKind::Max(_)
            | AggregationKind::Avg(_)
            | AggregationKind::Sum(_)
            | AggregationKind::ValueCount(_)
            | AggregationKind::TopHits(_)
    )
}

fn kind(name: &str, body: Value) -> Result<AggregationKind> {
    Ok(match name {
        "terms" => AggregationKind::Terms(terms(body)?),
        "date_histogram" => AggregationKind::DateHistogram(date_histogram(body)?),
        "histogram" => AggregationKind::Histogram(histogram(body)?),
        "range" => AggregationKind::Range(range(name, body)?),
        "date_range" => AggregationKind::DateRange(range(name, body)?),
        "filter" => AggregationKind::Filter(Box::new(query(body, MAX_QUERY_DEPTH)?)),
        "filters" => filters(body)?,
        "composite" => AggregationKind::Composite(composite(body)?),
        "missing" => {
            let metric = metric(name, body, &mut no_more)?;
            if metric.missing.is_some() || metric.format.is_some() {
                return Err(QueryError::parsing("[missing] has nothing but a [field]"));
            }
            AggregationKind::Missing {
                field: metric.field,
            }
        }
        "cardinality" => {
            let mut precision_threshold = None;
            let metric = metric(name, body, &mut |key, value| {
                if key != "precision_threshold" {
                    return Ok(Some(value));
                }
                precision_threshold = Some(value.unsigned(key)?);
                Ok(None)
            })?;
            AggregationKind::Cardinality {
                metric,
                precision_threshold,
            }
        }
        "percentiles" => percentiles(body)?,
        "stats" => AggregationKind::Stats(metric(name, body, &mut no_more)?),
        "extended_stats" => {
            let mut sigma = None;
            let metric = metric(name, body, &mut |key, value| {
                if key != "sigma" {
                    return Ok(Some(value));
                }
                sigma = Some(value.number(key)?);
                Ok(None)
            })?;
            AggregationKind::ExtendedStats { metric, sigma }
        }
        "min" => AggregationKind::Min(metric(name, body, &mut no_more)?),
        "max" => AggregationKind::Max(metric(name, body, &mut no_more)?),
        "avg" => AggregationKind::Avg(metric(name, body, &mut no_more)?),
        "sum" => AggregationKind::Sum(metric(name, body, &mut no_more)?),
        "value_count" => AggregationKind::ValueCount(metric(name, body, &mut no_more)?),
        "top_hits" => AggregationKind::TopHits(Box::new(part(body, Whole::TopHits)?)),
        _ => {
            let error = body.error(format!("Unknown aggregation type [{name}]"));
            return Err(if SEEING_PAST.contains(&name) {
                error.seeing_past(name)
            } else {
                error
            });
        }
    })
}

fn field_required(what: &str, at: usize, field: Option<String>) -> Result<String> {
    field.filter(|field| !field.is_empty()).ok_or_else(|| {
        QueryError::argument(format!(
            "[{what}] Required one of fields [field, script], but none were specified."
        ))
        .at(at)
    })
}

fn no_more(_: &str, value: Value) -> Result<Option<Value>> {
    Ok(Some(value))
}

/// What every metric has; what `more` does not take is unknown.
fn metric(
    what: &str,
    body: Value,
    more: &mut dyn FnMut(&str, Value) -> Result<Option<Value>>,
) -> Result<Metric> {
    let at = body.at;
    let (mut field, mut missing, mut format) = (None, None, None);
    for (key, value) in body.object(what)? {
        match key.as_str() {
            "field" => field = Some(value.text("field")?),
            "missing" => missing = value.optional_scalar("missing")?,
            "format" => format = Some(value.text("format")?),
            _ => {
                if let Some(value) = more(&key, value)? {
                    return Err(unknown(what, &key, &value));
                }
            }
        }
    }
    Ok(Metric {
        field: field_required(what, at, field)?,
        missing,
        format,
    })
}

fn percentiles(body: Value) -> Result<AggregationKind> {
    let (mut percents, mut keyed) = (None, None);
    let metric = metric("percentiles", body, &mut |key, value| {
        match key {
            "percents" => {
                let list = value
                    .array("percents")?
                    .into_iter()
                    .map(|value| value.number("percents"));
                percents = Some(list.collect::<Result<Vec<Number>>>()?);
            }
            "keyed" => keyed = Some(value.boolean("keyed")?),
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    Ok(AggregationKind::Percentiles {
        metric,
        percents,
        keyed,
    })
}

/// `{"_count": "desc"}` or an array of such.
fn orders(value: Value) -> Result<Vec<(String, Order)>> {
    let mut list = Vec::new();
    for entry in value.list() {
        for (path, direction) in entry.object("order")? {
            list.push((path, order(&direction)?));
        }
    }
    Ok(list)
}

fn terms(body: Value) -> Result<TermsAggregation> {
    let at = body.at;
    let mut found = TermsAggregation::default();
    let mut field = None;
    for (key, value) in body.object("terms")? {
        match key.as_str() {
            "field" => field = Some(value.text("field")?),
            "size" => found.size = Some(value.unsigned("size")?),
            "shard_size" => found.shard_size = Some(value.unsigned("shard_size")?),
            "order" => found.order = orders(value)?,
            "min_doc_count" => found.min_doc_count = Some(value.unsigned("min_doc_count")?),
            "shard_min_doc_count" => {
                found.shard_min_doc_count = Some(value.unsigned("shard_min_doc_count")?);
            }
            "missing" => found.missing = value.optional_scalar("missing")?,
            "include" => found.include = Some(selection("include", value)?),
            "exclude" => found.exclude = Some(selection("exclude", value)?),
            "show_term_doc_count_error" => {
                found.show_term_doc_count_error = Some(value.boolean(&key)?);
            }
            "execution_hint" => found.execution_hint = Some(value.text("execution_hint")?),
            "collect_mode" => found.collect_mode = Some(value.text("collect_mode")?),
            "format" => found.format = Some(value.text("format")?),
            "value_type" | "valueType" => found.value_type = Some(value.text("value_type")?),
            _ => return Err(unknown("terms", &key, &value)),
        }
    }
    if found.size == Some(0) {
        return Err(
            QueryError::argument("[size] must be greater than 0. Found [0] in [terms]").at(at),
        );
    }
    found.field = field_required("terms", at, field)?;
    Ok(found)
}

fn selection(what: &str, value: Value) -> Result<TermsSelection> {
    let at = value.at;
    match value.kind {
        Kind::String(expression) => {
            super::regexp::to_regex(&expression, false)
                .map_err(|reason| QueryError::argument(reason).at(at))?;
            Ok(TermsSelection::Regexp(expression))
        }
        Kind::Array(values) => Ok(TermsSelection::Values(
            values
                .into_iter()
                .map(|value| value.scalar(what))
                .collect::<Result<_>>()?,
        )),
        Kind::Object(entries) if what == "include" => {
            let (mut partition, mut num_partitions) = (None, None);
            for (key, value) in entries {
                match key.as_str() {
                    "partition" => partition = Some(value.unsigned("partition")?),
                    "num_partitions" => num_partitions = Some(value.unsigned("num_partitions")?),
                    _ => return Err(unknown("include", &key, &value)),
                }
            }
            match (partition, num_partitions) {
                (Some(partition), Some(num_partitions)) if partition < num_partitions => {
                    Ok(TermsSelection::Partition {
                        partition,
                        num_partitions,
                    })
                }
                _ => Err(QueryError::parsing(
                    "[include] needs a [partition] below its [num_partitions]",
                )
                .at(at)),
            }
        }
        _ => Err(value.unexpected(what)),
    }
}

fn bounds(what: &str, value: Value) -> Result<Bounds> {
    let mut found = Bounds {
        min: None,
        max: None,
    };
    for (key, value) in value.object(what)? {
        match key.as_str() {
            "min" => found.min = value.optional_scalar("min")?,
            "max" => found.max = value.optional_scalar("max")?,
            _ => return Err(unknown(what, &key, &value)),
        }
    }
    Ok(found)
}

fn date_histogram(body: Value) -> Result<DateHistogram> {
    let at = body.at;
    let mut found = DateHistogram::default();
    let mut field = None;
    for (key, value) in body.object("date_histogram")? {
        match key.as_str() {
            "field" => field = Some(value.text("field")?),
            "extended_bounds" => found.extended_bounds = Some(bounds(&key, value)?),
            "hard_bounds" => found.hard_bounds = Some(bounds(&key, value)?),
            "min_doc_count" => found.min_doc_count = Some(value.unsigned("min_doc_count")?),
            "missing" => found.missing = value.optional_scalar("missing")?,
            "keyed" => found.keyed = Some(value.boolean("keyed")?),
            "order" => found.order = orders(value)?,
            _ => {
                if let Some(value) = date_setting(&mut found, &key, value)? {
                    return Err(unknown("date_histogram", &key, &value));
                }
            }
        }
    }
    one_interval("date_histogram", at, &found)?;
    found.field = field_required("date_histogram", at, field)?;
    Ok(found)
}

/// What `date_histogram` and the composite source of that name share.
fn date_setting(found: &mut DateHistogram, key: &str, value: Value) -> Result<Option<Value>> {
    match key {
        "fixed_interval" => found.fixed_interval = Some(value.text(key)?),
        "calendar_interval" => found.calendar_interval = Some(value.text(key)?),
        "interval" => found.interval = Some(value.text(key)?),
        "time_zone" => found.time_zone = Some(value.text(key)?),
        "offset" => found.offset = Some(value.text(key)?),
        "format" => found.format = Some(value.text(key)?),
        _ => return Ok(Some(value)),
    }
    Ok(None)
}

fn one_interval(what: &str, at: usize, found: &DateHistogram) -> Result<()> {
    let intervals = [
        &found.fixed_interval,
        &found.calendar_interval,
        &found.interval,
    ];
    match intervals.into_iter().flatten().count() {
        1 => Ok(()),
        0 => Err(QueryError::argument(format!(
            "[{what}] Required one of fields [interval, calendar_interval, fixed_interval], but none were specified."
        ))
        .at(at)),
        _ => Err(QueryError::argument(format!(
            "[{what}] Cannot use [fixed_interval] with [calendar_interval] or [interval] in the same configuration."
        ))
        .at(at)),
    }
}

fn interval_above_zero(number: Number, at: usize) -> Result<Number> {
    match number.0.parse::<f64>() {
        Ok(width) if width > 0.0 && width.is_finite() => Ok(number),
        _ => Err(QueryError::argument(format!(
            "[interval] must be >0 for histogram aggregation, got {}",
            number.0
        ))
        .at(at)),
    }
}

fn histogram(body: Value) -> Result<Histogram> {
    let at = body.at;
    let (mut field, mut interval) = (None, None);
    let mut found = Histogram {
        field: String::new(),
        interval: Number(String::new()),
        offset: None,
        min_doc_count: None,
        extended_bounds: None,
        hard_bounds: None,
        missing: None,
        keyed: None,
        order: Vec::new(),
        format: None,
    };
    for (key, value) in body.object("histogram")? {
        match key.as_str() {
            "field" => field = Some(value.text("field")?),
            "interval" => interval = Some(interval_above_zero(value.number("interval")?, at)?),
            "offset" => found.offset = Some(value.number("offset")?),
            "min_doc_count" => found.min_doc_count = Some(value.unsigned("min_doc_count")?),
            "extended_bounds" => found.extended_bounds = Some(bounds(&key, value)?),
            "hard_bounds" => found.hard_bounds = Some(bounds(&key, value)?),
            "missing" => found.missing = value.optional_scalar("missing")?,
            "keyed" => found.keyed = Some(value.boolean("keyed")?),
            "order" => found.order = orders(value)?,
            "format" => found.format = Some(value.text("format")?),
            _ => return Err(unknown("histogram", &key, &value)),
        }
    }
    found.field = field_required("histogram", at, field)?;
    found.interval =
        interval.ok_or_else(|| QueryError::argument("[histogram] Required [interval]").at(at))?;
    Ok(found)
}

fn range(what: &str, body: Value) -> Result<RangeAggregation> {
    let at = body.at;
    let mut field = None;
    let mut found = RangeAggregation {
        field: String::new(),
        ranges: Vec::new(),
        keyed: None,
        format: None,
        time_zone: None,
        missing: None,
    };
    for (key, value) in body.object(what)? {
        match key.as_str() {
            "field" => field = Some(value.text("field")?),
            "ranges" => {
                for entry in value.array("ranges")? {
                    found.ranges.push(range_bucket(entry)?);
                }
            }
            "keyed" => found.keyed = Some(value.boolean("keyed")?),
            "format" => found.format = Some(value.text("format")?),
            "time_zone" if what == "date_range" => found.time_zone = Some(value.text("time_zone")?),
            "missing" => found.missing = value.optional_scalar("missing")?,
            _ => return Err(unknown(what, &key, &value)),
        }
    }
    found.field = field_required(what, at, field)?;
    if found.ranges.is_empty() {
        return Err(QueryError::argument(format!(
            "No [ranges] specified for the [{what}] aggregation"
        ))
        .at(at));
    }
    Ok(found)
}

fn range_bucket(entry: Value) -> Result<RangeBucket> {
    let mut bucket = RangeBucket {
        key: None,
        from: None,
        to: None,
    };
    for (key, value) in entry.object("ranges")? {
        match key.as_str() {
            "key" => bucket.key = Some(value.text("key")?),
            "from" => bucket.from = value.optional_scalar("from")?,
            "to" => bucket.to = value.optional_scalar("to")?,
            _ => return Err(unknown("ranges", &key, &value)),
        }
    }
    Ok(bucket)
}

fn filters(body: Value) -> Result<AggregationKind> {
    let at = body.at;
    let (mut filters, mut named, mut wanted_keyed) = (Vec::new(), None, None);
    let (mut other_bucket_key, mut other_bucket) = (None, None);
    for (key, value) in body.object("filters")? {
        match (key.as_str(), value.kind) {
            ("filters", Kind::Object(entries)) => {
                named = Some(true);
                for (name, filter) in entries {
                    filters.push((name, query(filter, MAX_QUERY_DEPTH)?));
                }
            }
            ("filters", Kind::Array(entries)) => {
                named = Some(false);
                for filter in entries {
                    filters.push((String::new(), query(filter, MAX_QUERY_DEPTH)?));
                }
            }
            ("other_bucket_key", Kind::String(text)) => other_bucket_key = Some(text),
            ("other_bucket", Kind::Bool(other)) => other_bucket = Some(other),
            ("keyed", Kind::Bool(keyed)) => wanted_keyed = Some(keyed),
            (_, kind) => return Err(unknown("filters", &key, &Value { at: value.at, kind })),
        }
    }
    let keyed = named.ok_or_else(|| QueryError::argument("[filters] Required [filters]").at(at))?;
    if wanted_keyed.is_some_and(|wanted| wanted != keyed) {
        return Err(
            QueryError::parsing("[filters] [keyed] must be as the filters are written").at(at),
        );
    }
    Ok(AggregationKind::Filters {
        filters,
        keyed,
        other_bucket_key,
        other_bucket,
    })
}

fn composite(body: Value) -> Result<Composite> {
    let at = body.at;
    let mut found = Composite {
        size: None,
        sources: Vec::new(),
        after: None,
    };
    for (key, value) in body.object("composite")? {
        match key.as_str() {
            "size" => found.size = Some(value.unsigned("size")?),
            "sources" => {
                for entry in value.list() {
                    for (name, source) in entry.object("sources")? {
                        if found.sources.iter().any(|(other, _)| *other == name) {
                            return Err(source.error(format!(
                                "Composite source names must be unique, found [{name}] twice"
                            )));
                        }
                        let source = composite_source(source)?;
                        found.sources.push((name, source));
                    }
                }
            }
            "after" => {
                let values = value.object("after")?.into_iter();
                let after = values.map(|(name, value)| Ok((name, value.scalar("after")?)));
                found.after = Some(after.collect::<Result<Vec<(String, Scalar)>>>()?);
            }
            _ => return Err(unknown("composite", &key, &value)),
        }
    }
    if found.sources.is_empty() {
        return Err(QueryError::argument("Composite [sources] cannot be null or empty").at(at));
    }
    Ok(found)
}

fn composite_source(value: Value) -> Result<CompositeSource> {
    let at = value.at;
    let mut entries = value.object("sources")?.into_iter();
    let (Some((what, body)), None) = (entries.next(), entries.next()) else {
        return Err(QueryError::parsing("a composite source has one type").at(at));
    };
    let (mut field, mut interval, mut direction, mut missing_bucket) = (None, None, None, None);
    let mut dates = DateHistogram::default();
    for (key, value) in body.object(&what)? {
        match (key.as_str(), what.as_str()) {
            ("field", _) => field = Some(value.text("field")?),
            ("order", _) => direction = Some(order(&value)?),
            ("missing_bucket", _) => missing_bucket = Some(value.boolean("missing_bucket")?),
            ("interval", "histogram") => {
                interval = Some(interval_above_zero(value.number("interval")?, at)?);
            }
            (_, "date_histogram") => {
                if let Some(value) = date_setting(&mut dates, &key, value)? {
                    return Err(unknown("date_histogram", &key, &value));
                }
            }
            _ => return Err(unknown(&what, &key, &value)),
        }
    }
    let field = field_required(&what, at, field)?;
    let kind = match what.as_str() {
        "terms" => CompositeKind::Terms { field },
        "date_histogram" => {
            one_interval("date_histogram", at, &dates)?;
            CompositeKind::DateHistogram(Box::new(DateHistogram { field, ..dates }))
        }
        "histogram" => {
            let interval = interval
                .ok_or_else(|| QueryError::argument("[histogram] Required [interval]").at(at))?;
            CompositeKind::Histogram { field, interval }
        }
        _ => return Err(QueryError::parsing(format!("invalid source type: [{what}]")).at(at)),
    };
    Ok(CompositeSource {
        kind,
        order: direction,
        missing_bucket,
    })
}
