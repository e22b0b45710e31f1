//! `kube inject`: log volumes into Kubernetes manifests.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Failure, output};
use crate::kube;

/// Help for Kubernetes manifests
#[derive(Debug, Subcommand)]
pub(super) enum Kube {
    /// Add the log volumes that a manifest's annotations ask for.
    Inject(Inject),
}

/// Add log volumes
#[derive(Args, Debug)]
#[command(after_help = "\
An object that makes pods asks with two annotations, on its pod template or on itself:

  mscp.io/service-uuid: caa0c2f0-1116-495f-8f09-3cd023cc14a2
  mscp.io/log-dirs: access=/var/log/nginx,app=/srv/logs

It gets an emptyDir volume applog-{service}-endname-{name} for each directory, and each of its
containers a mount. Everything else stays as it is, comments and order included; done twice, it
changes nothing more. What was added is said on the standard error.

  mscp-log kube inject web.yaml | kubectl apply -f -
  kustomize build . | mscp-log kube inject | kubectl apply -f -
  mscp-log kube inject web.yaml --output web.yaml")]
pub(super) struct Inject {
    /// Manifests (YAML or JSON); `-` is the standard input
    #[arg(default_value = "-", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Where to write, in place of the standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Inject {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut all = String::new();
        for file in &self.files {
            let name = match file.as_os_str() == "-" {
                true => "the standard input".to_owned(),
                false => file.display().to_string(),
            };
            let failed = |what: &dyn std::fmt::Display| Failure::failed(format!("{name}: {what}"));
            let text = read(file).map_err(|error| failed(&error))?;
            let (injected, objects) = kube::inject(&text).map_err(|error| failed(&error))?;
            for object in objects {
                eprintln!(
                    "{}: {} volumes and {} mounts added",
                    object.object, object.volumes, object.mounts
                );
            }
            if !all.is_empty() {
                if !all.ends_with('\n') {
                    all.push('\n');
                }
                if !injected.starts_with("---") {
                    all.push_str("---\n");
                }
            }
            all.push_str(&injected);
        }
        match &self.output {
            None => output::text(&all),
            Some(file) => replace(file, &all)
                .map_err(|error| Failure::failed(format!("{}: {error}", file.display()))),
        }
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// Write beside `file` and rename: it is whole at any moment, also when it is
/// what was read.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = file.with_file_name(name);
    std::fs::write(&beside, text)?;
    if let Ok(known) = std::fs::metadata(file) {
        std::fs::set_permissions(&beside, known.permissions())?;
    }
    std::fs::rename(&beside, file)
}
