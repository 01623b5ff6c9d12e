"""What diffusers computes with the small checkpoints: token ids, embeddings, one UNet evaluation, the VAE both ways, and
whole pictures. GOLDEN/models/NAME.safetensors has the tensors, NAME.json the pictures' parameters, NAME-*.png the pictures.
"""
import json

import torch
from diffusers import (DDIMScheduler, EulerAncestralDiscreteScheduler, LMSDiscreteScheduler, StableDiffusionImg2ImgPipeline,
                       StableDiffusionPipeline)
from PIL import Image
from safetensors.torch import save_file

from checkpoints import ARCHITECTURES
from common import CHECKPOINTS, GOLDEN

FOLDER = GOLDEN / "models"
PROMPTS = ["", "a red apple", "Two CATS, 3 dogs & a naïve 🦊 on Mars!", "word " * 100]
# Several pictures of each checkpoint; what is left out is the checkpoint's own.
PICTURES = [
    dict(prompt="a red apple", negative_prompt="blue", seed=1, steps=4, guidance_scale=7.5),
    dict(prompt="a cat on a boat", seed=2**40 + 3, steps=3, guidance_scale=1.0),
    dict(prompt="rocket", seed=3, steps=3, guidance_scale=5.0, guidance_rescale=0.7, width=96, height=48),
    dict(prompt="rocket", seed=4, steps=5, guidance_scale=3.0, scheduler="lms", karras=True),
    dict(prompt="blue heart", seed=5, steps=4, guidance_scale=3.0, scheduler="euler_ancestral"),
    dict(prompt="blue heart", seed=6, steps=4, guidance_scale=3.0, scheduler="ddim", eta=0.6),
    dict(prompt="a green fox", seed=7, steps=5, guidance_scale=4.0, strength=0.6),
]
CLASSES = dict(ddim=DDIMScheduler, euler_ancestral=EulerAncestralDiscreteScheduler, lms=LMSDiscreteScheduler)


def init_image(width, height):
    """A smooth picture that any language can make."""
    return Image.frombytes("RGB", (width, height), bytes(
        v for y in range(height) for x in range(width) for v in (x * 255 // width, y * 255 // height, (x + y) % 256)))


def draw(pipe, spec, factor):
    own, sample_size = pipe.scheduler, pipe.unet.config.sample_size
    # diffusers draws multiples of 8 alone, whatever the VAE's factor.
    size = {side: spec[side] // 8 * max(factor, 4) for side in ("width", "height") if side in spec}
    options = dict(
        num_inference_steps=spec["steps"], guidance_scale=spec["guidance_scale"], eta=spec.get("eta", 0.0),
        negative_prompt=spec.get("negative_prompt"), generator=torch.Generator("cpu").manual_seed(spec["seed"]),
        output_type="np")
    if "scheduler" in spec:
        karras = {"use_karras_sigmas": True} if spec.get("karras") else {}
        pipe.scheduler = CLASSES[spec["scheduler"]].from_config(own.config, **karras)
    try:
        if "strength" in spec:
            height, width = sides(pipe, factor)
            image = init_image(width, height)
            # That pipeline refuses a list when it is made, and takes the picture's size anyway.
            pipe.unet.register_to_config(sample_size=max(height, width) // factor)
            made = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
            made.set_progress_bar_config(disable=True)
            made.vae_scale_factor = factor
            pixels = made(spec["prompt"], image=image, strength=spec["strength"], **options).images[0]
        else:
            options["guidance_rescale"] = spec.get("guidance_rescale", 0.0)
            pixels = pipe(spec["prompt"], **size, **options).images[0]
    finally:
        pipe.scheduler = own
        pipe.unet.register_to_config(sample_size=sample_size)
    return Image.fromarray((pixels * 255).round().astype("uint8")), size


def sides(pipe, factor):
    side = pipe.unet.config.sample_size
    return [n * factor for n in (side if isinstance(side, (list, tuple)) else (side, side))]


def honour_shift(vae):
    """diffusers' Stable Diffusion pipelines pass over `shift_factor`, which its newer ones add when decoding; so do we."""
    decode, encode, shift = vae.decode, vae.encode, vae.config.shift_factor

    def shifted_encode(pixels, **options):
        made = encode(pixels, **options)
        made.latent_dist.mean = made.latent_dist.mean - shift
        return made

    vae.decode = lambda z, **options: decode(z + shift, **options)
    vae.encode = shifted_encode


def golden(name):
    pipe = StableDiffusionPipeline.from_pretrained(CHECKPOINTS / name, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    torch.manual_seed(0)
    channels, width = pipe.unet.config.in_channels, pipe.text_encoder.config.hidden_size
    ids = pipe.tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    latents = torch.randn(2, channels, 6, 10)
    context = torch.randn(2, 77, width)
    pixels = torch.rand(1, 3, 6 * factor, 4 * factor) * 2 - 1
    posterior = pipe.vae.encode(pixels).latent_dist
    z = torch.randn(1, channels, 6, 4)
    tensors = dict(
        ids=ids.int(), embeddings=pipe.text_encoder(ids)[0][1:3].contiguous(), latents=latents, context=context,
        unet_1=pipe.unet(latents, torch.tensor([1.0, 1.0]), context).sample,
        unet_mixed=pipe.unet(latents, torch.tensor([981.0, 333.5]), context).sample,
        z=z, decoded=pipe.vae.decode(z).sample, pixels=pixels, mean=posterior.mean.contiguous(),
        logvar=posterior.logvar.contiguous())
    save_file(tensors, FOLDER / f"{name}.safetensors")
    if pipe.vae.config.shift_factor:
        honour_shift(pipe.vae)
    pictures = []
    for index, spec in enumerate(PICTURES):
        try:
            picture, size = draw(pipe, spec, factor)
        except (ValueError, TypeError, NotImplementedError) as error:  # this checkpoint's config cannot become that scheduler
            print(f"{name} {index}: diffusers refuses: {error}")
            continue
        picture.save(FOLDER / f"{name}-{index}.png", optimize=True)
        pictures.append(dict(spec, **size, file=f"{name}-{index}.png"))
    (FOLDER / f"{name}.json").write_text(json.dumps(dict(prompts=PROMPTS, pictures=pictures), indent=1) + "\n")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ARCHITECTURES:
        golden(name)


if __name__ == "__main__":
    main()
