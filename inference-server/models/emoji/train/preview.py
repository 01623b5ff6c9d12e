"""Trains the tiny decoder that previews are drawn with to do what the VAE's decoder does, at a fraction of its cost. Resumable.

    python preview.py --minutes 15        starts, or goes on from WORK/preview.pt with a fresh learning-rate curve

Reads MODEL/vae, writes MODEL/preview_decoder: diffusers' AutoencoderTiny, decoder alone, f16. A preview's latents are what the
UNet takes for the picture when it is half done: a mean of what it may become. So some latents here are blends of two pictures'
and most have a little noise, while the target is always a clean one.
"""
import argparse
import math
import time

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import save_file

from common import COLOURS, MODEL, WORK, colour, compose, plain, save_atomically, seed_everything
from concepts import chosen
from export import edit
from vae import edges

WIDTH, BLOCKS = 16, (3, 3, 3, 0)  # channels, and residual blocks at 16, 32, 64 and 128 pixels
NOISE = 0.3  # the largest, of latents whose deviation is 1
BLENDS = 1000  # latents that are between two pictures'
WHITES, OTHERS = 4, 1  # drawings of each chosen concept on white, and on each other colour; the rest is on white once


def student(width=WIDTH, blocks=BLOCKS):
    levels = len(blocks)
    # The encoder is what diffusers wants to see in a config; nothing here uses it.
    return AutoencoderTiny(latent_channels=8, decoder_block_out_channels=[width] * levels, num_decoder_blocks=blocks,
                           encoder_block_out_channels=[width] * levels, num_encoder_blocks=[1] * levels)


def decode(vae, latents):
    with torch.no_grad():
        return torch.cat([vae.decode(part.float()).sample.clamp(-1, 1) for part in latents.split(16)])


@torch.no_grad()
def lessons(vae, cutouts, favourites):
    """Latents of drawings `(n, 8, 16, 16)` f16, and what the VAE's decoder makes of them, as bytes."""
    rest = torch.ones(len(cutouts), dtype=torch.bool)
    rest[favourites] = False
    tasks = [("white", cutouts[rest])]
    for word in COLOURS:
        tasks += [(word, cutouts[favourites])] * (WHITES if word == "white" else OTHERS)
    latents, targets = [], []
    for word, some in tasks:
        for part in some.split(32):
            n = len(part)
            drawn = compose(part, colour(word).expand(n, 3), 0.82 + 0.16 * torch.rand(n), (torch.rand(n, 2) - 0.5) * 0.1)
            with torch.autocast("cpu", torch.bfloat16):
                z = vae.encode(drawn).latent_dist.mode().half()
                decoded = decode(vae, z)
            latents.append(z)
            targets.append(((decoded.float() + 1) * 127.5).round().byte())
        print(f"{word}: {sum(map(len, latents))} lessons", flush=True)
    latents, targets = torch.cat(latents), torch.cat(targets)
    one, other = torch.randint(0, len(latents), (2, BLENDS))
    share = torch.rand(BLENDS, 1, 1, 1) / 2
    blends = ((1 - share) * latents[one].float() + share * latents[other].float()).half()
    with torch.autocast("cpu", torch.bfloat16):
        decoded = ((decode(vae, blends).float() + 1) * 127.5).round().byte()
    return torch.cat([latents, blends]), torch.cat([targets, decoded])


def batch(latents, targets, n):
    """Latents, most with noise, and pictures."""
    index = torch.randint(0, len(latents), (n,))
    z, x = latents[index].float(), targets[index].float() / 127.5 - 1
    strength = NOISE * torch.rand(n, 1, 1, 1)
    strength[torch.rand(n) < 0.25] = 0
    return z + strength * torch.randn_like(z), x


def psnr(got, want):
    return 10 * math.log10(4 / (got.clamp(-1, 1) - want.clamp(-1, 1)).square().mean())


@torch.no_grad()
def score(model, vae, pictures):
    z = torch.cat([vae.encode(part).latent_dist.mode() for part in pictures.split(16)])
    return psnr(torch.cat([model.decode(part).sample for part in z.split(16)]), decode(vae, z))


def export(model, folder):
    folder.mkdir(exist_ok=True)
    model.save_config(folder)
    edit(folder / "config.json", _name_or_path=...)
    tensors = {f"decoder.{name}": value.half().contiguous() for name, value in model.decoder.state_dict().items()}
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(0o644)
    print(f"{folder}: {sum(v.numel() for v in tensors.values())} parameters, {file.stat().st_size / 1e3:.0f} kB")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--minutes", type=float, default=15)
    args.add_argument("--batch", type=int, default=8)
    args.add_argument("--lr", type=float, default=3e-3)
    args.add_argument("--seed", type=int, default=12)
    args = args.parse_args()
    seed_everything(args.seed)
    data = torch.load(WORK / "concepts.pt")
    favourites = torch.tensor(chosen(data["labels"]))
    few = plain(data["cutouts"][favourites[::4]])
    vae = AutoencoderKL.from_pretrained(MODEL / "vae", torch_dtype=torch.float32).eval()
    file = WORK / "lessons.pt"
    if not file.exists():
        save_atomically(lessons(vae, data["cutouts"], favourites), file)
    latents, targets = torch.load(file)

    model = student()
    parameters = list(model.decoder.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    average = [p.detach().clone() for p in parameters]
    step, minutes, path = 0, 0.0, WORK / "preview.pt"
    if path.exists():
        state = torch.load(path)
        model.decoder.load_state_dict(state["decoder"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, minutes = state["average"], state["step"], state["minutes"]

    def save():
        save_atomically(dict(decoder=model.decoder.state_dict(), optimizer=optimizer.state_dict(), average=average,
                             step=step, minutes=minutes + (time.time() - start) / 60), path)

    start, first, saved = time.time(), step, 0.0
    while (done := (time.time() - start) / 60 / args.minutes) < 1:
        for group in optimizer.param_groups:
            warm = min(1, (step - first + 1) / 60)
            group["lr"] = args.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        z, x = batch(latents, targets, args.batch)
        with torch.autocast("cpu", torch.bfloat16):
            y = model.decode(z).sample
        error = y.float() - x
        loss = error.abs().mean() + error.square().mean() + edges(error)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(0.998, (step + 1) / (step + 20)))
        if step % 100 == 0:
            print(f"step {step} {time.time() - start:.0f}s loss {loss.item():.4f}", flush=True)
        if time.time() - start > saved + 180:
            saved = time.time() - start
            save()
    save()
    for parameter, mean in zip(parameters, average):
        parameter.data.copy_(mean)
    export(model, MODEL / "preview_decoder")
    print(f"{step} steps, {score(model.half().float().eval(), vae, few):.2f} dB against the VAE's decoder")


if __name__ == "__main__":
    main()
