//! The operator of `DiffusionService`.
//!
//! One reconcile is `observe -> validate -> desired -> apply -> status`. What is pure is here without a client:
//! [`validate`] reads the custom resource once, [`desired`] makes the Kubernetes objects of it, and [`render`] prints them.

pub mod desired;
pub mod render;
pub mod settings;
pub mod source;
pub mod validate;
