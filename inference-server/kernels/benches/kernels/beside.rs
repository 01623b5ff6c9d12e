//! Wall time that is printed beside the best that it could be.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// Criterion's wall time; its rates say how far they are from a limit.
#[derive(Clone, Default)]
pub(crate) struct Beside {
    limit: Rc<Cell<f64>>,
}

impl Beside {
    /// What the benchmark that comes could reach: GFLOP/s where its throughput are elements, GB/s where it is bytes.
    pub(crate) fn set(&self, limit: f64) {
        self.limit.set(limit);
    }

    /// The limit, and none from now on.
    pub(crate) fn take(&self) -> Option<f64> {
        Some(self.limit.take()).filter(|limit| *limit > 0.0)
    }
}

impl Measurement for Beside {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        WallTime.start()
    }

    fn end(&self, start: Instant) -> Duration {
        WallTime.end(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        WallTime.add(a, b)
    }

    fn zero(&self) -> Duration {
        WallTime.zero()
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Beside {
    fn format_throughput(&self, throughput: &Throughput, nanoseconds: f64) -> String {
        // In a nanosecond: billions in a second.
        let rate = |n: u64| n as f64 / nanoseconds;
        let percent = |rate: f64| 100.0 * rate / self.limit.get();
        match *throughput {
            Throughput::Elements(flop) => {
                let rate = rate(flop);
                format!("{rate:.0} GFLOP/s ({:.0} % of the peak)", percent(rate))
            }
            Throughput::Bytes(bytes) => {
                let rate = rate(bytes);
                format!("{rate:.1} GB/s ({:.0} % of a copy)", percent(rate))
            }
            _ => WallTime.formatter().format_throughput(throughput, nanoseconds),
        }
    }

    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_throughputs(typical, throughput, values)
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(values)
    }
}
