"""The table of values in a chart's README, made from its values.yaml.

    python3 charts/tests/values_table.py        writes the tables again
"""

import json
import re

import yaml

from charts import CRDS, OPERATOR

HEAD = "| Value | Default | |\n|---|---|---|\n"
# Shown as one row, because what is in them is Kubernetes' and not ours.
WHOLE = {"resources", "podSecurityContext", "securityContext"}


def flat(values, path=""):
    """(name.with.dots, default) of every value."""
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value and name not in WHOLE:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def comments(text):
    """{name.with.dots: the `# --` comment above it} of a values file."""
    found, stack, comment = {}, [], ""
    for line in text.splitlines():
        if match := re.match(r"^ *# -- (.*)$", line):
            comment = match[1]
        elif match := re.match(r"^( *)([A-Za-z]+):", line):
            stack = stack[: len(match[1]) // 2] + [match[2]]
            if comment:
                found[".".join(stack)] = comment
            comment = ""
    return found


def table(chart):
    text = (chart / "values.yaml").read_text()
    about = comments(text)
    rows = [f"| `{name}` | `{json.dumps(value)}` | {about.get(name, '')} |\n" for name, value in flat(yaml.safe_load(text))]
    return HEAD + "".join(rows)


def split(readme):
    """What is before the table, the table, and what is after it."""
    start = readme.index(HEAD)
    end = readme.find("\n\n", start)
    end = len(readme) if end < 0 else end + 1
    return readme[:start], readme[start:end], readme[end:]


if __name__ == "__main__":
    for folder in (OPERATOR, CRDS):
        path = folder / "README.md"
        before, _, after = split(path.read_text())
        path.write_text(before + table(folder) + after)
