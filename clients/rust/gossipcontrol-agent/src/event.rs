//! Events of an agent, for people.

/// Something that a person may want to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentEvent {
    /// `attached`, `detached`, `unattached`, `addresses`, `command`, `result`, `sync`, `restart` (it is advised; the
    /// app, or a person, does it), `lost`, `network`, `error`.
    pub what: &'static str,
    /// In words.
    pub detail: String,
    /// The store, where there is one.
    pub store_id: String,
    /// The rejoin, where there is one.
    pub rejoin_id: String,
    /// The peer, where there is one.
    pub peer_id: String,
}

impl AgentEvent {
    pub(crate) fn new(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            detail: detail.into(),
            store_id: String::new(),
            rejoin_id: String::new(),
            peer_id: String::new(),
        }
    }
}
