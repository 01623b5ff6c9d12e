"""A checkpoint of Stable Diffusion v1-4's exact shape with random weights, for load and speed: sd14.py FOLDER (2 GB).

Shapes are those of CompVis/stable-diffusion-v1-4's configs. The tokenizer is CLIP's whole one, from open_clip's merges.
"""
import gzip
import json
import sys
from pathlib import Path

import open_clip
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MERGES = 48_894


def tokenizer(folder):
    packed = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.open(packed, "rt", encoding="utf8").read().split("\n")[1:MERGES + 1]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = letters + [t + "</w>" for t in letters] + [m.replace(" ", "") for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{m}\n" for m in merges))
    end = "<|endoftext|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(
        bos_token="<|startoftext|>", eos_token=end, unk_token=end, pad_token=end, model_max_length=77)))
    return CLIPTokenizer.from_pretrained(folder)


def name_as_published(file):
    """Transformers 5 leaves out a prefix that v1-4's files have, and that other programs look for."""
    tensors = load_file(file)
    if "embeddings.token_embedding.weight" in tensors:
        renamed = file.with_suffix(".tmp")
        save_file({f"text_model.{name}": tensor for name, tensor in tensors.items()}, renamed, {"format": "pt"})
        renamed.replace(file)


def main(folder):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    four = (128, 256, 512, 512)
    pipe = StableDiffusionPipeline(
        tokenizer=tokenizer(folder / "tokenizer"),
        text_encoder=CLIPTextModel(CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            hidden_act="quick_gelu", projection_dim=768, bos_token_id=49406, eos_token_id=49407, pad_token_id=49407)),
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        vae=AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=four, layers_per_block=2, sample_size=512),
        scheduler=PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
                                set_alpha_to_one=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.to(torch.float16).save_pretrained(folder, max_shard_size="4GB")
    name_as_published(folder / "text_encoder" / "model.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
