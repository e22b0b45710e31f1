//! Aggregations as they were asked for, checked against the fields.

use std::collections::HashSet;

use mscp_log_core::query::ast::{
    Aggregation, AggregationKind, Bounds, DateHistogram, Histogram, Metric, Order,
    RangeAggregation, Scalar, TermsAggregation, TermsSelection,
};
use mscp_log_core::query::date_math::{Formats, Zone, resolve};
use mscp_log_core::query::regexp;
use serde_json::Value;

use super::super::compile::{Compiled, Compiler, scalar_text, wrong_date};
use super::super::error::EsError;
use super::super::sort::no_columns;
use super::super::target::{self, Kind as FieldKind, Target};
use super::rounding::Rounding;

/// The aggregations of a search.
pub(crate) struct Plan {
    pub(super) nodes: Vec<Node>,
    /// The queries of `filter` and `filters`, which nodes name by their place.
    pub(super) filters: Vec<Compiled>,
    /// Bytes that collecting may take.
    pub(super) memory_bytes: usize,
    /// Buckets that an answer may have.
    pub(super) max_buckets: usize,
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
        keyed: bool,
        /// The name of the bucket of the rest.
        other: Option<String>,
    },
    Missing(Option<Target>),
    Numbers {
        field: Option<Target>,
        missing: Option<f64>,
        shown: Shown,
        format: Option<Formats>,
    },
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
    pub(super) format: Option<Formats>,
}

/// Which terms are meant.
pub(super) enum Selection {
    Regex(regex::Regex),
    Values(HashSet<String>),
}

impl Selection {
    pub(super) fn has(&self, term: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(term),
            Self::Values(values) => values.contains(term),
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
    pub(super) format: Formats,
    pub(super) zone: Zone,
}

/// How values become buckets.
pub(super) enum Cut {
    /// The key is the begin in milliseconds.
    Dates(Rounding),
    /// The key is the bucket's number: it begins at `key * width + offset`.
    Numbers { width: f64, offset: f64 },
}

/// `range` and `date_range`
pub(super) struct Ranges {
    pub(super) field: Option<Target>,
    pub(super) ranges: Vec<OneRange>,
    pub(super) keyed: bool,
    pub(super) dates: Option<(Formats, Zone)>,
    pub(super) missing: Option<f64>,
}

/// One range: `from` is within, `to` is not.
pub(super) struct OneRange {
    pub(super) key: Option<String>,
    pub(super) from: Option<f64>,
    pub(super) to: Option<f64>,
}

impl Plan {
    /// Check `aggregations`, those that are named in a search.
    pub(crate) fn new(
        compiler: &Compiler<'_>,
        aggregations: &[(String, Aggregation)],
        memory_bytes: usize,
        max_buckets: usize,
    ) -> Result<Self, EsError> {
        let mut plan = Self {
            nodes: Vec::new(),
            filters: Vec::new(),
            memory_bytes,
            max_buckets,
        };
        plan.nodes = plan.nodes(compiler, aggregations)?;
        Ok(plan)
    }

    fn nodes(
        &mut self,
        compiler: &Compiler<'_>,
        aggregations: &[(String, Aggregation)],
    ) -> Result<Vec<Node>, EsError> {
        aggregations
            .iter()
            .map(|(name, aggregation)| {
                let below = self.nodes(compiler, &aggregation.aggs)?;
                let kind = self.kind(compiler, &aggregation.kind)?;
                let metric = matches!(
                    kind,
                    Kind::Numbers { .. } | Kind::Values { .. } | Kind::Distinct { .. }
                );
                if metric && !below.is_empty() {
                    return Err(EsError::refused_request(format!(
                        "Aggregator [{name}] cannot accept sub-aggregations"
                    )));
                }
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

    fn filter(
        &mut self,
        compiler: &Compiler<'_>,
        query: &mscp_log_core::query::ast::Query,
    ) -> Result<usize, EsError> {
        self.filters.push(compiler.compile(query)?);
        Ok(self.filters.len() - 1)
    }

    fn kind(&mut self, compiler: &Compiler<'_>, kind: &AggregationKind) -> Result<Kind, EsError> {
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
                let mut places = Vec::with_capacity(filters.len());
                for (name, query) in filters {
                    places.push((name.clone(), self.filter(compiler, query)?));
                }
                let wanted = other_bucket.unwrap_or(other_bucket_key.is_some());
                Kind::Filters {
                    filters: places,
                    keyed: *keyed,
                    other: wanted.then(|| {
                        other_bucket_key
                            .clone()
                            .unwrap_or_else(|| "_other_".to_owned())
                    }),
                }
            }
            AggregationKind::Missing { field } => Kind::Missing(column(compiler, field)?),
            AggregationKind::Cardinality { metric, .. } => Kind::Distinct {
                field: column(compiler, &metric.field)?,
                missing: metric.missing.clone(),
            },
            AggregationKind::ValueCount(metric) => Kind::Values {
                field: column(compiler, &metric.field)?,
                missing: metric.missing.is_some(),
            },
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
                        .map_err(|_| EsError::number_format(&number.0))?,
                    None => 2.0,
                };
                numbers(compiler, metric, "extended_stats", Shown::Extended(sigma))?
            }
            AggregationKind::Composite(_) => return Err(unknown("composite")),
            AggregationKind::Percentiles { .. } => return Err(unknown("percentiles")),
            AggregationKind::TopHits(_) => return Err(unknown("top_hits")),
        })
    }
}

fn unknown(kind: &str) -> EsError {
    EsError::unknown(format!("Unknown aggregation type [{kind}]"))
}

impl Node {
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
            if super::render::Path::new(path, &self.below).is_none() {
                return Err(EsError::illegal_argument(format!(
                    "Invalid aggregation order path [{path}]. The provided aggregation [{path}] either does not exist, or is a pipeline aggregation and cannot be used to sort the buckets."
                )));
            }
        }
        Ok(())
    }
}

/// The field that has columns, or `None` where no document has it.
fn column(compiler: &Compiler<'_>, field: &str) -> Result<Option<Target>, EsError> {
    match target::resolve(compiler.schema, field) {
        Some(target) if target.kind == FieldKind::Text => Err(no_columns(field)),
        other => Ok(other),
    }
}

fn numeric(compiler: &Compiler<'_>, field: &str, kind: &str) -> Result<Option<Target>, EsError> {
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
    let is_date = is_date(field.as_ref());
    let format = match &metric.format {
        Some(format) if is_date => Some(formats(Some(format))?),
        None if is_date => Some(Formats::default()),
        _ => None,
    };
    Ok(Kind::Numbers {
        missing: match &metric.missing {
            Some(value) => Some(number(compiler, is_date, value)?),
            None => None,
        },
        field,
        shown,
        format,
    })
}

fn is_date(field: Option<&Target>) -> bool {
    field.is_some_and(|target| target.kind == FieldKind::Date)
}

fn formats(text: Option<&str>) -> Result<Formats, EsError> {
    match text {
        Some(text) => Formats::parse(text).map_err(|error| wrong_date(&error)),
        None => Ok(Formats::default()),
    }
}

fn zone(text: Option<&str>) -> Result<Zone, EsError> {
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
    text.parse().map_err(|_| EsError::number_format(&text))
}

impl Terms {
    fn new(compiler: &Compiler<'_>, terms: &TermsAggregation) -> Result<Self, EsError> {
        let field = column(compiler, &terms.field)?;
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
        let format = match &terms.format {
            Some(format) if is_date => Some(formats(Some(format))?),
            None if is_date => Some(Formats::default()),
            _ => None,
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
            return Err(EsError::number_format(text));
        }
        Ok(Self {
            field,
            size: usize::try_from(size).unwrap_or(usize::MAX),
            order,
            min_doc_count: terms.min_doc_count.unwrap_or(1),
            missing,
            include: selection(terms.include.as_ref())?,
            exclude: selection(terms.exclude.as_ref())?,
            show_error: terms.show_term_doc_count_error == Some(true),
            format,
        })
    }

    /// Whether a term is among those that are wanted.
    pub(super) fn selects(&self, term: &str) -> bool {
        self.include
            .as_ref()
            .is_none_or(|include| include.has(term))
            && !self
                .exclude
                .as_ref()
                .is_some_and(|exclude| exclude.has(term))
    }
}

fn selection(selection: Option<&TermsSelection>) -> Result<Option<Selection>, EsError> {
    Ok(match selection {
        None => None,
        Some(TermsSelection::Regexp(expression)) => {
            let regex = regexp::to_regex(expression, false).map_err(EsError::illegal_argument)?;
            let regex = regex::RegexBuilder::new(&regex)
                .size_limit(1 << 20)
                .build()
                .map_err(|error| EsError::illegal_argument(error.to_string()))?;
            Some(Selection::Regex(regex))
        }
        Some(TermsSelection::Values(values)) => {
            Some(Selection::Values(values.iter().map(scalar_text).collect()))
        }
        Some(TermsSelection::Partition { .. }) => {
            return Err(EsError::unknown(
                "[terms] with [include] by partition is not supported",
            ));
        }
    })
}

impl Buckets {
    fn of_dates(compiler: &Compiler<'_>, histogram: &DateHistogram) -> Result<Self, EsError> {
        let field = numeric(compiler, &histogram.field, "date_histogram")?;
        let zone = zone(histogram.time_zone.as_deref())?;
        let formats = formats(histogram.format.as_deref())?;
        let rounding = Rounding::new(histogram, zone)?;
        let instant = |value: &Option<Scalar>| -> Result<Option<i64>, EsError> {
            match value {
                None | Some(Scalar::Null) => Ok(None),
                Some(Scalar::Number(number)) => number
                    .0
                    .parse()
                    .map(Some)
                    .map_err(|_| EsError::number_format(&number.0)),
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
        Ok(Self {
            field,
            extended: (
                extended.0.map(|ms| rounding.floor(ms)),
                extended.1.map(|ms| rounding.floor(ms)),
            ),
            hard: (hard.0.map(|ms| ms as f64), hard.1.map(|ms| ms as f64)),
            cut: Cut::Dates(rounding),
            min_doc_count: histogram.min_doc_count.unwrap_or(0),
            missing: instant(&histogram.missing)?,
            keyed: histogram.keyed == Some(true),
            order: histogram.order.clone(),
            format: formats,
            zone,
        })
    }

    fn of_numbers(compiler: &Compiler<'_>, histogram: &Histogram) -> Result<Self, EsError> {
        let parse = |text: &str| -> Result<f64, EsError> {
            text.parse().map_err(|_| EsError::number_format(text))
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
        let place = |value: f64| ((value - offset) / width).floor() as i64;
        let extended = bounds(&histogram.extended_bounds)?;
        let extended = (extended.0.map(place), extended.1.map(place));
        check_bounds(extended.0, extended.1)?;
        Ok(Self {
            field: numeric(compiler, &histogram.field, "histogram")?,
            extended,
            hard: bounds(&histogram.hard_bounds)?,
            cut: Cut::Numbers { width, offset },
            min_doc_count: histogram.min_doc_count.unwrap_or(0),
            missing: given(histogram.missing.as_ref())?.map(|number| number as i64),
            keyed: histogram.keyed == Some(true),
            order: histogram.order.clone(),
            format: Formats::default(),
            zone: Zone::default(),
        })
    }
}

fn check_bounds(low: Option<i64>, high: Option<i64>) -> Result<(), EsError> {
    match (low, high) {
        (Some(low), Some(high)) if low > high => Err(EsError::illegal_argument(format!(
            "[extended_bounds.min][{low}] cannot be greater than [extended_bounds.max][{high}]"
        ))),
        _ => Ok(()),
    }
}

impl Ranges {
    fn new(
        compiler: &Compiler<'_>,
        aggregation: &RangeAggregation,
        dates: bool,
    ) -> Result<Self, EsError> {
        let kind = if dates { "date_range" } else { "range" };
        let field = numeric(compiler, &aggregation.field, kind)?;
        let dates = dates || is_date(field.as_ref());
        let formats = formats(aggregation.format.as_deref())?;
        let zone = zone(aggregation.time_zone.as_deref())?;
        let end = |value: Option<&Scalar>| -> Result<Option<f64>, EsError> {
            match value {
                None | Some(Scalar::Null) => Ok(None),
                Some(Scalar::Number(number)) => number
                    .0
                    .parse()
                    .map(Some)
                    .map_err(|_| EsError::number_format(&number.0)),
                Some(value) if dates => {
                    resolve(&scalar_text(value), compiler.now_ms, &formats, &zone, false)
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
            field,
            ranges,
            keyed: aggregation.keyed == Some(true),
            dates: dates.then_some((formats, zone)),
        })
    }
}
