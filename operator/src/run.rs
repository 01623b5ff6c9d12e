//! `run`: waits for the resource's definition, campaigns for the Lease, and reconciles while it is held.

use std::{sync::Arc, time::Duration};

use diffusion_crds::DiffusionService;
use kube::{
    Api, Client, Config,
    api::ListParams,
    runtime::events::{Recorder, Reporter},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    admin,
    cli::RunArgs,
    controller::{self, Context},
    leader::{Candidate, campaign},
};

/// Between two looks for the resource's definition.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of every connection to the API server.
const CONNECT: Duration = Duration::from_secs(10);
/// Longer than a watch lasts (290 s), so that a dead connection is noticed some time.
const READ: Duration = Duration::from_secs(320);
/// Of a call about the Lease: it must fail before the Lease ends.
const LEASE_CALL: Duration = Duration::from_secs(4);

/// Runs until SIGTERM or Ctrl-C; reconciles that run then are finished.
///
/// # Errors
///
/// What keeps it from starting: no way to a cluster, an address in use.
pub async fn run(args: RunArgs) -> Result<(), String> {
    let config = Config::infer()
        .await
        .map_err(|e| format!("no way to a cluster: {e}; set KUBECONFIG, or run in one"))?;
    let own_namespace = args.pod_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let identity = args.pod_name.clone().unwrap_or_else(host_name);
    let client = client(config.clone(), READ, true)?;
    let lease_client = client_without_retries(config)?;
    let reporter = Reporter { controller: "diffusion-operator".into(), instance: Some(identity.clone()) };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client: client.clone(),
        settings: args.images.settings(),
        timeout: Duration::from_secs(args.reconcile_timeout),
        memory: Default::default(),
        backoff: Default::default(),
        metrics: Default::default(),
    });
    let (pending, waits_for) = watch::channel(Some("starting".to_owned()));
    let listener = admin::bind(args.admin_listen).await?;
    let admin = tokio::spawn(admin::serve(listener, Arc::clone(&context), waits_for));
    let stop = stop_signal()?;
    tracing::info!(namespace = args.namespace.as_deref().unwrap_or("all"), identity, "operator starts");

    if wait_for_definition(&client, args.namespace.as_deref(), &pending, stop.clone()).await {
        pending.send_replace(None);
        if args.leader_election {
            let candidate = Candidate { namespace: own_namespace, lease: args.lease_name.clone(), identity };
            let (holds, campaigning) = campaign(lease_client, candidate, stop.clone());
            lead(&context, &args, holds, stop).await;
            let _ = campaigning.await;
        } else {
            context.metrics.set_leader(true);
            work(&context, &args, stop).await;
        }
    }
    admin.abort();
    tracing::info!("operator ends");
    Ok(())
}

/// Works whenever the Lease is held; a reconcile that runs when it is lost is dropped where it stands.
async fn lead(
    context: &Arc<Context>,
    args: &RunArgs,
    mut holds: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        context.metrics.set_leader(false);
        tokio::select! {
            held = holds.wait_for(|h| *h) => if held.is_err() { return },
            _ = stop.wait_for(|s| *s) => return,
        }
        context.metrics.set_leader(true);
        let mut lost = holds.clone();
        tokio::select! {
            () = work(context, args, stop.clone()) => return,
            _ = lost.wait_for(|h| !*h) => tracing::warn!("the Lease is lost: no more writes"),
        }
    }
}

async fn work(context: &Arc<Context>, args: &RunArgs, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        let _ = stop.wait_for(|s| *s).await;
    };
    controller::run(Arc::clone(context), args.namespace.as_deref(), args.concurrency, stopped).await;
}

/// Waits until the API server knows DiffusionService and lets us list it; false when it is time to stop instead.
async fn wait_for_definition(
    client: &Client,
    namespace: Option<&str>,
    pending: &watch::Sender<Option<String>>,
    mut stop: watch::Receiver<bool>,
) -> bool {
    let api: Api<DiffusionService> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let one = ListParams::default().limit(1);
    loop {
        let answer = tokio::time::timeout(CONNECT, api.list_metadata(&one)).await;
        let what = match answer {
            Ok(Ok(_)) => return true,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                "the definition of diffusionservices.diffusion-operator.dev is missing; install it: diffusion-operator crd | kubectl apply --server-side -f -, or the chart diffusion-operator-crds".to_owned()
            }
            Ok(Err(error)) => format!("diffusionservices can't be listed: {error}"),
            Err(_) => "the API server does not answer".to_owned(),
        };
        if pending.borrow().as_deref() != Some(&what) {
            tracing::warn!("{what}");
            pending.send_replace(Some(what));
        }
        tokio::select! {
            () = tokio::time::sleep(PATIENCE) => {}
            _ = stop.wait_for(|s| *s) => return false,
        }
    }
}

fn client(mut config: Config, read: Duration, retries: bool) -> Result<Client, String> {
    config.connect_timeout = Some(CONNECT.min(read));
    config.read_timeout = Some(read);
    config.write_timeout = Some(CONNECT);
    config.default_retry = retries;
    Client::try_from(config).map_err(|e| format!("no client for the cluster: {e}"))
}

fn client_without_retries(config: Config) -> Result<Client, String> {
    client(config, LEASE_CALL, false)
}

/// True from the first SIGTERM or SIGINT on.
fn stop_signal() -> Result<watch::Receiver<bool>, String> {
    let said = |e: std::io::Error| format!("signals can't be handled: {e}");
    let mut term = signal(SignalKind::terminate()).map_err(said)?;
    let mut int = signal(SignalKind::interrupt()).map_err(said)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        sender.send_replace(true);
        // Kept open: a closed channel would read as an error.
        sender.closed().await;
    });
    Ok(receiver)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("process-{}", std::process::id()))
}
