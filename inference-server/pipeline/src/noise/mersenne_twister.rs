//! MT19937 (Matsumoto and Nishimura 1998), and uniform numbers from it as torch makes them.

const N: usize = 624;
const M: usize = 397;

pub(super) struct MersenneTwister {
    state: [u32; N],
    next: usize,
}

impl MersenneTwister {
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        let mut previous = seed;
        for (i, word) in (0u32..).zip(&mut state).skip(1) {
            previous = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i);
            *word = previous;
        }
        Self { state, next: N }
    }

    fn refill(&mut self) {
        for i in 0..N {
            let [a, b, c] =
                [i, (i + 1) % N, (i + M) % N].map(|k| self.state.get(k).copied().unwrap_or_default());
            let mixed = (a & 0x8000_0000) | (b & 0x7fff_ffff);
            let twisted = c ^ (mixed >> 1) ^ if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            if let Some(word) = self.state.get_mut(i) {
                *word = twisted;
            }
        }
        self.next = 0;
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        if self.next >= N {
            self.refill();
        }
        let mut y = self.state.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// 24 random bits as a number in `[0, 1)`.
    pub(super) fn uniform_f32(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// 53 random bits as a number in `[0, 1)`; the first word drawn is the upper half.
    pub(super) fn uniform_f64(&mut self) -> f64 {
        let (high, low) = (u64::from(self.next_u32()), u64::from(self.next_u32()));
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_thousandth_number_is_the_standards() {
        // C++'s [rand.predef]: the 10,000th draw of a default-seeded mt19937.
        let mut engine = MersenneTwister::new(5489);
        let last = (0..10_000).map(|_| engine.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}
