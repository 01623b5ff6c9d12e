//! The transforms of Winograd's minimal filtering in one dimension, for a kernel of three (Lavin and Gray 2016, "Fast
//! algorithms for convolutional neural networks", sections 4.1 and 4.3; the points of the smaller one are 0, 1, -1, those of the
//! larger one are its own).

/// Numbers that are transformed side by side.
pub(super) const LANES: usize = 16;

pub(super) type Vector = [f32; LANES];

#[inline(always)]
fn sum<const N: usize>(terms: [(f32, &Vector); N]) -> Vector {
    let mut result = [0f32; LANES];
    for (lane, result) in result.iter_mut().enumerate() {
        let mut terms = terms.iter();
        if let Some((factor, vector)) = terms.next() {
            *result = factor * vector[lane];
        }
        for (factor, vector) in terms {
            *result += factor * vector[lane];
        }
    }
    result
}

/// F(2, 3): two results of a kernel of three by four products.
pub(super) mod two {
    use super::{Vector, sum};

    /// `B^T d`.
    #[inline(always)]
    pub(in super::super) fn input(d: [Vector; 4]) -> [Vector; 4] {
        [
            sum([(1.0, &d[0]), (-1.0, &d[2])]),
            sum([(1.0, &d[1]), (1.0, &d[2])]),
            sum([(-1.0, &d[1]), (1.0, &d[2])]),
            sum([(1.0, &d[1]), (-1.0, &d[3])]),
        ]
    }

    /// `A^T m`.
    #[inline(always)]
    pub(in super::super) fn output(m: [Vector; 4]) -> [Vector; 2] {
        [sum([(1.0, &m[0]), (1.0, &m[1]), (1.0, &m[2])]), sum([(1.0, &m[1]), (-1.0, &m[2]), (-1.0, &m[3])])]
    }

    /// `G g`.
    #[inline(always)]
    pub(in super::super) fn kernel([a, b, c]: [Vector; 3]) -> [Vector; 4] {
        let (even, odd) = (sum([(0.5, &a), (0.5, &c)]), sum([(0.5, &b)]));
        [a, sum([(1.0, &even), (1.0, &odd)]), sum([(1.0, &even), (-1.0, &odd)]), c]
    }
}

/// F(4, 3): four results by six products, at the points 0, `A`, `-A`, `B`, `-B` and infinity: with these the error in f32 is
/// half of that with 1 and 2 (root mean square of sums over 320 channels), and no other small fractions have less.
pub(super) mod four {
    use super::{Vector, sum};

    const A: f32 = 2.0 / 3.0;
    const B: f32 = 3.0 / 2.0;
    const AA: f32 = A * A;
    const BB: f32 = B * B;

    /// `B^T d`.
    #[inline(always)]
    pub(in super::super) fn input(d: [Vector; 6]) -> [Vector; 6] {
        // At `A` and `-A`, then at `B` and `-B`.
        let (even, odd) = (sum([(-BB, &d[2]), (1.0, &d[4])]), sum([(-BB, &d[1]), (1.0, &d[3])]));
        let (far, near) = (sum([(-AA, &d[2]), (1.0, &d[4])]), sum([(-AA, &d[1]), (1.0, &d[3])]));
        [
            sum([(AA * BB, &d[0]), (-(AA + BB), &d[2]), (1.0, &d[4])]),
            sum([(1.0, &even), (A, &odd)]),
            sum([(1.0, &even), (-A, &odd)]),
            sum([(1.0, &far), (B, &near)]),
            sum([(1.0, &far), (-B, &near)]),
            sum([(AA * BB, &d[1]), (-(AA + BB), &d[3]), (1.0, &d[5])]),
        ]
    }

    /// `A^T m`.
    #[inline(always)]
    pub(in super::super) fn output(m: [Vector; 6]) -> [Vector; 4] {
        let (plus, minus) = (sum([(1.0, &m[1]), (1.0, &m[2])]), sum([(1.0, &m[1]), (-1.0, &m[2])]));
        let (more, less) = (sum([(1.0, &m[3]), (1.0, &m[4])]), sum([(1.0, &m[3]), (-1.0, &m[4])]));
        [
            sum([(1.0, &m[0]), (1.0, &plus), (1.0, &more)]),
            sum([(A, &minus), (B, &less)]),
            sum([(AA, &plus), (BB, &more)]),
            sum([(A * AA, &minus), (B * BB, &less), (1.0, &m[5])]),
        ]
    }

    /// `G g`.
    #[inline(always)]
    pub(in super::super) fn kernel([a, b, c]: [Vector; 3]) -> [Vector; 6] {
        // 1 / ((p - q) ...) over all other points q.
        const OF_A: f32 = 0.5 / (AA * (AA - BB));
        const OF_B: f32 = 0.5 / (BB * (BB - AA));
        let (even, odd) = (sum([(OF_A, &a), (OF_A * AA, &c)]), sum([(OF_A * A, &b)]));
        let (far, near) = (sum([(OF_B, &a), (OF_B * BB, &c)]), sum([(OF_B * B, &b)]));
        [
            sum([(1.0 / (AA * BB), &a)]),
            sum([(1.0, &even), (1.0, &odd)]),
            sum([(1.0, &even), (-1.0, &odd)]),
            sum([(1.0, &far), (1.0, &near)]),
            sum([(1.0, &far), (-1.0, &near)]),
            c,
        ]
    }
}

/// Two results of a kernel of three over numbers that each come twice, by three products: with `a, a, b, b`, the results
/// around the middle are `(g0 + g1) a + g2 b` and `g0 a + (g1 + g2) b`, which is `g1 (b - a)` more.
pub(super) mod doubled {
    use super::{Vector, sum};

    #[inline(always)]
    pub(in super::super) fn input([a, b]: [Vector; 2]) -> [Vector; 3] {
        [a, b, sum([(1.0, &b), (-1.0, &a)])]
    }

    #[inline(always)]
    pub(in super::super) fn output(m: [Vector; 3]) -> [Vector; 2] {
        let first = sum([(1.0, &m[0]), (1.0, &m[1])]);
        [first, sum([(1.0, &first), (1.0, &m[2])])]
    }

    #[inline(always)]
    pub(in super::super) fn kernel([a, b, c]: [Vector; 3]) -> [Vector; 3] {
        [sum([(1.0, &a), (1.0, &b)]), c, b]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters<const IN: usize, const OUT: usize>(
        input: impl Fn([Vector; IN]) -> [Vector; IN],
        kernel: impl Fn([Vector; 3]) -> [Vector; IN],
        output: impl Fn([Vector; IN]) -> [Vector; OUT],
    ) {
        let d: [Vector; IN] = std::array::from_fn(|i| [(i * i) as f32 - 3.0 * i as f32 + 1.0; LANES]);
        let g = [0.5, -2.0, 3.0];
        let (v, u) = (input(d), kernel(g.map(|g| [g as f32; LANES])));
        let m = std::array::from_fn(|i| v[i].map(|v| v * u[i][0]));
        for (i, y) in output(m).iter().enumerate() {
            let want: f64 = (0..3).map(|k| g[k] * f64::from(d[i + k][0])).sum();
            assert!(y.iter().all(|y| (f64::from(*y) - want).abs() < 1e-4), "{i}: {y:?} instead of {want}");
        }
    }

    #[test]
    fn both_sizes_filter() {
        filters(two::input, two::kernel, two::output);
        filters(four::input, four::kernel, four::output);
    }
}
