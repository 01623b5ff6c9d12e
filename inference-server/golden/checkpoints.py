"""Small random checkpoints of different architectures, in diffusers layout: TESTS/checkpoints/NAME.

Random weights of the usual scale give nearly constant output; the last layers are scaled up and the norms shaken, so that
every part shows in the picture.
"""
import json
import shutil

import torch
from diffusers import (AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, LCMScheduler, DPMSolverMultistepScheduler,
                       PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel, UniPCMultistepScheduler)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from common import CHECKPOINTS, HERE

EMOJI_TOKENIZER = HERE.parent / "models/emoji/tokenizer"
MERGES = 260
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
CROSS, PLAIN = "CrossAttn{}Block2D", "{}Block2D"


def blocks(direction, attends):
    return [(CROSS if a else PLAIN).format(direction) for a in attends]


def unet(attends_down, attends_up, **options):
    return dict(dict(sample_size=8, down_block_types=blocks("Down", attends_down),
                     up_block_types=blocks("Up", attends_up), norm_num_groups=4), **options)


ARCHITECTURES = {
    # Stable Diffusion 1.x: three blocks with attention, one head count for all, convolutions around the transformers.
    "sd1": dict(
        unet=unet([1, 1, 1, 0], [0, 1, 1, 1], block_out_channels=[8, 16, 16, 16], layers_per_block=2,
                  cross_attention_dim=16, attention_head_dim=4),
        text=dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, hidden_act="quick_gelu"),
        vae=dict(block_out_channels=[4, 8, 8, 16], norm_num_groups=4, layers_per_block=2),
        scheduler=PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, **SD)),
    # 2.x: linear projections, a head count for each block, velocity, exact GELU.
    "sd2": dict(
        unet=unet([1, 1, 1, 0], [0, 1, 1, 1], block_out_channels=[8, 16, 16, 24], layers_per_block=1,
                  cross_attention_dim=20, attention_head_dim=[1, 2, 4, 3], use_linear_projection=True,
                  upcast_attention=True),
        text=dict(hidden_size=20, num_hidden_layers=3, num_attention_heads=5, hidden_act="gelu"),
        vae=dict(block_out_channels=[4, 8, 8, 8], norm_num_groups=4),
        scheduler=DDIMScheduler(prediction_type="v_prediction", set_alpha_to_one=False, steps_offset=1,
                                clip_sample=False, **SD)),
    # Odd widths and depths, three levels, sides that do not halve evenly.
    "odd": dict(
        unet=unet([1, 1, 1], [1, 1, 1], block_out_channels=[9, 15, 21], layers_per_block=[1, 2, 1],
                  norm_num_groups=3, cross_attention_dim=12, attention_head_dim=3, sample_size=[14, 10], norm_eps=1e-6,
                  transformer_layers_per_block=[1, 2, 1]),
        text=dict(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, hidden_act="quick_gelu"),
        vae=dict(block_out_channels=[6, 9, 12], norm_num_groups=3, layers_per_block=1),
        scheduler=DPMSolverMultistepScheduler(use_karras_sigmas=True, **SD)),
    # Attention where others have none, and a block that looks at the prompt alone.
    "mixed": dict(
        unet=unet([0, 1, 0, 1], [1, 0, 1, 0], block_out_channels=[8, 8, 16, 16], layers_per_block=1,
                  cross_attention_dim=16, attention_head_dim=2, only_cross_attention=[False, True, False, False]),
        text=dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, hidden_act="gelu"),
        vae=dict(block_out_channels=[4, 4, 8, 8], norm_num_groups=2),
        scheduler=EulerDiscreteScheduler(timestep_spacing="trailing", **SD)),
    # Eight latent channels, input centred, sines first, GELU everywhere.
    "wide": dict(
        unet=unet([1, 0], [0, 1], block_out_channels=[16, 24], layers_per_block=1, in_channels=8, out_channels=8,
                  cross_attention_dim=16, attention_head_dim=8, center_input_sample=True, flip_sin_to_cos=False,
                  freq_shift=1, act_fn="gelu", conv_in_kernel=5),
        text=dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, hidden_act="gelu"),
        vae=dict(block_out_channels=[4, 8, 8, 16], norm_num_groups=4, latent_channels=8, scaling_factor=1.0,
                 use_quant_conv=False, use_post_quant_conv=False),
        scheduler=UniPCMultistepScheduler(prediction_type="sample", **SD)),
    # Sharded bfloat16 weights, the VAE's old tensor names, tokenizer.json alone, latent consistency.
    "shards": dict(
        unet=unet([1, 1], [1, 1], block_out_channels=[8, 16], layers_per_block=1, cross_attention_dim=16,
                  attention_head_dim=4),
        text=dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=4, hidden_act="quick_gelu"),
        vae=dict(block_out_channels=[4, 8, 8, 8], norm_num_groups=2),
        scheduler=LCMScheduler(**SD), dtype=torch.bfloat16),
    # Shift and sample prediction with a plain DDIM; one layer, no attention in the VAE.
    "shift": dict(
        unet=unet([1, 0], [0, 1], block_out_channels=[8, 16], layers_per_block=1, cross_attention_dim=8,
                  attention_head_dim=2),
        text=dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, hidden_act="quick_gelu"),
        vae=dict(block_out_channels=[4, 8], norm_num_groups=4, shift_factor=0.25, scaling_factor=0.5,
                 mid_block_add_attention=False),
        scheduler=DDIMScheduler(beta_schedule="squaredcos_cap_v2", thresholding=True, clip_sample=False)),
}


def tokenizer_files(folder):
    """The first merges of the bundled model's tokenizer: 256 byte letters, the same at a word's end, the merges."""
    merges = (EMOJI_TOKENIZER / "merges.txt").read_text().split("\n")[1:MERGES + 1]
    old = json.loads((EMOJI_TOKENIZER / "vocab.json").read_text())
    tokens = [t for t, i in sorted(old.items(), key=lambda pair: pair[1]) if i < 512]
    tokens += ["".join(pair.split(" ")) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{pair}\n" for pair in merges))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(EMOJI_TOKENIZER / name, folder / name)
    return len(tokens)


def shake(module):
    """Norms that are not the identity, and biases that are not zero."""
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            parameter += 0.2 * torch.randn_like(parameter)
        elif "time_emb" in name or "proj" in name or "to_" in name or "token_embedding" in name:
            parameter *= 2


def make(name, spec):
    torch.manual_seed(sum(name.encode()))
    folder = CHECKPOINTS / name
    shutil.rmtree(folder, ignore_errors=True)
    size = tokenizer_files(folder / "tokenizer")
    text = dict(spec["text"], intermediate_size=2 * spec["text"]["hidden_size"])
    encoder = CLIPTextModel(CLIPTextConfig(vocab_size=size, bos_token_id=size - 2, eos_token_id=size - 1,
                                           pad_token_id=size - 1, projection_dim=text["hidden_size"], **text))
    model = UNet2DConditionModel(**spec["unet"])
    levels = len(spec["vae"]["block_out_channels"])
    vae = AutoencoderKL(down_block_types=["DownEncoderBlock2D"] * levels, sample_size=64,
                        up_block_types=["UpDecoderBlock2D"] * levels, **spec["vae"])
    for part in (encoder, model, vae):
        shake(part)
    latents = torch.randn(1, model.config.in_channels, 8, 8)
    context = torch.randn(1, 77, text["hidden_size"])
    model.conv_out.weight *= 1 / model(latents, 500, context).sample.std()
    decoded = vae.decode(torch.randn(1, vae.config.latent_channels, 8, 8) * 3).sample
    vae.decoder.conv_out.weight *= 0.5 / decoded.std()
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=encoder, unet=model, scheduler=spec["scheduler"], safety_checker=None,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"), feature_extractor=None,
        requires_safety_checker=False)
    tokenizer = {f: (folder / "tokenizer" / f).read_bytes() for f in ("vocab.json", "merges.txt")}
    dtype = spec.get("dtype", torch.float16)
    pipe.to(dtype).save_pretrained(folder, **({"max_shard_size": "20KB"} if name == "shards" else {}))
    if name == "shards":
        # diffusers renames old tensors in single files only.
        shutil.rmtree(folder / "vae")
        pipe.vae.save_pretrained(folder / "vae")
        old_names(folder / "vae")
        (folder / "tokenizer/vocab.json").unlink()
        (folder / "tokenizer/merges.txt").unlink()
    else:  # transformers writes tokenizer.json alone; users' checkpoints have the two files
        (folder / "tokenizer/tokenizer.json").unlink()
        for f, data in tokenizer.items():
            (folder / "tokenizer" / f).write_bytes(data)


def old_names(folder):
    """Names as diffusers wrote them before 0.18."""
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for path in folder.glob("*.safetensors"):
        tensors = {}
        for key, value in load_file(path).items():
            for new, old in renamed.items():
                key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
            tensors[key] = value
        save_file(tensors, path, metadata={"format": "pt"})


def main():
    for name, spec in ARCHITECTURES.items():
        make(name, spec)


if __name__ == "__main__":
    main()
