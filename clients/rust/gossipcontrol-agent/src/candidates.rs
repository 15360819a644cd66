//! Whom a node dials to come back into a store. Pure: the caller tells whom it knows.

use std::collections::HashSet;

use iroh::EndpointId;

use crate::v1::Cause;

/// Most peers dialled at once for a store of those that the service names, and as many of those that the node
/// remembers: iroh-gossip's active view holds as many.
pub(crate) const BOOTSTRAP: usize = 5;

/// The peers that a node knows in a store.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Its neighbours. Those of a node that slept may have given it up.
    pub(crate) neighbors: Vec<EndpointId>,
    /// Neighbours that went down, the last one first.
    pub(crate) lost: Vec<EndpointId>,
    /// Peers of whatever store, those named last first.
    pub(crate) known: Vec<EndpointId>,
}

impl Candidates {
    /// The peers that are no neighbours: those that were before all others.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = EndpointId> + '_ {
        let all = self.lost.iter().chain(&self.known).copied();
        distinct(all.filter(|one| !self.neighbors.contains(one)))
    }

    /// Whom to dial after the node slept or moved. The neighbours, whose connections may be dead without anybody's
    /// knowing, and those that went down before: what it lists when it looks is a matter of chance. Without any,
    /// others that it knows.
    pub(crate) fn after_absence(&self) -> Vec<EndpointId> {
        if self.neighbors.is_empty() {
            return self.strangers().take(BOOTSTRAP).collect();
        }
        let remembered = self.neighbors.iter().chain(&self.lost);
        remembered.take(BOOTSTRAP).copied().collect()
    }

    /// Whom to dial for a rejoin: the peers that the service named; besides, of a node that may have moved or slept,
    /// whom it remembers, and of one without neighbours others that it knows. Nobody only where it knows nobody.
    ///
    /// A neighbour that is named is dialled where its connection may be dead: after a sleep or a move, and where the
    /// service asks the node to rejoin towards a peer that does not hear it.
    pub(crate) fn for_rejoin(&self, hints: &[EndpointId], causes: &[Cause]) -> Vec<EndpointId> {
        let was_absent = causes
            .iter()
            .any(|one| matches!(one, Cause::NetworkChange | Cause::Resume));
        let is_doubted = was_absent || causes.contains(&Cause::Asked);
        let hinted = hints.iter().copied();
        let hinted = hinted.filter(|one| is_doubted || !self.neighbors.contains(one));
        let (besides, most) = match (was_absent, self.neighbors.is_empty()) {
            (true, _) => (self.after_absence(), 2 * BOOTSTRAP),
            (false, true) => (self.strangers().take(BOOTSTRAP).collect(), BOOTSTRAP),
            (false, false) => (Vec::new(), BOOTSTRAP),
        };
        let all = hinted.take(BOOTSTRAP).chain(besides);
        let chosen: Vec<EndpointId> = distinct(all).take(most).collect();
        if chosen.is_empty() {
            let anybody = self.strangers().chain(hints.iter().copied());
            return distinct(anybody).take(BOOTSTRAP).collect();
        }
        chosen
    }
}

fn distinct(peers: impl Iterator<Item = EndpointId>) -> impl Iterator<Item = EndpointId> {
    let mut seen = HashSet::new();
    peers.filter(move |one| seen.insert(*one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: impl IntoIterator<Item = u8>) -> Vec<EndpointId> {
        let id = |number| iroh::SecretKey::from_bytes(&[number; 32]).public();
        numbers.into_iter().map(id).collect()
    }

    fn candidates(neighbors: &[u8], lost: &[u8], known: &[u8]) -> Candidates {
        let [neighbors, lost, known] = [neighbors, lost, known].map(|some| ids(some.iter().copied()));
        Candidates { neighbors, lost, known }
    }

    const SLEPT: &[Cause] = &[Cause::Resume];
    const ALONE: &[Cause] = &[Cause::Isolated];

    #[test]
    fn after_a_sleep_neighbors_that_went_down_are_dialled_like_those_that_are_listed() {
        assert_eq!(candidates(&[1], &[2], &[3]).after_absence(), ids([1, 2]));
        assert_eq!(candidates(&[1], &[2], &[3]).for_rejoin(&[], SLEPT), ids([1, 2]));
        assert_eq!(candidates(&[], &[2], &[3, 2]).after_absence(), ids([2, 3]));
    }

    #[test]
    fn after_a_sleep_neither_hints_nor_remembered_neighbors_displace_the_others() {
        let slept = candidates(&[1, 2], &[3], &[]);
        let (hints, all) = (ids([6, 7, 8, 9, 10, 11]), ids([6, 7, 8, 9, 10, 1, 2, 3]));
        assert_eq!(slept.for_rejoin(&hints, &[Cause::Isolated, Cause::NetworkChange]), all);
        assert_eq!(slept.for_rejoin(&ids([2, 3]), SLEPT), ids([2, 3, 1]), "each once");
    }

    #[test]
    fn no_more_are_dialled_than_a_view_holds() {
        assert_eq!(candidates(&[1, 2, 3, 4], &[5, 6], &[]).after_absence(), ids(1..=5));
        let many: Vec<u8> = (1..20).collect();
        assert_eq!(candidates(&[], &many, &[]).after_absence().len(), BOOTSTRAP);
        assert_eq!(
            candidates(&[], &[], &many).for_rejoin(&ids([30]), ALONE).len(),
            BOOTSTRAP
        );
    }

    #[test]
    fn hints_are_dialled_before_others_and_neighbors_are_left_out() {
        assert_eq!(candidates(&[2], &[], &[1, 3]).for_rejoin(&ids([1, 2]), ALONE), ids([1]));
    }

    #[test]
    fn a_neighbor_is_dialled_that_does_not_hear_the_node_or_where_there_is_nobody_else() {
        assert_eq!(
            candidates(&[2], &[], &[3]).for_rejoin(&ids([2]), &[Cause::Asked]),
            ids([2])
        );
        assert_eq!(candidates(&[2], &[], &[2]).for_rejoin(&ids([2]), ALONE), ids([2]));
    }

    #[test]
    fn a_node_alone_dials_whom_it_knows_besides_its_last_neighbors_first() {
        assert_eq!(candidates(&[], &[], &[1, 3]).for_rejoin(&ids([1]), ALONE), ids([1, 3]));
        assert_eq!(
            candidates(&[], &[4], &[1, 3, 4]).for_rejoin(&ids([1]), ALONE),
            ids([1, 4, 3])
        );
    }

    #[test]
    fn with_neighbors_and_no_hint_another_known_peer_is_dialled() {
        assert_eq!(candidates(&[3], &[], &[2, 3]).for_rejoin(&[], ALONE), ids([2]));
        assert!(candidates(&[2], &[], &[2]).for_rejoin(&[], ALONE).is_empty());
    }
}
