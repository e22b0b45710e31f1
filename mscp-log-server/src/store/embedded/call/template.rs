//! `_index_template` and `_template`: put, get, delete. What is put is kept
//! and given back; it changes no index, so what would is refused.

use std::sync::Arc;

use http::StatusCode;
use mscp_log_core::query::wildcard;
use serde_json::{Map, Value, json};

use super::super::EmbeddedStore;
use super::super::templates::{Kept, flat_settings, nested_settings};
use super::agreement::{Put, check_mappings, check_settings};
use super::index::blocking;
use super::table::Cell;
use super::{Call, Fault, Reply};

/// The endpoint of templates without component templates.
const LEGACY: &str = "_template";

impl EmbeddedStore {
    pub(super) fn templates(
        &self,
        call: &Call,
        endpoint: &str,
        names: Option<&str>,
    ) -> Result<Reply, Fault> {
        call.only(&["flat_settings", "include_type_name", "include_defaults"])?;
        let is_flat = call.flag("flat_settings")?.unwrap_or(false);
        let kept = self.templates.now();
        let templates = if endpoint == LEGACY {
            &kept.legacy
        } else {
            &kept.composable
        };
        let wanted: Vec<&str> = names.unwrap_or("*").split(',').collect();
        let found: Vec<(&String, &Value)> = templates
            .iter()
            .filter(|(name, _)| wanted.iter().any(|wanted| wildcard::fits(wanted, name)))
            .collect();
        let status = if found.is_empty() && names.is_some() {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        };
        if endpoint == LEGACY {
            let body: Map<String, Value> = found
                .into_iter()
                .map(|(name, template)| (name.clone(), shown(template.clone(), is_flat)))
                .collect();
            return Ok(Reply::json(status, Value::Object(body)));
        }
        if let (Some(name), true) = (names, found.is_empty())
            && !name.contains('*')
        {
            return Err(Fault::new(
                status,
                "resource_not_found_exception",
                format!("index template matching [{name}] not found"),
            ));
        }
        let found: Vec<Value> = found
            .into_iter()
            .map(|(name, template)| {
                let mut template = template.clone();
                if let Some(inner) = template.get_mut("template") {
                    *inner = shown(inner.take(), is_flat);
                }
                json!({"name": name, "index_template": template})
            })
            .collect();
        Ok(Reply::json(status, json!({"index_templates": found})))
    }

    pub(super) async fn put_template(
        &self,
        call: &Call,
        endpoint: &str,
        name: &str,
    ) -> Result<Reply, Fault> {
        call.only(&["create", "cause", "order", "include_type_name"])?;
        let body = call.required_object()?;
        let is_legacy = endpoint == LEGACY;
        check_name(name)?;
        let template = if is_legacy {
            legacy(call, body)?
        } else {
            composable(call, name, body)?
        };
        let create = call.flag("create")?.unwrap_or(false);
        self.change_templates(name, move |kept, name| {
            let (templates, what) = if is_legacy {
                (&mut kept.legacy, "index_template")
            } else {
                (&mut kept.composable, "index template")
            };
            if create && templates.contains_key(name) {
                return Err(Fault::argument(format!("{what} [{name}] already exists")));
            }
            templates.insert(name.to_owned(), template);
            Ok(())
        })
        .await
    }

    pub(super) async fn delete_template(
        &self,
        call: &Call,
        endpoint: &str,
        name: &str,
    ) -> Result<Reply, Fault> {
        call.only(&[])?;
        let is_legacy = endpoint == LEGACY;
        self.change_templates(name, move |kept, names| {
            let templates = if is_legacy {
                &mut kept.legacy
            } else {
                &mut kept.composable
            };
            for wanted in names.split(',') {
                let before = templates.len();
                templates.retain(|name, _| !wildcard::fits(wanted, name));
                if templates.len() == before && wanted != "*" {
                    return Err(Fault::new(
                        StatusCode::NOT_FOUND,
                        "index_template_missing_exception",
                        format!("index_template [{wanted}] missing"),
                    ));
                }
            }
            Ok(())
        })
        .await
    }

    async fn change_templates(
        &self,
        name: &str,
        change: impl FnOnce(&mut Kept, &str) -> Result<(), Fault> + Send + 'static,
    ) -> Result<Reply, Fault> {
        let (templates, name) = (Arc::clone(&self.templates), name.to_owned());
        blocking(move || templates.change(|kept| change(kept, &name))).await?;
        Ok(Reply::ok(json!({"acknowledged": true})))
    }

    /// The rows of `_cat/templates`.
    pub(super) fn cat_templates(&self, name: &str) -> Vec<Vec<Cell>> {
        let kept = self.templates.now();
        let row = |(name, template): (&String, &Value), order: &str, composed_of: &str| {
            let patterns = template["index_patterns"].as_array().into_iter().flatten();
            let patterns: Vec<&str> = patterns.filter_map(Value::as_str).collect();
            let number = |member: &str| match &template[member] {
                Value::Null => Cell::Nothing,
                number => Cell::text(number.to_string()),
            };
            vec![
                Cell::text(&**name),
                Cell::text(format!("[{}]", patterns.join(", "))),
                number(order),
                number("version"),
                Cell::text(composed_of),
            ]
        };
        let is_wanted =
            |entry: &(&String, &Value)| name.is_empty() || wildcard::fits(name, entry.0);
        let legacy = kept.legacy.iter().filter(is_wanted);
        let composable = kept.composable.iter().filter(is_wanted);
        legacy
            .map(|entry| row(entry, "order", ""))
            .chain(composable.map(|entry| row(entry, "priority", "[]")))
            .collect()
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    let mut faults = Vec::new();
    if name.contains(' ') {
        faults.push("name must not contain a space");
    }
    if name.contains(',') {
        faults.push("name must not contain a ','");
    }
    if name.contains('#') {
        faults.push("name must not contain a '#'");
    }
    if name.contains('*') {
        faults.push("name must not contain a '*'");
    }
    if name.starts_with('_') {
        faults.push("name must not start with '_'");
    }
    if name.chars().any(char::is_uppercase) {
        faults.push("name must be lower cased");
    }
    if faults.is_empty() {
        return Ok(());
    }
    let faults: Vec<String> = (1..)
        .zip(faults)
        .map(|(number, fault)| format!("{number}: {fault};"))
        .collect();
    Err(wrong(
        name,
        &format!("Validation Failed: {}", faults.concat()),
    ))
}

fn wrong(name: &str, cause: &str) -> Fault {
    Fault::new(
        StatusCode::BAD_REQUEST,
        "invalid_index_template_exception",
        format!("index_template [{name}] invalid, cause [{cause}]"),
    )
}

fn unknown_field(place: &str, name: &str) -> Fault {
    Fault::new(
        StatusCode::BAD_REQUEST,
        "x_content_parse_exception",
        format!("[{place}] unknown field [{name}]"),
    )
}

/// One pattern, or several.
fn patterns(value: Value) -> Result<Vec<String>, Fault> {
    let several = match value {
        Value::Array(several) => several,
        one => vec![one],
    };
    several
        .into_iter()
        .map(|pattern| match pattern {
            Value::String(pattern) => Ok(pattern),
            _ => Err(Fault::parse("index_patterns must be texts")),
        })
        .collect()
}

/// A template for `_index_template`, in the form in which it is given back.
fn composable(call: &Call, name: &str, body: Map<String, Value>) -> Result<Value, Fault> {
    let mut template = Map::new();
    for (member, value) in body {
        match member.as_str() {
            "index_patterns" => {
                template.insert(member, json!(patterns(value)?));
            }
            "template" => {
                let Value::Object(inner) = value else {
                    return Err(unknown_field("index_template", "template"));
                };
                template.insert(member, parts(call, name, inner)?);
            }
            "composed_of" if value.as_array().is_some_and(Vec::is_empty) => {}
            "composed_of" => {
                let named = value.to_string().replace('"', "");
                return Err(wrong(
                    name,
                    &format!(
                        "index template [{name}] specifies component templates {named} that do not exist"
                    ),
                ));
            }
            "data_stream" => {
                return Err(Fault::argument(
                    "[data_stream] is not supported by this store",
                ));
            }
            "priority" | "version" if value.is_u64() => {
                template.insert(member, value);
            }
            "_meta" if value.is_object() => {
                template.insert(member, value);
            }
            "allow_auto_create" | "deprecated" if value.is_boolean() => {
                template.insert(member, value);
            }
            "ignore_missing_component_templates" => {}
            other => return Err(unknown_field("index_template", other)),
        }
    }
    match template.get("index_patterns") {
        None => return Err(Fault::argument("Required [index_patterns]")),
        Some(patterns) if *patterns == json!([]) => {
            return Err(Fault::argument(
                "There must be at least one pattern, zero given",
            ));
        }
        Some(_) => {}
    }
    template.insert("composed_of".to_owned(), json!([]));
    Ok(Value::Object(template))
}

/// Settings, mappings and aliases of a composable template.
fn parts(call: &Call, name: &str, body: Map<String, Value>) -> Result<Value, Fault> {
    let mut parts = Map::new();
    for (member, value) in body {
        match (member.as_str(), &value) {
            ("settings", Value::Object(settings)) => {
                check_settings(settings, Put::New).map_err(|fault| {
                    let reason = fault.body["error"]["reason"].as_str().unwrap_or_default();
                    wrong(name, &format!("Validation Failed: 1: {reason};"))
                })?;
                parts.insert(member, Value::Object(flat_settings(settings)));
            }
            ("mappings", Value::Object(mappings)) => {
                check_mappings(mappings, call.major)?;
                parts.insert(member, value);
            }
            ("aliases", Value::Object(aliases)) => {
                no_aliases(aliases)?;
                parts.insert(member, value);
            }
            (other, _) => return Err(unknown_field("template", other)),
        }
    }
    Ok(Value::Object(parts))
}

/// A template for `_template`, in the form in which it is given back.
fn legacy(call: &Call, body: Map<String, Value>) -> Result<Value, Fault> {
    let mut template = json!({"order": 0, "settings": {}, "mappings": {}, "aliases": {}});
    for (member, value) in body {
        match (member.as_str(), &value) {
            ("index_patterns", _) => template["index_patterns"] = json!(patterns(value)?),
            // As Elasticsearch 5 called it.
            ("template", Value::String(_)) => template["index_patterns"] = json!(patterns(value)?),
            ("settings", Value::Object(settings)) => {
                check_settings(settings, Put::New)?;
                template["settings"] = Value::Object(flat_settings(settings));
            }
            ("mappings", Value::Object(mappings)) => {
                // Legacy templates may name a type in every version that has them.
                check_mappings(mappings, call.major.min(7))?;
                template["mappings"] = value;
            }
            ("aliases", Value::Object(aliases)) => no_aliases(aliases)?,
            ("order" | "version", Value::Number(_)) => template[&member] = value,
            (other, _) => {
                return Err(Fault::parse(format!(
                    "unknown key [{other}] in the template "
                )));
            }
        }
    }
    if let Some(order) = call.parameter("order") {
        let order: i64 = order.parse().map_err(|_| {
            Fault::argument(format!(
                "Failed to parse int parameter [order] with value [{order}]"
            ))
        })?;
        template["order"] = order.into();
    }
    match &template["index_patterns"] {
        Value::Array(patterns) if !patterns.is_empty() => Ok(template),
        _ => Err(Fault::invalid(&["index patterns are missing"])),
    }
}

fn no_aliases(aliases: &Map<String, Value>) -> Result<(), Fault> {
    if aliases.is_empty() {
        Ok(())
    } else {
        Err(Fault::argument("[aliases] are not supported by this store"))
    }
}

/// A template whose settings, which are kept flat, are shown as asked for.
fn shown(mut template: Value, is_flat: bool) -> Value {
    if let Some(Value::Object(settings)) = template.get("settings")
        && !is_flat
    {
        template["settings"] = nested_settings(settings);
    }
    template
}
