//! How many threads compute, and telling everybody who computes.
//!
//! Three pools would otherwise each choose for themselves: rayon's (our own operations and candle's) takes the CPUs that a
//! whole quota gives, rounded down; candle's matrix products take the machine's physical cores, whatever the container may
//! use of them; and candle's own pool does the same. With more threads than the quota pays for, all of them stand still for
//! the rest of each period, and a step takes twice as long.

mod cgroup;

use std::path::Path;

/// What rayon and candle read.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// The number of threads: `flag`, or for 0 what `RAYON_NUM_THREADS` says, or what this container may use. All pools are
/// told. Call it once, before threads are started.
#[allow(unsafe_code, reason = "the pools can be told by variables only")]
pub(crate) fn claim(flag: usize) -> usize {
    let variable = || std::env::var(VARIABLES[0]).ok()?.parse().ok().filter(|n| *n > 0);
    let threads = if flag > 0 { flag } else { variable().unwrap_or_else(automatic) };
    for name in VARIABLES {
        // SAFETY: the subcommands call this first, when this is the only thread.
        unsafe { std::env::set_var(name, threads.to_string()) };
    }
    threads
}

/// The CPUs that we may run on, or what the quota pays for if that is less.
fn automatic() -> usize {
    choose(cpus(), cgroup::quota(Path::new("/")))
}

/// A part of a CPU is worth a thread.
fn choose(cpus: usize, quota: Option<f64>) -> usize {
    let paid = quota.map_or(cpus, |quota| quota.ceil() as usize);
    paid.min(cpus).max(1)
}

/// CPUs that this process is allowed, which is also how a cpuset shows.
fn cpus() -> usize {
    let allowed = rustix::thread::sched_getaffinity(None).map(|set| set.count() as usize);
    allowed.unwrap_or_else(|_| std::thread::available_parallelism().map_or(1, Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_cpu_is_a_thread_and_there_is_always_one() {
        for (cpus, quota, want) in [
            (8, None, 8),
            (8, Some(2.0), 2),
            (8, Some(2.1), 3),
            (8, Some(0.25), 1),
            (2, Some(16.0), 2),
            (1, Some(0.0), 1),
            (0, None, 1),
        ] {
            assert_eq!(choose(cpus, quota), want, "{cpus} CPUs, quota {quota:?}");
        }
        assert!(automatic() >= 1 && automatic() <= cpus());
    }
}
