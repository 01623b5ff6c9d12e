"""What the Python peers share: inputs, clock, peak memory. Standard library only, so that it costs no memory itself."""
import json
import resource
import statistics
import time
from pathlib import Path

THREADS = 2


def inputs(folder):
    return json.loads((Path(folder) / "inputs.json").read_text())


def timed(f, *arguments):
    begin = time.perf_counter()
    result = f(*arguments)
    return time.perf_counter() - begin, result


def medians(**lists):
    return {name: statistics.median(values) for name, values in lists.items()}


def say(**figures):
    """Prints the figures as the last line of output, which is what run.py reads."""
    print("\n" + json.dumps(dict(figures, peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)))
