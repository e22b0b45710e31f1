//! A record to push, and its form on the wire.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// One log record of an app.
///
/// ```
/// use mscp_log_client::Record;
/// let app = "caa0c2f0-1116-495f-8f09-3cd023cc14a2".parse()?;
/// let record = Record::at(app, "applog", "Message to send.", 1_516_792_419_231_221)
///     .annotation("level", "info")
///     .annotation("attempt", 2);
/// assert_eq!(record.time_us(), 1_516_792_419_231_221);
/// # Ok::<(), uuid::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    #[serde(rename = "timestemp")]
    time_us: i64,
    appid: Uuid,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation>,
}

#[derive(Clone, Debug, Serialize)]
struct Annotation {
    key: String,
    value: Value,
}

impl Record {
    /// A record of now. Within one process every such record is at least a
    /// microsecond after the one before, so that their order is kept.
    #[must_use]
    pub fn now(app: Uuid, kind: impl Into<String>, message: impl Into<String>) -> Record {
        Record::at(app, kind, message, next_us())
    }

    /// A record of the app `app` and the type `kind` (1 to 64 of
    /// `[A-Za-z0-9_.-]`) at `time_us`, microseconds since the epoch.
    #[must_use]
    pub fn at(
        app: Uuid,
        kind: impl Into<String>,
        message: impl Into<String>,
        time_us: i64,
    ) -> Record {
        Record {
            time_us,
            appid: app,
            kind: kind.into(),
            message: message.into(),
            annotations: Vec::new(),
        }
    }

    /// Adds an annotation: a string, a number or a boolean. A repeated key
    /// keeps all its values.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<Value>) -> Record {
        self.annotations.push(Annotation {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn time_us(&self) -> i64 {
        self.time_us
    }

    /// The app.
    #[must_use]
    pub fn app(&self) -> Uuid {
        self.appid
    }

    /// The form on the wire, or what in the record no server accepts.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        if !is_good_kind(&self.kind) {
            return Err(format!(
                "type {:?} is not 1 to 64 of [A-Za-z0-9_.-]",
                self.kind
            ));
        }
        let wrong = self.annotations.iter().find(|annotation| {
            !matches!(
                annotation.value,
                Value::String(_) | Value::Number(_) | Value::Bool(_)
            )
        });
        if let Some(wrong) = wrong {
            return Err(format!(
                "annotation {:?} is not a string, a number or a boolean",
                wrong.key
            ));
        }
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }
}

/// Whether a record may have this type.
pub(crate) fn is_good_kind(kind: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=64).contains(&kind.len()) && kind.bytes().all(is_good)
}

/// Now in microseconds, later than every value given before.
pub(crate) fn next_us() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros();
    let now = i64::try_from(now).unwrap_or(i64::MAX - 1);
    let step = |last: i64| Some(now.max(last + 1));
    // The closure never refuses, so both arms are the value before.
    let (Ok(last) | Err(last)) = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    now.max(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_now_have_strictly_increasing_times() {
        let app = Uuid::nil();
        let times: Vec<i64> = (0..10_000)
            .map(|_| Record::now(app, "t", "m").time_us())
            .collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_record_with_a_type_that_no_server_accepts_is_not_encoded() {
        for kind in ["", "a b", "ü", &"x".repeat(65)] {
            assert!(
                Record::at(Uuid::nil(), kind, "m", 1).encode().is_err(),
                "{kind}"
            );
        }
        let good = Record::at(Uuid::nil(), "a.B-9_", "m", 1)
            .annotation("k", true)
            .encode();
        assert_eq!(
            String::from_utf8_lossy(&good.unwrap_or_default()),
            r#"{"timestemp":1,"appid":"00000000-0000-0000-0000-000000000000","type":"a.B-9_","message":"m","annotations":[{"key":"k","value":true}]}"#
        );
    }
}
