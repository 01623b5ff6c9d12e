//! `diffusion-server serve`: engine, sockets and signals put together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diffusion_pipeline::{LoadError, LoadOptions, Source};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::ServeArgs;
use crate::engine::{Bounds, Engine, EngineError, Options, PipelineModel};
use crate::fetch::Marker;
use crate::http::{App, Connections, Keys, Served, Server, Settings, admin, public};
use crate::metrics::Metrics;
use crate::params::{Defaults, Limits};

/// Threads that serve sockets; the cores are the engine's.
const IO_THREADS: usize = 2;
/// Time to send the last answers when the engine has failed.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A few requests in a row find the memory of the one before; what stays idle for longer should cost the node nothing.
const REST_AFTER: Duration = Duration::from_secs(5);
/// Probes and scrapes at one time.
const ADMIN_CONNECTIONS: usize = 64;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A flag that cannot be used.
    #[error("{0}")]
    Flag(String),
    /// The model.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The engine.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// A socket.
    #[error("{flag} {address}: {source}")]
    Listen {
        /// The flag.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Something of the system.
    #[error("{what}: {source}")]
    System {
        /// What we wanted.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The grace period was too short.
    #[error("--grace-seconds {seconds}: {lost} accepted requests were not finished in time and are lost")]
    Grace {
        /// The period.
        seconds: u64,
        /// Requests.
        lost: usize,
    },
}

/// Runs the subcommand until a signal or a failure ends it.
///
/// # Errors
/// Names the flag, file or part of the model that is wrong.
pub fn run(args: &ServeArgs) -> Result<(), ServeError> {
    let threads = crate::threads::claim(args.model.threads);
    crate::logging::start(args.log.log_format, &args.log.log).map_err(ServeError::Flag)?;
    let source = Source::parse(&args.model.model)?;
    let keys = args.access.api_keys_file.as_deref().map(Keys::read);
    let keys = keys.transpose().map_err(ServeError::Flag)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .enable_all()
        .build()
        .map_err(|source| ServeError::System { what: "starting threads".into(), source })?;
    let result = runtime.block_on(serve(args, source, keys, threads));
    // What is still on a blocking thread (a picture being decoded) belongs to nobody any more.
    runtime.shutdown_background();
    result
}

async fn serve(
    args: &ServeArgs,
    source: Source,
    keys: Option<Arc<Keys>>,
    threads: usize,
) -> Result<(), ServeError> {
    let system = |what: &str| {
        let what = what.to_owned();
        move |source| ServeError::System { what, source }
    };
    // Before anything else, so that no signal finds nobody.
    let mut signals = Signals::new().map_err(system("listening for signals"))?;
    let (listener, address) = bind("--listen", args.listen.listen).await?;
    let (admin_listener, admin_address) = bind("--admin-listen", args.listen.admin_listen).await?;

    let metrics = Arc::new(Metrics::new(&source.name()));
    metrics.threads(threads);
    tracing::info!(threads, "computing");
    let served = served(&source);
    let load_options = LoadOptions { precision: args.model.precision };
    let load = move || PipelineModel::load(&source, &load_options);
    let (engine, thread) = Engine::start(load, engine_options(args), Arc::clone(&metrics))
        .map_err(system("starting the engine"))?;
    let (ended, mut engine_ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let end = thread.join().unwrap_or_else(|_| Err(EngineError::Thread("it panicked".into())));
        // The receiver is gone when the server ends anyway.
        let _ = ended.send(end);
    });

    if let Some(keys) = &keys {
        tokio::spawn(Arc::clone(keys).follow());
    }
    let app = App::new(engine.clone(), Arc::clone(&metrics), settings(args), keys, served);
    let connections = connections(args);
    let admin_connections = Connections { max: ADMIN_CONNECTIONS, ..connections.clone() };
    let handler = {
        let app = Arc::clone(&app);
        move |request| public(Arc::clone(&app), request)
    };
    let public_server = Server::start(listener, connections, Arc::clone(&metrics), handler);
    // Probes are not counted as clients.
    let uncounted = Arc::new(Metrics::new(""));
    let admin_server = Server::start(admin_listener, admin_connections, uncounted, move |request| {
        admin(Arc::clone(&app), request)
    });
    if let Some(path) = &args.listen.port_file {
        let what = format!("--port-file {}", path.display());
        write_port_file(path, address, admin_address)
            .map_err(|source| ServeError::System { what, source })?;
    }
    tracing::info!(%address, %admin_address, "listening");

    tokio::select! {
        name = signals.next() => tracing::info!(signal = name, unfinished = engine.unfinished(), "draining"),
        end = &mut engine_ended => {
            // Its requests have their answers by now; they only have to be sent.
            let _ = tokio::time::timeout(LAST_WORDS, public_server.close()).await;
            return Err(failure(end).into());
        }
    }
    engine.drain();
    public_server.drain();
    let mut finished = std::pin::pin!(async {
        // New requests are still answered, with 503, while the accepted ones are drawn.
        engine.idle().await;
        public_server.close().await;
    });
    let seconds = args.listen.grace_seconds;
    tokio::select! {
        () = &mut finished => {
            tracing::info!("everything is finished");
            drop(admin_server);
            Ok(())
        }
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {
            Err(ServeError::Grace { seconds, lost: engine.unfinished() })
        }
        end = &mut engine_ended => {
            let _ = tokio::time::timeout(LAST_WORDS, finished).await;
            Err(failure(end).into())
        }
        name = signals.next() => {
            tracing::warn!(signal = name, unfinished = engine.unfinished(), "ending at once");
            // Not by returning: the engine may be in the middle of a long step. 128 + SIGTERM is what a shell would say.
            std::process::exit(143)
        }
    }
}

/// Why the engine ended: it never does without a reason while there are handles to it.
fn failure(end: Result<Result<(), EngineError>, tokio::sync::oneshot::error::RecvError>) -> EngineError {
    match end {
        Ok(Err(error)) => error,
        _ => EngineError::Thread("for no known reason".into()),
    }
}

/// SIGTERM from the kubelet, SIGINT from a person.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let wrong = |source| ServeError::Listen { flag, address, source };
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let bound = listener.local_addr().map_err(wrong)?;
    Ok((listener, bound))
}

/// Complete or not there at all: whoever waits for it may read it at once.
fn write_port_file(path: &Path, address: SocketAddr, admin: SocketAddr) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    std::fs::write(&unfinished, format!("LISTEN={address}\nADMIN_LISTEN={admin}\n"))?;
    std::fs::rename(&unfinished, path)
}

/// Where the model is from, as far as it says so.
fn served(source: &Source) -> Served {
    let marker = match source {
        // Without it the model is as good.
        Source::Directory(folder) => Marker::read(folder).ok().flatten(),
        Source::Bundled(_) => None,
    };
    match marker {
        Some(marker) => Served { model: marker.source, revision: Some(marker.revision) },
        None => Served { model: source.to_string(), revision: None },
    }
}

fn engine_options(args: &ServeArgs) -> Options {
    let bounds = Bounds {
        max_queue: args.queue.max_queue,
        max_queue_time: Duration::from_secs(args.queue.max_queue_seconds),
    };
    Options { max_batch: args.queue.max_batch, bounds, rest_after: REST_AFTER }
}

fn connections(args: &ServeArgs) -> Connections {
    Connections {
        max: args.listen.max_connections,
        header_timeout: Duration::from_secs(args.listen.header_timeout),
        write_timeout: Duration::from_secs(args.listen.write_timeout),
    }
}

fn settings(args: &ServeArgs) -> Settings {
    let (limits, defaults) = (&args.limits, args.defaults.clone());
    Settings {
        limits: Limits {
            steps: limits.max_steps,
            pixels: limits.max_pixels,
            prompt_chars: limits.max_prompt_chars,
            image_pixels: limits.max_image_pixels,
        },
        defaults: Defaults {
            negative_prompt: defaults.default_negative_prompt,
            steps: defaults.default_steps,
            guidance_scale: defaults.default_guidance_scale,
            width: defaults.default_width,
            height: defaults.default_height,
            scheduler: defaults.default_scheduler,
            metadata: defaults.no_metadata.then_some(false),
        },
        max_body: limits.max_body_bytes,
        max_image_body: limits.max_image_body_bytes.max(limits.max_body_bytes),
        body_memory: limits.body_memory_bytes,
        body_timeout: Duration::from_secs(args.listen.body_timeout),
        request_timeout: Duration::from_secs(args.queue.request_timeout),
        stall_timeout: Duration::from_secs(args.queue.stall_timeout),
        log_prompts: args.log.log_prompts,
    }
}
