//! The aggregations of a search.

use super::ast::{
    Aggregation, AggregationKind, Bounds, Composite, CompositeKind, CompositeSource, DateHistogram,
    Histogram, Metric, Number, Order, RangeAggregation, RangeBucket, Scalar, Tdigest,
    TermsAggregation, TermsSelection,
};
use super::error::QueryError;
use super::json::{Kind, Result, Value};
use super::parse::{Take, Whole, object_settings as settings, order, part, seeing_past};
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
        return Err(QueryError::argument(reason).at(at));
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
            let at = body.at;
            let mut field = None;
            settings(name, body, &mut |key, value| {
                match key {
                    "field" => field = Some(value.string(key)?),
                    _ => return Ok(Some(value)),
                }
                Ok(None)
            })?;
            AggregationKind::Missing {
                field: field_required(at, field)?,
            }
        }
        "cardinality" => {
            let mut precision_threshold = None;
            let metric = metric(name, body, &mut |key, value| {
                if key != "precision_threshold" {
                    return Ok(Some(value));
                }
                precision_threshold = Some(not_below(0, "precisionThreshold", value)?);
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
                let at = value.at;
                let number = value.number(key)?;
                if number.0.starts_with('-') && number.0.parse() != Ok(-0.0) {
                    let reason = "[sigma] must be greater than or equal to 0";
                    return Err(QueryError::argument(reason).at(at));
                }
                sigma = Some(number);
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

fn field_required(at: usize, field: Option<String>) -> Result<String> {
    field.ok_or_else(|| {
        QueryError::argument("Required one of fields [field, script], but none were specified.")
            .at(at)
    })
}

fn no_more(_: &str, value: Value) -> Result<Option<Value>> {
    Ok(Some(value))
}

/// What every metric has; what `more` does not take is unknown.
fn metric(what: &str, body: Value, more: Take<'_>) -> Result<Metric> {
    let at = body.at;
    let (mut field, mut missing, mut format) = (None, None, None);
    settings(what, body, &mut |key, value| {
        match key {
            "field" => field = Some(value.string(key)?),
            "missing" => missing = value.optional_scalar(key)?,
            "format" => format = Some(value.text(key)?),
            _ => return more(key, value),
        }
        Ok(None)
    })?;
    Ok(Metric {
        field: field_required(at, field)?,
        missing,
        format,
    })
}

fn percentiles(body: Value) -> Result<AggregationKind> {
    let at = body.at;
    let (mut percents, mut keyed, mut tdigest) = (None, None, None);
    let metric = metric("percentiles", body, &mut |key, value| {
        match key {
            "percents" => {
                let list = value.array(key)?.into_iter().map(|value| value.number(key));
                percents = Some(list.collect::<Result<Vec<Number>>>()?);
            }
            "keyed" => keyed = Some(value.boolean(key)?),
            "tdigest" => tdigest = Some(tdigest_settings(value)?),
            "hdr" => return Err(value.error("[hdr] is not supported, only [tdigest] is")),
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    if let Some(percents) = &percents {
        check_percents(percents).map_err(|reason| {
            // The object is whole when its builder refuses it.
            QueryError::x_content(format!(
                "Failed to build [percentiles] after last required field arrived: {reason}"
            ))
            .at(at)
        })?;
    }
    Ok(AggregationKind::Percentiles {
        metric,
        percents,
        keyed,
        tdigest,
    })
}

fn check_percents(percents: &[Number]) -> std::result::Result<(), String> {
    if percents.is_empty() {
        return Err("[percents] must not be empty".to_owned());
    }
    let mut seen: Vec<f64> = Vec::with_capacity(percents.len());
    for number in percents {
        match number.0.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => {
                if seen.contains(&percent) {
                    return Err(format!("percent [{percent:?}] has been specified twice"));
                }
                seen.push(percent);
            }
            _ => return Err(format!("percent must be in [0,100], got [{}]", number.0)),
        }
    }
    Ok(())
}

fn tdigest_settings(body: Value) -> Result<Tdigest> {
    let mut found = Tdigest::default();
    settings("tdigest", body, &mut |key, value| {
        let at = value.at;
        match key {
            "compression" => {
                let number = value.number(key)?;
                if !number.0.parse::<f64>().is_ok_and(|kept| kept >= 0.0) {
                    let reason = format!(
                        "[compression] must be greater than or equal to 0. Found [{}]",
                        number.0
                    );
                    return Err(QueryError::argument(reason).at(at));
                }
                found.compression = Some(number);
            }
            "execution_hint" => {
                let hint = value.text(key)?;
                if !matches!(hint.as_str(), "default" | "high_accuracy") {
                    let reason = format!("Invalid execution_hint [{hint}]");
                    return Err(QueryError::argument(reason).at(at));
                }
                found.execution_hint = Some(hint);
            }
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    Ok(found)
}

/// `{"_count": "desc"}` or an array of such.
fn orders(value: Value) -> Result<Vec<(String, Order)>> {
    let mut list = Vec::new();
    let (at, is_list) = (value.at, matches!(value.kind, Kind::Array(_)));
    for entry in value.list() {
        for (path, direction) in entry.object("order")? {
            let at = direction.at;
            let direction = order(&direction)
                .map_err(|_| QueryError::parsing("Unknown order direction").at(at))?;
            list.push((path, direction));
        }
    }
    if list.is_empty() {
        return Err(match is_list {
            true => QueryError::x_content("[order] failed to parse").at(at),
            false => QueryError::parsing("Must specify at least one field for [order]"),
        });
    }
    Ok(list)
}

/// A number of documents: an argument that Elasticsearch names otherwise.
fn least_count(key: &str, value: Value) -> Result<u64> {
    let name = if key == "min_doc_count" {
        "minDocCount"
    } else {
        "shardMinDocCount"
    };
    not_below(0, name, value)
}

fn not_below(least: u64, name: &str, value: Value) -> Result<u64> {
    let at = value.at;
    let number = value.number(name)?;
    match number.0.parse::<u64>() {
        Ok(count) if count >= least => Ok(count),
        _ if least == 0 => Err(QueryError::argument(format!(
            "[{name}] must be greater than or equal to 0. Found [{}]",
            number.0
        ))
        .at(at)),
        _ => Err(QueryError::argument(format!(
            "[{name}] must be greater than 0. Found [{}]",
            number.0
        ))
        .at(at)),
    }
}

fn terms(body: Value) -> Result<TermsAggregation> {
    let at = body.at;
    let mut found = TermsAggregation::default();
    let mut field = None;
    settings("terms", body, &mut |key, value| {
        match key {
            "field" => field = Some(value.string(key)?),
            "size" => found.size = Some(not_below(1, key, value)?),
            "shard_size" => found.shard_size = Some(not_below(1, "shardSize", value)?),
            "order" => found.order = orders(value)?,
            "min_doc_count" => found.min_doc_count = Some(least_count(key, value)?),
            "shard_min_doc_count" => found.shard_min_doc_count = Some(least_count(key, value)?),
            "missing" => found.missing = value.optional_scalar(key)?,
            "include" => found.include = Some(selection(key, value)?),
            "exclude" => found.exclude = Some(selection(key, value)?),
            "show_term_doc_count_error" => {
                found.show_term_doc_count_error = Some(value.boolean(key)?);
            }
            "execution_hint" => found.execution_hint = Some(value.text(key)?),
            "collect_mode" => found.collect_mode = Some(collect_mode(value)?),
            "format" => found.format = Some(value.text(key)?),
            "value_type" | "valueType" => found.value_type = Some(value.text(key)?),
            _ => return Ok(Some(value)),
        }
        if matches!(found.include, Some(TermsSelection::Partition { .. }))
            && found.exclude.is_some()
        {
            return Err(QueryError::argument(
                "Cannot specify any excludes when using a partition-based include",
            ));
        }
        Ok(None)
    })?;
    found.field = field_required(at, field)?;
    if let Some(hint) = found.execution_hint.as_deref()
        && !matches!(hint, "map" | "global_ordinals")
    {
        let reason =
            format!("Unknown `execution_hint`: [{hint}], expected any of [map, global_ordinals]");
        return Err(QueryError::argument(reason).by_shards());
    }
    Ok(found)
}

fn collect_mode(value: Value) -> Result<String> {
    let at = value.at;
    let mode = value.text("collect_mode")?;
    if matches!(mode.as_str(), "breadth_first" | "depth_first") {
        return Ok(mode);
    }
    let reason = format!("no [collect_mode] found for value [{mode}]");
    Err(QueryError::of_kind("parse_exception", reason).at(at))
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
                    _ => {
                        let reason = format!("Unknown parameter in Include/Exclude clause: {key}");
                        return Err(QueryError::of_kind("parse_exception", reason).at(value.at));
                    }
                }
            }
            let refused = |reason: String| Err(QueryError::argument(reason).at(at));
            match (partition, num_partitions) {
                (None, _) => {
                    refused("Missing [partition] parameter for partition-based include".to_owned())
                }
                (_, None) => refused(
                    "Missing [num_partitions] parameter for partition-based include".to_owned(),
                ),
                (Some(partition), Some(num_partitions)) if partition < num_partitions => {
                    Ok(TermsSelection::Partition {
                        partition,
                        num_partitions,
                    })
                }
                (_, Some(parts)) => refused(format!(
                    "Partition must be >=0 and < numPartition which is {parts}"
                )),
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
    settings(what, value, &mut |key, value| {
        match key {
            "min" => found.min = value.optional_scalar(key)?,
            "max" => found.max = value.optional_scalar(key)?,
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    Ok(found)
}

fn date_histogram(body: Value) -> Result<DateHistogram> {
    let at = body.at;
    let mut found = DateHistogram::default();
    let mut field = None;
    settings("date_histogram", body, &mut |key, value| {
        match key {
            "field" => field = Some(value.string(key)?),
            "extended_bounds" => found.extended_bounds = Some(bounds("long_bounds", value)?),
            "hard_bounds" => found.hard_bounds = Some(bounds("long_bounds", value)?),
            "min_doc_count" => found.min_doc_count = Some(least_count(key, value)?),
            "missing" => found.missing = value.optional_scalar(key)?,
            "keyed" => found.keyed = Some(value.boolean(key)?),
            "order" => found.order = orders(value)?,
            _ => return date_setting(&mut found, key, value),
        }
        Ok(None)
    })?;
    found.field = field_required(at, field)?;
    one_interval(&found)?;
    Ok(found)
}

/// What `date_histogram` and the composite source of that name share.
fn date_setting(found: &mut DateHistogram, key: &str, value: Value) -> Result<Option<Value>> {
    let another = [
        ("fixed_interval", found.fixed_interval.is_some()),
        ("calendar_interval", found.calendar_interval.is_some()),
        ("interval", found.interval.is_some()),
    ];
    if key.ends_with("interval")
        && let Some((other, _)) = another.iter().find(|(_, given)| *given)
    {
        let reason = format!("Cannot use [{key}] with [{other}] configuration option.");
        return Err(QueryError::argument(reason).at(value.at));
    }
    match key {
        "fixed_interval" => {
            let at = value.at;
            let text = value.text(key)?;
            match super::date_math::duration_ms(&text) {
                Ok(width) if width > 0 => {}
                Ok(_) => {
                    let reason = "Zero or negative time interval not supported";
                    return Err(QueryError::argument(reason).by_shards());
                }
                Err(_) => {
                    let reason = format!(
                        "failed to parse setting [date_histogram.fixedInterval] with value [{text}] as a time value: unit is missing or unrecognized"
                    );
                    return Err(QueryError::argument(reason).at(at));
                }
            }
            found.fixed_interval = Some(text);
        }
        "calendar_interval" => {
            let at = value.at;
            let text = value.text(key)?;
            if super::date_math::Unit::of_calendar_interval(&text).is_none() {
                let reason = format!(
                    "The supplied interval [{text}] could not be parsed as a calendar interval."
                );
                return Err(QueryError::argument(reason).at(at));
            }
            found.calendar_interval = Some(text);
        }
        "interval" => found.interval = Some(value.text(key)?),
        "time_zone" => {
            let at = value.at;
            let text = if matches!(value.kind, Kind::Number(_)) {
                // Hours ahead of UTC.
                format!("{:+03}:00", value.whole(key)?)
            } else {
                value.text(key)?
            };
            super::date_math::Zone::parse(&text).map_err(|_| {
                let reason = format!("Unknown time-zone ID: {text}");
                QueryError::of_kind("zone_rules_exception", reason).at(at)
            })?;
            found.time_zone = Some(text);
        }
        "offset" => found.offset = Some(value.text(key)?),
        "format" => found.format = Some(value.text(key)?),
        _ => return Ok(Some(value)),
    }
    Ok(None)
}

fn one_interval(found: &DateHistogram) -> Result<()> {
    let intervals = [
        &found.fixed_interval,
        &found.calendar_interval,
        &found.interval,
    ];
    if intervals.into_iter().flatten().next().is_some() {
        return Ok(());
    }
    let reason = "Invalid interval specified, must be non-null and non-empty";
    Err(QueryError::argument(reason).by_shards())
}

fn interval_above_zero(value: Value, what: &str) -> Result<Number> {
    let at = value.at;
    let number = value.number("interval").map_err(|_| {
        QueryError::of_kind("number_format_exception", "[interval] must be a number").at(at)
    })?;
    match number.0.parse::<f64>() {
        Ok(width) if width > 0.0 && width.is_finite() => Ok(number),
        _ => Err(QueryError::argument(format!("[interval] must be >0 for {what}")).at(at)),
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
    settings("histogram", body, &mut |key, value| {
        match key {
            "field" => field = Some(value.string(key)?),
            "interval" => interval = Some(interval_above_zero(value, "histogram aggregation")?),
            "offset" => found.offset = Some(value.number(key)?),
            "min_doc_count" => found.min_doc_count = Some(least_count(key, value)?),
            "extended_bounds" => found.extended_bounds = Some(double_bounds(value)?),
            "hard_bounds" => found.hard_bounds = Some(double_bounds(value)?),
            "missing" => found.missing = value.optional_scalar(key)?,
            "keyed" => found.keyed = Some(value.boolean(key)?),
            "order" => found.order = orders(value)?,
            "format" => found.format = Some(value.text(key)?),
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    found.field = field_required(at, field)?;
    found.interval = interval
        .ok_or_else(|| QueryError::argument("interval must be positive, got: 0.0").by_shards())?;
    Ok(found)
}

/// Bounds of numbers, which are looked at before anything is searched.
fn double_bounds(value: Value) -> Result<Bounds> {
    let at = value.at;
    let found = bounds("double_bounds", value)?;
    let number = |bound: &Option<Scalar>| match bound {
        Some(Scalar::Number(number)) => number.0.parse::<f64>().ok(),
        Some(Scalar::String(text)) => text.parse().ok(),
        _ => None,
    };
    match (number(&found.min), number(&found.max)) {
        (Some(min), Some(max)) if min > max => {
            let reason = "Failed to build [double_bounds] after last required field arrived";
            Err(QueryError::x_content(reason).at(at))
        }
        _ => Ok(found),
    }
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
    settings(what, body, &mut |key, value| {
        match key {
            "field" => field = Some(value.string(key)?),
            "ranges" => {
                for entry in value.array(key)? {
                    found.ranges.push(range_bucket(what, entry)?);
                }
            }
            "keyed" => found.keyed = Some(value.boolean(key)?),
            "format" => found.format = Some(value.text(key)?),
            "time_zone" if what == "date_range" => {
                let mut dates = DateHistogram::default();
                date_setting(&mut dates, key, value)?;
                found.time_zone = dates.time_zone;
            }
            "missing" => found.missing = value.optional_scalar(key)?,
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    found.field = field_required(at, field)?;
    if found.ranges.is_empty() {
        let reason = format!("No [ranges] specified for the [{what}] aggregation");
        return Err(QueryError::argument(reason).by_shards());
    }
    Ok(found)
}

fn range_bucket(what: &str, entry: Value) -> Result<RangeBucket> {
    let mut bucket = RangeBucket {
        key: None,
        from: None,
        to: None,
    };
    settings(what, entry, &mut |key, value| {
        match key {
            "key" => bucket.key = Some(value.text(key)?),
            "from" => bucket.from = value.optional_scalar(key)?,
            "to" => bucket.to = value.optional_scalar(key)?,
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
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
            (_, kind) => {
                let value = Value { at: value.at, kind };
                return Err(seeing_past(&key, value.unexpected(&key)));
            }
        }
    }
    let named =
        named.ok_or_else(|| QueryError::argument("[filters] cannot be null: [filters]").at(at))?;
    if filters.is_empty() {
        return Err(QueryError::argument("[filters] cannot be empty.").at(at));
    }
    // Filters without names have none to be answered by.
    let keyed = named && wanted_keyed != Some(false);
    Ok(AggregationKind::Filters {
        filters,
        keyed,
        other_bucket_key,
        other_bucket,
    })
}

fn composite(body: Value) -> Result<Composite> {
    let at = body.at;
    let (mut size, mut sources, mut after) = (None, None, None);
    settings("composite", body, &mut |key, value| {
        match key {
            "size" => size = Some(not_below(1, key, value)?),
            "sources" => sources = Some(composite_sources(value)?),
            "after" => {
                let values = value.object(key)?.into_iter();
                let values = values.map(|(name, value)| Ok((name, value.scalar("after")?)));
                after = Some(values.collect::<Result<Vec<(String, Scalar)>>>()?);
            }
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    Ok(Composite {
        size,
        sources: sources.ok_or_else(|| QueryError::argument("Required [sources]").at(at))?,
        after,
    })
}

fn composite_sources(value: Value) -> Result<Vec<(String, CompositeSource)>> {
    let at = value.at;
    let refused = |reason: String| {
        let outer = "Failed to build [composite] after last required field arrived";
        Err(QueryError::x_content(format!("{outer}: {reason}")).at(at))
    };
    let mut sources: Vec<(String, CompositeSource)> = Vec::new();
    for entry in value.list() {
        let at = entry.at;
        let mut entries = entry.object("sources")?.into_iter();
        let (Some((name, source)), None) = (entries.next(), entries.next()) else {
            return Err(QueryError::parsing("a composite source has one name").at(at));
        };
        if sources.iter().any(|(other, _)| *other == name) {
            return refused(format!(
                "Composite source names must be unique, found duplicates: [{name}]"
            ));
        }
        sources.push((name, composite_source(source)?));
    }
    if sources.is_empty() {
        return refused("Composite [sources] cannot be null or empty".to_owned());
    }
    Ok(sources)
}

fn composite_source(value: Value) -> Result<CompositeSource> {
    let at = value.at;
    let mut entries = value.object("sources")?.into_iter();
    let (Some((what, body)), None) = (entries.next(), entries.next()) else {
        return Err(QueryError::parsing("a composite source has one type").at(at));
    };
    if !matches!(what.as_str(), "terms" | "date_histogram" | "histogram") {
        return Err(QueryError::parsing(format!("invalid source type: {what}")).at(at));
    }
    let (mut field, mut interval) = (None, None);
    let (mut direction, mut missing_bucket, mut missing_order) = (None, None, None);
    let mut dates = DateHistogram::default();
    settings(&what, body, &mut |key, value| {
        match (key, what.as_str()) {
            ("field", _) => field = Some(value.string(key)?),
            ("order", _) => direction = Some(order(&value)?),
            ("missing_bucket", _) => missing_bucket = Some(value.boolean(key)?),
            ("missing_order", _) => missing_order = Some(missing_place(value)?),
            ("interval", "histogram") => {
                interval = Some(interval_above_zero(value, "[histogram] source")?);
            }
            (_, "date_histogram") => return date_setting(&mut dates, key, value),
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    if missing_order.is_some() && missing_bucket != Some(true) {
        let reason = "missingOrder can only be set if missingBucket is true";
        return Err(QueryError::argument(reason).by_shards());
    }
    let field = field_required(at, field)?;
    let kind = match what.as_str() {
        "terms" => CompositeKind::Terms { field },
        "date_histogram" => {
            one_interval(&dates)?;
            CompositeKind::DateHistogram(Box::new(DateHistogram { field, ..dates }))
        }
        _ => CompositeKind::Histogram {
            field,
            interval: interval
                .ok_or_else(|| QueryError::argument("Required [interval]").by_shards())?,
        },
    };
    Ok(CompositeSource {
        kind,
        order: direction,
        missing_bucket,
        missing_order,
    })
}

fn missing_place(value: Value) -> Result<String> {
    let at = value.at;
    let place = value.text("missing_order")?.to_ascii_lowercase();
    if matches!(place.as_str(), "first" | "last" | "default") {
        return Ok(place);
    }
    let reason = format!("Unknown missing order: [{place}]");
    Err(QueryError::argument(reason).at(at))
}
