//! A constant stream of requests, from several connections, kept and new; every one of them is accounted for.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::{
    failure::{Outcome, fail},
    http::{Answer, Ask, Http},
};

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answered with a picture.
    pub(crate) pictures: usize,
    /// Answered "not now", and sent again later, as any client does.
    pub(crate) put_off: usize,
    /// Ids of those that were not answered as they should, when, and how.
    pub(crate) failed: Vec<(String, Duration, String)>,
}

/// A stream that runs.
pub(crate) struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    url: String,
    began: Instant,
    tally: Mutex<Tally>,
    ending: AtomicBool,
    number: AtomicU64,
    patience: u64,
}

/// How a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// All requests over one connection, for as long as the server keeps it.
    Keeps,
    /// Each request over a connection of its own.
    Renews,
}

impl Load {
    /// Starts one worker for each client; each sends its next request when the last is answered.
    pub(crate) fn start(url: &str, clients: &[Client], patience: u64) -> Self {
        let shared = Arc::new(Shared {
            url: url.to_owned(),
            began: Instant::now(),
            tally: Mutex::default(),
            ending: AtomicBool::new(false),
            number: AtomicU64::new(0),
            patience,
        });
        let workers = clients.iter().map(|c| tokio::spawn(Arc::clone(&shared).work(*c))).collect();
        Self { shared, workers }
    }

    /// Pictures until now.
    pub(crate) fn pictures(&self) -> usize {
        self.shared.tally().pictures
    }

    /// Ends when every request is answered, and gives the account.
    pub(crate) async fn end(self) -> Outcome<Tally> {
        self.shared.ending.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await?;
        }
        Ok(std::mem::take(&mut self.shared.tally()))
    }

    /// The same; fails if a single request failed, or if there were hardly any.
    pub(crate) async fn end_without_a_failure(self) -> Outcome<Tally> {
        let tally = self.end().await?;
        if let Some((id, when, why)) = tally.failed.first() {
            let all = tally.failed.len();
            fail!(
                "{all} of {} requests failed; the first, {id}, after {:.1} s: {why}",
                all + tally.pictures,
                when.as_secs_f64()
            );
        }
        if tally.pictures < 10 {
            fail!("only {} pictures were drawn: that shows nothing", tally.pictures);
        }
        Ok(tally)
    }
}

impl Shared {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(self: Arc<Self>, client: Client) {
        let mut http = Http::new(&self.url, client == Client::Keeps).patience(self.patience);
        while !self.ending.load(Ordering::Relaxed) {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let id = format!("load-{}-{number}", std::process::id());
            let began = self.began.elapsed();
            let ask = Ask { id: Some(id.clone()), ..Ask::picture(small(number)) };
            loop {
                let answer = http.send(&ask).await;
                match answer.as_ref().map(|a| (a.is_png(), a.retry_after())) {
                    Ok((true, _)) => self.tally().pictures += 1,
                    Ok((_, Some(wait))) => {
                        self.tally().put_off += 1;
                        tokio::time::sleep(wait.min(Duration::from_secs(5))).await;
                        continue;
                    }
                    _ => {
                        let why = answer.map_or_else(|e| e.to_string(), |a: Answer| a.to_string());
                        self.tally().failed.push((id, began, why));
                        // A client that fails at once must not do so a thousand times a second.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                break;
            }
        }
    }
}

/// A picture that is drawn quickly.
pub(crate) fn small(seed: u64) -> serde_json::Value {
    json!({"prompt": "a red apple", "seed": seed, "steps": 5, "width": 64, "height": 64})
}
