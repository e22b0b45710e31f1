//! Endpoints that say what indices are: `GET /{index}`, `_mapping`,
//! `_settings`, `_alias`, `_stats`, `_field_caps`, `_resolve/index`.

use std::collections::BTreeSet;

use http::StatusCode;
use mscp_log_core::field::FIELDS;
use mscp_log_core::index::day_of;
use mscp_log_core::query::ast::Search;
use mscp_log_core::query::wildcard;
use mscp_log_core::template;
use serde_json::{Map, Value, json};

use super::super::EmbeddedStore;
use super::super::catalog::{Figures, Selection};
use super::super::search::answer;
use super::super::templates::nested_settings;
use super::index::{blocking, uuid_of};
use super::{Call, Fault, Reply};

/// Statistics that `_stats` knows by name. Those that are not measured are left out.
const METRICS: [&str; 20] = [
    "_all",
    "bulk",
    "completion",
    "dense_vector",
    "docs",
    "fielddata",
    "flush",
    "get",
    "indexing",
    "merge",
    "query_cache",
    "recovery",
    "refresh",
    "request_cache",
    "search",
    "segments",
    "store",
    "suggest",
    "translog",
    "warmer",
];

impl EmbeddedStore {
    pub(super) async fn index(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        known(call, &["flat_settings", "include_defaults", "features"])?;
        let features = call.parameter("features").unwrap_or_default();
        for feature in features.split(',').filter(|feature| !feature.is_empty()) {
            if !["aliases", "mappings", "settings"].contains(&feature) {
                let reason = format!("Invalid features specified [{feature}]");
                return Err(Fault::argument(reason));
            }
        }
        let shows = |feature| features.is_empty() || features.split(',').any(|it| it == feature);
        let mappings = if shows("mappings") {
            mapping(call)?
        } else {
            json!({})
        };
        let is_flat = call.flag("flat_settings")?.unwrap_or(false);
        let body = self.for_each(call, index, |name| {
            let settings = if shows("settings") {
                shown_settings(&self.settings_of(name), is_flat)
            } else {
                json!({})
            };
            json!({"aliases": {}, "mappings": mappings, "settings": settings})
        });
        Ok(Reply::ok(body.await?))
    }

    pub(super) async fn mapping(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        known(call, &[])?;
        let mapping = mapping(call)?;
        let body = self.for_each(call, index, |_| json!({"mappings": mapping}));
        Ok(Reply::ok(body.await?))
    }

    /// `_mapping/field/{fields}`
    pub(super) async fn field_mapping(
        &self,
        call: &Call,
        index: &str,
        fields: &str,
    ) -> Result<Reply, Fault> {
        known(call, &["include_defaults"])?;
        let mapping = template::mapping();
        let mut found = Map::new();
        for (name, _) in FIELDS {
            if !fields.split(',').any(|field| wildcard::fits(field, name)) {
                continue;
            }
            let path = format!("/properties/{}", name.replace('.', "/properties/"));
            let last = name.rsplit('.').next().unwrap_or(name);
            let definition = mapping.pointer(&path).cloned().unwrap_or_default();
            found.insert(
                (*name).to_owned(),
                json!({"full_name": name, "mapping": {last: definition}}),
            );
        }
        let found = typed(call, Value::Object(found))?;
        let body = self.for_each(call, index, |_| json!({"mappings": found}));
        Ok(Reply::ok(body.await?))
    }

    /// `_settings` of the indices; of those that `names` has, where it is not empty.
    pub(super) async fn index_settings(
        &self,
        call: &Call,
        index: &str,
        names: &str,
    ) -> Result<Reply, Fault> {
        known(call, &["flat_settings", "include_defaults"])?;
        let is_flat = call.flag("flat_settings")?.unwrap_or(false);
        let is_wanted = |setting: &str| {
            let mut names = names.split(',').filter(|name| !name.is_empty()).peekable();
            names.peek().is_none()
                || names.any(|name| name == "_all" || wildcard::fits(name, setting))
        };
        let selection = self.selection(call, index).await?;
        let mut body = Map::new();
        for name in selection.names {
            let mut settings = self.settings_of(&name);
            settings.retain(|setting, _| is_wanted(setting));
            if !settings.is_empty() {
                let settings = shown_settings(&settings, is_flat);
                body.insert(name.into(), json!({"settings": settings}));
            }
        }
        Ok(Reply::ok(Value::Object(body)))
    }

    /// `_alias`: there are none.
    pub(super) async fn aliases(
        &self,
        call: &Call,
        index: &str,
        names: Option<&str>,
    ) -> Result<Reply, Fault> {
        known(call, &[])?;
        let Some(names) = names else {
            let body = self.for_each(call, index, |_| json!({"aliases": {}}));
            return Ok(Reply::ok(body.await?));
        };
        self.selection(call, index).await?;
        let mut missing: Vec<&str> = names
            .split(',')
            .filter(|name| !name.contains('*') && *name != "_all")
            .collect();
        missing.sort_unstable();
        match missing.as_slice() {
            [] => Ok(Reply::ok(json!({}))),
            [one] => Err(no_alias(&format!("alias [{one}] missing"))),
            many => Err(no_alias(&format!("aliases [{}] missing", many.join(",")))),
        }
    }

    /// `_stats`: documents and bytes; a day's files hold all of its indices.
    pub(super) async fn stats(
        &self,
        call: &Call,
        index: &str,
        metrics: &str,
    ) -> Result<Reply, Fault> {
        known(
            call,
            &[
                "level",
                "metric",
                "fields",
                "completion_fields",
                "fielddata_fields",
                "groups",
                "include_segment_file_sizes",
                "include_unloaded_segments",
                "forbid_closed_indices",
            ],
        )?;
        let metrics = call.parameter("metric").unwrap_or(metrics).to_owned();
        let named: Vec<&str> = metrics.split(',').filter(|it| !it.is_empty()).collect();
        if let Some(unknown) = named.iter().find(|metric| !METRICS.contains(metric)) {
            return Err(Fault::argument(format!(
                "request [{}] contains unrecognized metric: [{unknown}]",
                call.path
            )));
        }
        let level = call.parameter("level").unwrap_or("indices");
        if !["cluster", "indices", "shards"].contains(&level) {
            return Err(Fault::argument(format!(
                "level parameter must be one of [cluster] or [indices] or [shards] but was [{level}]"
            )));
        }
        let wants = |metric| named.is_empty() || named.contains(&"_all") || named.contains(&metric);
        let statistics = |of: &Figures| {
            let mut shown = Map::new();
            if wants("docs") {
                // Known to be none, or not known.
                let deleted = of.is_clean.then_some(0);
                shown.insert(
                    "docs".to_owned(),
                    json!({"count": of.documents, "deleted": deleted}),
                );
            }
            if wants("store") {
                shown.insert(
                    "store".to_owned(),
                    json!({"size_in_bytes": of.bytes, "reserved_in_bytes": 0}),
                );
            }
            json!({"primaries": shown, "total": shown})
        };
        let figures = self.figures_of(call, index).await?;
        let all = Figures {
            documents: figures.values().map(|of| of.documents).sum(),
            bytes: figures.values().map(|of| of.bytes).sum(),
            is_clean: figures.values().all(|of| of.is_clean),
        };
        let shards = figures.len();
        let mut body = json!({
            "_shards": {"total": shards, "successful": shards, "failed": 0},
            "_all": statistics(&all),
        });
        if level != "cluster" {
            let mut indices = Map::new();
            for (name, of) in figures {
                let mut shown = statistics(&of);
                shown["uuid"] = uuid_of(&name).into();
                if call.major >= 8 {
                    shown["health"] = self.status().into();
                    shown["status"] = "open".into();
                }
                indices.insert(name.into(), shown);
            }
            body["indices"] = Value::Object(indices);
        }
        Ok(Reply::ok(body))
    }

    pub(super) async fn field_caps(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        known(
            call,
            &[
                "fields",
                "include_unmapped",
                "filters",
                "types",
                "include_empty_fields",
            ],
        )?;
        let mut body = call.object()?;
        let wanted = match (call.parameter("fields"), body.remove("fields")) {
            (Some(names), _) => list(names),
            (None, Some(Value::String(names))) => list(&names),
            (None, Some(Value::Array(names))) => {
                let names = names.iter().filter_map(Value::as_str);
                names.map(str::to_owned).collect()
            }
            (None, _) => Vec::new(),
        };
        if wanted.is_empty() {
            return Err(if call.major < 8 {
                Fault::argument("specified fields can't be null or empty")
            } else {
                Fault::invalid(&["no fields specified"])
            });
        }
        let filter = body.remove("index_filter");
        if let Some(unknown) = body.keys().next() {
            return Err(Fault::new(
                StatusCode::BAD_REQUEST,
                "x_content_parse_exception",
                format!("[field_caps_request] unknown field [{unknown}]"),
            ));
        }
        let selection = self.selection(call, index).await?;
        let names = match filter {
            Some(filter) => self.matching(call, selection, &filter).await?,
            None => selection.names,
        };
        let mut fields = if names.is_empty() {
            Map::new()
        } else {
            let is_wanted = |name: &str| wanted.iter().any(|pattern| wildcard::fits(pattern, name));
            template::field_caps(is_wanted, call.major)
        };
        filter_fields(call, &mut fields)?;
        Ok(Reply::ok(json!({"indices": names, "fields": fields})))
    }

    /// The indices with documents that match a query.
    async fn matching(
        &self,
        call: &Call,
        selection: Selection,
        query: &Value,
    ) -> Result<BTreeSet<Box<str>>, Fault> {
        let body = json!({
            "size": 0,
            "query": query,
            "aggs": {"names": {"terms": {"field": "_index", "size": selection.names.len().max(1)}}},
        });
        let search = Search::parse(body.to_string().as_bytes(), &[]).map_err(|error| {
            Fault::new(
                StatusCode::BAD_REQUEST,
                "x_content_parse_exception",
                "[field_caps_request] failed to parse field [index_filter]",
            )
            .caused_by(error.to_json()["error"].clone())
        })?;
        let context = self.run(call, false)?;
        let permit = self.turn().await?;
        let found = blocking(move || {
            let _permit = permit;
            Ok(answer(&selection.snapshots, &search, &context)?)
        })
        .await?;
        let buckets = found["aggregations"]["names"]["buckets"].as_array();
        let names = buckets.into_iter().flatten();
        Ok(names
            .filter_map(|bucket| bucket["key"].as_str())
            .map(Into::into)
            .collect())
    }

    /// `_resolve/index/{names}`
    pub(super) async fn resolve(&self, call: &Call, names: &str) -> Result<Reply, Fault> {
        known(call, &["mode"])?;
        let found = match self.selection(call, names).await {
            Ok(selection) => selection.names,
            // Before version 8 a name that is not there is left out.
            Err(fault) if fault.status == StatusCode::NOT_FOUND && call.major < 8 => {
                BTreeSet::new()
            }
            Err(fault) => return Err(fault),
        };
        let indices: Vec<Value> = found
            .iter()
            .map(|name| json!({"name": name, "attributes": ["open"]}))
            .collect();
        Ok(Reply::ok(
            json!({"indices": indices, "aliases": [], "data_streams": []}),
        ))
    }

    /// An object with a member for each index.
    async fn for_each(
        &self,
        call: &Call,
        index: &str,
        describe: impl Fn(&str) -> Value,
    ) -> Result<Value, Fault> {
        let selection = self.selection(call, index).await?;
        let members = selection.names.into_iter();
        Ok(members
            .map(|name| {
                let described = describe(&name);
                (name.into(), described)
            })
            .collect::<Map<_, _>>()
            .into())
    }

    /// The settings of an index, flat. An index without a day in its name does
    /// not say when it was made.
    fn settings_of(&self, name: &str) -> Map<String, Value> {
        let (major, minor, patch) = self.settings.version;
        let created = format!("{major}{minor:02}{patch:02}99");
        let mut settings = Map::new();
        let mut set = |name: &str, value: String| {
            settings.insert(format!("index.{name}"), Value::String(value));
        };
        set("number_of_shards", "1".to_owned());
        set("number_of_replicas", "0".to_owned());
        set("provided_name", name.to_owned());
        set("uuid", uuid_of(name));
        set("version.created", created);
        if let Some(day) = day_of(name) {
            set("creation_date", (day.start_us() / 1_000).to_string());
        }
        settings
    }
}

/// Parameters of all these endpoints, and these.
fn known(call: &Call, more: &[&str]) -> Result<(), Fault> {
    let mut known = vec!["ignore_unavailable", "allow_no_indices"];
    known.extend(more);
    if call.major < 8 {
        known.push("include_type_name");
    }
    call.only(&known)
}

fn list(names: &str) -> Vec<String> {
    let names = names.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn shown_settings(settings: &Map<String, Value>, is_flat: bool) -> Value {
    if is_flat {
        Value::Object(settings.clone())
    } else {
        nested_settings(settings)
    }
}

/// The one mapping as clients of this version see it.
fn mapping(call: &Call) -> Result<Value, Fault> {
    let mut mapping = template::mapping();
    mapping["dynamic"] = "false".into();
    typed(call, mapping)
}

/// Below the name of the one type, where the client expects one.
fn typed(call: &Call, mapping: Value) -> Result<Value, Fault> {
    let is_typed = call.flag("include_type_name")?.unwrap_or(call.major < 7);
    Ok(if is_typed {
        json!({"_doc": mapping})
    } else {
        mapping
    })
}

fn no_alias(reason: &str) -> Fault {
    Fault::plain(StatusCode::NOT_FOUND, reason.to_owned())
}

/// Keep what `filters` and `types` of `_field_caps` leave.
fn filter_fields(call: &Call, fields: &mut Map<String, Value>) -> Result<(), Fault> {
    let is_metadata = |caps: &Value| {
        let mut kinds = caps.as_object().into_iter().flatten();
        kinds.any(|(_, caps)| caps["metadata_field"] == true)
    };
    for filter in call.parameter("filters").unwrap_or_default().split(',') {
        match filter {
            "" | "-nested" | "-multifield" => {}
            "+metadata" => fields.retain(|_, caps| is_metadata(caps)),
            "-metadata" => fields.retain(|_, caps| !is_metadata(caps)),
            "-parent" => fields.retain(|_, caps| caps.get("object").is_none()),
            other => {
                let reason = format!("Unknown field caps filter [{other}]");
                return Err(Fault::argument(reason));
            }
        }
    }
    let types = list(call.parameter("types").unwrap_or_default());
    if !types.is_empty() {
        fields.retain(|_, caps| types.iter().any(|kind| caps.get(kind).is_some()));
    }
    Ok(())
}
