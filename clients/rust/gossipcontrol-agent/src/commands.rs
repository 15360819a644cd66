//! Remembers what became of the service's commands, so that each attempt is carried out once.

use std::collections::VecDeque;

use crate::v1::{RejoinCommand, RejoinResult};

/// Most attempts remembered; the oldest are forgotten first. After the service's owner changed, each store in which a
/// rejoin runs has its command again.
const REMEMBERED: usize = 4096;
/// Most bytes of an error that the service accepts.
const ERROR_BYTES: usize = 1024;

/// What is to be done with a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Begin {
    /// Carry it out.
    New,
    /// It is being carried out.
    UnderWay,
    /// It was carried out, with this result.
    Done(RejoinResult),
}

/// Rejoin id, attempt, and how it ended.
type Attempt = (String, u32, Option<RejoinResult>);

/// The attempts of late.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    attempts: VecDeque<Attempt>,
}

impl Commands {
    /// A command came.
    pub(crate) fn begin(&mut self, command: &RejoinCommand) -> Begin {
        let known = self
            .attempts
            .iter()
            .find(|one| one.0 == command.rejoin_id && one.1 == command.attempt);
        match known {
            Some((_, _, Some(result))) => Begin::Done(result.clone()),
            Some(_) => Begin::UnderWay,
            None => {
                self.attempts
                    .push_back((command.rejoin_id.clone(), command.attempt, None));
                if self.attempts.len() > REMEMBERED {
                    self.attempts.pop_front();
                }
                Begin::New
            }
        }
    }

    /// An attempt ended.
    pub(crate) fn end(&mut self, result: &RejoinResult) {
        let is_it = |one: &&mut Attempt| one.0 == result.rejoin_id && one.1 == result.attempt;
        if let Some((_, _, ended)) = self.attempts.iter_mut().find(is_it) {
            *ended = Some(result.clone());
        }
    }
}

/// An error cut to what the service accepts.
pub(crate) fn error_text(error: &str) -> String {
    let mut end = error.len().min(ERROR_BYTES);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(id: &str, attempt: u32) -> RejoinCommand {
        RejoinCommand {
            rejoin_id: id.into(),
            attempt,
            ..Default::default()
        }
    }

    #[test]
    fn each_attempt_is_carried_out_once_and_its_result_given_again() {
        let mut commands = Commands::default();
        assert_eq!(commands.begin(&command("r", 1)), Begin::New);
        assert_eq!(commands.begin(&command("r", 1)), Begin::UnderWay);
        assert_eq!(commands.begin(&command("r", 2)), Begin::New);
        let result = RejoinResult {
            rejoin_id: "r".into(),
            attempt: 1,
            ok: true,
            ..Default::default()
        };
        commands.end(&result);
        assert_eq!(commands.begin(&command("r", 1)), Begin::Done(result));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut commands = Commands::default();
        for attempt in 1..=5000 {
            commands.begin(&command("r", attempt));
        }
        assert_eq!(commands.attempts.len(), REMEMBERED);
    }

    #[test]
    fn an_error_is_cut_between_characters() {
        assert_eq!(error_text("short"), "short");
        assert!(error_text(&"ü".repeat(1000)).len() <= ERROR_BYTES);
    }
}
