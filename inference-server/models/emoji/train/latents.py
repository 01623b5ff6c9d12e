"""Brings the VAE's latents to mean 0 and deviation 1, and encodes every concept on every background for the UNet.

Writes MODEL/vae (f32 until export.py) and WORK/latents.pt: {"latents": (variants, concepts, 8, 16, 16) f16, "colours"}.
StableDiffusionPipeline has a scaling factor but no per-channel one, so the affine map goes into quant_conv and
post_quant_conv, which is exact.
"""
import math

import torch
from diffusers import AutoencoderKL

from common import COLOURS, WORK, colour, compose, plain, seed_everything
from concepts import chosen
from vae import CONFIG

WHITES, OTHERS = 6, 2  # drawings of each concept on white, and on each other colour


def trained():
    vae = AutoencoderKL(**CONFIG)
    state = torch.load(WORK / "vae.pt")
    vae.load_state_dict(state["model"])
    for parameter, average in zip(vae.parameters(), state["average"]):
        parameter.data.copy_(average)
    return vae.eval()


def encode(vae, pictures):
    return torch.cat([vae.encode(part).latent_dist.mode() for part in pictures.split(32)])


def fold(vae, pictures):
    z = encode(vae, pictures)
    mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
    n = len(mean)
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:n] /= std[:, None, None, None]
    quant.bias[:n] = (quant.bias[:n] - mean) / std
    quant.bias[n:] -= 2 * std.log()  # the second half is the log-variance
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)


@torch.no_grad()
def main():
    seed_everything(1)
    data = torch.load(WORK / "concepts.pt")
    cutouts = data["cutouts"][chosen(data["labels"])]
    n = len(cutouts)
    vae = trained()
    some = data["cutouts"][torch.randperm(len(data["cutouts"]))[:400]]
    words = ["white"] * 6 + list(COLOURS)  # about the mix that the UNet sees
    pictures = torch.cat([plain(part, words[i]) for i, part in enumerate(some.split(400 // len(words)))][:len(words)])
    before = vae.decode(encode(vae, pictures[:8])).sample
    fold(vae, pictures)
    after = vae.decode(encode(vae, pictures[:8])).sample
    print(f"folding changed the reconstruction by at most {(after - before).abs().max():.1e}")
    mine = plain(cutouts)
    decoded = torch.cat([vae.decode(part).sample for part in encode(vae, mine).split(32)])
    error = (decoded.clamp(-1, 1) - mine).square()
    print(f"PSNR of the {n} concepts on white: {10 * math.log10(4 / error.mean()):.2f} dB")
    vae.save_pretrained(WORK / "vae")

    latents, colours = [], []
    for word in COLOURS:
        for _ in range(WHITES if word == "white" else OTHERS):
            scale, shift = 0.88 + 0.08 * torch.rand(n), (torch.rand(n, 2) - 0.5) * 0.05
            drawn = compose(cutouts, colour(word).expand(n, 3), scale, shift)
            latents.append(encode(vae, drawn).half())
            colours.append(word)
    latents = torch.stack(latents)
    torch.save({"latents": latents, "colours": colours}, WORK / "latents.pt")
    print(tuple(latents.shape), f"deviation {latents.float().std():.3f}")


if __name__ == "__main__":
    main()
