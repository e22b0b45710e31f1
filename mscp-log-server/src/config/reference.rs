//! The page of all keys, made from the list that the reader itself uses.

use std::fmt::Write as _;

use super::key::KEYS;

const HEAD: &str = "\
# Configuration

`mscp-log` needs no configuration: what follows changes what it does by itself.

It is one TOML file, given as `mscp-log serve --config FILE`. Every key can also be set by an environment variable, which goes
before the file: `MSCP_LOG_`, then the key in capitals with `__` for each dot (`MSCP_LOG_PUSH__MAX_RECORDS`,
`MSCP_LOG_REGION__LOCAL__ZONE`). Lists are written with commas, or as in TOML (`[\"a\", \"b\"]`). Unknown keys are errors; of
variables, only names with `__` are looked at, since Kubernetes sets `MSCP_LOG_PORT` and its like by itself.

`mscp-log check` reads the whole configuration and says every error with its key.

A *duration* is `\"90s\"`, `\"1h30m\"`, `\"7d\"` (units `ms`, `s`, `m`, `h`, `d`) or a number of seconds. A *size* is `\"64MiB\"`,
`\"10MB\"` or a number of bytes. Paths are relative to the folder that the process runs in.

<!-- Made from the code; `make docs` or the test `the_reference_page_is_up_to_date` says when it is stale. -->
";

/// The reference page in Markdown: every key, its form, default and meaning.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut section = None;
    for key in KEYS {
        let this = key.path.rsplit_once('.').map_or("", |(section, _)| section);
        if section != Some(this) {
            let title = if this.is_empty() {
                "Top".to_owned()
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
            key.path,
            key.form.name(),
            key.meaning
        );
    }
    page
}
