//! HTTP in front of the engine.

mod accept;
mod auth;
mod body;
mod generate;
mod health;
mod io;
mod log;
mod problem;
mod progress;
mod routes;
mod server;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use auth::Keys;
pub use routes::{admin, public};
pub use server::{Connections, Server};

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::params::{Defaults, Limits};

/// What the HTTP side is told by flags.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limits of one request.
    pub limits: Limits,
    /// What a request gets that does not say.
    pub defaults: Defaults,
    /// Bytes of a body without a picture.
    pub max_body: usize,
    /// Bytes of a body with one.
    pub max_image_body: usize,
    /// Bytes of all bodies together.
    pub body_memory: usize,
    /// Time to receive a body.
    pub body_timeout: Duration,
    /// Time from acceptance to picture.
    pub request_timeout: Duration,
    /// A thread that is busy with one thing for longer is stuck.
    pub stall_timeout: Duration,
    /// Whether prompts are logged.
    pub log_prompts: bool,
}

/// Which model it is, for `/status`.
#[derive(Debug, Clone)]
pub struct Served {
    /// Where it is from: what `fetch` was asked for, or else `--model`.
    pub model: String,
    /// The commit, when `fetch` got it.
    pub revision: Option<String>,
}

/// What handlers share.
pub struct App {
    engine: Engine,
    metrics: Arc<Metrics>,
    settings: Settings,
    /// Who may come in; nothing when everybody may.
    keys: Option<Arc<Keys>>,
    served: Served,
    bodies: body::Budget,
    /// Pictures that are decoded or encoded at one time: they take the engine's cores.
    codecs: Semaphore,
}

impl App {
    /// Handlers in front of `engine`.
    pub fn new(
        engine: Engine,
        metrics: Arc<Metrics>,
        settings: Settings,
        keys: Option<Arc<Keys>>,
        served: Served,
    ) -> Arc<Self> {
        let bodies = body::Budget::new(settings.body_memory);
        Arc::new(Self { engine, metrics, settings, keys, served, bodies, codecs: Semaphore::new(2) })
    }

    /// Runs a codec off the threads that serve sockets.
    async fn codec<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, problem::Problem> {
        let gone = |_| problem::Problem::internal("a picture could not be encoded or decoded");
        let _turn = self.codecs.acquire().await.map_err(|_| gone(()))?;
        tokio::task::spawn_blocking(work).await.map_err(|_| gone(()))
    }
}
