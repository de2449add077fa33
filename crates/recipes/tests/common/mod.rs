//! The tenant whose request it is, a client that needs no crate, and what is asked of every server.
#![allow(dead_code, reason = "no recipe needs all of it")]

use std::net::SocketAddr;

use aiocontextvars::{ContextExt, context_var, shim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

context_var! {
    pub(crate) static TENANT: String = "nobody".to_owned();
}

pub(crate) async fn tenant() -> String {
    shim::yield_now().await;
    TENANT.get()
}

/// Sends one request, on a connection of its own, and returns the body of the response. By
/// HTTP/1.0, in which a body ends with its connection, though some servers send chunks even so.
pub(crate) async fn get(server: SocketAddr, path: &str, tenant: &str) -> String {
    get_with(server, path, format!("x-tenant: {tenant}").as_bytes()).await
}

/// The same with headers of one's own.
pub(crate) async fn get_with(server: SocketAddr, path: &str, headers: &[u8]) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let head = format!("GET {path} HTTP/1.0\r\nhost: {server}\r\n");
    let request = [head.as_bytes(), headers, b"\r\n\r\n"].concat();
    stream.write_all(&request).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{head}");
    if !head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        return body.to_owned();
    }
    // Lengths and chunks in turn.
    body.split("\r\n").skip(1).step_by(2).collect()
}

/// Sends requests of two tenants at once.
pub(crate) async fn get_for_two(server: SocketAddr, path: &str) -> [String; 2] {
    let (acme, umbrella) = tokio::join!(get(server, path, "acme"), get(server, path, "umbrella"));
    [acme, umbrella]
}

/// A handler: which tenant it and its work see, while the request of the other one is here too.
pub(crate) async fn report(both_are_here: &Barrier) -> String {
    let before = TENANT.get();
    both_are_here.wait().await;
    let task = shim::spawn(tenant()).await.unwrap();
    let job = shim::spawn_blocking(|| TENANT.get()).await.unwrap();
    let along = tokio::spawn(tenant().in_current_context()).await.unwrap();
    let bare = tokio::spawn(tenant()).await.unwrap();
    let after = TENANT.get();
    // The context is the request's own.
    TENANT.set("set by a handler".to_owned());
    both_are_here.wait().await;
    format!("{before} {task} {job} {along} {bare} {after}")
}

/// What `report` says where all is right: only the bare task sees nobody.
pub(crate) fn right_reports() -> [String; 2] {
    ["acme", "umbrella"]
        .map(|tenant| format!("{tenant} {tenant} {tenant} {tenant} nobody {tenant}"))
}
