//! Where the service is: `unix:/path`, `tls:host:port`, or `host:port` without TLS; replicas with commas.

use std::path::PathBuf;
use std::{env, fmt};

/// Environment variable with the address of the service.
const VARIABLE: &str = "GOSSIPCONTROL_ADDRESS";
const DEFAULT_TCP: &str = "127.0.0.1:7420";

/// The address of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(String),
    Tcp(String),
    Tls(String),
}

impl Address {
    /// Read an address; the error says in a sentence what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(format!(
                    "{text:?}: the path of a Unix socket must be absolute, as in unix:/run/x.sock"
                ));
            }
            return Ok(Self::Unix(path.into()));
        }
        if text.contains("://") {
            return Err(format!(
                "{text:?} is a URL; an address is unix:/path or [tls:]host:port, without a scheme"
            ));
        }
        let where_to = text.strip_prefix("tls:").unwrap_or(text);
        let is_complete = where_to.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.bytes().all(|one| one.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
        });
        if !is_complete {
            return Err(format!("{text:?} is neither unix:/path nor [tls:]host:port"));
        }
        Ok(match text.strip_prefix("tls:") {
            Some(address) => Self::Tls(address.into()),
            None => Self::Tcp(text.into()),
        })
    }

    /// Read the addresses of replicas, with commas; they all have TLS, or none.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let found: Vec<Self> = text
            .split(',')
            .map(|one| Self::parse(one.trim()))
            .collect::<Result<_, _>>()?;
        let with_tls = found.iter().filter(|one| matches!(one, Self::Tls(_))).count();
        if with_tls != 0 && with_tls != found.len() {
            return Err(format!("{text:?}: all addresses begin with tls:, or none does"));
        }
        Ok(found)
    }

    /// GOSSIPCONTROL_ADDRESS, else the Unix socket of a service on this machine, else the default TCP port.
    pub(crate) fn default() -> Result<Vec<Self>, String> {
        if let Some(text) = env::var(VARIABLE).ok().filter(|text| !text.is_empty()) {
            return Self::parse_all(&text);
        }
        let user = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let found = [Some(PathBuf::from("/run")), user]
            .into_iter()
            .flatten()
            .map(|directory| directory.join("gossipcontrol/gossipcontrol.sock"))
            .find(|path| path.exists());
        Self::parse_all(&found.map_or(DEFAULT_TCP.into(), |path| format!("unix:{}", path.display())))
    }

    /// Whether its path breaks when the network of this host changes.
    pub(crate) fn is_remote(&self) -> bool {
        !matches!(self, Self::Unix(_))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{path}"),
            Self::Tcp(address) => formatter.write_str(address),
            Self::Tls(address) => write!(formatter, "tls:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_address_is_read_and_written_alike() {
        for text in [
            "unix:/run/x.sock",
            "127.0.0.1:7420",
            "[::1]:7420",
            "tls:hub.example:7421",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert!(Address::parse("tls:hub:1").unwrap().is_remote());
        assert!(!Address::parse("unix:/x").unwrap().is_remote());
    }

    #[test]
    fn replicas_are_listed_with_commas_and_all_have_tls_or_none() {
        let found = Address::parse_all("tls:a:1, tls:b:2").unwrap();
        assert_eq!(found, [Address::Tls("a:1".into()), Address::Tls("b:2".into())]);
        assert!(Address::parse_all("tls:a:1,b:2").unwrap_err().contains("or none does"));
        assert!(Address::parse_all("a:1,").unwrap_err().contains("neither"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for (text, reason) in [
            ("unix:x.sock", "absolute"),
            ("http://hub:1", "URL"),
            ("hub", "neither"),
            ("hub:0", "neither"),
            (":7420", "neither"),
            ("hub:+1", "neither"),
            ("hub:65536", "neither"),
            ("", "neither"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
