//! The pool that computes has the size that it should have.

use crate::harness::Server;

/// Threads of a process that were started by the engine, which is where rayon starts its own.
fn computing(server: &Server) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "engine").count()
}

#[tokio::test]
async fn the_flag_is_the_size_of_the_pool() {
    for threads in [1, 3] {
        let server = Server::start(&["--threads", &threads.to_string()]).await;
        server.is_well().await;
        assert_eq!(server.metric("diffusion_threads").await, f64::from(threads));
        assert_eq!(computing(&server), threads as usize + 1, "the pool, and the engine itself");
        assert!(server.log().contains(&format!("\"threads\":{threads}")), "{}", server.log());
    }
}

#[tokio::test]
async fn a_cpuset_is_the_size_of_the_pool() {
    // One CPU is there wherever this runs.
    let server = Server::start_within(&["taskset", "--cpu-list", "0"], &[]).await;
    server.is_well().await;
    assert_eq!(server.metric("diffusion_threads").await, 1.0);
    assert_eq!(computing(&server), 2);
}
