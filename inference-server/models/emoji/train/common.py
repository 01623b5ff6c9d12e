"""Where the working data lives, and how a cut-out becomes a picture on a background."""
import os
import random
from pathlib import Path

import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent
WORK = Path(os.environ.get("EMOJI_TRAIN_DIR", Path.home() / ".cache/diffusion-operator/train"))
SIZE = 128  # pixels a side

# Background colours by the word that captions use, RGB 0..255.
COLOURS = {
    "white": (255, 255, 255), "red": (214, 60, 60), "blue": (70, 120, 220), "green": (80, 180, 90),
    "yellow": (245, 215, 80), "pink": (245, 170, 200), "purple": (140, 90, 200), "orange": (240, 150, 60),
    "black": (20, 20, 20), "gray": (150, 150, 150),
}


def colour(word):
    return torch.tensor(COLOURS[word], dtype=torch.float32) / 255


def compose(cutouts, background, scale, shift, size=SIZE):
    """Cut-outs `(n, 4, s, s)` (premultiplied bytes) on `background` `(n, 3)` in 0..1, drawn at `scale` `(n,)` (1 fills
    the picture) and moved by `shift` `(n, 2)` (half pictures) -> `(n, 3, size, size)` in -1..1."""
    n = cutouts.shape[0]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -shift / scale[:, None]
    grid = F.affine_grid(theta, (n, 4, size, size), align_corners=False)
    drawn = F.grid_sample(cutouts.float() / 255, grid, padding_mode="zeros", align_corners=False).clamp(0, 1)
    return (drawn[:, :3] + (1 - drawn[:, 3:]) * background[:, :, None, None]) * 2 - 1


def plain(cutouts, word="white", scale=0.92):
    """Every cut-out centred on one background."""
    n = len(cutouts)
    return compose(cutouts, colour(word).expand(n, 3), torch.full((n,), scale), torch.zeros(n, 2))


def seed_everything(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    torch.set_flush_denormal(True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))


def save_atomically(value, path):
    """A checkpoint is whole or not there."""
    temporary = path.with_suffix(".tmp")
    torch.save(value, temporary)
    temporary.replace(path)
