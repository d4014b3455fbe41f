//! The real metrics-server beside the control plane, behind its usual Service and APIService.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Program};
use crate::netns::CONTROL_PLANE;
use crate::pki::Identity;
use crate::real_cluster::Cluster;
use crate::wait::{self, Look};

const USER: &str = "metrics-server";
const PORT: u16 = 4443;
const SERVICE: &str = "metrics-server";
const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// It lists everything once and then needs one round of scrapes.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A running metrics-server. Dropping it ends it; one in a cluster at a time.
#[derive(Debug)]
pub struct MetricsServer {
    daemon: Daemon,
}

impl MetricsServer {
    /// Starts it on the control plane's address, registers its API, and returns when the API
    /// server finds it available.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        for object in rights() {
            cluster.create(&object).await?;
        }
        for object in service() {
            cluster.create(&object).await?;
        }
        let directory = cluster.run().directory().join("metrics-server");
        fs::create_dir_all(&directory)?;
        let hosts = [format!("{SERVICE}.kube-system.svc"), CONTROL_PLANE.to_string()];
        let hosts = hosts.each_ref().map(String::as_str);
        let pair = cluster.pki().authority().server(SERVICE, &hosts)?;
        let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        fs::write(&certificate, pair.certificate)?;
        fs::write(&key, pair.key)?;
        let identity = Identity { user: USER, group: None };
        let kubeconfig = cluster.pki().write_kubeconfig("metrics-server.conf", identity)?;
        let kubeconfig = kubeconfig.display();
        let log = cluster.logs().join("metrics-server.log");
        let program = Program::new(cluster.ground().binary("metrics-server"), log).args([
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            format!("--bind-address={CONTROL_PLANE}"),
            format!("--secure-port={PORT}"),
            format!("--tls-cert-file={}", certificate.display()),
            format!("--tls-private-key-file={}", key.display()),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            // Nodes of tests sign their own certificates, as kubeadm's do.
            "--kubelet-insecure-tls".to_owned(),
            // The shortest it takes, which must be longer than it waits for a node.
            "--metric-resolution=10s".to_owned(),
            "--kubelet-request-timeout=5s".to_owned(),
        ]);
        let server = Self { daemon: program.start()? };
        cluster.create(&api_service(cluster.pki().authority().certificate())).await?;
        wait::until("APIService of metrics", START_LIMIT, || async {
            server.daemon.expect_running()?;
            let service = cluster.get_json(API_SERVICE).await?;
            Ok(match crate::node::condition(&service, "Available") {
                Some(available) if available["status"] == "True" => Look::Met(()),
                other => Look::NotYet(format!("{other:?}")),
            })
        })
        .await?;
        Ok(server)
    }

    /// Ends it and takes its API away, which others would wait for in vain.
    pub async fn stop(&self, cluster: &Cluster) -> Result<()> {
        cluster.client().delete(API_SERVICE).await?;
        self.daemon.kill().await.map(drop)
    }
}

/// What the published manifest grants.
fn rights() -> [Value; 4] {
    let user = json!([{"apiGroup": RBAC, "kind": "User", "name": USER}]);
    let role = |kind: &str, name: &str| json!({"apiGroup": RBAC, "kind": kind, "name": name});
    let api_version = format!("{RBAC}/v1");
    [
        json!({
            "apiVersion": api_version,
            "kind": "ClusterRole",
            "metadata": {"name": "system:metrics-server"},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {
                    "apiGroups": [""],
                    "resources": ["pods", "nodes"],
                    "verbs": ["get", "list", "watch"],
                },
            ],
        }),
        json!({
            "apiVersion": api_version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:metrics-server"},
            "roleRef": role("ClusterRole", "system:metrics-server"),
            "subjects": user,
        }),
        json!({
            "apiVersion": api_version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "metrics-server:system:auth-delegator"},
            "roleRef": role("ClusterRole", "system:auth-delegator"),
            "subjects": user,
        }),
        json!({
            "apiVersion": api_version,
            "kind": "RoleBinding",
            "metadata": {"name": "metrics-server-auth-reader", "namespace": "kube-system"},
            "roleRef": role("Role", "extension-apiserver-authentication-reader"),
            "subjects": user,
        }),
    ]
}

fn service() -> [Value; 2] {
    let port = json!({"name": "https", "port": 443, "protocol": "TCP", "targetPort": PORT});
    [
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": "kube-system"},
            "spec": {"ports": [port]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": SERVICE,
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": SERVICE},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [CONTROL_PLANE], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
        }),
    ]
}

fn api_service(authority: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": BASE64_STANDARD.encode(authority),
            "service": {"name": SERVICE, "namespace": "kube-system", "port": 443},
        },
    })
}
