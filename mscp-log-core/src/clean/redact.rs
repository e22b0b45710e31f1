//! Redaction: what configured expressions take out of every record.

use std::borrow::Cow;

use regex::Regex;

use crate::record::{AnnotationValue, Document};

/// Expressions and what is put in the place of what they find, applied one
/// after the other to all text that a sender chose: the message, the values of
/// annotations, and the fields made of them.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    rules: Vec<(Regex, String)>,
}

/// An expression that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("redaction rule {rule}: {source}")]
pub struct RedactionError {
    /// Which rule, from 0.
    pub rule: usize,
    /// Why.
    pub source: regex::Error,
}

impl Redaction {
    /// Nothing is taken out.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Rules of an expression (the syntax of the `regex` crate) and its
    /// replacement, in which `$1` or `${name}` is a group.
    ///
    /// # Errors
    /// When an expression is malformed or too large.
    pub fn new<E: AsRef<str>, R: Into<String>>(
        rules: impl IntoIterator<Item = (E, R)>,
    ) -> Result<Self, RedactionError> {
        let rules = rules.into_iter().enumerate();
        let compiled =
            rules.map(
                |(rule, (expression, replacement))| match Regex::new(expression.as_ref()) {
                    Ok(expression) => Ok((expression, replacement.into())),
                    Err(source) => Err(RedactionError { rule, source }),
                },
            );
        let rules = compiled.collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    pub(super) fn apply(&self, document: &mut Document<'_>) {
        if self.rules.is_empty() {
            return;
        }
        self.redact(&mut document.message);
        if let Some(path) = &mut document.log.path {
            self.redact(path);
        }
        for value in document.annotations.values_mut() {
            match value {
                AnnotationValue::String(text) => self.redact(text),
                // A card's number is one with or without quotes around it.
                AnnotationValue::Number(number) => {
                    let mut text = Cow::Owned(number.to_string());
                    if self.redact_changes(&mut text) {
                        *value = AnnotationValue::String(text);
                    }
                }
                AnnotationValue::Bool(_) => {}
            }
        }
    }

    /// Run the rules over a document that was cleaned before there were these.
    pub fn again(&self, document: &mut Document<'_>) {
        self.apply(document);
        self.apply_to_words(document);
    }

    /// The same for the fields that are made of annotations.
    pub(super) fn apply_to_words(&self, document: &mut Document<'_>) {
        let words = [
            &mut document.level,
            &mut document.stream,
            &mut document.trace_id,
            &mut document.span_id,
        ];
        for word in words.into_iter().flatten() {
            self.redact(word);
        }
    }

    fn redact(&self, text: &mut Cow<'_, str>) {
        self.redact_changes(text);
    }

    fn redact_changes(&self, text: &mut Cow<'_, str>) -> bool {
        let mut changed = false;
        for (expression, replacement) in &self.rules {
            if let Cow::Owned(redacted) = expression.replace_all(text, replacement.as_str()) {
                *text = Cow::Owned(redacted);
                changed = true;
            }
        }
        changed
    }
}
