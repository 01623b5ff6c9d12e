//! The command line. Every flag is also an environment variable, with the flag's name after `DIFFUSION_`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use diffusion_pipeline::{Precision, SchedulerKind};

use crate::fetch::FetchArgs;

/// Draws pictures from text with Stable Diffusion class models.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve POST /generate over HTTP/1.1 and HTTP/2.
    ///
    /// SIGTERM (or Ctrl-C) stops it gently: it reports not ready, takes no new work, finishes what it has accepted and
    /// exits with 0. A second one ends it at once.
    Serve(Box<ServeArgs>),
    /// Draw one picture into a file.
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  diffusion-server generate \"a red apple\" -o apple.png --seed 7"
    )]
    Generate(Box<GenerateArgs>),
    /// Download a model of the Hugging Face hub into a folder.
    ///
    /// Only what is loaded is fetched. A download that was interrupted is gone on with; a folder that is complete is left
    /// as it is. HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are honoured.
    #[command(
        after_help = "Example:\n  diffusion-server fetch hf://CompVis/stable-diffusion-v1-4 -o models/sd\n  \
                            diffusion-server serve --model models/sd"
    )]
    Fetch(Box<FetchArgs>),
}

/// Which model, and how it is loaded.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// The checkpoint: bundled://emoji (inside this program) or the path of a folder in diffusers layout.
    #[arg(long, env = "DIFFUSION_MODEL", default_value = "bundled://emoji", value_name = "SOURCE")]
    pub model: String,
    /// Type of the weights: auto (f32 on a CPU, f16 on a GPU), f32, bf16, or f16 (GPU only).
    #[arg(long, env = "DIFFUSION_PRECISION", default_value = "auto", value_name = "TYPE", value_parser = precision)]
    pub precision: Precision,
    /// Threads that compute; 0 takes as many as the container's CPU quota pays for, rounded up.
    #[arg(long, env = "DIFFUSION_THREADS", default_value_t = 0, value_name = "N")]
    pub threads: usize,
}

/// Form of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where to listen.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Who is let in.
    #[command(flatten)]
    pub access: AccessArgs,
    /// What is let in.
    #[command(flatten)]
    pub queue: QueueArgs,
    /// Limits of one request.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Defaults of a request.
    #[command(flatten)]
    pub defaults: DefaultArgs,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where to listen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sockets")]
pub struct ListenArgs {
    /// Address of the API; port 0 takes a free one.
    #[arg(long, env = "DIFFUSION_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address of /livez, /readyz, /metrics and /status.
    #[arg(long, env = "DIFFUSION_ADMIN_LISTEN", default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,
    /// File to write the two addresses to once they are bound, as LISTEN=... and ADMIN_LISTEN=... lines.
    #[arg(long, env = "DIFFUSION_PORT_FILE", value_name = "PATH")]
    pub port_file: Option<PathBuf>,
    /// Connections that may be open at one time; more wait to be accepted.
    #[arg(long, env = "DIFFUSION_MAX_CONNECTIONS", default_value_t = 1024, value_name = "N", value_parser = positive)]
    pub max_connections: usize,
    /// Seconds for the head of a request to arrive, and for a connection to stay idle.
    #[arg(long, env = "DIFFUSION_HEADER_TIMEOUT", default_value_t = 30, value_name = "SECONDS", value_parser = seconds)]
    pub header_timeout: u64,
    /// Seconds for the body of a request to arrive.
    #[arg(long, env = "DIFFUSION_BODY_TIMEOUT", default_value_t = 30, value_name = "SECONDS", value_parser = seconds)]
    pub body_timeout: u64,
    /// Seconds that a client may stop reading before its connection is closed.
    #[arg(long, env = "DIFFUSION_WRITE_TIMEOUT", default_value_t = 60, value_name = "SECONDS", value_parser = seconds)]
    pub write_timeout: u64,
    /// Seconds after SIGTERM in which accepted requests have to be finished; what is left then is lost and the exit
    /// status is 1.
    #[arg(long, env = "DIFFUSION_GRACE_SECONDS", default_value_t = 600, value_name = "SECONDS", value_parser = seconds)]
    pub grace_seconds: u64,
}

/// Who is let in.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// File with the keys of the API, one a line; # begins a comment. Requests have to bring one of them, as
    /// Authorization: Bearer KEY. It is read again when it changes.
    #[arg(long, env = "DIFFUSION_API_KEYS_FILE", value_name = "PATH")]
    pub api_keys_file: Option<PathBuf>,
}

/// What is let in.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Queue")]
pub struct QueueArgs {
    /// Requests of one size that are advanced together, step by step.
    #[arg(long, env = "DIFFUSION_MAX_BATCH", default_value_t = 4, value_name = "N", value_parser = positive)]
    pub max_batch: usize,
    /// Requests that may be inside, those being drawn included; beyond it the answer is 429.
    #[arg(long, env = "DIFFUSION_MAX_QUEUE", default_value_t = 64, value_name = "N", value_parser = positive)]
    pub max_queue: usize,
    /// Seconds of work (pixels x steps, at the speed measured on this machine) that may be ahead of a request; beyond it
    /// the answer is 429.
    #[arg(long, env = "DIFFUSION_MAX_QUEUE_SECONDS", default_value_t = 300, value_name = "SECONDS")]
    pub max_queue_seconds: u64,
    /// Seconds from acceptance to picture; a request that takes longer is given up with 503.
    #[arg(long, env = "DIFFUSION_REQUEST_TIMEOUT", default_value_t = 900, value_name = "SECONDS", value_parser = seconds)]
    pub request_timeout: u64,
    /// Seconds that the engine may be busy with one step or load before /livez fails.
    #[arg(long, env = "DIFFUSION_STALL_TIMEOUT", default_value_t = 900, value_name = "SECONDS", value_parser = seconds)]
    pub stall_timeout: u64,
}

/// Limits of one request.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits of a request")]
pub struct LimitArgs {
    /// Denoising steps.
    #[arg(long, env = "DIFFUSION_MAX_STEPS", default_value_t = 150, value_name = "N")]
    pub max_steps: u64,
    /// Width x height, in pixels.
    #[arg(long, env = "DIFFUSION_MAX_PIXELS", default_value_t = 1 << 20, value_name = "PIXELS")]
    pub max_pixels: u64,
    /// Length of a prompt, in characters (a model reads about 77 tokens of it, some 300 characters).
    #[arg(long, env = "DIFFUSION_MAX_PROMPT_CHARS", default_value_t = 10_000, value_name = "N")]
    pub max_prompt_chars: usize,
    /// Width x height of the picture that image to image starts from, in pixels.
    #[arg(long, env = "DIFFUSION_MAX_IMAGE_PIXELS", default_value_t = 1 << 24, value_name = "PIXELS")]
    pub max_image_pixels: u64,
    /// Size of a body without a picture, in bytes.
    #[arg(long, env = "DIFFUSION_MAX_BODY_BYTES", default_value_t = 1 << 20, value_name = "BYTES")]
    pub max_body_bytes: usize,
    /// Size of a body with a picture (in base64), in bytes.
    #[arg(long, env = "DIFFUSION_MAX_IMAGE_BODY_BYTES", default_value_t = 16 << 20, value_name = "BYTES")]
    pub max_image_body_bytes: usize,
    /// Memory for the bodies of all requests together, in bytes; beyond it the answer is 503.
    #[arg(long, env = "DIFFUSION_BODY_MEMORY_BYTES", default_value_t = 256 << 20, value_name = "BYTES")]
    pub body_memory_bytes: usize,
}

/// Defaults of a request.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Defaults of a request (where absent: the model's)")]
pub struct DefaultArgs {
    /// Negative prompt.
    #[arg(long, env = "DIFFUSION_DEFAULT_NEGATIVE_PROMPT", value_name = "TEXT")]
    pub default_negative_prompt: Option<String>,
    /// Denoising steps.
    #[arg(long, env = "DIFFUSION_DEFAULT_STEPS", value_name = "N")]
    pub default_steps: Option<u64>,
    /// Classifier-free guidance; off at 1 and below.
    #[arg(long, env = "DIFFUSION_DEFAULT_GUIDANCE_SCALE", value_name = "SCALE")]
    pub default_guidance_scale: Option<f64>,
    /// Width in pixels.
    #[arg(long, env = "DIFFUSION_DEFAULT_WIDTH", value_name = "PIXELS")]
    pub default_width: Option<u64>,
    /// Height in pixels.
    #[arg(long, env = "DIFFUSION_DEFAULT_HEIGHT", value_name = "PIXELS")]
    pub default_height: Option<u64>,
    /// Scheduler: pndm, ddim, lms, euler, euler_ancestral, heun, dpm_solver_multistep, unipc_multistep or lcm.
    #[arg(long, env = "DIFFUSION_DEFAULT_SCHEDULER", value_name = "NAME", value_parser = scheduler)]
    pub default_scheduler: Option<SchedulerKind>,
    /// Leave the parameters (prompt, seed, ...) out of every picture.
    #[arg(long, env = "DIFFUSION_NO_METADATA")]
    pub no_metadata: bool,
}

/// Logs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// Form of the logs, on standard error.
    #[arg(long, env = "DIFFUSION_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a list such as info,hyper=debug.
    #[arg(long, env = "DIFFUSION_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// Log the text of prompts, too.
    #[arg(long, env = "DIFFUSION_LOG_PROMPTS")]
    pub log_prompts: bool,
}

/// `generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// What to draw.
    pub prompt: String,
    /// File to write, .png, .jpg or .webp, or - for a PNG on standard output [default: made from the prompt].
    #[arg(short, long, env = "DIFFUSION_OUTPUT", value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Write over a file that is there.
    #[arg(short, long, env = "DIFFUSION_FORCE")]
    pub force: bool,
    /// No progress bar and no summary.
    #[arg(short, long, env = "DIFFUSION_QUIET")]
    pub quiet: bool,
    /// Leave the parameters (prompt, seed, ...) out of the picture.
    #[arg(long, env = "DIFFUSION_NO_METADATA")]
    pub no_metadata: bool,
    /// Write so many previews, 0 to 20, beside the picture: FILE.preview-01.jpg and so on [default: 0].
    #[arg(long, env = "DIFFUSION_PREVIEWS", value_name = "N")]
    pub previews: Option<u64>,
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// How to draw.
    #[command(flatten)]
    pub draw: DrawArgs,
}

/// How to draw.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Parameters (where absent: the model's)")]
pub struct DrawArgs {
    /// What not to draw.
    #[arg(long, env = "DIFFUSION_NEGATIVE_PROMPT", value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Seed of the noise, 0 to 2^64 - 1: the same seed draws the same picture [default: random].
    #[arg(long, env = "DIFFUSION_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Denoising steps.
    #[arg(long, env = "DIFFUSION_STEPS", value_name = "N")]
    pub steps: Option<u64>,
    /// Classifier-free guidance; off at 1 and below, which takes half the time.
    #[arg(long, env = "DIFFUSION_GUIDANCE_SCALE", value_name = "SCALE")]
    pub guidance_scale: Option<f64>,
    /// Rescale of the guided noise, 0 (off) to 1.
    #[arg(long, env = "DIFFUSION_GUIDANCE_RESCALE", value_name = "FRACTION")]
    pub guidance_rescale: Option<f64>,
    /// Where guidance begins, as a fraction of the steps; before it a step costs half [default: 0].
    #[arg(long, env = "DIFFUSION_GUIDANCE_START", value_name = "FRACTION")]
    pub guidance_start: Option<f64>,
    /// Where guidance ends, as a fraction of the steps; after it a step costs half [default: 1].
    #[arg(long, env = "DIFFUSION_GUIDANCE_END", value_name = "FRACTION")]
    pub guidance_end: Option<f64>,
    /// Run the whole UNet every so many steps and reuse its inner part in between, 1 (off) to 10 [default: 1].
    #[arg(long, env = "DIFFUSION_CACHE_INTERVAL", value_name = "N")]
    pub cache_interval: Option<u64>,
    /// Part of the tokens of the largest maps to merge in self-attention, 0 (off) to 0.75 [default: 0].
    #[arg(long, env = "DIFFUSION_TOKEN_MERGING", value_name = "FRACTION")]
    pub token_merging: Option<f64>,
    /// Width in pixels.
    #[arg(long, env = "DIFFUSION_WIDTH", value_name = "PIXELS")]
    pub width: Option<u64>,
    /// Height in pixels.
    #[arg(long, env = "DIFFUSION_HEIGHT", value_name = "PIXELS")]
    pub height: Option<u64>,
    /// Scheduler: pndm, ddim, lms, euler, euler_ancestral, heun, dpm_solver_multistep, unipc_multistep or lcm.
    #[arg(long, env = "DIFFUSION_SCHEDULER", value_name = "NAME")]
    pub scheduler: Option<String>,
    /// Karras noise levels: true or false.
    #[arg(long, env = "DIFFUSION_KARRAS", value_name = "BOOL")]
    pub karras: Option<bool>,
    /// Stochasticity of DDIM, 0 to 1.
    #[arg(long, env = "DIFFUSION_ETA", value_name = "FRACTION")]
    pub eta: Option<f64>,
    /// PNG, JPEG or WebP file to start from.
    #[arg(long, env = "DIFFUSION_IMAGE", value_name = "PATH")]
    pub image: Option<PathBuf>,
    /// How much of --image is replaced, above 0 to 1 [default: 0.8].
    #[arg(long, env = "DIFFUSION_STRENGTH", value_name = "FRACTION")]
    pub strength: Option<f64>,
}

pub(crate) fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "auto" => Ok(Precision::Auto),
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        "f16" => Ok(Precision::F16),
        _ => Err("expected auto, f32, bf16 or f16".into()),
    }
}

fn scheduler(text: &str) -> Result<SchedulerKind, String> {
    let names = SchedulerKind::ALL.map(SchedulerKind::name);
    SchedulerKind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
        let hint = crate::params::nearest(text, names).map(|n| format!("; did you mean {n}?"));
        format!("expected one of {}{}", names.join(", "), hint.unwrap_or_default())
    })
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(e) => Err(e.to_string()),
    }
}

/// A time from one second to a year.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number @ 1..=31_536_000) => Ok(number),
        Ok(_) => Err("must be from 1 to 31536000".into()),
        Err(e) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_has_its_variable_and_a_help() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands().filter(|c| c.get_name() != "help") {
            for arg in
                subcommand.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str()))
            {
                assert!(arg.get_help().is_some(), "{arg}");
                let Some(long) = arg.get_long() else { continue };
                let want = format!("DIFFUSION_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(arg.get_env().and_then(|e| e.to_str()), Some(want.as_str()), "{arg}");
            }
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let cli = Cli::try_parse_from(["diffusion-server", "serve"]).unwrap();
        let Command::Serve(args) = cli.command else { panic!("not serve") };
        assert_eq!(args.model.model, "bundled://emoji");
        assert_eq!(args.listen.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(args.listen.admin_listen.to_string(), "0.0.0.0:8081");
        for bad in [["--max-batch", "0"], ["--default-scheduler", "eular"], ["--grace-seconds", "0"]] {
            let args = ["diffusion-server", "serve"].into_iter().chain(bad);
            assert!(Cli::try_parse_from(args).is_err(), "{bad:?}");
        }
    }
}
