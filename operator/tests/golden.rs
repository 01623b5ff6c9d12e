//! Each resource in golden/ is rendered and compared with the objects beside it, letter by letter: a change of what the
//! operator makes is a change that somebody has read.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::PathBuf};

use diffusion_operator::{render::render, settings::Settings};

/// Not the version's own, so that a release changes none of these files.
fn settings() -> Settings {
    Settings {
        server_image: "example.com/server:1".into(),
        server_image_nvidia: "example.com/server-cuda:1".into(),
    }
}

fn resources() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("tests/golden is a folder")
        .map(|entry| entry.expect("an entry of tests/golden").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .filter(|path| !path.to_string_lossy().ends_with(".objects.yaml"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn the_objects_are_those_that_were_reviewed() {
    let write = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut stale = Vec::new();
    let resources = resources();
    assert!(resources.len() >= 10, "only {} resources in tests/golden", resources.len());
    for path in resources {
        let text = fs::read_to_string(&path).expect("a readable resource");
        let objects = render(&text, &settings()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(
            objects,
            render(&text, &settings()).expect("a second time"),
            "{} is not stable",
            path.display()
        );
        let golden = path.with_extension("objects.yaml");
        if write {
            fs::write(&golden, &objects).expect("a writable golden file");
        } else if fs::read_to_string(&golden).unwrap_or_default() != objects {
            stale.push(golden.display().to_string());
        }
    }
    assert!(
        stale.is_empty(),
        "these differ from what is rendered now: {}\nRun UPDATE_GOLDEN=1 cargo test -p diffusion-operator --test golden, \
         and read the difference before you commit it.",
        stale.join(", ")
    );
}

#[test]
fn the_objects_are_yaml_that_reads_back() {
    for path in resources() {
        let text = fs::read_to_string(&path).expect("a readable resource");
        let objects = render(&text, &settings()).expect("objects");
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&objects).expect("YAML");
        for object in documents {
            for field in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
                assert!(
                    object.pointer(field).is_some_and(|value| value.is_string()),
                    "{}: {field}",
                    path.display()
                );
            }
        }
    }
}
