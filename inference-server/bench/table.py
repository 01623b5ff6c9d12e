"""The table of docs/performance.md from a run's figures and pictures."""
import math
import textwrap
from importlib.metadata import version

import numpy as np
from PIL import Image

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
REFERENCE = "torch f32"
COLUMNS = ("", "load s", "text encoder s", "UNet step s", "against ours", "VAE decode s", "20-step DPM-Solver++ s",
           "50-step PNDM s", "peak GiB", "PSNR dB, short / 20 / 50 steps")


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float64)


def psnr(one, other):
    error = np.mean((one - other) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


class Figures:
    def __init__(self, made):
        self.made = made

    def number(self, name, part, key):
        return self.made.get((name, part), {}).get("figures", {}).get(key)

    def cell(self, name, part, key):
        kept = self.made.get((name, part)) or self.made.get((name, "short"))
        if kept is None or (kept["part"] != part and "figures" in kept):
            return "-"
        value = kept.get("figures", {}).get(key)
        return "failed" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}"

    def against_ours(self, row):
        """How much longer a step takes than ours of the same width."""
        ours = self.number(f"ours {'f32' if row.precision == 'f32' else 'bf16'}", "short", "step")
        step = self.number(row.name, "short", "step")
        return f"{step / ours:.2f} x" if ours and step else "-"

    def likeness(self, row, part):
        mine, reference = self.made.get((row.name, part), {}), self.made.get((REFERENCE, part), {})
        # Its 50-step picture is another scheduler's.
        incomparable = row.name.startswith("stable-diffusion.cpp") and part == "pndm50"
        if row.name == REFERENCE or incomparable or "figures" not in mine or "figures" not in reference:
            return "-"
        value = psnr(pixels(mine["picture"]), pixels(reference["picture"]))
        return "same" if value == math.inf else f"{value:.1f}"

    def contrast(self):
        kept = [self.made.get((REFERENCE, part), {}) for part in ("short", "dpm20", "pndm50")]
        return [f"{pixels(line['picture']).std():.0f}" for line in kept if "figures" in line]


def block(rows, made, inputs, machine, title):
    figures = Figures(made)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        cell = lambda part, key: figures.cell(row.name, part, key)
        lines.append("| " + " | ".join((
            row.name, cell("short", "load"), cell("short", "text"), cell("short", "step"), figures.against_ours(row),
            cell("short", "decode"), cell("dpm20", "picture"), cell("pndm50", "picture"), cell("short", "peak_gib"),
            " / ".join(figures.likeness(row, part) for part in ("short", "dpm20", "pndm50")))) + " |")
    return "\n".join([BEGIN, *head(made, inputs, machine, title), "", *lines, "", *notes(made, inputs, figures), END])


def head(made, inputs, machine, title):
    whens = sorted(kept["when"] for kept in made.values()) or ["nothing measured yet"]
    others = sorted(kept["others"] for kept in made.values()) or [0.0]
    median, most = 100 * others[len(others) // 2], 100 * others[-1]
    torch, openvino = version("torch").partition("+")[0], version("openvino").partition("-")[0]
    return paragraph(f"""
        Measured by `{title}` on {machine}, {whens[0]} to {whens[-1]} UTC. Other programs took {median:.0f} % of the
        processors in the median and {most:.0f} % at most, which lengthens the figures. Each figure comes from a process
        of its own, one after the other, 2 threads each: torch {torch} with diffusers {version("diffusers")}, OpenVINO
        {openvino}, {inputs["versions"]}. The checkpoint has Stable Diffusion v1-4's exact shape and random weights
        (`inference-server/bench/sd14.py`); {inputs["size"]} x {inputs["size"]} pixels, guidance
        {inputs["guidance_scale"]}, so a UNet step is two rows. A step is the median of
        {inputs["walks"]["short"]["steps"] - 1} after one to warm up, the decoder of 2, the text encoder (both prompts)
        of 3. The whole pictures are the first that their process draws, without the load.""")


def notes(made, inputs, figures):
    failed = {}
    for (name, _), kept in made.items():
        if "failed" in kept:
            failed.setdefault(name, kept["failed"].replace("|", "/"))
    texts = [
        f"""PSNR: the decoded picture (8 bits) against {REFERENCE}'s, drawn from the same weights, prompt, seed and
        noise; short is a DPM-Solver++ picture of {inputs["walks"]["short"]["steps"]} steps. The reference pictures'
        pixels have a standard deviation of {", ".join(figures.contrast()) or "?"}; two unlike pictures of 48 have about
        12 dB.""",
        "Against ours: seconds of a step divided by ours of the same precision (f16 by our bf16).",
        """Load: files in the page cache, without starting the interpreter. OpenVINO's is that of models that were
        converted before, with fixed shapes and all constants in f16. Peak memory: of the whole process with all three
        models, mapped files included.""",
        """stable-diffusion.cpp keeps convolutions in f16 whatever the row says, and evaluates the two rows one after
        the other. It starts from noise times sigma, diffusers from noise times sqrt(1 + sigma^2), which shows most in
        the short picture. It has no PNDM: its 50 steps are of its own ipndm (50 evaluations, PNDM has 51), so that
        picture is not compared. Its text encoder is the median of 2.""",
        """candle-transformers has neither scheduler: the bench gives it diffusers' steps
        (`inference-server/bench/inputs.py`).""",
        *(f"{name} failed: {reason}" for name, reason in failed.items()),
    ]
    return [line for text in texts for line in paragraph(text, "- ")]


def paragraph(text, first=""):
    return textwrap.wrap(" ".join(text.split()), 120, initial_indent=first, subsequent_indent=" " * len(first),
                         break_long_words=False, break_on_hyphens=False)


def write(docs, text):
    """Puts the block where the markers are."""
    before, begin, rest = docs.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench: {docs} has no {BEGIN} ... {END} for the table")
    docs.write_text(before + text + after)
