use half::bf16;

use super::*;
use crate::testing::{Random, levels, with_threads};

/// Sizes of a problem, and how its rows lie in wider ones.
#[derive(Debug, Clone, Copy)]
struct Shape {
    batch: usize,
    queries: usize,
    keys: usize,
    attention: Attention,
}

/// Queries, keys and values in rows of 3 widths and a little more, as a fused projection gives them.
struct Inputs<T> {
    q: Vec<T>,
    kv: Vec<T>,
    width: usize,
    stride: usize,
}

impl<T: Element> Inputs<T> {
    fn new(random: &mut Random, shape: &Shape, spare: usize, size: f32) -> Self {
        let Shape { batch, queries, keys, attention } = *shape;
        let width = attention.heads * attention.head;
        let stride = 3 * width + spare;
        let mut numbers = |n: usize| {
            random.numbers(n * stride).into_iter().map(|x| T::from_f32(x * size)).collect::<Vec<_>>()
        };
        Self { q: numbers(batch * queries), kv: numbers(batch * keys), width, stride }
    }

    fn rows(&self) -> [Rows<'_, T>; 3] {
        let Self { q, kv, width, stride } = self;
        let rows = |numbers, i| Rows { numbers, stride: *stride, offset: i * width };
        [rows(q, 0), rows(kv, 1), rows(kv, 2)]
    }
}

fn run<T: Element>(level: Level, shape: &Shape, [q, k, v]: [Rows<'_, T>; 3]) -> Vec<T> {
    shape.attention.forward(level, q, k, v, [shape.batch, shape.queries, shape.keys])
}

/// Every number, and how far from it a result may be: as far as an error of some last bits in every score, weight and
/// value, and in the sums of them, can take it.
fn reference<T: Element>(shape: &Shape, [q, k, v]: [Rows<'_, T>; 3]) -> Vec<(f64, f64)> {
    let Shape { batch, queries, keys, attention: Attention { heads, head, scale, causal } } = *shape;
    let mut results = Vec::new();
    for (b, i) in (0..batch).flat_map(|b| (0..queries).map(move |i| (b, i))) {
        let row = |rows: Rows<'_, T>, row: usize, h: usize| {
            rows.part(row, h * head, head).iter().map(|x| f64::from(x.to_f32())).collect::<Vec<_>>()
        };
        for h in 0..heads {
            let seen = if causal { keys.min(i + 1) } else { keys };
            let query = row(q, b * queries + i, h);
            let score = |j: usize| {
                let products =
                    query.iter().zip(row(k, b * keys + j, h)).map(|(q, k)| q * k * f64::from(scale));
                products.fold((0.0, 0.0), |sum, x| (sum.0 + x, sum.1 + x.abs()))
            };
            let scores: Vec<_> = (0..seen).map(score).collect();
            let highest = scores.iter().map(|score| score.0).fold(f64::NEG_INFINITY, f64::max);
            let size = scores.iter().map(|score| score.1).fold(0.0, f64::max);
            let weights: Vec<_> = scores.iter().map(|score| (score.0 - highest).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let values: Vec<_> = (0..seen).map(|j| row(v, b * keys + j, h)).collect();
            for c in 0..head {
                let terms = weights.iter().zip(&values).map(|(w, v)| w / sum * v[c]);
                let (result, absolute) = terms.fold((0.0, 0.0), |sum, x| (sum.0 + x, sum.1 + x.abs()));
                let exact = 1e-6 * (1.0 + size);
                let rounding = if T::GROUP == 2 { 2f64.powi(-8) } else { 0.0 };
                results.push((
                    result,
                    1e-30 + absolute * (2.0 * exact + 1.1 * rounding) + result.abs() * rounding,
                ));
            }
        }
    }
    results
}

fn assert_as_reference<T: Element>(level: Level, shape: &Shape, inputs: &Inputs<T>) {
    let (got, want) = (run(level, shape, inputs.rows()), reference(shape, inputs.rows()));
    assert_eq!(got.len(), want.len(), "{level:?} {shape:?}");
    for (i, (got, (want, bound))) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got.to_f32()) - want).abs();
        assert!(error <= bound, "{level:?} {shape:?}: {got:?} instead of {want} (+- {bound}) at {i}");
    }
}

fn shape([batch, queries, keys]: [usize; 3], [heads, head]: [usize; 2], causal: bool) -> Shape {
    Shape {
        batch,
        queries,
        keys,
        attention: Attention { heads, head, scale: 1.0 / (head as f32).sqrt(), causal },
    }
}

fn every_shape<T: Element>(seed: u64) {
    let mut random = Random::new(seed);
    for level in levels() {
        let mut shapes = vec![
            shape([2, 100, 77], [2, 40], false),
            shape([1, 64, 64], [2, 160], false),
            shape([1, 77, 77], [3, 64], true),
            shape([1, 13, 1100], [1, 80], false),
            shape([1, 7, 600], [1, 512], false),
            shape([1, 0, 5], [2, 8], false),
            shape([1, 5, 0], [2, 8], false),
            shape([0, 5, 5], [2, 8], false),
            shape([1, 1, 1], [1, 1], true),
            shape([1, 600, 600], [1, 3], true),
            shape([1, 20, 700], [1, 5], true),
            shape([1, 700, 20], [1, 5], true),
        ];
        shapes.extend((0..60).map(|i| {
            let sizes =
                [1 + random.below(2), random.below(30), random.below(if i % 4 == 0 { 1200 } else { 90 })];
            shape(sizes, [1 + random.below(3), 1 + random.below(90)], i % 3 == 0)
        }));
        for (i, shape) in shapes.iter().enumerate() {
            // Scores of about 1, and of up to 80 and more.
            let size = [1.0, 2.0, 12.0][i % 3];
            let inputs = Inputs::<T>::new(&mut random, shape, i % 5, size);
            assert_as_reference(level, shape, &inputs);
        }
    }
}

#[test]
fn every_level_attends_in_any_shape_in_f32() {
    every_shape::<f32>(1);
}

#[test]
fn every_level_attends_in_any_shape_in_bf16() {
    every_shape::<bf16>(2);
}

/// Scores rise, fall, or are far below those of other keys.
fn extremes<T: Element>() {
    for level in levels() {
        for keys in [70, 1300] {
            for slope in [80.0, -80.0, 1e30] {
                let shape = Shape {
                    batch: 1,
                    queries: 9,
                    keys,
                    attention: Attention { heads: 1, head: 2, scale: 1.0, causal: false },
                };
                let numbers = |f: &dyn Fn(usize) -> f32, n: usize| {
                    (0..2 * n).map(|i| T::from_f32(f(i / 2))).collect::<Vec<_>>()
                };
                let q = numbers(&|_| slope, 9);
                let k = numbers(&|key| key as f32 / keys as f32 - 0.5, keys);
                let v = numbers(&|key| if key % 2 == 0 { 1.0 } else { -0.5 }, keys);
                let rows = [&q, &k, &v].map(|x| Rows::contiguous(x, 2));
                let (got, want) = (run(level, &shape, rows), reference(&shape, rows));
                for (got, (want, bound)) in got.iter().zip(want) {
                    let got = f64::from(got.to_f32());
                    assert!((-0.5..=1.0).contains(&got), "{level:?} {keys} {slope}: {got}");
                    assert!(
                        slope > 80.0 || (got - want).abs() <= bound,
                        "{level:?} {keys} {slope}: {got} {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    extremes::<f32>();
    extremes::<bf16>();
}

fn hidden<T: Element>() {
    let mut random = Random::new(5);
    for level in levels() {
        let shape = shape([1, 40, 600], [1, 6], true);
        let inputs = Inputs::<T>::new(&mut random, &shape, 0, 1.0);
        let mut changed = Inputs { q: inputs.q.clone(), kv: inputs.kv.clone(), ..inputs };
        // Later keys and values, for the queries before them.
        changed.kv[20 * inputs.stride..].iter_mut().for_each(|x| *x = T::from_f32(50.0));
        let [before, after] = [&inputs, &changed].map(|inputs| run(level, &shape, inputs.rows()));
        assert_eq!(before[..20 * 6], after[..20 * 6], "{level:?}");
        assert_ne!(before[20 * 6..], after[20 * 6..], "{level:?}");
    }
}

#[test]
fn what_comes_later_changes_no_bit() {
    hidden::<f32>();
    hidden::<bf16>();
}

#[test]
fn what_is_not_a_number_is_not_hidden() {
    for level in levels() {
        let shape = shape([1, 20, 100], [1, 16], false);
        let mut inputs = Inputs::<bf16>::new(&mut Random::new(6), &shape, 0, 1.0);
        inputs.q[7 * inputs.stride] = bf16::NAN;
        let result = run(level, &shape, inputs.rows());
        for (i, x) in result.iter().enumerate() {
            assert_eq!(x.is_nan(), i / 16 == 7, "{level:?} {i}");
        }
    }
}

fn alone<T: Element>(seed: u64) {
    let mut random = Random::new(seed);
    for level in levels() {
        let all = shape([3, 210, 530], [2, 23], false);
        let Inputs { q, kv, width, stride } = Inputs::<T>::new(&mut random, &all, 2, 2.0);
        let inputs = |b: std::ops::Range<usize>| Inputs {
            q: q[b.start * all.queries * stride..b.end * all.queries * stride].to_vec(),
            kv: kv[b.start * all.keys * stride..b.end * all.keys * stride].to_vec(),
            width,
            stride,
        };
        let one = with_threads(1, || run(level, &all, inputs(0..3).rows()));
        assert_eq!(one, with_threads(3, || run(level, &all, inputs(0..3).rows())), "{level:?}");
        for b in 0..3 {
            let alone = run(level, &Shape { batch: 1, ..all }, inputs(b..b + 1).rows());
            assert_eq!(alone, one[b * all.queries * width..][..all.queries * width], "{level:?} {b}");
        }
        // A query's result does not depend on the others.
        let first = inputs(0..1);
        let [q, k, v] = first.rows();
        let last = Rows { offset: 209 * stride, ..q };
        let alone = run(level, &Shape { batch: 1, queries: 1, ..all }, [last, k, v]);
        assert_eq!(alone, one[209 * width..][..width], "{level:?}");
    }
}

#[test]
fn threads_and_the_rest_of_the_batch_change_no_bit() {
    alone::<f32>(3);
    alone::<bf16>(4);
}
