"""Times stable-diffusion.cpp: sdcpp_peer.py CHECKPOINT INPUTS f32|f16|bf16 short|dpm20|pndm50 PICTURE -> a line of JSON

It has no PNDM: pndm50 is 50 steps of its own ipndm, for the time alone. Its DPM-Solver++ (dpm++2m) gets diffusers'
sigmas and draws torch's noise. Seconds of the text encoder and the decoder are those of its log, seconds of a step lie
between its progress calls.
"""
import re
import sys
import time

import stable_diffusion_cpp
from stable_diffusion_cpp import StableDiffusion

from figures import THREADS, inputs, medians, say, timed

LOG = dict(text=re.compile(r"get_learned_condition completed, taking ([0-9.]+)s"),
           decode=re.compile(r"latent 1 decoded, taking ([0-9.]+)s"))


def main(checkpoint, folder, precision, part, picture):
    given = inputs(folder)
    logged, clock = dict(text=[], decode=[]), []

    @stable_diffusion_cpp.sd_log_callback
    def log(level, text, data):
        line = text.decode(errors="replace")
        print(line, end="", file=sys.stderr)
        for name, pattern in LOG.items():
            logged[name] += [float(seconds) for seconds in pattern.findall(line)]

    stable_diffusion_cpp.sd_set_log_callback(log, None)
    load, model = timed(lambda: StableDiffusion(
        model_path=checkpoint, wtype=precision, n_threads=THREADS, vae_decode_only=True, rng_type="cpu",
        sampler_rng_type="cpu"))

    def draw(walk):
        method = "dpm++2m" if walk["sigmas"] else "ipndm"
        sigmas = ",".join(map(repr, walk["sigmas"])) if walk["sigmas"] else None
        return model.generate_image(
            given["prompt"], given["negative_prompt"], width=given["size"], height=given["size"], seed=given["seed"],
            cfg_scale=given["guidance_scale"], sample_method=method, sample_steps=walk["steps"], sigmas=sigmas,
            progress_callback=lambda *_: clock.append(time.perf_counter()))[0]

    walk = given["walks"][part]
    seconds, drawn = timed(draw, walk)
    drawn.save(picture)
    if part != "short":
        return say(load=load, picture=seconds)
    # The last of the calls between which a step lies; before the first step there is one call more.
    calls = clock[-walk["steps"]:]
    steps = [after - before for before, after in zip(calls, calls[1:])]
    # A picture of one step, for a second time of the text encoder and the decoder.
    draw(dict(walk, steps=1, sigmas=[walk["sigmas"][0], 0.0]))
    say(load=load, **medians(text=logged["text"], step=steps, decode=logged["decode"]))


if __name__ == "__main__":
    main(*sys.argv[1:6])
