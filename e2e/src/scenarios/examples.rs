//! Every file in `examples/`.

use futures::future::try_join_all;
use kube::ResourceExt;
use serde_json::json;

use crate::{
    failure::{Outcome, ensure, fail},
    http::{Ask, Http},
    wait::until,
    world::World,
};

/// What becomes of each example here. A new file has to be put into this list.
const RUN: [(&str, &[&str]); 5] = [
    ("bundled.yaml", &["emoji-small"]),
    ("two-models.yaml", &["fast", "fine"]),
    ("api-keys.yaml", &["emoji-keys"]),
    ("autoscaling.yaml", &["emoji-busy"]),
    // Applied for good by the scenario `minimal`.
    ("minimal.yaml", &[]),
];
const NO_INTERNET: [(&str, &str); 2] = [("stable-diffusion-v1-4.yaml", "sd14"), ("gpu.yaml", "sd14-gpu")];

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let mut files: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(world.cluster.clone.join("examples"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        files.extend(name.ends_with(".yaml").then_some(name));
    }
    for file in &files {
        let known = RUN.iter().any(|r| r.0 == file) || NO_INTERNET.iter().any(|r| r.0 == file);
        ensure!(known, "examples/{file} is in no list of this scenario");
        let path = format!("examples/{file}");
        world.kubectl(&["apply", "--dry-run=server", "-f", &path]).text().await?;
    }
    ensure!(files.len() == RUN.len() + NO_INTERNET.len(), "an example of this scenario's lists is not there: {files:?}");

    for (file, _) in NO_INTERNET {
        world.kubectl(&["apply", "-f", &format!("examples/{file}")]).text().await?;
    }
    for (file, names) in RUN {
        for name in names {
            world.kubectl(&["apply", "-f", &format!("examples/{file}")]).text().await?;
            world.wait_ready(name).await?;
        }
        // Room for the next.
        match file {
            "bundled.yaml" => cluster_internal(world).await?,
            "two-models.yaml" => two_models(world).await?,
            "api-keys.yaml" => keys(world).await?,
            "autoscaling.yaml" => autoscaler(world).await?,
            _ => continue,
        }
        world.kubectl(&["delete", "--wait=false", "-f", &format!("examples/{file}")]).text().await?;
    }
    try_join_all(NO_INTERNET.map(|(file, name)| without_internet(world, file, name))).await?;
    Ok(())
}

async fn cluster_internal(world: &World<'_>) -> Outcome {
    let url = world.get("emoji-small").await?.status.and_then(|s| s.url).unwrap_or_default();
    let expected = format!("http://emoji-small.{}.svc", world.namespace);
    ensure!(url == expected, "the URL of a ClusterIP is {url}, not {expected}");
    Ok(())
}

async fn two_models(world: &World<'_>) -> Outcome {
    let (fast, fine) = (world.url("fast").await?, world.url("fine").await?);
    ensure!(fast != fine, "both are at {fast}");
    for (url, steps) in [(fast, 8), (fine, 50)] {
        let answer = world.draw(&url, json!({"prompt": "a rocket", "width": 64, "height": 64})).await?;
        ensure!(answer.is_png(), "{answer}");
        let said = format!("Steps: {steps},");
        let parameters = String::from_utf8_lossy(&answer.body);
        ensure!(parameters.contains(&said), "{url} should draw with {steps} steps: {}", parameters.chars().take(300).collect::<String>());
    }
    for (name, scheduler) in [("fast", "dpm_solver_multistep"), ("fine", "pndm")] {
        let pod = world.only_pod(name).await?.name_any();
        let about: serde_json::Value = serde_json::from_slice(&world.admin(&pod, "/status").await?.body)?;
        ensure!(about["scheduler"] == scheduler, "{name} should draw with {scheduler}: {about}");
    }
    Ok(())
}

async fn keys(world: &World<'_>) -> Outcome {
    let url = world.url("emoji-keys").await?;
    let mut http = Http::new(&url, false);
    let ask = |key: Option<&str>| Ask {
        key: key.map(str::to_owned),
        ..Ask::picture(json!({"prompt": "a key", "steps": 5}))
    };
    for key in [None, Some("wrong")] {
        let answer = http.send(&ask(key)).await?;
        ensure!(answer.status == 401, "with key {key:?}: {answer}");
    }
    let answer = http.send(&ask(Some("change-me-to-32-random-characters"))).await?;
    ensure!(answer.is_png(), "with the right key: {answer}");
    Ok(())
}

async fn autoscaler(world: &World<'_>) -> Outcome {
    let text = world.kubectl(&["get", "hpa", "emoji-busy", "-o", "jsonpath={.spec.minReplicas} {.spec.maxReplicas}"]);
    let text = text.text().await?;
    ensure!(text == "2 6", "the autoscaler's bounds are {text}");
    Ok(())
}

/// Their model can't be downloaded here: that is what they say, and they go without a trace.
async fn without_internet(world: &World<'_>, file: &str, name: &str) -> Outcome {
    let message = world.shows(name, "ModelAvailable", "False", "DownloadFailed").await?;
    world.note(format!("{name}: {message}"));
    world.shows(name, "Ready", "False", "DownloadFailed").await?;
    world.kubectl(&["delete", "--timeout=60s", "-f", &format!("examples/{file}")]).text().await?;
    let label = format!("app.kubernetes.io/instance={name}");
    until(&format!("everything of {name} is gone"), 90, || async {
        let left = world.kubectl(&["get", "jobs,pods,pvc,deployments,services", "-l", &label, "-o", "name"]).text().await?;
        if left.trim().is_empty() { Ok(Some(())) } else { fail!("{left}") }
    })
    .await
}
