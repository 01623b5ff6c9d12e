//! What was written before, so that a reconcile which changes nothing writes nothing.
//!
//! An object is applied again when what is desired changed, or when what is there changed since (somebody edited it).
//! After a restart of the operator each object is applied once; the API server finds nothing to change then.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use serde_json::Value;

/// Fingerprints of a desired object and of the object that came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    desired: u64,
    live: u64,
}

/// What was written, by the uid of the `DiffusionService` and the kind and name of the object.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<String, Prints>>);

/// By kind and name.
type Prints = HashMap<(String, String), Print>;

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Prints>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether exactly this was written, and exactly that came of it.
    pub(super) fn knows(&self, owner: &str, kind: &str, name: &str, print: Print) -> bool {
        let memory = self.lock();
        memory.get(owner).and_then(|o| o.get(&(kind.to_owned(), name.to_owned()))) == Some(&print)
    }

    /// Remembers a write.
    pub(super) fn remember(&self, owner: &str, kind: &str, name: &str, print: Print) {
        self.lock().entry(owner.to_owned()).or_default().insert((kind.to_owned(), name.to_owned()), print);
    }

    /// Forgets what belongs to others than these owners.
    pub fn keep(&self, owners: impl Fn(&str) -> bool) {
        self.lock().retain(|owner, _| owners(owner));
    }
}

/// The fingerprints of a pair.
pub(super) fn print(desired: &impl Serialize, live: &impl Serialize) -> Print {
    Print { desired: hash(serde_json::to_value(desired).unwrap_or_default()), live: hash(settled(live)) }
}

/// The object without what changes by itself.
fn settled(live: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(live).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["resourceVersion", "managedFields", "generation"] {
            metadata.remove(field);
        }
    }
    value
}

fn hash(value: Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    // Maps are sorted, so equal values have equal texts.
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_change_of_either_side_is_new() {
        let memory = Memory::default();
        let live = |n: i32, version: &str| json!({"metadata": {"resourceVersion": version}, "spec": {"n": n}, "status": {"x": version}});
        memory.remember("u", "K", "a", print(&json!({"n": 1}), &live(1, "5")));
        assert!(
            memory.knows("u", "K", "a", print(&json!({"n": 1}), &live(1, "9"))),
            "a newer status is no change"
        );
        assert!(!memory.knows("u", "K", "a", print(&json!({"n": 1}), &live(2, "9"))), "an edit is one");
        assert!(!memory.knows("u", "K", "a", print(&json!({"n": 2}), &live(1, "5"))), "so is another wish");
        assert!(!memory.knows("v", "K", "a", print(&json!({"n": 1}), &live(1, "5"))));
        memory.keep(|owner| owner != "u");
        assert!(!memory.knows("u", "K", "a", print(&json!({"n": 1}), &live(1, "5"))));
    }
}
