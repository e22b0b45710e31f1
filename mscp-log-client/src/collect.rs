//! Raw records to the gateway of a region: what an agent sends.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;

use crate::client::Client;
use crate::connection::request::Request;
use crate::error::Error;
use crate::tokens::access;

/// What the gateway has taken.
#[derive(Clone, Copy, Debug, Deserialize)]
#[non_exhaustive]
pub struct Collected {
    /// How many records; what cleaning leaves out is not counted.
    pub accepted: u64,
}

impl Client {
    /// Sends chunks (of `mscp_log_core::clean::chunk`), one a line, to `region`.
    /// They are durable there when this returns.
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client, chunks: bytes::Bytes) -> Result<(), mscp_log_client::Error> {
    /// let taken = client.collect("local", chunks).await?;
    /// println!("{} records", taken.accepted);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Whatever kept the answer away, or the gateway's reason to take nothing
    /// of it. The same chunks may be sent again: a record that comes twice is
    /// stored once.
    pub async fn collect(&self, region: &str, chunks: Bytes) -> Result<Collected, Error> {
        let request = Request::new(Method::POST, self.url(&[region, "collect"])?)
            .body("application/x-ndjson", chunks);
        let pattern = format!("{{mscp_api_url}}/{region}/collect");
        self.call(request, &access(&[("POST", &pattern)]))
            .await?
            .json("the answer")
    }
}
