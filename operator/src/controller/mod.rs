//! Runs reconciles: watches, a bounded queue, one reconcile of a resource at a time, its pace after a failure.

mod backoff;
mod context;
mod narrate;
mod reconcile;
mod watches;

pub use backoff::Backoff;
pub use context::Context;
pub use watches::run;
