//! Times the kernels at Stable Diffusion's shapes beside the peak that this machine's multiply-adds reach in the same run:
//! `cargo run --release -p diffusion-kernels --example shapes -- f32|bf16 [PART OF A NAME]`, with `RAYON_NUM_THREADS` and
//! `DIFFUSION_CPU_FEATURES`.
#![allow(unsafe_code, reason = "the peak is measured with intrinsics")]

use std::time::Instant;

use diffusion_kernels::{
    Activation, Algorithm, Attention, ConvShape, Element, Epilogue, Level, PackedConv, PackedDoubling,
    PackedMatrix, Rows, Transformed,
};
use half::bf16;

/// Best of so many runs: the machine may be shared.
const RUNS: usize = 7;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("bf16") => shapes::<bf16>("bf16"),
        _ => shapes::<f32>("f32"),
    }
}

fn shapes<T: Element>(name: &str) {
    let level = Level::current();
    let threads = rayon::current_num_threads();
    let peak = peak(level, size_of::<T>() == 2);
    println!("{name}, {}, {threads} threads, multiply-adds reach {peak:.0} GFLOP/s", level.name());
    let only = std::env::args().nth(2).unwrap_or_default();
    let report = |name: String, flop: f64, f: &dyn Fn() -> Vec<T>| {
        if !name.contains(&only) {
            return;
        }
        let seconds = best(|| drop(f()));
        let rate = flop / seconds / 1e9;
        println!("{name:44} {:8.2} ms {rate:7.0} GFLOP/s {:4.0} %", seconds * 1e3, rate / peak * 100.0);
    };
    for [rows, outputs, inputs] in [
        [8192, 320, 320],
        [8192, 2560, 320],
        [8192, 320, 1280],
        [2048, 640, 640],
        [2048, 5120, 640],
        [512, 1280, 1280],
        [512, 1280, 5120],
        [154, 640, 768],
        [77, 3072, 768],
        [2, 1280, 1280],
    ] {
        let weight = numbers::<T>(outputs * inputs);
        let matrix = PackedMatrix::new(level, outputs, inputs, |output, k| weight[output * inputs + k]);
        let x = numbers(rows * inputs);
        let flop = 2.0 * (rows * outputs * inputs) as f64;
        let bias = vec![0.5; outputs];
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        report(format!("matrix {rows} x {inputs} -> {outputs}"), flop, &|| {
            matrix.multiply(&x, rows, &epilogue)
        });
    }
    for [rows, outputs, inputs] in [[8192, 1280, 320], [2048, 2560, 640], [512, 5120, 1280]] {
        let weight = numbers::<T>(2 * outputs * inputs);
        let matrix = PackedMatrix::gated(level, outputs, inputs, |output, k| weight[output * inputs + k]);
        let x = numbers(rows * inputs);
        let flop = 4.0 * (rows * outputs * inputs) as f64;
        let bias = vec![0.5; 2 * outputs];
        let epilogue = Epilogue { bias: Some(&bias), activation: Activation::Gelu, residual: None };
        report(format!("gated matrix {rows} x {inputs} -> {outputs}"), flop, &|| {
            matrix.multiply(&x, rows, &epilogue)
        });
    }
    for ([batch, side, inputs, outputs], kernel, stride) in [
        ([2, 64, 4, 320], 3, 1),
        ([2, 64, 320, 320], 3, 1),
        ([2, 64, 320, 320], 3, 2),
        ([2, 64, 320, 4], 3, 1),
        ([2, 32, 640, 640], 3, 1),
        ([2, 16, 1280, 1280], 3, 1),
        ([2, 8, 1280, 1280], 3, 1),
        ([2, 64, 320, 320], 1, 1),
        ([1, 256, 256, 256], 3, 1),
        ([1, 512, 128, 128], 3, 1),
        ([1, 512, 128, 3], 3, 1),
    ] {
        let (before, after) = (kernel / 2, kernel / 2);
        let shape = ConvShape { outputs, inputs, kernel, stride, before, after };
        let weight = numbers::<T>(outputs * inputs * kernel * kernel);
        let x = numbers(batch * inputs * side * side);
        let out = shape.side(side).unwrap_or(0);
        let flop = 2.0 * (batch * out * out * outputs * inputs * kernel * kernel) as f64;
        let bias = vec![0.5; outputs];
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        for (how, algorithm) in [
            ("", Algorithm::Direct),
            (" F(2,3)", Algorithm::Winograd2(Transformed::Once)),
            (" F(2,3)'", Algorithm::Winograd2(Transformed::EachTime)),
            (" F(4,3)", Algorithm::Winograd4(Transformed::Once)),
            (" F(4,3)'", Algorithm::Winograd4(Transformed::EachTime)),
        ] {
            if algorithm != Algorithm::Direct && (kernel, stride) != (3, 1) {
                continue;
            }
            let conv = PackedConv::new(level, shape, algorithm, |i| weight[i]);
            let name = format!(
                "conv {kernel}x{kernel}/{stride}{how} {batch} x {side}x{side} x {inputs} -> {outputs}"
            );
            report(name, flop, &|| conv.forward(&x, [batch, side, side], &epilogue));
        }
    }
    for [batch, side, channels] in [[2, 32, 640], [2, 16, 1280], [1, 128, 512], [1, 256, 256], [1, 64, 64]] {
        let weight = numbers::<T>(channels * channels * 9);
        let x = numbers(batch * channels * side * side);
        let flop = 8.0 * (batch * side * side * channels * channels * 9) as f64;
        let doubling = PackedDoubling::new(level, channels, channels, |i| weight[i]);
        report(format!("double, conv 3x3 {batch} x {side}x{side} x {channels} -> {channels}"), flop, &|| {
            doubling.forward(&x, [batch, side, side], &Epilogue::default())
        });
    }
    for [batch, heads, head, queries, keys] in [
        [2, 8, 40, 4096, 4096],
        [2, 8, 80, 1024, 1024],
        [2, 8, 160, 256, 256],
        [2, 8, 160, 64, 64],
        [2, 8, 40, 4096, 77],
        [2, 8, 80, 1024, 77],
        [2, 8, 160, 256, 77],
        [2, 12, 64, 77, 77],
        [1, 1, 512, 4096, 4096],
    ] {
        let causal = queries == 77;
        let attention = Attention { heads, head, scale: (head as f32).powf(-0.5), causal };
        let width = heads * head;
        // As a fused projection gives them; keys and values of a prompt come alone.
        let parts = if queries == keys { 3 } else { 1 };
        let (x, prompt) = (numbers::<T>(batch * queries * parts * width), numbers(batch * keys * 2 * width));
        let rows = |numbers, stride, offset| Rows { numbers, stride: stride * width, offset: offset * width };
        let q = rows(&x, parts, 0);
        let [k, v] = match parts {
            3 => [1, 2].map(|i| rows(&x, 3, i)),
            _ => [0, 1].map(|i| rows(&prompt, 2, i)),
        };
        let flop = 4.0 * (batch * heads * queries * keys * head) as f64;
        let name = format!("attention {batch} x {heads} x {queries} x {keys} x {head}");
        report(name, flop, &|| attention.forward(level, q, k, v, [batch, queries, keys]));
    }
}

fn numbers<T: Element>(n: usize) -> Vec<T> {
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 65536.0 - 0.5;
    (0..n).map(|i| T::from_f32(number(i))).collect()
}

fn best(mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        f();
        begin.elapsed().as_secs_f64()
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

/// GFLOP/s of multiply-adds of registers on every thread.
fn peak(level: Level, bf16: bool) -> f64 {
    const ROUNDS: usize = 20_000_000;
    let flop = (ROUNDS * rayon::current_num_threads()) as f64 * flop_of_a_round(level, bf16);
    let seconds = best(|| {
        rayon::broadcast(|_| std::hint::black_box(rounds(level, bf16, std::hint::black_box(ROUNDS))));
    });
    flop / seconds / 1e9
}

fn flop_of_a_round(level: Level, bf16: bool) -> f64 {
    let lanes = match level {
        Level::Avx512Bf16 if bf16 => 32,
        Level::Avx512f | Level::Avx512Bf16 => 16,
        Level::Avx2Fma => 8,
        Level::Portable => 4,
    };
    (2 * lanes * SUMS) as f64
}

/// Sums that do not wait for each other.
const SUMS: usize = 12;

fn rounds(level: Level, bf16: bool, n: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        #[target_feature(enable = "avx512f,avx512bf16")]
        fn half(n: usize) -> f32 {
            let number = _mm512_set1_epi32(std::hint::black_box(0x3f80_3f80));
            // SAFETY: both are 64 bytes of bits.
            let number: __m512bh = unsafe { std::mem::transmute(number) };
            let mut sums = [_mm512_set1_ps(1.0); SUMS];
            for _ in 0..n {
                sums.iter_mut().for_each(|sum| *sum = _mm512_dpbf16_ps(*sum, number, number));
            }
            sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
        }
        #[target_feature(enable = "avx512f")]
        fn wide(n: usize) -> f32 {
            let (a, b) = (_mm512_set1_ps(std::hint::black_box(0.999)), _mm512_set1_ps(0.001));
            let mut sums = [_mm512_set1_ps(1.0); SUMS];
            for _ in 0..n {
                sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, a, b));
            }
            sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
        }
        #[target_feature(enable = "avx2,fma")]
        fn narrow(n: usize) -> f32 {
            let (a, b) = (_mm256_set1_ps(std::hint::black_box(0.999)), _mm256_set1_ps(0.001));
            let mut sums = [_mm256_set1_ps(1.0); SUMS];
            for _ in 0..n {
                sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, a, b));
            }
            sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
        }
        // SAFETY: the machine has the level.
        match level {
            Level::Avx512Bf16 if bf16 => return unsafe { half(n) },
            Level::Avx512f | Level::Avx512Bf16 => return unsafe { wide(n) },
            Level::Avx2Fma => return unsafe { narrow(n) },
            Level::Portable => {}
        }
    }
    let a = std::hint::black_box([0.999f32; 4]);
    let mut sums = [[1f32; 4]; SUMS];
    for _ in 0..n {
        for sum in &mut sums {
            sum.iter_mut().zip(a).for_each(|(x, a)| *x = *x * a + 0.001);
        }
    }
    sums.as_flattened().iter().sum::<f32>() + level as u8 as f32
}
