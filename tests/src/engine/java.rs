//! Which Java runs an engine: the oldest on this machine that is new enough,
//! because old engines know nothing of new Javas.

use std::path::{Path, PathBuf};

use super::Missing;

/// Where Linux distributions put theirs.
const SYSTEM: &str = "/usr/lib/jvm";

/// The `java` of the oldest JDK from `version` on: of the folders in
/// `JAVA_HOME` and `JAVA_{number}_HOME`, and of the system's.
pub(super) fn at_least(version: u32) -> Result<PathBuf, Missing> {
    let mut found: Vec<(u32, PathBuf)> = homes()
        .into_iter()
        .filter_map(|home| Some((release(&home)?, home.join("bin/java"))))
        .filter(|(release, java)| *release >= version && java.is_file())
        .collect();
    found.sort();
    match found.into_iter().next() {
        Some((_, java)) => Ok(java),
        None => Err(Missing(format!(
            "no JDK {version} or newer in JAVA_HOME, JAVA_{version}_HOME or {SYSTEM}"
        ))),
    }
}

fn homes() -> Vec<PathBuf> {
    let named = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?;
        (name.starts_with("JAVA_") && name.ends_with("HOME")).then(|| PathBuf::from(value))
    });
    let system = std::fs::read_dir(SYSTEM).into_iter().flatten();
    let system = system.filter_map(|entry| Some(entry.ok()?.path()));
    named.chain(system).collect()
}

/// The major number in the file `release` that every JDK carries.
fn release(home: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(home.join("release")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    let number = line.trim_matches('"').split('.').next()?;
    number.parse().ok()
}
