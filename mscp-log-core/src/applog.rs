//! Names of log volumes: `applog-{service uuid}-endname-{name}`.
//!
//! An application's log directories become `emptyDir` volumes of this name,
//! which a collector finds again on the node below the pod's uid.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

const PREFIX: &str = "applog-";
const MIDDLE: &str = "-endname-";
const UUID_BYTES: usize = 36;
/// Kubernetes takes volume names of up to 63 bytes; this is what is left.
const MAX_NAME_BYTES: usize = 63 - PREFIX.len() - UUID_BYTES - MIDDLE.len();

/// The volume of one log directory of one service.
///
/// ```
/// use mscp_log_core::applog::Volume;
/// let volume = Volume::new("caa0c2f0-1116-495f-8f09-3cd023cc14a2".parse()?, "access")?;
/// let name = "applog-caa0c2f0-1116-495f-8f09-3cd023cc14a2-endname-access";
/// assert_eq!(volume.to_string(), name);
/// assert_eq!(name.parse(), Ok(volume));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Volume {
    service: Uuid,
    name: String,
}

/// What is no name of a log volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// The directory's name cannot be the end of a volume's name.
    #[error(
        "log directory {0:?}: expected 1 to {MAX_NAME_BYTES} of a-z, 0-9 and '-', the last no '-'"
    )]
    Name(String),
    /// The text is no name that this system makes.
    #[error("{0:?}: expected applog-{{service uuid}}-endname-{{name}}")]
    Form(String),
}

impl Volume {
    /// The volume of the directory `name` of `service`.
    ///
    /// # Errors
    /// When `name` is one that Kubernetes would refuse at the end of a volume's
    /// name: not 1 to 11 of `[a-z0-9-]`, or with a hyphen at its end.
    pub fn new(service: Uuid, name: &str) -> Result<Self, VolumeError> {
        let holds = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !name.ends_with('-');
        if !holds {
            return Err(VolumeError::Name(name.to_owned()));
        }
        Ok(Self {
            service,
            name: name.to_owned(),
        })
    }

    /// The service: the `appid` of what its files say.
    #[must_use]
    pub fn service(&self) -> Uuid {
        self.service
    }

    /// The directory's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, name } = self;
        write!(f, "{PREFIX}{}{MIDDLE}{name}", service.hyphenated())
    }
}

impl FromStr for Volume {
    type Err = VolumeError;

    fn from_str(text: &str) -> Result<Self, VolumeError> {
        let form = || VolumeError::Form(text.to_owned());
        let rest = text.strip_prefix(PREFIX).ok_or_else(form)?;
        let (uuid, rest) = rest.split_at_checked(UUID_BYTES).ok_or_else(form)?;
        let name = rest.strip_prefix(MIDDLE).ok_or_else(form)?;
        if uuid.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(form());
        }
        Self::new(Uuid::try_parse(uuid).map_err(|_| form())?, name)
    }
}

/// What the path of a log file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile<'a> {
    /// The uid of the pod that writes it.
    pub pod_uid: &'a str,
    /// The volume that it is in.
    pub volume: Volume,
}

/// Take `{root}/{pod uid}/volumes/kubernetes.io~empty-dir/{volume}/{file}`
/// apart; the root may be anything.
///
/// ```
/// let path = "/k8spods/7cc96a84-7ece-6fad-70a9-8b9db56bd08d/volumes/kubernetes.io~empty-dir/\
///     applog-caa0c2f0-1116-495f-8f09-3cd023cc14a2-endname-access/app.log";
/// let file = mscp_log_core::applog::log_file(path).unwrap();
/// assert_eq!(file.pod_uid, "7cc96a84-7ece-6fad-70a9-8b9db56bd08d");
/// assert_eq!(file.volume.name(), "access");
/// ```
#[must_use]
pub fn log_file(path: &str) -> Option<LogFile<'_>> {
    let (before, after) = path.split_once("/volumes/kubernetes.io~empty-dir/")?;
    let pod_uid = before.rsplit('/').next()?;
    let (volume, _) = after.split_once('/')?;
    (!pod_uid.is_empty()).then_some(LogFile {
        pod_uid,
        volume: volume.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_that_is_composed_is_parsed_into_what_it_was_made_of(bytes: [u8; 16], name in "[a-z0-9-]{0,10}[a-z0-9]") {
            let volume = Volume::new(Uuid::from_bytes(bytes), &name).unwrap();
            let text = volume.to_string();
            let label = regex::Regex::new("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$").unwrap();
            prop_assert!(text.len() <= 63 && label.is_match(&text));
            prop_assert_eq!(text.parse(), Ok(volume));
        }

        #[test]
        fn a_name_that_is_parsed_is_composed_again(text in "applog-[0-9a-fA-F]{8}-?[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-endname-[a-zA-Z0-9_-]{0,13}") {
            if let Ok(volume) = text.parse::<Volume>() {
                prop_assert_eq!(volume.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,80}", name in "\\PC{0,14}") {
            let _ = (text.parse::<Volume>(), log_file(&text), Volume::new(Uuid::nil(), &name));
            if let Ok(volume) = Volume::new(Uuid::nil(), &name) {
                prop_assert_eq!(volume.name(), name);
            }
        }
    }

    #[test]
    fn names_that_kubernetes_would_refuse_are_errors() {
        for name in ["", "access-logs-x", "A", "a_b", "a.b", "a-", "é"] {
            assert!(Volume::new(Uuid::nil(), name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_outside_a_log_volume_says_nothing() {
        assert_eq!(
            log_file("/k8spods/u/volumes/kubernetes.io~empty-dir/cache/a.log"),
            None
        );
        assert_eq!(log_file("/var/log/syslog"), None);
    }
}
