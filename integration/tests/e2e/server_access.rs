//! Who gets what from the kubelet server, with the real API server's word on it.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::agent_config::KUBELET_PORT;
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::pki::{Authority, Identity, Pair};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::LIMIT;

/// A call that answers later than this has failed.
const DEADLINE: Duration = Duration::from_secs(20);
/// A host name in the serving certificate, whatever address the node gets.
const HOST: &str = "kubelet.test";
const RBAC: &str = "rbac.authorization.k8s.io";

pub fn tests() -> Vec<Test> {
    integration::tests![
        callers_get_what_their_roles_grant,
        api_server_passes_requests_on_to_the_node,
        node_without_a_certificate_makes_itself_one,
        certificate_and_authorities_change_without_a_restart,
        slow_and_oversized_clients_hold_nobody;
        alone: known_callers_are_served_while_the_api_server_is_away,
    ]
}

/// A node whose server certificate is from the cluster's authority.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    /// Certificate, key and authorities of the server.
    files: [PathBuf; 3],
    /// Sets the users and roles of this test apart from those of others.
    tag: String,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        let cluster = context.cluster().await?;
        let tag = format!("access-{}", context.number());
        let dir = cluster.run().directory().join(&tag);
        fs::create_dir_all(&dir)?;
        let files = ["tls.crt", "tls.key", "ca.crt"].map(|name| dir.join(name));
        let [certificate, key, authorities] = &files;
        let pair = cluster.pki().authority().server("kubelet", &[HOST])?;
        fs::write(certificate, pair.certificate)?;
        fs::write(key, pair.key)?;
        fs::write(authorities, cluster.pki().authority().certificate())?;
        let options = NodeOptions {
            kubelet_config: json!({
                "tlsCertFile": certificate,
                "tlsPrivateKeyFile": key,
                "authentication": {"x509": {"clientCAFile": authorities}},
                // A refusal that is remembered would hide the role that is granted after it.
                "authorization": {"webhook": {"cacheUnauthorizedTTL": "1ms"}},
            }),
            ..NodeOptions::default()
        };
        let node = context.node(options).await?;
        Ok(Self { cluster, node, files, tag })
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.node.place().v4().into(), KUBELET_PORT)
    }

    fn user(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    fn identity(&self, name: &str) -> Result<Pair> {
        self.cluster.pki().authority().client(Identity { user: &self.user(name), group: None })
    }

    /// A client that trusts the cluster's authority and shows that certificate.
    fn client(&self, identity: Option<&Pair>) -> Result<Client> {
        client(self.cluster.pki().authority(), identity, self.address())
    }

    /// Grants that user `get` on these subresources of nodes.
    async fn grant(&self, user: &str, subresources: &[&str]) -> Result<()> {
        let subject = json!({"kind": "User", "name": user, "apiGroup": RBAC});
        self.grant_to(user, &subject, subresources).await
    }

    async fn grant_to(&self, name: &str, subject: &Value, subresources: &[&str]) -> Result<()> {
        let resources: Vec<String> =
            subresources.iter().map(|subresource| format!("nodes/{subresource}")).collect();
        let role = json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": resources, "verbs": ["get"]}],
        });
        let binding = json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [subject],
        });
        self.cluster.create(&role).await?;
        self.cluster.create(&binding).await?;
        Ok(())
    }

    /// Waits until the authorizer knows of a role that was granted.
    async fn wait_for(&self, client: &Client, path: &str, code: u16) -> Result<()> {
        wait::until(&format!("{code} for {path}"), LIMIT, || async {
            let (found, text) = get(client, path).await?;
            Ok(if found == code { Look::Met(()) } else { Look::NotYet(format!("{found} {text}")) })
        })
        .await
    }
}

fn client(trusted: &Authority, identity: Option<&Pair>, node: SocketAddr) -> Result<Client> {
    let mut builder = Client::builder()
        .tls_certs_only([Certificate::from_pem(trusted.certificate().as_bytes())?])
        .resolve(HOST, node)
        .timeout(DEADLINE)
        .no_proxy();
    if let Some(pair) = identity {
        let pem = format!("{}{}", pair.certificate, pair.key);
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
    }
    builder.build().context("cannot make an HTTPS client")
}

fn url(path: &str) -> String {
    format!("https://{HOST}:{KUBELET_PORT}{path}")
}

async fn get(client: &Client, path: &str) -> Result<(u16, String)> {
    let answer = client.get(url(path)).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

async fn expect(client: &Client, path: &str, code: u16) -> Result<String> {
    let (found, text) = get(client, path).await.with_context(|| path.to_owned())?;
    ensure!(found == code, "{path}: {found} {text}");
    Ok(text)
}

async fn callers_get_what_their_roles_grant(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let nobody = fixture.client(None)?;
    ensure!(expect(&nobody, "/pods", 401).await? == "Unauthorized");
    let other = Authority::new("other")?;
    let impostor = other.client(Identity { user: "admin", group: Some("system:masters") })?;
    // The upstream server's clients keep such a certificate to themselves; the answer is the same.
    expect(&fixture.client(Some(&impostor))?, "/pods", 401).await?;

    let stranger = fixture.client(Some(&fixture.identity("stranger")?))?;
    let words = expect(&stranger, "/pods", 403).await?;
    let user = fixture.user("stranger");
    let wanted =
        format!("Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[pods proxy])\n");
    ensure!(words == wanted, "{words}");

    fixture.grant(&fixture.user("reader"), &["pods"]).await?;
    let reader = fixture.client(Some(&fixture.identity("reader")?))?;
    fixture.wait_for(&reader, "/pods", 200).await?;
    expect(&reader, "/healthz", 403).await?;
    let answer = reader.post(url("/pods")).send().await?;
    ensure!(answer.status().as_u16() == 403, "{answer:?}");

    fixture.grant(&fixture.user("proxy"), &["proxy"]).await?;
    let proxy = fixture.client(Some(&fixture.identity("proxy")?))?;
    fixture.wait_for(&proxy, "/pods", 200).await?;
    ensure!(expect(&proxy, "/healthz", 200).await? == "ok");
    expect(&proxy, "/healthz/syncloop", 200).await?;
    expect(&proxy, "/nowhere", 404).await?;
    let answer = proxy.head(url("/pods")).send().await?;
    ensure!(answer.status().as_u16() == 403, "HEAD has no verb: {answer:?}");

    let namespace = context.namespace().await?;
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {},
    });
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default/token");
    let answer = fixture.cluster.client().create_at(&path, &request).await?;
    let token = answer["status"]["token"].as_str().context("no token")?;
    let subject = json!({"kind": "ServiceAccount", "name": "default", "namespace": namespace});
    fixture.grant_to(&fixture.user("account"), &subject, &["pods"]).await?;
    wait::until("token is taken", LIMIT, || async {
        let answer = nobody.get(url("/pods")).bearer_auth(token).send().await?;
        Ok(match answer.status().as_u16() {
            200 => Look::Met(()),
            code => Look::NotYet(code.to_string()),
        })
    })
    .await?;
    let answer = nobody.get(url("/pods")).bearer_auth("nonsense").send().await?;
    ensure!(answer.status().as_u16() == 401, "{answer:?}");
    Ok(())
}

async fn api_server_passes_requests_on_to_the_node(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::run(&cluster, &pods::pause_pod(&namespace, "a", node.name()), LIMIT).await?;
    let raw = |path: &str| format!("{}/proxy{path}", node.api_path());
    let text = cluster.kubectl(&["get", "--raw", &raw("/pods")]).await?;
    let list: Value = serde_json::from_str(&text).context("/pods is no JSON")?;
    ensure!(list["kind"] == "PodList" && list["apiVersion"] == "v1", "{text}");
    let uid = &pod["metadata"]["uid"];
    let items = list["items"].as_array().context("no items")?;
    let found = items.iter().find(|item| item["metadata"]["uid"] == *uid);
    let found = found.with_context(|| format!("{uid} is not in {text}"))?;
    ensure!(found["status"]["phase"] == "Running", "{found}");
    ensure!(found["status"]["podIP"] == pod["status"]["podIP"], "{found}");
    for (path, wanted) in [("/healthz", "ok"), ("/healthz/ping", "ok")] {
        let text = cluster.kubectl(&["get", "--raw", &raw(path)]).await?;
        ensure!(text == wanted, "{path}: {text}");
    }
    let missing = cluster.kubectl(&["get", "--raw", &raw("/nowhere")]).await;
    let error = format!("{:#}", missing.err().context("a path that does not exist answers")?);
    ensure!(error.contains("NotFound"), "{error}");
    Ok(())
}

async fn node_without_a_certificate_makes_itself_one(context: Arc<TestContext>) -> Result<()> {
    if peers_wanted() {
        // Its certificate has no address in it.
        return Ok(());
    }
    let node = context.shared_node().await?;
    let pem = fs::read(node.root_directory().join("pki/kubelet.crt"))?;
    let client = Client::builder()
        .tls_certs_only([Certificate::from_pem(&pem)?])
        .timeout(DEADLINE)
        .no_proxy()
        .build()?;
    for host in [node.place().v4().to_string(), node.name().to_owned()] {
        let address = SocketAddr::new(node.place().v4().into(), KUBELET_PORT);
        let client = if host == node.name() {
            Client::builder()
                .tls_certs_only([Certificate::from_pem(&pem)?])
                .resolve(&host, address)
                .no_proxy()
                .build()?
        } else {
            client.clone()
        };
        let answer = client.get(format!("https://{host}:{KUBELET_PORT}/healthz")).send().await?;
        ensure!(answer.status().as_u16() == 401, "{host}: {answer:?}");
    }
    Ok(())
}

async fn certificate_and_authorities_change_without_a_restart(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let [certificate, key, authorities] = &fixture.files;
    let processes = fixture.node.agent()?.ids();
    let old = fixture.client(None)?;
    expect(&old, "/pods", 401).await?;

    let successor = Authority::new("successor")?;
    let pair = successor.server("kubelet", &[HOST])?;
    fs::write(certificate, pair.certificate)?;
    fs::write(key, pair.key)?;
    wait::until("the new certificate is shown", LIMIT, || async {
        // A new connection each time.
        let client = client(&successor, None, fixture.address())?;
        let (code, _) = get(&client, "/pods").await?;
        Ok(if code == 401 { Look::Met(()) } else { Look::NotYet(code.to_string()) })
    })
    .await?;
    ensure!(get(&fixture.client(None)?, "/pods").await.is_err(), "the old one is still shown");

    let user = fixture.user("foreign");
    let foreign = successor.client(Identity { user: &user, group: None })?;
    let foreign = client(&successor, Some(&foreign), fixture.address())?;
    expect(&foreign, "/pods", 401).await?;
    let both =
        format!("{}{}", fixture.cluster.pki().authority().certificate(), successor.certificate());
    fs::write(authorities, both)?;
    // Upstream looks once a minute when it misses an event.
    wait::until("the new authority is trusted", 2 * LIMIT, || async {
        let (code, text) = get(&foreign, "/pods").await?;
        Ok(if code == 403 { Look::Met(()) } else { Look::NotYet(format!("{code} {text}")) })
    })
    .await?;
    ensure!(fixture.node.agent()?.ids() == processes, "the agent was restarted");
    Ok(())
}

async fn slow_and_oversized_clients_hold_nobody(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.grant(&fixture.user("proxy"), &["proxy"]).await?;
    let proxy = fixture.client(Some(&fixture.identity("proxy")?))?;
    fixture.wait_for(&proxy, "/healthz", 200).await?;

    let mut idle = Vec::new();
    for number in 0..600 {
        let mut stream = TcpStream::connect(fixture.address()).await?;
        if number % 2 == 0 {
            // The begin of a handshake that does not go on.
            stream.write_all(&[0x16, 3, 1]).await?;
        }
        idle.push(stream);
    }
    expect(&proxy, "/healthz", 200).await?;
    let fresh = fixture.client(Some(&fixture.identity("proxy")?))?;
    expect(&fresh, "/healthz", 200).await?;
    if !peers_wanted() {
        for mut stream in idle {
            let ended = tokio::time::timeout(LIMIT, stream.read(&mut [0; 64])).await;
            match ended.context("an idle connection stays open")? {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => bail!(error),
            }
        }
    }

    let http1 = {
        let pair = fixture.identity("proxy")?;
        let pem = format!("{}{}", pair.certificate, pair.key);
        let trusted = fixture.cluster.pki().authority().certificate();
        Client::builder()
            .tls_certs_only([Certificate::from_pem(trusted.as_bytes())?])
            .identity(reqwest::Identity::from_pem(pem.as_bytes())?)
            .resolve(HOST, fixture.address())
            .http1_only()
            .no_proxy()
            .build()?
    };
    let answer = http1.get(url("/healthz")).header("x-long", "a".repeat(8 << 20)).send().await;
    match answer {
        Ok(answer) => ensure!(answer.status().as_u16() == 431, "{answer:?}"),
        // The server hangs up while the client still sends.
        Err(error) => ensure!(!error.is_timeout(), "{error:?}"),
    }
    expect(&proxy, "/healthz", 200).await?;
    Ok(())
}

async fn known_callers_are_served_while_the_api_server_is_away(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    fixture.grant(&fixture.user("known"), &["pods", "proxy"]).await?;
    let known = fixture.client(Some(&fixture.identity("known")?))?;
    fixture.wait_for(&known, "/pods", 200).await?;
    let unknown = fixture.client(Some(&fixture.identity("unknown")?))?;
    let nobody = fixture.client(None)?;
    fixture.cluster.stop_api_server().await?;
    let seen = async {
        expect(&known, "/pods", 200).await?;
        let words = expect(&unknown, "/pods", 500).await?;
        let user = fixture.user("unknown");
        let wanted = format!(
            "Authorization error (user={user}, verb=get, resource=nodes, subresource=pods)"
        );
        ensure!(words == wanted, "{words}");
        let answer = nobody.get(url("/pods")).bearer_auth("token").send().await?;
        ensure!(answer.status().as_u16() == 401, "{answer:?}");
        Ok(())
    }
    .await;
    fixture.cluster.start_api_server().await?;
    // The server was away so long that the controllers would look for it only after a minute.
    fixture.cluster.restart_controllers(&[]).await?;
    seen
}
