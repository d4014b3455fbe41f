//! The command lines of the control plane.

use std::path::Path;

use anyhow::Result;

use crate::daemon::Program;
use crate::ground::Ground;
use crate::netns::CONTROL_PLANE;
use crate::pki::{Identity, Pki};

/// Where etcd serves.
pub const ETCD_ADDRESS: &str = "127.0.0.1:2379";
/// First address of the Service range: the Service `default/kubernetes`.
pub const API_SERVICE_ADDRESS: &str = "10.96.0.1";
/// Address ranges of Services, IPv4 first so that it is the default family.
const SERVICE_RANGES: &str = "10.96.0.0/12,fd00:96::/112";
/// Address ranges that nodes get their pod ranges from.
const POD_RANGES: &str = "10.244.0.0/16,fd00:244::/56";

fn program(ground: &Ground, directory: &Path, name: &str, args: &[String]) -> Program {
    let logs = directory.join("logs");
    // Absence shows when the log is opened.
    let _ = std::fs::create_dir_all(&logs);
    Program::new(ground.binary(name), logs.join(format!("{name}.log"))).args(args)
}

fn flag(name: &str, value: impl AsRef<Path>) -> String {
    format!("--{name}={}", value.as_ref().display())
}

pub fn etcd(ground: &Ground, directory: &Path) -> Program {
    let args = [
        flag("data-dir", directory.join("etcd")),
        format!("--listen-client-urls=http://{ETCD_ADDRESS}"),
        format!("--advertise-client-urls=http://{ETCD_ADDRESS}"),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-cluster=default=http://127.0.0.1:2380".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    program(ground, directory, "etcd", &args)
}

pub fn api_server(ground: &Ground, directory: &Path, pki: &Pki) -> Program {
    let file = |name: &str, file: &str| flag(name, pki.file(file));
    let args = [
        format!("--etcd-servers=http://{ETCD_ADDRESS}"),
        format!("--advertise-address={CONTROL_PLANE}"),
        "--secure-port=6443".to_owned(),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("client-ca-file", "ca.crt"),
        file("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        file("kubelet-client-key", "apiserver-kubelet-client.key"),
        // Node names are in no DNS.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        file("service-account-key-file", "sa.pub"),
        file("service-account-signing-key-file", "sa.key"),
        format!("--service-cluster-ip-range={SERVICE_RANGES}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged".to_owned(),
        "--enable-bootstrap-token-auth".to_owned(),
        file("requestheader-client-ca-file", "front-proxy-ca.crt"),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        file("proxy-client-cert-file", "front-proxy-client.crt"),
        file("proxy-client-key-file", "front-proxy-client.key"),
        "--enable-aggregator-routing".to_owned(),
    ];
    program(ground, directory, "kube-apiserver", &args)
}

pub fn controllers(ground: &Ground, directory: &Path, pki: &Pki) -> Result<Program> {
    let identity = Identity { user: "system:kube-controller-manager", group: None };
    let kubeconfig = pki.write_kubeconfig("controller-manager.conf", identity)?;
    let file = |name: &str, file: &str| flag(name, pki.file(file));
    let args = [
        flag("kubeconfig", &kubeconfig),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        "--bind-address=127.0.0.1".to_owned(),
        "--use-service-account-credentials".to_owned(),
        "--leader-elect=false".to_owned(),
        "--controllers=*,bootstrap-signer-controller,token-cleaner-controller".to_owned(),
        file("root-ca-file", "ca.crt"),
        file("cluster-signing-cert-file", "ca.crt"),
        file("cluster-signing-key-file", "ca.key"),
        file("service-account-private-key-file", "sa.key"),
        "--allocate-node-cidrs".to_owned(),
        format!("--cluster-cidr={POD_RANGES}"),
        format!("--service-cluster-ip-range={SERVICE_RANGES}"),
        // Measurements of nodes must not wait for the client-side limits of this one.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ];
    Ok(program(ground, directory, "kube-controller-manager", &args))
}

pub fn scheduler(ground: &Ground, directory: &Path, pki: &Pki) -> Result<Program> {
    let identity = Identity { user: "system:kube-scheduler", group: None };
    let kubeconfig = pki.write_kubeconfig("scheduler.conf", identity)?;
    let args = [
        flag("kubeconfig", &kubeconfig),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ];
    Ok(program(ground, directory, "kube-scheduler", &args))
}
