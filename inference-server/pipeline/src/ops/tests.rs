//! What a GPU would compute with: candle's operations, here on the CPU, so that they are tested where there is no GPU.

use std::cell::Cell;

use candle_core::{DType, Device};

use crate::golden;
use crate::text_encoder::TextEncoder;
use crate::unet::UNet;
use crate::vae::Vae;

thread_local! {
    /// Whether this thread leaves our kernels alone.
    pub(crate) static ON_CANDLE: Cell<bool> = const { Cell::new(false) };
}

/// Leaves our kernels alone in this thread from now on.
pub(crate) fn on_candle() {
    ON_CANDLE.set(true);
}

#[test]
fn candles_operations_give_diffusers_numbers_too() {
    on_candle();
    for name in golden::NAMES {
        let (checkpoint, want) = (golden::checkpoint(name), golden::tensors(name));
        let load = |part| {
            let config = checkpoint.config(&format!("{part}/config.json")).unwrap();
            (config, checkpoint.weights(part, DType::F32, &Device::Cpu).unwrap())
        };
        let (config, weights) = load("text_encoder");
        let encoder = TextEncoder::load(config, &weights).unwrap();
        let ids = want["ids"].to_dtype(DType::U32).unwrap().narrow(0, 1, 2).unwrap();
        golden::assert_close(&encoder.forward(&ids).unwrap(), &want["embeddings"], name);

        let (config, weights) = load("unet");
        let unet = UNet::load(config, &weights).unwrap();
        let prompt = unet.look_at(&want["context"]).unwrap();
        let (got, _) = unet.forward(&want["latents"], &[981.0, 333.5], &prompt, 0.0, false).unwrap();
        golden::assert_close(&got, &want["unet_mixed"], name);
        if let Some(merged) = golden::merging().get(&format!("unet-{name}-0.5")) {
            let (got, _) = unet.forward(&want["latents"], &[981.0, 333.5], &prompt, 0.5, false).unwrap();
            golden::assert_close(&got, merged, name);
        }

        let (config, weights) = load("vae");
        let vae = Vae::load(config, &weights).unwrap();
        golden::assert_close(&vae.decode(&want["z"]).unwrap(), &want["decoded"], name);
        golden::assert_close(&vae.encode(&want["pixels"]).unwrap().mean, &want["mean"], name);
    }
}
