//! Every key of the configuration: its name, form, default and meaning. The
//! reader takes its defaults from here and the reference page is made from it,
//! so neither can say what the other does not.

/// The form in which a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A string.
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number,
    /// `"12h"`, `"1h30m"`, or whole seconds.
    Duration,
    /// `"64MiB"`, or a number of bytes.
    Size,
    /// A list of strings.
    List,
    /// A table of strings, numbers and switches.
    Table,
    /// A list of tables.
    Tables,
    /// A word, or a list of URLs.
    WordOrUrls,
}

impl Form {
    /// How the reference page names the form.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Switch => "true or false",
            Self::Number => "number",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::List => "list of strings",
            Self::Table => "table",
            Self::Tables => "list of tables",
            Self::WordOrUrls => "string or list of strings",
        }
    }
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// The dotted path; `<name>` stands for any region's name.
    pub(crate) path: &'static str,
    pub(crate) form: Form,
    /// As it would be written in TOML; `None` where absence means something.
    pub(crate) default: Option<&'static str>,
    pub(crate) meaning: &'static str,
}

const fn key(
    path: &'static str,
    form: Form,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Key {
    Key {
        path,
        form,
        default,
        meaning,
    }
}

/// All keys, in the order of the reference page.
pub(crate) const KEYS: &[Key] = &[
    key(
        "roles",
        Form::List,
        Some(r#"["all"]"#),
        "What this node does: `all`, or some of `api` (tokens, pushes, searches, administration), `parser` (what agents and Beats send), `shipper` (from the buffer into the store), `rotator` (deletes old indices), `agent` (what this machine has). The first three need each other while the buffer is in the data folder; `agent` alone needs `collect.url` or `collect.lumberjack.hosts`.",
    ),
    key(
        "data",
        Form::Text,
        Some(r#""mscp-log-data""#),
        "The folder of everything that the node keeps: buffer, store, identity. One process at a time.",
    ),
    key(
        "instance.node",
        Form::Text,
        None,
        "The machine, as instances are listed by it (`mscp-log status`); `collect.host`, or what the system calls it, when absent.",
    ),
    key(
        "instance.pod",
        Form::Text,
        None,
        "The pod, where the node runs in one. The manifests set both.",
    ),
    key(
        "log.level",
        Form::Text,
        Some(r#""info""#),
        "What the node itself logs to standard error: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,mscp_log_server::ship=debug`.",
    ),
    key(
        "log.format",
        Form::Text,
        Some(r#""text""#),
        "`text` for people, `json` for machines (one object a line).",
    ),
    key(
        "http.listen",
        Form::Text,
        Some(r#""127.0.0.1:8300""#),
        "Address and port of the API. Port 0 takes a free one.",
    ),
    key(
        "http.base",
        Form::Text,
        Some(r#""/api""#),
        "Path prefix of the API. Begins with `/` and does not end with one.",
    ),
    key(
        "http.public_url",
        Form::Text,
        None,
        "The origin under which clients reach the node (`https://logs.example.org`), without a path. With `base` behind it, it is what `{mscp_api_url}` in a token's patterns means.",
    ),
    key(
        "http.tls_cert",
        Form::Text,
        None,
        "PEM file with the certificate chain. Set it together with `http.tls_key`; both are read again when they change.",
    ),
    key(
        "http.tls_key",
        Form::Text,
        None,
        "PEM file with the private key.",
    ),
    key(
        "http.trusted_proxies",
        Form::List,
        Some("[]"),
        "Addresses or networks (`10.0.0.0/8`) whose `X-Forwarded-For` is believed. Without it the peer's address counts.",
    ),
    key(
        "http.cors_origins",
        Form::List,
        Some("[]"),
        "Origins (`https://grafana.example.org`) whose pages may call the API. Empty: CORS is off.",
    ),
    key(
        "http.metrics_listen",
        Form::Text,
        None,
        "Address and port of a listener of its own for `/metrics`, `/healthz` and `/readyz`. Without it they are on `http.listen`.",
    ),
    key(
        "http.jwt_parameter",
        Form::Switch,
        Some("true"),
        "Whether a token may come as the URL parameter `jwt`.",
    ),
    key(
        "http.drain",
        Form::Duration,
        Some(r#""25s""#),
        "How long a stopping node (SIGTERM) may take to finish requests, flush and commit. At most 10 min.",
    ),
    key(
        "auth.database",
        Form::Text,
        None,
        "URL of the database of accounts and keys: a file (`sqlite:/path/identity.sqlite`), or PostgreSQL (`postgres://user:password@host/database?sslmode=verify-full`), which several nodes share. Without it: `identity.sqlite` in the data folder.",
    ),
    key(
        "auth.database_file",
        Form::Text,
        None,
        "A file that holds the URL, where it has a password in it. In place of `auth.database`.",
    ),
    key(
        "auth.master_key_file",
        Form::Text,
        None,
        "A file with 32 bytes (64 hexadecimal digits, base64, or raw) that encrypt the signing keys in the database. Without it they are kept as they are.",
    ),
    key(
        "auth.rotate",
        Form::Duration,
        Some(r#""1d""#),
        "How long a signing key signs before the next one takes over. 5 min to 366 d. A key that no longer signs verifies until the last token it signed has expired.",
    ),
    key(
        "auth.root_ttl",
        Form::Duration,
        Some(r#""12h""#),
        "Lifetime of a root token. 1 min to 366 d.",
    ),
    key(
        "auth.access_ttl",
        Form::Duration,
        Some(r#""1h""#),
        "Lifetime of an access token that names no `ttl`. 1 min to 366 d.",
    ),
    key(
        "auth.platform_keys",
        Form::List,
        Some("[]"),
        "Files, at most 8, each with one HS256 secret (32 bytes or more; `base64:` before it if it is encoded) of a wider platform, whose tokens without a `kid` are then accepted. Their subjects are prefixed `platform:`.",
    ),
    key(
        "auth.leeway",
        Form::Duration,
        Some(r#""30s""#),
        "How far clocks may differ when `exp` and `iat` are judged. At most 60 s.",
    ),
    key(
        "region.<name>.zone",
        Form::Text,
        Some(r#""default""#),
        "The `zone` stamped on the records of this region. Without any region there is one, `local`.",
    ),
    key(
        "region.<name>.cluster",
        Form::Text,
        Some(r#""default""#),
        "The `cluster` stamped on the records of this region.",
    ),
    key(
        "region.<name>.store",
        Form::WordOrUrls,
        Some(r#""embedded""#),
        "Where the region's records are kept. `embedded`: in this process, in the data folder. `[\"https://es-0:9200\", \"https://es-1:9200\"]`: in the cluster of Elasticsearch (6 to 9) or OpenSearch (1 to 3) that these nodes belong to.",
    ),
    key(
        "region.<name>.store_ca_file",
        Form::Text,
        None,
        "PEM file with the certificates that the nodes of `store` are verified by. Without it: those that the system trusts.",
    ),
    key(
        "region.<name>.store_user",
        Form::Text,
        None,
        "User for the nodes of `store`. Set it together with its password. At most one credential can be set.",
    ),
    key(
        "region.<name>.store_password",
        Form::Text,
        None,
        "Password of `store_user`.",
    ),
    key(
        "region.<name>.store_password_file",
        Form::Text,
        None,
        "A file that holds it. Files with credentials are read again when the nodes refuse what was read before.",
    ),
    key(
        "region.<name>.store_api_key",
        Form::Text,
        None,
        "API key for the nodes of `store`: `id:key`, or the base64 of it that Elasticsearch calls `encoded`.",
    ),
    key(
        "region.<name>.store_api_key_file",
        Form::Text,
        None,
        "A file that holds it.",
    ),
    key(
        "region.<name>.store_bearer",
        Form::Text,
        None,
        "Bearer token for the nodes of `store`.",
    ),
    key(
        "region.<name>.store_bearer_file",
        Form::Text,
        None,
        "A file that holds it.",
    ),
    key(
        "region.<name>.memory",
        Form::Size,
        Some(r#""256MiB""#),
        "Memory that the writers of the embedded store may take together. 64 MiB to 64 GiB.",
    ),
    key(
        "region.<name>.commit_interval",
        Form::Duration,
        Some(r#""1s""#),
        "How long a record that is in the embedded store may wait until searches see it. 100 ms to 60 s.",
    ),
    key(
        "push.region",
        Form::Text,
        None,
        "The region that pushed records go to. Needed only where the node serves several.",
    ),
    key(
        "push.max_body_bytes",
        Form::Size,
        Some(r#""16MiB""#),
        "Largest body of a push, as it is sent. 1 KiB to 1 GiB. More is 413.",
    ),
    key(
        "push.max_decompressed_bytes",
        Form::Size,
        Some(r#""64MiB""#),
        "Largest body of a push after decompression. 1 KiB to 1 GiB. More is 413.",
    ),
    key(
        "push.max_records",
        Form::Number,
        Some("10000"),
        "Most records in one push. 1 to 1,000,000. More is 413.",
    ),
    key(
        "push.max_message_bytes",
        Form::Size,
        Some(r#""1MiB""#),
        "Longest message of one record. 1 byte to 64 MiB. More is 413.",
    ),
    key(
        "push.max_past",
        Form::Duration,
        Some(r#""30d""#),
        "How old a pushed record's time may be. Older is 400. At most 10,000 d.",
    ),
    key(
        "push.rate",
        Form::Number,
        None,
        "Records a second that one app may push; more is 429. Without it there is no limit.",
    ),
    key(
        "beats.listen",
        Form::Text,
        None,
        "Address and port on which Beats are listened for (Lumberjack, `output.logstash`; 5044 is usual). Port 0 takes a free one. Without it there is no such listener.",
    ),
    key(
        "beats.tls_cert",
        Form::Text,
        None,
        "PEM file with the certificate chain. Set it together with `beats.tls_key`; they and `beats.client_ca` are read again when they change.",
    ),
    key(
        "beats.tls_key",
        Form::Text,
        None,
        "PEM file with the private key.",
    ),
    key(
        "beats.client_ca",
        Form::Text,
        None,
        "PEM file with the certificates that the certificates of senders must be signed by.",
    ),
    key(
        "beats.insecure",
        Form::Switch,
        Some("false"),
        "`true`: senders need no certificate. Whoever reaches the port can then write records as any host, namespace and application. One that a sender has all the same is verified, where `beats.client_ca` is set.",
    ),
    key(
        "beats.bind_hosts",
        Form::Switch,
        Some("false"),
        "`true`: an event is taken only if its host is among the DNS names of its sender's certificate; others are counted and not kept.",
    ),
    key(
        "beats.max_connections",
        Form::Number,
        Some("1024"),
        "Connections of Beats that may be open at once; more wait in the kernel's queue. 1 to 65,536.",
    ),
    key(
        "beats.max_event_bytes",
        Form::Size,
        Some(r#""16MiB""#),
        "Largest event of a Beat. A larger one is acknowledged, counted and not kept: its sender could only send it again. 1 KiB to 32 MiB.",
    ),
    key(
        "beats.max_frame_bytes",
        Form::Size,
        Some(r#""256MiB""#),
        "Bytes that one compressed frame may hold. A larger one ends the connection. 1 KiB to 64 GiB.",
    ),
    key(
        "beats.max_pending_bytes",
        Form::Size,
        Some(r#""64MiB""#),
        "Bytes of events that all connections together may hold in memory; connections that find no room are not read. At least twice `beats.max_event_bytes`, 1 MiB to 2 GiB.",
    ),
    key(
        "beats.idle_timeout",
        Form::Duration,
        Some(r#""60s""#),
        "How long a sender may be silent, take for one event, or leave an answer unread, before its connection is closed. Beats connect again by themselves. 1 s to 1 d.",
    ),
    key(
        "beats.keep_alive",
        Form::Duration,
        Some(r#""5s""#),
        "How often a sender that waits for the buffer is told that the node lives. Beats give up after 30 s (`output.logstash.timeout`). 10 ms to 60 s.",
    ),
    key(
        "buffer.kind",
        Form::Text,
        Some(r#""disk""#),
        "Where records are durable before the store has them. `disk`: in the data folder. `kafka`: in a topic of Kafka, for several nodes ([kafka.md](kafka.md)); the keys from `brokers` on are for it alone.",
    ),
    key(
        "buffer.max_bytes",
        Form::Size,
        Some(r#""8GiB""#),
        "Most that the buffer keeps; when it is full, pushes are answered 503 until the store has caught up. At least 16 MiB.",
    ),
    key(
        "buffer.segment_bytes",
        Form::Size,
        Some(r#""64MiB""#),
        "Size at which the buffer begins a new file. 1 MiB to 1 GiB, and at most a quarter of `buffer.max_bytes`.",
    ),
    key(
        "buffer.brokers",
        Form::List,
        Some("[]"),
        "Brokers of Kafka, each `host:port`; the others are found through them.",
    ),
    key(
        "buffer.topic",
        Form::Text,
        None,
        "The topic. Without it: `mscp-log-` and the name of the region. Dead letters are in the topic with `-dead` behind this name.",
    ),
    key(
        "buffer.group",
        Form::Text,
        None,
        "The consumer group of the shippers. Without it: the name of the topic.",
    ),
    key(
        "buffer.partitions",
        Form::Number,
        Some("12"),
        "Partitions of a topic that the node makes; one that is there must have as many. No more shippers than partitions have work. 1 to 10,000.",
    ),
    key(
        "buffer.replication",
        Form::Number,
        Some("3"),
        "Brokers that keep each partition; a topic that is there must have as many. 1 to 100.",
    ),
    key(
        "buffer.min_insync",
        Form::Number,
        Some("2"),
        "Brokers that must have a record before it is acknowledged (`min.insync.replicas`); a topic that is there must want as many. At most `buffer.replication`.",
    ),
    key(
        "buffer.create_topic",
        Form::Switch,
        Some("true"),
        "Whether topics that are not there are made.",
    ),
    key(
        "buffer.max_record_bytes",
        Form::Size,
        Some(r#""8MiB""#),
        "Largest record of a topic that the node makes (`max.message.bytes`). A record that is larger than the topic takes is a dead letter. 64 KiB to 32 MiB.",
    ),
    key(
        "buffer.timeout",
        Form::Duration,
        Some(r#""10s""#),
        "How long brokers may take to acknowledge a record; then it is not acknowledged, and a push is answered 503. 1 s to 5 min.",
    ),
    key(
        "buffer.drain",
        Form::Duration,
        Some(r#""10s""#),
        "How long a shipper keeps partitions that go to another one, until the store has what was read of them. At most 4 min.",
    ),
    key(
        "buffer.tls",
        Form::Switch,
        Some("false"),
        "Whether the brokers are spoken to over TLS.",
    ),
    key(
        "buffer.tls_ca_file",
        Form::Text,
        None,
        "PEM file with the certificates that the brokers are verified by. Without it: those that the system trusts.",
    ),
    key(
        "buffer.tls_cert",
        Form::Text,
        None,
        "PEM file with the certificate that the brokers know this node by. Set it together with `buffer.tls_key`.",
    ),
    key(
        "buffer.tls_key",
        Form::Text,
        None,
        "PEM file with its private key.",
    ),
    key(
        "buffer.sasl_mechanism",
        Form::Text,
        None,
        "`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. Set it together with user and password.",
    ),
    key("buffer.sasl_user", Form::Text, None, "The user."),
    key("buffer.sasl_password", Form::Text, None, "The password."),
    key(
        "buffer.sasl_password_file",
        Form::Text,
        None,
        "A file that holds it, read at the start.",
    ),
    key(
        "buffer.librdkafka",
        Form::Table,
        None,
        "Further settings of librdkafka, such as `{ \"session.timeout.ms\" = 10000, \"compression.type\" = \"zstd\" }`. Those that could break what the buffer promises are refused; [kafka.md](kafka.md) lists what is passed on.",
    ),
    key(
        "rotation.enabled",
        Form::Switch,
        Some("true"),
        "Whether old indices are deleted, by the role `rotator` once a day.",
    ),
    key(
        "rotation.age_days",
        Form::Number,
        Some("30"),
        "How many days records are kept: an index goes when its newest record is older.",
    ),
    key(
        "rotation.max_bytes",
        Form::Size,
        None,
        "How many bytes the indices of a region may have together, as the store counts them; beyond it the oldest go, but none of today. No limit when absent.",
    ),
    key(
        "rotation.at",
        Form::Text,
        Some(r#""03:00""#),
        "When it runs each day (UTC). What was due while no node ran is done after the start; the very first start deletes nothing.",
    ),
    key(
        "search.timeout",
        Form::Duration,
        Some(r#""30s""#),
        "Longest that one search may run. 100 ms to 1 h. Where the store is a cluster: longest that a request waits for it to go on with the answer; then it is 504.",
    ),
    key(
        "search.max_body_bytes",
        Form::Size,
        Some(r#""100MiB""#),
        "Largest body of a request to the store. 1 KiB to 2 GiB. More is 413.",
    ),
    key(
        "search.max_expression_bytes",
        Form::Size,
        Some(r#""1MiB""#),
        "Longest search expression (the JSON of one search). 1 KiB to 64 MiB. More is 400.",
    ),
    key(
        "search.max_memory",
        Form::Size,
        Some(r#""256MiB""#),
        "Memory that one search's aggregations may take. 1 MiB to 64 GiB.",
    ),
    key(
        "search.max_buckets",
        Form::Number,
        Some("65536"),
        "Most buckets in one answer. 1 to 1,000,000.",
    ),
    key(
        "search.max_window",
        Form::Number,
        Some("10000"),
        "Most hits that `from` and `size` may reach. 1 to 1,000,000.",
    ),
    key(
        "search.max_concurrent",
        Form::Number,
        Some("8"),
        "Searches that run at once on this node; others wait. 1 to 1,024.",
    ),
    key(
        "search.max_concurrent_per_subject",
        Form::Number,
        Some("16"),
        "Requests to the store that one subject may have open at once. 1 to 10,000. More is 429.",
    ),
    key(
        "otlp.enabled",
        Form::Switch,
        Some("true"),
        "Whether OpenTelemetry logs are taken in, over HTTP and gRPC.",
    ),
    key(
        "collect.host",
        Form::Text,
        None,
        "The name of this machine. Without it: what the system says. On Kubernetes: `spec.nodeName`, as `MSCP_LOG_COLLECT__HOST`.",
    ),
    key(
        "collect.zone",
        Form::Text,
        None,
        "The zone of this machine, in place of the region's.",
    ),
    key(
        "collect.cluster",
        Form::Text,
        None,
        "The Kubernetes cluster of this machine, in place of the region's.",
    ),
    key(
        "collect.labels",
        Form::List,
        Some("[]"),
        "What else is said of this machine: `name=value`, as Kubernetes has labels, at most 32. Each is an annotation `labels.{name}` of every record.",
    ),
    key(
        "collect.url",
        Form::Text,
        None,
        "The node (`https://logs.example.org`) that this machine's records go to. Without it they stay in this process.",
    ),
    key(
        "collect.base",
        Form::Text,
        Some(r#""/api""#),
        "Path prefix of the API of that node.",
    ),
    key(
        "collect.region",
        Form::Text,
        Some(r#""local""#),
        "The region at that node.",
    ),
    key(
        "collect.token",
        Form::Text,
        None,
        "A service account's token that grants `POST {mscp_api_url}/<region>/collect`.",
    ),
    key(
        "collect.token_file",
        Form::Text,
        None,
        "A file that holds it. It is read again when the node refuses what was read before.",
    ),
    key(
        "collect.ca_file",
        Form::Text,
        None,
        "PEM file with the certificates that the node is verified by, beside those that the system trusts.",
    ),
    key(
        "collect.lumberjack.hosts",
        Form::List,
        Some("[]"),
        "Receivers of Lumberjack (`logstash:5044`: Logstash, another node's `beats.listen`) that this machine's records go to, in place of `collect.url`. When one fails the next is tried.",
    ),
    key(
        "collect.lumberjack.load_balance",
        Form::Switch,
        Some("false"),
        "Whether the receivers take turns; otherwise one has everything until it fails.",
    ),
    key(
        "collect.lumberjack.ca_file",
        Form::Text,
        None,
        "PEM file with the certificates that receivers are verified by. Without it there is no TLS. It, certificate and key are read for each connection.",
    ),
    key(
        "collect.lumberjack.tls_cert",
        Form::Text,
        None,
        "PEM file with this machine's certificate chain, which receivers may want. Set it together with `collect.lumberjack.tls_key`.",
    ),
    key(
        "collect.lumberjack.tls_key",
        Form::Text,
        None,
        "PEM file with its private key.",
    ),
    key(
        "collect.lumberjack.server_name",
        Form::Text,
        None,
        "The name that receivers' certificates must be for. Without it: the host.",
    ),
    key(
        "collect.lumberjack.compression",
        Form::Number,
        Some("3"),
        "zlib's level, 0 (none) to 9.",
    ),
    key(
        "collect.lumberjack.timeout",
        Form::Duration,
        Some(r#""30s""#),
        "How long a receiver may neither take nor say anything. One that waits for its own buffer says that it lives. 1 s to 10 min.",
    ),
    key(
        "collect.max_bytes",
        Form::Size,
        Some(r#""1GiB""#),
        "Most that the agent's buffer keeps while its records cannot be sent; when it is full, files and the journal keep what is not read. At least 16 MiB.",
    ),
    key(
        "collect.max_line_bytes",
        Form::Size,
        Some(r#""1MiB""#),
        "Longest record; the rest of a longer one is left out and counted. 1 KiB to 16 MiB.",
    ),
    key(
        "collect.volumes",
        Form::Text,
        Some(r#""/k8spods""#),
        "The folder with a folder for each pod, as the kubelet has it (`/var/lib/kubelet/pods`).",
    ),
    key(
        "collect.pods",
        Form::Text,
        Some(r#""/var/log/pods""#),
        "The folder with the container logs of each pod, which tells namespaces and names of pods.",
    ),
    key(
        "collect.journal.enabled",
        Form::Switch,
        Some("false"),
        "Whether the journal is read. Only entries of containers are kept.",
    ),
    key(
        "collect.journal.directory",
        Form::Text,
        None,
        "A folder of journal files. Without it: the journal of this machine.",
    ),
    key(
        "collect.journal.start",
        Form::Text,
        Some(r#""tail""#),
        "Where the very first start begins: `tail` (now) or `head` (the oldest entry).",
    ),
    key(
        "collect.journal.journalctl",
        Form::Text,
        Some(r#""journalctl""#),
        "The program that reads it.",
    ),
    key(
        "collect.files.volumes",
        Form::Switch,
        Some("false"),
        "Whether the log files in pods' log volumes are read: `{collect.volumes}/*/volumes/kubernetes.io~empty-dir/applog-*-endname-*/*.log`.",
    ),
    key(
        "collect.files.paths",
        Form::List,
        Some("[]"),
        "Further log files: absolute paths with `*`, `?` and `[...]` within a segment. Compressed files and what rotation renamed before the first start are left alone. A pattern must not match copies that rotation makes.",
    ),
    key(
        "collect.files.containers",
        Form::List,
        Some("[]"),
        "Files that a container runtime writes (CRI or docker's json-file): `[\"/var/log/containers/*.log\"]`.",
    ),
    key(
        "collect.files.record_start",
        Form::Text,
        None,
        "A regular expression that the first line of a record matches; lines that do not match belong to the record before. Without it every line is a record.",
    ),
    key(
        "collect.files.containers_record_start",
        Form::Text,
        None,
        "The same for containers' files.",
    ),
    key(
        "collect.files.encoding",
        Form::Text,
        Some(r#""utf-8""#),
        "The encoding of log files (not of containers'), such as `gb18030`.",
    ),
    key(
        "collect.files.time_format",
        Form::Text,
        None,
        "The time at the beginning of each record (`%Y-%m-%d %H:%M:%S%.f`, as chrono's strftime has it). Without it, and where a record does not begin so, its time is when it was read.",
    ),
    key(
        "collect.files.time_zone",
        Form::Text,
        Some(r#""UTC""#),
        "The zone of times that name none.",
    ),
    key(
        "collect.files.start",
        Form::Text,
        Some(r#""head""#),
        "Where files that are there at the very first start are begun: `head` or `tail`.",
    ),
    key(
        "collect.files.rescan",
        Form::Duration,
        Some(r#""10s""#),
        "How often folders are looked through for what inotify did not tell. 1 s to 10 min.",
    ),
    key(
        "collect.files.max_open",
        Form::Number,
        Some("4096"),
        "Files that are open at once. 16 to 1,000,000; the system's limit of open files holds, too.",
    ),
    key(
        "collect.files.max_files",
        Form::Number,
        Some("20000"),
        "Files that are followed; more are counted and not read. 16 to 1,000,000.",
    ),
    key(
        "collect.files.quiet",
        Form::Duration,
        Some(r#""5s""#),
        "How long a record waits for lines that belong to it, and a deleted file for lines that are still written. 100 ms to 10 min.",
    ),
    key(
        "clean.beats",
        Form::List,
        Some("[]"),
        "Further beat names (`[a-z0-9_]`, up to 32) that index names keep; any other than `journalbeat`, `filebeat`, `http` and these becomes `other`.",
    ),
    key(
        "clean.redact",
        Form::Tables,
        Some("[]"),
        "Rules that run last over the text of each record: `pattern`, a regular expression (syntax of the Rust crate `regex`), and `replacement` (`$1` is the first group). What they take out is kept nowhere.",
    ),
    key(
        "elasticsearch.version",
        Form::Text,
        Some(r#""8.17.0""#),
        "The version of Elasticsearch (6 to 9) that the embedded store says it is; some clients look at it.",
    ),
];

/// The key that `path` names, a region's name standing for `<name>`.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    let general = match path.strip_prefix("region.") {
        Some(rest) => match rest.rsplit_once('.') {
            Some((_, last)) => format!("region.<name>.{last}"),
            None => return None,
        },
        None => path.to_owned(),
    };
    KEYS.iter().find(|key| key.path == general)
}
