//! Medians with intervals, and the clock of a thread's own work.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How many samples of samples an interval is made from.
const RESAMPLES: usize = 1000;

/// A median, and between what it lies with 95 % (bootstrap, percentiles).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Median {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Median {
    pub(crate) fn of(values: &[f64]) -> Self {
        // The same numbers give the same interval.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |bound: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as usize % bound
        };
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| median(values.iter().map(|_| values[random(values.len())]).collect()))
            .collect();
        medians.sort_by(f64::total_cmp);
        let at = |part: f64| medians[(part * (RESAMPLES - 1) as f64).round() as usize];
        Self { value: median(values.to_vec()), low: at(0.025), high: at(0.975) }
    }

    pub(crate) fn text(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$} – {:.digits$})", self.value, self.low, self.high)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

/// The value below which this part of them is. Sorts them.
pub(crate) fn percentile(values: &mut [u32], part: f64) -> f64 {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values.get((part * last as f64).round() as usize).copied().map_or(f64::NAN, f64::from)
}

/// What the calling thread has had of the processor, in the kernel and out of it.
pub(crate) fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every kernel has this clock").into()
}

/// What all processors have done since the machine was started, interrupts and the network stack's own threads included.
/// As exact as /proc/stat is: 10 ms.
pub(crate) fn machine_time() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").expect("read /proc/stat");
    let line =
        text.lines().next().and_then(|line| line.strip_prefix("cpu ")).expect("the sum over processors");
    let ticks: Vec<u64> = line.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    // user, nice, system, idle, iowait, irq, softirq; what follows is others' time, or counted already.
    Duration::from_millis(10 * (ticks[..3].iter().sum::<u64>() + ticks[5] + ticks[6]))
}

/// The processor time of another thread of this process, as of when it ran the last time.
pub(crate) fn cpu_time_of(thread: &str) -> Duration {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds"))
}
