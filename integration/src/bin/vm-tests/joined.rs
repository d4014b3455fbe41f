//! A machine made a node from the packages with `kubeadm join`, and what an operator sees of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::console::print;
use integration::node::condition;
use integration::real_cluster::Cluster;
use integration::real_runtime::PAUSE_IMAGE;
use integration::runner::Test;
use integration::vm::Vm;
use integration::wait::{self, Look};
use integration::{TestContext, kubeadm, pods, services, traffic};
use serde_json::{Value, json};

use crate::LIMIT;

/// Name of the machine, its Node too.
const NAME: &str = "vm";

/// Range of its pods; kubeadm leaves CNI to the administrator.
const POD_RANGE: &str = "10.244.240.0/24";

pub fn tests() -> Vec<Test> {
    integration::tests![a_machine_joins_serves_and_comes_back_after_a_reboot]
}

async fn a_machine_joins_serves_and_comes_back_after_a_reboot(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    kubeadm::prepare(&cluster).await?;
    let began = Instant::now();
    let vm = Vm::boot(&cluster, NAME, &payload(&cluster)?).await?;
    print(&format!("vm: booted in {:.1} s\n", began.elapsed().as_secs_f64()));
    let story = Story { cluster: Arc::clone(&cluster), vm, namespace: context.namespace().await? };
    let told = story.tell().await;
    let told = match told {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(story.evidence().await)),
    };
    told.and(story.vm.remove().await)
}

/// The packages, kubeadm and the images of the pods.
fn payload(cluster: &Cluster) -> Result<Vec<(&'static str, PathBuf)>> {
    let packages = std::env::var_os("NODED_PACKAGES").context("NODED_PACKAGES is not set")?;
    let packages = PathBuf::from(packages);
    let package = |name: &str| -> Result<PathBuf> {
        let found = std::fs::read_dir(&packages)?.filter_map(|entry| Some(entry.ok()?.path()));
        let starts = |path: &PathBuf| {
            path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
        };
        found.into_iter().find(starts).with_context(|| format!("no package {name}*"))
    };
    Ok(vec![
        ("noded.deb", package("noded_")?),
        ("noded-kubelet.deb", package("noded-kubelet_")?),
        ("kubeadm", std::fs::canonicalize(cluster.ground().binary("kubeadm"))?),
        ("pause.tar", cluster.ground().image_archive("pause")),
        ("agnhost.tar", cluster.ground().image_archive("agnhost")),
    ])
}

struct Story {
    cluster: Arc<Cluster>,
    vm: Vm,
    namespace: String,
}

impl Story {
    async fn tell(&self) -> Result<()> {
        self.prepare_runtime().await?;
        self.install().await?;
        self.join().await?;
        self.limits_are_in_the_cgroups().await?;
        let address = self.serve().await?;
        self.stream().await?;
        let before = self.uids().await?;
        let began = Instant::now();
        self.vm.reboot().await?;
        print(&format!("vm: rebooted in {:.1} s\n", began.elapsed().as_secs_f64()));
        self.same_pods_are_back(&before).await?;
        self.answers(address).await?;
        self.limits_are_in_the_cgroups_of("limited").await?;
        self.print_start_time().await?;
        self.same_pods_are_back(&before).await
    }

    /// What somebody wants to see of a failure.
    async fn evidence(&self) -> String {
        let script = "systemctl --no-pager status kubelet containerd | head -n 40
            journalctl --no-pager -o cat -u kubelet -n 40; systemctl --failed --no-legend";
        match self.vm.run(script, Duration::from_secs(60)).await {
            Ok(ran) => ran.text,
            Err(error) => format!("{error:#}"),
        }
    }

    /// What an administrator does before: the sandbox image, a network for pods.
    async fn prepare_runtime(&self) -> Result<()> {
        let network = json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
                    "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": POD_RANGE}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        let script = format!(
            r#"mkdir -p /etc/containerd /etc/cni/net.d
cat >/etc/containerd/config.toml <<'END'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
END
cat >/etc/cni/net.d/10-pods.conflist <<'END'
{network}
END
systemctl restart containerd
for image in /payload/*.tar; do ctr -n k8s.io images import "$image" >/dev/null; done"#
        );
        self.vm.succeed(&script, LIMIT).await.map(drop)
    }

    /// Installs the packages; nothing starts, since there is no credential.
    async fn install(&self) -> Result<()> {
        let script = "export DEBIAN_FRONTEND=noninteractive
            cp /payload/*.deb /tmp
            dpkg -i /tmp/noded.deb /tmp/noded-kubelet.deb
            noded --version
            kubelet --version
            stat -c '%a %U %n' /etc/noded
            systemctl is-enabled noded kubelet
            systemctl is-active noded kubelet || true
            systemctl show -p NRestarts noded kubelet";
        let told = self.vm.succeed(script, LIMIT).await?;
        for expected in [
            "Kubernetes v1.36.3",
            "700 root /etc/noded",
            "enabled\nenabled",
            "inactive\ninactive",
            "NRestarts=0\n\nNRestarts=0",
        ] {
            ensure!(told.contains(expected), "no {expected:?} in:\n{told}");
        }
        Ok(())
    }

    async fn join(&self) -> Result<()> {
        let script = format!(
            "install -m 755 /payload/kubeadm /usr/local/bin/kubeadm
             kubeadm join 172.30.0.1:6443 --token {} --discovery-token-unsafe-skip-ca-verification",
            kubeadm::TOKEN
        );
        self.vm.succeed(&script, LIMIT).await?;
        self.wait_ready(None).await?;
        let shown = self.vm.succeed("systemctl show kubelet", LIMIT).await?;
        for expected in ["StatusText=Ready", "Delegate=yes", "KillMode=process", "NRestarts=0"] {
            ensure!(shown.contains(expected), "no {expected:?} in:\n{shown}");
        }
        Ok(())
    }

    /// Waits until the Node is Ready, in another boot than `boot` if that is given.
    async fn wait_ready(&self, boot: Option<&str>) -> Result<()> {
        let path = format!("/api/v1/nodes/{NAME}");
        wait::until("node Ready", LIMIT, || async {
            let node = self.cluster.get_json(&path).await?;
            let ready = condition(&node, "Ready").is_some_and(|ready| ready["status"] == "True");
            let is_new = node["status"]["nodeInfo"]["bootID"].as_str() != boot;
            Ok(if ready && is_new {
                Look::Met(())
            } else {
                Look::NotYet(node["status"].to_string())
            })
        })
        .await
    }

    /// Prints how long a start of the service takes until it says that the node is ready, by the
    /// machine's clock. Pods run meanwhile, and none is restarted.
    async fn print_start_time(&self) -> Result<()> {
        let script = "systemctl stop kubelet
            began=$(date +%s%N)
            systemctl start kubelet
            until systemctl show -P StatusText kubelet | grep -q ^Ready; do sleep 0.1; done
            echo $((($(date +%s%N) - began) / 1000000))";
        let told = self.vm.succeed(script, LIMIT).await?;
        print(&format!("vm: from systemctl start to Ready: {} ms\n", told.trim()));
        Ok(())
    }

    /// A pod with limits has them in the files of cgroup v2, at the pod and at the QoS class.
    async fn limits_are_in_the_cgroups(&self) -> Result<()> {
        let mut pod = pods::pause_pod(&self.namespace, "limited", NAME);
        pod["spec"]["containers"][0]["resources"] = json!({
            "requests": {"cpu": "100m", "memory": "32Mi"},
            "limits": {"cpu": "250m", "memory": "64Mi"},
        });
        self.cluster.create(&pod).await?;
        pods::wait_ready(&self.cluster, &pods::path(&self.namespace, "limited"), LIMIT).await?;
        self.limits_are_in_the_cgroups_of("limited").await
    }

    async fn limits_are_in_the_cgroups_of(&self, name: &str) -> Result<()> {
        let pod = self.cluster.get_json(&pods::path(&self.namespace, name)).await?;
        let uid = pods::uid(&pod)?;
        let script = format!(
            "cd /sys/fs/cgroup/kubepods
             echo top $(cat cpu.weight) $(cat cgroup.controllers)
             cd burstable/pod{uid}
             echo pod $(cat cpu.weight cpu.max memory.max pids.max)
             for folder in */; do echo in $(cd $folder && cat cpu.max memory.max); done"
        );
        let told = self.vm.succeed(&script, LIMIT).await?;
        // 100m are 102 shares and weight 4; 250m are 25 ms of 100; no limit of processes is set.
        let bytes = 64 << 20;
        for expected in [format!("pod 4 25000 100000 {bytes} "), format!("in 25000 100000 {bytes}")]
        {
            ensure!(told.contains(&expected), "no {expected:?} in:\n{told}");
        }
        for controller in ["cpuset", "cpu", "memory", "pids"] {
            ensure!(told.contains(&format!(" {controller}")), "no {controller} in:\n{told}");
        }
        Ok(())
    }

    /// A server behind a NodePort, asked from outside the machine. Returns where it answers.
    async fn serve(&self) -> Result<SocketAddr> {
        let server = services::server_pod(&self.namespace, "server", NAME, "web");
        self.cluster.create(&server).await?;
        let service = services::service(&self.namespace, "web", "web", "NodePort");
        let service = self.cluster.create(&service).await?;
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no node port")?;
        pods::wait_ready(&self.cluster, &pods::path(&self.namespace, "server"), LIMIT).await?;
        let address = SocketAddr::new(self.vm.address().into(), u16::try_from(port)?);
        self.answers(address).await?;
        Ok(address)
    }

    async fn answers(&self, address: SocketAddr) -> Result<()> {
        let outside = self.cluster.network().outside();
        wait::until("answer of the node port", LIMIT, || async {
            let name = traffic::hostname(Some(outside), address).await?;
            Ok(if name == "server" { Look::Met(()) } else { Look::NotYet(name) })
        })
        .await
    }

    /// `kubectl logs` and `kubectl exec`.
    async fn stream(&self) -> Result<()> {
        wait::until("kubectl logs", LIMIT, || async {
            let log = self.cluster.kubectl(&["logs", "-n", &self.namespace, "server"]).await?;
            Ok(if log.is_empty() { Look::NotYet(log) } else { Look::Met(()) })
        })
        .await?;
        let said = self.cluster.exec(&self.namespace, "server", &["hostname"]).await?;
        ensure!(said.trim() == "server", "exec: {said}");
        Ok(())
    }

    async fn pods(&self) -> Result<Vec<Value>> {
        self.cluster.client().list(&format!("/api/v1/namespaces/{}/pods", self.namespace)).await
    }

    async fn uids(&self) -> Result<Vec<String>> {
        let mut uids: Vec<String> = Vec::new();
        for pod in self.pods().await? {
            uids.push(pods::uid(&pod)?.to_owned());
        }
        uids.sort();
        Ok(uids)
    }

    /// The same pods run again, each container started once more.
    async fn same_pods_are_back(&self, before: &[String]) -> Result<()> {
        wait::until("pods after the reboot", LIMIT, || async {
            let pods = self.pods().await?;
            let back = pods.iter().all(|pod| {
                let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
                pods::is_ready(pod) && restarts == Some(1)
            });
            let shown = pods.iter().map(|pod| pod["status"].to_string()).collect::<String>();
            Ok(if back { Look::Met(()) } else { Look::NotYet(shown) })
        })
        .await?;
        let after = self.uids().await?;
        ensure!(after == before, "pods before {before:?} and after {after:?}");
        self.wait_ready(None).await
    }
}
