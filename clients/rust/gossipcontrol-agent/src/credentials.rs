//! What a client shows of itself over TLS, and which service it believes: files, named in code or in the environment.

use std::env;
use std::path::PathBuf;

/// Paths of files in PEM; each is read again for every new connection, so that it can be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates of the authority that signed the service's; none: those of the system.
    pub authority: Option<PathBuf>,
    /// The client's certificate chain; none: it shows none.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// A bearer token, alone in its file; none: none is sent.
    pub token: Option<PathBuf>,
}

impl Credentials {
    /// Paths in `GOSSIPCONTROL_TLS_AUTHORITY`, `_CERTIFICATE`, `_KEY` and `_TOKEN`.
    pub fn from_environment() -> Self {
        let path = |name: &str| {
            let value = env::var_os(format!("GOSSIPCONTROL_TLS_{name}"));
            value.filter(|text| !text.is_empty()).map(PathBuf::from)
        };
        Self {
            authority: path("AUTHORITY"),
            certificate: path("CERTIFICATE"),
            key: path("KEY"),
            token: path("TOKEN"),
        }
    }
}
