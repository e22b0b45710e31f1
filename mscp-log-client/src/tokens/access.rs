//! The access that a token is asked for.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde_json::{Value, json};
use uuid::Uuid;

/// The JSON of an access list: one entry for each (method, pattern) pair.
///
/// ```
/// let wanted = mscp_log_client::access(&[("POST", "{mscp_api_url}/local/log/_search")]);
/// assert_eq!(wanted[0]["method"][0], "POST");
/// ```
#[must_use]
pub fn access(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(method, url)| json!({"method": [method], "url": [url]}))
        .collect()
}

/// A wanted access, built step by step. It is the JSON array of an `access`
/// claim, and is given as that wherever one is wanted.
///
/// ```
/// use mscp_log_client::Access;
/// let app = "caa0c2f0-1116-495f-8f09-3cd023cc14a2".parse()?;
/// let wanted = Access::builder().push(app).search("local").namespace("shop").build();
/// assert_eq!(wanted[0]["url"][0], "{mscp_api_url}/apps/caa0c2f0-1116-495f-8f09-3cd023cc14a2/log");
/// assert_eq!(wanted[1]["other"]["log"]["namespace"][0], "shop");
/// # Ok::<(), uuid::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Access(Value);

impl Access {
    /// No access yet.
    pub fn builder() -> AccessBuilder {
        AccessBuilder {
            rules: Vec::new(),
            last: PhantomData,
        }
    }
}

impl Deref for Access {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl From<Access> for Value {
    fn from(access: Access) -> Value {
        access.0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The last rule takes no restriction.
#[derive(Clone, Copy, Debug)]
pub enum Whole {}

/// The last rule is of a search, and may be restricted.
#[derive(Clone, Copy, Debug)]
pub enum Restricted {}

/// Builds an [`Access`]. Each rule adds to what the ones before allow; a
/// restriction is of the rule before it alone.
#[derive(Clone, Debug)]
#[must_use]
pub struct AccessBuilder<Last = Whole> {
    rules: Vec<Value>,
    last: PhantomData<Last>,
}

impl<Last> AccessBuilder<Last> {
    /// To push records of `app`.
    pub fn push(self, app: Uuid) -> AccessBuilder {
        self.rule("POST", &format!("{{mscp_api_url}}/apps/{app}/log"))
    }

    /// To search and count in `region`, in all indices or in some.
    pub fn search(self, region: &str) -> AccessBuilder<Restricted> {
        let log = format!("{{mscp_api_url}}/{region}/log");
        let url = ["_search", "_count", "*/_search", "*/_count"];
        let url: Vec<String> = url.iter().map(|end| format!("{log}/{end}")).collect();
        self.with(json!({"method": ["POST"], "url": url}))
    }

    /// A method on a pattern of the server's grammar, which begins with
    /// `{mscp_api_url}`, `/` or the server's public URL.
    ///
    /// ```
    /// use mscp_log_client::Access;
    /// let wanted = Access::builder().rule("GET", "{mscp_api_url}/regions").build();
    /// assert_eq!(wanted[0]["method"][0], "GET");
    /// ```
    pub fn rule(self, method: &str, pattern: &str) -> AccessBuilder {
        self.with(json!({"method": [method], "url": [pattern]}))
    }

    /// What was built.
    #[must_use]
    pub fn build(self) -> Access {
        Access(Value::Array(self.rules))
    }

    fn with<Next>(mut self, rule: Value) -> AccessBuilder<Next> {
        self.rules.push(rule);
        AccessBuilder {
            rules: self.rules,
            last: PhantomData,
        }
    }
}

/// Of a field with several values each of them is allowed; of several fields
/// all must be.
impl AccessBuilder<Restricted> {
    /// Only records of this namespace.
    pub fn namespace(self, value: impl Into<String>) -> Self {
        self.only("namespace", value.into())
    }

    /// Only records of this app.
    pub fn app(self, app: Uuid) -> Self {
        self.only("appid", app.to_string())
    }

    /// Only records of this node.
    pub fn hostname(self, value: impl Into<String>) -> Self {
        self.only("hostname", value.into())
    }

    /// Only records of this zone.
    pub fn zone(self, value: impl Into<String>) -> Self {
        self.only("zone", value.into())
    }

    /// Only records of this cluster.
    pub fn cluster(self, value: impl Into<String>) -> Self {
        self.only("cluster", value.into())
    }

    /// Only records of this controller of pods.
    pub fn controller(self, value: impl Into<String>) -> Self {
        // The field's name is as it is in the original.
        self.only("controler", value.into())
    }

    /// Only records of this type.
    pub fn kind(self, value: impl Into<String>) -> Self {
        self.only("type", value.into())
    }

    /// Only this index.
    pub fn index(self, value: impl Into<String>) -> Self {
        self.only("index", value.into())
    }

    fn only(mut self, field: &str, value: String) -> Self {
        if let Some(rule) = self.rules.last_mut() {
            match &mut rule["other"]["log"][field] {
                Value::Array(values) => values.push(value.into()),
                none => *none = json!([value]),
            }
        }
        self
    }
}
