//! Where a model's files come from and what they say.

mod config_file;
mod source;
mod weights;

pub use config_file::ConfigFile;
pub use source::{Checkpoint, Source};
pub use weights::Weights;
