//! The clock of ages: it goes on while the host sleeps, where the system has such a clock.

use std::time::Duration;

/// Highest age that the service accepts: a neighbour of many days must not make it refuse the report.
const OLDEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The time since some instant before this process began.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time since some instant before this process began.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn now() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

/// The age of an instant in milliseconds, at most what the service accepts.
pub(crate) fn age_ms(at: Duration, now: Duration) -> u64 {
    now.saturating_sub(at).min(OLDEST).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_bounded_on_both_sides() {
        let second = Duration::from_secs(1);
        assert_eq!(age_ms(second, 3 * second), 2000);
        assert_eq!(age_ms(3 * second, second), 0);
        assert_eq!(age_ms(Duration::ZERO, OLDEST * 2), OLDEST.as_millis() as u64);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let before = now();
        assert!(now() >= before);
    }
}
