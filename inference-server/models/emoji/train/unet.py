"""Trains the UNet and the text encoder together on the cached latents. Resumable.

    python unet.py --minutes 60           starts, or goes on from WORK/unet.pt with a fresh learning-rate curve
"""
import argparse
import math
import random
import time

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor

import models
from common import COLOURS, WORK, save_atomically, seed_everything
from concepts import chosen, names
from diffusers import DDIMScheduler


def caption(label, word):
    """What a person might write for this drawing."""
    name = random.choice(names(label)[:1] * 2 + names(label))
    article = "an" if name[0] in "aeiou" else "a"
    text = random.choice([name, name, name, f"{article} {name}", f"{article} {name}", f"a picture of {article} {name}",
                          f"{article} {name} emoji"])
    if word != "white":
        return text + random.choice([f" on a {word} background"] * 3 + [f", {word} background"])
    return text + (" on a white background" if random.random() < 0.1 else "")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--minutes", type=float, default=60)
    args.add_argument("--batch", type=int, default=48)
    args.add_argument("--lr", type=float, default=1e-3)
    args.add_argument("--lr-end", type=float, default=0.03)
    args.add_argument("--seed", type=int, default=0)
    args = args.parse_args()
    seed_everything(args.seed)
    labels = torch.load(WORK / "concepts.pt")["labels"]
    labels = [labels[i] for i in chosen(labels)]
    cache = torch.load(WORK / "latents.pt")
    latents, colours = cache["latents"], cache["colours"]
    whites = [i for i, word in enumerate(colours) if word == "white"]
    others = [i for i, word in enumerate(colours) if word != "white"]

    tokenizer = models.tokenizer()
    text_encoder = models.text_encoder(len(tokenizer)).train()
    unet = models.unet().train()
    unet.set_attn_processor(AttnProcessor())  # the fused attention's backward is slow at these sizes
    text_encoder.set_attn_implementation("eager")
    parameters = [p for p in [*unet.parameters(), *text_encoder.parameters()] if p.requires_grad]
    print(sum(p.numel() for p in parameters) / 1e6, "M parameters,", len(labels), "concepts", flush=True)
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
    average = [p.detach().clone() for p in parameters]
    step, minutes, path = 0, 0.0, WORK / "unet.pt"
    if path.exists():
        state = torch.load(path)
        unet.load_state_dict(state["unet"])
        text_encoder.load_state_dict(state["text_encoder"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, minutes = state["average"], state["step"], state["minutes"]
        random.seed(args.seed + step)
        torch.manual_seed(args.seed + step)

    def save():
        save_atomically(dict(
            unet=unet.state_dict(), text_encoder=text_encoder.state_dict(), optimizer=optimizer.state_dict(),
            average=average, step=step, minutes=minutes + (time.time() - start) / 60), path)

    alphas = DDIMScheduler(**models.SCHEDULE).alphas_cumprod
    ids = {}

    def tokens(text):
        if text not in ids:
            ids[text] = torch.tensor(tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids)
        return ids[text]

    start, first, losses, saved, order = time.time(), step, [], 0.0, []
    while (done := (time.time() - start) / 60 / args.minutes) < 1:
        warm = min(1, (step - first + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm * (args.lr_end + (1 - args.lr_end) * 0.5 * (1 + math.cos(math.pi * done)))
        if len(order) < args.batch:
            order += torch.randperm(len(labels)).tolist()
        picked, order = order[:args.batch], order[args.batch:]
        variants = [random.choice(whites if random.random() < 0.6 else others) for _ in picked]
        clean = latents[variants, picked].float()
        texts = ["" if random.random() < 0.1 else caption(labels[i], colours[k]) for i, k in zip(picked, variants)]
        timesteps = torch.randint(0, 1000, (len(picked),))
        signal = alphas[timesteps].sqrt()[:, None, None, None]
        level = (1 - alphas[timesteps]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        with torch.autocast("cpu", torch.bfloat16):
            context = text_encoder(torch.stack([tokens(text) for text in texts]))[0]
            output = unet(signal * clean + level * noise, timesteps, context).sample
        loss = F.mse_loss(output.float(), signal * noise - level * clean)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(0.998, (step + 1) / (step + 10)))
        losses.append(loss.item())
        if step % 50 == 0:
            recent = losses[-200:]
            print(f"step {step} {time.time() - start:.0f}s {(step - first) / (time.time() - start):.2f} steps/s "
                  f"loss {sum(recent) / len(recent):.4f}", flush=True)
        if time.time() - start > saved + 180:
            saved = time.time() - start
            save()
    save()


if __name__ == "__main__":
    main()
