"""Trains the VAE: 128 x 128 pixels <-> 16 x 16 x 8 latents. Resumable.

    python vae.py --minutes 30            starts, or goes on from WORK/vae.pt with a fresh learning-rate curve
"""
import argparse
import math
import time

import torch
from diffusers import AutoencoderKL

from common import COLOURS, SIZE, WORK, compose, save_atomically, seed_everything
from concepts import chosen

CONFIG = dict(
    in_channels=3, out_channels=3, latent_channels=8, layers_per_block=1, norm_num_groups=8, sample_size=SIZE,
    block_out_channels=[16, 32, 64, 128],
    down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
)


def batch(cutouts, favourites, n):
    """Three quarters of it the concepts that the UNet will draw, the rest anything."""
    some = favourites[torch.randint(0, len(favourites), (n,))]
    anything = torch.randint(0, len(cutouts), (n,))
    index = torch.where(torch.rand(n) < 0.75, some, anything)
    palette = torch.tensor([COLOURS["white"]] * 8 + list(COLOURS.values())).float() / 255
    background = palette[torch.randint(0, len(palette), (n,))]
    pictures = compose(cutouts[index], background, 0.82 + 0.16 * torch.rand(n), (torch.rand(n, 2) - 0.5) * 0.1)
    flip = torch.rand(n) < 0.25
    pictures[flip] = pictures[flip].flip(-1)
    return pictures


def edges(x):
    return (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--minutes", type=float, default=30)
    args.add_argument("--batch", type=int, default=12)
    args.add_argument("--lr", type=float, default=2e-3)
    args.add_argument("--seed", type=int, default=0)
    args = args.parse_args()
    seed_everything(args.seed)
    data = torch.load(WORK / "concepts.pt")
    cutouts = data["cutouts"]
    favourites = torch.tensor(chosen(data["labels"]))
    vae = AutoencoderKL(**CONFIG)
    parameters = list(vae.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    average = [p.detach().clone() for p in parameters]
    step, minutes, path = 0, 0.0, WORK / "vae.pt"
    if path.exists():
        state = torch.load(path)
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, minutes = state["average"], state["step"], state["minutes"]

    def save():
        save_atomically(dict(model=vae.state_dict(), optimizer=optimizer.state_dict(), average=average, step=step,
                             minutes=minutes + (time.time() - start) / 60), path)

    start, first, errors, saved = time.time(), step, [], 0.0
    while (done := (time.time() - start) / 60 / args.minutes) < 1:
        warm = min(1, (step - first + 1) / 60)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        x = batch(cutouts, favourites, args.batch)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.sample()).sample
        error = y.float() - x
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        loss = error.abs().mean() + error.square().mean() + 0.5 * edges(error) + 1e-4 * kl
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        decay = min(0.998, (step + 1) / (step + 20))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        errors.append(error.square().mean().item())
        if step % 100 == 0 or step in (5, 20):
            recent = errors[-100:]
            psnr = 10 * math.log10(4 * len(recent) / sum(recent))
            rate = (step - first) * args.batch / (time.time() - start)
            print(f"step {step} {time.time() - start:.0f}s {rate:.1f} pictures/s PSNR {psnr:.2f} dB KL {kl.item():.2f}",
                  flush=True)
        if time.time() - start > saved + 180:
            saved = time.time() - start
            save()
    save()


if __name__ == "__main__":
    main()
