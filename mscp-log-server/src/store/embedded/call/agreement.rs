//! Whether settings and mappings that a client puts agree with what every
//! index of this store is.
//!
//! The store has one mapping, one shard an index and no replicas. What says
//! the same is accepted, and so are settings that only say how other stores
//! should lay out the same data; whatever would make searches find something
//! else is refused, rather than taken and not done.

use mscp_log_core::template;
use serde_json::{Map, Value, json};

use super::super::templates::flat_settings;
use super::Fault;

/// Settings that change nothing of what a search finds, without `index.`. A dot at
/// the end takes all below.
const HARMLESS: [&str; 20] = [
    "auto_expand_replicas",
    "codec",
    "gc_deletes",
    "hidden",
    "indexing.slowlog.",
    "mapping.depth.limit",
    "mapping.field_name_length.limit",
    "mapping.nested_fields.limit",
    "mapping.total_fields.limit",
    "merge.",
    "number_of_replicas",
    "number_of_routing_shards",
    "number_of_shards",
    "priority",
    "refresh_interval",
    "routing.allocation.",
    "search.slowlog.",
    "translog.",
    "unassigned.node_left.delayed_timeout",
    "write.wait_for_active_shards",
];

/// Settings that only a new index can have.
const FINAL: [&str; 3] = ["codec", "number_of_routing_shards", "number_of_shards"];

/// Settings that are numbers.
const NUMBERS: [&str; 2] = ["number_of_replicas", "number_of_shards"];

/// Which indices settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// Such as are made, now or by a template.
    New,
    /// Such as are there.
    Change,
}

/// Refuse settings that would change what is found.
pub(super) fn check_settings(settings: &Map<String, Value>, put: Put) -> Result<(), Fault> {
    for (name, value) in flat_settings(settings) {
        let short = name.strip_prefix("index.").unwrap_or(&name);
        let is_harmless = HARMLESS
            .iter()
            .any(|known| short == *known || (known.ends_with('.') && short.starts_with(known)));
        if !is_harmless {
            return Err(Fault::argument(format!(
                "unknown setting [{name}] please check that any required plugins are installed, or \
                 check the breaking changes documentation for removed settings"
            )));
        }
        if put == Put::Change && FINAL.contains(&short) {
            return Err(Fault::argument(format!(
                "Can't update non dynamic settings [[{name}]] for open indices"
            )));
        }
        if NUMBERS.contains(&short)
            && let Some(text) = value.as_str()
            && text.parse::<u32>().is_err()
        {
            return Err(Fault::argument(format!(
                "Failed to parse value [{text}] for setting [{name}]"
            ))
            .caused_by(json!({
                "type": "number_format_exception",
                "reason": format!("For input string: \"{text}\""),
            })));
        }
    }
    Ok(())
}

/// Refuse mappings that say something else than the one that every index has.
/// Before version 8 they may lie below the name of a type.
pub(super) fn check_mappings(mappings: &Map<String, Value>, major: u16) -> Result<(), Fault> {
    const KNOWN: [&str; 9] = [
        "_meta",
        "_source",
        "date_detection",
        "dynamic",
        "dynamic_date_formats",
        "dynamic_templates",
        "numeric_detection",
        "properties",
        "_routing",
    ];
    let of_type = mappings.iter().next();
    if let Some((kind, Value::Object(inner))) = of_type
        && mappings.len() == 1
        && major < 8
        && !KNOWN.contains(&kind.as_str())
    {
        return check_mappings(inner, 8);
    }
    for (name, value) in mappings {
        match name.as_str() {
            // They are about fields that are not in the mapping, of which none is made.
            "_meta" | "date_detection" | "dynamic_date_formats" | "numeric_detection" => {}
            "_source" if is_one_of(&value["enabled"], &[Value::Null, json!(true)]) => {}
            "_routing" if is_one_of(&value["required"], &[Value::Null, json!(false)]) => {}
            "dynamic" if is_one_of(value, &[json!(false), json!("false")]) => {}
            "dynamic" => {
                return Err(Fault::argument(format!(
                    "[dynamic] cannot be [{value}]: it is [false] in every index of this store"
                )));
            }
            "dynamic_templates" if value.as_array().is_some_and(Vec::is_empty) => {}
            "properties" => {
                let fixed = template::mapping();
                check_properties("", value, &fixed["properties"])?;
            }
            other => {
                return Err(mapping_fault(
                    other,
                    "cannot be set: every index of this store has the same mapping",
                ));
            }
        }
    }
    Ok(())
}

fn mapping_fault(path: &str, why: &str) -> Fault {
    Fault::argument(format!("[{path}] {why}"))
}

fn is_one_of(value: &Value, allowed: &[Value]) -> bool {
    allowed.contains(value)
}

fn check_properties(above: &str, properties: &Value, fixed: &Value) -> Result<(), Fault> {
    let Value::Object(properties) = properties else {
        return Err(mapping_fault("properties", "must be an object"));
    };
    for (name, definition) in properties {
        let path = if above.is_empty() {
            name.clone()
        } else {
            format!("{above}.{name}")
        };
        let mut below = fixed;
        let mut found = true;
        for (place, part) in name.split('.').enumerate() {
            below = if place == 0 {
                &below[part]
            } else {
                &below["properties"][part]
            };
            found &= !below.is_null();
        }
        if found {
            check_field(&path, definition, below)?;
        } else if !is_unsearchable(definition) {
            return Err(mapping_fault(
                &path,
                "is no field of this store, whose mapping cannot be changed: documents keep such \
                 fields in [_source], and [annotations] takes fields of any name",
            ));
        }
    }
    Ok(())
}

/// Whether a field asks for nothing but to be kept.
fn is_unsearchable(definition: &Value) -> bool {
    let off = json!(false);
    definition["enabled"] == off || (definition["index"] == off && definition["doc_values"] == off)
}

fn check_field(path: &str, definition: &Value, fixed: &Value) -> Result<(), Fault> {
    let Value::Object(definition) = definition else {
        return Err(mapping_fault(path, "must be an object"));
    };
    let fixed_type = fixed["type"].as_str();
    let given_type = definition.get("type").and_then(Value::as_str);
    if let Some(properties) = definition.get("properties")
        && fixed_type.is_none()
    {
        check_properties(path, properties, &fixed["properties"])?;
    }
    match (given_type, fixed_type) {
        (None | Some("object"), None) => {}
        (Some(given), Some(fixed)) if given == fixed => {}
        // The templates of this project for engines without `flattened`.
        (Some("flat_object"), Some("flattened")) => return Ok(()),
        (Some("object") | None, Some("flattened"))
            if definition.get("enabled") == Some(&json!(false)) =>
        {
            return Ok(());
        }
        (given, fixed) => {
            let (given, fixed) = (given.unwrap_or("object"), fixed.unwrap_or("object"));
            return Err(Fault::argument(format!(
                "mapper [{path}] cannot be changed from type [{fixed}] to [{given}]"
            )));
        }
    }
    for (parameter, value) in definition {
        if matches!(parameter.as_str(), "type" | "properties" | "meta") {
            continue;
        }
        let agrees = match &fixed[parameter.as_str()] {
            Value::Null => is_default(parameter, value),
            fixed => value == fixed,
        };
        if !agrees {
            return Err(mapping_fault(
                path,
                &format!(
                    "has [{parameter}] as [{}] in every index of this store, not as [{value}]",
                    match &fixed[parameter.as_str()] {
                        Value::Null => "default".to_owned(),
                        fixed => fixed.to_string(),
                    }
                ),
            ));
        }
    }
    Ok(())
}

/// Whether a parameter of a field says what is so where it is not given.
fn is_default(parameter: &str, value: &Value) -> bool {
    let defaults: &[Value] = &match parameter {
        "index" | "doc_values" | "norms" | "coerce" | "enabled" => [json!(true), json!("true")],
        "store" | "ignore_malformed" | "fielddata" => [json!(false), json!("false")],
        "analyzer" | "search_analyzer" => [json!("standard"), json!("default")],
        "dynamic" => [json!(false), json!("false")],
        "format" => [
            json!("strict_date_optional_time||epoch_millis"),
            json!("strict_date_optional_time"),
        ],
        "fields" => [json!({}), Value::Null],
        "index_options" => [json!("positions"), json!("docs")],
        "eager_global_ordinals" => [json!(true), json!(false)],
        _ => return false,
    };
    defaults.contains(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use mscp_log_core::template::{Version, index_template};

    use super::super::super::templates::nested_settings;
    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_templates_of_every_engine_agree_with_the_store() {
        for version in Version::ALL {
            let template = index_template(version);
            let body = match version {
                Version::Es6 | Version::Es7 => &template,
                _ => &template["template"],
            };
            check_mappings(&object(&body["mappings"]), 7).unwrap();
            check_settings(&object(&body["settings"]), Put::New).unwrap();
        }
    }

    #[track_caller]
    fn check(mappings: &Value, expected: Option<&str>) {
        let found = check_mappings(&object(mappings), 8);
        match (found, expected) {
            (Ok(()), None) => {}
            (Err(fault), Some(expected)) => {
                let reason = fault.body["error"]["reason"].as_str().unwrap().to_owned();
                assert!(reason.contains(expected), "{reason}");
            }
            (found, expected) => panic!("{found:?} {expected:?}"),
        }
    }

    #[test]
    fn a_mapping_that_says_the_same_is_accepted_and_any_other_refused_by_its_field() {
        check(&json!({}), None);
        check(&json!({"properties": {"level": {"type": "keyword"}}}), None);
        check(
            &json!({"properties": {"log.offset": {"type": "long"}}}),
            None,
        );
        check(
            &json!({"properties": {"log": {"properties": {"offset": {"type": "long"}}}}}),
            None,
        );
        check(
            &json!({"properties": {"blob": {"type": "keyword", "index": false, "doc_values": false}}}),
            None,
        );
        check(
            &json!({"properties": {"level": {"type": "long"}}}),
            Some("mapper [level] cannot be changed from type [keyword] to [long]"),
        );
        check(
            &json!({"properties": {"log": {"properties": {"offset": {"type": "text"}}}}}),
            Some("mapper [log.offset]"),
        );
        check(
            &json!({"properties": {"status": {"type": "long"}}}),
            Some("[status] is no field"),
        );
        check(
            &json!({"properties": {"level": {"type": "keyword", "ignore_above": 10}}}),
            Some("[ignore_above]"),
        );
        check(
            &json!({"properties": {"message": {"type": "text", "fields": {"raw": {"type": "keyword"}}}}}),
            Some("[fields]"),
        );
        check(&json!({"dynamic": "strict"}), Some("[dynamic]"));
        check(&json!({"_source": {"enabled": false}}), Some("[_source]"));
    }

    #[test]
    fn settings_that_change_no_answer_are_accepted_and_given_back_flat_or_nested() {
        let settings = object(&json!({"number_of_shards": 3, "index": {"refresh_interval": "5s"}}));
        check_settings(&settings, Put::New).unwrap();
        let flat = flat_settings(&settings);
        let expected = json!({"index.number_of_shards": "3", "index.refresh_interval": "5s"});
        assert_eq!(json!(flat), expected);
        let nested = json!({"index": {"number_of_shards": "3", "refresh_interval": "5s"}});
        assert_eq!(nested_settings(&flat), nested);
        for wrong in [
            json!({"index.blocks.write": true}),
            json!({"analysis": {"analyzer": {}, "x": 1}}),
            json!({"number_of_shards": "many"}),
        ] {
            assert!(
                check_settings(&object(&wrong), Put::New).is_err(),
                "{wrong}"
            );
        }
        assert!(check_settings(&settings, Put::Change).is_err());
    }
}
