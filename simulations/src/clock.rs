//! A server's clocks: one that stamps and may be wrong in any way, one that only drifts.

use domain::Millis;

/// The epoch of the world. Unit: ms since 1970.
const EPOCH: i64 = 1_700_000_000_000;

/// The clocks of one server.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// How wrong the wall clock is. Unit: ms.
    offset: i64,
    /// Since when the wall clock stands still, if it does.
    stopped: Option<u64>,
    /// How much faster the monotonic clock runs. Unit: thousandths.
    drift: i64,
}

impl Clock {
    /// Clocks that are right but for a few ms and a drift.
    #[must_use]
    pub fn new(offset: i64, drift: i64) -> Self {
        Self { offset, stopped: None, drift }
    }

    /// The clock that stamps proposals.
    #[must_use]
    pub fn wall(&self, now: u64) -> Millis {
        let now = self.stopped.unwrap_or(now);
        Millis((EPOCH + now as i64 + self.offset).max(0) as u64)
    }

    /// The clock that duties count by.
    #[must_use]
    pub fn monotonic(&self, now: u64) -> Millis {
        Millis((now as i64 + now as i64 * self.drift / 1_000) as u64)
    }

    /// The wall clock is set forward or back.
    pub fn jump(&mut self, by: i64) {
        self.offset += by;
    }

    /// The wall clock stands still, or goes on from where it stood.
    pub fn stop(&mut self, now: u64) {
        self.stopped = match self.stopped {
            None => Some(now),
            Some(since) => {
                self.offset -= (now - since) as i64;
                None
            }
        };
    }

    /// Whether the wall clock stands still.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.stopped.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_goes_on_from_where_it_stood_and_a_set_one_jumps() {
        let mut clock = Clock::new(0, 10);
        clock.stop(1_000);
        assert_eq!(clock.wall(9_000), clock.wall(1_000));
        clock.stop(9_000);
        assert_eq!(clock.wall(9_500).minus(clock.wall(9_000)), Millis(500));
        clock.jump(-86_400_000);
        assert_eq!(clock.wall(9_500).0, EPOCH as u64 + 1_500 - 86_400_000);
        assert_eq!(clock.monotonic(1_000), Millis(1_010));
    }
}
