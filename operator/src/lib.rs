//! The operator of `DiffusionService`.
//!
//! One reconcile is `observe -> validate -> desired -> apply -> status`. [`validate`], [`desired`], and [`status`] but for its
//! last call, are pure; [`observe`] only reads; [`apply`] is the only one that changes children. [`controller`] decides when a
//! reconcile runs, [`leader`] whether. [`render`] prints the objects without a cluster.

pub mod admin;
pub mod apply;
pub mod cli;
pub mod controller;
pub mod desired;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod observe;
pub mod render;
pub mod run;
pub mod select;
pub mod selftest;
pub mod settings;
pub mod source;
pub mod status;
pub mod validate;
