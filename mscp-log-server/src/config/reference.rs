//! The page of all keys, made from the list that the reader itself uses.

use std::fmt::Write as _;

use super::key::KEYS;

const HEAD: &str = "\
<!-- Made from the code. After a change of a key: UPDATE_DOCS=1 cargo test -p mscp-log-server reference_page -->
# Configuration

`mscp-log serve` needs no configuration. What it has is one TOML file, given as `--config FILE`:

```toml
";

/// A configuration as one might write it; a test loads it.
pub(super) const EXAMPLE: &str = r#"data = "/var/lib/mscp-log"

[http]
listen = "0.0.0.0:8300"
public_url = "https://logs.example.org"
tls_cert = "/etc/mscp-log/tls.crt"
tls_key = "/etc/mscp-log/tls.key"

[auth]
master_key_file = "/etc/mscp-log/master.key"   # openssl rand -hex 32

[region.east]
zone = "z1"
cluster = "k8s-1"

[[clean.redact]]
pattern = '(password=)\S+'
replacement = "$1***"
"#;

const RULES: &str = "\
```

- Every key can also be set by an environment variable, which goes before the file: `MSCP_LOG_`, then the key in capitals with
  `__` for each dot (`MSCP_LOG_PUSH__MAX_RECORDS`, `MSCP_LOG_REGION__EAST__ZONE`). Lists are written with commas or as in TOML.
- A key that is not on this page is an error, and so is a variable with `__` that names none. Variables without `__` count only when
  they are a key (`MSCP_LOG_DATA`), since Kubernetes sets `MSCP_LOG_PORT` and its like by itself.
- `mscp-log check` reads everything and tells all errors at once, each with its key.
- A *duration* is `\"90s\"`, `\"1h30m\"`, `\"7d\"` (`ms`, `s`, `m`, `h`, `d`) or a number of seconds. A *size* is `\"64MiB\"`, `\"10MB\"` or a
  number of bytes. Paths are relative to the folder in which the process runs.
- Two variables are no keys and are read at the first start only: `MSCP_LOG_ADMIN_EMAIL` and `MSCP_LOG_ADMIN_PASSWORD` say who the
  first administrator is. Without them it is `admin@localhost` with a random password, which is printed once.
";

/// The reference page in Markdown: every key, its form, default and meaning.
#[must_use]
pub fn reference() -> String {
    let mut page = format!("{HEAD}{EXAMPLE}{RULES}");
    let mut section = None;
    for key in KEYS {
        let this = key.path.rsplit_once('.').map_or("", |(section, _)| section);
        if section != Some(this) {
            let title = if this.is_empty() {
                "Without a section".to_owned()
            } else {
                format!("`[{this}]`")
            };
            let _ = write!(
                page,
                "\n## {title}\n\n| key | form | default | meaning |\n|---|---|---|---|\n"
            );
            section = Some(this);
        }
        let default = key
            .default
            .map_or("none".to_owned(), |text| format!("`{text}`"));
        let _ = writeln!(
            page,
            "| `{}` | {} | {default} | {} |",
            key.path.rsplit_once('.').map_or(key.path, |(_, last)| last),
            key.form.name(),
            key.meaning
        );
    }
    page
}
