//! The command line. Every flag of `run` is also an environment variable, with the flag's name after
//! `DIFFUSION_OPERATOR_`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::settings::Settings;

/// Turns DiffusionService resources into running text-to-image services.
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
    /// Watch the cluster and act.
    Run(RunArgs),
    /// Print the objects that a DiffusionService would get, as YAML, without a cluster.
    Render(RenderArgs),
    /// Print the definition of DiffusionService, as YAML for kubectl apply.
    Crd,
    /// Make a DiffusionService with the bundled model, draw a picture through its Service, and delete it again.
    Selftest(SelftestArgs),
}

/// Images of the inference server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Images")]
pub struct ImageArgs {
    /// Image of the server for CPUs.
    #[arg(long, env = "DIFFUSION_OPERATOR_SERVER_IMAGE", default_value = concat!("diffusion-operator.dev/server:", env!("CARGO_PKG_VERSION")), value_name = "IMAGE")]
    pub server_image: String,
    /// Image of the server for GPUs by NVIDIA.
    #[arg(long, env = "DIFFUSION_OPERATOR_SERVER_IMAGE_NVIDIA", default_value = concat!("diffusion-operator.dev/server-cuda:", env!("CARGO_PKG_VERSION")), value_name = "IMAGE")]
    pub server_image_nvidia: String,
}

impl ImageArgs {
    /// As the objects need them.
    pub fn settings(&self) -> Settings {
        Settings {
            server_image: self.server_image.clone(),
            server_image_nvidia: self.server_image_nvidia.clone(),
        }
    }
}

/// Form of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Only act in this namespace [default: in all].
    #[arg(long, env = "DIFFUSION_OPERATOR_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Images.
    #[command(flatten)]
    pub images: ImageArgs,
    /// Only act while holding a Lease, so that several operators can run.
    #[arg(long, env = "DIFFUSION_OPERATOR_LEADER_ELECTION", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub leader_election: bool,
    /// Name of the Lease.
    #[arg(
        long,
        env = "DIFFUSION_OPERATOR_LEASE_NAME",
        default_value = "diffusion-operator",
        value_name = "NAME"
    )]
    pub lease_name: String,
    /// Address of /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "DIFFUSION_OPERATOR_ADMIN_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    pub admin_listen: SocketAddr,
    /// Reconciles at one time.
    #[arg(long, env = "DIFFUSION_OPERATOR_CONCURRENCY", default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Seconds that a reconcile may take.
    #[arg(long, env = "DIFFUSION_OPERATOR_RECONCILE_TIMEOUT", default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub reconcile_timeout: u64,
    /// Form of the logs, on standard error.
    #[arg(long, env = "DIFFUSION_OPERATOR_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a list such as info,kube=debug.
    #[arg(long, env = "DIFFUSION_OPERATOR_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// Name of the pod, to hold the Lease and to sign events [default: the host's name].
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
    /// Namespace of the pod, for the Lease [default: the client's].
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub pod_namespace: Option<String>,
}

/// `render`.
#[derive(Debug, Clone, Args)]
pub struct RenderArgs {
    /// File with one or more DiffusionServices, or - for standard input.
    pub file: PathBuf,
    /// Images.
    #[command(flatten)]
    pub images: ImageArgs,
}

/// `selftest`.
#[derive(Debug, Clone, Args)]
pub struct SelftestArgs {
    /// Namespace to work in [default: the client's].
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Name of the DiffusionService; there must be none of that name.
    #[arg(long, default_value = "diffusion-selftest", value_name = "NAME")]
    pub name: String,
    /// Seconds that it all may take.
    #[arg(long, default_value_t = 180, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_of_run_has_its_variable_and_a_help() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let run = command.find_subcommand("run").unwrap();
        for arg in run.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str())) {
            assert!(arg.get_help().is_some(), "{arg}");
            let Some(long) = arg.get_long().filter(|l| !l.starts_with("pod-")) else { continue };
            let want = format!("DIFFUSION_OPERATOR_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|e| e.to_str()), Some(want.as_str()), "{arg}");
        }
    }
}
