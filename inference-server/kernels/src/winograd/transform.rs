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

/// `OUT` results of a kernel of three from `IN = OUT + 2` numbers by `IN` products.
pub(super) trait Transform: Send + Sync + 'static {
    const OUT: usize;
    const IN: usize;

    /// `B^T d`.
    fn input(d: &[Vector], result: &mut [Vector]);

    /// `A^T m`.
    fn output(m: &[Vector], result: &mut [Vector]);

    /// `G g`.
    fn kernel(g: [f64; 3]) -> [f64; 6];
}

/// F(2, 3).
#[derive(Debug, Clone, Copy)]
pub(super) struct Two;

impl Transform for Two {
    const OUT: usize = 2;
    const IN: usize = 4;

    #[inline(always)]
    fn input(d: &[Vector], result: &mut [Vector]) {
        result[0] = sum([(1.0, &d[0]), (-1.0, &d[2])]);
        result[1] = sum([(1.0, &d[1]), (1.0, &d[2])]);
        result[2] = sum([(-1.0, &d[1]), (1.0, &d[2])]);
        result[3] = sum([(1.0, &d[1]), (-1.0, &d[3])]);
    }

    #[inline(always)]
    fn output(m: &[Vector], result: &mut [Vector]) {
        result[0] = sum([(1.0, &m[0]), (1.0, &m[1]), (1.0, &m[2])]);
        result[1] = sum([(1.0, &m[1]), (-1.0, &m[2]), (-1.0, &m[3])]);
    }

    fn kernel([a, b, c]: [f64; 3]) -> [f64; 6] {
        [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c, 0.0, 0.0]
    }
}

/// F(4, 3).
#[derive(Debug, Clone, Copy)]
pub(super) struct Four;

impl Transform for Four {
    const OUT: usize = 4;
    const IN: usize = 6;

    #[inline(always)]
    fn input(d: &[Vector], result: &mut [Vector]) {
        let (even, odd) = (sum([(-4.0, &d[2]), (1.0, &d[4])]), sum([(-4.0, &d[1]), (1.0, &d[3])]));
        let (far, near) = (sum([(-1.0, &d[2]), (1.0, &d[4])]), sum([(-2.0, &d[1]), (2.0, &d[3])]));
        result[0] = sum([(4.0, &d[0]), (-5.0, &d[2]), (1.0, &d[4])]);
        result[1] = sum([(1.0, &even), (1.0, &odd)]);
        result[2] = sum([(1.0, &even), (-1.0, &odd)]);
        result[3] = sum([(1.0, &far), (1.0, &near)]);
        result[4] = sum([(1.0, &far), (-1.0, &near)]);
        result[5] = sum([(4.0, &d[1]), (-5.0, &d[3]), (1.0, &d[5])]);
    }

    #[inline(always)]
    fn output(m: &[Vector], result: &mut [Vector]) {
        let (plus, minus) = (sum([(1.0, &m[1]), (1.0, &m[2])]), sum([(1.0, &m[1]), (-1.0, &m[2])]));
        let (twice, less) = (sum([(1.0, &m[3]), (1.0, &m[4])]), sum([(1.0, &m[3]), (-1.0, &m[4])]));
        result[0] = sum([(1.0, &m[0]), (1.0, &plus), (1.0, &twice)]);
        result[1] = sum([(1.0, &minus), (2.0, &less)]);
        result[2] = sum([(1.0, &plus), (4.0, &twice)]);
        result[3] = sum([(1.0, &minus), (8.0, &less), (1.0, &m[5])]);
    }

    fn kernel([a, b, c]: [f64; 3]) -> [f64; 6] {
        let (even, odd) = ((a + c) / -6.0, b / -6.0);
        let (far, near) = (a / 24.0 + c / 6.0, b / 12.0);
        [a / 4.0, even + odd, even - odd, far + near, far - near, c]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters<X: Transform>() {
        let d: Vec<Vector> = (0..X::IN).map(|i| [(i * i) as f32 - 3.0 * i as f32 + 1.0; LANES]).collect();
        let g = [0.5, -2.0, 3.0];
        let (mut v, mut y) = (vec![[0.0; LANES]; X::IN], vec![[0.0; LANES]; X::OUT]);
        X::input(&d, &mut v);
        let u = X::kernel(g);
        let m: Vec<Vector> = v.iter().zip(u).map(|(v, u)| v.map(|v| v * u as f32)).collect();
        X::output(&m, &mut y);
        for (i, y) in y.iter().enumerate() {
            let want: f64 = (0..3).map(|k| g[k] * f64::from(d[i + k][0])).sum();
            assert!(y.iter().all(|y| (f64::from(*y) - want).abs() < 1e-4), "{i}: {y:?} instead of {want}");
        }
    }

    #[test]
    fn both_sizes_filter() {
        filters::<Two>();
        filters::<Four>();
    }
}
