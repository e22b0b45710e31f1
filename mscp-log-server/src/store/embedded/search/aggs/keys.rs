//! The keys by which one segment tells values apart, and the values that they
//! stand for.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use tantivy::DocId;

use super::super::super::ids::DocumentId;
use super::super::super::schema::FLATTENED_SEPARATOR;
use super::super::columns::{Keywords, Values};
use super::super::error::EsError;
use super::merged::{Key, Partial};
use super::plan::Terms;
use super::table::Table;

/// The key of documents without a value, where those are counted.
pub(super) const MISSING: u64 = u64::MAX;

/// A number as one that is whole and has the same order.
pub(super) fn rank(number: f64) -> i64 {
    // Without the zero that is below zero.
    let bits = (number + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The number of a [`rank`].
pub(super) fn of_rank(rank: i64) -> f64 {
    f64::from_bits((rank ^ (((rank >> 63) as u64) >> 1) as i64) as u64)
}

/// Ids by numbers.
#[derive(Default)]
pub(super) struct Interned {
    numbers: HashMap<u128, u64>,
    texts: Vec<Box<str>>,
    by_text: HashMap<Box<str>, u64>,
}

impl Interned {
    /// The number of a value of a flattened field, whatever its key is.
    pub(super) fn value(&mut self, keywords: &Keywords, place: u64) -> Result<u64, EsError> {
        if let Some(number) = self.numbers.get(&u128::from(place)) {
            return Ok(*number);
        }
        let term = keywords.text(place)?;
        let value = term.split_once(FLATTENED_SEPARATOR).map_or("", |(_, v)| v);
        let number = match self.by_text.get(value) {
            Some(number) => *number,
            None => {
                let number = self.texts.len() as u64;
                self.texts.push(value.into());
                self.by_text.insert(value.into(), number);
                number
            }
        };
        self.numbers.insert(u128::from(place), number);
        Ok(number)
    }

    pub(super) fn number(&mut self, key: u128, id: impl FnOnce() -> DocumentId) -> u64 {
        let texts = &mut self.texts;
        *self.numbers.entry(key).or_insert_with(|| {
            texts.push(id().to_string().into());
            texts.len() as u64 - 1
        })
    }
}

/// The keys of a document's values, each once.
pub(super) fn distinct(values: &Values, doc: DocId, keys: &mut Vec<u64>) {
    keys.clear();
    match values {
        Values::Nothing => {}
        Values::Numbers(column) => keys.extend(column.values_for_doc(doc).map(|v| v as u64)),
        Values::Keywords(keywords) => keys.extend(keywords.of(doc)),
        Values::Ids(_) => keys.push(0),
    }
    if keys.len() > 1 {
        keys.sort_unstable();
        keys.dedup();
    }
}

pub(super) fn has_value(values: &Values, doc: DocId) -> bool {
    match values {
        Values::Nothing => false,
        Values::Numbers(column) => column.first(doc).is_some(),
        Values::Keywords(keywords) => keywords.of(doc).next().is_some(),
        Values::Ids(_) => true,
    }
}

/// The key for documents without a value: a number among numbers.
pub(super) fn missing_key(terms: &Terms, values: &Values) -> u64 {
    match (values, terms.missing.as_deref()) {
        (Values::Numbers(_), Some(text)) => text.parse::<i64>().map_or(MISSING, |n| n as u64),
        _ => MISSING,
    }
}

/// The values behind the keys of a table, but for those that are not wanted.
pub(super) fn term_keys(
    terms: &Terms,
    values: &Values,
    table: &Table,
    ids: &Interned,
) -> Result<HashMap<u64, Key>, EsError> {
    let mut keys: Vec<u64> = table.keys.iter().map(|(_, key)| *key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut names = HashMap::with_capacity(keys.len());
    let mut name = |key: u64, text: &str| {
        if terms.selects(text) {
            let value = match text.parse() {
                Ok(number) if terms.numeric => Key::Number(number),
                _ => Key::Text(text.into()),
            };
            names.insert(key, value);
        }
    };
    if !matches!(values, Values::Numbers(_))
        && keys.last() == Some(&MISSING)
        && let Some(missing) = &terms.missing
    {
        keys.pop();
        name(MISSING, missing);
    }
    match values {
        Values::Nothing => {}
        Values::Numbers(_) => {
            for key in keys {
                name(key, &(key as i64).to_string());
            }
        }
        Values::Ids(_) => {
            for key in keys {
                if let Some(text) = ids.texts.get(key as usize) {
                    name(key, text);
                }
            }
        }
        Values::Keywords(_) if terms.any_key => {
            for key in keys {
                if let Some(text) = ids.texts.get(key as usize) {
                    name(key, text);
                }
            }
        }
        Values::Keywords(keywords) => {
            let mut rest = keys.iter();
            keywords.texts(&keys, |text| {
                if let Some(key) = rest.next() {
                    name(*key, text);
                }
            })?;
        }
    }
    Ok(names)
}

pub(super) fn distinct_values(
    values: &Values,
    missing: Option<u64>,
    table: &Table,
    parents: usize,
) -> Result<Vec<Partial>, EsError> {
    let mut hashes: HashMap<u64, u64> = HashMap::new();
    if let Values::Keywords(keywords) = values {
        let mut keys: Vec<u64> = table.keys.iter().map(|(_, key)| *key).collect();
        keys.retain(|key| *key != MISSING);
        keys.sort_unstable();
        keys.dedup();
        let mut rest = keys.iter();
        keywords.texts(&keys, |text| {
            if let Some(key) = rest.next() {
                hashes.insert(*key, hash(text));
            }
        })?;
    }
    let mut found: Vec<HashSet<u64>> = (0..parents).map(|_| HashSet::new()).collect();
    for (parent, key) in &table.keys {
        let value = match (values, missing) {
            (Values::Keywords(_), Some(missing)) if *key == MISSING => missing,
            (Values::Nothing, Some(missing)) => missing,
            (Values::Keywords(_), _) => hashes.get(key).copied().unwrap_or(*key),
            _ => *key,
        };
        found[*parent as usize].insert(value);
    }
    Ok(found.into_iter().map(Partial::Distinct).collect())
}

/// A hash that is the same in every segment of one search.
pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_keep_the_order_of_numbers_and_give_them_back() {
        let numbers = [-1.8e19, -2.0, -0.5, 0.0, 0.5, 3.0, 9.2e18, 1.8e19];
        assert!(numbers.is_sorted_by(|left, right| rank(*left) < rank(*right)));
        assert!(
            numbers
                .iter()
                .all(|number| of_rank(rank(*number)) == *number)
        );
        assert_eq!(rank(-0.0), rank(0.0));
    }
}
