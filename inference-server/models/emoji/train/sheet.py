"""Draws docs/images/emoji-sheet.png, 36 pictures with prompt and seed, and docs/images/apple.png.

    python sheet.py [--model FOLDER] [--to FOLDER]
"""
import argparse
import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw, ImageFont

from common import MODEL, SIZE

PROMPTS = """a red apple; a rocket; a cat face; a blue heart; a slice of watermelon; a panda
a penguin; a hamburger; a robot; a ghost; a butterfly; a sunflower
a cup of coffee; a fox; a house; a guitar; a birthday cake; an owl
a sailboat; a strawberry; a pizza; a trophy; an umbrella; a car
a cactus; a unicorn; a turtle; a crown; a light bulb; a mushroom
a rocket on a black background; a bee on a blue background; a lemon on a pink background
a star on a purple background; a whale on a yellow background; a rose on a green background"""
ROW, GAP = 20, 4  # pixels for the caption, and around each picture
SMALLER = 600_000  # bytes; above it the sheet gets a palette


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--model", type=Path, default=MODEL)
    args.add_argument("--to", type=Path, default=MODEL.parents[2] / "docs/images")
    args = args.parse_args()
    defaults = json.loads((args.model / "generation_config.json").read_text())
    pipe = StableDiffusionPipeline.from_pretrained(args.model, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    prompts = [prompt.strip() for line in PROMPTS.splitlines() for prompt in line.split(";")]
    seeds = list(range(1, len(prompts) + 1))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    pictures = pipe(prompts, generator=generators, **defaults).images
    cell = SIZE + 2 * GAP
    sheet = Image.new("RGB", (6 * cell, 6 * (cell + 2 * ROW - 8)), "white")
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, (prompt, seed, picture) in enumerate(zip(prompts, seeds, pictures)):
        x, y = i % 6 * cell, i // 6 * (cell + 2 * ROW - 8)
        sheet.paste(picture, (x + GAP, y + GAP))
        short = prompt.replace(" background", "")
        for row, (text, shade) in enumerate([(short, "#222"), (f"seed {seed}", "#888")]):
            write.text((x + cell // 2, y + SIZE + 2 * GAP + row * 14), text, shade, font, anchor="ma")
    args.to.mkdir(parents=True, exist_ok=True)
    path = args.to / "emoji-sheet.png"
    sheet.save(path, optimize=True)
    if path.stat().st_size > SMALLER:
        sheet.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    pictures[0].save(args.to / "apple.png", optimize=True)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
