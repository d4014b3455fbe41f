//! The node's certificates: obtained, renewed, refused, lost, replaced by others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::agent_process::AgentProcess;
use integration::node::{Node, NodeOptions, condition};
use integration::pki::Identity;
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, kubeadm, pods};
use serde_json::{Value, json};

use crate::LIMIT;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";
/// Lets the controller manager approve what a node asks for itself.
const SELF_APPROVAL: &str = "kubeadm:node-autoapprove-certificate-rotation";
/// What the agent says when a call, a watch or a renewal fails.
const COMPLAINTS: [&str; 5] =
    ["watch fails", "no answer within", "Unauthorized", "cannot renew", "is lost"];

pub fn tests() -> Vec<Test> {
    integration::tests![
        lost_key_is_replaced_while_running_and_at_a_start,
        kubeconfig_replaced_on_disk_is_taken_while_running,
        serving_certificate_is_shown_once_somebody_approves_it;
        alone:
        certificates_of_forty_seconds_are_renewed_and_nothing_fails,
        denied_request_is_told_once_and_followed_by_another,
    ]
}

/// A node that gets its credential with a bootstrap token.
async fn bootstrapping_node(context: &TestContext, config: Value) -> Result<Arc<Node>> {
    let cluster = context.cluster().await?;
    kubeadm::prepare(&cluster).await?;
    let bootstrap = cluster.pki().file(&format!("bootstrap-{}.conf", context.number()));
    fs::write(&bootstrap, cluster.pki().token_kubeconfig(kubeadm::TOKEN))?;
    let options = NodeOptions {
        kubelet_config: config,
        agent_args: vec![format!("--bootstrap-kubeconfig={}", bootstrap.display())],
        ..NodeOptions::default()
    };
    let node = context.bare_node(options).await?;
    let agent = AgentProcess::noded(&node)?;
    fs::remove_file(kubeconfig(&node))?;
    node.start_as(agent)?;
    node.join().await?;
    Ok(node)
}

fn kubeconfig(node: &Node) -> PathBuf {
    node.directory().join("agent/kubelet.conf")
}

fn current(node: &Node, kind: &str) -> PathBuf {
    node.root_directory().join(format!("pki/kubelet-{kind}-current.pem"))
}

/// File that the link to the newest certificate leads to; `None` while there is none.
fn newest(node: &Node, kind: &str) -> Option<PathBuf> {
    fs::read_link(current(node, kind)).ok()
}

/// Waits until the newest certificate is another one than `before` and returns its file.
async fn renewed(node: &Node, kind: &str, before: Option<&Path>) -> Result<PathBuf> {
    wait::until("another certificate", LIMIT, || async {
        node.agent()?.expect_running()?;
        Ok(match newest(node, kind) {
            Some(file) if Some(&*file) != before => Look::Met(file),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await
    .with_context(|| node.agent().map(|agent| agent.tail(15)).unwrap_or_default())
}

/// The node's requests to a signer that are not among `known`.
async fn requests(node: &Node, signer: &str, known: &BTreeSet<String>) -> Result<Vec<Value>> {
    let user = format!("system:node:{}", node.name());
    let mut all = node.cluster().client().list(REQUESTS).await?;
    all.retain(|csr| csr["spec"]["signerName"] == signer && csr["spec"]["username"] == *user);
    all.retain(|csr| !known.contains(name(csr)));
    Ok(all)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Waits for one more request of the node and returns it.
async fn next_request(node: &Node, signer: &str, known: &mut BTreeSet<String>) -> Result<Value> {
    let csr = wait::until("another certificate signing request", LIMIT, || async {
        node.agent()?.expect_running()?;
        Ok(match requests(node, signer, known).await?.pop() {
            Some(csr) => Look::Met(csr),
            None => Look::NotYet("none".to_owned()),
        })
    })
    .await
    .with_context(|| node.agent().map(|agent| agent.tail(15)).unwrap_or_default())?;
    known.insert(name(&csr).to_owned());
    Ok(csr)
}

async fn wait_for_log(node: &Node, text: &str) -> Result<()> {
    wait::until(text, LIMIT, || async {
        let agent = node.agent()?;
        agent.expect_running()?;
        Ok(match agent.log_text().contains(text) {
            true => Look::Met(()),
            false => Look::NotYet(agent.tail(5)),
        })
    })
    .await
}

fn no_complaint(node: &Node) -> Result<()> {
    let log = node.agent()?.log_text();
    let complaint = log.lines().find(|line| COMPLAINTS.iter().any(|text| line.contains(text)));
    ensure!(complaint.is_none(), "{complaint:?}");
    Ok(())
}

async fn run_a_pod(cluster: &Cluster, node: &Node, namespace: &str, name: &str) -> Result<()> {
    cluster.create(&pods::pause_pod(namespace, name, node.name())).await?;
    pods::wait_ready(cluster, &pods::path(namespace, name), LIMIT).await.map(drop)
}

async fn certificates_of_forty_seconds_are_renewed_and_nothing_fails(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    // Before the controllers change: it waits for what they do.
    kubeadm::prepare(&cluster).await?;
    cluster.restart_controllers(&["--cluster-signing-duration=40s"]).await?;
    let outcome = short_certificates(&context, &cluster).await;
    outcome.and(cluster.restart_controllers(&[]).await)
}

/// The signer dates back by 5 min, so that 70 to 90 % of 340 s are over within 6 s; what was just
/// obtained is used for half of what is left, so that each lasts 20 s.
async fn short_certificates(context: &TestContext, cluster: &Arc<Cluster>) -> Result<()> {
    const RENEWALS: usize = 5;
    let node = bootstrapping_node(context, json!({"rotateCertificates": true})).await?;
    let namespace = context.namespace().await?;
    let selector = format!("/api/v1/nodes?fieldSelector=metadata.name%3D{}", node.name());
    let mut states = cluster.watch(&selector).await?;
    let refused = refused_credentials(cluster).await?;
    let begun = Instant::now();
    let mut file = newest(&node, "client").context("no certificate after the bootstrap")?;
    for round in 0..RENEWALS {
        run_a_pod(cluster, &node, &namespace, &format!("pod-{round}")).await?;
        file = renewed(&node, "client", Some(&file)).await?;
    }
    // The first ones have ended, so that whoever still showed them would be refused.
    ensure!(begun.elapsed() > Duration::from_secs(60), "{:?}", begun.elapsed());
    run_a_pod(cluster, &node, &namespace, "last").await?;
    for round in 0..RENEWALS {
        let path = pods::path(&namespace, &format!("pod-{round}"));
        let pod = cluster.get_json(&path).await?;
        ensure!(pods::is_ready(&pod), "{pod}");
    }
    no_complaint(&node)?;
    let refused_since = refused_credentials(cluster).await? - refused;
    ensure!(refused_since < 0.5, "the API server refused {refused_since} credentials");
    for event in states.arrived() {
        let ready = condition(&event.object, "Ready").map(|ready| ready["status"].clone());
        ensure!(ready == Some("True".into()), "{:?}", ready);
    }
    let asked = requests(&node, CLIENT, &BTreeSet::new()).await?.len();
    // One at the start, since nothing tells how long the bootstrap's one was used.
    ensure!((RENEWALS..=RENEWALS + 2).contains(&asked), "{asked} requests");
    Ok(())
}

/// How many credentials the API server has refused so far.
async fn refused_credentials(cluster: &Cluster) -> Result<f64> {
    let text = cluster.client().get_text("/metrics").await?;
    let of_failures = |line: &&str| {
        line.starts_with("authentication_attempts{") && line.contains("result=\"failure\"")
    };
    let counts = text.lines().filter(of_failures);
    counts.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
}

async fn denied_request_is_told_once_and_followed_by_another(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions {
        kubelet_config: json!({"rotateCertificates": true}),
        ..NodeOptions::default()
    };
    let node = context.bare_node(options).await?;
    cluster.kubectl(&["delete", "clusterrolebinding", "--ignore-not-found", SELF_APPROVAL]).await?;
    let agent = AgentProcess::noded(&node)?;
    // More than 90 % of its life are over.
    let life = (Duration::from_secs(30_000), Duration::from_secs(1200));
    fs::write(kubeconfig(&node), credential(&node, life)?)?;
    node.start_as(agent)?;
    let mut known = BTreeSet::new();
    for _ in 0..2 {
        let csr = next_request(&node, CLIENT, &mut known).await?;
        ensure!(csr["spec"]["usages"] == json!(["digital signature", "client auth"]), "{csr}");
        cluster.kubectl(&["certificate", "deny", name(&csr)]).await?;
    }
    let third = next_request(&node, CLIENT, &mut known).await?;
    cluster.kubectl(&["certificate", "approve", name(&third)]).await?;
    renewed(&node, "client", None).await?;
    wait_for_log(&node, "obtained a new client certificate").await?;
    let log = node.agent()?.log_text();
    let told = log.lines().filter(|line| line.contains("was denied")).count();
    ensure!(told == 1, "told {told} times\n{log}");
    node.join().await
}

fn credential(node: &Node, life: (Duration, Duration)) -> Result<String> {
    let user = format!("system:node:{}", node.name());
    let identity = Identity { user: &user, group: Some("system:nodes") };
    let pki = node.cluster().pki();
    Ok(pki.kubeconfig_of(&pki.authority().client_around_now(identity, life)?))
}

async fn lost_key_is_replaced_while_running_and_at_a_start(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = bootstrapping_node(&context, json!({"rotateCertificates": true})).await?;
    let namespace = context.namespace().await?;
    let first = newest(&node, "client").context("no certificate after the bootstrap")?;
    fs::write(current(&node, "client"), "-----BEGIN CERTIFICATE-----\n")?;
    wait_for_log(&node, "the file of the client certificate is lost").await?;
    let second = renewed(&node, "client", Some(&first)).await?;
    run_a_pod(&cluster, &node, &namespace, "after-damage").await?;

    let agent = node.agent()?;
    agent.stop().await?;
    fs::remove_file(current(&node, "client"))?;
    agent.start()?;
    renewed(&node, "client", Some(&second)).await?;
    wait_for_log(&node, "obtaining a credential with").await?;
    run_a_pod(&cluster, &node, &namespace, "after-loss").await
}

async fn kubeconfig_replaced_on_disk_is_taken_while_running(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.bare_node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let agent = AgentProcess::noded(&node)?;
    let left = Duration::from_secs(40);
    fs::write(kubeconfig(&node), credential(&node, (left, left))?)?;
    let end = Instant::now() + left;
    node.start_as(agent)?;
    node.join().await?;
    let fresh = node.directory().join("agent/fresh.conf");
    fs::write(&fresh, cluster.pki().node_kubeconfig(node.name())?)?;
    fs::rename(&fresh, kubeconfig(&node))?;
    wait_for_log(&node, "took the client certificate put there").await?;
    wait::until("end of the first certificate", LIMIT, || async {
        Ok(match Instant::now() > end + Duration::from_secs(2) {
            true => Look::Met(()),
            false => Look::NotYet("it is good still".to_owned()),
        })
    })
    .await?;
    run_a_pod(&cluster, &node, &namespace, "a").await?;
    no_complaint(&node)
}

async fn serving_certificate_is_shown_once_somebody_approves_it(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions {
        kubelet_config: json!({"serverTLSBootstrap": true}),
        ..NodeOptions::default()
    };
    let node = context.node(options).await?;
    let mut known = BTreeSet::new();
    let csr = next_request(&node, SERVING, &mut known).await?;
    ensure!(csr["spec"]["usages"] == json!(["digital signature", "server auth"]), "{csr}");
    ensure!(health(&node).await.is_err(), "there is a certificate before it is approved");
    let command = format!("kubectl certificate approve {}", name(&csr));
    wait_for_log(&node, &command).await?;
    cluster.kubectl(&["certificate", "approve", name(&csr)]).await?;
    renewed(&node, "server", None).await?;
    wait::until("kubelet server with the cluster's certificate", LIMIT, || async {
        Ok(match health(&node).await {
            Ok(text) if text == "ok" => Look::Met(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    // It is used again, and nothing is asked.
    node.agent()?.restart().await?;
    wait::until("kubelet server with the certificate of before", LIMIT, || async {
        Ok(match health(&node).await {
            Ok(_) => Look::Met(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await?;
    node.wait_ready(LIMIT).await?;
    ensure!(requests(&node, SERVING, &known).await?.is_empty(), "asked again");
    Ok(())
}

/// What the kubelet server says of its health to one who trusts the cluster's authority only.
async fn health(node: &Node) -> Result<String> {
    let authority = node.cluster().pki().authority();
    let identity = Identity { user: "admin", group: Some("system:masters") };
    let pair = authority.client(identity)?;
    let pem = format!("{}{}", pair.certificate, pair.key);
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(authority.certificate().as_bytes())?])
        .identity(reqwest::Identity::from_pem(pem.as_bytes())?)
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let url = format!("https://{}:10250/healthz", node.place().v4());
    Ok(client.get(url).send().await?.error_for_status()?.text().await?)
}
