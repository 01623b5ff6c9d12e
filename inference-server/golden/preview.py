"""What diffusers' AutoencoderTiny makes of latents: GOLDEN/preview/NAME/preview_decoder is a decoder with small random weights,
NAME/decoded.safetensors has latents and what comes out.
"""
import shutil

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

from common import GOLDEN

FOLDER = GOLDEN / "preview"
DECODERS = {
    # As TAESD, but narrower: with its encoder, whose tensors are passed over.
    "taesd": dict(decoder_block_out_channels=[8] * 4, encoder_block_out_channels=[8] * 4),
    # As TAESD for other models: more channels in the latents, which are scaled and shifted. Levels without blocks, f32.
    "shifted": dict(decoder_block_out_channels=[12] * 3, num_decoder_blocks=[2, 0, 1], encoder_block_out_channels=[4],
                    num_encoder_blocks=[1], latent_channels=16, scaling_factor=1.5, shift_factor=0.1),
}


def make(name, options):
    torch.manual_seed(sum(name.encode()))
    model = AutoencoderTiny(**options)
    folder = FOLDER / name / "preview_decoder"
    shutil.rmtree(folder.parent, ignore_errors=True)
    for parameter in model.parameters():
        # Random weights of the usual scale make each layer's output smaller than the one before.
        parameter *= 1.6 if parameter.ndim > 1 else 1
    if name == "taesd":
        model.half().save_pretrained(folder)
        model.float()
    else:
        model.save_config(folder)
        decoder = {f"decoder.{key}": value for key, value in model.decoder.state_dict().items()}
        save_file(decoder, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    # Some are beyond 3, where the decoder bends them back.
    latents = 2 * torch.randn(2, model.config.latent_channels, 6, 5)
    config = model.config
    decoded = model.decode(latents / config.scaling_factor + config.shift_factor).sample
    print(f"{name}: decoded to {decoded.mean():.2f} +- {decoded.std():.2f}")
    save_file(dict(latents=latents, decoded=decoded), folder.parent / "decoded.safetensors")


def main():
    for name, options in DECODERS.items():
        make(name, options)


if __name__ == "__main__":
    main()
