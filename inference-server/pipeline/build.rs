//! Lists the files of the bundled checkpoint, so that they are compiled in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folders of the model that are not part of the checkpoint.
const NOT_CHECKPOINT: [&str; 2] = ["train", "licenses"];
const EXTENSIONS: [&str; 3] = ["json", "txt", "safetensors"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !NOT_CHECKPOINT.contains(&name.as_str()) {
                files(&path, found)?;
            }
        } else if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known)) {
            found.push(path);
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let model = here.join("../models/emoji");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bundled_emoji.rs");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", model.display());

    let mut list = String::from("&[\n");
    if env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        let mut found = Vec::new();
        files(&model, &mut found)?;
        found.sort();
        for path in &found {
            let name = path.strip_prefix(&model).unwrap_or(path).display().to_string();
            let full = path.canonicalize()?.display().to_string();
            let _ = writeln!(list, "    ({name:?}, include_bytes!({full:?})),");
        }
    }
    list.push_str("]\n");
    fs::write(out, list)
}
