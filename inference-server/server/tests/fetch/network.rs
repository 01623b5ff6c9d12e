//! TLS with a certificate authority of one's own, and proxies.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::harness::{REPO, World};

/// Where a connection is passed on to: known only after the hub has started, which wants to know our address before.
type Target = Arc<OnceLock<SocketAddr>>;

/// TLS in front of a target; gives its port and the authority's certificate as PEM.
async fn tls(target: &Target) -> (u16, String) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "hub.example".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Arc::clone(target);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, target) = (acceptor.clone(), *target.get().unwrap());
            tokio::spawn(async move {
                // A client that does not trust us breaks off.
                let Ok(mut outer) = acceptor.accept(socket).await else { return };
                let mut inner = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    (port, issuer.pem())
}

/// A proxy for which every name is this machine, and for which the usual ports are `hub`'s; gives its address and the
/// heads of what it was asked.
async fn proxy(hub: u16) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut socket = BufReader::new(socket);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if socket.read_line(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                seen.lock().unwrap().push(head.clone());
                let wanted = head.split(' ').nth(1).unwrap().trim_start_matches("http://");
                let port =
                    wanted.split('/').next().unwrap().split_once(':').map(|(_, port)| port.parse().unwrap());
                let port = port.filter(|port| *port != 443).unwrap_or(hub);
                let mut inner = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                if head.starts_with("CONNECT ") {
                    socket.write_all(b"HTTP/1.1 200 ok\r\n\r\n").await.unwrap();
                } else {
                    inner.write_all(head.as_bytes()).await.unwrap();
                }
                let _ = copy_bidirectional(&mut socket, &mut inner).await;
            });
        }
    });
    (address, heads)
}

#[tokio::test]
async fn certificates_are_checked_and_an_authority_can_be_named() {
    let world = World::new().await;
    let (port, authority) = tls(&Arc::new(world.hub.address.into())).await;
    let endpoint = format!("https://localhost:{port}");
    let done = world.refused(REPO, &["--endpoint", &endpoint], "name its file in SSL_CERT_FILE").await;
    assert!(!done.stderr.contains("trying again"), "{}", done.stderr);

    let file = world.report_file().with_file_name("authority.pem");
    std::fs::write(&file, authority).unwrap();
    let mut command = world.command(REPO, &["--endpoint", &endpoint]);
    command.env("SSL_CERT_FILE", &file);
    let done = world.run(command).await;
    // Through a hub with TLS to large files without.
    assert!(done.code == Some(1) && done.stderr.contains("from https to http"), "{}", done.stderr);
}

#[tokio::test]
async fn without_any_certificates_a_hub_without_tls_does() {
    let world = World::new().await;
    let without = |flags: &[&str]| {
        let mut command = world.command(REPO, flags);
        command.env("SSL_CERT_FILE", "/nowhere/ca.pem").env("SSL_CERT_DIR", "/nowhere");
        command
    };
    let done = world.run(without(&["--endpoint", "https://localhost:1"])).await;
    assert!(done.code == Some(1) && done.stderr.contains("install ca-certificates"), "{}", done.stderr);
    let done = world.run(without(&[])).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    world.same_as("org/tiny");
}

#[tokio::test]
async fn all_of_it_with_tls_through_a_proxy() {
    let (hub, cdn) = (Target::default(), Target::default());
    let ((hub_port, hub_authority), (cdn_port, cdn_authority)) = (tls(&hub).await, tls(&cdn).await);
    let url = format!("https://localhost:{cdn_port}");
    let world = World::with(|settings| settings.cdn_url = Some(url), |_| {}).await;
    hub.set(world.hub.address).unwrap();
    cdn.set(world.hub.cdn).unwrap();
    let file = world.report_file().with_file_name("authorities.pem");
    std::fs::write(&file, hub_authority + &cdn_authority).unwrap();
    let (proxy, heads) = proxy(hub_port).await;

    // The name is one that only the proxy knows.
    let mut command = world.command(REPO, &["--endpoint", "https://hub.example", "--token", "hf_mine"]);
    command.env("SSL_CERT_FILE", &file).env("HTTPS_PROXY", format!("http://me:word@{proxy}"));
    let done = world.run(command).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    world.same_as("org/tiny");
    let heads = heads.lock().unwrap();
    assert!(heads.iter().any(|head| head.starts_with("CONNECT hub.example:443 HTTP/1.1")), "{heads:?}");
    assert!(
        heads.iter().any(|head| head.starts_with(&format!("CONNECT localhost:{cdn_port} "))),
        "{heads:?}"
    );
    for head in heads.iter().map(|head| head.to_lowercase()) {
        // `printf me:word | base64`; the token is in the tunnel.
        assert!(
            head.contains("proxy-authorization: basic bwu6d29yza==") && !head.contains("hf_mine"),
            "{head}"
        );
    }
    assert!(world.hub.seen().iter().all(|seen| seen.authorization.is_some() != seen.cdn));
}

#[tokio::test]
async fn a_proxy_passes_plain_requests_on_or_is_passed_by() {
    let world = World::new().await;
    let (proxy, heads) = proxy(world.hub.address.port()).await;
    let with_proxy = |flags: &[&str]| {
        let mut command = world.command(REPO, flags);
        command.env("http_proxy", format!("http://me:word@{proxy}"));
        command
    };
    let mut straight = with_proxy(&[]);
    straight.env("NO_PROXY", "localhost,127.0.0.1");
    assert_eq!(world.run(straight).await.code, Some(0));
    assert!(heads.lock().unwrap().is_empty());

    std::fs::remove_dir_all(world.out()).unwrap();
    let done = world.run(with_proxy(&["--endpoint", "http://hub.example"])).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    world.same_as("org/tiny");
    let heads = heads.lock().unwrap();
    let first = heads.first().unwrap().to_lowercase();
    assert!(
        first.starts_with("get http://hub.example/api/models/org/tiny/revision/main http/1.1"),
        "{first}"
    );
    assert!(first.contains("proxy-authorization: basic bwu6d29yza=="), "{first}");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_named() {
    let world = World::new().await;
    let mut command = world.command(REPO, &["--endpoint", "http://hub.example", "--retries", "0"]);
    command.env("HTTP_PROXY", "socks5://127.0.0.1:1");
    let done = world.run(command).await;
    assert!(done.code == Some(1) && done.stderr.contains("http://HOST:PORT"), "{}", done.stderr);
}
