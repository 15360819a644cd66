//! How long to wait before another attempt.

use std::time::Duration;

/// Bounds the first wait; each further one may be twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// Bounds every wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Bounds the time that a service has to answer the first stream, and any.
const ANSWER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(80));

/// Time that a new stream has to be answered: twice as long after each that a connected service ignored. One with too
/// much to do works off what its clients have given up, and gets it again from them.
pub(crate) fn answer(ignored: u32) -> Duration {
    (ANSWER.0 * 2u32.pow(ignored.min(10))).min(ANSWER.1)
}

/// A random wait after so many failures in a row: exponential with full jitter.
pub(crate) fn wait(failures: u32) -> Duration {
    bound(failures).mul_f64(rand::random())
}

fn bound(failures: u32) -> Duration {
    (FIRST * 2u32.pow(failures.min(10))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_does_not_answer_is_given_more_time() {
        let had: Vec<u64> = (0..6).map(|ignored| answer(ignored).as_secs()).collect();
        assert_eq!(had, [5, 10, 20, 40, 80, 80]);
        assert_eq!(answer(u32::MAX), ANSWER.1);
    }

    #[test]
    fn waits_grow_up_to_a_bound() {
        assert_eq!(bound(0), FIRST);
        assert_eq!(bound(3), 8 * FIRST);
        assert_eq!(bound(u32::MAX), LONGEST);
        assert!((0..1000).all(|failures| wait(failures) <= LONGEST));
    }
}
