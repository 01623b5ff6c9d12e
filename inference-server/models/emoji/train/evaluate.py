"""Scores the exported checkpoint: does the picture show what the prompt says?

    python evaluate.py [--model FOLDER] [--steps N] [--guidance G] [--dry]

Draws the prompts of prompts.txt with seeds 0, 1, 2, ... through StableDiffusionPipeline and looks for each picture's
nearest neighbour among all 1,601 concept pictures. Writes MODEL/evaluation.json (not with --dry).
"""
import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline

from common import COLOURS, HERE, MODEL, WORK, colour, compose, plain, seed_everything
from concepts import chosen

EDGES = 1.5  # weight of the edge features
BACKGROUND_SEED = 1000


def lines(name):
    """(prompt, [accepted]) of each line."""
    for line in (HERE / name).read_text().splitlines():
        if line and not line.startswith("#"):
            prompt, _, accepted = line.partition("=")
            yield prompt.strip(), [label.strip() for label in accepted.split(";")]


def features(pictures):
    """Pixels at 24 x 24 and, at the same size, how strong the edges are; both forgive a pixel's shift or blur."""
    found = []
    for part in pictures.split(64):
        low = F.interpolate(part, size=(24, 24), mode="bilinear", antialias=True)
        half = F.interpolate(part, size=(64, 64), mode="bilinear", antialias=True)
        across = F.pad((half[..., 1:] - half[..., :-1]).abs(), (0, 1))
        down = F.pad((half[..., 1:, :] - half[..., :-1, :]).abs(), (0, 0, 0, 1))
        edges = F.interpolate(torch.cat([across, down], 1), size=(24, 24), mode="bilinear", antialias=True)
        found.append(torch.cat([low.flatten(1), EDGES * edges.flatten(1)], 1))
    return torch.cat(found)


def ranking(pictures, references, among):
    """For each picture the labels' indices, nearest first."""
    distance = torch.cdist(features(pictures), references[among])
    return torch.tensor(among)[distance.argsort(1)]


def ceiling(vae, cutouts, mine, references, labels):
    """Top-1 of the VAE's own reconstructions of the real pictures, drawn at the places and sizes of training."""
    n = len(mine)
    scale, shift = 0.88 + 0.08 * torch.rand(n), (torch.rand(n, 2) - 0.5) * 0.05
    real = compose(cutouts[mine], colour("white").expand(n, 3), scale, shift)
    decoded = torch.cat([vae.decode(vae.encode(p).latent_dist.mode()).sample for p in real.split(16)]).clamp(-1, 1)
    first = ranking(decoded, references, list(range(len(labels))))[:, 0].tolist()
    return sum(labels[a] == labels[b] for a, b in zip(first, mine)) / n


def draw(pipe, prompts, first_seed, steps, guidance, batch=20):
    drawn = []
    for at in range(0, len(prompts), batch):
        seeds = [torch.Generator().manual_seed(first_seed + at + i) for i in range(len(prompts[at:at + batch]))]
        drawn.append(pipe(prompts[at:at + batch], num_inference_steps=steps, guidance_scale=guidance, generator=seeds,
                          output_type="pt").images * 2 - 1)
    return torch.cat(drawn)


def border_word(picture):
    """The colour word nearest to the mean of the outermost three pixels."""
    inside = torch.zeros(picture.shape[1:], dtype=torch.bool)
    inside[3:-3, 3:-3] = True
    mean = (picture[:, ~inside].mean(1) + 1) * 127.5
    return min(COLOURS, key=lambda word: (mean - torch.tensor(COLOURS[word])).square().sum().item())


@torch.no_grad()
def main():
    args = argparse.ArgumentParser()
    args.add_argument("--model", type=Path, default=MODEL)
    args.add_argument("--steps", type=int)
    args.add_argument("--guidance", type=float)
    args.add_argument("--dry", action="store_true")
    args = args.parse_args()
    seed_everything(7)
    defaults = json.loads((args.model / "generation_config.json").read_text())
    steps = args.steps or defaults["num_inference_steps"]
    guidance = args.guidance or defaults["guidance_scale"]
    data = torch.load(WORK / "concepts.pt")
    labels, cutouts, mine = data["labels"], data["cutouts"], chosen(data["labels"])
    references = features(torch.cat([plain(part) for part in cutouts.split(64)]))
    pipe = StableDiffusionPipeline.from_pretrained(args.model, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)

    tasks = list(lines("prompts.txt"))
    assert len(tasks) == 100 and all(label in labels for _, accepted in tasks for label in accepted)
    pictures = draw(pipe, [prompt for prompt, _ in tasks], 0, steps, guidance)
    everyone = ranking(pictures, references, list(range(len(labels))))
    trained = ranking(pictures, references, mine)
    right = [labels[near[0]] in accepted for near, (_, accepted) in zip(everyone, tasks)]
    strict = [labels[near[0]] == accepted[0] for near, (_, accepted) in zip(everyone, tasks)]
    five = [any(labels[i] in accepted for i in near[:5]) for near, (_, accepted) in zip(everyone, tasks)]
    among = [labels[near[0]] in accepted for near, (_, accepted) in zip(trained, tasks)]
    coloured = list(lines("backgrounds.txt"))
    words = [border_word(p) for p in draw(pipe, [p for p, _ in coloured], BACKGROUND_SEED, steps, guidance)]
    result = {
        "steps": steps, "guidance_scale": guidance, "concepts": len(labels), "trained_concepts": len(mine),
        "accepted_of_100": sum(right), "exact_label_of_100": sum(strict), "accepted_in_first_five_of_100": sum(five),
        "accepted_of_100_among_trained_concepts": sum(among),
        "vae_reconstructions_top1": round(ceiling(pipe.vae, cutouts, mine, references, labels), 3),
        "backgrounds_of_10": sum(word == accepted[0] for word, (_, accepted) in zip(words, coloured)),
        "missed": {prompt: labels[near[0]] for ok, near, (prompt, _) in zip(right, everyone, tasks) if not ok},
        "missed_backgrounds": {p: word for word, (p, accepted) in zip(words, coloured) if word != accepted[0]},
    }
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if not args.dry:
        (MODEL / "evaluation.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
