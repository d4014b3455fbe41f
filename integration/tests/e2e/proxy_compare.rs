//! The rules of noded beside those of the real kube-proxy, from the same objects.

mod catalogue;
mod outage;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use futures::stream;
use integration::TestContext;
use integration::proxy_host::{Flavour, ProxyHost, ProxyKind, ProxySettings, silent_node};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::saved_rules::SavedRules;
use integration::wait::{self, Look};
use serde_json::{Value, json};

use catalogue::{Entry, NODE, ZONE, remote};

/// How long both may take to be at the same rules; several of each share two cores.
const AGREE: Duration = Duration::from_secs(60);
/// Addresses of the Node, of which kube-proxy uses only those of an interface, and more.
const ADDRESSES: [&str; 4] =
    ["172.30.0.200/32", "fd00:30::c8/128", "198.51.100.20/32", "2001:db8:20::1/128"];
/// Objects created at a time.
const AT_A_TIME: usize = 16;

pub fn tests() -> Vec<Test> {
    integration::tests![
        ; alone: every_kind_of_service_has_the_rules_of_kube_proxy,
    ]
    .into_iter()
    .chain(outage::tests())
    .collect()
}

/// The same settings for both proxies.
struct Pair {
    name: &'static str,
    noded: ProxyHost,
    kube_proxy: ProxyHost,
}

impl Pair {
    fn start(
        cluster: &Arc<Cluster>,
        name: &'static str,
        config: &Value,
        flavour: Flavour,
    ) -> Result<Self> {
        let host = |kind: ProxyKind| {
            let mut whole = json!({"iptables": {"minSyncPeriod": "100ms"}});
            integration::agent_config::overlay(&mut whole, config);
            let settings = ProxySettings {
                kind,
                node: NODE.to_owned(),
                flavour,
                config: whole,
                addresses: ADDRESSES.map(str::to_owned).to_vec(),
            };
            let host = ProxyHost::prepare(cluster, &format!("{name}-{}", kind.name()), settings)?;
            host.start()?;
            anyhow::Ok(host)
        };
        Ok(Self { name, noded: host(ProxyKind::Noded)?, kube_proxy: host(ProxyKind::KubeProxy)? })
    }

    /// Waits until both have written the rules of a mark, which is created after all else, and
    /// have the same ones.
    async fn agree(&self, mark: &str) -> Result<()> {
        let what = format!("{}: rules as kube-proxy's", self.name);
        wait::until(&what, AGREE, || async {
            self.noded.expect_running()?;
            self.kube_proxy.expect_running()?;
            let mut found = String::new();
            for (position, tool) in ["iptables-save", "ip6tables-save"].into_iter().enumerate() {
                let expected = read(&self.kube_proxy, tool).await?;
                let actual = read(&self.noded, tool).await?;
                for (who, rules) in [("kube-proxy", &expected), ("noded", &actual)] {
                    if position == 0 && !rules.mention(mark) {
                        found += &format!("{who} has not written {mark}\n");
                    }
                }
                found += &expected.differences(&actual);
            }
            Ok(if found.is_empty() { Look::Met(()) } else { Look::NotYet(found) })
        })
        .await
        .with_context(|| format!("{}\n{}", self.noded.tail(10), self.kube_proxy.tail(10)))
    }

    async fn restart(&self) -> Result<()> {
        for host in [&self.noded, &self.kube_proxy] {
            host.stop().await?;
            host.start()?;
        }
        Ok(())
    }
}

/// The rules a tool prints on a host.
async fn read(host: &ProxyHost, tool: &str) -> Result<SavedRules> {
    Ok(SavedRules::parse(&host.output(tool, &[]).await?))
}

/// Pairs that differ in what decides about rules: the four ways to know local traffic and none,
/// masquerading, where node ports answer, the flavour of iptables.
fn pairs(cluster: &Arc<Cluster>) -> Result<Vec<Pair>> {
    let table: [(&'static str, Value, Flavour); 8] = [
        ("defaults", json!({}), Flavour::Nft),
        ("legacy", json!({}), Flavour::Legacy),
        ("node-cidr", json!({"detectLocalMode": "NodeCIDR"}), Flavour::Nft),
        (
            "bridge",
            json!({
                "detectLocalMode": "BridgeInterface",
                "detectLocal": {"bridgeInterface": "cni0"},
                "nodePortAddresses": ["primary"],
            }),
            Flavour::Nft,
        ),
        (
            "prefix",
            json!({
                "detectLocalMode": "InterfaceNamePrefix",
                "detectLocal": {"interfaceNamePrefix": "veth"},
                "iptables": {"masqueradeAll": true},
            }),
            Flavour::Nft,
        ),
        ("undetected", json!({"clusterCIDR": "", "iptables": {"masqueradeBit": 17}}), Flavour::Nft),
        (
            "some-addresses",
            json!({"nodePortAddresses": ["198.51.100.0/24", "127.0.0.0/8", "2001:db8:20::/64"]}),
            Flavour::Nft,
        ),
        ("no-localhost", json!({"iptables": {"localhostNodePorts": false}}), Flavour::Nft),
    ];
    table
        .into_iter()
        .map(|(name, config, flavour)| Pair::start(cluster, name, &config, flavour))
        .collect()
}

/// The objects and pairs of one test.
struct Fixture {
    cluster: Arc<Cluster>,
    namespace: String,
    marks: u8,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        let cluster = context.cluster().await?;
        let namespace = context.namespace().await?;
        let addresses = ["172.30.0.200", "fd00:30::c8"];
        let ranges = ["10.244.77.0/24", "fd00:244:0:4d::/64"];
        // A test that failed may have left it.
        cluster.client().delete(&format!("/api/v1/nodes/{NODE}")).await?;
        cluster.create(&silent_node(NODE, &addresses, &ranges)).await?;
        Ok(Self { cluster, namespace, marks: 0 })
    }

    /// Gives the Node its zone or takes it away. A proxy that starts must find none: kube-proxy
    /// (v1.36.3) may read the Node before it listens for zones, and then misses the one it has.
    async fn set_zone(&self, zone: Option<&str>) -> Result<()> {
        let patch = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        let path = format!("/api/v1/nodes/{NODE}");
        self.cluster.client().merge_patch(&path, &patch).await.map(drop)
    }

    async fn create(&self, entries: Vec<Entry>) -> Result<()> {
        let creations = stream::iter(entries)
            .map(|entry| entry.create(&self.cluster, &self.namespace))
            .buffer_unordered(AT_A_TIME);
        creations.collect::<Vec<_>>().await.into_iter().collect()
    }

    /// Creates a mark and returns the address of its endpoint.
    async fn mark(&mut self) -> Result<String> {
        self.marks += 1;
        let (mark, address) = catalogue::mark(self.marks);
        self.create(vec![mark]).await?;
        Ok(address)
    }

    /// Waits until all pairs have seen all that was changed before, and agree.
    async fn agree(&mut self, pairs: &[Pair]) -> Result<()> {
        let rule = format!("--to-destination {}:8080", self.mark().await?);
        let outcomes = join_all(pairs.iter().map(|pair| pair.agree(&rule))).await;
        let failed: Vec<String> = outcomes
            .into_iter()
            .filter_map(Result::err)
            .map(|error| format!("{error:#}"))
            .collect();
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        Ok(())
    }

    /// Removes what the clean-up after a test does not know of.
    async fn end(&self) -> Result<()> {
        self.cluster.client().delete(&format!("/api/v1/nodes/{NODE}")).await
    }

    fn service(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/services/{name}", self.namespace)
    }

    fn slice(&self, name: &str) -> String {
        let group = "/apis/discovery.k8s.io/v1";
        format!("{group}/namespaces/{}/endpointslices/{name}-0", self.namespace)
    }

    /// Replaces the endpoints of a Service's first slice.
    async fn set_endpoints(&self, name: &str, endpoints: Vec<Value>) -> Result<()> {
        let patch = json!({"endpoints": endpoints});
        self.cluster.client().merge_patch(&self.slice(name), &patch).await.map(drop)
    }

    async fn patch_service(&self, name: &str, patch: &Value) -> Result<()> {
        self.cluster.client().merge_patch(&self.service(name), patch).await.map(drop)
    }

    /// One change of each kind.
    async fn change(&self) -> Result<()> {
        let client = self.cluster.client();
        self.set_endpoints("one", vec![remote("10.244.1.1"), remote("10.244.1.99")]).await?;
        self.set_endpoints("five", vec![remote("10.244.2.1"), remote("10.244.2.4")]).await?;
        self.set_endpoints("balancer", Vec::new()).await?;
        self.set_endpoints("local", vec![remote("10.244.1.21")]).await?;
        client.delete(&self.service("ranges")).await?;
        client.delete(&self.service("node-port")).await?;
        client.delete(&self.slice("sticky")).await?;
        client.delete(&self.service("everything")).await?;
        client.delete(&self.slice("everything")).await?;
        let ports = json!({"spec": {"ports": [{"port": 81, "protocol": "TCP"}]}});
        self.patch_service("sticky-minute", &ports).await?;
        self.patch_service("external", &json!({"spec": {"externalTrafficPolicy": "Local"}}))
            .await?;
        self.patch_service("dual", &json!({"spec": {"type": "NodePort"}})).await?;
        let foreign =
            json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "other"}}});
        self.patch_service("twice", &foreign).await?;
        let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.19"}]}}});
        client.merge_patch(&format!("{}/status", self.service("checked")), &ingress).await?;
        Ok(())
    }
}

/// Settings and kinds of objects in all combinations, then changes of them, a restart, and so many
/// endpoints that comments are left out.
async fn every_kind_of_service_has_the_rules_of_kube_proxy(
    context: Arc<TestContext>,
) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let pairs = pairs(&fixture.cluster)?;
    fixture.create(catalogue::all()).await?;
    fixture.agree(&pairs).await.context("from the first objects")?;
    fixture.set_zone(Some(ZONE)).await?;
    fixture.change().await?;
    fixture.agree(&pairs).await.context("after changes")?;
    fixture.set_zone(None).await?;
    try_join_all(pairs.iter().map(Pair::restart)).await?;
    fixture.agree(&pairs).await.context("after a restart")?;
    let (first, rest) = pairs.split_at(1);
    for pair in rest {
        pair.noded.stop().await?;
        pair.kube_proxy.stop().await?;
    }
    fixture.create(vec![catalogue::large()]).await?;
    // Which of the older chains keep their comments is a matter of what was written when.
    first[0].restart().await?;
    fixture.agree(first).await.context("with more than 1000 endpoints")?;
    fixture.end().await
}
