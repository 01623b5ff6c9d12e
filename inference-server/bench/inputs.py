"""Writes what all rows of `make bench` share: inputs.py CHECKPOINT FOLDER STEPS VERSIONS.

They go to inputs.json and inputs.safetensors in FOLDER. VERSIONS are words for the table.

The walks let a program without diffusers' schedulers take exactly their steps. A linear multistep scheduler's latents
are a weighted sum of the first noise and of the model's outputs so far, so each walk is a list of timesteps and, before
each evaluation and at the end, those weights. They come from running diffusers' scheduler on unit vectors.
"""
import json
import sys
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, PNDMScheduler
from safetensors.torch import save_file
from transformers import CLIPTokenizer

PROMPT, SEED, GUIDANCE, SIZE = "a photo of an astronaut riding a horse on mars", 7, 7.5, 512
NEGATIVE = ""


def walk(name, scheduler, steps):
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps.tolist()
    unit = torch.eye(len(timesteps) + 1, dtype=torch.float64)
    latents = unit[0] * scheduler.init_noise_sigma
    weights = [latents.tolist()[:1]]
    for k, timestep in enumerate(scheduler.timesteps):
        latents = scheduler.step(unit[k + 1], timestep, latents).prev_sample
        weights.append(latents.tolist()[:k + 2])
    sigmas = getattr(scheduler, "sigmas", None) if name == "dpm_solver_multistep" else None
    return dict(scheduler=name, steps=steps, timesteps=timesteps, weights=weights,
                sigmas=None if sigmas is None else sigmas.tolist())


def main(checkpoint, folder, steps, versions):
    pndm = PNDMScheduler.from_pretrained(checkpoint, subfolder="scheduler")
    dpm = DPMSolverMultistepScheduler.from_config(pndm.config)
    tokens = CLIPTokenizer.from_pretrained(checkpoint, subfolder="tokenizer")(
        [NEGATIVE, PROMPT], padding="max_length", max_length=77, truncation=True).input_ids
    weights = (checkpoint / "unet" / "diffusion_pytorch_model.safetensors").stat()
    folder.mkdir(parents=True, exist_ok=True)
    # One more than the timed steps: the first warms up.
    walks = dict(short=walk("dpm_solver_multistep", dpm, steps + 1), dpm20=walk("dpm_solver_multistep", dpm, 20),
                 pndm50=walk("pndm", pndm, 50))
    (folder / "inputs.json").write_text(json.dumps(dict(
        prompt=PROMPT, negative_prompt=NEGATIVE, seed=SEED, guidance_scale=GUIDANCE, size=SIZE, tokens=tokens,
        walks=walks, versions=versions, checkpoint=[weights.st_size, int(weights.st_mtime)])))
    noise = torch.randn(1, 4, SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(SEED))
    save_file({"noise": noise}, folder / "inputs.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
