//! The search endpoints: parse, choose the partitions, run on a thread for it.

use super::super::EmbeddedStore;
use super::{Call, Fault, Reply};

impl EmbeddedStore {
    pub(super) async fn search(&self, call: &Call, _index: &str) -> Result<Reply, Fault> {
        Err(call.no_handler())
    }

    pub(super) async fn count(&self, call: &Call, _index: &str) -> Result<Reply, Fault> {
        Err(call.no_handler())
    }

    pub(super) async fn msearch(&self, call: &Call, _index: &str) -> Result<Reply, Fault> {
        Err(call.no_handler())
    }
}
