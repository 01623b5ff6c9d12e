"""What is written beside the templates: tables of values, versions, schemas."""

import json
import pathlib
import re
import unittest

import yaml

from charts import CRDS, OPERATOR
from values_table import comments, flat, split, table


class Files(unittest.TestCase):
    def test_the_table_of_values_is_the_values_file(self):
        for chart in (OPERATOR, CRDS):
            _, written, _ = split((chart / "README.md").read_text())
            self.assertEqual(written, table(chart), f"run: python3 charts/tests/values_table.py ({chart.name})")

    def test_every_value_has_a_comment(self):
        for chart in (OPERATOR, CRDS):
            text = (chart / "values.yaml").read_text()
            self.assertEqual([name for name, _ in flat(yaml.safe_load(text)) if name not in comments(text)], [], chart.name)

    def test_every_value_is_in_the_schema(self):
        for chart in (OPERATOR, CRDS):
            schema = json.loads((chart / "values.schema.json").read_text())
            for name, _ in flat(yaml.safe_load((chart / "values.yaml").read_text())):
                node = schema
                for key in name.split("."):
                    if "$ref" in node:
                        node = schema["definitions"][node["$ref"].rsplit("/", 1)[1]]
                    self.assertIn(key, node["properties"], f"{chart.name}: {name}")
                    node = node["properties"][key]

    def test_charts_and_programs_have_one_version(self):
        cargo = (pathlib.Path(__file__).resolve().parents[2] / "Cargo.toml").read_text()
        version = re.search(r'^version = "(.+)"$', cargo, re.MULTILINE)[1]
        for chart in (OPERATOR, CRDS):
            about = yaml.safe_load((chart / "Chart.yaml").read_text())
            self.assertEqual((about["version"], about["appVersion"]), (version, version), chart.name)
