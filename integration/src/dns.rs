//! CoreDNS beside the control plane, behind the usual Service `kube-system/kube-dns`.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::agent_config::{CLUSTER_DNS, CLUSTER_DOMAIN};
use crate::daemon::{Daemon, Program};
use crate::netns::CONTROL_PLANE;
use crate::pki::Identity;
use crate::real_cluster::Cluster;
use crate::wait::{self, Look};

const USER: &str = "coredns";

/// A running CoreDNS. Dropping it ends it; the Service stays.
#[derive(Debug)]
pub struct Dns {
    daemon: Daemon,
}

impl Dns {
    /// Starts CoreDNS on the control plane's address, makes the Service that leads to it, and
    /// returns when it answers for the cluster's names.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        allow_reading(cluster).await?;
        create_service(cluster).await?;
        let directory = cluster.run().directory().join("dns");
        fs::create_dir_all(&directory)?;
        let identity = Identity { user: USER, group: None };
        let kubeconfig = cluster.pki().write_kubeconfig("coredns.conf", identity)?;
        let corefile = directory.join("Corefile");
        fs::write(
            &corefile,
            format!(
                ".:53 {{\n  bind {CONTROL_PLANE}\n  errors\n  health {CONTROL_PLANE}:8080\n  \
                 ready {CONTROL_PLANE}:8181\n  kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{\n    \
                 kubeconfig {}\n    pods insecure\n    ttl 30\n  }}\n  cache 30\n  loadbalance\n}}\n",
                kubeconfig.display()
            ),
        )?;
        let program =
            Program::new(cluster.ground().binary("coredns"), cluster.logs().join("coredns.log"))
                .args(["-conf".as_ref(), corefile.as_os_str()]);
        let daemon = program.start()?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        wait::until("CoreDNS", Duration::from_secs(60), || async {
            daemon.expect_running()?;
            let answer = client.get(format!("http://{CONTROL_PLANE}:8181/ready")).send().await?;
            Ok(match answer.status() {
                status if status.is_success() => Look::Met(()),
                status => Look::NotYet(status.to_string()),
            })
        })
        .await?;
        Ok(Self { daemon })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }
}

async fn allow_reading(cluster: &Cluster) -> Result<()> {
    let name = "system:coredns";
    let verbs = ["list", "watch"];
    cluster
        .create(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["endpoints", "services", "pods", "namespaces"],
                    "verbs": verbs,
                },
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": verbs,
                },
            ],
        }))
        .await?;
    let group = "rbac.authorization.k8s.io";
    cluster
        .create(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
        }))
        .await
        .map(drop)
}

async fn create_service(cluster: &Cluster) -> Result<()> {
    cluster
        .create(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
            },
            "spec": {
                "clusterIP": CLUSTER_DNS,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                    {"name": "metrics", "port": 9153, "protocol": "TCP"},
                ],
            },
        }))
        .await?;
    cluster
        .create(&json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [CONTROL_PLANE], "conditions": {"ready": true}}],
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                {"name": "metrics", "port": 9153, "protocol": "TCP"},
            ],
        }))
        .await
        .map(drop)
}
