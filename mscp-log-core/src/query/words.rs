//! How words are counted and compared: how many of them must be there, whether
//! they stand as a phrase, how far one is from another.

use super::ast::{Operator, Scalar};
use super::matches::text_of;

/// Whether enough of the words of a text are there.
pub(super) fn enough(
    found: usize,
    asked: usize,
    operator: Option<Operator>,
    spec: Option<&Scalar>,
) -> bool {
    if operator == Some(Operator::And) {
        return found == asked;
    }
    let wanted = match spec {
        Some(spec) if asked > 1 => minimum(spec, asked),
        _ => 0,
    };
    found >= wanted.max(1)
}

/// `minimum_should_match` of so many clauses: a number, a percentage, either
/// negative for how many may be missing, or `2<75%` for more than two.
#[must_use]
pub fn minimum(spec: &Scalar, clauses: usize) -> usize {
    let text = text_of(spec).unwrap_or_default();
    let clauses = i64::try_from(clauses).unwrap_or(i64::MAX);
    usize::try_from(minimum_of(text.trim(), clauses).max(0)).unwrap_or(0)
}

fn minimum_of(spec: &str, clauses: i64) -> i64 {
    if spec.contains('<') {
        let mut result = clauses;
        for condition in spec.split_whitespace() {
            let Some((above, then)) = condition.split_once('<') else {
                return result;
            };
            if above.parse::<i64>().is_ok_and(|above| clauses <= above) {
                return result;
            }
            // A condition within one has no meaning; Elasticsearch passes it over.
            let then = then.split('<').next().unwrap_or(then);
            result = minimum_of(then, clauses);
        }
        return result;
    }
    if let Some(percent) = spec.strip_suffix('%') {
        let part =
            (clauses as f64 * percent.trim().parse::<f64>().unwrap_or(0.0) / 100.0).trunc() as i64;
        return if percent.starts_with('-') {
            clauses + part
        } else {
            part
        };
    }
    let count: i64 = spec.parse().unwrap_or(0);
    if count < 0 { clauses + count } else { count }
}

/// Whether the words stand in order, moved by no more than `slop` in all.
pub(super) fn has_phrase(
    words: &[String],
    asked: &[String],
    slop: u64,
    last_is_prefix: bool,
) -> bool {
    fn place(
        words: &[String],
        asked: &[String],
        prefix: bool,
        next: usize,
        taken: &mut Vec<usize>,
        slop: i64,
    ) -> bool {
        let shifts = taken
            .iter()
            .enumerate()
            .map(|(place, at)| *at as i64 - place as i64);
        let (low, high) = shifts.fold((i64::MAX, i64::MIN), |(low, high), shift| {
            (low.min(shift), high.max(shift))
        });
        if !taken.is_empty() && high - low > slop {
            return false;
        }
        if next == asked.len() {
            return true;
        }
        for (at, word) in words.iter().enumerate() {
            let is_last = prefix && next + 1 == asked.len();
            let fits = if is_last {
                word.starts_with(&asked[next])
            } else {
                *word == asked[next]
            };
            if fits && !taken.contains(&at) {
                taken.push(at);
                if place(words, asked, prefix, next + 1, taken, slop) {
                    return true;
                }
                taken.pop();
            }
        }
        false
    }
    let slop = i64::try_from(slop).unwrap_or(i64::MAX);
    place(words, asked, last_is_prefix, 0, &mut Vec::new(), slop)
}

/// How many edits `fuzziness` allows on a word: `AUTO` is 0 below 3 letters,
/// 1 below 6, else 2.
#[must_use]
pub fn allowed_edits(fuzziness: Option<&Scalar>, word: &str) -> usize {
    let letters = word.chars().count();
    let text = fuzziness
        .and_then(text_of)
        .unwrap_or_else(|| "AUTO".to_owned());
    let (low, high) = match text.strip_prefix("AUTO") {
        Some("") => (3, 6),
        Some(rest) => {
            let bounds = rest.strip_prefix(':').and_then(|rest| rest.split_once(','));
            let parsed = bounds.and_then(|(low, high)| {
                Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
            });
            parsed.unwrap_or((3, 6))
        }
        None => {
            return text
                .parse::<f64>()
                .map_or(0, |edits| edits.clamp(0.0, 2.0) as usize);
        }
    };
    usize::from(letters >= low) + usize::from(letters >= high)
}

/// Edits between two words: a letter put in, left out, changed or, with
/// `swaps`, exchanged with the next.
#[must_use]
pub fn distance(left: &str, right: &str, swaps: bool) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let width = right.len() + 1;
    let mut table = vec![0; (left.len() + 1) * width];
    for row in 0..=left.len() {
        for column in 0..=right.len() {
            table[row * width + column] = if row == 0 || column == 0 {
                row.max(column)
            } else {
                let changed = usize::from(left[row - 1] != right[column - 1]);
                let mut least = (table[(row - 1) * width + column] + 1)
                    .min(table[row * width + column - 1] + 1)
                    .min(table[(row - 1) * width + column - 1] + changed);
                let swapped = swaps
                    && row > 1
                    && column > 1
                    && left[row - 1] == right[column - 2]
                    && left[row - 2] == right[column - 1];
                if swapped {
                    least = least.min(table[(row - 2) * width + column - 2] + 1);
                }
                least
            };
        }
    }
    table[left.len() * width + right.len()]
}
