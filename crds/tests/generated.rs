//! What is made from the types is up to date.

use std::process::Command;

#[test]
fn the_charts_and_the_reference_are_what_crdgen_writes() {
    let output = Command::new(env!("CARGO_BIN_EXE_crdgen")).arg("--check").output().expect("crdgen starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
