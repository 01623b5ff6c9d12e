//! The charts on a real API server: charts/tests/lifecycle.py, with helm.

use std::{path::Path, process::Command};

use crate::plane::{Plane, programs};

#[tokio::test]
async fn charts_are_installed_upgraded_rolled_back_and_installed_again() {
    // It installs and deletes the definition, which other tests need.
    let plane = Plane::start().await;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let bin = programs();
    let output = Command::new(repository.join("scripts/charts-test"))
        .env("LIFECYCLE", "1")
        .env("KUBECONFIG", &plane.kubeconfig)
        .env("HELM", bin.join("helm"))
        .env("KUBECTL", bin.join("kubectl"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("OK"), "{said}");
}
