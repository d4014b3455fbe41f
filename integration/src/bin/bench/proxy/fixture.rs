//! The Services and EndpointSlices that the proxies are given, made once and added to.
//!
//! ```text
//!   10.99.0.1    the Service that packets are sent to   10.200.255.x
//!   10.99.1.n    Services added while a proxy runs      10.200.255.x
//!   10.100.0.n   the many                               10.200.0.n, two each
//! ```
//!
//! Every endpoint address is one of the outsider's, who answers on all of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use futures::StreamExt;
use futures::stream;
use integration::real_cluster::Cluster;
use serde_json::{Value, json};

use super::options::Shape;

/// Namespace of all objects.
pub const NAMESPACE: &str = "bench";
/// Port of all Services.
const PORT: u16 = 80;
/// Port that the outsider answers on.
pub const TARGET_PORT: u16 = 7000;
/// Name of the Service that packets are sent to.
const PROBE: &str = "probe";
/// Address of that Service.
const PROBE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Network of all endpoints.
pub const ENDPOINT_NETWORK: &str = "10.200.0.0/16";
/// Requests in flight; the API server's own limit for writes is 200 (v1.36).
const AT_A_TIME: usize = 64;
/// The most endpoints that a slice may hold (v1.36).
const SLICE: usize = 1000;

/// What is in the API.
pub struct Fixture {
    cluster: Arc<Cluster>,
    services: usize,
    added: u8,
    turns: u8,
    /// How many endpoints the Service that packets are sent to has.
    width: usize,
}

/// Address of one of the many Services.
fn service_address(number: usize) -> Ipv4Addr {
    offset(Ipv4Addr::new(10, 100, 0, 1), number)
}

/// Address of one of the many endpoints.
fn endpoint_address(number: usize) -> Ipv4Addr {
    offset(Ipv4Addr::new(10, 200, 0, 1), number)
}

/// Address of an endpoint of the Service that packets are sent to; it changes with each turn.
fn probe_endpoint(turn: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 200, 255, turn)
}

fn offset(address: Ipv4Addr, number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() + u32::try_from(number).unwrap_or(u32::MAX))
}

fn service(name: &str, address: Ipv4Addr) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "clusterIP": address,
            "ports": [{"name": "http", "port": PORT, "targetPort": TARGET_PORT}],
        },
    })
}

fn slice(name: &str, service: &str, addresses: &[Ipv4Addr]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| {
            json!({
                "addresses": [address],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "elsewhere",
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "protocol": "TCP", "port": TARGET_PORT}],
    })
}

fn slice_path(name: &str) -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/{name}")
}

impl Fixture {
    /// The namespace and nothing in it.
    pub async fn new(cluster: &Arc<Cluster>) -> Result<Self> {
        cluster.create_namespace(NAMESPACE).await?;
        Ok(Self { cluster: Arc::clone(cluster), services: 0, added: 0, turns: 0, width: 0 })
    }

    /// Makes the objects of a shape; those of a smaller one are used again.
    pub async fn become_shape(&mut self, shape: Shape) -> Result<()> {
        let width = match shape {
            Shape::Services(_) => 2,
            Shape::Endpoints(count) => count,
        };
        if self.width != width {
            self.make_probe(width).await?;
        }
        if let Shape::Services(count) = shape {
            // One of them is the one that packets are sent to.
            let wanted = count.saturating_sub(1);
            let missing: Vec<usize> = (self.services..wanted).collect();
            let creations = stream::iter(missing)
                .map(|number| self.create_many(number))
                .buffer_unordered(AT_A_TIME);
            creations.collect::<Vec<_>>().await.into_iter().collect::<Result<()>>()?;
            self.services = self.services.max(wanted);
        }
        Ok(())
    }

    async fn create_many(&self, number: usize) -> Result<()> {
        let name = format!("many-{number}");
        let endpoints = [endpoint_address(2 * number), endpoint_address(2 * number + 1)];
        self.cluster.create(&service(&name, service_address(number))).await?;
        self.cluster.create(&slice(&name, &name, &endpoints)).await.map(drop)
    }

    /// Makes the Service that packets are sent to, with so many endpoints.
    async fn make_probe(&mut self, width: usize) -> Result<()> {
        let client = self.cluster.client();
        if self.width == 0 {
            self.cluster.create(&service(PROBE, PROBE_ADDRESS)).await?;
        }
        for number in 0..self.width.div_ceil(SLICE) {
            client.delete(&slice_path(&format!("{PROBE}-{number}"))).await?;
        }
        client.delete(&slice_path(PROBE)).await?;
        self.turns = 0;
        self.width = width;
        self.cluster.create(&slice(PROBE, PROBE, &self.turning())).await?;
        let rest: Vec<Ipv4Addr> = (0..width.saturating_sub(2)).map(endpoint_address).collect();
        for (number, chunk) in rest.chunks(SLICE).enumerate() {
            self.cluster.create(&slice(&format!("{PROBE}-{number}"), PROBE, chunk)).await?;
        }
        Ok(())
    }

    /// The two endpoints that are in the slice that changes.
    fn turning(&self) -> [Ipv4Addr; 2] {
        [probe_endpoint(0), probe_endpoint(self.turns + 1)]
    }

    /// Where packets are sent.
    pub fn probe_address() -> SocketAddr {
        SocketAddr::new(PROBE_ADDRESS.into(), PORT)
    }

    /// The watch that sees the slice that changes.
    pub fn probe_watch() -> String {
        let collection = slice_path("");
        format!("{}?fieldSelector=metadata.name%3D{PROBE}", collection.trim_end_matches('/'))
    }

    /// The endpoint that the next change brings.
    pub fn next_endpoint(&self) -> Ipv4Addr {
        probe_endpoint(self.turns + 2)
    }

    /// Exchanges one endpoint of the Service that packets are sent to.
    pub async fn change_endpoint(&mut self) -> Result<()> {
        self.turns = (self.turns + 1) % 250;
        let slice = slice(PROBE, PROBE, &self.turning());
        let patch = json!({"endpoints": slice["endpoints"]});
        self.cluster.client().merge_patch(&slice_path(PROBE), &patch).await.map(drop)
    }

    /// Makes the slice of a Service that [`Self::add_service`] adds.
    pub async fn prepare_service(&mut self) -> Result<()> {
        self.added += 1;
        let name = format!("added-{}", self.added);
        let endpoints = [probe_endpoint(252), probe_endpoint(253)];
        self.cluster.create(&slice(&name, &name, &endpoints)).await.map(drop)
    }

    /// Adds the Service with the slice that was made last: its address, and when it was sent.
    pub async fn add_service(&self) -> Result<(SocketAddr, Instant)> {
        let address = Ipv4Addr::new(10, 99, 1, self.added);
        let service = service(&format!("added-{}", self.added), address);
        let began = Instant::now();
        self.cluster.create(&service).await?;
        Ok((SocketAddr::new(address.into(), PORT), began))
    }

    /// Takes away what [`Self::add_service`] added since the last call.
    pub async fn remove_added(&mut self) -> Result<()> {
        let client = self.cluster.client();
        for number in 1..=self.added {
            let name = format!("added-{number}");
            client.delete(&format!("/api/v1/namespaces/{NAMESPACE}/services/{name}")).await?;
            client.delete(&slice_path(&name)).await?;
        }
        self.added = 0;
        Ok(())
    }

    /// Addresses that complete rules mention: of Services and of endpoints.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let mut all = vec![PROBE_ADDRESS];
        all.extend(self.turning());
        all.extend((0..self.services).map(service_address));
        let endpoints = (2 * self.services).max(self.width.saturating_sub(2));
        all.extend((0..endpoints).map(endpoint_address));
        all
    }
}
