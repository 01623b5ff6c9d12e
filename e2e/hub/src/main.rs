//! The hub as a program, for tests that start programs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diffusion_test_hub::{Access, Faults, Hub, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// Serves a folder with the protocol of the Hugging Face hub. ROOT/org/name is the branch main of org/name,
/// ROOT/org/name@v2 its branch v2. Point HF_ENDPOINT at it.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The folder.
    #[arg(long)]
    root: PathBuf,
    /// Address of the API; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address that the API redirects to for large files.
    #[arg(long, default_value = "127.0.0.1:0")]
    cdn_listen: SocketAddr,
    /// How clients reach that address [default: by the host that they reached the API by].
    #[arg(long)]
    cdn_url: Option<String>,
    /// Only who has this token (hf_...) finds anything.
    #[arg(long, conflicts_with = "gated")]
    require_token: Option<String>,
    /// Only who has this token (hf_...) gets files; the listing is for everybody.
    #[arg(long)]
    gated: Option<String>,
    /// Break file bodies after so many bytes ...
    #[arg(long)]
    break_after: Option<u64>,
    /// ... so many times.
    #[arg(long, default_value_t = 1)]
    break_times: usize,
    /// Bytes a second of each file body.
    #[arg(long)]
    rate: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> std::io::Result<()> {
    if !args.root.is_dir() {
        return Err(std::io::Error::other(format!(
            "--root {}: there is no such folder",
            args.root.display()
        )));
    }
    let access = match (args.require_token, args.gated) {
        (Some(token), _) => Access::Private(token),
        (None, Some(token)) => Access::Gated(token),
        (None, None) => Access::Open,
    };
    let settings = Settings {
        listen: args.listen,
        cdn_listen: args.cdn_listen,
        cdn_url: args.cdn_url,
        access,
        ..Settings::new(args.root)
    };
    let breaks = args.break_after.map(|bytes| (args.break_times, bytes));
    let faults = Faults { breaks, rate: args.rate, ..Faults::default() };
    // The first process of a container gets no default actions for signals.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hub = Hub::start(settings, faults).await?;
    println!("HF_ENDPOINT={}", hub.url());
    println!("CDN={}", hub.cdn);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
