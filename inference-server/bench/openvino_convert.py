"""Converts a checkpoint's three models for OpenVINO, once: openvino_convert.py CHECKPOINT FOLDER.

In a process of its own, so that torch's copies of the weights count in nobody's memory. The checkpoint is f16, so f16
weights in the files lose nothing. Shapes are fixed, which OpenVINO compiles best.
"""
import sys
from pathlib import Path

import openvino
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel


class Function(torch.nn.Module):
    """A model whose forward is a function of tensors alone, as the converter wants it."""

    def __init__(self, model, forward):
        super().__init__()
        self.model, self.function = model, forward

    def forward(self, *inputs):
        return self.function(self.model, *inputs)


def convert(folder, name, model, forward, *inputs):
    made = openvino.convert_model(Function(model.eval(), forward), example_input=inputs,
                                  input=[tuple(x.shape) for x in inputs])
    openvino.save_model(made, folder / f"{name}.xml", compress_to_fp16=True)


@torch.no_grad()
def main(checkpoint, folder):
    folder.mkdir(parents=True, exist_ok=True)
    load = lambda model, part: model.from_pretrained(checkpoint, subfolder=part, torch_dtype=torch.float32)
    convert(folder, "text_encoder", load(CLIPTextModel, "text_encoder"), lambda model, ids: model(ids)[0],
            torch.zeros(2, 77, dtype=torch.long))
    convert(folder, "unet", load(UNet2DConditionModel, "unet"),
            lambda model, x, t, context: model(x, t, context, return_dict=False)[0],
            torch.randn(2, 4, 64, 64), torch.tensor([500.0]), torch.randn(2, 77, 768))
    convert(folder, "vae", load(AutoencoderKL, "vae"), lambda model, z: model.decode(z, return_dict=False)[0],
            torch.randn(1, 4, 64, 64))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
