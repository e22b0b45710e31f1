//! Aggregations as they were asked for, checked against the fields.

use std::collections::HashSet;
use std::sync::Arc;

use mscp_log_core::query::ast::{
    Aggregation, AggregationKind, Bounds, DateHistogram, Histogram, Metric, Number, Order, Query,
    RangeAggregation, Scalar, Search, TermsAggregation, TermsSelection,
};
use mscp_log_core::query::date_math::{Formats, Zone, resolve};
use mscp_log_core::query::regexp;
use serde_json::Value;

use super::super::compile::{Compiled, Compiler, scalar_text, wrong_date};
use super::super::error::EsError;
use super::super::shape::{Shape, double};
use super::super::sort::{no_columns, only_keys};
use super::super::target::{self, Kind as FieldKind, Target};
use super::composite::Composite;
use super::keys::rank;
use super::partition::Partition;
use super::rounding::Rounding;
use super::top_hits::TopHits;

/// The aggregations of a search.
pub(crate) struct Plan {
    pub(super) nodes: Vec<Node>,
    /// The queries of `filter` and `filters`, which nodes name by their place.
    pub(super) filters: Vec<Compiled>,
    /// Bytes that collecting may take.
    pub(super) memory_bytes: usize,
    /// Buckets that an answer may have.
    pub(super) max_buckets: usize,
    /// The indices of each partition that are asked for.
    pub(super) scopes: Vec<Option<Arc<[Box<str>]>>>,
}

/// One aggregation.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) below: Vec<Node>,
    pub(super) meta: Option<Value>,
}

/// What an aggregation computes. A field that no document has is `None`.
pub(super) enum Kind {
    Terms(Box<Terms>),
    Histogram(Box<Buckets>),
    Ranges(Box<Ranges>),
    Filter(usize),
    Filters {
        /// Names and queries.
        filters: Vec<(String, usize)>,
        named: bool,
        keyed: bool,
        /// The name of the bucket of the rest.
        other: Option<String>,
    },
    Missing(Option<Target>),
    Numbers {
        field: Option<Target>,
        missing: Option<f64>,
        shown: Shown,
        shape: Shape,
    },
    Percentiles {
        field: Option<Target>,
        missing: Option<f64>,
        /// From the least.
        percents: Vec<f64>,
        keyed: bool,
        shape: Shape,
    },
    Composite(Box<Composite>),
    TopHits(Box<TopHits>),
    Values {
        field: Option<Target>,
        missing: bool,
    },
    Distinct {
        field: Option<Target>,
        missing: Option<Scalar>,
    },
}

/// Which of the numbers of a field an answer shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shown {
    Min,
    Max,
    Avg,
    Sum,
    Stats,
    /// With the deviations that the bounds are away.
    Extended(f64),
}

/// `terms`
pub(super) struct Terms {
    pub(super) field: Option<Target>,
    pub(super) size: usize,
    pub(super) order: Vec<(String, Order)>,
    pub(super) min_doc_count: u64,
    pub(super) missing: Option<String>,
    pub(super) include: Option<Selection>,
    pub(super) exclude: Option<Selection>,
    pub(super) show_error: bool,
    /// Whether the keys are the values of all keys of a flattened field.
    pub(super) any_key: bool,
    /// Whether keys are numbers.
    pub(super) numeric: bool,
    pub(super) shape: Shape,
}

/// Which terms are meant.
pub(super) enum Selection {
    Regex(regex::Regex),
    Values(HashSet<String>),
    Partition(Partition),
}

impl Selection {
    fn has(&self, term: &str, numeric: bool) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(term),
            Self::Values(values) => values.contains(term),
            Self::Partition(partition) => match term.parse() {
                Ok(number) if numeric => partition.has_number(number),
                _ => partition.has_text(term),
            },
        }
    }
}

/// `date_histogram` and `histogram`
pub(super) struct Buckets {
    pub(super) field: Option<Target>,
    pub(super) cut: Cut,
    pub(super) min_doc_count: u64,
    /// The first and the last bucket to fill in.
    pub(super) extended: (Option<i64>, Option<i64>),
    pub(super) hard: (Option<f64>, Option<f64>),
    pub(super) missing: Option<i64>,
    pub(super) keyed: bool,
    pub(super) order: Vec<(String, Order)>,
    pub(super) shape: Shape,
}

/// How values become buckets.
pub(super) enum Cut {
    /// The key is the begin in milliseconds.
    Dates(Rounding),
    /// The key is the rank of the bucket's number, which may lie beyond an
    /// `i64`: it begins at `number * width + offset`.
    Numbers { width: f64, offset: f64 },
}

/// `range` and `date_range`
pub(super) struct Ranges {
    pub(super) field: Option<Target>,
    pub(super) ranges: Vec<OneRange>,
    pub(super) keyed: bool,
    /// Whether it is `date_range`.
    pub(super) is_dates: bool,
    pub(super) shape: Shape,
    pub(super) missing: Option<f64>,
}

/// One range: `from` is within, `to` is not.
pub(super) struct OneRange {
    pub(super) key: Option<String>,
    pub(super) from: Option<f64>,
    pub(super) to: Option<f64>,
}

impl Plan {
    /// Check the aggregations of `search`.
    pub(crate) fn new(
        compiler: &Compiler<'_>,
        search: &Search,
        scopes: Vec<Option<Arc<[Box<str>]>>>,
        memory_bytes: usize,
        max_buckets: usize,
    ) -> Result<Self, EsError> {
        let mut plan = Self {
            nodes: Vec::new(),
            filters: Vec::new(),
            memory_bytes,
            max_buckets,
            scopes,
        };
        let reading = Reading {
            compiler,
            around: search,
            above: None,
        };
        plan.nodes = plan.nodes(reading, &search.aggs)?;
        Ok(plan)
    }

    /// Whether documents must be scored.
    pub(crate) fn needs_scores(&self) -> bool {
        self.nodes.iter().any(Node::needs_scores)
    }

    fn nodes(
        &mut self,
        reading: Reading<'_>,
        aggregations: &[(String, Aggregation)],
    ) -> Result<Vec<Node>, EsError> {
        aggregations
            .iter()
            .map(|(name, aggregation)| {
                let kind = self.kind(reading, name, &aggregation.kind)?;
                let inside = Reading {
                    above: reading.above.or(factory(&kind)),
                    ..reading
                };
                let below = self.nodes(inside, &aggregation.aggs)?;
                let node = Node {
                    name: name.clone(),
                    kind,
                    below,
                    meta: aggregation
                        .meta
                        .as_deref()
                        .and_then(|meta| serde_json::from_str(meta).ok()),
                };
                node.check_order()?;
                Ok(node)
            })
            .collect()
    }

    fn filter(&mut self, compiler: &Compiler<'_>, query: &Query) -> Result<usize, EsError> {
        let compiled = compiler.compile(query);
        self.filters
            .push(compiled.map_err(EsError::of_an_aggregation)?);
        Ok(self.filters.len() - 1)
    }

    fn kind(
        &mut self,
        reading: Reading<'_>,
        name: &str,
        kind: &AggregationKind,
    ) -> Result<Kind, EsError> {
        let compiler = reading.compiler;
        Ok(match kind {
            AggregationKind::Terms(terms) => Kind::Terms(Box::new(Terms::new(compiler, terms)?)),
            AggregationKind::DateHistogram(histogram) => {
                Kind::Histogram(Box::new(Buckets::of_dates(compiler, histogram)?))
            }
            AggregationKind::Histogram(histogram) => {
                Kind::Histogram(Box::new(Buckets::of_numbers(compiler, histogram)?))
            }
            AggregationKind::Range(ranges) => {
                Kind::Ranges(Box::new(Ranges::new(compiler, ranges, false)?))
            }
            AggregationKind::DateRange(ranges) => {
                Kind::Ranges(Box::new(Ranges::new(compiler, ranges, true)?))
            }
            AggregationKind::Filter(query) => Kind::Filter(self.filter(compiler, query)?),
            AggregationKind::Filters {
                filters,
                keyed,
                other_bucket_key,
                other_bucket,
            } => {
                // Those with names come by their names.
                let mut sorted: Vec<_> = filters.iter().collect();
                sorted.sort_by(|left, right| left.0.cmp(&right.0));
                let mut places = Vec::with_capacity(filters.len());
                for (name, query) in sorted {
                    places.push((name.clone(), self.filter(compiler, query)?));
                }
                let wanted = other_bucket.unwrap_or(other_bucket_key.is_some());
                Kind::Filters {
                    named: filters.iter().any(|(name, _)| !name.is_empty()),
                    filters: places,
                    keyed: *keyed,
                    other: wanted.then(|| {
                        other_bucket_key
                            .clone()
                            .unwrap_or_else(|| "_other_".to_owned())
                    }),
                }
            }
            AggregationKind::Missing { field } => Kind::Missing(any_column(compiler, field)?),
            AggregationKind::Cardinality { metric, .. } => {
                let field = column(compiler, &metric.field)?;
                if field.as_ref().is_some_and(|f| f.kind == FieldKind::Long) {
                    missing_number(compiler, metric, field.as_ref())?;
                }
                Kind::Distinct {
                    field,
                    missing: metric.missing.clone(),
                }
            }
            AggregationKind::ValueCount(metric) => {
                let field = column(compiler, &metric.field)?;
                let kind = field.as_ref().map(|field| &field.kind);
                if matches!(kind, Some(FieldKind::Long | FieldKind::Date)) {
                    missing_number(compiler, metric, field.as_ref())?;
                }
                Kind::Values {
                    field,
                    missing: metric.missing.is_some(),
                }
            }
            AggregationKind::Min(metric) => numbers(compiler, metric, "min", Shown::Min)?,
            AggregationKind::Max(metric) => numbers(compiler, metric, "max", Shown::Max)?,
            AggregationKind::Avg(metric) => numbers(compiler, metric, "avg", Shown::Avg)?,
            AggregationKind::Sum(metric) => numbers(compiler, metric, "sum", Shown::Sum)?,
            AggregationKind::Stats(metric) => numbers(compiler, metric, "stats", Shown::Stats)?,
            AggregationKind::ExtendedStats { metric, sigma } => {
                let sigma = match sigma {
                    Some(number) => number
                        .0
                        .parse()
                        .map_err(|_| EsError::not_a_number(&number.0))?,
                    None => 2.0,
                };
                numbers(compiler, metric, "extended_stats", Shown::Extended(sigma))?
            }
            AggregationKind::Composite(composite) => {
                if let Some(above) = reading.above {
                    return Err(EsError::illegal_argument(format!(
                        "[composite] aggregation cannot be used with a parent aggregation of type: [{above}]"
                    )));
                }
                let composite = Composite::new(compiler, name, composite, self.max_buckets)?;
                Kind::Composite(Box::new(composite))
            }
            AggregationKind::Percentiles {
                metric,
                percents,
                keyed,
                ..
            } => {
                let field = numeric(compiler, &metric.field, "percentiles")?;
                Kind::Percentiles {
                    missing: missing_number(compiler, metric, field.as_ref())?,
                    percents: sorted_percents(percents.as_deref())?,
                    keyed: *keyed != Some(false),
                    shape: Shape::of(field.as_ref(), metric.format.as_deref(), Zone::default())?,
                    field,
                }
            }
            AggregationKind::TopHits(search) => Kind::TopHits(Box::new(TopHits::new(
                compiler,
                name,
                search,
                reading.around,
            )?)),
        })
    }
}

/// What aggregations are checked against.
#[derive(Clone, Copy)]
struct Reading<'a> {
    compiler: &'a Compiler<'a>,
    /// The search around it.
    around: &'a Search,
    /// The first aggregation above that has several buckets, by Elasticsearch's name.
    above: Option<&'static str>,
}

/// What Elasticsearch calls an aggregation that has several buckets.
fn factory(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Terms(_) => "TermsAggregatorFactory",
        Kind::Histogram(buckets) => match buckets.cut {
            Cut::Dates(_) => "DateHistogramAggregatorFactory",
            Cut::Numbers { .. } => "HistogramAggregatorFactory",
        },
        Kind::Ranges(ranges) => match ranges.is_dates {
            true => "DateRangeAggregatorFactory",
            false => "RangeAggregatorFactory",
        },
        Kind::Filters { .. } => "FiltersAggregatorFactory",
        Kind::Missing(_) => "MissingAggregatorFactory",
        Kind::Composite(_) => "CompositeAggregationFactory",
        _ => return None,
    })
}

/// The percents that are asked for, from the least.
fn sorted_percents(percents: Option<&[Number]>) -> Result<Vec<f64>, EsError> {
    let Some(percents) = percents else {
        return Ok(vec![1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0]);
    };
    let mut sorted = Vec::with_capacity(percents.len());
    for number in percents {
        let percent: f64 = number
            .0
            .parse()
            .map_err(|_| EsError::not_a_number(&number.0))?;
        sorted.push(percent);
    }
    sorted.sort_by(f64::total_cmp);
    Ok(sorted)
}

impl Node {
    fn needs_scores(&self) -> bool {
        match &self.kind {
            Kind::TopHits(plan) => plan.needs_scores(),
            _ => self.below.iter().any(Self::needs_scores),
        }
    }

    /// A path of an order must lead to a number.
    fn check_order(&self) -> Result<(), EsError> {
        let order = match &self.kind {
            Kind::Terms(terms) => &terms.order,
            Kind::Histogram(buckets) => &buckets.order,
            _ => return Ok(()),
        };
        for (path, _) in order {
            if matches!(path.as_str(), "_count" | "_key" | "_term" | "_time") {
                continue;
            }
            if super::path::Path::new(path, &self.below).is_none() {
                let reason = format!(
                    "Invalid aggregation order path [{path}]. The provided aggregation [{path}] either does not exist, or is a pipeline aggregation and cannot be used to sort the buckets."
                );
                // What is there and has no number is another error.
                let is_there = self.below.iter().any(|node| node.name == *path);
                return Err(if is_there {
                    EsError::invalid_path(reason)
                } else {
                    EsError::illegal_argument(reason)
                });
            }
        }
        Ok(())
    }
}

/// As [`column`], where only that there are values counts.
fn any_column(compiler: &Compiler<'_>, field: &str) -> Result<Option<Target>, EsError> {
    match target::resolve(compiler.schema, field) {
        Some(target) if target.kind == FieldKind::Text => Err(no_columns(field)),
        other => Ok(other),
    }
}

/// The field that has columns, or `None` where no document has it.
pub(super) fn column(compiler: &Compiler<'_>, field: &str) -> Result<Option<Target>, EsError> {
    match target::resolve(compiler.schema, field) {
        Some(target) if target.kind == FieldKind::Text => Err(no_columns(field)),
        Some(target) if target.kind == FieldKind::AnyKey => Err(only_keys(field)),
        other => Ok(other),
    }
}

pub(super) fn numeric(
    compiler: &Compiler<'_>,
    field: &str,
    kind: &str,
) -> Result<Option<Target>, EsError> {
    match column(compiler, field)? {
        Some(target) if !matches!(target.kind, FieldKind::Long | FieldKind::Date) => {
            Err(EsError::illegal_argument(format!(
                "Field [{field}] of type [keyword] is not supported for aggregation [{kind}]"
            )))
        }
        other => Ok(other),
    }
}

fn numbers(
    compiler: &Compiler<'_>,
    metric: &Metric,
    kind: &str,
    shown: Shown,
) -> Result<Kind, EsError> {
    let field = numeric(compiler, &metric.field, kind)?;
    Ok(Kind::Numbers {
        missing: missing_number(compiler, metric, field.as_ref())?,
        shape: Shape::of(field.as_ref(), metric.format.as_deref(), Zone::default())?,
        field,
        shown,
    })
}

fn missing_number(
    compiler: &Compiler<'_>,
    metric: &Metric,
    field: Option<&Target>,
) -> Result<Option<f64>, EsError> {
    match &metric.missing {
        Some(value) => number(compiler, is_date(field), value).map(Some),
        None => Ok(None),
    }
}

fn is_date(field: Option<&Target>) -> bool {
    field.is_some_and(|target| target.kind == FieldKind::Date)
}

pub(super) fn formats(text: Option<&str>) -> Result<Formats, EsError> {
    match text {
        Some(text) => Formats::parse(text).map_err(|error| wrong_date(&error)),
        None => Ok(Formats::default()),
    }
}

pub(super) fn zone(text: Option<&str>) -> Result<Zone, EsError> {
    match text {
        Some(text) => Zone::parse(text).map_err(|error| wrong_date(&error)),
        None => Ok(Zone::default()),
    }
}

fn number(compiler: &Compiler<'_>, is_date: bool, value: &Scalar) -> Result<f64, EsError> {
    if is_date {
        let ms = super::super::compile::date_value(value, compiler.now_ms, false)?;
        return Ok(ms as f64);
    }
    let text = scalar_text(value);
    text.parse().map_err(|_| EsError::not_a_number(&text))
}

impl Terms {
    fn new(compiler: &Compiler<'_>, terms: &TermsAggregation) -> Result<Self, EsError> {
        let field = any_column(compiler, &terms.field)?;
        let any_key = field.as_ref().is_some_and(|f| f.kind == FieldKind::AnyKey);
        if any_key && terms.min_doc_count == Some(0) {
            return Err(only_keys(&terms.field));
        }
        let is_date = is_date(field.as_ref());
        let size = terms.size.unwrap_or(10);
        if size == 0 {
            return Err(EsError::refused_request(
                "[size] must be greater than 0. Found [0] in [terms]",
            ));
        }
        let mut order = terms.order.clone();
        if order.is_empty() {
            order.push(("_count".to_owned(), Order::Desc));
        }
        let numeric = match &field {
            Some(target) => matches!(target.kind, FieldKind::Long | FieldKind::Date),
            None => matches!(
                terms.value_type.as_deref(),
                Some("long" | "integer" | "short" | "byte" | "date")
            ),
        };
        let missing = match &terms.missing {
            Some(value) if is_date => {
                Some(super::super::compile::date_value(value, compiler.now_ms, false)?.to_string())
            }
            Some(value) => Some(scalar_text(value)),
            None => None,
        };
        if let (Some(text), Some(FieldKind::Long)) = (&missing, field.as_ref().map(|f| &f.kind))
            && text.parse::<i64>().is_err()
        {
            return Err(EsError::not_a_number(text));
        }
        let instant = |value: &Scalar| -> Result<String, EsError> {
            if is_date {
                let ms = super::super::compile::date_value(value, compiler.now_ms, false)?;
                return Ok(ms.to_string());
            }
            let text = scalar_text(value);
            if numeric && text.parse::<f64>().is_err() {
                return Err(EsError::not_a_number(&text));
            }
            Ok(text)
        };
        Ok(Self {
            shape: Shape::of(field.as_ref(), terms.format.as_deref(), Zone::default())?,
            include: selection(terms.include.as_ref(), numeric, &instant)?,
            exclude: selection(terms.exclude.as_ref(), numeric, &instant)?,
            field,
            any_key,
            numeric,
            size: usize::try_from(size).unwrap_or(usize::MAX),
            order,
            min_doc_count: terms.min_doc_count.unwrap_or(1),
            missing,
            show_error: terms.show_term_doc_count_error == Some(true),
        })
    }

    /// Whether a term is among those that are wanted.
    pub(super) fn selects(&self, term: &str) -> bool {
        self.include
            .as_ref()
            .is_none_or(|include| include.has(term, self.numeric))
            && !self
                .exclude
                .as_ref()
                .is_some_and(|exclude| exclude.has(term, self.numeric))
    }
}

fn selection(
    selection: Option<&TermsSelection>,
    numeric: bool,
    text: &dyn Fn(&Scalar) -> Result<String, EsError>,
) -> Result<Option<Selection>, EsError> {
    Ok(match selection {
        None => None,
        Some(TermsSelection::Regexp(_)) if numeric => {
            return Err(EsError::illegal_argument(
                "Aggregation cannot support regular expression style include/exclude settings as they can only be applied to string fields. Use an array of numeric values for include/exclude clauses used to filter numeric fields",
            ));
        }
        Some(TermsSelection::Regexp(expression)) => {
            let regex = regexp::to_regex(expression, false).map_err(EsError::illegal_argument)?;
            let regex = regex::RegexBuilder::new(&regex)
                .size_limit(1 << 20)
                .build()
                .map_err(|error| EsError::illegal_argument(error.to_string()))?;
            Some(Selection::Regex(regex))
        }
        Some(TermsSelection::Values(values)) => {
            let values = values.iter().map(text);
            Some(Selection::Values(values.collect::<Result<_, _>>()?))
        }
        Some(TermsSelection::Partition {
            partition,
            num_partitions,
        }) => Some(Selection::Partition(Partition {
            part: i64::try_from(*partition).unwrap_or(i64::MAX),
            of: i64::try_from(*num_partitions).unwrap_or(i64::MAX),
        })),
    })
}

impl Buckets {
    fn of_dates(compiler: &Compiler<'_>, histogram: &DateHistogram) -> Result<Self, EsError> {
        let field = numeric(compiler, &histogram.field, "date_histogram")?;
        if let (Some(target), Some(_)) = (&field, &histogram.time_zone)
            && target.kind == FieldKind::Long
        {
            return Err(EsError::illegal_argument(format!(
                "Field [{}] of type [long] does not support custom time zones",
                histogram.field
            )));
        }
        let zone = zone(histogram.time_zone.as_deref())?;
        let formats = match field.as_ref().map(|field| &field.kind) {
            Some(FieldKind::Long) => Formats::default(),
            _ => formats(histogram.format.as_deref())?,
        };
        let rounding = Rounding::new(histogram, zone)?;
        let instant = |value: &Option<Scalar>| -> Result<Option<i64>, EsError> {
            match value {
                None | Some(Scalar::Null) => Ok(None),
                Some(Scalar::Number(number)) => number
                    .0
                    .parse()
                    .map(Some)
                    .map_err(|_| EsError::not_a_number(&number.0)),
                Some(value) => {
                    resolve(&scalar_text(value), compiler.now_ms, &formats, &zone, false)
                        .map(Some)
                        .map_err(|error| wrong_date(&error))
                }
            }
        };
        let bounds = |bounds: &Option<Bounds>| -> Result<(Option<i64>, Option<i64>), EsError> {
            match bounds {
                Some(bounds) => Ok((instant(&bounds.min)?, instant(&bounds.max)?)),
                None => Ok((None, None)),
            }
        };
        let extended = bounds(&histogram.extended_bounds)?;
        check_bounds(extended.0, extended.1)?;
        let hard = bounds(&histogram.hard_bounds)?;
        let units = |bounds: (Option<i64>, Option<i64>)| {
            let unit = |ms| rounding.floor(ms);
            (bounds.0.map(unit), bounds.1.map(unit))
        };
        check_within(units(extended), units(hard), |ms| formats.write(ms, &zone))?;
        let missing = instant(&histogram.missing)?;
        Ok(Self {
            shape: match (&field, &histogram.format) {
                // A field that no document has is a date here.
                (None, _) => Shape::Dates(formats, zone),
                (field, format) => Shape::of(field.as_ref(), format.as_deref(), zone)?,
            },
            field,
            extended: (
                extended.0.map(|ms| rounding.bound(ms)),
                extended.1.map(|ms| rounding.bound(ms)),
            ),
            hard: (
                hard.0.map(|ms| rounding.floor(ms) as f64),
                hard.1.map(|ms| rounding.floor(ms) as f64),
            ),
            cut: Cut::Dates(rounding),
            min_doc_count: histogram.min_doc_count.unwrap_or(0),
            missing,
            keyed: histogram.keyed == Some(true),
            order: histogram.order.clone(),
        })
    }

    fn of_numbers(compiler: &Compiler<'_>, histogram: &Histogram) -> Result<Self, EsError> {
        let parse = |text: &str| -> Result<f64, EsError> {
            text.parse().map_err(|_| EsError::not_a_number(text))
        };
        let width = parse(&histogram.interval.0)?;
        if width.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            return Err(EsError::refused_request(
                "[interval] must be >0 for histogram aggregation",
            ));
        }
        let offset = match &histogram.offset {
            Some(offset) => parse(&offset.0)?,
            None => 0.0,
        };
        let given = |value: Option<&Scalar>| -> Result<Option<f64>, EsError> {
            match value {
                None | Some(Scalar::Null) => Ok(None),
                Some(value) => parse(&scalar_text(value)).map(Some),
            }
        };
        let bounds = |bounds: &Option<Bounds>| -> Result<(Option<f64>, Option<f64>), EsError> {
            match bounds {
                Some(bounds) => Ok((given(bounds.min.as_ref())?, given(bounds.max.as_ref())?)),
                None => Ok((None, None)),
            }
        };
        let place = |value: f64| rank(((value - offset) / width).floor());
        let extended = bounds(&histogram.extended_bounds)?;
        let hard = bounds(&histogram.hard_bounds)?;
        check_within(extended, hard, double)?;
        check_bounds(extended.0, extended.1)?;
        let extended = (extended.0.map(place), extended.1.map(place));
        let field = numeric(compiler, &histogram.field, "histogram")?;
        Ok(Self {
            shape: Shape::of(field.as_ref(), histogram.format.as_deref(), Zone::default())?,
            field,
            extended,
            hard,
            cut: Cut::Numbers { width, offset },
            min_doc_count: histogram.min_doc_count.unwrap_or(0),
            missing: given(histogram.missing.as_ref())?.map(|number| number as i64),
            keyed: histogram.keyed == Some(true),
            order: histogram.order.clone(),
        })
    }
}

fn check_bounds<T: PartialOrd + std::fmt::Display>(
    low: Option<T>,
    high: Option<T>,
) -> Result<(), EsError> {
    match (low, high) {
        (Some(low), Some(high)) if low > high => Err(EsError::illegal_argument(format!(
            "[extended_bounds.min][{low}] cannot be greater than [extended_bounds.max][{high}]"
        ))),
        _ => Ok(()),
    }
}

/// Buckets that are filled in must be among those that may be.
fn check_within<T: PartialOrd + Copy>(
    extended: (Option<T>, Option<T>),
    hard: (Option<T>, Option<T>),
    text: impl Fn(T) -> String,
) -> Result<(), EsError> {
    let too_low = extended
        .0
        .zip(hard.0)
        .is_some_and(|(own, limit)| own < limit);
    let too_high = extended
        .1
        .zip(hard.1)
        .is_some_and(|(own, limit)| own > limit);
    if !too_low && !too_high {
        return Ok(());
    }
    let written = |bounds: (Option<T>, Option<T>)| {
        let end = |end: Option<T>| end.map_or_else(String::new, &text);
        format!("{}--{}", end(bounds.0), end(bounds.1))
    };
    Err(EsError::illegal_argument(format!(
        "Extended bounds have to be inside hard bounds, hard bounds: [{}], extended bounds: [{}]",
        written(hard),
        written(extended)
    )))
}

/// A number of so many digits is a year.
const YEAR_DIGITS: usize = 4;

impl Ranges {
    fn new(
        compiler: &Compiler<'_>,
        aggregation: &RangeAggregation,
        is_dates: bool,
    ) -> Result<Self, EsError> {
        let kind = if is_dates { "date_range" } else { "range" };
        let field = numeric(compiler, &aggregation.field, kind)?;
        let dates = is_date(field.as_ref()) || (is_dates && field.is_none());
        let formats = if dates {
            formats(aggregation.format.as_deref())?
        } else {
            Formats::default()
        };
        let zone = zone(aggregation.time_zone.as_deref())?;
        let end = |value: Option<&Scalar>| -> Result<Option<f64>, EsError> {
            match value {
                None | Some(Scalar::Null) => Ok(None),
                Some(Scalar::Number(number)) => number
                    .0
                    .parse()
                    .map(Some)
                    .map_err(|_| EsError::not_a_number(&number.0)),
                Some(value) if dates => {
                    let text = scalar_text(value);
                    // Milliseconds are of no zone.
                    let counted = aggregation.format.is_none()
                        && text.len() > YEAR_DIGITS
                        && text.parse::<i64>().is_ok();
                    let zone = if counted { Zone::default() } else { zone };
                    resolve(&text, compiler.now_ms, &formats, &zone, false)
                        .map(|ms| Some(ms as f64))
                        .map_err(|error| wrong_date(&error))
                }
                Some(value) => number(compiler, false, value).map(Some),
            }
        };
        let mut ranges = Vec::with_capacity(aggregation.ranges.len());
        for range in &aggregation.ranges {
            ranges.push(OneRange {
                key: range.key.clone(),
                from: end(range.from.as_ref())?,
                to: end(range.to.as_ref())?,
            });
        }
        ranges.sort_by(|left, right| {
            let low = |range: &OneRange| range.from.unwrap_or(f64::NEG_INFINITY);
            let high = |range: &OneRange| range.to.unwrap_or(f64::INFINITY);
            low(left)
                .total_cmp(&low(right))
                .then(high(left).total_cmp(&high(right)))
        });
        Ok(Self {
            missing: end(aggregation.missing.as_ref())?,
            shape: if dates {
                Shape::Dates(formats, zone)
            } else {
                Shape::of(field.as_ref(), aggregation.format.as_deref(), zone)?
            },
            field,
            ranges,
            keyed: aggregation.keyed == Some(true),
            is_dates,
        })
    }
}
