//! Into how many shards new indices are cut, and how many replicas of each
//! shard there are: read from the cluster, and changed in it.
//!
//! Both stand in our index template, where they outlive a restart of ours: what
//! is put again keeps the numbers that are there. A change is made only where
//! the cluster can do it; what it cannot is refused with its reason, and then
//! nothing is changed.

use http::{Method, StatusCode};
use mscp_log_core::template::Version;
use serde_json::{Value, json};

use super::engine::{Answer, Engine, EngineError, ask};
use super::nodes::{Nodes, Outgoing};
use crate::store::{Spread, SpreadError, Spreading};

/// Most shards of an index (`index.number_of_shards` of every engine).
const MOST_SHARDS: u64 = 1_024;

/// An index that nobody has: what the templates make of it is what they make
/// of ours.
const SAMPLE: &str = "logstash-http-mscp-log-2000.01.01";

const SHARDS: &str = "number_of_shards";
const REPLICAS: &str = "number_of_replicas";

impl From<EngineError> for SpreadError {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Refused { status, .. } if status.is_client_error() => {
                Self::Refused(error.to_string())
            }
            _ => Self::Away(error.to_string()),
        }
    }
}

/// A number in an index's settings, nested or flat; engines write it as text.
fn number(settings: &Value, name: &str) -> Option<u64> {
    let value = [
        &settings["index"][name],
        &settings[format!("index.{name}")],
        &settings[name],
    ];
    let value = value.into_iter().find(|value| !value.is_null())?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// What an engine does where nothing says it.
fn unless_said(engine: &Engine) -> Spread {
    Spread {
        number_of_shards: match engine.version {
            Version::Es6 => 5,
            _ => 1,
        },
        number_of_replicas: 1,
    }
}

fn is_legacy(engine: &Engine) -> bool {
    matches!(engine.version, Version::Es6 | Version::Es7)
}

/// The numbers in our template; `None` where it is not there.
pub(super) async fn in_template(
    nodes: &Nodes,
    engine: &Engine,
) -> Result<Option<Spreading>, EngineError> {
    let template = our_template(nodes, engine).await?;
    Ok(template.map(|template| {
        let settings = settings_of(engine, &template);
        Spreading {
            shards: number(settings, SHARDS),
            replicas: number(settings, REPLICAS),
        }
    }))
}

/// Our template as it is in the cluster.
async fn our_template(nodes: &Nodes, engine: &Engine) -> Result<Option<Value>, EngineError> {
    let path = engine.version.path();
    let answer = ask(nodes, Outgoing::plain(Method::GET, path)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let body = good(nodes, &answer, "GET of the index template")?;
    let mut template = match is_legacy(engine) {
        true => body["mscp-log"].clone(),
        false => body["index_templates"][0]["index_template"].clone(),
    };
    if let Some(members) = template.as_object_mut() {
        // Elasticsearch from 9.2 on shows these and does not take them.
        let is_its_own =
            |name: &str| name.starts_with("created_date") || name.starts_with("modified_date");
        members.retain(|name, _| !is_its_own(name));
    }
    Ok(Some(template))
}

fn settings_of<'t>(engine: &Engine, template: &'t Value) -> &'t Value {
    match is_legacy(engine) {
        true => &template["settings"],
        false => &template["template"]["settings"],
    }
}

/// Put `numbers` into a template, and leave out what is not said.
pub(super) fn put_into(engine: &Engine, template: &mut Value, numbers: Spreading) {
    let settings = match is_legacy(engine) {
        true => &mut template["settings"],
        false => &mut template["template"]["settings"],
    };
    for (name, value) in [(SHARDS, numbers.shards), (REPLICAS, numbers.replicas)] {
        if let Some(value) = value {
            settings["index"][name] = value.into();
        }
    }
}

fn good(nodes: &Nodes, answer: &Answer, what: &'static str) -> Result<Value, EngineError> {
    match answer.status.is_success() {
        true => Ok(answer.json()),
        false => Err(answer.refusal(nodes, what)),
    }
}

/// What new indices get, of all templates together.
pub(super) async fn present(nodes: &Nodes, engine: &Engine) -> Result<Spread, EngineError> {
    let mut spread = unless_said(engine);
    let mut apply = |settings: &Value| {
        spread.number_of_shards = number(settings, SHARDS).unwrap_or(spread.number_of_shards);
        let replicas = number(settings, REPLICAS);
        spread.number_of_replicas = replicas.unwrap_or(spread.number_of_replicas);
    };
    if engine.version != Version::Es6 {
        let path = format!("/_index_template/_simulate_index/{SAMPLE}");
        let answer = ask(nodes, Outgoing::plain(Method::POST, path)).await?;
        let simulated = answer.json();
        // Before 7.9 there was none, and where none matches the older ones count.
        if answer.status.is_success() && !simulated["template"].is_null() {
            apply(&simulated["template"]["settings"]);
            return Ok(spread);
        }
        if !is_legacy(engine) {
            good(nodes, &answer, "simulation of the index templates")?;
            return Ok(spread);
        }
    }
    let answer = ask(nodes, Outgoing::plain(Method::GET, "/_template")).await?;
    let templates = good(nodes, &answer, "GET of the index templates")?;
    let mut matching: Vec<(i64, &Value)> = templates
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, template)| {
            let patterns = template["index_patterns"].as_array().into_iter().flatten();
            let mut patterns = patterns.filter_map(Value::as_str);
            patterns.any(|pattern| matches(pattern, SAMPLE))
        })
        .map(|(_, template)| {
            let order = template["order"].as_i64().unwrap_or_default();
            (order, &template["settings"])
        })
        .collect();
    matching.sort_by_key(|(order, _)| *order);
    matching.iter().for_each(|(_, settings)| apply(settings));
    Ok(spread)
}

/// Whether a name fits a pattern, in which `*` is anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|name| {
            let ends = name.char_indices().map(|(place, _)| place);
            ends.chain([name.len()])
                .any(|place| matches(rest, &name[place..]))
        }),
    }
}

/// Change what is said: replicas of every index that there is and of new ones,
/// shards of new ones only.
pub(super) async fn change(
    nodes: &Nodes,
    engine: &Engine,
    wanted: Spreading,
) -> Result<Spread, SpreadError> {
    let before = present(nodes, engine).await?;
    check(nodes, before, wanted).await?;
    let template = our_template(nodes, engine).await?;
    let template =
        template.ok_or_else(|| SpreadError::Away("the index template is not there".to_owned()))?;
    let mut changed = template.clone();
    put_into(engine, &mut changed, wanted);
    put(nodes, engine, &changed).await?;
    let done = async {
        let now = present(nodes, engine).await?;
        let is = |wanted: Option<u64>, now: u64| wanted.is_none_or(|wanted| wanted == now);
        let (shards, replicas) = (now.number_of_shards, now.number_of_replicas);
        if !is(wanted.shards, shards) || !is(wanted.replicas, replicas) {
            return Err(SpreadError::Refused(format!(
                "another index template of the cluster comes before ours and gives new indices {shards} shards and {replicas} replicas; it is to be changed there"
            )));
        }
        if let Some(replicas) = wanted.replicas {
            set_replicas(nodes, replicas).await?;
        }
        Ok(now)
    };
    let done = done.await;
    if done.is_err()
        // What is refused is refused whole.
        && let Err(error) = put(nodes, engine, &template).await
    {
        tracing::warn!(%error, "the index template could not be put back as it was");
    }
    done
}

async fn put(nodes: &Nodes, engine: &Engine, template: &Value) -> Result<(), EngineError> {
    let request = Outgoing::json(Method::PUT, engine.version.path(), template.to_string());
    let answer = ask(nodes, request).await?;
    good(nodes, &answer, "PUT of the index template").map(|_| ())
}

/// Of every open index. A closed one keeps what it has: older engines refuse
/// to change it, as it may be left unable to open.
async fn set_replicas(nodes: &Nodes, replicas: u64) -> Result<(), EngineError> {
    let path =
        "/logstash-*/_settings?allow_no_indices=true&ignore_unavailable=true&expand_wildcards=open";
    let body = json!({"index": {REPLICAS: replicas}});
    let request = Outgoing::json(Method::PUT, path, body.to_string());
    let answer = ask(nodes, request).await?;
    good(nodes, &answer, "PUT of the indices' settings").map(|_| ())
}

/// Whether the cluster can do what is wanted without risk to what it has.
async fn check(nodes: &Nodes, now: Spread, wanted: Spreading) -> Result<(), SpreadError> {
    let refused = |reason: String| Err(SpreadError::Refused(reason));
    if let Some(shards) = wanted.shards
        && !(1..=MOST_SHARDS).contains(&shards)
    {
        return refused(format!(
            "{SHARDS}: expected a whole number from 1 to {MOST_SHARDS}, found {shards}"
        ));
    }
    let Some(replicas) = wanted.replicas else {
        return Ok(());
    };
    let asked = ask(nodes, Outgoing::plain(Method::GET, "/_cluster/health")).await;
    let answer = asked.map_err(EngineError::from)?;
    let health = good(nodes, &answer, "GET of the cluster's health")?;
    let Some(data) = health["number_of_data_nodes"].as_u64() else {
        let reason = "the cluster does not say how many data nodes it has";
        return Err(SpreadError::Away(reason.to_owned()));
    };
    // A replica is never on the node of its primary or of another replica.
    if replicas >= data {
        let needed = replicas.saturating_add(1);
        return refused(format!(
            "{REPLICAS}: {replicas} replicas need {needed} data nodes, and the cluster has {data}"
        ));
    }
    if replicas < now.number_of_replicas && health["status"] == "red" {
        return refused(format!(
            "{REPLICAS}: the cluster is red: some primary shards are missing, and a replica that would go may be the last copy of one"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use mscp_log_core::template;

    use super::*;

    #[test]
    fn a_pattern_fits_names_as_the_engines_have_it() {
        for (pattern, fits) in [
            ("*", true),
            ("logstash-*", true),
            ("*-2000.*", true),
            ("logstash-http*01.01", true),
            ("logstash-http-*-*-2000*", true),
            ("logstash-filebeat-*", false),
            ("logstash", false),
            ("*02", false),
        ] {
            assert_eq!(matches(pattern, SAMPLE), fits, "{pattern}");
        }
    }

    #[test]
    fn numbers_are_read_as_text_or_number_flat_or_nested_and_put_where_they_belong() {
        for settings in [
            json!({"index": {"number_of_replicas": "2"}}),
            json!({"index.number_of_replicas": "2"}),
            json!({"number_of_replicas": 2}),
        ] {
            assert_eq!(number(&settings, REPLICAS), Some(2), "{settings}");
            assert_eq!(number(&settings, SHARDS), None);
        }
        for version in Version::ALL {
            let engine = Engine {
                version,
                number: "1".to_owned(),
            };
            let numbers = Spreading {
                shards: None,
                replicas: Some(2),
            };
            let ours = template::index_template(version);
            let mut with = ours.clone();
            put_into(&engine, &mut with, numbers);
            let settings = settings_of(&engine, &with);
            assert_eq!(number(settings, REPLICAS), Some(2), "{with}");
            assert_eq!(number(settings, SHARDS), Some(1), "{with}");
            let mut without = ours.clone();
            put_into(&engine, &mut without, Spreading::default());
            assert_eq!(without, ours);
        }
    }
}
