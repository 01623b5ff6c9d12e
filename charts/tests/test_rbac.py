"""Who may do what: these lists are the whole of it, and a change to the charts has to be made here too."""

import unittest

from charts import is_hook, of_kind, operator, rules

WATCH = ["get", "list", "watch"]
OWN = WATCH + ["create", "patch", "delete"]
OPERATOR = {
    (group, resource, verb, ())
    for group, resources, verbs in [
        ("diffusion-operator.dev", ["diffusionservices"], WATCH),
        ("diffusion-operator.dev", ["diffusionservices/status"], ["patch"]),
        ("apps", ["deployments"], OWN),
        ("", ["services", "serviceaccounts", "persistentvolumeclaims"], OWN),
        ("batch", ["jobs"], OWN),
        ("autoscaling", ["horizontalpodautoscalers"], OWN),
        ("policy", ["poddisruptionbudgets"], OWN),
        ("networking.k8s.io", ["networkpolicies"], OWN),
        ("monitoring.coreos.com", ["podmonitors"], OWN),
        ("", ["pods"], WATCH),
        ("", ["pods/log"], ["get"]),
        ("", ["events"], ["list"]),
        ("events.k8s.io", ["events"], ["create", "patch"]),
    ]
    for resource in resources
    for verb in verbs
}
LEASE = {("coordination.k8s.io", "leases", "create", ())} | {
    ("coordination.k8s.io", "leases", verb, ("diffusion-operator",)) for verb in ("get", "update", "patch")
}
NAME = "diffusion-operator"


class Rbac(unittest.TestCase):
    def test_in_all_namespaces_it_is_a_cluster_role(self):
        objects = operator()
        self.assertEqual(rules(objects["ClusterRole", NAME]), OPERATOR)
        self.assertEqual(rules(objects["Role", f"{NAME}-lease"]), LEASE)
        self.assertNotIn(("Role", NAME), objects)

    def test_in_one_namespace_it_is_a_role_there_and_nothing_is_cluster_wide(self):
        objects = operator({"watchNamespace": "models", "rbac": {"aggregate": False}})
        self.assertEqual(rules(objects["Role", NAME]), OPERATOR)
        self.assertEqual(objects["Role", NAME]["metadata"]["namespace"], "models")
        self.assertEqual(objects["RoleBinding", NAME]["metadata"]["namespace"], "models")
        self.assertEqual(objects["Role", f"{NAME}-lease"]["metadata"]["namespace"], "operators")
        self.assertEqual(of_kind(objects, "ClusterRole") + of_kind(objects, "ClusterRoleBinding"), [])

    def test_bindings_give_each_role_to_the_account_that_the_pod_uses(self):
        for values in ({}, {"watchNamespace": "models"}, {"serviceAccount": {"create": False, "name": "mine"}}):
            objects = operator(values)
            account = objects["Deployment", NAME]["spec"]["template"]["spec"]["serviceAccountName"]
            for binding in of_kind(objects, "ClusterRoleBinding") + of_kind(objects, "RoleBinding"):
                wanted = f"{NAME}-selftest" if is_hook(binding) else account
                with self.subTest(values=values, binding=binding["metadata"]["name"]):
                    self.assertEqual(binding["subjects"], [{"kind": "ServiceAccount", "name": wanted, "namespace": "operators"}])
                    role = objects[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
                    self.assertEqual(role["metadata"].get("namespace"), binding["metadata"].get("namespace"))

    def test_people_may_edit_what_they_may_edit_otherwise(self):
        objects = operator()
        view, edit = objects["ClusterRole", f"{NAME}-view"], objects["ClusterRole", f"{NAME}-edit"]
        self.assertEqual({verb for _, _, verb, _ in rules(view)}, {"get", "list", "watch"})
        self.assertNotIn("diffusionservices/status", {resource for _, resource, _, _ in rules(edit)})
        self.assertEqual(view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"], "true")
        self.assertNotIn("rbac.authorization.k8s.io/aggregate-to-view", edit["metadata"]["labels"])
        self.assertNotIn(("ClusterRole", f"{NAME}-edit"), operator({"rbac": {"aggregate": False}}))

    def test_without_rbac_there_is_none_but_the_selftests(self):
        objects = operator({"rbac": {"create": False}})
        found = [o for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding") for o in of_kind(objects, kind)]
        self.assertEqual([o["metadata"]["name"] for o in found if not is_hook(o)], [])

    def test_no_role_has_a_wildcard(self):
        for values in ({}, {"watchNamespace": "models"}):
            for kind in ("ClusterRole", "Role"):
                for role in of_kind(operator(values), kind):
                    self.assertFalse([rule for rule in rules(role) if "*" in rule[:3]], role["metadata"]["name"])

    def test_the_selftests_resource_finds_its_names_free(self):
        # Its children are called like it: a ServiceAccount of that name would be a conflict.
        objects = operator({})
        args = objects["Pod", f"{NAME}-selftest"]["spec"]["containers"][0]["args"]
        (drawn,) = [a.removeprefix("--name=") for a in args if a.startswith("--name=")]
        self.assertNotIn(drawn, {name for _, name in objects})

    def test_the_selftest_may_touch_its_own_resource_only(self):
        for values, namespace in (({}, "operators"), ({"watchNamespace": "models"}, "models")):
            role = operator(values)["Role", f"{NAME}-selftest"]
            self.assertEqual(role["metadata"]["namespace"], namespace)
            name = (f"{NAME}-drawn",)
            group, resource = "diffusion-operator.dev", "diffusionservices"
            self.assertEqual(
                rules(role),
                {(group, resource, "create", ())} | {(group, resource, verb, name) for verb in ("get", "delete")},
            )
