"""Where the golden values go."""
from pathlib import Path

import diffusers
import torch
import transformers

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "pipeline/tests"
GOLDEN = TESTS / "golden"
CHECKPOINTS = TESTS / "checkpoints"

torch.set_num_threads(1)
torch.set_grad_enabled(False)
for library in (diffusers, transformers):
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
