//! Where other hosts may dial the node: not loopback, and no address that this host has lost.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};

/// Most addresses that are announced.
const MOST: usize = 16;
/// Most addresses of this host remembered.
const REMEMBERED: usize = 256;

/// Filters a node's addresses.
///
/// One that no interface has is stale only if one had it before: a node behind a router also names the router's
/// address, which is right.
#[derive(Debug, Default)]
pub(crate) struct Dialable {
    seen: HashSet<IpAddr>,
}

impl Dialable {
    /// What to announce: the host's own addresses at the ports that the endpoint is bound to, then what else the
    /// endpoint says of itself.
    pub(crate) fn of(
        &mut self,
        host: &BTreeSet<IpAddr>,
        bound: &[SocketAddr],
        endpoint: impl Iterator<Item = SocketAddr>,
    ) -> Vec<String> {
        if self.seen.len() > REMEMBERED {
            self.seen.clear();
        }
        self.seen.extend(host);
        let here = host.iter().flat_map(|ip| {
            let ports = bound.iter().filter(|one| one.is_ipv4() == ip.is_ipv4());
            ports.map(|one| SocketAddr::new(*ip, one.port()))
        });
        let further = endpoint.filter(|one| {
            let ip = one.ip();
            !ip.is_loopback() && !ip.is_unspecified() && (host.contains(&ip) || !self.seen.contains(&ip))
        });
        let mut announced = Vec::new();
        for address in here.chain(further).map(|one| one.to_string()) {
            if announced.len() < MOST && !announced.contains(&address) {
                announced.push(address);
            }
        }
        announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|one| one.parse().unwrap()).collect()
    }

    fn ips(all: &[&str]) -> BTreeSet<IpAddr> {
        all.iter().map(|one| one.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_that_the_host_has_lost_is_not_announced() {
        let mut dialable = Dialable::default();
        let bound = sockets(&["0.0.0.0:7", "[::]:8"]);
        let said = sockets(&["127.0.0.1:7", "10.0.0.2:7", "198.51.100.1:99"]);
        let first = dialable.of(&ips(&["10.0.0.2", "fd00::2"]), &bound, said.clone().into_iter());
        assert_eq!(first, ["10.0.0.2:7", "[fd00::2]:8", "198.51.100.1:99"]);
        let moved = dialable.of(&ips(&["10.0.9.2"]), &bound, said.into_iter());
        assert_eq!(moved, ["10.0.9.2:7", "198.51.100.1:99"], "the router's address stays");
    }

    #[test]
    fn no_more_are_announced_than_the_service_takes() {
        let host: BTreeSet<IpAddr> = (1..100u8).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        let announced = Dialable::default().of(&host, &sockets(&["0.0.0.0:7"]), std::iter::empty());
        assert_eq!(announced.len(), MOST);
    }
}
