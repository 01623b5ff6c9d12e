"""Fetches the art and its names from npm, and makes one tensor of cut-outs.

Writes WORK/concepts.pt: {"labels": [...], "tags": [[...]], "cutouts": (n, 4, 160, 160) premultiplied bytes}.
"""
import json
import subprocess
import tarfile

import numpy as np
import torch
from PIL import Image

from common import WORK

PACKAGES = ["@lobehub/fluent-emoji-3d@1.1.0", "emojibase-data@17.0.0"]
SIDE = 160  # a little more than is drawn, so that scaling up loses nothing
LEFT_OUT = {2, 9}  # emojibase groups: components (skin tones) and flags (another artist's)


def fetch():
    folder = WORK / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        name = package.lstrip("@").replace("/", "-").replace("@", "-") + ".tgz"
        target = folder / name.removesuffix(".tgz")
        if not (folder / name).exists():
            subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
        if not target.exists():
            with tarfile.open(folder / name) as archive:
                archive.extractall(target, filter="data")
    return folder


def key(hexcode):
    return hexcode.lower().replace("-fe0f", "")


def main():
    folder = fetch()
    names = json.loads((folder / "emojibase-data-17.0.0/package/en/data.json").read_text())
    by_code = {key(entry["hexcode"]): entry for entry in names}
    labels, tags, cutouts = [], [], []
    for path in sorted((folder / "lobehub-fluent-emoji-3d-1.1.0/package/assets").glob("*.webp")):
        entry = by_code.get(key(path.stem))
        if entry is None or entry.get("group") is None or entry["group"] in LEFT_OUT:
            continue
        rgba = Image.open(path).convert("RGBA").resize((256, 256), Image.LANCZOS)
        pixels = np.asarray(rgba, dtype=np.float32).copy()
        pixels[..., :3] *= pixels[..., 3:] / 255
        drawn = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        drawn = torch.nn.functional.interpolate(drawn, size=(SIDE, SIDE), mode="bicubic", antialias=True)
        cutouts.append(drawn[0].clamp(0, 255).round().byte())
        labels.append(entry["label"].lower())
        tags.append([tag.lower() for tag in entry.get("tags", [])])
    torch.save({"labels": labels, "tags": tags, "cutouts": torch.stack(cutouts)}, WORK / "concepts.pt")
    print(f"{len(labels)} concepts")


if __name__ == "__main__":
    main()
