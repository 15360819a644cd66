//! Which owner of the service's state the agent heard last: what an older one says counts no more.

/// Compares epochs within one cell; an agent that is moved to another cell begins with what that one says.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    cell: String,
    epoch: u64,
}

impl Owner {
    /// A stream was answered; the error says that its sender was replaced.
    pub(crate) fn begin(&mut self, cell: &str, epoch: u64) -> Result<(), String> {
        if cell != self.cell {
            *self = Self {
                cell: cell.into(),
                epoch: 0,
            };
        }
        if self.admits(epoch) {
            return Ok(());
        }
        let newest = self.epoch;
        Err(format!(
            "a replica answered that was replaced: it has epoch {epoch}, another {newest}"
        ))
    }

    /// Whether a frame counts; 0: its sender does not say, as where there is one service.
    pub(crate) fn admits(&mut self, epoch: u64) -> bool {
        if epoch != 0 && epoch < self.epoch {
            return false;
        }
        self.epoch = self.epoch.max(epoch);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replaced_owner_says_counts_no_more() {
        let mut owner = Owner::default();
        assert_eq!(owner.begin("one", 2), Ok(()));
        assert!(owner.admits(2) && owner.admits(3), "a new owner");
        assert!(
            !owner.admits(2) && owner.admits(3),
            "an old one, which may have been frozen"
        );
        assert!(owner.begin("one", 2).is_err(), "nor does it get the agent back");
        assert_eq!(owner.begin("one", 4), Ok(()));
    }

    #[test]
    fn who_names_no_epoch_always_counts_and_hides_none() {
        let mut owner = Owner::default();
        assert!(owner.admits(0) && owner.admits(5) && owner.admits(0));
        assert!(!owner.admits(4));
    }

    #[test]
    fn another_cell_begins_with_what_it_says() {
        let mut owner = Owner::default();
        assert_eq!(owner.begin("one", 7), Ok(()));
        assert_eq!(owner.begin("two", 1), Ok(()));
        assert!(owner.admits(1));
    }
}
