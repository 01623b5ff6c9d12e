"""Times a checkpoint with torch or OpenVINO, for `make bench`: peers.py torch|openvino FOLDER f32|bf16 STEPS -> JSON."""
import json
import resource
import statistics
import sys
import time

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel


def load(folder, dtype):
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype)
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype)
    return unet.eval(), vae.eval()


def timed(f, *inputs):
    begin = time.perf_counter()
    f(*inputs)
    return time.perf_counter() - begin


@torch.no_grad()
def main(who, folder, precision, steps):
    torch.set_num_threads(2)
    begin = time.perf_counter()
    dtype = torch.bfloat16 if who == "torch" and precision == "bf16" else torch.float32
    unet, vae = load(folder, dtype)
    latents, time_step = torch.randn(2, 4, 64, 64, dtype=dtype), torch.tensor(500.0)
    context, z = torch.randn(2, 77, 768, dtype=dtype), torch.randn(1, 4, 64, 64, dtype=dtype)
    step, decode = (lambda x, t, c: unet(x, t, c).sample), (lambda z: vae.decode(z).sample)
    if who == "openvino":
        import openvino as ov

        class Decode(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.vae = vae

            def forward(self, z):
                return self.vae.decode(z, return_dict=False)[0]

        class Step(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.unet = unet

            def forward(self, x, t, c):
                return self.unet(x, t, c, return_dict=False)[0]

        core, options = ov.Core(), {"INFERENCE_PRECISION_HINT": ov.Type.bf16 if precision == "bf16" else ov.Type.f32, "INFERENCE_NUM_THREADS": 2}
        made = [core.compile_model(ov.convert_model(module, example_input=inputs), "CPU", options)
                for module, inputs in ((Step(), (latents, time_step, context)), (Decode(), (z,)))]
        latents, time_step, context, z = (x.numpy() for x in (latents, time_step, context, z))
        step, decode = (lambda *x: made[0](x)), (lambda z: made[1]((z,)))
    begin = time.perf_counter() - begin
    seconds = [timed(step, latents, time_step, context) for _ in range(steps)]
    print(json.dumps(dict(load=begin, step=statistics.median(seconds), decode=timed(decode, z),
                          peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
