//! What a client shows of itself over TLS, and which service it believes.

use std::env;
use std::fmt;
use std::io;
#[cfg(feature = "tls")]
use std::path::Path;
use std::path::PathBuf;

use tonic::service::Interceptor;
use tonic::transport::{self, Endpoint};
use tonic::{Request, Status};

/// Paths of files. Those in PEM are read once; the token is read again with each call, so that it can be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates of the authority that signed the service's, in PEM; none: those of the system.
    pub authority: Option<PathBuf>,
    /// The client's certificate chain, in PEM; none: it shows none.
    pub certificate: Option<PathBuf>,
    /// Its key, in PEM.
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

    /// The endpoint, over TLS with these.
    #[cfg(feature = "tls")]
    pub(crate) fn protect(&self, endpoint: Endpoint) -> Result<Endpoint, Error> {
        use tonic::transport::{Certificate, ClientTlsConfig, Identity};
        let mut config = match &self.authority {
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            (None, None) => {}
            _ => return Err(Error::HalfIdentity),
        }
        Ok(endpoint.tls_config(config)?)
    }

    /// Without the feature, nothing is sent to a hub.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn protect(&self, _endpoint: Endpoint) -> Result<Endpoint, Error> {
        Err(Error::NoTls)
    }
}

/// Sends the token that a file has, if there is one, with each call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bearer(pub(crate) Option<PathBuf>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(path) = &self.0 {
            let unreadable = |error: &dyn fmt::Display| Status::unauthenticated(format!("{}: {error}", path.display()));
            let token = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
            let header = format!("Bearer {}", token.trim()).parse();
            request
                .metadata_mut()
                .insert("authorization", header.map_err(|error| unreadable(&error))?);
        }
        Ok(request)
    }
}

/// Why there is no client.
#[derive(Debug)]
pub enum Error {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A certificate without its key, or a key alone.
    HalfIdentity,
    /// `tls:` without the feature `tls`.
    NoTls,
    /// The address, or what a file holds.
    Transport(transport::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(formatter, "{}: cannot be read: {error}", path.display()),
            Self::HalfIdentity => formatter.write_str("a certificate and its key belong together"),
            Self::NoTls => formatter.write_str("an address that begins with tls: needs the feature `tls`"),
            Self::Transport(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Error {}

impl From<transport::Error> for Error {
    fn from(error: transport::Error) -> Self {
        Self::Transport(error)
    }
}

#[cfg(feature = "tls")]
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Unreadable(path.into(), error))
}
