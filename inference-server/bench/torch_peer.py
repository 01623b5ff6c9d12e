"""Times diffusers' pipeline: torch_peer.py CHECKPOINT INPUTS f32|bf16 short|dpm20|pndm50 PICTURE -> a line of JSON."""
import sys
import time

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors.torch import load_file

from figures import THREADS, inputs, medians, say, timed


@torch.no_grad()
def main(checkpoint, folder, precision, part, picture):
    torch.set_num_threads(THREADS)
    given, dtype = inputs(folder), torch.bfloat16 if precision == "bf16" else torch.float32
    load, pipe = timed(lambda: StableDiffusionPipeline.from_pretrained(checkpoint, torch_dtype=dtype))
    pipe.set_progress_bar_config(disable=True)
    walk, prompts = given["walks"][part], (given["prompt"], given["negative_prompt"])
    if walk["scheduler"] == "dpm_solver_multistep":
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    # Torch draws other noise for bf16 than for f32: all rows get the f32 noise.
    noise = load_file(f"{folder}/inputs.safetensors")["noise"].to(dtype)
    clock = []

    def draw(output):
        return pipe(
            prompts[0], negative_prompt=prompts[1], num_inference_steps=walk["steps"], latents=noise,
            guidance_scale=given["guidance_scale"], height=given["size"], width=given["size"], output_type=output,
            callback_on_step_end=lambda *_: clock.append(time.perf_counter()) or {}).images

    if part != "short":
        seconds, pictures = timed(draw, "pil")
        pictures[0].save(picture)
        return say(load=load, picture=seconds)
    encode = lambda: pipe.encode_prompt(prompts[0], "cpu", 1, True, prompts[1])
    texts = [timed(encode)[0] for _ in range(4)]
    latents = draw("latent")
    decodes = [timed(lambda: pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample) for _ in range(2)]
    pipe.image_processor.postprocess(decodes[0][1], output_type="pil")[0].save(picture)
    steps = [after - before for before, after in zip(clock, clock[1:])]
    say(load=load, **medians(text=texts[1:], step=steps, decode=[seconds for seconds, _ in decodes]))


if __name__ == "__main__":
    main(*sys.argv[1:6])
