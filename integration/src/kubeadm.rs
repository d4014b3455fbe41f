//! Joining a node as an administrator does: `kubeadm join` with a bootstrap token.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::agent_config::{CLUSTER_DNS, CLUSTER_DOMAIN};
use crate::agent_process::{AgentProcess, node_ips};
use crate::daemon::{Program, output};
use crate::netns::CONTROL_PLANE;
use crate::node::Node;
use crate::real_cluster::Cluster;
use crate::wait::{self, Look};

/// The bootstrap token of every test cluster; it guards nothing.
pub const TOKEN: &str = "abcdef.0123456789abcdef";
/// How long `kubeadm join` may take, a TLS bootstrap included.
const JOIN_LIMIT: Duration = Duration::from_secs(90);

/// Puts into the cluster what `kubeadm init` would: the bootstrap token, the rights to join with
/// it, `cluster-info` and the configuration for new nodes. Twice is as good as once.
pub async fn prepare(cluster: &Cluster) -> Result<()> {
    // kubeadm does not expect another one at the same work.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    let kubeadm = |args: &[&str], config: &PathBuf| {
        let mut command = std::process::Command::new(cluster.ground().binary("kubeadm"));
        command.args(args).arg("--config").arg(config);
        command.arg("--kubeconfig").arg(cluster.admin_kubeconfig());
        command
    };
    let config = cluster.run().directory().join("kubeadm-init.yaml");
    let documents: Vec<String> =
        init_documents(cluster).iter().map(|document| document.to_string()).collect();
    fs::write(&config, documents.join("\n---\n"))?;
    let phases: [&[&str]; 3] = [
        &["init", "phase", "upload-config", "kubeadm"],
        &["init", "phase", "upload-config", "kubelet"],
        &["init", "phase", "bootstrap-token", "--skip-token-print"],
    ];
    for phase in phases {
        let mut command = kubeadm(phase, &config);
        tokio::task::spawn_blocking(move || output(&mut command)).await??;
    }
    // kube-controller-manager signs it into cluster-info, and joining needs the signature.
    wait::until("signed cluster-info", Duration::from_secs(30), || async {
        let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
        let found = cluster.client().find(path).await?.unwrap_or_default();
        let signature = &found["data"]["jws-kubeconfig-abcdef"];
        Ok(if signature.is_string() { Look::Met(()) } else { Look::NotYet(found.to_string()) })
    })
    .await
}

fn init_documents(cluster: &Cluster) -> [Value; 3] {
    [
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "bootstrapTokens": [{"token": TOKEN, "ttl": "24h"}],
            "localAPIEndpoint": {"advertiseAddress": CONTROL_PLANE, "bindPort": 6443},
            "nodeRegistration": {"name": "control-plane", "criSocket": "unix:///run/none.sock"},
        }),
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": "v1.36.3",
            "controlPlaneEndpoint": format!("{CONTROL_PLANE}:6443"),
            "certificatesDir": cluster.pki().file(""),
            "networking": {"dnsDomain": CLUSTER_DOMAIN, "serviceSubnet": "10.96.0.0/12"},
        }),
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": false,
            "failSwapOn": false,
            "clusterDNS": [CLUSTER_DNS],
            "clusterDomain": CLUSTER_DOMAIN,
            "rotateCertificates": true,
        }),
    ]
}

/// Runs `kubeadm join` on a node without an agent, and beside it the agent as a `kubelet` with
/// the command line of kubeadm's unit file, as systemd would. Returns when kubeadm is content;
/// [`Node::join`] then waits for Ready. [`prepare`] comes before.
///
/// The agent is noded, or the upstream kubelet when `NODED_TEST_AGENT` is `peers`.
pub async fn join(node: &Node) -> Result<Arc<AgentProcess>> {
    let config = node.directory().join("kubeadm-join.yaml");
    fs::write(&config, join_document(node).to_string())?;
    let log = node.directory().join("kubeadm.log");
    let kubeadm = Program::new(node.cluster().ground().binary("kubeadm"), log)
        .args(["join", "--ignore-preflight-errors=all", "--config"])
        .args([&config])
        .inside(Arc::clone(node.namespaces()))
        .start()?;
    let flags = node.directory().join("files/var-lib/upper/kubelet/kubeadm-flags.env");
    let flags = wait::until("files of kubeadm", JOIN_LIMIT, || async {
        kubeadm.expect_running()?;
        Ok(match fs::read_to_string(&flags) {
            Ok(text) if text.ends_with('\n') => Look::Met(text),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    let agent = node.start_as(AgentProcess::new(vec![kubelet(node, &flags)?]))?;
    let status = kubeadm.wait(JOIN_LIMIT).await.with_context(|| agent.tail(15))?;
    let told = crate::daemon::tail(kubeadm.log(), 20);
    ensure!(status.success(), "kubeadm join: {status}\n{told}\n{}", agent.tail(15));
    Ok(agent)
}

fn join_document(node: &Node) -> Value {
    let extra = [
        ("cgroup-root", node.cgroup_root()),
        ("node-ip", node_ips(node)),
        ("hostname-override", node.name().to_owned()),
    ];
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {"bootstrapToken": {
            "token": TOKEN,
            "apiServerEndpoint": format!("{CONTROL_PLANE}:6443"),
            // The segment has no strangers on it.
            "unsafeSkipCAVerification": true,
        }},
        "nodeRegistration": {
            "name": node.name(),
            "criSocket": node.runtime().endpoint(),
            "kubeletExtraArgs":
                extra.map(|(name, value)| json!({"name": name, "value": value})),
        },
    })
}

/// The agent as kubeadm's unit file would start it. `flags` is the text of `kubeadm-flags.env`.
fn kubelet(node: &Node, flags: &str) -> Result<Program> {
    let value = flags.trim().strip_prefix("KUBELET_KUBEADM_ARGS=").context("kubeadm-flags.env")?;
    let binary = if crate::node::peers_wanted() {
        node.cluster().ground().binary("kubelet")
    } else {
        let noded = node.cluster().run().agent().context("there is no noded binary")?;
        let folder = node.directory().join("bin");
        fs::create_dir_all(&folder)?;
        let link = folder.join("kubelet");
        std::os::unix::fs::symlink(noded, &link).context("cannot link kubelet to noded")?;
        link
    };
    Ok(Program::new(binary, node.directory().join("kubelet.log"))
        .args([
            "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
            "--kubeconfig=/etc/kubernetes/kubelet.conf",
            "--config=/var/lib/kubelet/config.yaml",
        ])
        .args(value.trim_matches('"').split_whitespace())
        .inside(Arc::clone(node.namespaces())))
}
