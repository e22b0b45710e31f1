//! Why Kubernetes did not say, or did not do, what it was asked for.

use std::error::Error;

use crate::config::{Kind, Workload};

/// The most of somebody else's message that is passed on, in characters.
const MOST: usize = 300;

/// What was asked of the API server.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    /// Empty: all of them.
    pub(super) name: &'a str,
}

/// All pods of a workload.
pub(super) const PODS: Asked<'static> = Asked {
    verb: "list",
    resource: "pods",
    name: "",
};
/// The autoscalers.
pub(super) const AUTOSCALERS: Asked<'static> = Asked {
    verb: "list",
    resource: "horizontalpodautoscalers",
    name: "",
};

impl<'a> Asked<'a> {
    pub(super) fn object(verb: &'static str, workload: &'a Workload) -> Self {
        let resource = match workload.kind {
            Kind::Deployment => "deployments",
            Kind::StatefulSet => "statefulsets",
            Kind::DaemonSet => "daemonsets",
        };
        let name = &workload.name;
        Self {
            verb,
            resource,
            name,
        }
    }

    pub(super) fn scale(workload: &'a Workload) -> Self {
        let resource = match workload.kind {
            Kind::StatefulSet => "statefulsets/scale",
            _ => "deployments/scale",
        };
        Self {
            verb: "patch",
            resource,
            name: &workload.name,
        }
    }
}

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match self.name {
            "" => Ok(()),
            name => write!(f, " {name}"),
        }
    }
}

/// Why Kubernetes did not answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// Not in time.
    #[error("the API server {server} did not answer within {seconds} s")]
    Slow {
        /// Its URL.
        server: String,
        /// The deadline.
        seconds: f32,
    },
    /// Not at all.
    #[error("the API server {server} cannot be reached: {reason}")]
    Away {
        /// Its URL.
        server: String,
        /// Why.
        reason: String,
    },
    /// It does not know who we are.
    #[error(
        "the API server {server} does not take our token (401); is the service account still there?"
    )]
    Unknown {
        /// Its URL.
        server: String,
    },
    /// We may not.
    #[error(
        "not allowed to {asked} in namespace {namespace}; reference-deploy/roles/access.yaml has the Role that allows it"
    )]
    Forbidden {
        /// Verb, resource and name.
        asked: String,
        /// Where.
        namespace: String,
    },
    /// There is no such workload.
    #[error(
        "there is no {workload} in namespace {namespace}; kubernetes.workloads.{part} says what it is called, or none"
    )]
    Missing {
        /// Kind and name.
        workload: String,
        /// Where.
        namespace: String,
        /// What it would be.
        part: &'static str,
    },
    /// Something else, in its words.
    #[error("the API server {server} answered to {asked}: {reason}")]
    Answer {
        /// Its URL.
        server: String,
        /// Verb, resource and name.
        asked: String,
        /// What it says.
        reason: String,
    },
}

impl Trouble {
    pub(super) fn of(error: kube::Error, asked: Asked<'_>, server: &str, namespace: &str) -> Self {
        let server = server.to_owned();
        let asked = asked.to_string();
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::Unknown { server },
            // Admission refuses with 403, too, and says why.
            kube::Error::Api(status)
                if status.is_forbidden() && status.message.contains(" cannot ") =>
            {
                Self::Forbidden {
                    asked,
                    namespace: namespace.to_owned(),
                }
            }
            kube::Error::Api(status) => Self::Answer {
                server,
                asked,
                reason: short(&status.message),
            },
            kube::Error::SerdeError(error) => Self::Answer {
                server,
                asked,
                reason: format!("something that is not of Kubernetes ({error})"),
            },
            error => Self::Away {
                server,
                reason: short(&innermost(&error)),
            },
        }
    }

    /// Whether the next question would fare no better.
    pub(super) fn is_of_the_server(&self) -> bool {
        matches!(
            self,
            Self::Slow { .. } | Self::Away { .. } | Self::Unknown { .. }
        )
    }
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Kubernetes did not do it.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// It is not what whoever asked believed it to be.
    #[error("{0}")]
    Changed(String),
    /// It would lose data, or what it is to serve; says what must be done
    /// first.
    #[error("{0}")]
    Unsafe(String),
}

impl Refused {
    pub(super) fn unsafe_(reason: impl Into<String>) -> Self {
        Self::Unsafe(reason.into())
    }
}

/// What an error stems from.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut found = error;
    while let Some(deeper) = found.source() {
        found = deeper;
    }
    found.to_string()
}

/// A message of others, in one line of bounded length.
pub(super) fn short(message: &str) -> String {
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MOST) {
        line.truncate(end);
        line.push('…');
    }
    line
}
