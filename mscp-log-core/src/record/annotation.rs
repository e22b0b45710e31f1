//! Annotations: the key and value pairs that a sender adds to a record.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Up to so many are put in their places faster by looking than by a table.
const FEW: usize = 32;

/// A value of an annotation: a string, a number or a boolean.
#[derive(Clone, Debug, PartialEq)]
pub enum AnnotationValue<'a> {
    /// A string.
    String(Cow<'a, str>),
    /// A number, as JSON has it.
    Number(serde_json::Number),
    /// A boolean.
    Bool(bool),
}

impl AnnotationValue<'_> {
    /// The same value, holding its own text.
    #[must_use]
    pub fn into_owned(self) -> AnnotationValue<'static> {
        match self {
            Self::String(text) => AnnotationValue::String(Cow::Owned(text.into_owned())),
            Self::Number(number) => AnnotationValue::Number(number),
            Self::Bool(value) => AnnotationValue::Bool(value),
        }
    }

    /// The value as one word: what the keyword `key=value` shows.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::String(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
        }
    }
}

/// One key with one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// The value.
    pub value: AnnotationValue<'a>,
}

/// The annotations of a record, in the order in which they came. A repeated
/// key keeps all its values; they stand next to each other, at the place of
/// the first.
///
/// As JSON it is an object; a key with several values has an array of them.
///
/// ```
/// use mscp_log_core::record::Annotations;
/// let annotations: Annotations = serde_json::from_str(r#"{"level":"info","code":[1,2]}"#)?;
/// assert_eq!(annotations.first("level").as_deref(), Some("info"));
/// assert_eq!(annotations.iter().count(), 3);
/// assert_eq!(serde_json::to_string(&annotations)?, r#"{"level":"info","code":[1,2]}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations<'a>(Vec<Annotation<'a>>);

impl<'a> Annotations<'a> {
    /// No annotation.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Add a value of `key`, behind the others of that key.
    pub fn push(&mut self, key: impl Into<Cow<'a, str>>, value: AnnotationValue<'a>) {
        let key = key.into();
        let after_last = self.0.iter().rposition(|known| known.key == key);
        let place = after_last.map_or(self.0.len(), |place| place + 1);
        self.0.insert(place, Annotation { key, value });
    }

    /// The first value of `key` as a word.
    #[must_use]
    pub fn first(&self, key: &str) -> Option<Cow<'_, str>> {
        let found = self.0.iter().find(|annotation| annotation.key == key)?;
        Some(found.value.to_text())
    }

    /// Each value with its key.
    pub fn iter(&self) -> std::slice::Iter<'_, Annotation<'a>> {
        self.0.iter()
    }

    /// Each value with its key, to change the values.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut AnnotationValue<'a>> {
        self.0.iter_mut().map(|annotation| &mut annotation.value)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The annotations of one key after the other.
    pub(super) fn by_key(&self) -> impl Iterator<Item = &[Annotation<'a>]> {
        self.0.chunk_by(|a, b| a.key == b.key)
    }

    /// The same annotations, holding their own text.
    #[must_use]
    pub fn into_owned(self) -> Annotations<'static> {
        let owned = self.0.into_iter().map(|annotation| Annotation {
            key: Cow::Owned(annotation.key.into_owned()),
            value: annotation.value.into_owned(),
        });
        Annotations(owned.collect())
    }
}

/// The way to make many: what [`Annotations::push`] gives one by one, without
/// looking through all that are there for each.
impl<'a> FromIterator<(Cow<'a, str>, AnnotationValue<'a>)> for Annotations<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, AnnotationValue<'a>)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let all: Vec<Annotation<'a>> = pairs
            .map(|(key, value)| Annotation { key, value })
            .collect();
        if all.len() <= FEW {
            let mut annotations = Self(Vec::with_capacity(all.len()));
            for Annotation { key, value } in all {
                annotations.push(key, value);
            }
            return annotations;
        }
        let mut first: HashMap<&str, usize> = HashMap::with_capacity(all.len());
        let places: Vec<usize> = all
            .iter()
            .enumerate()
            .map(|(place, annotation)| *first.entry(&annotation.key).or_insert(place))
            .collect();
        let mut placed: Vec<(usize, Annotation<'a>)> = places.into_iter().zip(all).collect();
        // Stable: the values of one key stay in their order.
        placed.sort_by_key(|(place, _)| *place);
        Self(
            placed
                .into_iter()
                .map(|(_, annotation)| annotation)
                .collect(),
        )
    }
}

impl Serialize for AnnotationValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::String(text) => serializer.serialize_str(text),
            Self::Number(number) => number.serialize(serializer),
            Self::Bool(value) => serializer.serialize_bool(*value),
        }
    }
}

impl Serialize for Annotations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for group in self.by_key() {
            let key = &group[0].key;
            match group {
                [one] => map.serialize_entry(key, &one.value)?,
                many => {
                    let values: Vec<_> = many.iter().map(|annotation| &annotation.value).collect();
                    map.serialize_entry(key, &values)?;
                }
            }
        }
        map.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for AnnotationValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = AnnotationValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(AnnotationValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(AnnotationValue::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(AnnotationValue::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        serde_json::Number::from_f64(value)
            .map(AnnotationValue::Number)
            .ok_or_else(|| E::custom("a number that JSON cannot write"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(AnnotationValue::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(AnnotationValue::String(Cow::Owned(text.into())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(AnnotationValue::String(Cow::Owned(text)))
    }
}

/// One value or an array of values.
struct OneOrMany<'a>(Vec<AnnotationValue<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for OneOrMany<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor;
        impl<'de> Visitor<'de> for OneOrManyVisitor {
            type Value = OneOrMany<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, a boolean, or an array of them")
            }
            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![ValueVisitor.visit_bool(value)?]))
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![ValueVisitor.visit_i64(value)?]))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![ValueVisitor.visit_u64(value)?]))
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![ValueVisitor.visit_f64(value)?]))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![AnnotationValue::String(Cow::Borrowed(
                    text,
                ))]))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![AnnotationValue::String(Cow::Owned(
                    text.into(),
                ))]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
                let mut many = Vec::new();
                while let Some(value) = values.next_element()? {
                    many.push(value);
                }
                Ok(OneOrMany(many))
            }
        }
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Annotations<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of annotations")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((super::document::Text(key), OneOrMany(values))) =
                    map.next_entry()?
                {
                    pairs.extend(values.into_iter().map(|value| (key.clone(), value)));
                }
                Ok(pairs.into_iter().collect())
            }
        }
        deserializer.deserialize_map(Object)
    }
}
