//! Layers that are packed when all of a model is known to be there.

use std::sync::{Mutex, PoisonError, Weak};

use rayon::prelude::*;

use crate::LoadError;

/// A layer that can be packed at any time.
pub(crate) trait Later: Send + Sync {
    /// Packs it, unless it is packed.
    fn pack(&self) -> Result<(), LoadError>;
}

/// What a model has to pack. Layers that are gone are forgotten.
#[derive(Default)]
pub(super) struct Queue(Mutex<Vec<Waiting>>);

struct Waiting {
    /// Where in the files it begins.
    place: (usize, usize),
    layer: Weak<dyn Later>,
}

impl Queue {
    pub(super) fn push(&self, place: (usize, usize), layer: Weak<dyn Later>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { place, layer });
    }

    /// Packs all layers on all threads, in the order of the files, so that a disk is read from one end to the other.
    pub(super) fn pack(&self) -> Result<(), LoadError> {
        let mut waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.sort_by_key(|waiting| waiting.place);
        let layers: Vec<_> = waiting.iter().filter_map(|waiting| waiting.layer.upgrade()).collect();
        // A thread that waits for another's part of a layer goes on with the next layer.
        layers.par_iter().try_for_each(|layer| layer.pack())
    }
}
