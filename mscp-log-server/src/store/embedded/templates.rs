//! The index templates that clients put: kept to be given back.
//!
//! No index is made from them, as every index has the one mapping; what would
//! contradict it was refused before it came here. At first there is the one
//! that says what that mapping is. Settings are kept flat.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use mscp_log_core::template::{Version, index_template};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::catalog::{CatalogError, read_file, write_file};

const FILE: &str = "templates.json";

/// The name of the project's own template.
const OWN: &str = "mscp-log";

/// Templates of one kind that are kept.
const MAX_TEMPLATES: usize = 1_000;

/// Bytes of all templates together, as JSON.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The two kinds of templates, each by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// `_index_template`
    #[serde(default)]
    pub(super) composable: BTreeMap<String, Value>,
    /// `_template`
    #[serde(default)]
    pub(super) legacy: BTreeMap<String, Value>,
}

impl Default for Kept {
    /// The project's own template.
    fn default() -> Self {
        let mut template = index_template(Version::Es8);
        if let Value::Object(settings) = &template["template"]["settings"] {
            template["template"]["settings"] = Value::Object(flat_settings(settings));
        }
        template["composed_of"] = json!([]);
        Self {
            composable: BTreeMap::from([(OWN.to_owned(), template)]),
            legacy: BTreeMap::new(),
        }
    }
}

/// The templates of a store.
pub(super) struct Templates {
    folder: PathBuf,
    kept: ArcSwap<Kept>,
    changing: Mutex<()>,
}

impl Templates {
    /// Read what is kept in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Self, CatalogError> {
        let kept: Option<Kept> = read_file(&folder.join(FILE))?;
        Ok(Self {
            folder: folder.to_owned(),
            kept: ArcSwap::from_pointee(kept.unwrap_or_default()),
            changing: Mutex::new(()),
        })
    }

    /// What is kept now.
    pub(super) fn now(&self) -> Arc<Kept> {
        self.kept.load_full()
    }

    /// Change what is kept; it is on the disk when this returns. It blocks.
    pub(super) fn change<E: From<CatalogError>>(
        &self,
        change: impl FnOnce(&mut Kept) -> Result<(), E>,
    ) -> Result<(), E> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Kept::clone(&self.kept.load());
        change(&mut next)?;
        if next.composable.len().max(next.legacy.len()) > MAX_TEMPLATES {
            return Err(CatalogError::TooMany("too many templates").into());
        }
        let value = json!(next);
        if value.to_string().len() > MAX_BYTES {
            return Err(CatalogError::TooMany("too many bytes of templates").into());
        }
        write_file(&self.folder, FILE, &value)?;
        self.kept.store(Arc::new(next));
        Ok(())
    }
}

/// Settings as Elasticsearch gives them back: all below `index.`, each value a text.
pub(super) fn flat_settings(settings: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    flatten("", settings, &mut flat);
    flat.into_iter()
        .map(|(name, value)| {
            let name = match name.strip_prefix("index.") {
                Some(_) => name,
                None => format!("index.{name}"),
            };
            (name, value)
        })
        .collect()
}

fn flatten(above: &str, settings: &Map<String, Value>, flat: &mut Map<String, Value>) {
    for (name, value) in settings {
        let name = if above.is_empty() {
            name.clone()
        } else {
            format!("{above}.{name}")
        };
        match value {
            Value::Object(below) => flatten(&name, below, flat),
            Value::Array(items) => {
                let items = items.iter().map(text_of).collect();
                flat.insert(name, Value::Array(items));
            }
            scalar => {
                flat.insert(name, text_of(scalar));
            }
        }
    }
}

fn text_of(value: &Value) -> Value {
    match value {
        Value::Number(_) | Value::Bool(_) => Value::String(value.to_string()),
        other => other.clone(),
    }
}

/// Flat settings as objects within each other.
pub(super) fn nested_settings(flat: &Map<String, Value>) -> Value {
    let mut nested = json!({});
    for (name, value) in flat {
        let mut place = &mut nested;
        for part in name.split('.') {
            place = &mut place[part];
        }
        *place = value.clone();
    }
    nested
}
