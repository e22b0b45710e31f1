//! The index templates that clients put: kept to be given back.
//!
//! No index is made from them, as every index has the one mapping; what would
//! contradict it was refused before it came here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalog::{CatalogError, read_file, write_file};

const FILE: &str = "templates.json";

/// Templates of one kind that are kept.
const MAX_TEMPLATES: usize = 1_000;

/// Bytes of all templates together, as JSON.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The two kinds of templates, each by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    /// `_index_template`
    #[serde(default)]
    pub(super) composable: BTreeMap<String, Value>,
    /// `_template`
    #[serde(default)]
    pub(super) legacy: BTreeMap<String, Value>,
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
        let value = serde_json::json!(next);
        if value.to_string().len() > MAX_BYTES {
            return Err(CatalogError::TooMany("too many bytes of templates").into());
        }
        write_file(&self.folder, FILE, &value)?;
        self.kept.store(Arc::new(next));
        Ok(())
    }
}
