//! The operator: installed by helm as a user installs it, upgraded, looked at.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};

use crate::{
    cluster::{Cluster, OPERATOR},
    failure::{Outcome, fail},
    wait::until,
};

/// As in README.
const INSTALL: [&str; 6] =
    ["install", OPERATOR, "charts/diffusion-operator", "--create-namespace", "--wait", "--timeout=3m"];

impl Cluster {
    /// `helm install`.
    pub(crate) async fn install(&self) -> Outcome {
        self.helm(&INSTALL).text().await.map(|_| ())
    }

    /// `helm upgrade`, with values that are not the defaults.
    pub(crate) async fn upgrade(&self, values: &[&str]) -> Outcome {
        let sets: Vec<String> = values.iter().map(|v| format!("--set-string={v}")).collect();
        let mut arguments = vec!["upgrade", OPERATOR, "charts/diffusion-operator", "--wait", "--timeout=3m"];
        arguments.extend(sets.iter().map(String::as_str));
        self.helm(&arguments).text().await.map(|_| ())
    }

    /// `helm uninstall`; the definitions stay, as the chart says.
    pub(crate) async fn uninstall(&self) -> Outcome {
        self.helm(&["uninstall", OPERATOR, "--wait", "--timeout=3m"]).text().await.map(|_| ())
    }

    /// Whether there is a release.
    pub(crate) async fn is_installed(&self) -> Outcome<bool> {
        let list = self.helm(&["list", "--all", "--short"]).text().await?;
        Ok(list.lines().any(|l| l.trim() == OPERATOR))
    }

    /// The operator as a scenario must find it: installed, with the chart's own values, one replica, ready.
    pub(crate) async fn restore(&self) -> Outcome {
        if !self.is_installed().await? {
            return self.install().await;
        }
        let values = self.helm(&["get", "values", OPERATOR, "--output=json"]).text().await?;
        let status = self.helm(&["status", OPERATOR, "--output=json"]).text().await?;
        let deployed = status.contains("\"status\":\"deployed\"");
        if values.trim() != "null" && values.trim() != "{}" || !deployed {
            self.upgrade(&["nameOverride="]).await?;
        }
        self.scale_operator(1).await
    }

    /// Sets the number of operator pods, and waits for it.
    pub(crate) async fn scale_operator(&self, replicas: i32) -> Outcome {
        let number = format!("--replicas={replicas}");
        self.kubectl(&["-n", OPERATOR, "scale", "deployment", OPERATOR, &number]).text().await?;
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), OPERATOR);
        until(&format!("{replicas} operator pod(s)"), 120, || async {
            let status = api.get(OPERATOR).await?.status.unwrap_or_default();
            let there = (status.replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
            Ok((there == (replicas, replicas)).then_some(()))
        })
        .await?;
        if replicas > 0 {
            return Ok(());
        }
        // A pod that ends may still write.
        until("no operator pod", 60, || async { Ok(self.operator_pods().await?.is_empty().then_some(())) })
            .await
    }

    /// The operator's pods.
    pub(crate) async fn operator_pods(&self) -> Outcome<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR);
        Ok(api
            .list(
                &ListParams::default()
                    .labels("app.kubernetes.io/name=diffusion-operator,app.kubernetes.io/component=operator"),
            )
            .await?
            .items)
    }

    /// The end of the operator's log.
    pub(crate) async fn operator_log(&self, seconds: i64) -> Outcome<String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR);
        let pods = self.operator_pods().await?;
        if pods.is_empty() {
            fail!("there is no operator pod");
        }
        let params = LogParams { since_seconds: Some(seconds), tail_lines: Some(60), ..LogParams::default() };
        let mut all = String::new();
        for pod in pods {
            all.push_str(&api.logs(&pod.name_any(), &params).await?);
        }
        Ok(all)
    }
}
