//! Minimal Services and the pods behind them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::real_runtime::AGNHOST_IMAGE;

/// Port that the pods of [`server_pod`] listen on, TCP and UDP.
pub const SERVER_PORT: u16 = 8080;

/// A pod that answers HTTP and UDP requests for `/hostname`, labelled `app: NAME_OF_APP`. It is
/// Ready a moment before it listens: a probe would make every such test one of probes.
#[must_use]
pub fn server_pod(namespace: &str, name: &str, node: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "server",
                "image": AGNHOST_IMAGE,
                "args": [
                    "netexec",
                    format!("--http-port={SERVER_PORT}"),
                    format!("--udp-port={SERVER_PORT}"),
                ],
            }],
        },
    })
}

/// A Service of type `kind` with port 80 in front of the pods with this label.
#[must_use]
pub fn service(namespace: &str, name: &str, app: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": kind,
            "selector": {"app": app},
            "ports": [
                {"name": "http", "port": 80, "targetPort": SERVER_PORT, "protocol": "TCP"},
                {"name": "udp", "port": 80, "targetPort": SERVER_PORT, "protocol": "UDP"},
            ],
        },
    })
}

/// The cluster address of a Service with port 80.
pub fn cluster_address(service: &Value) -> Result<SocketAddr> {
    let address = service["spec"]["clusterIP"].as_str().context("no clusterIP")?;
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, 80))
}

/// The node port of a Service's port of this name.
pub fn node_port(service: &Value, port: &str) -> Result<u16> {
    let ports = service["spec"]["ports"].as_array().context("no ports")?;
    let found = ports.iter().find(|candidate| candidate["name"] == port);
    let number = found.and_then(|port| port["nodePort"].as_u64()).context("no node port")?;
    Ok(u16::try_from(number)?)
}

/// The first address of a pod with the port of [`server_pod`].
pub fn pod_address(pod: &Value) -> Result<SocketAddr> {
    let address = pod["status"]["podIP"].as_str().context("the pod has no address")?;
    Ok(SocketAddr::new(address.parse()?, SERVER_PORT))
}
