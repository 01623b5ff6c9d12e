//! The flags of `fetch`.

use std::path::PathBuf;

use clap::Args;
use diffusion_pipeline::Precision;

use crate::cli::{LogFormat, precision};

/// `fetch`.
#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// The model: hf://ORGANISATION/NAME, with @REVISION (a branch, a tag or a commit) for another one than main.
    pub source: String,
    /// Folder to put it in; it is made when it is not there.
    #[arg(short, long, env = "DIFFUSION_OUTPUT", value_name = "DIR")]
    pub output: PathBuf,
    /// Type that the weights will be loaded as: auto, f32, bf16 or f16. For bf16 and f16 the half-size files are taken
    /// where there are some.
    #[arg(long, env = "DIFFUSION_PRECISION", default_value = "auto", value_name = "TYPE", value_parser = precision)]
    pub precision: Precision,
    /// The hub [default: HF_ENDPOINT, else https://huggingface.co].
    #[arg(long, env = "DIFFUSION_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// Access token, for private and gated models [default: HF_TOKEN]. A variable is better: other users of the machine
    /// can see flags.
    #[arg(long, env = "DIFFUSION_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File that says how far it is, as JSON.
    #[arg(long, env = "DIFFUSION_PROGRESS_FILE", value_name = "PATH")]
    pub progress_file: Option<PathBuf>,
    /// Times that a request is tried again without a byte having come, when the hub is busy or the connection breaks.
    #[arg(long, env = "DIFFUSION_RETRIES", default_value_t = 6, value_name = "N")]
    pub retries: u32,
    /// Seconds without a byte after which a connection is given up and tried again.
    #[arg(long, env = "DIFFUSION_IDLE_TIMEOUT", default_value_t = 60, value_name = "SECONDS", value_parser = crate::cli::seconds)]
    pub idle_timeout: u64,
    /// Form of the progress: text, on standard error, or json, one object a line on standard output.
    #[arg(long, env = "DIFFUSION_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

impl FetchArgs {
    /// The flag, else the variable of the hub's own tools, else the hub.
    pub(super) fn endpoint(&self) -> String {
        given(self.endpoint.as_deref(), "HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into())
    }

    /// The flag, else the variable of the hub's own tools.
    pub(super) fn token(&self) -> Option<String> {
        given(self.token.as_deref(), "HF_TOKEN")
    }
}

/// An empty value is none: that is what an optional Secret gives.
fn given(flag: Option<&str>, variable: &str) -> Option<String> {
    let variable = std::env::var(variable).ok();
    let values = flag.into_iter().chain(variable.as_deref());
    values.map(str::trim).find(|value| !value.is_empty()).map(str::to_owned)
}
