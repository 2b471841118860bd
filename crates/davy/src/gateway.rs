//! What `davy up` is told about the gateway beyond where it listens.

use crate::exit::{Exit, Failure};
use clap::Args;
use davy_gateway::Features;
use std::path::PathBuf;

/// The gateway's options, each as the gateway itself reads it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The gateway")]
pub(crate) struct Asked {
    /// Where it listens for TLS
    #[arg(long, value_name = "ADDR")]
    pub gateway_tls: Option<String>,
    /// The folder of certificates: NAME.crt beside NAME.key
    #[arg(long, value_name = "DIR")]
    pub certificates: Option<PathBuf>,
    /// Ask this authority for certificates of routes' hosts: letsencrypt, or the address of its directory. Agrees to its terms
    #[arg(long, value_name = "URL")]
    pub acme: Option<String>,
    /// Whom the authority may write to
    #[arg(long, value_name = "EMAIL")]
    pub acme_contact: Option<String>,
    /// The certificate to check a private authority's address by
    #[arg(long, value_name = "FILE")]
    pub acme_root: Option<PathBuf>,
    /// Whether plain requests for hosts with a certificate go to https: on, off, or to which port
    #[arg(long, value_name = "on|off|PORT")]
    pub redirect: Option<String>,
    /// Where a line for each request goes
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// Where the gateway answers /metrics: a loopback address
    #[arg(long, value_name = "ADDR")]
    pub gateway_metrics: Option<String>,
    /// Connections of clients at once; 20,000 when absent
    #[arg(long, value_name = "NUMBER")]
    pub connections: Option<String>,
    /// Connections at once of one address; 5,000 when absent
    #[arg(long, value_name = "NUMBER")]
    pub connections_per_client: Option<String>,
    /// The longest body of a request, such as 64MiB; when absent the services decide
    #[arg(long, value_name = "SIZE")]
    pub body_limit: Option<String>,
    /// How long a client may take for a request's head; 15s when absent
    #[arg(long, value_name = "SECONDS")]
    pub head_timeout: Option<String>,
    /// How long a connection may be idle; 75s when absent
    #[arg(long, value_name = "SECONDS")]
    pub idle_timeout: Option<String>,
    /// How long a client may take nothing of an answer; 60s when absent
    #[arg(long, value_name = "SECONDS")]
    pub slow_timeout: Option<String>,
}

impl Asked {
    /// As the gateway takes it.
    pub(crate) fn read(&self) -> Result<Features, Failure> {
        let path = |path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            if path.as_os_str() == "-" {
                return Some("-".to_owned());
            }
            // The gateway's process may stand elsewhere.
            Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string())
        };
        let named = [
            ("--tls", self.gateway_tls.clone()),
            ("--certificates", path(&self.certificates)),
            ("--acme", self.acme.clone()),
            ("--acme-contact", self.acme_contact.clone()),
            ("--acme-root", path(&self.acme_root)),
            ("--redirect", self.redirect.clone()),
            ("--access-log", path(&self.access_log)),
            ("--metrics", self.gateway_metrics.clone()),
            ("--connections", self.connections.clone()),
            ("--connections-per-client", self.connections_per_client.clone()),
            ("--body-limit", self.body_limit.clone()),
            ("--head-timeout", self.head_timeout.clone()),
            ("--idle-timeout", self.idle_timeout.clone()),
            ("--slow-timeout", self.slow_timeout.clone()),
        ];
        let named = named.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        Features::read(named).map_err(|why| {
            Failure::new(Exit::Usage, "D073", format!("the gateway's options: {why}"))
                .hint("`davy up --help` tells them")
        })
    }
}
