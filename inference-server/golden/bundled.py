"""Pictures that diffusers draws with the bundled model: GOLDEN/models/emoji.json and emoji-*.png."""
import json

import torch
from diffusers import StableDiffusionPipeline

from common import HERE
from models import FOLDER, draw

MODEL = HERE.parent / "models/emoji"
PICTURES = [
    dict(prompt="a red apple", seed=0, steps=20, guidance_scale=4.0),
    dict(prompt="rocket on a blue background", negative_prompt="cat", seed=7, steps=10, guidance_scale=5.0),
    dict(prompt="cat face", seed=3, steps=8, guidance_scale=1.0, width=96, height=128),
    dict(prompt="a blue heart", seed=11, steps=12, guidance_scale=4.0, scheduler="lms", karras=True),
    dict(prompt="a yellow star", seed=5, steps=12, guidance_scale=4.0, scheduler="euler_ancestral"),
    dict(prompt="a tree", seed=9, steps=12, guidance_scale=4.0, strength=0.7),
]


def main():
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    for index, spec in enumerate(PICTURES):
        picture, size = draw(pipe, spec, 8)
        picture.save(FOLDER / f"emoji-{index}.png", optimize=True)
        spec.update(size, file=f"emoji-{index}.png")
    (FOLDER / "emoji.json").write_text(json.dumps(dict(pictures=PICTURES), indent=1) + "\n")


if __name__ == "__main__":
    main()
