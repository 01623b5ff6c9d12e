//! How a scenario fails: with a sentence.

use std::fmt;

/// What went wrong, for a person.
#[derive(Debug, Clone)]
pub(crate) struct Failure(pub(crate) String);

/// What a scenario ends with.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// Not an Error itself, so that every Error can become one by `?`.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Ends the scenario with a sentence.
macro_rules! fail {
    ($($text:tt)*) => { return Err($crate::failure::Failure(format!($($text)*))) };
}

/// Ends the scenario with a sentence unless something holds.
macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {{
        let holds: bool = $holds;
        if !holds { $crate::failure::fail!($($text)*) }
    }};
}

pub(crate) use {ensure, fail};
