//! Lets a pod of [`services::server_pod`] do something: run a command, send packets.
//!
//! The test server inside does it when asked over HTTP, so nothing of the agent takes part.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::services;
use crate::traffic;
use crate::wait::{self, Look};

/// How long the server may take from the start of its container until it listens.
const LISTEN_LIMIT: Duration = Duration::from_secs(20);
/// How long a command may take: longer than the server's own deadlines.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Waits until the server in a pod listens and returns its address.
pub async fn listening(pod: &Value) -> Result<SocketAddr> {
    let server = services::pod_address(pod)?;
    wait::until(&format!("server at {server}"), LISTEN_LIMIT, || async {
        traffic::hostname(None, server).await.map(Look::Met)
    })
    .await?;
    Ok(server)
}

async fn ask(pod: &Value, path: &str) -> Result<Value> {
    let server = listening(pod).await?;
    let (status, text) = traffic::http_get(None, server, path, ANSWER_LIMIT).await?;
    ensure!(status == 200, "{server} answered {status} to {path}: {text}");
    serde_json::from_str(&text).with_context(|| format!("answer of {server} to {path}: {text}"))
}

/// What a shell command prints in a pod's container; an error with the output when it fails.
pub async fn shell(pod: &Value, command: &str) -> Result<String> {
    let answer = ask(pod, &format!("/shell?shellCommand={}", encode(command))).await?;
    let output = answer["output"].as_str().unwrap_or_default();
    if let Some(error) = answer["error"].as_str() {
        bail!("{command:?} in the pod: {error}: {output}");
    }
    Ok(output.to_owned())
}

/// The host name that a server of the same kind gives to a pod that asks it over `http` or
/// `udp`.
pub async fn dial(pod: &Value, protocol: &str, target: SocketAddr) -> Result<String> {
    dial_name(pod, protocol, (&target.ip().to_string(), target.port())).await
}

/// [`dial`] for a host by its name and a port. The pod's resolver looks the name up.
pub async fn dial_name(pod: &Value, protocol: &str, target: (&str, u16)) -> Result<String> {
    let (host, port) = target;
    let path = format!(
        "/dial?protocol={protocol}&host={}&port={port}&request=hostname&tries=1",
        encode(host)
    );
    let answer = ask(pod, &path).await?;
    match answer["responses"][0].as_str() {
        Some(name) => Ok(name.trim().to_owned()),
        None => bail!("{protocol} to {host}:{port} from the pod: {answer}"),
    }
}

/// A text as part of a query.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
