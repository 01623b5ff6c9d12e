//! Work for the threads of rayon's current pool.

use rayon::prelude::*;

/// Tasks for each thread, so that one that is interrupted does not keep the others waiting for long.
const TASKS: usize = 4;

/// How many tasks are enough.
pub(crate) fn enough_tasks() -> usize {
    match rayon::current_num_threads() {
        1 => 1,
        threads => threads * TASKS,
    }
}

/// How to cut `rows` rows of at most `most` a piece, and the `columns` that each of them is multiplied with: pieces of
/// rows, and groups of columns for each. Few rows stay together, so that weights are read once; where there are many
/// pieces, every thread gets as many.
pub(crate) fn cut(rows: usize, most: usize, columns: usize) -> (usize, usize) {
    let threads = rayon::current_num_threads();
    let pieces = rows.div_ceil(most);
    let pieces = if pieces >= threads { pieces.next_multiple_of(threads) } else { pieces };
    (pieces, enough_tasks().div_ceil(pieces.max(1)).clamp(1, columns.max(1)))
}

/// `task(0)` to `task(n - 1)`, in any order.
pub(crate) fn for_each(n: usize, task: impl Fn(usize) + Sync + Send) {
    if n <= 1 || rayon::current_num_threads() == 1 {
        (0..n).for_each(task);
    } else {
        (0..n).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// `task(0, ...)` to `task(n - 1, ...)` with the n whole chunks of `size` numbers, in any order.
pub(crate) fn for_each_chunk<T: Send>(
    numbers: &mut [T],
    size: usize,
    task: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    if numbers.len() <= size || rayon::current_num_threads() == 1 {
        numbers.chunks_exact_mut(size).enumerate().for_each(|(i, chunk)| task(i, chunk));
    } else {
        let chunks = numbers.par_chunks_exact_mut(size).with_max_len(1).enumerate();
        chunks.for_each(|(i, chunk)| task(i, chunk));
    }
}

/// The `part`-th of `parts` ranges of almost the same length that make up `0..n`.
pub(crate) fn range(n: usize, part: usize, parts: usize) -> std::ops::Range<usize> {
    n * part / parts..n * (part + 1) / parts
}
