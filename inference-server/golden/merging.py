"""What tomesd, the token merging of its inventors (Bolya and Hoffman 2023), makes of tokens and of whole UNet evaluations.
GOLDEN/merging.safetensors. Destinations are the top left tokens of their cells (`use_rand=False`), as ours are.

- `tokens-HEIGHTxWIDTH-REMOVED`: tokens, and under `merged-...` the same merged and copied back.
- `unet-NAME-RATIO`: the evaluation `unet_mixed` of models.py with merging where that model's largest map attends to itself.
"""
import tomesd
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tomesd.merge import bipartite_soft_matching_random2d

from checkpoints import ARCHITECTURES
from common import CHECKPOINTS, GOLDEN

# Height, width, tokens that are removed: whole cells, a side or both odd, all sources, one.
MAPS = [(8, 8, 32), (7, 9, 20), (2, 2, 3), (3, 2, 1), (6, 10, 45), (5, 3, 13)]
RATIOS = [0.25, 0.5, 0.75]
# Its largest map that attends looks at the prompt alone. We merge self-attention only; tomesd would merge that too.
PROMPT_ALONE = {"mixed"}


def tokens(height, width, removed):
    x = torch.randn(2, height * width, 12)
    merge, unmerge = bipartite_soft_matching_random2d(x, width, height, 2, 2, removed, no_rand=True)
    assert merge(x).shape[1] == height * width - removed
    name = f"{height}x{width}-{removed}"
    return {f"tokens-{name}": x, f"merged-{name}": unmerge(merge(x))}


def evaluations(name):
    unet = UNet2DConditionModel.from_pretrained(CHECKPOINTS / name, subfolder="unet")
    golden = load_file(GOLDEN / f"models/{name}.safetensors")
    for ratio in RATIOS:
        tomesd.apply_patch(unet, ratio=ratio, max_downsample=1, use_rand=False)
        sample = unet(golden["latents"], torch.tensor([981.0, 333.5]), golden["context"]).sample
        tomesd.remove_patch(unet)
        moved = ((sample - golden["unet_mixed"]).norm() / golden["unet_mixed"].norm()).item()
        print(f"{name}, ratio {ratio}: {moved:.1e} from the evaluation without")
        yield f"unet-{name}-{ratio}", sample


def main():
    torch.manual_seed(0)
    values = {}
    for case in MAPS:
        values.update(tokens(*case))
    for name in ARCHITECTURES:
        if name not in PROMPT_ALONE:
            values.update(evaluations(name))
    save_file(values, GOLDEN / "merging.safetensors")


if __name__ == "__main__":
    main()
