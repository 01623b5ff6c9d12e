//! Where a model's files come from and what they say.

mod bundled;
mod config_file;
mod index;
mod later;
pub mod layout;
mod shard;
mod source;
mod stored;
mod weights;

pub use config_file::ConfigFile;
pub(crate) use index::ModelIndex;
pub(crate) use later::Later;
pub use source::{Checkpoint, Source};
pub use stored::Stored;
pub use weights::{Table, Weights};
