"""Renders the charts with helm and gives the objects to the tests."""

import functools
import json
import os
import pathlib
import subprocess
import tempfile

import yaml

CHARTS = pathlib.Path(__file__).resolve().parent.parent
OPERATOR = CHARTS / "diffusion-operator"
CRDS = CHARTS / "diffusion-operator-crds"


class Refused(Exception):
    """helm did not accept the values; the message is helm's."""


def template(chart, values=None, release="diffusion-operator", namespace="operators"):
    """The objects that `helm template` renders, as a list, hooks included."""
    return json.loads(_template(chart, json.dumps(values or {}), release, namespace))


@functools.cache
def _template(chart, values, release, namespace):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values)
        file.flush()
        # A helm that was built by hand does not know which Kubernetes it is for.
        command = [os.environ.get("HELM", "helm"), "template", release, str(chart), "--kube-version", "1.34"]
        command += ["--namespace", namespace, "--values", file.name]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return json.dumps([o for o in yaml.load_all(done.stdout, NoDuplicates) if o is not None])


class NoDuplicates(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error, as it is for helm's strict decoders."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise Refused(f"a key is there twice: {keys}")
        return super().construct_mapping(node, deep)


def operator(values=None, **where):
    """The operator's chart as {(kind, name): object}."""
    objects = template(OPERATOR, values, **where)
    found = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    assert len(found) == len(objects), "two objects have the same kind and name"
    return found


def of_kind(objects, kind):
    return [o for (k, _), o in sorted(objects.items()) if k == kind]


def is_hook(o):
    return "helm.sh/hook" in o["metadata"].get("annotations", {})


def pod_template(objects):
    return objects["Deployment", "diffusion-operator"]["spec"]["template"]


def container(objects):
    return pod_template(objects)["spec"]["containers"][0]


def rules(role):
    """A role as a set of (group, resource, verb, names), in which order and grouping do not matter."""
    return {
        (group, resource, verb, tuple(rule.get("resourceNames", [])))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
