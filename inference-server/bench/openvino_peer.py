"""Times OpenVINO: openvino_peer.py CONVERTED INPUTS f32|bf16 short|dpm20|pndm50 PICTURE -> a line of JSON.

No torch here, so that its memory is OpenVINO's own.
"""
import sys

import numpy as np
import openvino
from PIL import Image
from safetensors.numpy import load_file

from figures import THREADS, inputs, medians, say, timed

SCALING_FACTOR = 0.18215


class Models:
    def __init__(self, folder, precision):
        core = openvino.Core()
        hint = openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
        self.made = {name: core.compile_model(f"{folder}/{name}.xml", "CPU", options)
                     for name in ("text_encoder", "unet", "vae")}

    def run(self, name, *arrays):
        return self.made[name](list(arrays))[0]

    def text(self, given):
        return self.run("text_encoder", np.array(given["tokens"], dtype=np.int64))

    def decode(self, latents):
        return self.run("vae", (latents / SCALING_FACTOR).astype(np.float32))

    def denoise(self, given, walk, noise, context):
        """Seconds of each evaluation, and the latents at the end."""
        history, seconds = [noise], []
        latents = lambda: sum(np.float32(w) * x for w, x in zip(walk["weights"][len(history) - 1], history))

        def step(timestep):
            pair, t = np.concatenate([latents()] * 2), np.array([timestep], dtype=np.float32)
            without, with_prompt = np.split(self.run("unet", pair, t, context), 2)
            history.append(without + np.float32(given["guidance_scale"]) * (with_prompt - without))

        for timestep in walk["timesteps"]:
            seconds.append(timed(step, timestep)[0])
        return seconds, latents()


def save(pixels, picture):
    levels = np.round(np.clip(pixels[0] / 2 + 0.5, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(levels.transpose(1, 2, 0)).save(picture)


def main(folder, shared, precision, part, picture):
    given, noise = inputs(shared), load_file(f"{shared}/inputs.safetensors")["noise"]
    load, models = timed(Models, folder, precision)
    walk = given["walks"][part]
    if part != "short":
        draw = lambda: save(models.decode(models.denoise(given, walk, noise, models.text(given))[1]), picture)
        return say(load=load, picture=timed(draw)[0])
    texts = [timed(models.text, given) for _ in range(4)]
    steps, latents = models.denoise(given, walk, noise, texts[0][1])
    decodes = [timed(models.decode, latents) for _ in range(2)]
    save(decodes[0][1], picture)
    seconds = lambda pairs: [pair[0] for pair in pairs]
    say(load=load, **medians(text=seconds(texts)[1:], step=steps[1:], decode=seconds(decodes)))


if __name__ == "__main__":
    main(*sys.argv[1:6])
