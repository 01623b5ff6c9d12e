//! Attention: of a picture to itself, to a prompt, of a prompt to itself, and the decoder's.

use std::io;

use diffusion_kernels::{Attention, Element, Rows};

use crate::suite::{Suite, numbers};

pub(crate) fn attentions<T: Element>(suite: &mut Suite<'_, T>) -> io::Result<()> {
    let level = suite.level;
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
        let name = format!("attention {batch} x {heads} x {queries} x {keys} x {head}");
        suite.products(&name, 4 * batch * heads * queries * keys * head, || {
            let causal = queries == 77;
            let attention = Attention { heads, head, scale: (head as f32).powf(-0.5), causal };
            let width = heads * head;
            // As a fused projection gives them; keys and values of a prompt come alone.
            let parts = if queries == keys { 3 } else { 1 };
            let x = numbers::<T>(batch * queries * parts * width, 0.5);
            let prompt = numbers::<T>(batch * keys * 2 * width, 0.5);
            move || {
                let part = |i| Rows { numbers: &x, stride: parts * width, offset: i * width };
                let of_prompt = |i| Rows { numbers: &prompt, stride: 2 * width, offset: i * width };
                let [k, v] = if parts == 3 { [part(1), part(2)] } else { [of_prompt(0), of_prompt(1)] };
                attention.forward(level, part(0), k, v, [batch, queries, keys])
            }
        })?;
    }
    Ok(())
}
