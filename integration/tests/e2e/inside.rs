//! What a container sees: names, environment, volumes, credentials.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use integration::agent_config::CLUSTER_DNS;
use integration::netns::CONTROL_PLANE;
use integration::node::Node;
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::{TestContext, in_pod, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        resolver_follows_the_dns_policy,
        hosts_file_has_the_pod_and_its_aliases,
        environment_has_values_references_and_services,
        service_account_token_opens_the_api,
        volumes_are_shared_as_asked,
        pod_on_the_nodes_network_has_the_nodes_name_and_address,
        config_maps_and_secrets_are_variables_and_files,
        security_context_is_what_the_process_gets,
    ]
}

/// What a pod test needs.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        Ok(Self {
            cluster: context.cluster().await?,
            node: context.shared_node().await?,
            namespace: context.namespace().await?,
        })
    }

    /// A running pod that takes commands, changed by `change` before its creation.
    async fn run(&self, name: &str, change: impl FnOnce(&mut Value)) -> Result<Value> {
        let mut pod = services::server_pod(&self.namespace, name, self.node.name(), name);
        change(&mut pod);
        pods::run(&self.cluster, &pod, LIMIT).await
    }
}

async fn resolver_follows_the_dns_policy(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let namespace = &fixture.namespace;
    let cluster_search =
        format!("search {namespace}.svc.cluster.local svc.cluster.local cluster.local");
    let cases = [
        (
            "cluster",
            json!({}),
            vec![
                cluster_search.clone(),
                format!("nameserver {CLUSTER_DNS}"),
                "options ndots:5".into(),
            ],
        ),
        ("node", json!({"dnsPolicy": "Default"}), vec![format!("nameserver {CONTROL_PLANE}")]),
        (
            "own",
            json!({"dnsPolicy": "None", "dnsConfig": {
                "nameservers": ["192.0.2.7"],
                "searches": ["a.test", "b.test"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
            }}),
            vec![
                "search a.test b.test".into(),
                "nameserver 192.0.2.7".into(),
                "options ndots:2 edns0".into(),
            ],
        ),
        (
            "both",
            json!({"dnsConfig": {"searches": ["more.test"], "nameservers": ["192.0.2.8"]}}),
            vec![
                format!("{cluster_search} more.test"),
                format!("nameserver {CLUSTER_DNS}"),
                "nameserver 192.0.2.8".into(),
                "options ndots:5".into(),
            ],
        ),
    ];
    let checks = cases.into_iter().map(|(name, fields, expected)| {
        let fixture = &fixture;
        async move {
            let pod = fixture.run(name, |pod| merge(&mut pod["spec"], &fields)).await?;
            let text = in_pod::shell(&pod, "cat /etc/resolv.conf").await?;
            let lines: Vec<&str> = text.lines().collect();
            ensure!(lines == expected, "{name}: {lines:?} instead of {expected:?}");
            Ok(())
        }
    });
    futures::future::try_join_all(checks).await.map(drop)
}

fn merge(target: &mut Value, fields: &Value) {
    integration::agent_config::overlay(target, fields);
}

async fn hosts_file_has_the_pod_and_its_aliases(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let plain = fixture.run("plain", |_| {});
    let named = fixture.run("named", |pod| {
        pod["spec"]["hostname"] = "front".into();
        pod["spec"]["subdomain"] = "shop".into();
        pod["spec"]["hostAliases"] =
            json!([{"ip": "192.0.2.9", "hostnames": ["old.test", "older.test"]}]);
    });
    let (plain, named) = futures::try_join!(plain, named)?;
    let full = format!("front.shop.{}.svc.cluster.local", fixture.namespace);
    for (pod, expected) in [
        (&plain, vec![("localhost", "127.0.0.1"), ("plain", ip(&plain)?)]),
        (
            &named,
            vec![
                ("localhost", "127.0.0.1"),
                ("front", ip(&named)?),
                (&full, ip(&named)?),
                ("old.test", "192.0.2.9"),
                ("older.test", "192.0.2.9"),
            ],
        ),
    ] {
        let text = in_pod::shell(pod, "cat /etc/hosts").await?;
        ensure!(text.starts_with("# Kubernetes-managed hosts file"), "{text}");
        for (name, address) in expected {
            ensure!(
                text.lines().any(|line| {
                    let mut words = line.split_whitespace();
                    words.next() == Some(address) && words.any(|word| word == name)
                }),
                "no {name} at {address}: {text}"
            );
        }
    }
    ensure!(in_pod::shell(&plain, "hostname").await?.trim() == "plain");
    ensure!(in_pod::shell(&named, "hostname").await?.trim() == "front");
    ensure!(in_pod::shell(&named, "hostname -f").await?.trim() == full);
    Ok(())
}

fn ip(pod: &Value) -> Result<&str> {
    pod["status"]["podIP"].as_str().context("no podIP")
}

async fn environment_has_values_references_and_services(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let service = services::service(&fixture.namespace, "web-shop", "any", "ClusterIP");
    let service = fixture.cluster.create(&service).await?;
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let resource = |name: &str, divisor: &str| json!({"resourceFieldRef": {"resource": name, "divisor": divisor}});
    let pod = fixture
        .run("a", |pod| {
            pod["metadata"]["labels"]["tier"] = "front".into();
            pod["metadata"]["annotations"] = json!({"noded.test/note": "two words"});
            let container = &mut pod["spec"]["containers"][0];
            container["resources"] = json!({
                "requests": {"cpu": "10m", "memory": "16Mi"},
                "limits": {"cpu": "1500m", "memory": "64Mi"},
            });
            container["env"] = json!([
                {"name": "PLAIN", "value": "plain"},
                {"name": "EXPANDED", "value": "<$(PLAIN)|$(LATER)|$$(PLAIN)|$(NONE)>"},
                {"name": "LATER", "value": "later"},
                {"name": "POD_NAME", "valueFrom": field("metadata.name")},
                {"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")},
                {"name": "POD_UID", "valueFrom": field("metadata.uid")},
                {"name": "POD_LABEL", "valueFrom": field("metadata.labels['tier']")},
                {"name": "POD_NOTE", "valueFrom": field("metadata.annotations['noded.test/note']")},
                {"name": "NODE_NAME", "valueFrom": field("spec.nodeName")},
                {"name": "ACCOUNT", "valueFrom": field("spec.serviceAccountName")},
                {"name": "HOST_IP", "valueFrom": field("status.hostIP")},
                {"name": "POD_IP", "valueFrom": field("status.podIP")},
                {"name": "POD_IPS", "valueFrom": field("status.podIPs")},
                {"name": "CPU_LIMIT", "valueFrom": resource("limits.cpu", "0")},
                {"name": "CPU_MILLIS", "valueFrom": resource("limits.cpu", "1m")},
                {"name": "MEMORY_MIB", "valueFrom": resource("requests.memory", "1Mi")},
                {"name": "MEMORY_LIMIT", "valueFrom": resource("limits.memory", "0")},
                {"name": "WEB_VIA_SERVICE", "value": "http://$(WEB_SHOP_SERVICE_HOST)/"},
            ]);
        })
        .await?;
    let text = in_pod::shell(&pod, "env").await?;
    let address = service["spec"]["clusterIP"].as_str().context("no clusterIP")?;
    let node_ip = fixture.node.place().v4().to_string();
    let expected = [
        ("PLAIN", "plain"),
        ("EXPANDED", "<plain|$(LATER)|$(PLAIN)|$(NONE)>"),
        ("POD_NAME", "a"),
        ("POD_NAMESPACE", &fixture.namespace),
        ("POD_UID", pods::uid(&pod)?),
        ("POD_LABEL", "front"),
        ("POD_NOTE", "two words"),
        ("NODE_NAME", fixture.node.name()),
        ("ACCOUNT", "default"),
        ("HOST_IP", &node_ip),
        ("POD_IP", ip(&pod)?),
        ("POD_IPS", ip(&pod)?),
        ("CPU_LIMIT", "2"),
        ("CPU_MILLIS", "1500"),
        ("MEMORY_MIB", "16"),
        ("MEMORY_LIMIT", "67108864"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("KUBERNETES_SERVICE_PORT", "443"),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
        ("KUBERNETES_PORT", "tcp://10.96.0.1:443"),
        ("WEB_SHOP_SERVICE_HOST", address),
        ("WEB_SHOP_SERVICE_PORT", "80"),
        ("WEB_SHOP_SERVICE_PORT_HTTP", "80"),
        ("WEB_SHOP_PORT_80_UDP_PROTO", "udp"),
        ("WEB_SHOP_PORT_80_TCP_ADDR", address),
        ("WEB_VIA_SERVICE", &format!("http://{address}/")),
    ];
    for (name, value) in expected {
        let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        ensure!(found == Some(value), "{name}: {found:?} instead of {value:?} in\n{text}");
    }

    let without = fixture.run("b", |pod| pod["spec"]["enableServiceLinks"] = false.into()).await?;
    let text = in_pod::shell(&without, "env").await?;
    ensure!(!text.contains("WEB_SHOP") && text.contains("KUBERNETES_SERVICE_HOST="), "{text}");
    Ok(())
}

async fn service_account_token_opens_the_api(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let pod = fixture.run("a", |_| {}).await?;
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let read = |file: &str| {
        let command = format!("cat {folder}/{file}");
        let pod = &pod;
        async move { in_pod::shell(pod, &command).await }
    };
    ensure!(read("namespace").await? == fixture.namespace);
    let authority = fs::read_to_string(fixture.cluster.pki().file("ca.crt"))?;
    ensure!(read("ca.crt").await?.trim() == authority.trim());
    let token = read("token").await?;
    let claims = token.split('.').nth(1).context("no claims in the token")?;
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?;
    ensure!(claims["kubernetes.io"]["pod"]["uid"] == pods::uid(&pod)?, "{claims}");
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = fixture.cluster.client().create_at(path, &review).await?;
    let user = format!("system:serviceaccount:{}:default", fixture.namespace);
    ensure!(answer["status"]["user"]["username"] == user.as_str(), "{}", answer["status"]);
    // Files of a volume that changes are swapped as a whole, through links.
    let link = in_pod::shell(&pod, &format!("readlink {folder}/token")).await?;
    ensure!(link.trim() == "..data/token", "token is {link}");
    let mount = in_pod::shell(&pod, &format!("grep ' {folder} ' /proc/mounts"))
        .await
        .or(in_pod::shell(&pod, "grep serviceaccount /proc/mounts").await)?;
    ensure!(mount.contains(" tmpfs ro"), "mount: {mount}");
    Ok(())
}

async fn volumes_are_shared_as_asked(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let host = fixture.node.directory().join(format!("shared-{}", fixture.namespace));
    fs::create_dir_all(&host)?;
    fs::write(host.join("from-node"), "from the node")?;
    let pod = fixture
        .run("a", |pod| {
            let mounts = json!([
                {"name": "disk", "mountPath": "/disk"},
                {"name": "memory", "mountPath": "/memory"},
                {"name": "host", "mountPath": "/host"},
                {"name": "host", "mountPath": "/frozen", "readOnly": true},
            ]);
            pod["spec"]["volumes"] = json!([
                {"name": "disk", "emptyDir": {}},
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
                {"name": "host", "hostPath": {"path": host, "type": "Directory"}},
            ]);
            let writer = json!({
                "name": "writer",
                "image": integration::real_runtime::BUSYBOX_IMAGE,
                "command": ["/bin/sh", "-c",
                    "echo from the neighbour > /disk/note; echo from the pod > /host/from-pod; \
                     exec sleep 600"],
                "volumeMounts": mounts,
            });
            let containers = &mut pod["spec"]["containers"];
            containers[0]["volumeMounts"] = mounts;
            containers.as_array_mut().into_iter().for_each(|list| list.push(writer.clone()));
        })
        .await?;
    let command = "until test -s /disk/note; do sleep 0.1; done; cat /disk/note";
    ensure!(in_pod::shell(&pod, command).await? == "from the neighbour\n");
    ensure!(in_pod::shell(&pod, "cat /host/from-node").await? == "from the node");
    let command = "until test -s /host/from-pod; do sleep 0.1; done";
    in_pod::shell(&pod, command).await?;
    ensure!(fs::read_to_string(host.join("from-pod"))? == "from the pod\n");
    let mounts = in_pod::shell(&pod, "cat /proc/mounts").await?;
    let options = |path: &str| {
        mounts
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(path))
            .with_context(|| format!("{path} is no mount: {mounts}"))
    };
    ensure!(options("/memory")?.starts_with("tmpfs "), "{}", options("/memory")?);
    ensure!(options("/memory")?.contains("size=8192k"), "{}", options("/memory")?);
    ensure!(options("/frozen")?.contains(" ro,"), "{}", options("/frozen")?);
    let mode = in_pod::shell(&pod, "stat -c %a /disk").await?;
    ensure!(mode.trim() == "777", "mode of an emptyDir: {mode}");
    Ok(())
}

async fn pod_on_the_nodes_network_has_the_nodes_name_and_address(
    context: Arc<TestContext>,
) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let pod = fixture
        .run("a", |pod| {
            pod["spec"]["hostNetwork"] = true.into();
            pod["spec"]["dnsPolicy"] = "ClusterFirstWithHostNet".into();
        })
        .await?;
    ensure!(pod["status"]["podIP"] == pod["status"]["hostIP"], "{}", pod["status"]);
    ensure!(ip(&pod)? == fixture.node.place().v4().to_string());
    ensure!(in_pod::shell(&pod, "hostname").await?.trim() == fixture.node.name());
    let text = in_pod::shell(&pod, "cat /etc/resolv.conf").await?;
    ensure!(text.contains(&format!("nameserver {CLUSTER_DNS}")), "{text}");
    let text = in_pod::shell(&pod, "cat /etc/hosts").await?;
    ensure!(text.contains("localhost") && !text.contains(&format!("{}\ta", ip(&pod)?)), "{text}");
    Ok(())
}

async fn config_maps_and_secrets_are_variables_and_files(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let object = |kind: &str, field: &str, value: &str| {
        json!({
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": "settings", "namespace": fixture.namespace},
            field: {"color": value, "other": "x"},
        })
    };
    fixture.cluster.create(&object("ConfigMap", "data", "green")).await?;
    fixture.cluster.create(&object("Secret", "stringData", "hidden")).await?;
    let pod = fixture
        .run("a", |pod| {
            let key = json!({"name": "settings", "key": "color"});
            pod["spec"]["volumes"] = json!([
                {"name": "plain", "configMap": {"name": "settings"}},
                {"name": "secret", "secret": {"secretName": "settings", "defaultMode": 0o400}},
            ]);
            let container = &mut pod["spec"]["containers"][0];
            container["env"] = json!([
                {"name": "PLAIN", "valueFrom": {"configMapKeyRef": key}},
                {"name": "SECRET", "valueFrom": {"secretKeyRef": key}},
            ]);
            container["envFrom"] =
                json!([{"prefix": "ALL_", "configMapRef": {"name": "settings"}}]);
            container["volumeMounts"] = json!([
                {"name": "plain", "mountPath": "/plain"},
                {"name": "secret", "mountPath": "/secret"},
            ]);
        })
        .await?;
    let read = |command: &'static str| in_pod::shell(&pod, command);
    ensure!(read("echo $PLAIN $SECRET $ALL_other").await?.trim() == "green hidden x");
    ensure!(read("cat /plain/color /secret/color").await? == "greenhidden");
    ensure!(read("stat -L -c %a /secret/color").await?.trim() == "400");
    ensure!(read("touch /plain/new").await.is_err(), "the volume can be written to");
    Ok(())
}

async fn security_context_is_what_the_process_gets(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let pod = fixture
        .run("a", |pod| {
            pod["spec"]["securityContext"] = json!({
                "runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456,
                "supplementalGroups": [4567], "runAsNonRoot": true,
            });
            pod["spec"]["volumes"] = json!([{"name": "disk", "emptyDir": {}}]);
            let container = &mut pod["spec"]["containers"][0];
            container["securityContext"] = json!({
                "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            });
            container["volumeMounts"] = json!([{"name": "disk", "mountPath": "/disk"}]);
        })
        .await?;
    let ids = in_pod::shell(&pod, "id -u; id -g; id -G").await?;
    let mut lines = ids.lines();
    ensure!(lines.next() == Some("1234") && lines.next() == Some("2345"), "{ids}");
    let groups: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    ensure!(groups.contains(&"3456") && groups.contains(&"4567"), "{ids}");
    ensure!(in_pod::shell(&pod, "touch /new").await.is_err(), "the root can be written to");
    let owner = in_pod::shell(&pod, "touch /disk/new; stat -c %g /disk /disk/new").await?;
    ensure!(owner == "3456\n3456\n", "{owner}");
    let status = in_pod::shell(&pod, "cat /proc/1/status").await?;
    for (name, value) in [("CapEff", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")] {
        let line = format!("{name}:\t{value}");
        ensure!(status.lines().any(|found| found == line), "no {line}: {status}");
    }
    Ok(())
}
