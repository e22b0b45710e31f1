//! The decision: may this request be, and what of the log may it see?

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess};

use super::base::Base;
use super::method::Method;
use super::path::CanonicalPath;
use super::pattern::written_matches;
use super::restriction::{Restriction, normal_value};
use super::rule::{Access, Rule};
use super::walk::{self, Sink};

/// The answer to a request's method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No rule matches.
    Denied,
    /// Some rule does.
    Allowed {
        /// What of the log the request may see.
        visible: Visible,
        /// Whether it may also change the store.
        write: bool,
    },
}

/// What of the log a request may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// Everything.
    All,
    /// What at least one of these allows; there is at least one.
    Restricted(Vec<Restriction>),
}

impl Decision {
    /// Whether the request is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

impl Access {
    /// Decides a request: it is allowed when some rule matches, and may see what
    /// any of the rules that match shows.
    #[must_use]
    pub fn decide(&self, base: &Base, method: Method, path: &CanonicalPath) -> Decision {
        let place = Place::of(base, path);
        let mut tally = Tally::default();
        for rule in &self.0 {
            let other = &rule.other;
            if !rule.matches_nothing()
                && rule.methods.grant(method)
                && place.admits(&other.restriction)
                && rule.urls.iter().any(|url| url.matches(path, base))
            {
                tally.add(&place, Cow::Borrowed(&other.restriction), other.write);
            }
        }
        tally.decision()
    }

    /// Whether some rule, for whatever method, has a path that begins with the
    /// base and these segments and has at least one more.
    #[must_use]
    pub fn grants_any_below(&self, base: &Base, prefix: &[&str]) -> bool {
        let below: Vec<&str> = base.segments().chain(prefix.iter().copied()).collect();
        let reaches = |rule: &Rule| {
            !rule.matches_nothing()
                && !rule.methods.is_empty()
                && rule.urls.iter().any(|url| url.reaches_below(&below, base))
        };
        self.0.iter().any(reaches)
    }
}

/// Names that no region can have, as they are the API's own.
pub const RESERVED_REGIONS: [&str; 4] = ["apps", "auth", "system", "regions"];

/// Where a path lies, as far as restrictions go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place<'p> {
    /// `base/{region}/log/**`: every restriction holds.
    Log,
    /// `base/apps/{appid}/log`: only `appid` holds.
    Push(&'p str),
    /// `base/{region}/collect`: only `hostname`, `zone` and `cluster` hold.
    Collect,
    /// Anywhere else a rule with a restriction does not match.
    Elsewhere,
}

impl<'p> Place<'p> {
    fn of(base: &Base, path: &'p CanonicalPath) -> Self {
        let Some(mut segments) = base.below(path) else {
            return Self::Elsewhere;
        };
        let slash = path.has_trailing_slash();
        let first = segments.next();
        match (first, segments.next(), segments.next(), segments.next()) {
            (Some("apps"), Some(appid), Some("log"), None) if !slash => Self::Push(appid),
            (Some(region), _, _, _) if RESERVED_REGIONS.contains(&region) => Self::Elsewhere,
            (Some(_), Some("log"), Some(_), _) => Self::Log,
            (Some(_), Some("collect"), None, _) if !slash => Self::Collect,
            _ => Self::Elsewhere,
        }
    }

    /// Whether a rule with the restriction can match here at all.
    fn admits(&self, restriction: &Restriction) -> bool {
        match self {
            Self::Log => true,
            Self::Push(appid) => restriction.fields().all(|(field, values)| {
                field == "appid" && values.contains(&appid.to_ascii_lowercase())
            }),
            Self::Collect => restriction
                .fields()
                .all(|(field, _)| matches!(field, "hostname" | "zone" | "cluster")),
            Self::Elsewhere => restriction.is_none(),
        }
    }
}

/// Adds up the rules that match.
#[derive(Default)]
struct Tally {
    all: bool,
    restricted: Vec<Restriction>,
    write: bool,
}

impl Tally {
    fn add(&mut self, place: &Place<'_>, restriction: Cow<'_, Restriction>, write: bool) {
        if restriction.is_none() {
            self.all = true;
            self.write |= write && *place == Place::Log;
        } else if !self.all && !self.restricted.contains(&restriction) {
            self.restricted.push(restriction.into_owned());
        }
    }

    fn decision(self) -> Decision {
        let visible = if self.all {
            Visible::All
        } else if self.restricted.is_empty() {
            return Decision::Denied;
        } else {
            Visible::Restricted(self.restricted)
        };
        Decision::Allowed {
            visible,
            write: self.write,
        }
    }
}

/// Decides while an `access` array is read, without building its rules. What
/// it says is what [`Access::decide`] says of the same array.
pub(crate) struct Decide<'r> {
    base: &'r Base,
    method: Method,
    path: &'r CanonicalPath,
    place: Place<'r>,
    tally: Tally,
    rule: Matched,
}

/// What is known of the rule that is being read.
#[derive(Default)]
struct Matched {
    /// `None` until the methods have been met.
    method: Option<bool>,
    url: bool,
    nothing: bool,
    restriction: Restriction,
    write: bool,
}

impl<'r> Decide<'r> {
    pub(crate) fn new(base: &'r Base, method: Method, path: &'r CanonicalPath) -> Self {
        Self {
            base,
            method,
            path,
            place: Place::of(base, path),
            tally: Tally::default(),
            rule: Matched::default(),
        }
    }

    pub(crate) fn decision(self) -> Decision {
        self.tally.decision()
    }
}

impl Sink for Decide<'_> {
    fn method(&mut self, text: &str) {
        let granted = match Method::parse(text) {
            Some(Method::Get) => matches!(self.method, Method::Get | Method::Head),
            Some(method) => method == self.method,
            None => false,
        };
        self.rule.method = Some(self.rule.method.unwrap_or_default() || granted);
    }

    fn url(&mut self, text: &str) {
        // One that matches is enough, and none is where the methods are others.
        if !self.rule.url && self.rule.method != Some(false) {
            self.rule.url = written_matches(text, self.path, self.base);
        }
    }

    fn restrict(&mut self, field: &'static str, values: Vec<Cow<'_, str>>) {
        if values.is_empty() {
            self.rule.nothing = true;
        } else if let Some(slot) = self.rule.restriction.slot(field) {
            let values = values.into_iter();
            *slot = Some(
                values
                    .map(|value| normal_value(field, value.into_owned()))
                    .collect(),
            );
        }
    }

    fn write(&mut self, write: bool) {
        self.rule.write = write;
    }

    fn unknown<'de, A: MapAccess<'de>>(
        &mut self,
        _: walk::Place,
        _: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        self.rule.nothing = true;
        map.next_value::<IgnoredAny>().map(drop)
    }

    fn end(&mut self) {
        let rule = std::mem::take(&mut self.rule);
        if rule.method == Some(true)
            && rule.url
            && !rule.nothing
            && self.place.admits(&rule.restriction)
        {
            self.tally
                .add(&self.place, Cow::Owned(rule.restriction), rule.write);
        }
    }
}
