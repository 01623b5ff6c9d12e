//! The custom resources of diffusion-operator: their types, defaults and rules.
//!
//! The doc comments of the types are what `kubectl explain dsvc` shows and what docs/custom-resource.md is made from:
//! `cargo run -p diffusion-crds --bin crdgen` writes both.

pub mod definition;
pub mod v1alpha1;

pub use v1alpha1::{DiffusionService, DiffusionServiceSpec, DiffusionServiceStatus};
