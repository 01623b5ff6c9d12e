//! Scaled dot-product attention (Vaswani et al. 2017, equation 1) without the matrix of scores.
//!
//! Keys are looked at a block at a time, and the softmax is corrected as the highest score grows (Milakov and Gimelshein
//! 2018, "Online normalizer calculation for softmax"); scores and weights of a few queries and a block of keys never leave
//! the cache (Dao et al. 2022, "FlashAttention").

mod band;
mod packed;
mod softmax;
#[cfg(test)]
mod tests;

use crate::element::Element;
use crate::level::Level;
use crate::output::Output;
use crate::parallel;

use band::Band;
use packed::Packed;
pub(crate) use softmax::Weight;

/// Queries of a task.
const BAND: usize = 96;

/// Attention of several heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Heads, side by side in a row.
    pub heads: usize,
    /// Numbers of a head.
    pub head: usize,
    /// What scores are multiplied with, above 0: mostly `1 / sqrt(head)`.
    pub scale: f32,
    /// Query `i` sees keys `0..=i` only.
    pub causal: bool,
}

/// Rows of numbers that lie within wider rows, as a fused projection's queries, keys or values do.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T> {
    /// All of the wider rows.
    pub numbers: &'a [T],
    /// From the start of a row to that of the next.
    pub stride: usize,
    /// Where in a wider row these rows begin.
    pub offset: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Rows of `width` numbers that follow each other.
    pub fn contiguous(numbers: &'a [T], width: usize) -> Self {
        Self { numbers, stride: width, offset: 0 }
    }

    fn check(&self, rows: usize, width: usize, what: &str) {
        let needed = rows.checked_sub(1).map_or(0, |before| before * self.stride + self.offset + width);
        let length = self.numbers.len();
        assert!(length >= needed, "{what}: {rows} rows of {width} need {needed} numbers, not {length}");
    }

    fn part(&self, row: usize, from: usize, length: usize) -> &'a [T] {
        &self.numbers[row * self.stride + self.offset + from..][..length]
    }
}

impl Attention {
    /// `softmax(scale q k^T) v` for every head: `q` has `batch x queries` rows of `heads x head` numbers, `k` and `v`
    /// have `batch x keys`. The result is `(batch, queries, heads x head)`, and zero if there are no keys.
    ///
    /// In bf16 the softmax's weights are rounded to bf16, and their sum is taken of what they were rounded to.
    ///
    /// # Panics
    /// If a slice is shorter than its shape says, the scale is not a number above 0, or the machine does not have the
    /// level.
    pub fn forward<T: Element>(
        &self,
        level: Level,
        q: Rows<'_, T>,
        k: Rows<'_, T>,
        v: Rows<'_, T>,
        [batch, queries, keys]: [usize; 3],
    ) -> Vec<T> {
        let Self { heads, head, scale, .. } = *self;
        let width = heads * head;
        q.check(batch * queries, width, "queries");
        k.check(batch * keys, width, "keys");
        v.check(batch * keys, width, "values");
        assert!(scale > 0.0 && scale.is_finite(), "a scale above 0, not {scale}");
        let length = batch * queries * width;
        if keys == 0 || length == 0 {
            return vec![T::default(); length];
        }
        let packed = Packed::new(level, self, k, v, batch, keys);
        let output = Output::new(length);
        let bands = queries.div_ceil(BAND);
        parallel::for_each(batch * heads * bands, |task| {
            let (band, item) = (task % bands, task / bands);
            let rows = band * BAND..((band + 1) * BAND).min(queries);
            let band = Band::new(self, &packed, item, queries, rows);
            // SAFETY: the output has a row for every query; these rows of this head are this task's alone.
            #[allow(unsafe_code)]
            unsafe {
                band.attend(q, output.pointer());
            }
        });
        // SAFETY: the tasks' heads and bands make up all of the output.
        #[allow(unsafe_code)]
        unsafe {
            output.finish()
        }
    }
}
