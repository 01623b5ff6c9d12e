"""Measures the rows that are not measured yet and writes the table: run.py --help.

Every figure is kept as a line of JSON in FOLDER/results.jsonl as soon as it is there, so that a run that was cut goes
on where it was. A line counts as long as what it was measured with is the same (program, versions, inputs, machine).
"""
import argparse
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import machine
import table
from rows import PARTS, PICTURES, rows


def measure(argv, log):
    """The figures of one process, or why there are none."""
    before, begin = machine.busy_seconds(), time.monotonic()
    with open(log, "w") as errors:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.monotonic() - begin
    # What other programs took of the processors meanwhile: a figure of a busy machine is known as one.
    others = max(0.0, machine.busy_seconds() - before - usage.ru_utime - usage.ru_stime) / (elapsed * machine.cores())
    try:
        if process.returncode == 0:
            return dict(figures=json.loads(output.strip().splitlines()[-1]), others=round(others, 3))
    except (IndexError, ValueError):
        pass
    return dict(failed=reason(log, process.returncode), others=round(others, 3))


def reason(log, status):
    """The last line that speaks of an error."""
    lines = [line.strip() for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["nothing was said"])[-1][:300] + f" (exit status {status})"


def read_ahead(folder):
    """Brings a model's files into the page cache, so that nobody's load waits for the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 24):
                    pass


class Results:
    """The kept lines, one of each row's part."""

    def __init__(self, path):
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self.path, self.lines = path, {(line["row"], line["part"]): line for line in lines}

    def get(self, row, part, key):
        kept = self.lines.get((row, part))
        return kept if kept and kept["key"] == key else None

    def add(self, **line):
        self.lines[line["row"], line["part"]] = line
        self.save()

    def forget(self, names, parts):
        self.lines = {at: line for at, line in self.lines.items() if at[0] not in names or at[1] not in parts}
        self.save()

    def save(self):
        """In one move, so that a cut run leaves no half line."""
        draft = self.path.with_suffix(".tmp")
        draft.write_text("".join(json.dumps(line) + "\n" for line in self.lines.values()))
        draft.replace(self.path)


def arguments():
    parser = argparse.ArgumentParser(description="Measures what is not measured yet, and writes the table.")
    for name in ("checkpoint", "converted", "folder", "binary", "sdcpp", "docs"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--sdcpp-version", required=True)
    parser.add_argument("--only", default="", help="names of rows, with commas between them")
    parser.add_argument("--pictures", type=int, default=1, help="0: no whole pictures")
    parser.add_argument("--fresh", type=int, default=0, help="1: forget what is there first")
    parser.add_argument("--title", required=True, help="the command that the table names")
    return parser.parse_args()


def main():
    given = arguments()
    inputs = json.loads((given.folder / "inputs.json").read_text())
    results = Results(given.folder / "results.jsonl")
    every = rows(given.checkpoint, given.converted, given.binary, sys.executable, given.sdcpp, given.sdcpp_version)
    only = [name.strip() for name in given.only.split(",") if name.strip()]
    unknown = set(only) - {row.name for row in every}
    if unknown:
        names = ", ".join(row.name for row in every)
        sys.exit(f"bench: no row is called {', '.join(sorted(unknown))}; there are {names}")
    parts = PARTS if given.pictures else [part for part in PARTS if part not in PICTURES]
    chosen = only or [row.name for row in every]
    if given.fresh:
        results.forget(chosen, parts)
    what, made = machine.facts(), {}
    # Steps of every row first, side by side; the whole pictures after them.
    for part in PARTS:
        for row in every:
            picture, key = given.folder / f"{row.slug}.{part}.png", row.key(inputs, part, what)
            kept = results.get(row.name, part, key)
            usable = kept and "figures" in kept and picture.exists()
            # What can't take steps can't draw whole pictures.
            able = part == "short" or "figures" in made.get((row.name, "short"), {})
            if able and part in parts and row.name in chosen and not usable:
                print(f"== bench: {row.name}, {part}", file=sys.stderr, flush=True)
                picture.unlink(missing_ok=True)
                read_ahead(row.model)
                when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M")
                measured = measure(row.argv(given.folder, part, picture), given.folder / f"{row.slug}.{part}.log")
                kept = dict(row=row.name, part=part, key=key, when=when, **measured)
                results.add(**kept)
                print(f"   {kept.get('figures') or 'failed: ' + kept['failed']}", file=sys.stderr, flush=True)
            if kept and able:
                made[row.name, part] = dict(kept, picture=picture)
    text = table.block(every, made, inputs, what, given.title)
    print(text)
    missing = [row.name for row in every if (row.name, "short") not in made]
    if missing:
        print(f"== bench: {given.docs} stays as it is: not measured yet: {', '.join(missing)}", file=sys.stderr)
    else:
        table.write(given.docs, text)
        print(f"== bench: wrote the table of {given.docs}", file=sys.stderr)


if __name__ == "__main__":
    main()
