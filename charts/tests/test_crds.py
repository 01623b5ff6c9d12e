"""The definition in both charts: crdgen's file, unchanged but for labels and the note that says to keep it."""

import copy
import unittest

import yaml

from charts import CRDS, OPERATOR, of_kind, operator, template

FILE = "crds-src/diffusionservices.yaml"
KEEP = "helm.sh/resource-policy"


def rendered():
    yield "operator", of_kind(operator(), "CustomResourceDefinition")
    yield "crds", template(CRDS)


class Definitions(unittest.TestCase):
    def test_both_charts_have_the_same_file(self):
        self.assertEqual((OPERATOR / FILE).read_bytes(), (CRDS / FILE).read_bytes(), "crdgen writes both; run it")

    def test_the_definition_is_rendered_as_it_was_written(self):
        written = yaml.safe_load((OPERATOR / FILE).read_text())
        self.assertEqual(written["metadata"]["name"], "diffusionservices.diffusion-operator.dev")
        for chart, objects in rendered():
            with self.subTest(chart):
                self.assertEqual(len(objects), 1)
                bare = copy.deepcopy(objects[0])
                bare["metadata"] = {"name": bare["metadata"]["name"]}
                written["metadata"] = {"name": written["metadata"]["name"]}
                self.assertEqual(bare, written)

    def test_it_is_kept_unless_told_otherwise(self):
        for chart, objects in rendered():
            self.assertEqual(objects[0]["metadata"]["annotations"][KEEP], "keep", chart)
            self.assertEqual(objects[0]["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm", chart)
        gone = {"crds": {"keep": False}}
        for objects in (of_kind(operator(gone), "CustomResourceDefinition"), template(CRDS, gone)):
            self.assertNotIn(KEEP, objects[0]["metadata"].get("annotations", {}))

    def test_without_crds_there_is_none(self):
        self.assertEqual(of_kind(operator({"crds": {"enabled": False}}), "CustomResourceDefinition"), [])

    def test_no_chart_has_a_folder_that_helm_would_install_once_and_never_upgrade(self):
        for chart in (OPERATOR, CRDS):
            self.assertFalse((chart / "crds").exists(), chart)

    def test_common_labels(self):
        labels = template(CRDS, {"commonLabels": {"team": "t"}})[0]["metadata"]["labels"]
        self.assertEqual(labels["team"], "t")
        self.assertEqual(labels["app.kubernetes.io/name"], "diffusion-operator-crds")
