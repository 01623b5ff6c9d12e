"""Install, upgrade, rollback, uninstall and reinstall on a real API server; what must not be touched is looked at each time.

    KUBECONFIG=... HELM=helm python3 charts/tests/lifecycle.py

Nothing has to run there: an API server with etcd is enough. It makes two namespaces and the definition of DiffusionService,
and refuses to start where that exists already.
"""

import json
import os
import secrets
import subprocess
import unittest

import yaml

from charts import CRDS, OPERATOR, is_hook, template

# New ones each time: on an API server alone nothing finishes the deletion of a namespace.
NAMESPACE, OTHER = (f"charts-{secrets.token_hex(3)}-{n}" for n in (1, 2))
CRD = "customresourcedefinition/diffusionservices.diffusion-operator.dev"
KUBECTL = os.environ.get("KUBECTL", "kubectl")
HELM = os.environ.get("HELM", "helm")
RELEASES = ["op", "other", "crds"]


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return done.stdout


def kubectl(*command, stdin=None):
    return run(KUBECTL, "--namespace", NAMESPACE, *command, stdin=stdin)


def helm(action, *command, values=None):
    return run(HELM, "--namespace", NAMESPACE, action, *map(str, command), *(["--values", "-"] if values else []), stdin=json.dumps(values))


def get(what):
    return json.loads(kubectl("get", what, "--output", "json"))


def there(what):
    return bool(kubectl("get", what, "--output", "name", "--ignore-not-found"))


class Lifecycle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert not there(CRD), f"{CRD} exists; these tests install and delete it, give them another cluster"
        for namespace in (NAMESPACE, OTHER):
            kubectl("apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))

    def tearDown(self):
        for release in RELEASES:
            subprocess.run([HELM, "--namespace", NAMESPACE, "uninstall", release, "--ignore-not-found"], capture_output=True)
        kubectl("delete", CRD, "--ignore-not-found")

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", NAMESPACE, OTHER, "--wait=false")

    def make_service(self):
        kubectl("wait", CRD, "--for=condition=Established", "--timeout=30s")
        service = {
            "apiVersion": "diffusion-operator.dev/v1alpha1", "kind": "DiffusionService",
            "metadata": {"name": "emoji"}, "spec": {"model": {"source": "bundled://emoji"}},
        }
        kubectl("create", "--filename", "-", stdin=json.dumps(service))
        self.service = get("diffusionservice/emoji")

    def assert_service_untouched(self):
        self.assertEqual(get("diffusionservice/emoji"), self.service)

    def deployment(self, name="op-diffusion-operator"):
        return get(f"deployment/{name}")

    def leftovers(self):
        kinds = "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,networkpolicies,poddisruptionbudgets,pods"
        return kubectl("get", kinds, "--selector", "app.kubernetes.io/part-of=diffusion-operator,app.kubernetes.io/managed-by=Helm", "--output", "name").split()

    def test_every_object_is_one_that_the_api_server_takes(self):
        helm("install", "crds", CRDS)
        for number, values in enumerate((
            {},
            {"replicas": 3, "watchNamespace": OTHER, "networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1/32"]}}},
            {"leaderElection": False, "imagePullSecrets": [{"name": "s"}], "extraEnv": [{"name": "A", "value": "1"}],
             "tolerations": [{"operator": "Exists"}], "priorityClassName": "system-cluster-critical",
             "extraVolumes": [{"name": "v", "emptyDir": {}}], "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}]},
        )):
            objects = template(OPERATOR, values, release=f"op{number}", namespace=NAMESPACE)
            # A pod is taken only when its account is there; this one's comes with it.
            account = next(o for o in objects if o["kind"] == "ServiceAccount" and is_hook(o))
            kubectl("create", "--filename", "-", stdin=json.dumps(account))
            self.addCleanup(kubectl, "delete", "serviceaccount", account["metadata"]["name"], "--ignore-not-found")
            text = yaml.safe_dump_all(objects)
            taken = run(KUBECTL, "apply", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=text)
            self.assertEqual(len(taken.splitlines()), len(objects))

    def test_upgrade_and_rollback_touch_neither_resources_nor_the_pod_template_without_reason(self):
        helm("install", "op", OPERATOR)
        self.make_service()
        first = self.deployment()
        helm("upgrade", "op", OPERATOR)
        self.assertEqual(self.deployment()["metadata"]["generation"], first["metadata"]["generation"])
        helm("upgrade", "op", OPERATOR, values={"annotations": {"a": "b"}, "replicas": 2, "networkPolicy": {"enabled": False}})
        second = self.deployment()
        self.assertEqual(second["spec"]["replicas"], 2)
        self.assertTrue(there("poddisruptionbudget/op-diffusion-operator"))
        self.assertFalse(there("networkpolicy/op-diffusion-operator"))
        helm("upgrade", "op", OPERATOR, values={"image": {"tag": "0.2.0"}})
        self.assertNotEqual(self.deployment()["spec"]["template"], first["spec"]["template"])
        helm("rollback", "op", 1)
        self.assertEqual(self.deployment()["spec"], first["spec"])
        self.assertTrue(there("networkpolicy/op-diffusion-operator"))
        self.assert_service_untouched()

    def test_uninstall_keeps_the_definition_and_resources_and_a_reinstall_takes_them_over(self):
        helm("install", "op", OPERATOR)
        self.make_service()
        helm("uninstall", "op")
        self.assertEqual(self.leftovers(), [])
        self.assert_service_untouched()
        helm("install", "op", OPERATOR)
        helm("uninstall", "op")
        self.assert_service_untouched()

        with self.assertRaisesRegex(AssertionError, "invalid ownership metadata"):
            helm("install", "other", OPERATOR)
        helm("install", "other", OPERATOR, "--take-ownership")
        self.assert_service_untouched()
        self.assertEqual(get(CRD)["metadata"]["annotations"]["meta.helm.sh/release-name"], "other")

    def test_the_definition_moves_from_one_chart_to_the_other(self):
        helm("install", "op", OPERATOR)
        self.make_service()
        helm("upgrade", "op", OPERATOR, values={"crds": {"enabled": False}})
        self.assertTrue(there(CRD))
        helm("install", "crds", CRDS, "--take-ownership")
        self.assertEqual(get(CRD)["metadata"]["labels"]["app.kubernetes.io/name"], "diffusion-operator-crds")
        helm("uninstall", "op")
        helm("uninstall", "crds")
        self.assert_service_untouched()

    def test_without_keep_the_definition_goes_with_the_release(self):
        helm("install", "op", OPERATOR, values={"crds": {"keep": False}})
        helm("uninstall", "op")
        self.assertFalse(there(CRD))


if __name__ == "__main__":
    unittest.main()
