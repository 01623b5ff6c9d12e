"""Where the golden values go."""
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "pipeline/tests"
GOLDEN = TESTS / "golden"
CHECKPOINTS = TESTS / "checkpoints"

torch.set_num_threads(1)
torch.set_grad_enabled(False)
