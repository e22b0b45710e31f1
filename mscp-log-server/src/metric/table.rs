//! The table. Sections are in the order of a record's way, what all nodes have
//! before it and what serves people behind it.

use super::Kind::{Counter, Gauge, Histogram};
use super::{Kind, Label, Metric};

/// A label whose values the program knows.
const fn of(name: &'static str, values: &'static [&'static str]) -> Label {
    let are = "";
    Label { name, values, are }
}

/// A label whose values a configuration or the API gives.
const fn any(name: &'static str, are: &'static str) -> Label {
    let values = &[];
    Label { name, values, are }
}

/// A section, of which metrics are made.
struct Part(&'static str);

impl Part {
    const fn metric(
        &self,
        kind: Kind,
        name: &'static str,
        unit: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> Metric {
        Metric {
            part: self.0,
            name,
            kind,
            unit,
            labels,
            loss: None,
            help,
        }
    }

    const fn counter(
        &self,
        name: &'static str,
        unit: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> Metric {
        self.metric(Counter, name, unit, labels, help)
    }

    const fn gauge(
        &self,
        name: &'static str,
        unit: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> Metric {
        self.metric(Gauge, name, unit, labels, help)
    }

    const fn histogram(
        &self,
        name: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> Metric {
        self.metric(Histogram, name, "seconds", labels, help)
    }

    /// A counter of what is gone for good, which the status calls `what`.
    const fn loss(
        &self,
        what: &'static str,
        name: &'static str,
        unit: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> Metric {
        Metric {
            loss: Some(what),
            ..self.metric(Counter, name, unit, labels, help)
        }
    }
}

const NONE: &[Label] = &[];
const REGION: &[Label] = &[any("region", "a region of the configuration")];
const SOURCE: Label = of("source", &["containers", "files", "journal"]);
const FILES: &[Label] = &[of("source", &["containers", "files"])];
const WAY: Label = of("way", &["push", "otlp", "bulk", "collect", "beats"]);
const PUSHED: Label = of("way", &["push", "otlp", "bulk"]);
const LOST: &[Label] = &[
    SOURCE,
    of(
        "reason",
        &["truncated", "deleted", "too_long", "malformed", "gap"],
    ),
];
const ROUTE: Label = any("route", "an endpoint, or as said above");

const NODE: Part = Part("The node");
const HTTP: Part = Part("Requests");
const TOKENS: Part = Part("Tokens and accounts");
const COLLECT: Part = Part("Collecting");
const BEATS: Part = Part("Beats");
const INGEST: Part = Part("Records in");
const BUFFER: Part = Part("The buffer");
const SHIP: Part = Part("Shipping and the store");
const LETTERS: Part = Part("Dead letters");
const SEARCH: Part = Part("Searches");
const ROTATION: Part = Part("Rotation");

/// Every metric of ours, by section.
#[rustfmt::skip] // A line each, or nobody sees the table.
pub const METRICS: &[Metric] = &[
    NODE.gauge("mscp_log_build_info", "", &[any("version", "of the program")], "Always 1"),
    NODE.gauge("mscp_log_ready", "", NONE, "1 when `/readyz` says so, else 0"),
    NODE.gauge("mscp_log_check_passing", "", &[any("check", "a name in `/readyz`: `buffer`, `identity`, `store`, `shipping`, `collect`")], "1 when this check of `/readyz` finds nothing wrong, else 0"),
    NODE.gauge("mscp_log_data_disk_size_bytes", "bytes", NONE, "Size of the file system that holds the data folder"),
    NODE.gauge("mscp_log_data_disk_available_bytes", "bytes", NONE, "What the node may still write there"),
    NODE.gauge("mscp_log_tls_certificate_expiry_timestamp_seconds", "seconds", &[of("listener", &["http", "beats"])], "When the certificate in use ends, since the epoch"),

    HTTP.counter("mscp_log_http_requests_total", "requests", &[ROUTE, any("method", "the usual ones, else `other`"), any("status", "of the answer")], "Requests that were answered on `http.listen`"),
    HTTP.histogram("mscp_log_http_request_duration_seconds", &[ROUTE], "From the head of a request until that of its answer; the body of the answer may take longer"),
    HTTP.gauge("mscp_log_http_open_requests", "requests", NONE, "Requests that wait for the head of their answer"),
    HTTP.counter("mscp_log_http_panics_total", "panics", NONE, "Requests that met a fault of the program, answered 500"),

    TOKENS.counter("mscp_log_auth_refused_tokens_total", "tokens", NONE, "Tokens that did not verify"),
    TOKENS.counter("mscp_log_auth_logins_total", "logins", &[of("result", &["done", "refused", "delayed", "unavailable"])], "Sign-ins with a password"),
    TOKENS.gauge("mscp_log_auth_signing_key_activated_timestamp_seconds", "seconds", NONE, "Since when the signing key signs, since the epoch"),
    TOKENS.loss("audit", "mscp_log_audit_lost_entries_total", "entries", NONE, "Entries of the audit that could not be written"),

    COLLECT.counter("mscp_log_collect_records_total", "records", &[SOURCE], "Lines that were read; entries of containers' journals, parts joined"),
    COLLECT.counter("mscp_log_collect_bytes_total", "bytes", &[SOURCE], "Bytes of the files that were read; of the journal's entries as JSON, without fields that are not read"),
    COLLECT.gauge("mscp_log_collect_behind_bytes", "bytes", FILES, "Bytes that were seen and not read"),
    COLLECT.gauge("mscp_log_collect_behind_seconds", "seconds", &[SOURCE], "For how long the oldest of these wait; of the journal the age of the entry that was read last while there are more"),
    COLLECT.gauge("mscp_log_collect_files", "files", FILES, "Files that are followed"),
    COLLECT.counter("mscp_log_collect_refused_files_total", "files", FILES, "Files over `collect.files.max_files`, at each scan"),
    COLLECT.loss("collect", "mscp_log_collect_losses_total", "losses", LOST, "Lines, entries, or files that may have had more, which were gone before they could be read"),
    COLLECT.loss("collect", "mscp_log_collect_lost_bytes_total", "bytes", LOST, "The bytes of these, as far as they are known"),
    COLLECT.counter("mscp_log_collect_journal_restarts_total", "restarts", NONE, "Children `journalctl` that ended and were started again"),
    COLLECT.counter("mscp_log_collect_journal_gaps_total", "gaps", NONE, "Cursors that were gone; reading went on at the oldest entry"),
    COLLECT.gauge("mscp_log_collect_paused", "", NONE, "1 while nothing is read because the buffer takes nothing"),
    COLLECT.gauge("mscp_log_collect_switched_off", "", &[of("source", &["journal", "files"])], "1 while an administrator has switched this source off"),
    COLLECT.counter("mscp_log_collect_sent_chunks_total", "chunks", NONE, "Chunks that the gateway has"),
    COLLECT.counter("mscp_log_collect_send_retries_total", "retries", NONE, "Chunks that were offered again"),
    COLLECT.counter("mscp_log_lumberjack_sent_events_total", "events", NONE, "Events that the other side of `collect.lumberjack` acknowledged"),
    COLLECT.counter("mscp_log_lumberjack_failures_total", "failures", NONE, "Connections to it that could not be made or broke"),

    BEATS.gauge("mscp_log_beats_connections", "connections", NONE, "Connections that are open"),
    BEATS.counter("mscp_log_beats_bytes_total", "bytes", NONE, "Bytes that came"),
    BEATS.counter("mscp_log_beats_windows_total", "windows", NONE, "Windows that came"),
    BEATS.gauge("mscp_log_beats_waiting_acks", "acks", NONE, "Connections that wait for the buffer now"),
    BEATS.counter("mscp_log_beats_keep_alives_total", "keep_alives", NONE, "How often a sender was told to wait"),
    BEATS.loss("beats", "mscp_log_beats_refused_events_total", "events", &[of("reason", &["too_large", "host"])], "Events not kept: over `beats.max_event_bytes`, or of a host that the certificate is not for. Their sender goes on"),
    BEATS.counter("mscp_log_beats_unreadable_events_total", "events", NONE, "Payloads kept with the tag `_jsonparsefailure`"),
    BEATS.counter("mscp_log_beats_broken_connections_total", "connections", &[of("reason", &["tls", "io", "idle", "protocol", "buffer"])], "Connections that ended badly"),

    INGEST.counter("mscp_log_ingest_records_total", "records", &[WAY], "Records that are durable in the buffer"),
    INGEST.counter("mscp_log_ingest_bytes_total", "bytes", &[WAY], "Their bytes, as the documents that they became"),
    INGEST.counter("mscp_log_ingest_unbuffered_records_total", "records", &[PUSHED], "Records that the buffer did not take; their sender was told"),
    INGEST.counter("mscp_log_ingest_refused_records_total", "records", &[of("reason", &["rate"])], "Records over `push.rate`, answered 429. What else is refused is seen in `mscp_log_http_requests_total` by status"),
    INGEST.counter("mscp_log_ingest_refused_requests_total", "requests", &[of("reason", &["switched_off"])], "Pushes that were answered 503 because an administrator switched them off"),
    INGEST.counter("mscp_log_collect_wrong_clock_chunks_total", "chunks", NONE, "Chunks of agents whose clock is outside the window of pushes; they got the gateway's time"),
    INGEST.counter("mscp_log_clean_dropped_records_total", "records", &[of("reason", &["no_container_name", "pause_container", "no_message"])], "Records that nobody wants, by the rules of cleaning"),

    BUFFER.counter("mscp_log_buffer_records_total", "records", NONE, "Records that were written to the disk"),
    BUFFER.counter("mscp_log_buffer_bytes_total", "bytes", NONE, "Bytes of these, with their frames"),
    BUFFER.counter("mscp_log_buffer_syncs_total", "syncs", NONE, "Group commits: one fsync for all that waited"),
    BUFFER.gauge("mscp_log_buffer_used_bytes", "bytes", NONE, "What the buffer on disk takes"),
    BUFFER.gauge("mscp_log_buffer_max_bytes", "bytes", NONE, "What it may take (`buffer.max_bytes`)"),
    BUFFER.gauge("mscp_log_buffer_backlog_records", "records", NONE, "Records not committed, of the partitions that this process reads: the sum over all shippers is the lag"),
    BUFFER.counter("mscp_log_buffer_refused_appends_total", "appends", &[of("reason", &["full", "queue", "disk_full", "failed"])], "Appends that were not acknowledged; their sender was told, and an agent or a Beat tries again"),
    BUFFER.counter("mscp_log_buffer_torn_bytes_total", "bytes", NONE, "A last write that a crash cut off; it was not acknowledged"),
    BUFFER.loss("buffer.corrupt", "mscp_log_buffer_corrupt_records_total", "records", NONE, "Records that the disk damaged"),
    BUFFER.loss("buffer.corrupt", "mscp_log_buffer_corrupt_bytes_total", "bytes", NONE, "Bytes in damaged stretches"),
    BUFFER.loss("buffer", "mscp_log_buffer_lost_records_total", "records", &[of("reason", &["retention"])], "Records that Kafka's retention removed before they were shipped"),
    BUFFER.gauge("mscp_log_buffer_stalled_seconds", "seconds", NONE, "Kafka: how long the partition that is stuck longest has had a backlog and no commit"),
    BUFFER.gauge("mscp_log_buffer_partitions", "partitions", NONE, "Kafka: partitions that this process reads"),
    BUFFER.gauge("mscp_log_buffer_paused", "", NONE, "Kafka: 1 while they are paused because the store took nothing for a second"),
    BUFFER.counter("mscp_log_buffer_read_errors_total", "errors", NONE, "Kafka: reads that failed; they are tried again"),
    BUFFER.counter("mscp_log_buffer_foreign_records_total", "records", NONE, "Kafka: messages that others wrote"),
    BUFFER.counter("mscp_log_buffer_oversize_records_total", "records", NONE, "Kafka: records too large for the topic; they are dead letters"),
    BUFFER.counter("mscp_log_buffer_undrained_revocations_total", "revocations", NONE, "Kafka: partitions' changes that did not wait until all was committed"),
    BUFFER.counter("mscp_log_buffer_lost_assignments_total", "assignments", NONE, "Kafka: times that the group went on without this process"),

    SHIP.counter("mscp_log_ship_records_total", "records", NONE, "Records that the store took"),
    SHIP.gauge("mscp_log_ship_failing", "", NONE, "1 while the store takes nothing"),
    SHIP.counter("mscp_log_ship_retries_total", "retries", NONE, "Batches that were offered again"),
    SHIP.counter("mscp_log_ship_rejoins_total", "rejoins", NONE, "Times that reading the buffer began anew"),
    SHIP.counter("mscp_log_ship_stale_commits_total", "commits", NONE, "Commits that were refused because the partition had gone to another shipper"),
    SHIP.counter("mscp_log_store_duplicate_records_total", "records", NONE, "Records that were there already; one document is kept"),
    SHIP.counter("mscp_log_store_failures_total", "failures", NONE, "Times that the embedded store could not write"),
    SHIP.counter("mscp_log_store_retried_records_total", "records", NONE, "Records that a cluster did not take and was offered again"),

    LETTERS.counter("mscp_log_dead_letters_total", "letters", NONE, "Records that the store refused for faults of their own, kept since the start"),
    LETTERS.gauge("mscp_log_kept_dead_letters", "letters", REGION, "How many there are"),
    LETTERS.loss("dead_letters.damaged", "mscp_log_damaged_dead_letters_total", "letters", NONE, "Dead letters that cannot be read"),
    LETTERS.loss("dead_letters.cut", "mscp_log_cut_dead_letters_total", "letters", NONE, "Kafka: documents of which only the beginning is kept, as no topic takes them whole"),

    SEARCH.histogram("mscp_log_search_duration_seconds", &[any("region", "a region of the configuration"), of("endpoint", &["search", "msearch", "count", "cursor"])], "Searches through `{region}/log`, until the head of the answer"),
    SEARCH.counter("mscp_log_search_refused_requests_total", "requests", &[any("region", "a region of the configuration"), of("reason", &["forbidden", "too_large", "media_type", "body", "busy"])], "Requests below `{region}/log` that did not go to the store; `busy` is over `search.max_concurrent_per_subject`"),

    ROTATION.counter("mscp_log_rotation_runs_total", "runs", &[any("region", "a region of the configuration"), of("result", &["done", "failed"])], "Runs, daily and on command"),
    ROTATION.gauge("mscp_log_rotation_last_run_timestamp_seconds", "seconds", REGION, "When it last came to its end, since the epoch; of all rotators"),
    ROTATION.counter("mscp_log_rotation_deleted_indices_total", "indices", &[any("region", "a region of the configuration"), of("reason", &["age", "size"])], "Indices that went"),
    ROTATION.counter("mscp_log_rotation_failed_deletions_total", "deletions", REGION, "Indices that could not be deleted"),
];
