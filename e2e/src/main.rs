//! Proves the product on a real Kubernetes cluster: `diffusion-e2e [FILTER]...` runs the scenarios, `scripts/e2e` all that
//! comes before.

mod cluster;
mod command;
mod diagnose;
mod failure;
mod http;
mod load;
mod measure;
mod operator;
mod picture;
mod pods;
mod run;
mod scenarios;
mod wait;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::scenarios::SCENARIOS;

/// Runs the scenarios on the cluster that `NODES=2 make cluster-up` started. `scripts/e2e` also makes the images and the cluster.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only scenarios with one of these in their names.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Print the scenarios, and run none.
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure what the operator costs: API writes at rest, memory with many resources.
    Measure(measure::MeasureArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let chosen: Vec<_> = SCENARIOS
        .iter()
        .filter(|s| cli.filters.is_empty() || cli.filters.iter().any(|f| s.name.contains(f.as_str())))
        .collect();
    if cli.list {
        for scenario in chosen {
            println!("{:<18} {}", scenario.name, scenario.about);
        }
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        eprintln!("error: no scenario is called like {}; --list prints them", cli.filters.join(" or "));
        return ExitCode::FAILURE;
    }
    let result = match &cli.command {
        Some(Command::Measure(args)) => measure::measure(args).await,
        None => run::run(&chosen).await,
    };
    result.unwrap_or_else(|failure| {
        eprintln!("error: {failure}");
        ExitCode::FAILURE
    })
}
