//! The operator of `DiffusionService`: so far it knows its custom resource's definition.
//!
//! `diffusion-operator crd | kubectl apply -f -` installs it.

use std::process::ExitCode;

use diffusion_crds::DiffusionService;
use kube::CustomResourceExt;

const USAGE: &str = "usage: diffusion-operator crd\n\nPrints the definition of DiffusionService as JSON.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["crd"] => match serde_json::to_string_pretty(&DiffusionService::crd()) {
            Ok(definition) => {
                println!("{definition}");
                ExitCode::SUCCESS
            }
            Err(e) => {
                eprintln!("error: {e}");
                ExitCode::FAILURE
            }
        },
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
