use candle_core::{DType, Device, IndexOp, Tensor};

use super::Merge;
use crate::golden;
use crate::noise::TorchGenerator;
use crate::ops::tests::ON_CANDLE;

const TYPES: [DType; 2] = [DType::F32, DType::BF16];

fn bits(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn random(batch: usize, tokens: usize, width: usize) -> Tensor {
    TorchGenerator::new(7).randn(&[batch, tokens, width]).unwrap()
}

/// Merged and copied back.
fn there_and_back(x: &Tensor, merge: &Merge) -> Tensor {
    merge.unmerge_onto(&merge.merge(x).unwrap(), &x.zeros_like().unwrap()).unwrap()
}

/// `x`, merged as its own directions say.
fn merged(x: &Tensor, size: (usize, usize), ratio: f64) -> Tensor {
    Merge::of(x, size, ratio).unwrap().map_or(x.clone(), |merge| there_and_back(x, &merge))
}

fn tokens_are_tomesds_own() {
    let want = golden::merging();
    let maps = want.keys().filter_map(|key| key.strip_prefix("tokens-"));
    let mut seen = 0;
    for name in maps {
        let sides: Vec<usize> = name.split(['x', '-']).map(|n| n.parse().unwrap()).collect();
        let [height, width, removed] = sides.try_into().unwrap();
        // Half a token more, so that the product cannot fall below.
        let ratio = (removed as f64 + 0.5) / (height * width) as f64;
        let x = &want[&format!("tokens-{name}")];
        let merge = Merge::of(x, (height, width), ratio).unwrap().unwrap();
        assert_eq!(merge.merge(x).unwrap().dims(), [2, height * width - removed, 12], "{name}");
        golden::assert_close(&there_and_back(x, &merge), &want[&format!("merged-{name}")], name);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn merged_tokens_are_tomesds_own() {
    tokens_are_tomesds_own();
}

#[test]
fn merged_tokens_are_tomesds_own_on_candles_operations() {
    ON_CANDLE.set(true);
    tokens_are_tomesds_own();
}

#[test]
fn tokens_that_are_the_same_are_merged_without_a_loss() {
    for dtype in TYPES {
        for (height, width) in [(8, 8), (6, 10), (2, 2), (16, 4)] {
            let cells = random(2, height * width / 4, 40).to_dtype(dtype).unwrap();
            let cell = |token: usize| (token / width / 2 * (width / 2) + token % width / 2) as u32;
            let ids = Tensor::from_iter((0..height * width).map(cell), &Device::Cpu).unwrap();
            let x = cells.index_select(&ids, 1).unwrap();
            for ratio in [0.01, 0.25, 0.5, 0.75] {
                let got = merged(&x, (height, width), ratio);
                // The sum of four is exact; that of three, or more of cells that are alike, is rounded.
                for (got, want) in bits(&got).into_iter().zip(bits(&x)) {
                    assert!((got - want).abs() <= 1e-6 * want.abs(), "{dtype:?} {height} x {width}: {ratio}");
                }
            }
        }
    }
}

#[test]
fn any_size_is_merged_as_far_as_there_are_whole_cells() {
    for dtype in TYPES {
        for height in [0, 1, 2, 3, 9, 17] {
            for width in [0, 1, 2, 5, 9, 40] {
                let (tokens, cells) = (height * width, (height / 2) * (width / 2));
                let x = random(2, tokens, 7).to_dtype(dtype).unwrap();
                for ratio in [0.0, 1e-9, 0.3, 0.75, 1.0] {
                    let what = format!("{dtype:?} {height} x {width}: {ratio}");
                    let removed = ((tokens as f64 * ratio) as usize).min(tokens - cells);
                    match Merge::of(&x, (height, width), ratio).unwrap() {
                        None => assert!(cells == 0 || removed == 0, "{what}"),
                        Some(merge) => {
                            assert_eq!(merge.kept, tokens - removed, "{what}");
                            assert_eq!(merge.merge(&x).unwrap().dims(), [2, tokens - removed, 7], "{what}");
                            assert_eq!(there_and_back(&x, &merge).dims(), x.dims(), "{what}");
                        }
                    }
                }
            }
        }
    }
}

/// By definition, in f64: no source that stays is much more similar to a destination than one that goes, and each goes to
/// one that is about as similar as any.
#[test]
fn the_most_similar_tokens_are_merged() {
    let (height, width, channels, ratio) = (18, 22, 33, 0.4);
    // Two scores of bf16, not further from 0 than 1, each rounded to 8 bits.
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::BF16, 2.0 / 256.0)] {
        let x = random(1, height * width, channels).to_dtype(dtype).unwrap();
        let merge = Merge::of(&x, (height, width), ratio).unwrap().unwrap();
        let numbers: Vec<Vec<f64>> = x.i(0).unwrap().to_dtype(DType::F64).unwrap().to_vec2().unwrap();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = |a: usize, b: usize| {
            let (a, b) = (&numbers[a], &numbers[b]);
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let leads = |token: usize| (token / width).is_multiple_of(2) && (token % width).is_multiple_of(2);
        let destinations: Vec<usize> = (0..height * width).filter(|&token| leads(token)).collect();
        let groups = merge.rows[0].groups();
        let (mut least_gone, mut most_kept) = (f64::INFINITY, f64::NEG_INFINITY);
        for source in (0..height * width).filter(|&token| !leads(token)) {
            let best = destinations.iter().map(|&to| cosine(source, to)).fold(f64::NEG_INFINITY, f64::max);
            let group = &groups[merge.rows[0].place[source] as usize];
            match group.iter().find(|&&member| leads(member as usize)) {
                None => most_kept = most_kept.max(best),
                Some(&to) => {
                    assert!(cosine(source, to as usize) >= best - tolerance, "{dtype:?}");
                    least_gone = least_gone.min(best);
                }
            }
        }
        assert!(least_gone >= most_kept - tolerance, "{dtype:?}: {least_gone} {most_kept}");
    }
}

#[test]
fn a_row_is_merged_the_same_whatever_else_is_in_the_batch_and_however_many_threads() {
    for dtype in TYPES {
        let x = random(3, 30 * 26, 20).to_dtype(dtype).unwrap();
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&merged(&x, (30, 26), 0.5)))
        };
        let all = with(1);
        assert_eq!(with(3), all, "{dtype:?}");
        for row in 0..3 {
            let alone = merged(&x.narrow(0, row, 1).unwrap(), (30, 26), 0.5);
            assert_eq!(bits(&alone), all[row * 30 * 26 * 20..][..30 * 26 * 20], "{dtype:?}");
        }
    }
}

#[test]
fn tokens_without_a_direction_are_merged_too() {
    for number in [0.0, f32::NAN, f32::INFINITY] {
        for on_candle in [false, true] {
            ON_CANDLE.set(on_candle);
            let x = Tensor::full(number, (1, 36, 5), &Device::Cpu).unwrap();
            let merge = Merge::of(&x, (6, 6), 0.5).unwrap().unwrap();
            assert_eq!(there_and_back(&x, &merge).dims(), x.dims());
        }
    }
}

#[test]
fn what_does_not_belong_together_is_an_error() {
    let x = random(2, 36, 5);
    assert!(Merge::of(&x, (6, 7), 0.5).is_err());
    let merge = Merge::of(&x, (6, 6), 0.5).unwrap().unwrap();
    assert!(merge.merge(&random(2, 35, 5)).is_err() && merge.merge(&random(1, 36, 5)).is_err());
    assert!(merge.unmerge_onto(&x, &x).is_err());
    assert!(merge.unmerge_onto(&merge.merge(&x).unwrap(), &random(2, 36, 6)).is_err());
}
