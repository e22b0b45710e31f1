//! The way from a bucket to a number below it, as an order names it.

use super::merged::{Bucket, Numbers, Partial};
use super::plan::{Kind, Node, Shown};

/// The way from a bucket to a number below it: `slow>latency.avg`.
pub(super) struct Path {
    steps: Vec<usize>,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Count,
    Distinct,
    Min,
    Max,
    Avg,
    Sum,
    Values,
    Squares,
    Variance,
    SampledVariance,
    Deviation,
    SampledDeviation,
    /// The value at so many percent.
    Percentile(f64),
}

impl Path {
    /// The way that `path` says below a bucket with `nodes`; `None` where it
    /// does not lead to one number.
    pub(super) fn new(path: &str, nodes: &[Node]) -> Option<Self> {
        let mut steps = Vec::new();
        let mut nodes = nodes;
        let mut parts = path.split('>').peekable();
        loop {
            let part = parts.next()?;
            let find = |name: &str| nodes.iter().position(|node| node.name == name);
            if parts.peek().is_some() {
                let place = find(part)?;
                if !matches!(nodes[place].kind, Kind::Filter(_) | Kind::Missing(_)) {
                    return None;
                }
                steps.push(place);
                nodes = &nodes[place].below;
                continue;
            }
            let (place, property) = match find(part) {
                Some(place) => (place, None),
                None => {
                    let (name, property) = part
                        .strip_suffix(']')
                        .and_then(|part| part.split_once('['))
                        .or_else(|| {
                            part.split_once('.')
                                .filter(|(name, _)| find(name).is_some())
                        })
                        .or_else(|| part.rsplit_once('.'))?;
                    (find(name)?, Some(property))
                }
            };
            steps.push(place);
            let end = End::of(&nodes[place].kind, property)?;
            return Some(Self { steps, end });
        }
    }

    /// The number; `NaN` where there is none.
    pub(super) fn value(&self, bucket: &Bucket) -> f64 {
        let mut bucket = bucket;
        let Some((last, ways)) = self.steps.split_last() else {
            return f64::NAN;
        };
        for step in ways {
            match bucket.below.get(*step) {
                Some(Partial::Placed(buckets)) if !buckets.is_empty() => bucket = &buckets[0],
                None => return self.end.of_nothing(),
                _ => return f64::NAN,
            }
        }
        match bucket.below.get(*last) {
            Some(Partial::Placed(buckets)) => buckets.first().map_or(0.0, |b| b.count as f64),
            Some(Partial::Distinct(values)) => values.len() as f64,
            Some(Partial::Numbers(numbers)) => self.end.of_numbers(numbers),
            Some(Partial::Sample(sample)) => match self.end {
                End::Percentile(percent) => {
                    let found = sample.clone().at(&[percent]);
                    found.first().copied().flatten().unwrap_or(f64::NAN)
                }
                _ => f64::NAN,
            },
            // A bucket that was put in where no document lies.
            None => self.end.of_nothing(),
            _ => f64::NAN,
        }
    }
}

impl End {
    fn of_nothing(self) -> f64 {
        match self {
            Self::Count | Self::Distinct => 0.0,
            end => end.of_numbers(&Numbers::default()),
        }
    }

    fn of(kind: &Kind, property: Option<&str>) -> Option<Self> {
        Some(match (kind, property) {
            (Kind::Filter(_) | Kind::Missing(_), None | Some("doc_count")) => Self::Count,
            (Kind::Percentiles { .. }, Some(percent)) => Self::Percentile(
                percent
                    .parse()
                    .ok()
                    .filter(|percent| (0.0..=100.0).contains(percent))?,
            ),
            (Kind::Distinct { .. }, None | Some("value")) => Self::Distinct,
            (Kind::Values { .. }, None | Some("value")) => Self::Values,
            (Kind::Numbers { shown, .. }, None | Some("value")) => match shown {
                Shown::Min => Self::Min,
                Shown::Max => Self::Max,
                Shown::Avg => Self::Avg,
                Shown::Sum => Self::Sum,
                Shown::Stats | Shown::Extended(_) => return None,
            },
            (Kind::Numbers { shown, .. }, Some(property)) => match (shown, property) {
                (Shown::Stats | Shown::Extended(_), "min") => Self::Min,
                (Shown::Stats | Shown::Extended(_), "max") => Self::Max,
                (Shown::Stats | Shown::Extended(_), "avg") => Self::Avg,
                (Shown::Stats | Shown::Extended(_), "sum") => Self::Sum,
                (Shown::Stats | Shown::Extended(_), "count") => Self::Values,
                (Shown::Extended(_), "sum_of_squares") => Self::Squares,
                (Shown::Extended(_), "variance" | "variance_population") => Self::Variance,
                (Shown::Extended(_), "variance_sampling") => Self::SampledVariance,
                (Shown::Extended(_), "std_deviation" | "std_deviation_population") => {
                    Self::Deviation
                }
                (Shown::Extended(_), "std_deviation_sampling") => Self::SampledDeviation,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn of_numbers(self, numbers: &Numbers) -> f64 {
        let count = numbers.count as f64;
        let spread = || (numbers.squares() - numbers.sum() * numbers.sum() / count).max(0.0);
        match self {
            Self::Values => count,
            Self::Sum => numbers.sum(),
            // Of no value they are the ends of the line, as in Elasticsearch.
            Self::Min => numbers.least,
            Self::Max => numbers.greatest,
            _ if numbers.count == 0 => f64::NAN,
            Self::Avg => numbers.sum() / count,
            Self::Squares => numbers.squares(),
            Self::Variance => spread() / count,
            Self::Deviation => (spread() / count).sqrt(),
            Self::SampledVariance => spread() / (count - 1.0),
            Self::SampledDeviation => (spread() / (count - 1.0)).sqrt(),
            Self::Count | Self::Distinct | Self::Percentile(_) => f64::NAN,
        }
    }
}
