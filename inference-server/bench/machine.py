"""What machine this is, and how busy it is."""
import os
from pathlib import Path


def cores():
    return len(os.sched_getaffinity(0))


def facts():
    """In words, as the table says it."""
    fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    names = dict(avx2="AVX2", avx512f="AVX-512", avx512_bf16="AVX512-BF16", amx_bf16="AMX-BF16")
    have = [name for flag, name in names.items() if flag in flags]
    lack = [name for flag, name in names.items() if flag not in flags]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return (f"{cores()} cores of {fields.get('model name', 'an unknown processor')} ({', '.join(have)}"
            f"{'; no ' + ', no '.join(lack) if lack else ''}), {memory:.0f} GiB")


def busy_seconds():
    """Processor time that all programs together have taken, and what the host took from this machine."""
    user, nice, system, _idle, _wait, irq, soft_irq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK")
