"""Makes every golden file again and says for each whether anything changed: `make golden`, or
`run.py noise tokenizer` for some of them.

Another kind of CPU sums in another order, so tensors and pictures may differ a little; how much is printed. What matters is
that the tests still pass.
"""
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageChops
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "pipeline/tests"
FOLDERS = [TESTS / "checkpoints", TESTS / "golden"]
# The others read the checkpoints; models.py empties a folder that bundled.py adds to.
FIRST = ["checkpoints", "models"]
# Measures what those two made, and adds to their manifests.
LAST = ["bf16"]
MEASURED = {"models", "bundled"}
NOT_GENERATORS = {"common", "run"}


def generators():
    names = {path.stem for path in HERE.glob("*.py")} - NOT_GENERATORS - set(FIRST + LAST)
    return FIRST + sorted(names) + LAST


def snapshot():
    return {path: path.read_bytes() for folder in FOLDERS for path in folder.rglob("*") if path.is_file()}


def tensors(data, path):
    copy = path.with_suffix(".old.tmp")
    copy.write_bytes(data)
    try:
        return load_file(copy)
    finally:
        copy.unlink()


def difference(path, old):
    """How far the file is from what it was."""
    if path.suffix == ".safetensors":
        before, after = tensors(old, path), load_file(path)
        if {k: v.shape for k, v in before.items()} != {k: v.shape for k, v in after.items()}:
            return "other tensors"
        worst = max(((after[k].double() - v.double()).abs().max() / v.double().abs().max().clamp_min(1e-12)).item()
                    for k, v in before.items())
        return f"largest relative difference {worst:.1e}"
    if path.suffix == ".png":
        copy = path.with_suffix(".old.tmp")
        copy.write_bytes(old)
        with Image.open(copy) as before, Image.open(path) as after:
            same = before.size == after.size
            levels = max(high for _, high in ImageChops.difference(before, after).getextrema()) if same else 0
        copy.unlink()
        return f"up to {levels} levels" if same else "another size"
    return f"{len(old)} bytes before, {path.stat().st_size} now"


def main():
    wanted = sys.argv[1:] or generators()
    if unknown := set(wanted) - set(generators()):
        sys.exit(f"error: no generator {', '.join(sorted(unknown))}; there are {', '.join(generators())}")
    if MEASURED & set(wanted):
        wanted = wanted + LAST
    before = snapshot()
    for name in (g for g in generators() if g in wanted):
        print(f"== golden: {name}.py", flush=True)
        subprocess.run([sys.executable, "-W", "ignore", HERE / f"{name}.py"], check=True)
    after = snapshot()
    changed = 0
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        changed += 1
        what = "new" if old is None else "gone" if new is None else f"changed: {difference(path, old)}"
        print(f"{path.relative_to(TESTS)}: {what}")
    print(f"== golden: {changed} of {len(after)} files changed")


if __name__ == "__main__":
    main()
