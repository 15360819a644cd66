//! How long to wait before another attempt.

use std::time::Duration;

/// Bounds the first wait; each further one may be twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// Bounds every wait.
const LONGEST: Duration = Duration::from_secs(5);

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
    fn waits_grow_up_to_a_bound() {
        assert_eq!(bound(0), FIRST);
        assert_eq!(bound(3), 8 * FIRST);
        assert_eq!(bound(u32::MAX), LONGEST);
        assert!((0..1000).all(|failures| wait(failures) <= LONGEST));
    }
}
