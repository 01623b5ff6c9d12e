//! Writes what is made from the types: the definition in both charts, and docs/custom-resource.md.

mod reference;

use std::{env, fs, path::PathBuf, process::ExitCode};

use diffusion_crds::definition::{definition, definition_yaml};

const USAGE: &str = "usage: cargo run -p diffusion-crds --bin crdgen -- [--check]

Writes the CustomResourceDefinition into both charts, and docs/custom-resource.md.
  --check  writes nothing; fails when one of them is not what it would write";

const REFRESH: &str = "cargo run -p diffusion-crds --bin crdgen";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let check = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--check"] => true,
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match files().and_then(|files| if check { compare(&files) } else { write(&files) }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Each file, and what belongs into it.
fn files() -> Result<Vec<(PathBuf, String)>, String> {
    let crate_folder = env::var_os("CARGO_MANIFEST_DIR")
        .ok_or_else(|| format!("CARGO_MANIFEST_DIR is not set: start it with {REFRESH}"))?;
    let root = PathBuf::from(crate_folder).join("..");
    let yaml =
        definition_yaml().map_err(|error| format!("the definition can't be written as YAML: {error}"))?;
    let yaml = format!("# Made from crds/src by `{REFRESH}`: don't edit.\n{yaml}");
    Ok(vec![
        (root.join("charts/diffusion-operator/crds-src/diffusionservices.yaml"), yaml.clone()),
        (root.join("charts/diffusion-operator-crds/crds-src/diffusionservices.yaml"), yaml),
        (root.join("docs/custom-resource.md"), reference::reference(&definition())),
    ])
}

fn write(files: &[(PathBuf, String)]) -> Result<(), String> {
    for (path, text) in files {
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder
            .and_then(|()| fs::write(path, text))
            .map_err(|error| format!("{} can't be written: {error}", path.display()))?;
    }
    Ok(())
}

fn compare(files: &[(PathBuf, String)]) -> Result<(), String> {
    let stale: Vec<_> = files
        .iter()
        .filter(|(path, text)| fs::read_to_string(path).ok().as_ref() != Some(text))
        .map(|(path, _)| format!("  {}", path.display()))
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!(
        "these are not what crds/src says now:\n{}\nRun {REFRESH} and commit what it writes.",
        stale.join("\n")
    ))
}
