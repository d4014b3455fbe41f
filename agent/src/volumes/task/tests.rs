mod hanging;
mod sub_paths;

use super::*;
use crate::boundary::ApiError;
use crate::config::Limits;
use crate::events::{EventsHandle, EventsTask};
use crate::metrics::VolumeMetrics;
use crate::model::Pod;
use crate::node::NodeView;
use crate::objects;
use crate::podexec::fixtures::{node_facts, pod};
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_host::{FakeMachine, FakeMounter};
use crate::volumes::{VolumeError, VolumeThreads};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

mod fresh;
mod kills;

struct Node {
    root: tempfile::TempDir,
    desired: watch::Sender<Arc<DesiredPods>>,
    api: FakeApi,
    mounter: Arc<FakeMounter>,
    machine: Arc<FakeMachine>,
    view: watch::Sender<NodeView>,
}

impl Node {
    fn new() -> Self {
        let api = FakeApi::new("n1");
        let root = tempfile::tempdir().unwrap();
        let view = watch::Sender::new(NodeView::unknown("n1"));
        let desired = watch::Sender::default();
        Self { root, desired, view, api, mounter: Arc::default(), machine: Arc::default() }
    }

    /// Makes these the pods that the node is to run.
    fn want(&self, pods: &[&Pod]) {
        let pods = pods.iter().map(|pod| (pod.uid().clone(), (*pod).clone())).collect();
        self.desired.send_replace(Arc::new(DesiredPods { pods, ..Default::default() }));
    }

    /// Events that are written to the API at once.
    fn events(&self) -> EventsHandle {
        let limits = Limits { event_qps: 0, event_burst: 0, registry_qps: 0, registry_burst: 0 };
        let (events, task) = EventsTask::new(Arc::new(self.api.clone()), "n1", &limits);
        tokio::spawn(task.run());
        events
    }

    /// Starts the slice, as a new process would.
    fn start(&self) -> VolumesHandle {
        let (objects, objects_task, changed) = objects::new(Arc::new(self.api.clone()));
        tokio::spawn(objects_task.run());
        let (volumes, task) = new(self.deps(objects), changed);
        tokio::spawn(task.run(self.desired.subscribe()));
        volumes
    }

    /// A noded that makes volumes and ends before anything changes: nothing in it refreshes them.
    fn earlier(&self) -> VolumesHandle {
        let (objects, objects_task, changed) = objects::new(Arc::new(self.api.clone()));
        tokio::spawn(objects_task.run());
        new(self.deps(objects), changed).0
    }

    fn deps(&self, objects: objects::ObjectsHandle) -> VolumesDeps {
        VolumesDeps {
            root_dir: self.root.path().to_owned(),
            mounter: self.mounter.clone(),
            api: Arc::new(self.api.clone()),
            objects,
            machine: self.machine.clone(),
            node: Arc::new(node_facts()),
            threads: VolumeThreads::on(tokio::runtime::Handle::current()),
            view: self.view.subscribe(),
            events: self.events(),
            metrics: VolumeMetrics::default(),
        }
    }

    fn put_root_ca(&self, text: &str) {
        let object = json!({"metadata": {"namespace": "ns", "name": "kube-root-ca.crt"},
            "data": {"ca.crt": text}});
        self.api.put_config_map(serde_json::from_value(object).unwrap());
    }

    fn count(&self, call: &str) -> usize {
        self.api.calls().iter().filter(|line| line.starts_with(call)).count()
    }

    fn volume(&self, plugin: &str, name: &str) -> PathBuf {
        let plugin = format!("kubernetes.io~{plugin}");
        self.root.path().join("pods/uid-1/volumes").join(plugin).join(name)
    }
}

fn kube_api_access() -> Value {
    json!({"name": "access", "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt",
            "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]}})
}

fn pod_with(uid: &str, volumes: &[Value]) -> Pod {
    let mount = |volume: &Value| json!({"name": volume["name"], "mountPath": volume["name"]});
    let mounts: Vec<Value> = volumes.iter().map(mount).collect();
    pod(json!({"metadata": {"uid": uid}, "spec": {
        "securityContext": {"fsGroup": 9}, "serviceAccountName": "app",
        "containers": [{"name": "main", "volumeMounts": mounts}], "volumes": volumes,
    }}))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_kind_is_made_where_the_kubelet_makes_it() {
    let node = Node::new();
    node.put_root_ca("CA");
    let volumes = node.start();
    let pod = pod_with(
        "uid-1",
        &[
            kube_api_access(),
            json!({"name": "cache", "emptyDir": {}}),
            json!({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
            json!({"name": "host", "hostPath": {"path": "/dev/null", "type": "CharDevice"}}),
        ],
    );
    let mounted = volumes.ensure_mounted(&pod).await.unwrap();
    let paths: Vec<(&str, &Path, bool)> =
        mounted.iter().map(|(name, v)| (name, v.host_path.as_path(), v.read_only)).collect();
    let (access, cache) = (node.volume("projected", "access"), node.volume("empty-dir", "cache"));
    let shm = node.volume("empty-dir", "shm");
    assert_eq!(
        paths,
        [
            ("access", access.as_path(), true),
            ("cache", cache.as_path(), false),
            ("host", Path::new("/dev/null"), false),
            ("shm", shm.as_path(), false),
        ]
    );
    assert_eq!(read(access.join("token")), "token-of-ns-app");
    assert_eq!(read(access.join("ca.crt")), "CA");
    assert_eq!(read(access.join("namespace")), "ns");
    let token = fs::metadata(access.join("token")).unwrap();
    assert_eq!((token.mode() & 0o7777, token.gid()), (0o640, 9));
    let cache = fs::metadata(cache).unwrap();
    assert_eq!((cache.mode() & 0o7777, cache.gid()), (0o2777, 9));
    let mounts = node.mounter.take_calls();
    let tmpfs: Vec<&String> = mounts.iter().filter(|c| c.starts_with("mount_tmpfs")).collect();
    assert_eq!(tmpfs.len(), 2, "{mounts:?}");
}

#[tokio::test(start_paused = true)]
async fn asking_again_costs_nothing() {
    let node = Node::new();
    node.put_root_ca("CA");
    let volumes = node.start();
    let pod = pod_with("uid-1", &[kube_api_access()]);
    volumes.ensure_mounted(&pod).await.unwrap();
    let (calls, _) = (node.api.calls().len(), node.mounter.take_calls());
    volumes.ensure_mounted(&pod).await.unwrap();
    assert_eq!(node.api.calls().len(), calls);
    assert_eq!(node.mounter.take_calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn second_pod_of_a_namespace_asks_for_its_token_only() {
    let node = Node::new();
    node.put_root_ca("CA");
    let volumes = node.start();
    volumes.ensure_mounted(&pod_with("uid-1", &[kube_api_access()])).await.unwrap();
    let before = node.api.calls().len();
    volumes.ensure_mounted(&pod_with("uid-2", &[kube_api_access()])).await.unwrap();
    assert_eq!(node.api.calls()[before..], ["request_token ns/app"]);
}

#[tokio::test(start_paused = true)]
async fn failed_volume_is_named_and_tried_again() {
    let node = Node::new();
    let volumes = node.start();
    let pod = pod_with("uid-1", &[kube_api_access(), json!({"name": "cache", "emptyDir": {}})]);
    node.api.fail_next("request_token", ApiError::Unavailable("down".to_owned()));
    let error = volumes.ensure_mounted(&pod).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot set up volumes \"access\"");
    assert_eq!(
        error.event_messages(),
        ["MountVolume.SetUp failed for volume \"access\" : [failed to fetch token: \
          API server is unavailable: down, configmap \"kube-root-ca.crt\" not found]"]
    );
    assert!(node.volume("empty-dir", "cache").is_dir());
    let error = volumes.ensure_mounted(&pod).await.unwrap_err();
    assert_eq!(
        error.event_messages(),
        [
            "MountVolume.SetUp failed for volume \"access\" : configmap \"kube-root-ca.crt\" not found"
        ]
    );
    node.put_root_ca("CA");
    tokio::time::sleep(Duration::from_secs(1)).await;
    volumes.ensure_mounted(&pod).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn changed_config_map_reaches_the_files() {
    let node = Node::new();
    node.put_root_ca("old");
    let volumes = node.start();
    volumes.ensure_mounted(&pod_with("uid-1", &[kube_api_access()])).await.unwrap();
    node.put_root_ca("new");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let access = node.volume("projected", "access");
    assert_eq!(read(access.join("ca.crt")), "new");
    // A deleted object leaves what containers already have.
    node.api.remove_config_map("ns", "kube-root-ca.crt");
    tokio::time::sleep(REFRESH * 2).await;
    assert_eq!(read(access.join("ca.crt")), "new");
}

#[tokio::test(start_paused = true)]
async fn token_is_renewed_in_time_and_kept_while_renewal_fails() {
    let node = Node::new();
    node.put_root_ca("CA");
    let volumes = node.start();
    // The fake's tokens expire then.
    let expiry = jiff::Timestamp::constant(4_102_444_800, 0);
    node.machine.set_now(expiry - Duration::from_secs(3600));
    volumes.ensure_mounted(&pod_with("uid-1", &[kube_api_access()])).await.unwrap();
    tokio::time::sleep(REFRESH * 3).await;
    assert_eq!(node.count("request_token"), 1);
    node.machine.set_now(expiry - Duration::from_secs(700));
    node.api.fail_next("request_token", ApiError::Unavailable("down".to_owned()));
    tokio::time::sleep(REFRESH).await;
    assert_eq!(node.count("request_token"), 2);
    assert_eq!(read(node.volume("projected", "access").join("token")), "token-of-ns-app");
    node.machine.set_now(expiry - Duration::from_secs(640));
    tokio::time::sleep(REFRESH).await;
    assert_eq!(node.count("request_token"), 3);
}

#[tokio::test(start_paused = true)]
async fn changed_labels_reach_downward_files() {
    let node = Node::new();
    let volumes = node.start();
    let items = json!({"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]});
    let volume = json!({"name": "info", "downwardAPI": items});
    let labelled = |value: &str| {
        let plain = pod_with("uid-1", std::slice::from_ref(&volume));
        let mut object = (**plain.object()).clone();
        object.metadata.labels = Some([("a".to_owned(), value.to_owned())].into());
        Pod::new(Arc::new(object), plain.source()).unwrap()
    };
    volumes.ensure_mounted(&labelled("1")).await.unwrap();
    let file = node.volume("downward-api", "info").join("l");
    assert_eq!(read(&file), "a=\"1\"");
    volumes.ensure_mounted(&labelled("2")).await.unwrap();
    assert_eq!(read(&file), "a=\"2\"");
}

#[tokio::test(start_paused = true)]
async fn release_leaves_nothing_and_can_be_repeated() {
    let node = Node::new();
    node.put_root_ca("CA");
    let volumes = node.start();
    let pod = pod_with("uid-1", &[kube_api_access(), json!({"name": "cache", "emptyDir": {}})]);
    volumes.ensure_mounted(&pod).await.unwrap();
    fs::write(node.volume("empty-dir", "cache").join("f"), "x").unwrap();
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), ["uid-1".into()]);
    volumes.release(pod.uid()).await.unwrap();
    volumes.release(pod.uid()).await.unwrap();
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), []);
    let unmounts = node.mounter.take_calls();
    assert_eq!(unmounts.iter().filter(|call| call.starts_with("unmount")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_while_something_foreign_is_mounted() {
    let node = Node::new();
    let volumes = node.start();
    let pod = pod_with("uid-1", &[json!({"name": "cache", "emptyDir": {}})]);
    volumes.ensure_mounted(&pod).await.unwrap();
    let file = node.volume("empty-dir", "cache").join("f");
    fs::write(&file, "x").unwrap();
    let inside = node.volume("empty-dir", "cache").join("disk");
    node.mounter.add_mount(inside.to_str().unwrap(), "ext4");
    let error = volumes.release(pod.uid()).await.unwrap_err();
    assert!(matches!(error, VolumeError::StillMounted(path) if path == inside));
    assert!(file.exists());
}

#[tokio::test(start_paused = true)]
async fn busy_volume_is_released_later() {
    let node = Node::new();
    let volumes = node.start();
    let pod = pod_with("uid-1", &[json!({"name": "shm", "emptyDir": {"medium": "Memory"}})]);
    volumes.ensure_mounted(&pod).await.unwrap();
    node.mounter.fail_next("unmount", std::io::ErrorKind::ResourceBusy);
    let error = volumes.release(pod.uid()).await.unwrap_err();
    assert!(matches!(error, VolumeError::Unmount { .. }));
    assert!(node.volume("empty-dir", "shm").exists());
    volumes.release(pod.uid()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn restart_finds_mounts_and_content_again() {
    let node = Node::new();
    node.put_root_ca("CA");
    let pod = pod_with(
        "uid-1",
        &[
            kube_api_access(),
            json!({"name": "cache", "emptyDir": {}}),
            json!({"name": "shm", "emptyDir": {"medium": "Memory"}}),
        ],
    );
    node.start().ensure_mounted(&pod).await.unwrap();
    let kept = node.volume("empty-dir", "shm").join("f");
    fs::write(&kept, "x").unwrap();
    let generation = fs::read_link(node.volume("projected", "access").join("..data")).unwrap();
    node.mounter.take_calls();

    let volumes = node.start();
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), ["uid-1".into()]);
    volumes.ensure_mounted(&pod).await.unwrap();
    assert_eq!(read(&kept), "x");
    let now = fs::read_link(node.volume("projected", "access").join("..data")).unwrap();
    assert_eq!(now, generation);
    assert!(node.mounter.take_calls().iter().all(|call| call.starts_with("list")));
}

#[tokio::test(start_paused = true)]
async fn pod_files_are_made_beside_the_volumes() {
    let node = Node::new();
    let volumes = node.start();
    let pod = pod_with("uid-1", &[]);
    volumes.ensure_mounted(&pod).await.unwrap();
    let hosts = volumes.write_hosts_file(pod.uid(), "one\n".to_owned()).await.unwrap();
    assert_eq!(hosts, node.root.path().join("pods/uid-1/etc-hosts"));
    let inode = fs::metadata(&hosts).unwrap().ino();
    volumes.write_hosts_file(pod.uid(), "2\n".to_owned()).await.unwrap();
    assert_eq!(read(&hosts), "2\n");
    assert_eq!(fs::metadata(&hosts).unwrap().ino(), inode);
    let log = volumes.create_termination_log(pod.uid(), "main").await.unwrap();
    assert_eq!(log.parent().unwrap(), node.root.path().join("pods/uid-1/containers/main"));
    assert_eq!(log.file_name().unwrap().len(), 8);
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o666);
    let other = volumes.create_termination_log(pod.uid(), "main").await.unwrap();
    assert_ne!(log, other);
    assert!(volumes.create_termination_log(pod.uid(), "../x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn root_directory_may_be_a_link() {
    let mut node = Node::new();
    let place = std::mem::replace(&mut node.root, tempfile::tempdir().unwrap());
    let link = node.root.path().join("link");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let (objects, objects_task, changed) = objects::new(Arc::new(node.api.clone()));
    tokio::spawn(objects_task.run());
    let deps = VolumesDeps { root_dir: link, ..node.deps(objects) };
    let (volumes, _task) = new(deps, changed);
    let pod = pod_with("uid-1", &[json!({"name": "shm", "emptyDir": {"medium": "Memory"}})]);
    let mounted = volumes.ensure_mounted(&pod).await.unwrap();
    let real = place.path().join("pods/uid-1/volumes/kubernetes.io~empty-dir/shm");
    assert_eq!(mounted.get("shm").unwrap().host_path, real);
}
