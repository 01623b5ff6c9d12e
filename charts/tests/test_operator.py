"""What the operator's chart renders, value by value."""

import unittest

from charts import Refused, container, is_hook, of_kind, operator, pod_template


class Defaults(unittest.TestCase):
    def test_the_objects_are_these_and_no_others(self):
        name = "diffusion-operator"
        expected = {
            ("CustomResourceDefinition", "diffusionservices.diffusion-operator.dev"),
            ("ServiceAccount", name),
            ("ClusterRole", name), ("ClusterRoleBinding", name),
            ("ClusterRole", f"{name}-view"), ("ClusterRole", f"{name}-edit"),
            ("Role", f"{name}-lease"), ("RoleBinding", f"{name}-lease"),
            ("Deployment", name), ("Service", name), ("NetworkPolicy", name),
            ("ServiceAccount", f"{name}-selftest"), ("Role", f"{name}-selftest"),
            ("RoleBinding", f"{name}-selftest"), ("Pod", f"{name}-selftest"),
        }
        self.assertEqual(set(operator()), expected)

    def test_the_pod_may_do_nothing_that_it_does_not_need(self):
        for objects in (operator(), operator({"replicas": 3})):
            for spec in (pod_template(objects)["spec"], objects["Pod", "diffusion-operator-selftest"]["spec"]):
                self.assertEqual(spec["securityContext"], {
                    "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                })
                self.assertEqual(spec["containers"][0]["securityContext"], {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
                })
                self.assertIn("memory", spec["containers"][0]["resources"]["limits"])

    def test_probes_and_port_are_the_admin_port(self):
        it = container(operator())
        self.assertEqual(it["ports"], [{"name": "admin", "containerPort": 8080}])
        self.assertEqual(it["livenessProbe"]["httpGet"], {"path": "/livez", "port": "admin"})
        self.assertEqual(it["readinessProbe"]["httpGet"], {"path": "/readyz", "port": "admin"})

    def test_the_command_line_is_the_one_that_the_operator_reads(self):
        self.assertEqual(container(operator())["args"], [
            "run",
            "--server-image=diffusion-operator.dev/server:0.1.0",
            "--server-image-nvidia=diffusion-operator.dev/server-cuda:0.1.0",
            "--leader-election=true", "--lease-name=diffusion-operator", "--admin-listen=0.0.0.0:8080",
            "--concurrency=8", "--reconcile-timeout=30", "--log-format=json", "--log=info",
        ])
        env = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in container(operator())["env"]}
        self.assertEqual(env, {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"})

    def test_selectors_find_the_operators_pods_and_not_the_selftests(self):
        objects = operator({"replicas": 2, "serviceMonitor": {"enabled": True}})
        deployment = objects["Deployment", "diffusion-operator"]["spec"]
        selectors = {
            "deployment": deployment["selector"]["matchLabels"],
            "service": objects["Service", "diffusion-operator"]["spec"]["selector"],
            "budget": objects["PodDisruptionBudget", "diffusion-operator"]["spec"]["selector"]["matchLabels"],
            "policy": objects["NetworkPolicy", "diffusion-operator"]["spec"]["podSelector"]["matchLabels"],
        }
        labels = deployment["template"]["metadata"]["labels"]
        selftest = objects["Pod", "diffusion-operator-selftest"]["metadata"]["labels"]
        for what, selector in selectors.items():
            self.assertEqual(selector, selectors["deployment"], what)
            self.assertLessEqual(selector.items(), labels.items(), what)
            self.assertFalse(selector.items() <= selftest.items(), what)
        monitor = objects["ServiceMonitor", "diffusion-operator"]["spec"]
        service = objects["Service", "diffusion-operator"]
        self.assertLessEqual(monitor["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
        self.assertEqual(monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])

    def test_every_object_carries_the_standard_labels_and_its_namespace(self):
        for values in ({}, {"replicas": 2, "serviceMonitor": {"enabled": True}}, {"watchNamespace": "models"}):
            for (kind, name), o in operator(values).items():
                labels = o["metadata"]["labels"]
                for label in ("name", "instance", "version", "managed-by", "part-of"):
                    self.assertIn(f"app.kubernetes.io/{label}", labels, (kind, name))
                self.assertIn("helm.sh/chart", labels, (kind, name))
                cluster_wide = kind.startswith("Cluster") or kind == "CustomResourceDefinition"
                self.assertEqual("namespace" in o["metadata"], not cluster_wide, (kind, name))


class Values(unittest.TestCase):
    def test_each_value_arrives_where_it_belongs(self):
        arrives = [
            ({"concurrency": 3}, lambda o: "--concurrency=3" in container(o)["args"]),
            ({"reconcileTimeout": 9}, lambda o: "--reconcile-timeout=9" in container(o)["args"]),
            ({"log": {"format": "text"}}, lambda o: "--log-format=text" in container(o)["args"]),
            ({"log": {"filter": "info,kube=warn"}}, lambda o: "--log=info,kube=warn" in container(o)["args"]),
            ({"extraArgs": ["--x=y"]}, lambda o: container(o)["args"][-1] == "--x=y"),
            ({"extraEnv": [{"name": "A", "value": "1"}]}, lambda o: container(o)["env"][-1] == {"name": "A", "value": "1"}),
            ({"extraVolumes": [{"name": "v"}]}, lambda o: pod_template(o)["spec"]["volumes"] == [{"name": "v"}]),
            ({"extraVolumeMounts": [{"name": "v"}]}, lambda o: container(o)["volumeMounts"] == [{"name": "v"}]),
            ({"annotations": {"a": "b"}}, lambda o: o["Deployment", "diffusion-operator"]["metadata"]["annotations"] == {"a": "b"}),
            ({"podAnnotations": {"a": "b"}}, lambda o: pod_template(o)["metadata"]["annotations"] == {"a": "b"}),
            ({"podLabels": {"a": "b"}}, lambda o: pod_template(o)["metadata"]["labels"]["a"] == "b"),
            ({"commonLabels": {"team": "t"}}, lambda o: all(x["metadata"]["labels"]["team"] == "t" for x in o.values())),
            ({"resources": {"requests": {"cpu": "1"}}}, lambda o: container(o)["resources"]["requests"]["cpu"] == "1"),
            ({"nodeSelector": {"a": "b"}}, lambda o: pod_template(o)["spec"]["nodeSelector"] == {"a": "b"}),
            ({"tolerations": [{"key": "a"}]}, lambda o: pod_template(o)["spec"]["tolerations"] == [{"key": "a"}]),
            ({"affinity": {"nodeAffinity": {"x": 1}}}, lambda o: pod_template(o)["spec"]["affinity"] == {"nodeAffinity": {"x": 1}}),
            ({"topologySpreadConstraints": [{"maxSkew": 2}]},
             lambda o: pod_template(o)["spec"]["topologySpreadConstraints"] == [{"maxSkew": 2}]),
            ({"priorityClassName": "high"}, lambda o: pod_template(o)["spec"]["priorityClassName"] == "high"),
            ({"terminationGracePeriodSeconds": 7}, lambda o: pod_template(o)["spec"]["terminationGracePeriodSeconds"] == 7),
            ({"imagePullSecrets": [{"name": "s"}]}, lambda o: pod_template(o)["spec"]["imagePullSecrets"] == [{"name": "s"}]),
            ({"image": {"pullPolicy": "Never"}}, lambda o: container(o)["imagePullPolicy"] == "Never"),
            ({"serviceAccount": {"name": "sa"}}, lambda o: pod_template(o)["spec"]["serviceAccountName"] == "sa"),
            ({"serviceAccount": {"annotations": {"a": "b"}}},
             lambda o: o["ServiceAccount", "diffusion-operator"]["metadata"]["annotations"] == {"a": "b"}),
            ({"service": {"port": 9}}, lambda o: o["Service", "diffusion-operator"]["spec"]["ports"][0]["port"] == 9),
            ({"service": {"annotations": {"a": "b"}}},
             lambda o: o["Service", "diffusion-operator"]["metadata"]["annotations"] == {"a": "b"}),
            ({"serviceMonitor": {"enabled": True, "interval": "5s", "labels": {"a": "b"}}},
             lambda o: o["ServiceMonitor", "diffusion-operator"]["spec"]["endpoints"][0]["interval"] == "5s"
             and o["ServiceMonitor", "diffusion-operator"]["metadata"]["labels"]["a"] == "b"),
            ({"replicas": 3}, lambda o: o["Deployment", "diffusion-operator"]["spec"]["replicas"] == 3),
            ({"replicas": 3}, lambda o: pod_template(o)["spec"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"),
            ({"replicas": 3, "podDisruptionBudget": {"maxUnavailable": "50%"}},
             lambda o: o["PodDisruptionBudget", "diffusion-operator"]["spec"]["maxUnavailable"] == "50%"),
            ({"networkPolicy": {"enabled": False}}, lambda o: not of_kind(o, "NetworkPolicy")),
            ({"selftest": {"enabled": False}}, lambda o: not any(is_hook(x) for x in o.values())),
            ({"selftest": {"timeout": 99}},
             lambda o: o["Pod", "diffusion-operator-selftest"]["spec"]["containers"][0]["args"] == [
                 "selftest", "--namespace=operators", "--name=diffusion-operator-drawn", "--timeout=99"]),
            ({"leaderElection": False}, lambda o: o["Deployment", "diffusion-operator"]["spec"]["strategy"] == {"type": "Recreate"}
             and "--leader-election=false" in container(o)["args"] and ("Role", "diffusion-operator-lease") not in o),
            ({"watchNamespace": "models"}, lambda o: "--namespace=models" in container(o)["args"]),
            ({"podSecurityContext": {"runAsUser": None}},
             lambda o: "runAsUser" not in pod_template(o)["spec"]["securityContext"]),
        ]
        for values, arrived in arrives:
            with self.subTest(values):
                self.assertTrue(arrived(operator(values)))
                self.assertFalse(self.holds_by_default(arrived), "this holds without the value too")

    def test_a_budget_is_there_when_a_second_replica_is_and_it_is_wanted(self):
        for values, budgets in [({}, 0), ({"replicas": 2}, 1), ({"replicas": 2, "podDisruptionBudget": {"enabled": False}}, 0)]:
            self.assertEqual(len(of_kind(operator(values), "PodDisruptionBudget")), budgets, values)

    @staticmethod
    def holds_by_default(arrived):
        try:
            return arrived(operator())
        except KeyError:
            return False

    def test_images_by_tag_digest_and_registry(self):
        digest = "sha256:" + "0" * 64
        for values, image, server in [
            ({"image": {"tag": "9"}, "server": {"image": {"tag": "8"}}}, "diffusion-operator.dev/operator:9", "diffusion-operator.dev/server:8"),
            ({"image": {"digest": digest, "tag": "9"}}, f"diffusion-operator.dev/operator@{digest}", "diffusion-operator.dev/server:0.1.0"),
            ({"image": {"registry": "r:5000", "repository": "a/b"}}, "r:5000/a/b:0.1.0", "diffusion-operator.dev/server:0.1.0"),
            ({"global": {"imageRegistry": "mirror"}}, "mirror/operator:0.1.0", "mirror/server:0.1.0"),
        ]:
            with self.subTest(values):
                objects = operator(values)
                self.assertEqual(container(objects)["image"], image)
                self.assertEqual(objects["Pod", "diffusion-operator-selftest"]["spec"]["containers"][0]["image"], image)
                self.assertIn(f"--server-image={server}", container(objects)["args"])

    def test_names(self):
        for release, values, name in [
            ("diffusion-operator", {}, "diffusion-operator"),
            ("prod", {}, "prod-diffusion-operator"),
            ("prod", {"nameOverride": "op"}, "prod-op"),
            ("prod", {"fullnameOverride": "x"}, "x"),
            ("a" * 53, {}, "a" * 53),
        ]:
            with self.subTest(release):
                objects = operator(values, release=release)
                self.assertIn(("Deployment", name), objects)
                # The servers' NetworkPolicies let in pods of this name, whatever the release is called.
                self.assertEqual(objects["Deployment", name]["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"], "diffusion-operator")
                self.assertIn(f"--lease-name={name}", objects["Deployment", name]["spec"]["template"]["spec"]["containers"][0]["args"])
                for _, o in objects:
                    self.assertLessEqual(len(o), 63)

    def test_the_network_policy_opens_what_was_asked_for(self):
        policy = lambda values: operator(values)["NetworkPolicy", "diffusion-operator"]["spec"]
        spec = policy({})
        self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
        self.assertEqual(spec["ingress"], [{"ports": [{"port": "admin", "protocol": "TCP"}]}])
        ports = [[p["port"] for p in rule["ports"]] for rule in spec["egress"]]
        self.assertEqual(ports, [[53, 53], [443, 6443], [8081]])
        self.assertEqual(spec["egress"][2]["to"][0]["namespaceSelector"], {})
        one = policy({"watchNamespace": "models"})["egress"][2]["to"][0]["namespaceSelector"]
        self.assertEqual(one, {"matchLabels": {"kubernetes.io/metadata.name": "models"}})
        spec = policy({"networkPolicy": {"apiServer": {"ports": [7443], "cidrs": ["10.0.0.1/32"]}, "ingressFrom": [{"podSelector": {}}]}})
        self.assertEqual(spec["egress"][1], {"ports": [{"port": 7443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]})
        self.assertEqual(spec["ingress"][0]["from"], [{"podSelector": {}}])


class Upgrades(unittest.TestCase):
    def test_nothing_but_the_pods_own_values_changes_the_pod_template(self):
        before = pod_template(operator())
        untouched = [
            {"annotations": {"a": "b"}}, {"service": {"annotations": {"a": "b"}}}, {"replicas": 1}, {"crds": {"enabled": False}},
            {"networkPolicy": {"enabled": False}}, {"serviceMonitor": {"enabled": True}}, {"selftest": {"enabled": False}},
            {"rbac": {"aggregate": False}}, {"serviceAccount": {"annotations": {"a": "b"}}},
        ]
        for values in untouched:
            with self.subTest(values):
                self.assertEqual(pod_template(operator(values)), before)
        for values in ({"podAnnotations": {"a": "b"}}, {"image": {"tag": "2"}}, {"concurrency": 9}):
            with self.subTest(values):
                self.assertNotEqual(pod_template(operator(values)), before)

    def test_the_pod_template_has_no_chart_version(self):
        self.assertNotIn("helm.sh/chart", pod_template(operator())["metadata"]["labels"])
        self.assertNotIn("annotations", pod_template(operator())["metadata"])


class RefusedValues(unittest.TestCase):
    def test_what_cannot_work_is_refused_with_the_values_name(self):
        for values, word in [
            ({"replica": 2}, "replica"), ({"replicas": "two"}, "replicas"), ({"replicas": -1}, "replicas"),
            ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"), ({"image": {"digest": "0123"}}, "digest"),
            ({"image": {"tagg": "1"}}, "tagg"), ({"log": {"format": "xml"}}, "format"),
            ({"watchNamespace": "Not A Name"}, "watchNamespace"), ({"concurrency": 0}, "concurrency"),
            ({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "cidrs"), ({"service": {"port": 0}}, "port"),
            ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name"),
            ({"podLabels": {"app.kubernetes.io/component": "x"}}, "app.kubernetes.io/component"),
            ({"crds": {"enabled": "no"}}, "enabled"), ({"extraEnv": [{"value": "x"}]}, "extraEnv"),
            ({"replicas": 2, "leaderElection": False}, "leaderElection"),
        ]:
            with self.subTest(values):
                with self.assertRaises(Refused) as refused:
                    operator(values)
                self.assertIn(word, str(refused.exception))


if __name__ == "__main__":
    unittest.main()
