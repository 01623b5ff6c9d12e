//! The operator of `DiffusionService`.

use std::process::ExitCode;

use clap::Parser;
use diffusion_operator::{
    cli::{Cli, Command, LogFormat, RenderArgs, RunArgs},
    render::render,
    run::run,
    selftest::selftest,
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => match log(&args) {
            Ok(()) => run(args).await,
            Err(error) => Err(error),
        },
        Command::Render(args) => print_objects(&args),
        Command::Crd => diffusion_crds::definition::definition_yaml()
            .map(|yaml| print!("{yaml}"))
            .map_err(|e| e.to_string()),
        Command::Selftest(args) => selftest(&args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_objects(args: &RenderArgs) -> Result<(), String> {
    let name = args.file.display();
    let text = if args.file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&args.file)
    };
    let text = text.map_err(|e| format!("{name}: {e}"))?;
    let objects = render(&text, &args.images.settings()).map_err(|e| format!("{name}: {e}"))?;
    print!("{objects}");
    Ok(())
}

fn log(args: &RunArgs) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.log).map_err(|e| format!("--log {}: {e}", args.log))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
