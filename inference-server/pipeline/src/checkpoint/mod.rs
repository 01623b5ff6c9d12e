//! Where a model's files come from and what they say.

mod bundled;
mod config_file;
mod index;
pub mod layout;
mod source;
mod weights;

pub use config_file::ConfigFile;
pub(crate) use index::ModelIndex;
pub use source::{Checkpoint, Source};
pub use weights::{Table, Weights};
