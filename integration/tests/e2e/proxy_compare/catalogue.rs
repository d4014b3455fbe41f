//! Services and EndpointSlices that between them reach every rule a proxy writes.

use anyhow::Result;
use integration::real_cluster::Cluster;
use integration::resource;
use serde_json::{Value, json};

/// The Node whose endpoints are local.
pub const NODE: &str = "compared";
/// Its zone.
pub const ZONE: &str = "zone-a";

/// A Service with the slices behind it.
pub struct Entry {
    service: Value,
    /// `status.loadBalancer.ingress`, which nobody else sets here.
    ingress: Value,
    slices: Vec<Value>,
}

impl Entry {
    /// A Service of one TCP port 80 without a name, with this `spec` laid over it.
    pub fn new(name: &str, spec: Value) -> Self {
        let mut service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
        });
        integration::agent_config::overlay(&mut service["spec"], &spec);
        Self { service, ingress: Value::Null, slices: Vec::new() }
    }

    fn labelled(mut self, label: &str, value: &str) -> Self {
        self.service["metadata"]["labels"] = json!({label: value});
        self
    }

    /// Labels the last slice.
    fn slice_labelled(mut self, label: &str, value: &str) -> Self {
        if let Some(slice) = self.slices.last_mut() {
            slice["metadata"]["labels"][label] = json!(value);
        }
        self
    }

    fn with_ingress(mut self, ingress: Value) -> Self {
        self.ingress = ingress;
        self
    }

    /// Adds a slice in which the ports are the Service's, with the target port of this number.
    pub fn behind(self, target: u16, endpoints: Vec<Value>) -> Self {
        let ports = self.service["spec"]["ports"].as_array().into_iter().flatten();
        let ports = ports
            .zip(target..)
            .map(|(port, target)| {
                let name = port["name"].as_str().unwrap_or_default();
                json!({"name": name, "protocol": port["protocol"], "port": target})
            })
            .collect();
        self.behind_ports(ports, endpoints)
    }

    fn behind_ports(mut self, ports: Vec<Value>, endpoints: Vec<Value>) -> Self {
        let name = self.service["metadata"]["name"].as_str().unwrap_or_default();
        let address = endpoints.first().and_then(|endpoint| endpoint["addresses"][0].as_str());
        let is_v6 = address.is_some_and(|address| address.contains(':'));
        self.slices.push(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-{}", self.slices.len()),
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": if is_v6 { "IPv6" } else { "IPv4" },
            "endpoints": endpoints,
            "ports": ports,
        }));
        self
    }

    /// Creates the objects in a namespace.
    pub async fn create(mut self, cluster: &Cluster, namespace: &str) -> Result<()> {
        self.service["metadata"]["namespace"] = json!(namespace);
        let created = cluster.create(&self.service).await?;
        if !self.ingress.is_null() {
            let path = format!("{}/status", resource::path_of(&created)?);
            let patch = json!({"status": {"loadBalancer": {"ingress": self.ingress}}});
            cluster.client().merge_patch(&path, &patch).await?;
        }
        for slice in &mut self.slices {
            slice["metadata"]["namespace"] = json!(namespace);
            cluster.create(slice).await?;
        }
        Ok(())
    }
}

/// A ready endpoint on some other node.
pub fn remote(address: &str) -> Value {
    json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": "elsewhere"})
}

/// A ready endpoint on [`NODE`].
fn local(address: &str) -> Value {
    json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": NODE})
}

/// Why an endpoint is not ready.
#[derive(Clone, Copy)]
enum Unready {
    /// It has not begun to serve.
    Starting,
    /// It ends and still serves.
    Ending,
    /// It ends and serves no more.
    Ended,
}

/// The endpoint, but not ready.
fn but(mut endpoint: Value, why: Unready) -> Value {
    let terminating = !matches!(why, Unready::Starting);
    let serving = matches!(why, Unready::Ending);
    endpoint["conditions"] =
        json!({"ready": false, "serving": serving, "terminating": terminating});
    endpoint
}

/// The endpoint with hints for these zones.
fn for_zone(mut endpoint: Value, zone: &str) -> Value {
    endpoint["hints"] = json!({"forZones": [{"name": zone}]});
    endpoint
}

/// The endpoint with hints for a zone and a node.
fn for_node(endpoint: Value, zone: &str, node: &str) -> Value {
    let mut endpoint = for_zone(endpoint, zone);
    endpoint["hints"]["forNodes"] = json!([{"name": node}]);
    endpoint
}

fn port(name: &str, port: u16, protocol: &str) -> Value {
    json!({"name": name, "port": port, "protocol": protocol})
}

/// All of it; names tell what each is about.
pub fn all() -> Vec<Entry> {
    [cluster_addresses(), outside(), policies(), families(), conditions(), left_alone()]
        .into_iter()
        .flatten()
        .collect()
}

fn affinity(seconds: u32) -> Value {
    json!({
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}},
    })
}

fn cluster_addresses() -> Vec<Entry> {
    let spec = |ports: Vec<Value>| json!({"ports": ports});
    let three = || vec![remote("10.244.1.9"), remote("10.244.1.10"), local("10.244.0.101")];
    let five = (1..6).map(|host| remote(&format!("10.244.2.{host}"))).collect();
    let all = vec![port("t", 53, "TCP"), port("u", 53, "UDP"), port("s", 53, "SCTP")];
    let two = vec![port("http", 80, "TCP"), port("metrics", 9153, "TCP")];
    vec![
        Entry::new("one", json!({})).behind(8080, vec![remote("10.244.1.1")]),
        Entry::new("five", spec(vec![port("p", 80, "TCP")])).behind(80, five),
        Entry::new("protocols", spec(all)).behind(5353, three()),
        Entry::new("ports", spec(two)).behind(8080, three()),
        Entry::new("sticky", affinity(10_800)).behind(8080, three()),
        Entry::new("sticky-minute", affinity(60)).behind(8080, vec![remote("10.244.1.2")]),
        Entry::new("none", json!({})),
        Entry::new("halves", spec(vec![port("a", 1, "TCP"), port("b", 2, "TCP")])).behind_ports(
            vec![json!({"name": "a", "protocol": "TCP", "port": 11})],
            vec![remote("10.244.1.3")],
        ),
        Entry::new("twice", json!({}))
            .behind(8080, vec![remote("10.244.0.102"), remote("10.244.1.4")])
            .behind(8080, vec![local("10.244.0.102")]),
    ]
}

fn outside() -> Vec<Entry> {
    let two = || vec![remote("10.244.1.11"), local("10.244.0.111")];
    let balancer = |more: Value| {
        let mut spec = json!({"type": "LoadBalancer"});
        integration::agent_config::overlay(&mut spec, &more);
        spec
    };
    let ip = |address: &str| json!([{"ip": address}]);
    let ranges = json!(["203.0.113.0/25", " 198.51.100.7/32", "2001:db8:7::/64"]);
    let external = |policy: &str| {
        json!({"externalIPs": ["192.0.2.77", "192.0.2.78"],
        "type": "NodePort", "externalTrafficPolicy": policy})
    };
    let udp = json!({"type": "NodePort", "ports": [port("u", 69, "UDP")]});
    let everything = balancer(json!({"externalIPs": ["192.0.2.90"],
        "loadBalancerSourceRanges": ranges}));
    vec![
        Entry::new("node-port", json!({"type": "NodePort"})).behind(8080, two()),
        Entry::new("node-port-udp", udp).behind(6969, two()),
        Entry::new("node-port-none", json!({"type": "NodePort"})),
        Entry::new("external", external("Cluster")).behind(8080, two()),
        Entry::new("external-local", external("Local")).behind(8080, two()),
        Entry::new("external-only", json!({"externalIPs": ["192.0.2.79"]})).behind(8080, two()),
        Entry::new("external-none", external("Cluster")),
        Entry::new("balancer", balancer(json!({})))
            .with_ingress(ip("192.0.2.10"))
            .behind(8080, two()),
        Entry::new("balancer-waiting", balancer(json!({}))).behind(8080, two()),
        Entry::new("balancer-none", balancer(json!({}))).with_ingress(ip("192.0.2.11")),
        Entry::new("balancer-modes", balancer(json!({})))
            .with_ingress(json!([
                {"ip": "192.0.2.12", "ipMode": "VIP"},
                {"ip": "192.0.2.13", "ipMode": "Proxy"},
                {"hostname": "balancer.example"},
            ]))
            .behind(8080, two()),
        Entry::new("ranges", balancer(json!({"loadBalancerSourceRanges": ranges})))
            .with_ingress(ip("192.0.2.14"))
            .behind(8080, two()),
        Entry::new(
            "ranges-of-node",
            balancer(json!({"loadBalancerSourceRanges": ["172.30.0.0/24"]})),
        )
        .with_ingress(ip("192.0.2.18"))
        .behind(8080, two()),
        Entry::new("ranges-none", balancer(json!({"loadBalancerSourceRanges": ranges})))
            .with_ingress(ip("192.0.2.15")),
        Entry::new("no-node-ports", balancer(json!({"allocateLoadBalancerNodePorts": false})))
            .with_ingress(ip("192.0.2.16"))
            .behind(8080, two()),
        Entry::new("everything", everything).with_ingress(ip("192.0.2.17")).behind(8080, two()),
    ]
}

fn policies() -> Vec<Entry> {
    let near = || local("10.244.0.121");
    let far = || remote("10.244.1.21");
    let internal = || json!({"internalTrafficPolicy": "Local"});
    let external = |kind: &str| json!({"type": kind, "externalTrafficPolicy": "Local"});
    let both = json!({"type": "NodePort", "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local"});
    let ranged = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": ["203.0.113.0/24"]});
    let sticky = json!({"type": "NodePort", "externalTrafficPolicy": "Local",
        "sessionAffinity": "ClientIP"});
    let ip = |address: &str| json!([{"ip": address}]);
    vec![
        Entry::new("internal", internal()).behind(8080, vec![near(), far()]),
        Entry::new("internal-far", internal()).behind(8080, vec![far()]),
        Entry::new("internal-none", internal()),
        Entry::new("local", external("NodePort")).behind(8080, vec![near(), far()]),
        Entry::new("local-far", external("NodePort")).behind(8080, vec![far()]),
        Entry::new("local-near", external("NodePort")).behind(8080, vec![near()]),
        Entry::new("local-sticky", sticky).behind(8080, vec![near(), far()]),
        Entry::new("local-both", both.clone()).behind(8080, vec![near(), far()]),
        Entry::new("local-both-far", both).behind(8080, vec![far()]),
        Entry::new("checked", external("LoadBalancer"))
            .with_ingress(ip("192.0.2.30"))
            .behind(8080, vec![near(), far()]),
        Entry::new("checked-far", external("LoadBalancer"))
            .with_ingress(ip("192.0.2.31"))
            .behind(8080, vec![far()]),
        Entry::new("checked-none", external("LoadBalancer")).with_ingress(ip("192.0.2.32")),
        Entry::new("checked-ranges", ranged)
            .with_ingress(ip("192.0.2.33"))
            .behind(8080, vec![near(), far()]),
    ]
}

fn families() -> Vec<Entry> {
    let near = || vec![local("10.244.0.131"), remote("10.244.1.31")];
    let near_v6 = || vec![local("fd00:244::131"), remote("fd00:244:0:1::31")];
    let dual = |more: Value| {
        let mut spec =
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]});
        integration::agent_config::overlay(&mut spec, &more);
        spec
    };
    let six = json!({"ipFamilies": ["IPv6"], "type": "NodePort", "sessionAffinity": "ClientIP"});
    let balancer = json!({
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": ["203.0.113.0/24", "2001:db8:1::/48"],
        "externalIPs": ["192.0.2.130", "2001:db8:99::1"],
    });
    let ingress = json!([{"ip": "192.0.2.40"}, {"ip": "2001:db8:40::1"}]);
    vec![
        Entry::new("six", six).behind(8080, near_v6()),
        Entry::new("dual", dual(json!({}))).behind(8080, near()).behind(8080, near_v6()),
        Entry::new("dual-half", dual(json!({"type": "NodePort"}))).behind(8080, near()),
        Entry::new("dual-balancer", dual(balancer))
            .with_ingress(ingress)
            .behind(8080, near())
            .behind(8080, near_v6()),
        Entry::new("mixed-ingress", json!({"type": "LoadBalancer"}))
            .with_ingress(json!([{"ip": "2001:db8:40::2"}, {"ip": "192.0.2.41"}]))
            .behind(8080, near()),
    ]
}

fn conditions() -> Vec<Entry> {
    let near = |host: u8| local(&format!("10.244.0.{host}"));
    let far = |host: u8| remote(&format!("10.244.1.{host}"));
    let local = || json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
    let other = "zone-b";
    vec![
        Entry::new("not-ready", json!({})).behind(8080, vec![but(far(1), Unready::Starting)]),
        Entry::new("ending", json!({}))
            .behind(8080, vec![but(far(2), Unready::Ending), but(far(3), Unready::Ended)]),
        Entry::new("ending-some", json!({}))
            .behind(8080, vec![but(far(4), Unready::Ending), far(5)]),
        Entry::new("ending-near", local())
            .behind(8080, vec![but(near(141), Unready::Ending), far(6)]),
        Entry::new("ending-near-some", local())
            .behind(8080, vec![but(near(142), Unready::Ending), near(143)]),
        Entry::new("ending-all", local())
            .behind(8080, vec![but(near(144), Unready::Ending), but(far(7), Unready::Ending)]),
        Entry::new("zones", json!({}))
            .behind(8080, vec![for_zone(far(8), ZONE), for_zone(far(9), other)]),
        Entry::new("zones-not-ours", json!({})).behind(8080, vec![for_zone(far(12), other)]),
        Entry::new("zones-missing", json!({})).behind(8080, vec![for_zone(far(13), ZONE), far(14)]),
        Entry::new("zones-ending", json!({})).behind(
            8080,
            vec![but(for_zone(far(15), other), Unready::Ending), for_zone(far(16), ZONE)],
        ),
        Entry::new("zones-local", local())
            .behind(8080, vec![for_zone(near(145), other), for_zone(far(17), ZONE)]),
        Entry::new("nodes", json!({})).behind(
            8080,
            vec![for_node(near(146), ZONE, NODE), for_node(far(18), ZONE, "elsewhere")],
        ),
        Entry::new("nodes-not-ours", json!({})).behind(
            8080,
            vec![for_node(far(19), ZONE, "elsewhere"), for_node(far(20), other, "elsewhere")],
        ),
    ]
}

/// What no proxy writes a rule for, and what only looks like it.
fn left_alone() -> Vec<Entry> {
    let one = || vec![remote("10.244.1.90")];
    let name = json!({"type": "ExternalName", "externalName": "somewhere.example"});
    vec![
        Entry::new("headless", json!({"clusterIP": "None"})).behind(8080, one()),
        Entry::new("name-only", name),
        Entry::new("foreign", json!({}))
            .labelled("service.kubernetes.io/service-proxy-name", "other")
            .behind(8080, one()),
        Entry::new("called-headless", json!({}))
            .labelled("service.kubernetes.io/headless", "")
            .behind(8080, one()),
        Entry::new("slice-headless", json!({}))
            .behind(8080, one())
            .slice_labelled("service.kubernetes.io/headless", ""),
        Entry::new("slice-foreign", json!({}))
            .behind(8080, one())
            .slice_labelled("service.kubernetes.io/service-proxy-name", "other"),
    ]
}

/// A Service with more endpoints than the 1000 from which comments are left out (v1.36).
pub fn large() -> Entry {
    let many = |third: u8, count: u16| {
        (1..=count)
            .map(|host| {
                remote(&format!("10.244.{}.{}", third + (host / 250) as u8, host % 250 + 1))
            })
            .collect()
    };
    Entry::new("large", json!({})).behind(8080, many(10, 600)).behind(8080, many(20, 500))
}

/// A Service with one endpoint, by whose rules a test sees that all before it has arrived; and the
/// address of that endpoint.
pub fn mark(number: u8) -> (Entry, String) {
    let address = format!("10.244.200.{number}");
    let name = format!("mark-{number}");
    (Entry::new(&name, json!({})).behind(8080, vec![remote(&address)]), address)
}
