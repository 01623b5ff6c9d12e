//! Waiting for the cluster.

use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

const PAUSE: Duration = Duration::from_millis(200);

/// Looks again and again until there is something, and gives it. A look that fails is one that found nothing: the cluster
/// may be busy; its words are told if nothing is found at all.
pub(crate) async fn until<T, F>(what: &str, seconds: u64, mut look: impl FnMut() -> F) -> Outcome<T>
where
    F: Future<Output = Outcome<Option<T>>>,
{
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let problem = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            Err(Failure(why)) => format!(": {why}"),
        };
        if Instant::now() > end {
            return Err(Failure(format!("{what}: not within {seconds} s{problem}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sleeps.
pub(crate) async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
