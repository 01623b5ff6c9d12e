"""Trains the VAE's decoder a little longer on the chosen concepts, with the encoder, and so the UNet's latents, as it is.

    python decoder.py --minutes 5         starts from WORK/vae, or goes on from WORK/vae-sharp; writes WORK/vae-sharp

A little noise on the latents teaches it to forgive what the UNet gets slightly wrong.
"""
import argparse
import math
import time

import torch
from diffusers import AutoencoderKL

from common import WORK, plain, seed_everything
from concepts import chosen
from vae import batch, edges

NOISE = 0.1  # of latents whose deviation is 1


@torch.no_grad()
def psnr(vae, pictures):
    decoded = [vae.decode(vae.encode(part).latent_dist.mode()).sample for part in pictures.split(16)]
    return 10 * math.log10(4 / (torch.cat(decoded).clamp(-1, 1) - pictures).square().mean())


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--minutes", type=float, default=5)
    args.add_argument("--batch", type=int, default=12)
    args.add_argument("--lr", type=float, default=1e-3)
    args.add_argument("--seed", type=int, default=11)
    args = args.parse_args()
    seed_everything(args.seed)
    data = torch.load(WORK / "concepts.pt")
    favourites = torch.tensor(chosen(data["labels"]))
    mine, few = data["cutouts"][favourites], plain(data["cutouts"][favourites[::4]])
    target = WORK / "vae-sharp"
    vae = AutoencoderKL.from_pretrained(target if target.exists() else WORK / "vae").train()
    parameters = [*vae.post_quant_conv.parameters(), *vae.decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    average = [p.detach().clone() for p in parameters]
    before = psnr(vae, few)
    start, step = time.time(), 0
    while (done := (time.time() - start) / 60 / args.minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        x = batch(mine, torch.arange(len(mine)), args.batch)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                z = vae.encode(x).latent_dist.mode()
            y = vae.decode(z + NOISE * torch.rand(len(z), 1, 1, 1) * torch.randn_like(z)).sample
        error = y.float() - x
        loss = error.abs().mean() + error.square().mean() + edges(error)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(0.99, (step + 1) / (step + 20)))
        if step % 50 == 0:
            print(f"step {step} {time.time() - start:.0f}s loss {loss.item():.4f}", flush=True)
    for parameter, mean in zip(parameters, average):
        parameter.data.copy_(mean)
    after = psnr(vae, few)
    print(f"{step} steps: {before:.2f} -> {after:.2f} dB")
    if after > before:
        vae.save_pretrained(target)


if __name__ == "__main__":
    main()
