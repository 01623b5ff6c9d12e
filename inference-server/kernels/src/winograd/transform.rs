//! The transforms of Winograd's minimal filtering in one dimension, for a kernel of three (Lavin and Gray 2016, "Fast
//! algorithms for convolutional neural networks", sections 4.1 and 4.3; the points of the larger one are 0, 1, -1, 2, -2).

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

/// F(4, 3): four results by six products.
pub(super) mod four {
    use super::{Vector, sum};

    /// `B^T d`.
    #[inline(always)]
    pub(in super::super) fn input(d: [Vector; 6]) -> [Vector; 6] {
        let (even, odd) = (sum([(-4.0, &d[2]), (1.0, &d[4])]), sum([(-4.0, &d[1]), (1.0, &d[3])]));
        let (far, near) = (sum([(-1.0, &d[2]), (1.0, &d[4])]), sum([(-2.0, &d[1]), (2.0, &d[3])]));
        [
            sum([(4.0, &d[0]), (-5.0, &d[2]), (1.0, &d[4])]),
            sum([(1.0, &even), (1.0, &odd)]),
            sum([(1.0, &even), (-1.0, &odd)]),
            sum([(1.0, &far), (1.0, &near)]),
            sum([(1.0, &far), (-1.0, &near)]),
            sum([(4.0, &d[1]), (-5.0, &d[3]), (1.0, &d[5])]),
        ]
    }

    /// `A^T m`.
    #[inline(always)]
    pub(in super::super) fn output(m: [Vector; 6]) -> [Vector; 4] {
        let (plus, minus) = (sum([(1.0, &m[1]), (1.0, &m[2])]), sum([(1.0, &m[1]), (-1.0, &m[2])]));
        let (twice, less) = (sum([(1.0, &m[3]), (1.0, &m[4])]), sum([(1.0, &m[3]), (-1.0, &m[4])]));
        [
            sum([(1.0, &m[0]), (1.0, &plus), (1.0, &twice)]),
            sum([(1.0, &minus), (2.0, &less)]),
            sum([(1.0, &plus), (4.0, &twice)]),
            sum([(1.0, &minus), (8.0, &less), (1.0, &m[5])]),
        ]
    }

    /// `G g`.
    #[inline(always)]
    pub(in super::super) fn kernel([a, b, c]: [Vector; 3]) -> [Vector; 6] {
        let (even, odd) = (sum([(-1.0 / 6.0, &a), (-1.0 / 6.0, &c)]), sum([(-1.0 / 6.0, &b)]));
        let (far, near) = (sum([(1.0 / 24.0, &a), (1.0 / 6.0, &c)]), sum([(1.0 / 12.0, &b)]));
        [
            sum([(0.25, &a)]),
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
