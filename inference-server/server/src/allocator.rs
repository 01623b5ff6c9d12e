//! Memory that is given back to the system comes back as page faults, and a step frees and asks for the same gigabyte
//! again and again: in a profile, faults were a quarter of the time.

use libmimalloc_sys::{mi_option_get, mi_option_set_default, mi_option_t};

/// `mi_option_purge_delay` in mimalloc 3, which the bindings leave out.
const PURGE_DELAY: mi_option_t = 15;
/// Milliseconds that freed memory is kept: longer than a step, so that only an idle server shrinks.
const DELAY: std::ffi::c_long = 60_000;

/// Keeps freed pages for a minute, unless the environment (`MIMALLOC_PURGE_DELAY`) says otherwise. To be called first.
#[allow(unsafe_code, reason = "an option of the C library; there is no safe binding")]
pub(crate) fn keep_pages() {
    // SAFETY: both only read or write one long in a static table, and the option is inside it; they are not thread-safe,
    // and no other thread exists yet.
    unsafe {
        mi_option_get(PURGE_DELAY);
        mi_option_set_default(PURGE_DELAY, DELAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "reads back what was set")]
    fn the_option_is_the_one_that_is_meant() {
        // mimalloc's own default is a second.
        // SAFETY: as above; reading it concurrently is harmless.
        let get = || unsafe { mi_option_get(PURGE_DELAY) };
        assert!([1000, DELAY].contains(&get()));
        keep_pages();
        assert_eq!(get(), DELAY);
    }
}
