//! The peers that a node may dial, and where; bounded.

use std::collections::{BTreeMap, BTreeSet};

use iroh::{EndpointAddr, EndpointId, TransportAddr};

/// Most peers remembered; the one named longest ago is dropped first.
const PEERS: usize = 1000;
/// Most addresses remembered of one peer.
const ADDRESSES: usize = 16;

#[derive(Debug, Default)]
struct Peer {
    named: u64,
    addresses: Vec<TransportAddr>,
}

/// Peers with the addresses that were given for them, the newest first; with none, the endpoint looks them up.
#[derive(Debug, Default)]
pub(crate) struct PeerBook {
    peers: BTreeMap<EndpointId, Peer>,
    named: u64,
}

impl PeerBook {
    /// Name a peer, perhaps with further addresses.
    pub(crate) fn remember(&mut self, id: EndpointId, addresses: impl IntoIterator<Item = TransportAddr>) {
        self.named += 1;
        let peer = self.peers.entry(id).or_default();
        peer.named = self.named;
        let mut newest: Vec<TransportAddr> = addresses.into_iter().collect();
        newest.extend(std::mem::take(&mut peer.addresses));
        let mut seen = BTreeSet::new();
        newest.retain(|one| seen.insert(one.clone()));
        newest.truncate(ADDRESSES);
        peer.addresses = newest;
        if self.peers.len() > PEERS {
            let oldest = self.peers.iter().min_by_key(|(_, one)| one.named).map(|(id, _)| *id);
            oldest.and_then(|id| self.peers.remove(&id));
        }
    }

    /// Where a peer is dialled.
    pub(crate) fn address(&self, id: EndpointId) -> EndpointAddr {
        let known = self.peers.get(&id).map_or(&[][..], |peer| &peer.addresses);
        EndpointAddr::from_parts(id, known.iter().cloned())
    }

    /// All peers, those named last first.
    pub(crate) fn newest(&self) -> Vec<EndpointId> {
        let mut peers: Vec<(u64, EndpointId)> = self.peers.iter().map(|(id, one)| (one.named, *id)).collect();
        peers.sort_by_key(|(named, _)| std::cmp::Reverse(*named));
        peers.into_iter().map(|(_, id)| id).collect()
    }
}

/// An address as agents announce it: `ip:port`, `[ip]:port`, or the URL of a relay.
pub(crate) fn parse_address(text: &str) -> Option<TransportAddr> {
    if let Ok(socket) = text.parse() {
        return Some(TransportAddr::Ip(socket));
    }
    text.parse().ok().map(TransportAddr::Relay)
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    fn id(number: u16) -> EndpointId {
        let mut key = [7; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_bytes(&key).public()
    }

    fn ip(text: &str) -> TransportAddr {
        parse_address(text).unwrap()
    }

    #[test]
    fn the_newest_addresses_come_first_and_none_comes_twice() {
        let mut book = PeerBook::default();
        book.remember(id(1), [ip("10.0.0.1:1"), ip("10.0.0.2:1")]);
        book.remember(id(1), [ip("10.0.0.3:1"), ip("10.0.0.1:1")]);
        let kept = &book.peers[&id(1)].addresses;
        assert_eq!(kept, &[ip("10.0.0.3:1"), ip("10.0.0.1:1"), ip("10.0.0.2:1")]);
        assert_eq!(book.address(id(1)).ip_addrs().count(), 3);
        assert!(book.address(id(2)).is_empty());
    }

    #[test]
    fn the_book_is_bounded_and_keeps_the_newest() {
        let mut book = PeerBook::default();
        for number in 0..=PEERS as u16 {
            book.remember(id(number), []);
        }
        assert_eq!(book.newest().len(), PEERS);
        assert_eq!(book.newest()[0], id(PEERS as u16));
        assert!(!book.newest().contains(&id(0)));
        let many = (1..100).map(|port| ip(&format!("10.0.0.1:{port}")));
        book.remember(id(5), many);
        assert_eq!(book.peers[&id(5)].addresses.len(), ADDRESSES);
        assert_eq!(book.newest()[0], id(5));
    }

    #[test]
    fn addresses_are_sockets_or_relays() {
        assert!(matches!(parse_address("10.0.0.1:7"), Some(TransportAddr::Ip(_))));
        assert!(matches!(parse_address("[fd00::1]:7"), Some(TransportAddr::Ip(_))));
        assert!(matches!(
            parse_address("https://relay.example"),
            Some(TransportAddr::Relay(_))
        ));
        assert_eq!(parse_address("nonsense"), None);
    }
}
