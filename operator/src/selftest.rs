//! `selftest`: what a user does, done once: a resource, a picture, and everything gone again. `helm test` runs it.

use std::time::Duration;

use diffusion_crds::{
    DiffusionService, DiffusionServiceSpec,
    v1alpha1::{Autoscaling, ServicePort, ServiceType},
};
use futures::TryFutureExt;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{cli::SelftestArgs, http};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const LONGEST: usize = 16 << 20;
const PAUSE: Duration = Duration::from_millis(500);
/// Time kept for the deletion when the rest took too long.
const CLEAN_UP: Duration = Duration::from_secs(20);

/// Runs it, and deletes the resource also when a step failed.
///
/// # Errors
///
/// The step that failed and what the resource said of itself.
pub async fn selftest(args: &SelftestArgs) -> Result<(), String> {
    let client = Client::try_default().await.map_err(|e| format!("no way to a cluster: {e}"))?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let api: Api<DiffusionService> = Api::namespaced(client, &namespace);
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let made = api
        .create(&PostParams::default(), &resource(&args.name))
        .await
        .map_err(|e| format!("DiffusionService {namespace}/{} can't be made: {e}", args.name))?;
    println!("made DiffusionService {namespace}/{}", args.name);
    let drawn = match timeout_at(deadline, draw(&api, &args.name, &namespace)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no picture within {} s; {}", args.timeout, said(&api, &args.name).await)),
    };
    let gone = tokio::time::timeout(CLEAN_UP, delete(&api, &made)).await;
    let gone = gone.unwrap_or_else(|_| Err(format!("{} is not deleted yet", args.name)));
    drawn.and(gone)
}

fn resource(name: &str) -> DiffusionService {
    let spec = DiffusionServiceSpec {
        replicas: 1,
        autoscaling: Autoscaling { enabled: false, ..Autoscaling::default() },
        service: ServicePort { type_: ServiceType::ClusterIp, ..ServicePort::default() },
        ..DiffusionServiceSpec::new("bundled://emoji")
    };
    DiffusionService::new(name, spec)
}

async fn draw(api: &Api<DiffusionService>, name: &str, namespace: &str) -> Result<(), String> {
    loop {
        let resource = api.get(name).map_err(|e| format!("{name} can't be read: {e}")).await?;
        let conditions = resource.status.map(|s| s.conditions).unwrap_or_default();
        if conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True") {
            break;
        }
        sleep(PAUSE).await;
    }
    println!("it is ready");
    let body = json!({"prompt": "a red apple", "seed": 7, "steps": 10}).to_string();
    let address = format!("{name}.{namespace}.svc:80");
    let answer = loop {
        // The address may take a moment to work on every node.
        match http::send(&address, "/generate", Some(body.clone()), LONGEST).await {
            Ok(answer) => break answer,
            Err(error) => println!("{error}; trying again"),
        }
        sleep(PAUSE).await;
    };
    if !answer.status().is_success() || !answer.body().starts_with(PNG) {
        let text = String::from_utf8_lossy(answer.body());
        let start: String = text.chars().take(500).collect();
        return Err(format!("POST /generate answered {} and no PNG: {start}", answer.status()));
    }
    println!("POST http://{address}/generate gave a PNG of {} bytes", answer.body().len());
    Ok(())
}

/// What the resource's conditions say.
async fn said(api: &Api<DiffusionService>, name: &str) -> String {
    let Ok(Ok(resource)) = tokio::time::timeout(CLEAN_UP, api.get(name)).await else {
        return "the resource can't be read".into();
    };
    let conditions = resource.status.map(|s| s.conditions).unwrap_or_default();
    if conditions.is_empty() {
        return "it has no status: does the operator run?".into();
    }
    let lines: Vec<_> =
        conditions.iter().map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message)).collect();
    lines.join("; ")
}

async fn delete(api: &Api<DiffusionService>, made: &DiffusionService) -> Result<(), String> {
    let name = made.name_any();
    let this_one = Preconditions { uid: made.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
    match api.delete(&name, &params).await {
        Ok(_) => println!("deleted it"),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(format!("{name} can't be deleted: {error}")),
    }
    while api.get_opt(&name).await.map_err(|e| e.to_string())?.is_some() {
        sleep(PAUSE).await;
    }
    Ok(())
}
