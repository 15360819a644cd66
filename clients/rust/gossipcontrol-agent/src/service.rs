//! The connection to the service.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::address::Address;
use crate::credentials::Credentials;

/// Time that an attempt to connect has.
const CONNECT: Duration = Duration::from_secs(2);
/// A dead connection is found within the sum of these, also while nothing is under way.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Connect; the error says in a sentence why that failed.
pub(crate) async fn connect(address: &Address, credentials: &Credentials) -> Result<Channel, String> {
    let endpoint = match address {
        Address::Unix(_) => Endpoint::from_shared(address.to_string()),
        Address::Tcp(tcp) => Endpoint::from_shared(format!("http://{tcp}")),
        Address::Tls(tls) => Endpoint::from_shared(format!("https://{tls}")),
    };
    let endpoint = endpoint
        .map_err(|error| reason(&error))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true);
    let endpoint = match address {
        Address::Tls(_) => with_tls(endpoint, credentials)?,
        _ => endpoint,
    };
    endpoint.connect().await.map_err(|error| reason(&error))
}

#[cfg(feature = "tls")]
fn with_tls(endpoint: Endpoint, credentials: &Credentials) -> Result<Endpoint, String> {
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};
    let mut config = ClientTlsConfig::new();
    config = match &credentials.authority {
        Some(path) => config.ca_certificate(Certificate::from_pem(read(path)?)),
        None => config.with_native_roots(),
    };
    match (&credentials.certificate, &credentials.key) {
        (Some(certificate), Some(key)) => config = config.identity(Identity::from_pem(read(certificate)?, read(key)?)),
        (None, None) => {}
        _ => return Err("a certificate and its key belong together: both are given, or neither".into()),
    }
    endpoint.tls_config(config).map_err(|error| reason(&error))
}

#[cfg(not(feature = "tls"))]
fn with_tls(_endpoint: Endpoint, _credentials: &Credentials) -> Result<Endpoint, String> {
    Err("an address that begins with tls: needs the feature `tls` of gossipcontrol-agent".into())
}

/// The header with the bearer token, if there is one.
pub(crate) fn bearer(credentials: &Credentials) -> Result<Option<MetadataValue<Ascii>>, String> {
    let Some(path) = &credentials.token else {
        return Ok(None);
    };
    let token = String::from_utf8(read(path)?).map_err(|_| format!("{}: holds no token", path.display()))?;
    let header = format!("Bearer {}", token.trim()).parse();
    header
        .map(Some)
        .map_err(|_| format!("{}: holds no token", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
}

/// What an error and those beneath it say.
fn reason(error: &tonic::transport::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        let text = deeper.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        source = deeper.source();
    }
    said
}
