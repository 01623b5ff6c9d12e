"""How far torch in bf16 is from the golden tensors and pictures, which are f32: the bar that our bf16 is held to. It goes
into GOLDEN/models/NAME.json; pictures and tensors stay as they are, so that this can run alone.
"""
import json
import sys

import numpy
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import torch_utils
from PIL import Image
from safetensors.torch import load_file

from bundled import MODEL
from checkpoints import ARCHITECTURES
from common import CHECKPOINTS
from models import FOLDER, draw, honour_shift

RANDN = torch_utils.randn_tensor


def same_noise(*args, dtype=None, **options):
    """What f32 draws, rounded; from the same seed torch draws other numbers for another type."""
    drawn = RANDN(*args, dtype=torch.float32, **options)
    return drawn if dtype is None else drawn.to(dtype)


def replace_noise():
    """diffusers' modules each have the function under their own name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("diffusers.") and vars(module).get("randn_tensor") is RANDN:
            module.randn_tensor = same_noise


def error(got, want):
    """Norm of the difference relative to the norm."""
    return float(f"{(got.double() - want.double()).norm() / want.double().norm():.3e}")


def errors(pipe, golden):
    """Of every part, from the golden tensors that the f32 one starts from, rounded."""
    latents, context, z, pixels = (golden[key].bfloat16() for key in ("latents", "context", "z", "pixels"))
    got = dict(
        embeddings=pipe.text_encoder(golden["ids"].long())[0][1:3],
        unet_1=pipe.unet(latents, torch.tensor([1.0, 1.0]), context).sample,
        unet_mixed=pipe.unet(latents, torch.tensor([981.0, 333.5]), context).sample,
        decoded=pipe.vae.decode(z).sample, mean=pipe.vae.encode(pixels).latent_dist.mean)
    return {key: error(value, golden[key]) for key, value in got.items()}


def psnr(got, want):
    """Peak signal-to-noise ratio in dB."""
    got, want = (numpy.asarray(picture, dtype=numpy.float64) for picture in (got, want))
    return round(float(10 * numpy.log10(255**2 / max(((got - want)**2).mean(), 1e-9))), 2)


def measure(name, folder):
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    replace_noise()
    manifest = json.loads((FOLDER / f"{name}.json").read_text())
    tensors = FOLDER / f"{name}.safetensors"
    if tensors.exists():
        manifest["torch_bf16_error"] = errors(pipe, load_file(tensors))
    if pipe.vae.config.shift_factor:
        honour_shift(pipe.vae)
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    for picture in manifest["pictures"]:
        # The manifest has the size that came out; the generators' tables, what diffusers was asked for.
        asked = {side: picture[side] // max(factor, 4) * 8 for side in ("width", "height") if side in picture}
        drawn, _ = draw(pipe, dict(picture, **asked), factor)
        with Image.open(FOLDER / picture["file"]) as golden:
            picture["torch_bf16_psnr"] = psnr(drawn, golden)
    (FOLDER / f"{name}.json").write_text(json.dumps(manifest, indent=1) + "\n")


def main():
    for name in ARCHITECTURES:
        measure(name, CHECKPOINTS / name)
    measure("emoji", MODEL)


if __name__ == "__main__":
    main()
