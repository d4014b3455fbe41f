//! A client that runs a pod with the three CRI calls that any agent has to make, and does nothing
//! else: the floor that the runtime sets.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent::podexec::security_context::{MASKED_PATHS, READONLY_PATHS};
use anyhow::{Context, Result};
use cri_proto::runtime::v1 as cri;
use cri_proto::runtime::v1::runtime_service_client::RuntimeServiceClient;
use cri_proto::runtime::v1::security_profile::ProfileType;
use integration::isolation::cgroups;
use integration::node::Node;
use integration::real_runtime::PAUSE_IMAGE;
use integration::wait::{self, Look};
use tonic::transport::{Channel, Endpoint};

/// How long the runtime may take to see its network configuration.
const NETWORK_LIMIT: Duration = Duration::from_secs(20);
/// CPU shares of a container without a request: `MinShares` of the kubelet, v1.36.
const MIN_SHARES: i64 = 2;
/// Score of a container of a BestEffort pod, kubelet v1.36.
const BEST_EFFORT_SCORE: i64 = 1000;

/// A pod that runs.
pub struct Ran {
    sandbox: String,
    container: String,
    /// How long the calls took.
    pub took: Duration,
}

/// The client of one node.
#[derive(Clone)]
pub struct BareClient {
    runtime: RuntimeServiceClient<Channel>,
    directory: PathBuf,
    cgroup: String,
}

impl BareClient {
    /// Connects to a node's runtime and waits until its network is ready.
    pub async fn connect(node: &Node) -> Result<Self> {
        let socket = format!("unix:{}", node.runtime().socket().display());
        let channel = Endpoint::from_shared(socket)?.connect().await?;
        let runtime = RuntimeServiceClient::new(channel);
        wait::until("network of the runtime", NETWORK_LIMIT, || async {
            let status = runtime.clone().status(cri::StatusRequest { verbose: false }).await?;
            let status = status.into_inner().status.context("no status")?;
            let network = status.conditions.iter().find(|found| found.r#type == "NetworkReady");
            Ok(match network {
                Some(network) if network.status => Look::Met(()),
                other => Look::NotYet(format!("{other:?}")),
            })
        })
        .await?;
        let cgroup = format!("{}/kubepods/besteffort", node.cgroup_root());
        make_cgroup(&format!("{}/kubepods", node.cgroup_root()), None)?;
        make_cgroup(&cgroup, Some(MIN_SHARES))?;
        Ok(Self { runtime, directory: node.directory().join("bare"), cgroup })
    }

    /// Makes the pod's cgroup and the files that its container has mounted, which is no CRI call.
    /// The cgroup matters: in one without the small share of a BestEffort pod the runtime's part
    /// inside it would get more CPU time than an agent's pods do.
    pub fn prepare(&self, pod: &str) -> Result<()> {
        make_cgroup(&self.pod_cgroup(pod), Some(MIN_SHARES))?;
        let directory = self.directory.join(pod);
        fs::create_dir_all(directory.join("token"))?;
        for file in ["hosts", "termination-log"] {
            fs::write(directory.join(file), "")?;
        }
        Ok(())
    }

    /// Runs a pod of one pause container; returns the sandbox's id and how long the calls took.
    pub async fn run_pod(&self, pod: &str) -> Result<(String, Duration)> {
        let ran = self.run(pod, PAUSE_IMAGE, &[]).await?;
        Ok((ran.sandbox, ran.took))
    }

    /// Runs a pod of one container of this image with these arguments.
    pub async fn run(&self, pod: &str, image: &str, args: &[&str]) -> Result<Ran> {
        let mut runtime = self.runtime.clone();
        let sandbox_config = self.sandbox(pod);
        let began = Instant::now();
        let request = cri::RunPodSandboxRequest {
            config: Some(sandbox_config.clone()),
            runtime_handler: String::new(),
        };
        let sandbox = runtime.run_pod_sandbox(request).await.context("RunPodSandbox")?;
        let sandbox = sandbox.into_inner().pod_sandbox_id;
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(container(&self.directory.join(pod), image, args)),
            sandbox_config: Some(sandbox_config),
        };
        let created = runtime.create_container(request).await.context("CreateContainer")?;
        let container = created.into_inner().container_id;
        let request = cri::StartContainerRequest { container_id: container.clone() };
        runtime.start_container(request).await.context("StartContainer")?;
        Ok(Ran { sandbox, container, took: began.elapsed() })
    }

    /// Ends a pod with the calls of an agent: container, sandbox, then what is left of both.
    /// Returns how long they took.
    pub async fn end(&self, ran: &Ran, grace: Duration) -> Result<Duration> {
        let mut runtime = self.runtime.clone();
        let (container_id, timeout) = (ran.container.clone(), i64::try_from(grace.as_secs())?);
        let began = Instant::now();
        let request = cri::StopContainerRequest { container_id: container_id.clone(), timeout };
        runtime.stop_container(request).await.context("StopContainer")?;
        let pod_sandbox_id = ran.sandbox.clone();
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
        runtime.stop_pod_sandbox(request).await.context("StopPodSandbox")?;
        let request = cri::RemoveContainerRequest { container_id };
        runtime.remove_container(request).await.context("RemoveContainer")?;
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id };
        runtime.remove_pod_sandbox(request).await.context("RemovePodSandbox")?;
        Ok(began.elapsed())
    }

    /// Ends a pod and removes what is left of it.
    pub async fn remove_pod(&self, sandbox: &str) -> Result<()> {
        let mut runtime = self.runtime.clone();
        let pod_sandbox_id = sandbox.to_owned();
        runtime
            .stop_pod_sandbox(cri::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() })
            .await?;
        runtime.remove_pod_sandbox(cri::RemovePodSandboxRequest { pod_sandbox_id }).await?;
        Ok(())
    }

    fn pod_cgroup(&self, pod: &str) -> String {
        format!("{}/pod{pod}", self.cgroup)
    }

    fn sandbox(&self, pod: &str) -> cri::PodSandboxConfig {
        cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: pod.to_owned(),
                uid: pod.to_owned(),
                namespace: "bench".to_owned(),
                attempt: 0,
            }),
            hostname: pod.to_owned(),
            log_directory: self.directory.join(pod).join("logs").display().to_string(),
            dns_config: Some(cri::DnsConfig {
                servers: vec![integration::agent_config::CLUSTER_DNS.to_owned()],
                searches: vec![integration::agent_config::CLUSTER_DOMAIN.to_owned()],
                options: vec!["ndots:5".to_owned()],
            }),
            labels: HashMap::from([
                ("io.kubernetes.pod.name".to_owned(), pod.to_owned()),
                ("io.kubernetes.pod.namespace".to_owned(), "bench".to_owned()),
                ("io.kubernetes.pod.uid".to_owned(), pod.to_owned()),
            ]),
            linux: Some(cri::LinuxPodSandboxConfig {
                cgroup_parent: self.pod_cgroup(pod),
                security_context: Some(cri::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces()),
                    // Both agents confine the sandbox; the filter is a good part of its start.
                    seccomp: Some(profile(ProfileType::RuntimeDefault)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// Makes a cgroup, a path from the top of every hierarchy, with the CPU shares given.
fn make_cgroup(path: &str, shares: Option<i64>) -> Result<()> {
    let relative = path.trim_start_matches('/');
    cgroups::create(relative).with_context(|| format!("cannot create cgroup {path}"))?;
    let Some(shares) = shares else { return Ok(()) };
    for hierarchy in cgroups::hierarchies() {
        let cgroup = hierarchy.join(relative);
        // The weight that runc makes of the smallest shares on cgroup v2 is the smallest weight.
        for (file, value) in [("cpu.shares", shares), ("cpu.weight", 1)] {
            let file = cgroup.join(file);
            if file.exists() {
                fs::write(&file, value.to_string())
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
    }
    Ok(())
}

fn container(directory: &Path, image: &str, args: &[&str]) -> cri::ContainerConfig {
    let mount = |name: &str, path: &str, readonly: bool| cri::Mount {
        container_path: path.to_owned(),
        host_path: directory.join(name).display().to_string(),
        readonly,
        ..Default::default()
    };
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: "pause".to_owned(), attempt: 0 }),
        image: Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() }),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        mounts: vec![
            mount("token", "/var/run/secrets/kubernetes.io/serviceaccount", true),
            mount("hosts", "/etc/hosts", false),
            mount("termination-log", "/dev/termination-log", false),
        ],
        labels: HashMap::from([("io.kubernetes.container.name".to_owned(), "pause".to_owned())]),
        log_path: "pause/0.log".to_owned(),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(cri::LinuxContainerResources {
                cpu_period: 100_000,
                cpu_shares: MIN_SHARES,
                oom_score_adj: BEST_EFFORT_SCORE,
                ..Default::default()
            }),
            security_context: Some(cri::LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                seccomp: Some(profile(ProfileType::Unconfined)),
                // Each path is a mount, which both agents ask for as well.
                masked_paths: MASKED_PATHS.map(str::to_owned).to_vec(),
                readonly_paths: READONLY_PATHS.map(str::to_owned).to_vec(),
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

/// Own network and ipc for the pod, own process ids for each container: the default of a pod.
fn namespaces() -> cri::NamespaceOption {
    cri::NamespaceOption { pid: cri::NamespaceMode::Container as i32, ..Default::default() }
}

fn profile(kind: ProfileType) -> cri::SecurityProfile {
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: String::new() }
}
