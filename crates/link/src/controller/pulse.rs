//! How a link fares: its state, since when, how fast, what it costs.

use std::time::Duration;

use engine::exchange::{Measure, Meter, Mirror, Overrun};
use tokio::time::Instant;
use wire::local::{BudgetUse, LinkFlow, LinkState};

use super::LinkSettings;
use crate::talk::BEAT;

/// How often the pause before a frozen link is tried again may double.
const DOUBLINGS: u32 = 5;

/// How a link fares.
pub(crate) struct Pulse {
    settings: LinkSettings,
    began: Instant,
    /// Budgets, as far as they are rates.
    meter: Meter,
    /// Whether both sides of the stream have greeted.
    greeted: bool,
    /// Whether the other cluster has removed the link.
    pub(crate) severed: bool,
    frozen: Option<Frozen>,
    /// The state that was shown last, and since when.
    state: (LinkState, Instant),
    /// When anything was heard last.
    heard: Option<Instant>,
    /// When the other side last asked whether we are there, and how far it was behind with telling.
    beat: Option<(Instant, Duration)>,
    rtt: Option<Duration>,
}

/// Why nothing is taken in.
#[derive(Debug, Clone, Copy)]
struct Frozen {
    overrun: Overrun,
    until: Instant,
    /// How often it was frozen in a row.
    times: u32,
}

impl Pulse {
    pub(crate) fn new(settings: LinkSettings) -> Self {
        let now = Instant::now();
        Self {
            settings,
            began: now,
            meter: Meter::new(settings.budget, Duration::ZERO),
            greeted: false,
            severed: false,
            frozen: None,
            state: (LinkState::Connecting, now),
            heard: None,
            beat: None,
            rtt: None,
        }
    }

    /// Both sides have greeted.
    pub(crate) fn handle_greeting(&mut self) {
        self.greeted = true;
        self.heard = Some(Instant::now());
        self.note();
    }

    /// The stream is gone.
    pub(crate) fn handle_break(&mut self) {
        self.greeted = false;
        self.beat = None;
        self.rtt = None;
        self.note();
    }

    /// The other side has removed the link, or has made a new one.
    pub(crate) fn sever(&mut self, severed: bool) {
        self.severed = severed;
        self.note();
    }

    /// Something was heard.
    ///
    /// # Errors
    /// It is more than may be said in the time.
    pub(crate) fn charge(&mut self, changes: usize, bytes: usize) -> Result<(), Overrun> {
        let now = Instant::now();
        self.heard = Some(now);
        self.meter.charge(changes as u64, bytes as u64, now - self.began)
    }

    /// The other side asks, and says how far behind it is.
    pub(crate) fn handle_ping(&mut self, behind: Duration) {
        self.beat = Some((Instant::now(), behind));
        // It has said everything that it had to, and did not cost too much.
        if self.frozen.is_some_and(|frozen| behind < BEAT && frozen.until <= Instant::now()) {
            self.frozen = None;
            self.note();
        }
    }

    /// The other side has answered.
    pub(crate) fn handle_round_trip(&mut self, rtt: Duration) {
        self.rtt = Some(rtt);
    }

    /// Takes nothing in for a while: longer each time.
    pub(crate) fn freeze(&mut self, overrun: Overrun) {
        let times = self.frozen.map_or(0, |frozen| (frozen.times + 1).min(DOUBLINGS));
        let until = Instant::now() + self.settings.thaw * 2u32.pow(times);
        self.frozen = Some(Frozen { overrun, until, times });
        self.note();
    }

    /// Why nothing is to be taken in now, and until when.
    pub(crate) fn frozen(&self) -> Option<(Overrun, Instant)> {
        self.frozen
            .filter(|frozen| frozen.until > Instant::now())
            .map(|frozen| (frozen.overrun, frozen.until))
    }

    fn note(&mut self) {
        let state = match (self.severed, self.frozen, self.greeted) {
            (true, _, _) => LinkState::Removed,
            // While it is tried again it is still what it was.
            (_, Some(_), _) => LinkState::Frozen,
            (_, None, true) => LinkState::Connected,
            (_, None, false) => LinkState::Connecting,
        };
        if self.state.0 != state {
            self.state = (state, Instant::now());
        }
    }

    /// Its state, and for how long.
    pub(crate) fn state(&self) -> (LinkState, Duration) {
        (self.state.0, self.state.1.elapsed())
    }

    /// What goes over it.
    pub(crate) fn flow(&self, mirror: &Mirror) -> LinkFlow {
        let now = Instant::now();
        let since = now - self.began;
        let budget = self.settings.budget;
        let used = [
            (Measure::Objects, mirror.len() as f64, budget.objects),
            (Measure::Bytes, mirror.bytes() as f64, budget.bytes),
            (Measure::ChangesPerSecond, self.meter.changes_per_second(since), budget.changes_per_second),
            (Measure::BytesPerSecond, self.meter.bytes_per_second(since), budget.bytes_per_second),
        ];
        let used = used.map(|(measure, used, limit)| BudgetUse {
            measure: measure.as_str().into(),
            used: (used * 10.0).round() / 10.0,
            limit,
        });
        LinkFlow {
            lag_ms: self.lag(now).map(millis),
            rtt_ms: self.rtt.map(millis),
            bytes: mirror.bytes(),
            wanted: mirror.interest().named(),
            budget: used.into(),
        }
    }

    /// How old what is known may be.
    fn lag(&self, now: Instant) -> Option<Duration> {
        if !self.greeted {
            return self.heard.map(|heard| now - heard);
        }
        let (at, behind) = self.beat?;
        let late = (now - at).saturating_sub(2 * BEAT);
        Some(self.rtt? / 2 + behind + late)
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::exchange::Held;

    fn pulse() -> Pulse {
        Pulse::new(LinkSettings { thaw: Duration::from_secs(30), ..LinkSettings::default() })
    }

    fn lag(pulse: &Pulse) -> Option<f64> {
        pulse.flow(&Mirror::trusting(Held::default())).lag_ms
    }

    #[tokio::test(start_paused = true)]
    async fn states() {
        let mut pulse = pulse();
        let second = || tokio::time::advance(Duration::from_secs(1));
        assert_eq!(pulse.state().0, LinkState::Connecting);
        pulse.handle_greeting();
        second().await;
        assert_eq!(pulse.state(), (LinkState::Connected, Duration::from_secs(1)));
        let overrun = Overrun { measure: Measure::Objects, limit: 1, found: 2 };
        for pause in [30, 60, 120, 240, 480, 960, 960] {
            pulse.freeze(overrun);
            pulse.handle_break();
            assert_eq!(pulse.state().0, LinkState::Frozen);
            let (_, until) = pulse.frozen().unwrap();
            assert_eq!(until - Instant::now(), Duration::from_secs(pause));
            tokio::time::advance(Duration::from_secs(pause)).await;
            assert!(pulse.frozen().is_none(), "it may be tried");
            assert_eq!(pulse.state().0, LinkState::Frozen, "but is not well yet");
        }
        // A stream that gets through with everything is.
        pulse.handle_greeting();
        pulse.handle_ping(2 * BEAT);
        assert_eq!(pulse.state().0, LinkState::Frozen);
        pulse.handle_ping(Duration::ZERO);
        assert_eq!(pulse.state().0, LinkState::Connected);
        pulse.sever(true);
        assert_eq!(pulse.state().0, LinkState::Removed);
    }

    #[tokio::test(start_paused = true)]
    async fn lag_is_how_old_what_is_known_may_be() {
        let mut pulse = pulse();
        assert_eq!(lag(&pulse), None);
        pulse.handle_greeting();
        assert_eq!(lag(&pulse), None, "the other side has not said, or is too old to");
        pulse.handle_ping(Duration::from_millis(7));
        pulse.handle_round_trip(Duration::from_millis(20));
        assert_eq!(lag(&pulse), Some(17.0));
        tokio::time::advance(2 * BEAT).await;
        assert_eq!(lag(&pulse), Some(17.0));
        tokio::time::advance(BEAT).await;
        assert_eq!(lag(&pulse), Some(5017.0), "it ought to have asked again");
        pulse.handle_break();
        assert_eq!(lag(&pulse), Some(15_000.0));
    }
}
