"""Numbers that torch's CPU generator draws: a dozen seeds, one by one and in blocks, mixed."""
import json

import torch

from common import GOLDEN

SEEDS = [0, 1, 2, 7, 42, 123, 5489, 2**31, 2**32 - 1, 2**32 + 5, 2**53 + 1, 2**64 - 1]
SHAPES = [[1, 4, 8, 8], [16], [17], [1], [3], [5, 3], [1, 4, 9, 13], [2, 2], [31], [1, 4, 64, 64], [15], [1, 8, 16, 16]]


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def main():
    cases = []
    for seed in SEEDS:
        generator = torch.Generator("cpu").manual_seed(seed)
        draws = []
        for shape in SHAPES:
            values = torch.randn(shape, generator=generator).flatten()
            bits = [b & 0xFFFFFFFF for b in values.view(torch.int32).tolist()]
            draws.append(dict(shape=shape, first=bits[:8], last=bits[-8:], hash=fnv(values.numpy().tobytes())))
        cases.append(dict(seed=seed, draws=draws))
    (GOLDEN / "noise.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
