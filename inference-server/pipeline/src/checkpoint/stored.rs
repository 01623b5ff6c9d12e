//! A tensor that stays in its file until it is packed.

use std::ops::Range;
use std::sync::Arc;

use diffusion_kernels::{Element, Format, Level};

use super::weights::Store;

/// A tensor whose name, shape and type have been checked.
#[derive(Clone)]
pub struct Stored {
    pub(super) store: Arc<Store>,
    pub(super) shard: usize,
    pub(super) place: Range<usize>,
    pub(super) format: Format,
}

impl Stored {
    /// Its numbers from the `from`-th on, as numbers of a type of the kernels'; what is beyond its end stays as it is.
    pub fn read<T: Element>(&self, from: usize, numbers: &mut [T]) {
        let bytes = self.store.bytes(self.shard, &self.place).get(from * self.format.size()..);
        self.format.decode(Level::current(), bytes.unwrap_or_default(), numbers);
    }

    /// Gives back the memory of its part of the file; it would be read from there again.
    pub fn forget(&self) {
        self.store.forget(self.shard, &self.place);
    }
}
