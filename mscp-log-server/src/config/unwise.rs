//! What is allowed and yet unwise.

use std::net::IpAddr;

use super::{BufferKind, Config, ConfigError, Output, Role, StoreKind};

impl Config {
    /// What is allowed and yet unwise, for `check` and the start of a node, of
    /// what the roles of this node use.
    #[must_use]
    pub fn warnings(&self) -> Vec<ConfigError> {
        let mut found = Vec::new();
        let mut warn = |key: &str, reason: &str| {
            found.push(ConfigError {
                key: key.to_owned(),
                reason: reason.to_owned(),
            });
        };
        if self.roles.aggregate() {
            self.keeping(&mut warn);
        }
        match &self.collect.output {
            _ if !self.roles.has(Role::Agent) => {}
            Some(Output::Gateway(gateway)) if travels_in_the_clear(&gateway.url) => warn(
                "collect.url",
                "the token and the records travel in the clear to a node of http://",
            ),
            Some(Output::Lumberjack(lumberjack))
                if lumberjack.tls.is_none()
                    && !lumberjack.hosts.iter().all(|host| {
                        is_this_machine(host.rsplit_once(':').map_or("", |(host, _)| host))
                    }) =>
            {
                warn(
                    "collect.lumberjack.ca_file",
                    "not set: the records travel in the clear",
                );
            }
            _ => {}
        }
        found
    }

    fn keeping(&self, warn: &mut impl FnMut(&str, &str)) {
        let roles = &self.roles;
        let serves = roles.has(Role::Api) || roles.has(Role::Parser);
        if (serves || roles.has(Role::Rotator)) && self.auth.master_key_file.is_none() {
            warn(
                "auth.master_key_file",
                "not set: signing keys are kept unencrypted in the database",
            );
        }
        for (name, region) in &self.regions {
            if let StoreKind::Cluster(cluster) = &region.store
                && cluster.credential.is_some()
                && cluster.nodes.iter().any(|node| travels_in_the_clear(node))
            {
                warn(
                    &format!("region.{name}.store"),
                    "the credential travels in the clear to nodes of http://",
                );
            }
        }
        if let BufferKind::Kafka(kafka) = &self.buffer.kind
            && roles.use_the_buffer()
        {
            if kafka.sasl.is_some() && kafka.tls.is_none() {
                warn(
                    "buffer.tls",
                    "not set: the records, and with PLAIN the password, travel in the clear to the brokers",
                );
            }
            if kafka.min_insync < 2 {
                warn(
                    "buffer.min_insync",
                    "1: a record is acknowledged when one broker has it, and is lost with that broker",
                );
            }
        }
        if let Some(beats) = &self.beats
            && beats.insecure
            && !beats.listen.ip().is_loopback()
            && roles.has(Role::Parser)
        {
            warn(
                "beats.insecure",
                "set: whoever reaches the port can write records as any host, namespace and application",
            );
        }
        let public = self.http.public_url.as_ref();
        let encrypted =
            self.http.tls_cert.is_some() || public.is_some_and(|url| url.starts_with("https:"));
        if serves && !self.http.listen.ip().is_loopback() && !encrypted {
            warn(
                "http.tls_cert",
                "not set: passwords and tokens travel in the clear, unless a proxy in front encrypts",
            );
        }
    }
}

/// Whether what is sent to a node leaves this machine unencrypted.
fn travels_in_the_clear(url: &str) -> bool {
    let uri: Option<http::Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    url.starts_with("http:") && !is_this_machine(host)
}

/// Whether a host is reached without leaving this machine.
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}
