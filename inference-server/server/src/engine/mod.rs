//! The one thread that owns the model, and the door in front of it.
//!
//! [`Engine::submit`] lets a request in or refuses it at once, by the work that is already inside ([`ledger`]). The
//! thread ([`worker`]) advances requests of one size together, step by step ([`lanes`]), and leaves out those whose
//! [`Ticket`] was dropped. Whatever happens on the thread, every ticket gets an answer.

mod estimate;
mod lanes;
mod ledger;
mod model;
mod status;
mod worker;

use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diffusion_pipeline::{FieldError, LoadError, ModelInfo, Picture, Request, Timings};
use tokio::sync::{oneshot, watch};

pub use ledger::{Bounds, Refused};
pub use model::{Model, PipelineModel};
pub use status::Phase;

use crate::metrics::Metrics;
use ledger::{Ledger, Permit};
use status::Status;

/// How the engine works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests of one size that are advanced together.
    pub max_batch: usize,
    /// What is let in.
    pub bounds: Bounds,
    /// After so long without a request, memory that pictures needed goes back to the system.
    pub rest_after: Duration,
}

/// A finished picture and where its time went.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The picture.
    pub picture: Picture,
    /// From acceptance to the first work on it.
    pub queued: Duration,
    /// The pipeline's timings.
    pub timings: Timings,
    /// Time that went into its previews.
    pub previews: Duration,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// Why an accepted request has no picture.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The model cannot draw this.
    #[error("{0}")]
    Request(FieldError),
    /// The pipeline failed.
    #[error("{0}")]
    Pipeline(String),
    /// The pipeline panicked.
    #[error("the picture could not be drawn because of a bug in the server; its log says more")]
    Panicked,
    /// The engine is gone.
    #[error("the engine has stopped")]
    Stopped,
}

/// Why the engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The first picture, or one after a panic, could not be drawn.
    #[error("the warm-up picture could not be drawn: {0}")]
    WarmUp(String),
    /// The thread itself failed.
    #[error("the engine's thread ended: {0}")]
    Thread(String),
}

/// How far a request is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether work on it has begun.
    pub started: bool,
    /// UNet evaluations done.
    pub done: usize,
    /// UNet evaluations in all; 0 while it waits.
    pub total: usize,
}

/// A picture that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// JPEG, which is small: a client that does not read leaves it in memory.
    pub file: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// UNet evaluations done.
    pub done: usize,
    /// UNet evaluations in all.
    pub total: usize,
}

/// An accepted request. Dropping it cancels: the request leaves at the next step.
pub struct Ticket {
    progress: watch::Receiver<Progress>,
    previews: PreviewReceiver,
    reply: oneshot::Receiver<Result<Drawn, Failure>>,
    permit: Permit,
    /// Seconds of work ahead of it when it was accepted.
    pub ahead: Duration,
}

impl Ticket {
    /// Waits for the picture.
    ///
    /// # Errors
    /// When it could not be drawn.
    pub async fn picture(&mut self) -> Result<Drawn, Failure> {
        (&mut self.reply).await.unwrap_or(Err(Failure::Stopped))
    }

    /// Its previews, as they are drawn, all of them before the picture; once.
    pub fn previews(&mut self) -> PreviewReceiver {
        let (_, closed) = tokio::sync::mpsc::channel(1);
        std::mem::replace(&mut self.previews, closed)
    }

    /// How far it is, as it goes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The place in the queue is free at once, not only when the engine comes round to look.
        self.permit.release();
    }
}

/// Where previews arrive.
pub type PreviewReceiver = tokio::sync::mpsc::Receiver<Preview>;

/// What goes to the thread.
struct Order {
    request: Request,
    /// How many previews are wanted, and where they go: there is room for all, so that the thread never waits.
    previews: usize,
    preview: tokio::sync::mpsc::Sender<Preview>,
    accepted: Instant,
    permit: Permit,
    progress: watch::Sender<Progress>,
    reply: oneshot::Sender<Result<Drawn, Failure>>,
}

/// What the thread and its handles share.
struct Shared {
    ledger: Ledger,
    status: Status,
    info: OnceLock<ModelInfo>,
    metrics: Arc<Metrics>,
}

/// Handle to the engine.
#[derive(Clone)]
pub struct Engine {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

impl Engine {
    /// Starts the thread, which loads the model, warms it up, and serves until every handle is gone.
    ///
    /// # Errors
    /// When the thread could not be started.
    pub fn start<M, F>(
        load: F,
        options: Options,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, JoinHandle<Result<(), EngineError>>)>
    where
        M: Model,
        F: FnOnce() -> Result<M, LoadError> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            ledger: Ledger::new(options.bounds.clone(), Arc::clone(&metrics)),
            status: Status::new(),
            info: OnceLock::new(),
            metrics,
        });
        let (sender, receiver) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || {
            let status = Arc::clone(&for_thread);
            let end = worker::run(load, &options, for_thread, receiver);
            if let Err(error) = &end {
                status.status.set(Phase::Failed(error.to_string()));
            }
            end
        })?;
        Ok((Self { orders: sender, shared }, thread))
    }

    /// The model, once it is loaded.
    pub fn info(&self) -> Option<&ModelInfo> {
        self.shared.info.get()
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// When it has to come back later, and how much later.
    pub fn submit(&self, request: Request) -> Result<Ticket, Refused> {
        self.submit_with_previews(request, 0)
    }

    /// Lets a request in that wants so many previews.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_with_previews(&self, request: Request, previews: usize) -> Result<Ticket, Refused> {
        self.shared.status.check(|| self.shared.ledger.ahead())?;
        let (permit, ahead) = self.shared.ledger.admit(&request, previews)?;
        // Draining may have begun between the check and the admission; whoever drains looks at the ledger afterwards.
        if let Err(refused) = self.shared.status.check(|| ahead) {
            permit.release();
            return Err(refused);
        }
        let (progress, watch_progress) = watch::channel(Progress::default());
        let (reply, receive_reply) = oneshot::channel();
        let (preview, receive_preview) = tokio::sync::mpsc::channel(previews.max(1));
        let ticket = Ticket {
            progress: watch_progress,
            previews: receive_preview,
            reply: receive_reply,
            permit: permit.clone(),
            ahead,
        };
        let order = Order { request, previews, preview, accepted: Instant::now(), permit, progress, reply };
        // If the thread is gone, the order and with it the reply's sender are dropped: the ticket gets `Stopped`.
        let _ = self.orders.send(order);
        Ok(ticket)
    }

    /// The phase, as it changes.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.shared.status.phase()
    }

    /// Whether pictures can be drawn now, or why not.
    ///
    /// # Errors
    /// The reason.
    pub fn ready(&self) -> Result<(), Refused> {
        self.shared.status.check(|| self.shared.ledger.ahead())
    }

    /// How long the thread has been busy with one thing (a load, a step, a picture).
    pub fn busy_for(&self) -> Duration {
        self.shared.status.busy_for()
    }

    /// Lets nothing in from now on.
    pub fn drain(&self) {
        self.shared.status.drain();
    }

    /// Whether [`Self::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.shared.status.is_draining()
    }

    /// Accepted requests that are not finished.
    pub fn unfinished(&self) -> usize {
        self.shared.ledger.len()
    }

    /// Waits until every accepted request is finished or cancelled.
    pub async fn idle(&self) {
        self.shared.ledger.idle().await;
    }

    /// How long a picture takes on this machine, when it is alone; nothing before the warm-up has told.
    pub fn estimate(&self, request: &Request) -> Option<f64> {
        self.shared.ledger.estimate(request)
    }

    /// An honest guess of how long the accepted work takes.
    pub fn ahead(&self) -> Duration {
        self.shared.ledger.ahead()
    }
}

#[cfg(test)]
mod tests;
