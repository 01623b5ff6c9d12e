//! The program.

use std::process::ExitCode;

use clap::Parser;
use diffusion_pipeline::memory::Allocator;
use diffusion_server::cli::{Cli, Command};
use diffusion_server::fetch::{self, FetchError};
use diffusion_server::{generate, serve};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator(MiMalloc);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args).map_err(|e| e.to_string()),
        Command::Generate(args) => generate::run(&args).map_err(|e| e.to_string()),
        Command::Fetch(args) => match fetch::run(&args) {
            Err(error @ FetchError::Stopped(_)) => {
                eprintln!("{error}");
                // 128 + SIGTERM, as a shell would say.
                return ExitCode::from(143);
            }
            result => result.map_err(|e| e.to_string()),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
