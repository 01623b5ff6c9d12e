"""The rows of the table: who draws, with which weights, and the command that measures it."""
import hashlib
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PARTS = ("short", "dpm20", "pndm50")
PICTURES = PARTS[1:]


@dataclass
class Row:
    """`command` takes MODEL INPUTS PRECISION PART PICTURE after it. `made_of`: what figures hang on."""
    name: str
    precision: str
    command: list
    model: Path
    made_of: list

    @property
    def slug(self):
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())

    def argv(self, inputs, part, picture):
        return [*map(str, self.command), str(self.model), str(inputs), self.precision, part, str(picture)]

    def key(self, inputs, part, machine):
        """Changes when figures of before no longer count."""
        text = [repr((inputs["walks"][part], inputs["prompt"], inputs["tokens"], inputs["checkpoint"], machine))]
        text += [item.read_bytes().hex() if isinstance(item, Path) else item for item in self.made_of]
        return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]


def rows(checkpoint, converted, binary, oracle, sdcpp, sdcpp_version):
    script = lambda name: HERE / f"{name}.py"
    python = lambda interpreter, name: [interpreter, "-W", "ignore", script(name)]
    of = lambda name, *made: [script(name), script("figures"), *made]
    diffusers = f"torch {version('torch')} diffusers {version('diffusers')}"

    def ours(precision):
        return Row(f"ours {precision}", precision, [binary, "ours"], checkpoint, [binary])

    def candle(precision):
        return Row(f"candle-transformers {precision}", precision, [binary, "candle"], checkpoint, [binary])

    def torch(precision):
        return Row(f"torch {precision}", precision, python(oracle, "torch_peer"), checkpoint,
                   of("torch_peer", diffusers))

    def openvino(precision):
        return Row(f"OpenVINO {precision}", precision, python(oracle, "openvino_peer"), converted,
                   of("openvino_peer", script("openvino_convert"), version("openvino")))

    def sd_cpp(precision):
        return Row(f"stable-diffusion.cpp {precision}", precision, python(sdcpp, "sdcpp_peer"), checkpoint,
                   of("sdcpp_peer", sdcpp_version))

    return [ours("f32"), torch("f32"), openvino("f32"), sd_cpp("f32"), candle("f32"),
            ours("bf16"), torch("bf16"), openvino("bf16"), sd_cpp("bf16"), sd_cpp("f16"), candle("bf16")]
