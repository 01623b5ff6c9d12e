"""Writes the averaged weights as the checkpoint that the server embeds: diffusers layout, f16 safetensors.

    python export.py [--to FOLDER]        the folder is MODEL unless told otherwise
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL

import models
from common import MODEL, WORK

LIMIT = 30e6  # bytes
DEFAULTS = {"num_inference_steps": 25, "guidance_scale": 2.0}


def averaged():
    """The pipeline as trained, in f32."""
    state = torch.load(WORK / "unet.pt")
    tokenizer = models.tokenizer()
    text_encoder, unet = models.text_encoder(len(tokenizer)), models.unet()
    text_encoder.load_state_dict(state["text_encoder"])
    unet.load_state_dict(state["unet"])
    parameters = [p for p in [*unet.parameters(), *text_encoder.parameters()] if p.requires_grad]
    for parameter, average in zip(parameters, state["average"], strict=True):
        parameter.data.copy_(average)
    sharper = WORK / "vae-sharp"  # decoder.py's, where it ran
    vae = AutoencoderKL.from_pretrained(sharper if sharper.exists() else WORK / "vae")
    print(f"UNet step {state['step']}, {state['minutes']:.1f} minutes")
    return models.pipeline(tokenizer, text_encoder.eval(), unet.eval(), vae.eval())


def edit(path, **changes):
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}, indent=2) + "\n")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--to", type=Path, default=MODEL)
    folder = args.parse_args().to
    folder.mkdir(parents=True, exist_ok=True)
    pipe = averaged()
    for name in ["unet", "vae", "text_encoder"]:
        getattr(pipe, name).half().save_pretrained(folder / name)
        for file in (folder / name).glob("*.safetensors"):
            file.chmod(0o644)
    pipe.scheduler.save_pretrained(folder / "scheduler")
    # For requests that choose DDIM or LCM: latents go beyond -1..1.
    edit(folder / "scheduler/scheduler_config.json", clip_sample=False)
    pipe.save_config(folder)
    # Paths of this machine are nobody's business, and f16 is how the weights are kept, not how they must run.
    for name in ["unet", "vae"]:
        edit(folder / name / "config.json", _name_or_path=...)
    edit(folder / "text_encoder/config.json", dtype="float32")
    edit(folder / "model_index.json", _name_or_path=...)
    (folder / "generation_config.json").write_text(json.dumps(DEFAULTS, indent=2) + "\n")
    # save_pretrained of a tokenizer writes tokenizer.json only; vocab.json and merges.txt are what older readers know
    if folder.resolve() != MODEL.resolve():
        shutil.copytree(MODEL / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    parts = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"]
    size = sum(f.stat().st_size for part in parts for f in (folder / part).iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB")
    assert size <= LIMIT, size


if __name__ == "__main__":
    main()
