//! `diffusion-server fetch`: a model of the Hugging Face hub into a folder that can be served.
//!
//! The hub says which commit a revision is and which files it has ([`hub`]); what the pipeline reads of them is chosen
//! ([`plan`]), downloaded beside its place and checked ([`download`]); and when all is there it is put in place at once and
//! marked ([`folder`]). Whatever interrupts this, the next run goes on.

mod args;
mod connect;
mod download;
mod error;
mod folder;
mod hash;
mod http;
mod hub;
mod marker;
mod plan;
mod progress;
mod retry;
mod run;
mod source;
mod url;

use std::sync::Arc;
use std::time::Duration;

use diffusion_pipeline::checkpoint::layout::Variant;

use crate::cli::LogFormat;
use crate::serve::Signals;

pub use args::FetchArgs;
pub use error::FetchError;
pub use marker::{MarkedFile, Marker};

use folder::Folder;
use http::Http;
use hub::Hub;
use progress::Progress;
use run::Run;
use source::HubSource;

/// Runs the subcommand.
///
/// # Errors
/// Says what is wrong and what to do.
pub fn run(args: &FetchArgs) -> Result<(), FetchError> {
    if args.log_format == LogFormat::Json {
        crate::logging::start(LogFormat::Json, "info").map_err(FetchError::Flag)?;
    }
    let given = args.source.trim().to_owned();
    let progress = Arc::new(Progress::new(given, args.log_format, args.progress_file.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| FetchError::Flag(format!("starting threads: {e}")))?;
    let result = runtime.block_on(async {
        let mut signals =
            Signals::new().map_err(|e| FetchError::Flag(format!("listening for signals: {e}")))?;
        tokio::select! {
            result = fetch(args, &progress) => result,
            () = progress.keep_reporting() => Ok(()),
            name = signals.next() => Err(FetchError::Stopped(name)),
        }
    });
    let error = result.as_ref().err().map(ToString::to_string);
    progress.end(error.as_deref());
    // What is being hashed is of no use any more.
    runtime.shutdown_background();
    result
}

async fn fetch(args: &FetchArgs, progress: &Arc<Progress>) -> Result<(), FetchError> {
    let source = HubSource::parse(&args.source)?;
    let endpoint = hub::endpoint(&args.endpoint())?;
    let folder = Folder { root: args.output.clone() };
    let wish = Wish { source, variant: Variant::for_precision(args.precision) };
    let there = folder.marker()?.filter(|marker| wish.is(marker));
    if let Some(marker) = there.as_ref().filter(|_| wish.source.is_pinned()) {
        wish.is_there(marker, &folder, progress);
        return Ok(());
    }
    let http = Http::new(endpoint.clone(), args.token().as_deref(), Duration::from_secs(args.idle_timeout))?;
    let hub = Arc::new(Hub::new(http, &endpoint, wish.source.clone(), args.retries));
    let commit = match (hub.commit(progress).await, &there) {
        (Ok(commit), _) => commit,
        // A hub that is down does not make a model worse that is complete.
        (Err(FetchError::GivenUp { problem, .. }), Some(marker)) => {
            progress.message(&format!("{problem}; going on with what is there, {}", marker.revision));
            wish.is_there(marker, &folder, progress);
            return Ok(());
        }
        (Err(error), _) => return Err(error),
    };
    progress.revision(&commit);
    if let Some(marker) = there.filter(|marker| marker.revision == commit) {
        wish.is_there(&marker, &folder, progress);
        return Ok(());
    }
    let _lock = folder.lock(progress).await?;
    // Whoever had the lock may have done our work.
    let marker = folder.marker()?.filter(|marker| wish.is(marker) && marker.revision == commit);
    if let Some(marker) = marker {
        wish.is_there(&marker, &folder, progress);
        return Ok(());
    }
    let run = Run { hub, wish: &wish, commit: &commit, folder: &folder, progress };
    run.whole().await?;
    progress.message(&format!(
        "{} ({commit}) is in {}: {}",
        args.source,
        folder.root.display(),
        progress.summary()
    ));
    Ok(())
}

/// What is to be there in the end.
struct Wish {
    source: HubSource,
    variant: Variant,
}

impl Wish {
    /// Whether a set is of our source, at whatever commit.
    fn is(&self, marker: &Marker) -> bool {
        marker.source == self.source.to_string()
            && marker.variant == self.variant.name()
            && (!self.source.is_pinned() || marker.revision == self.source.revision)
    }

    fn is_there(&self, marker: &Marker, folder: &Folder, progress: &Progress) {
        progress.revision(&marker.revision);
        progress.expect(marker.files.len() as u64, marker.bytes());
        progress.came(marker.bytes());
        marker.files.iter().for_each(|_| progress.file_done());
        progress.message(&format!(
            "{} ({}) is in {} already",
            self.source,
            marker.revision,
            folder.root.display()
        ));
    }
}
