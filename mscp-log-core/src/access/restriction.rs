//! What of the log a rule shows: allowed values, field by field.

use std::collections::BTreeSet;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Allowed values of a document's fields, all of which must hold. `None` means
/// that the field is free; a set is never empty, as nothing could hold it.
///
/// A document without a restricted field is outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Restriction {
    /// Kubernetes namespaces.
    pub namespace: Option<BTreeSet<String>>,
    /// Application ids: UUIDs in lower case.
    pub appid: Option<BTreeSet<String>>,
    /// Hosts that the records come from.
    pub hostname: Option<BTreeSet<String>>,
    /// Zones.
    pub zone: Option<BTreeSet<String>>,
    /// Clusters.
    pub cluster: Option<BTreeSet<String>>,
    /// Deployments, DaemonSets and their like; the spelling is the original's.
    pub controler: Option<BTreeSet<String>>,
    /// The field `type`.
    pub kind: Option<BTreeSet<String>>,
    /// The field `index`: an index's name without its date.
    pub index: Option<BTreeSet<String>>,
}

impl Restriction {
    /// The names of the fields that can be restricted, in the order in which
    /// they are written.
    pub const FIELDS: [&'static str; 8] = [
        "namespace",
        "appid",
        "hostname",
        "zone",
        "cluster",
        "controler",
        "type",
        "index",
    ];

    /// Everything is allowed.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether everything is allowed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.fields().next().is_none()
    }

    /// The fields that are restricted, with their allowed values.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &BTreeSet<String>)> {
        let slots = [
            &self.namespace,
            &self.appid,
            &self.hostname,
            &self.zone,
            &self.cluster,
            &self.controler,
            &self.kind,
            &self.index,
        ];
        Self::FIELDS
            .into_iter()
            .zip(slots)
            .filter_map(|(name, slot)| slot.as_ref().map(|values| (name, values)))
    }

    /// Whether the field may have the value.
    #[must_use]
    pub fn allows(&self, field: &str, value: &str) -> bool {
        self.fields()
            .filter(|(name, _)| *name == field)
            .all(|(_, values)| values.contains(value))
    }

    /// What both allow; `None` when that is nothing.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let mut both = self.clone();
        for (field, values) in other.fields() {
            let slot = both.slot(field)?;
            let common = match slot.take() {
                None => values.clone(),
                Some(ours) => ours.intersection(values).cloned().collect(),
            };
            if common.is_empty() {
                return None;
            }
            *slot = Some(common);
        }
        Some(both)
    }

    /// Whether whatever `other` allows is allowed here too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.fields().all(|(field, ours)| {
            other
                .fields()
                .any(|(name, theirs)| name == field && theirs.is_subset(ours))
        })
    }

    /// Where the allowed values of a field are kept; `None` for a name that is
    /// no restriction.
    pub(super) fn slot(&mut self, field: &str) -> Option<&mut Option<BTreeSet<String>>> {
        Some(match field {
            "namespace" => &mut self.namespace,
            "appid" => &mut self.appid,
            "hostname" => &mut self.hostname,
            "zone" => &mut self.zone,
            "cluster" => &mut self.cluster,
            "controler" => &mut self.controler,
            "type" => &mut self.kind,
            "index" => &mut self.index,
            _ => return None,
        })
    }
}

/// A value as it is kept: UUIDs of apps mean the same in either case.
pub(super) fn normal_value(field: &str, value: String) -> String {
    if field == "appid" {
        value.to_ascii_lowercase()
    } else {
        value
    }
}

impl Serialize for Restriction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (field, values) in self.fields() {
            map.serialize_entry(field, values)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Restriction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Restriction;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of field names and lists of allowed values")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Restriction, A::Error> {
                use serde::de::Error;
                let mut restriction = Restriction::none();
                while let Some(field) = map.next_key::<String>()? {
                    let slot = restriction
                        .slot(&field)
                        .ok_or_else(|| A::Error::unknown_field(&field, &Restriction::FIELDS))?;
                    if slot.is_some() {
                        return Err(A::Error::custom(format_args!("{field} is given twice")));
                    }
                    let values: Vec<String> = map.next_value()?;
                    if values.is_empty() {
                        return Err(A::Error::custom(format_args!(
                            "the list of {field} is empty; nothing could hold it"
                        )));
                    }
                    let values = values.into_iter().map(|v| normal_value(&field, v));
                    *slot = Some(values.collect());
                }
                Ok(restriction)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
