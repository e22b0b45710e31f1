#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;

use super::*;

fn load(content: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(file.path()), env)
        .map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

/// Keys of the faults, in the order told.
#[track_caller]
fn faults(content: &str, env: &[(&str, &str)]) -> Vec<String> {
    let lines = load(content, env).unwrap_err();
    lines
        .iter()
        .map(|line| line.split(": ").next().unwrap().to_owned())
        .collect()
}

#[test]
fn without_a_file_every_default_holds() {
    let config = Config::load(None, []).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8300");
    assert_eq!(config.http.base, "/api");
    assert_eq!(config.regions.keys().collect::<Vec<_>>(), ["local"]);
    assert_eq!(config.regions["local"].zone, "default");
    assert_eq!(config.push.region, "local");
    assert_eq!(config.auth.root_ttl, Duration::from_secs(43_200));
    assert_eq!(config.auth.access_ttl, Duration::from_secs(3_600));
    assert_eq!(config.auth.leeway, Duration::from_secs(30));
    assert_eq!(config.search.max_buckets, 65_536);
    assert_eq!(config.search.max_window, 10_000);
    assert_eq!(config.push.rate, None);
    assert_eq!(config.push.max_past, Duration::from_secs(30 * 86_400));
}

#[test]
fn a_variable_goes_before_the_file_and_the_file_before_the_default() {
    let config = load(
        "[push]\nmax_records = 5\nmax_message_bytes = \"2KiB\"\n[region.east]\nzone = \"z1\"\n[region.west]\n",
        &[
            ("MSCP_LOG_PUSH__MAX_RECORDS", "7"),
            ("MSCP_LOG_PUSH__REGION", "west"),
            ("MSCP_LOG_REGION__EAST__CLUSTER", "c9"),
            ("MSCP_LOG_ROLES", "all"),
            ("MSCP_LOG_DATA", "/srv/log"),
            ("MSCP_LOG_HTTP__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("MSCP_LOG_HTTP__CORS_ORIGINS", r#"["https://a.example"]"#),
            ("MSCP_LOG_HTTP__JWT_PARAMETER", "false"),
            ("MSCP_LOG_CLEAN__REDACT", r#"[{pattern = "a+", replacement = "b"}]"#),
        ],
    )
    .unwrap();
    assert_eq!(config.push.max_records, 7);
    assert_eq!(config.push.max_message_bytes, 2_048);
    assert_eq!(config.push.region, "west");
    assert_eq!(config.regions["east"].zone, "z1");
    assert_eq!(config.regions["east"].cluster, "c9");
    assert_eq!(config.regions["west"].zone, "default");
    assert_eq!(config.data, Path::new("/srv/log"));
    assert_eq!(config.http.trusted_proxies.len(), 2);
    assert_eq!(config.http.cors_origins, ["https://a.example"]);
    assert!(!config.http.jwt_parameter);
    assert!(format!("{:?}", config.clean.redact).contains("a+"));
}

#[test]
fn a_region_can_come_from_variables_alone() {
    let config = load("", &[("MSCP_LOG_REGION__NORTH__ZONE", "n1")]).unwrap();
    assert_eq!(config.regions.keys().collect::<Vec<_>>(), ["north"]);
    assert_eq!(config.push.region, "north");
}

#[test]
fn all_faults_are_told_at_once_with_their_keys() {
    let found = faults(
        "nonsense = 1\ndata = 3\n[http]\nlisten = \"x\"\nbase = \"/api/\"\ncors = []\n[kafka]\nbrokers = []\n[auth]\nleeway = \"61s\"\n[push]\nmax_records = 0\n[region.apps]\n[clean]\nbeats = [\"A\"]\n",
        &[
            ("MSCP_LOG_PUSH__MAX_RECORD", "1"),
            ("MSCP_LOG_OTLP__ENABLED", "yes"),
        ],
    );
    for key in [
        "nonsense",
        "data",
        "http.listen",
        "http.base",
        "http.cors",
        "kafka",
        "auth.leeway",
        "push.max_records",
        "region.apps",
        "clean.beats",
        "MSCP_LOG_PUSH__MAX_RECORD",
        "MSCP_LOG_OTLP__ENABLED",
    ] {
        assert!(
            found.iter().any(|one| one == key),
            "{key} is not among {found:?}"
        );
    }
    assert_eq!(found.len(), 12, "{found:?}");
}

#[test]
fn a_variable_without_a_double_underscore_that_is_no_key_is_left_alone() {
    let config = load(
        "",
        &[
            ("MSCP_LOG_PORT", "tcp://10.0.0.1:8300"),
            ("MSCP_LOG_SERVICE_HOST", "10.0.0.1"),
            ("MSCP_LOG_HTTP", "x"),
            ("MSCP_LOG_REGION", "x"),
            ("MSCP_LOG_ADMIN_PASSWORD", "secret"),
            ("OTHER__THING", "x"),
        ],
    );
    assert!(config.is_ok());
}

#[test]
fn keys_that_need_each_other_are_checked_together() {
    assert_eq!(
        faults("[http]\ntls_cert = \"a.pem\"\n", &[]),
        ["http.tls_key"]
    );
    assert_eq!(
        faults("[http]\ntls_key = \"a.pem\"\n", &[]),
        ["http.tls_cert"]
    );
    assert_eq!(faults("[region.a]\n[region.b]\n", &[]), ["push.region"]);
    assert_eq!(
        faults("[push]\nregion = \"nowhere\"\n", &[]),
        ["push.region"]
    );
    assert_eq!(
        faults("[buffer]\nmax_bytes = \"16MiB\"\n", &[]),
        ["buffer.segment_bytes"]
    );
    let nine: Vec<String> = (0..9).map(|n| format!("\"{n}\"")).collect();
    let keys = format!("[auth]\nplatform_keys = [{}]\n", nine.join(","));
    assert_eq!(faults(&keys, &[]), ["auth.platform_keys"]);
    assert_eq!(faults("http = 3\n", &[]), ["http"]);
}

#[test]
fn a_database_url_can_be_in_a_file_and_is_never_printed() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"sqlite:/x/hunter2.sqlite\n").unwrap();
    let path = file.path().display().to_string();
    let config = load(&format!("[auth]\ndatabase_file = \"{path}\"\n"), &[]).unwrap();
    assert_eq!(
        config.auth.database.as_ref().unwrap().expose(),
        "sqlite:/x/hunter2.sqlite"
    );
    assert!(!format!("{config:?}").contains("hunter2"));
    let both = format!("[auth]\ndatabase = \"sqlite:/y\"\ndatabase_file = \"{path}\"\n");
    assert_eq!(faults(&both, &[]), ["auth.database_file"]);
    assert_eq!(
        faults("[auth]\ndatabase = \"sqlite::memory:\"\n", &[]),
        ["auth.database"]
    );
    let wrong = load("[auth]\ndatabase = \"mysql://u:hunter2@h/d\"\n", &[]).unwrap_err();
    assert!(!wrong[0].contains("hunter2"), "{}", wrong[0]);
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let errors = Config::load(Some(Path::new("/nowhere/at/all.toml")), []).unwrap_err();
    assert_eq!(errors.0[0].key, "/nowhere/at/all.toml");
    assert_eq!(load("[[[", &[]).unwrap_err().len(), 1);
}

#[test]
fn every_key_of_the_list_is_read() {
    // A key in the list that nothing reads would be taken without effect: give
    // each a value of a form that no key has, and count the faults.
    let wrong = "1979-05-27";
    for key in key::KEYS {
        let path = key.path.replace("<name>", "local");
        let content = match path.rsplit_once('.') {
            Some((section, last)) => format!("[{section}]\n{last} = {wrong}\n"),
            None => format!("{path} = {wrong}\n"),
        };
        assert_eq!(faults(&content, &[]), std::slice::from_ref(&path), "{path}");
    }
}

#[test]
fn what_is_unwise_is_warned_of() {
    let keys = |config: &Config| -> Vec<String> {
        config
            .warnings()
            .into_iter()
            .map(|warning| warning.key)
            .collect()
    };
    let mut config = Config::default();
    assert_eq!(keys(&config), ["auth.master_key_file"]);
    config.auth.master_key_file = Some("/k".into());
    config.http.listen = "0.0.0.0:80".parse().unwrap();
    assert_eq!(keys(&config), ["http.tls_cert"]);
    config.http.public_url = Some("https://logs".to_owned());
    assert!(config.warnings().is_empty());
}

#[test]
fn the_example_of_the_reference_page_is_a_configuration() {
    let config = load(reference::EXAMPLE, &[]).unwrap();
    assert_eq!(config.regions["east"].cluster, "k8s-1");
    assert_eq!(config.push.region, "east");
    assert!(config.warnings().is_empty());
}

#[test]
fn the_reference_page_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == page,
        "docs/configuration.md is not what the keys say; run this test with UPDATE_DOCS=1"
    );
    for key in key::KEYS {
        let last = key.path.rsplit('.').next().unwrap();
        assert!(page.contains(&format!("| `{last}` |")), "{}", key.path);
    }
}

#[test]
fn cleaning_is_read_into_rules_that_can_run() {
    let config = load("[clean]\nbeats = [\"winlogbeat\"]\n", &[]).unwrap();
    assert_eq!(config.clean.beats.known("winlogbeat"), "winlogbeat");
    assert_eq!(config.clean.beats.known("packetbeat"), "other");
    for rules in [
        "[{pattern = \"(\", replacement = \"\"}]",
        "[{pattern = \"a\"}]",
        "[{pattern = \"a\", replacement = \"b\", flags = \"i\"}]",
        "[\"a\"]",
        "\"a\"",
    ] {
        assert_eq!(
            faults(&format!("[clean]\nredact = {rules}\n"), &[]),
            ["clean.redact"]
        );
    }
}

#[test]
fn beats_are_taken_with_certificates_of_senders_or_knowingly_without() {
    let of = |keys: &str| faults(&format!("[beats]\n{keys}\n"), &[]);
    let listen = "listen = \"127.0.0.1:0\"";
    let tls = "tls_cert = \"a\"\ntls_key = \"b\"";
    assert!(Config::default().beats.is_none());
    assert_eq!(of(listen), ["beats.tls_cert"]);
    assert_eq!(of(&format!("{listen}\n{tls}")), ["beats.client_ca"]);
    assert_eq!(
        of(&format!("{listen}\nclient_ca = \"c\"")),
        ["beats.tls_cert"]
    );
    assert_eq!(
        of(&format!("{listen}\ninsecure = true\nbind_hosts = true")),
        ["beats.client_ca"]
    );
    assert_eq!(of("tls_cert = \"a\""), ["beats.tls_key"]);
    assert_eq!(
        of("max_pending_bytes = \"31MiB\""),
        ["beats.max_pending_bytes"]
    );
    for keys in [
        format!("{listen}\ninsecure = true"),
        format!("{listen}\n{tls}\ninsecure = true"),
        format!("{listen}\n{tls}\nclient_ca = \"c\"\nbind_hosts = true"),
    ] {
        let config = load(&format!("[beats]\n{keys}\n"), &[]).unwrap();
        assert!(config.beats.is_some(), "{keys}");
    }
    let open = "[beats]\nlisten = \"0.0.0.0:5044\"\ninsecure = true\n";
    let config = load(open, &[]).unwrap();
    assert!(
        config
            .warnings()
            .iter()
            .any(|one| one.key == "beats.insecure")
    );
}

#[test]
fn roles_are_a_node_only_with_what_they_need() {
    let all = load("", &[]).unwrap().roles;
    assert_eq!(
        load(
            "roles = [\"api\", \"agent\", \"rotator\", \"shipper\", \"parser\"]",
            &[]
        )
        .unwrap()
        .roles,
        all
    );
    assert!(all.has(Role::Agent) && all.aggregate());
    for wrong in [
        "[]",
        "[\"master\"]",
        "[\"parser\"]",
        "[\"api\", \"shipper\", \"agent\"]",
    ] {
        assert_eq!(
            faults(&format!("roles = {wrong}"), &[]),
            ["roles"],
            "{wrong}"
        );
    }
    // The embedded store is of one process, and Kafka lies between several.
    let store = "region.local.store";
    assert_eq!(faults("roles = [\"api\"]", &[]), ["roles", store]);
    let kafka = "[buffer]\nkind = \"kafka\"\nbrokers = [\"a:9092\"]\n";
    for (roles, expected) in [
        ("[\"api\"]", vec![store]),
        ("[\"shipper\", \"parser\"]", vec![store]),
        ("[\"api\", \"shipper\"]", vec![]),
        ("[\"parser\"]", vec![]),
        ("[\"rotator\"]", vec![store]),
        ("[\"rotator\", \"shipper\"]", vec![store]),
    ] {
        let found = load(&format!("roles = {roles}\n{kafka}"), &[]).err();
        let found = found.unwrap_or_default();
        assert_eq!(found.len(), expected.len(), "{roles}: {found:?}");
        assert!(
            found
                .iter()
                .zip(&expected)
                .all(|(one, key)| one.starts_with(key)),
            "{roles}: {found:?}"
        );
        let cluster =
            format!("roles = {roles}\n{kafka}[region.local]\nstore = [\"http://es:9200\"]\n");
        load(&cluster, &[]).unwrap();
    }
    let agent = "roles = [\"agent\"]\n";
    assert_eq!(faults(agent, &[]), ["collect.url", "collect"]);
    let source = "[collect.files]\npaths = [\"/var/log/a.log\"]\n";
    assert_eq!(faults(&format!("{agent}{source}"), &[]), ["collect.url"]);
    let gateway = "[collect]\nurl = \"https://logs\"\ntoken_file = \"/t\"\n";
    let config = load(&format!("{agent}{gateway}{source}"), &[]).unwrap();
    assert!(!config.roles.aggregate());
    // One file serves every role: each takes its part of it.
    let rest = format!("roles = [\"api\", \"parser\", \"shipper\"]\n{gateway}{source}");
    assert!(!load(&rest, &[]).unwrap().roles.has(Role::Agent));
}

#[test]
fn records_go_to_a_node_or_over_lumberjack_and_not_both_ways() {
    let of = |keys: &str| faults(&format!("[collect.lumberjack]\n{keys}\n"), &[]);
    let hosts = "hosts = [\"a:5044\", \"[::1]:5044\"]";
    for wrong in ["a", "a:0", ":5044", "http://a:5044", "u@a:5044", "a:b"] {
        let keys = format!("hosts = [\"{wrong}\"]");
        assert_eq!(of(&keys), ["collect.lumberjack.hosts"], "{wrong}");
    }
    let lumberjack = |last: &str| format!("collect.lumberjack.{last}");
    assert_eq!(of("ca_file = \"c\""), [lumberjack("hosts")]);
    assert_eq!(
        of(&format!("{hosts}\nserver_name = \"n\"")),
        [lumberjack("ca_file")]
    );
    assert_eq!(
        of(&format!("{hosts}\nca_file = \"c\"\ntls_cert = \"d\"")),
        [lumberjack("tls_key")]
    );
    let both = format!(
        "[collect]\nurl = \"https://logs\"\ntoken_file = \"/t\"\n[collect.lumberjack]\n{hosts}\n"
    );
    assert_eq!(faults(&both, &[]), ["collect.lumberjack.hosts"]);
    let open = load(&format!("[collect.lumberjack]\n{hosts}\n"), &[]).unwrap();
    let warned = |config: &Config| {
        let warnings = config.warnings();
        warnings
            .iter()
            .any(|one| one.key == "collect.lumberjack.ca_file")
    };
    assert!(warned(&open));
    let near = load("[collect.lumberjack]\nhosts = [\"127.0.0.1:5044\"]\n", &[]).unwrap();
    assert!(!warned(&near));
}

#[test]
fn labels_of_a_machine_are_those_that_kubernetes_has() {
    let of = |labels: &str| faults(&format!("[collect]\nlabels = [{labels}]\n"), &[]);
    let good = load(
        "[collect]\nlabels = [\"rack=r7\", \"example.org/pool=\"]\n",
        &[],
    )
    .unwrap();
    assert_eq!(good.collect.labels["example.org/pool"], "");
    for wrong in [
        "\"rack\"",
        "\"=r7\"",
        "\"a b=c\"",
        "\"a=b c\"",
        "\"a=1\", \"a=2\"",
    ] {
        assert_eq!(of(wrong), ["collect.labels"], "{wrong}");
    }
    let many: Vec<String> = (0..33).map(|n| format!("\"l{n}=v\"")).collect();
    assert_eq!(of(&many.join(",")), ["collect.labels"]);
}

#[cfg(feature = "kafka")]
#[test]
fn kafka_has_brokers_a_whole_credential_and_no_setting_that_breaks_a_promise() {
    let kafka = "[buffer]\nkind = \"kafka\"\n";
    let with = |more: &str| faults(&format!("{kafka}brokers = [\"k:9092\"]\n{more}\n"), &[]);
    assert_eq!(faults(kafka, &[]), ["buffer.brokers"]);
    let good = format!("{kafka}brokers = [\"k:9092\"]\n");
    assert!(load(&good, &[]).is_ok());
    assert_eq!(with("sasl_user = \"u\""), ["buffer.sasl_mechanism"]);
    assert_eq!(with("tls_ca_file = \"/ca.pem\""), ["buffer.tls"]);
    assert_eq!(with("min_insync = 4"), ["buffer.min_insync"]);
    for broken in [
        "acks",
        "enable.auto.commit",
        "group.id",
        "plugin.library.paths",
    ] {
        let table = format!("librdkafka = {{ \"{broken}\" = \"hunter2\" }}");
        assert_eq!(with(&table), ["buffer.librdkafka"], "{broken}");
        let errors = load(&format!("{kafka}brokers = [\"k:1\"]\n{table}"), &[]);
        assert!(!errors.unwrap_err().concat().contains("hunter2"));
    }
    // Keys of Kafka without it are a mistake.
    let without = "[buffer]\nbrokers = [\"k:9092\"]\n";
    assert_eq!(faults(without, &[]), ["buffer.kind"]);
}

#[test]
fn a_role_is_warned_of_what_it_uses() {
    let warned = |role: &str| -> Vec<String> {
        let text = format!(
            "roles = [\"{role}\"]\n[http]\nlisten = \"0.0.0.0:1\"\n[buffer]\nkind = \"kafka\"\nbrokers = [\"k:9092\"]\n\
             min_insync = 1\n[region.local]\nstore = [\"http://es:9200\"]\n"
        );
        let warnings = load(&text, &[]).unwrap().warnings();
        warnings.into_iter().map(|warning| warning.key).collect()
    };
    let (key, tls, insync) = ("auth.master_key_file", "http.tls_cert", "buffer.min_insync");
    assert_eq!(warned("api"), [key, insync, tls]);
    assert_eq!(warned("parser"), [key, insync, tls]);
    assert_eq!(warned("shipper"), [insync]);
    assert_eq!(warned("rotator"), [key]);
}

#[test]
fn the_parts_on_kubernetes_are_kinds_and_names_or_none() {
    assert!(Config::default().kubernetes.is_none());
    assert_eq!(
        faults(
            "[kubernetes.workloads]\napi = \"mscp-log-api\"\nparser = \"pod/x\"\nshipper = \"deployment/A b\"\n",
            &[],
        ),
        ["api", "parser", "shipper"].map(|part| format!("kubernetes.workloads.{part}"))
    );
    let on = "[kubernetes]\nenabled = true\nnamespace = \"logs\"\n[kubernetes.workloads]\nkafka = \"none\"\napi = \"statefulset/a.b-1\"\n";
    if !cfg!(feature = "kubernetes") {
        assert_eq!(faults(on, &[]), ["kubernetes.enabled"]);
        return;
    }
    let read = load(on, &[]).unwrap().kubernetes.unwrap();
    assert_eq!(read.namespace.as_deref(), Some("logs"));
    assert_eq!(read.workloads.kafka, None);
    assert_eq!(read.workloads.api.unwrap().to_string(), "statefulset a.b-1");
    assert_eq!(
        read.workloads.agent.unwrap().to_string(),
        "daemonset mscp-log-agent"
    );
}
