//! What a person looks at when something failed, printed at once: the namespace may be gone a moment later.

use crate::{cluster::OPERATOR, world::World};

/// Prints it. What can't be had is left out.
pub(crate) async fn diagnose(world: &World<'_>, seconds: u64) {
    let looks: [&[&str]; 5] = [
        &["describe", "dsvc"],
        &["get", "pods,deployments,services,jobs,pvc,hpa", "-o", "wide"],
        &["describe", "pods"],
        &["get", "events", "--sort-by=.lastTimestamp"],
        &["logs", "-l", "app.kubernetes.io/component=server", "--tail=15", "--prefix"],
    ];
    for arguments in looks {
        let text = world.kubectl(arguments).text().await.unwrap_or_else(|e| e.to_string());
        section(&format!("kubectl {}", arguments.join(" ")), &text);
    }
    let nodes = world.cluster.kubectl(&["get", "nodes", "-o", "wide"]).text().await;
    section("kubectl get nodes", &nodes.unwrap_or_else(|e| e.to_string()));
    let operator = world.cluster.kubectl(&["-n", OPERATOR, "get", "pods", "-o", "wide"]).text().await;
    section("the operator's pods", &operator.unwrap_or_else(|e| e.to_string()));
    let log = world.cluster.operator_log(i64::try_from(seconds).unwrap_or(600) + 10).await;
    section("the operator's log", &log.unwrap_or_else(|e| e.to_string()));
}

fn section(title: &str, text: &str) {
    const LONGEST: usize = 300;
    println!("   --- {title}");
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().take(LONGEST) {
        println!("   | {line}");
    }
    if lines.len() > LONGEST {
        println!("   | ... {} more lines", lines.len() - LONGEST);
    }
}
