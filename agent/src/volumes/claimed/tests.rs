use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::config::Limits;
use crate::events::{EventsHandle, EventsTask};
use crate::metrics::VolumeMetrics;
use crate::node::NodeView;
use crate::objects;
use crate::podexec::fixtures::{node_facts, pod};
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_host::{FakeMachine, FakeMounter};
use crate::volumes::{VolumeError, VolumeThreads, VolumesDeps, new};

/// A node with the directory `disk` for a local volume.
struct Node {
    root: tempfile::TempDir,
    disk: tempfile::TempDir,
    api: FakeApi,
    mounter: Arc<FakeMounter>,
    view: watch::Sender<NodeView>,
}

impl Node {
    fn new() -> Self {
        let view = watch::Sender::new(NodeView::unknown("n1"));
        let labels = json!({"metadata": {"name": "n1", "labels": {"zone": "a"}}});
        view.send_modify(|view| {
            view.node = Some(Arc::new(serde_json::from_value(labels).unwrap()))
        });
        let dir = || tempfile::tempdir().unwrap();
        let api = FakeApi::new("n1");
        Self { root: dir(), disk: dir(), api, mounter: Arc::default(), view }
    }

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
        let (volumes, _) = new(
            VolumesDeps {
                root_dir: self.root.path().to_owned(),
                mounter: self.mounter.clone(),
                api: Arc::new(self.api.clone()),
                objects,
                machine: Arc::new(FakeMachine::default()),
                node: Arc::new(node_facts()),
                threads: VolumeThreads::on(tokio::runtime::Handle::current()),
                view: self.view.subscribe(),
                events: self.events(),
                metrics: VolumeMetrics::default(),
            },
            changed,
        );
        volumes
    }

    fn put_claim(&self, phase: &str) {
        self.put_claim_of("c", phase, &json!([]));
    }

    fn put_claim_of(&self, name: &str, phase: &str, owners: &Value) {
        let claim = json!({
            "metadata": {"namespace": "ns", "name": name, "uid": "u-c", "ownerReferences": owners},
            "spec": {"volumeName": "pv-1"},
            "status": {"phase": phase},
        });
        self.api.put_claim(serde_json::from_value(claim).unwrap());
    }

    /// `pv-1`, bound to that claim; `overlay` is laid over its spec.
    fn put_volume(&self, overlay: &Value) {
        let mut spec = json!({"local": {"path": self.disk.path()}, "claimRef": {"uid": "u-c"}});
        for (key, value) in overlay.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let volume = json!({"metadata": {"name": "pv-1"}, "spec": spec});
        self.api.put_persistent_volume(serde_json::from_value(volume).unwrap());
    }

    fn target(&self, uid: &str) -> PathBuf {
        let place = format!("pods/{uid}/volumes/kubernetes.io~local-volume/pv-1");
        self.root.path().canonicalize().unwrap().join(place)
    }

    fn calls(&self) -> Vec<String> {
        let calls = self.mounter.take_calls().into_iter();
        calls.filter(|call| !call.starts_with("list")).collect()
    }
}

fn claiming(uid: &str, overlay: &Value) -> Pod {
    let mut object = json!({"metadata": {"uid": uid}, "spec": {
        "containers": [{"name": "main", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}],
    }});
    for (key, value) in overlay.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    pod(object)
}

fn texts(error: &VolumeError) -> Vec<String> {
    error.event_messages()
}

fn mode_and_group(path: &Path) -> (u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.mode() & 0o7777, meta.gid())
}

#[tokio::test(start_paused = true)]
async fn local_volume_is_mounted_for_the_pod_and_its_data_stays() {
    let node = Node::new();
    fs::write(node.disk.path().join("kept"), "x").unwrap();
    node.put_claim("Bound");
    node.put_volume(&json!({}));
    let volumes = node.start();
    let pod = claiming("uid-1", &json!({}));
    let mounted = volumes.ensure_mounted(&pod).await.unwrap();
    let target = node.target("uid-1");
    let expected =
        MountedVolume { host_path: target.clone(), read_only: false, selinux_relabel: true };
    assert_eq!(mounted.get("data"), Some(&expected));
    assert_eq!(node.calls(), [format!("bind_directory {}", target.display())]);
    let claims = volumes.claims();
    let claim = &claims[pod.uid()][0];
    assert_eq!((claim.volume.as_str(), claim.claim.to_string()), ("data", "ns/c".to_owned()));
    assert_eq!(volumes.counts().mounted["kubernetes.io/local-volume"], 1);

    volumes.release(pod.uid()).await.unwrap();
    assert_eq!(node.calls(), [format!("unmount {}", target.display())]);
    assert!(node.disk.path().join("kept").exists());
    assert!(!target.exists() && volumes.claims().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pod_waits_for_its_claim_and_says_what_for() {
    let node = Node::new();
    let volumes = node.start();
    let pod = claiming("uid-1", &json!({}));
    let prefix = "Unable to attach or mount volumes: unmounted volumes=[data], unattached \
                  volumes=[], failed to process volumes=[data]: error processing PVC ns/c: ";
    let missing = "failed to fetch PVC from API server: persistentvolumeclaims \"c\" not found";
    let unbound = "PVC is not bound";
    let no_volume = "failed to fetch PV pv-1 from API server: persistentvolumes \"pv-1\" not found";
    let error = volumes.ensure_mounted(&pod).await.unwrap_err();
    assert_eq!(texts(&error), [format!("{prefix}{missing}")]);
    node.put_claim("Pending");
    let error = volumes.ensure_mounted(&pod).await.unwrap_err();
    assert_eq!(texts(&error), [format!("{prefix}{unbound}")]);
    node.put_claim("Bound");
    let error = volumes.ensure_mounted(&pod).await.unwrap_err();
    assert_eq!(texts(&error), [format!("{prefix}{no_volume}")]);
    node.put_volume(&json!({}));
    volumes.ensure_mounted(&pod).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn volume_that_cannot_be_mounted_is_named_with_its_claim() {
    let node = Node::new();
    node.put_claim("Bound");
    let volumes = node.start();
    let file = node.disk.path().join("file");
    fs::write(&file, "").unwrap();
    let of_claim = "(volume \"data\", claim ns/c)";
    let elsewhere = json!({"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]}});
    for (overlay, expected) in [
        (
            json!({"local": {"path": "/no/such/disk"}}),
            "MountVolume.NewMounter initialization failed for volume \"pv-1\" : path \
             \"/no/such/disk\" does not exist",
        ),
        (
            json!({"local": {"path": file}}),
            "MountVolume.NewMounter initialization failed for volume \"pv-1\" : only directory and \
             block device are supported",
        ),
        (
            json!({"nodeAffinity": elsewhere}),
            "MountVolume.NodeAffinity check failed for volume \"pv-1\" : no matching \
             NodeSelectorTerms",
        ),
        (
            json!({"local": {"path": "/a/../b"}}),
            "MountVolume.SetUp failed for volume \"pv-1\" : invalid path: /a/../b must not contain \
             '..'",
        ),
        (
            json!({"local": null, "hostPath": {"path": "/no/such/dir", "type": "Directory"}}),
            "MountVolume.SetUp failed for volume \"pv-1\" : hostPath type check failed: \
             /no/such/dir is not a directory",
        ),
    ] {
        node.put_volume(&overlay);
        let error = volumes.ensure_mounted(&claiming("uid-1", &json!({}))).await.unwrap_err();
        assert_eq!(texts(&error), [format!("{expected} {of_claim}")]);
    }
    assert_eq!(node.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn host_path_volume_is_used_as_it_is() {
    let node = Node::new();
    node.put_claim("Bound");
    let path = node.disk.path().join("made");
    node.put_volume(&json!({"local": null,
        "hostPath": {"path": path, "type": "DirectoryOrCreate"}}));
    let volumes = node.start();
    let group = json!({"securityContext": {"fsGroup": 77}, "volumes": [{"name": "data",
        "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}]});
    let mounted = volumes.ensure_mounted(&claiming("uid-1", &group)).await.unwrap();
    let expected =
        MountedVolume { host_path: path.clone(), read_only: true, selinux_relabel: false };
    assert_eq!(mounted.get("data"), Some(&expected));
    assert_ne!(mode_and_group(&path).1, 77);
    assert_eq!(node.calls(), Vec::<String>::new());
    assert!(volumes.claims().is_empty());
    assert_eq!(volumes.counts().mounted["kubernetes.io/host-path"], 1);
}

#[tokio::test(start_paused = true)]
async fn claim_made_for_a_pod_is_for_that_pod_only() {
    let node = Node::new();
    node.put_volume(&json!({}));
    let volumes = node.start();
    let own = json!({"volumes": [{"name": "data",
        "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]});
    let pod = claiming("uid-1", &own);
    node.put_claim_of("web-0-data", "Bound", &json!([]));
    let error = volumes.ensure_mounted(&pod).await.unwrap_err();
    assert!(
        texts(&error)[0].ends_with(
            "failed to process volumes=[data]: PVC ns/web-0-data was not created for pod ns/web-0 \
             (pod is not owner)"
        ),
        "{:?}",
        texts(&error)
    );
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "uid-1",
        "controller": true}]);
    node.put_claim_of("web-0-data", "Bound", &owner);
    let mounted = volumes.ensure_mounted(&pod).await.unwrap();
    assert_eq!(mounted.get("data").unwrap().host_path, node.target("uid-1"));
}

#[tokio::test(start_paused = true)]
async fn read_only_claim_is_restricted_and_not_handed_to_the_group() {
    let node = Node::new();
    node.put_claim("Bound");
    node.put_volume(&json!({"mountOptions": ["noatime"]}));
    let volumes = node.start();
    let overlay = json!({"securityContext": {"fsGroup": 77}, "volumes": [{"name": "data",
        "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}]});
    let mounted = volumes.ensure_mounted(&claiming("uid-1", &overlay)).await.unwrap();
    assert!(mounted.get("data").unwrap().read_only);
    let target = node.target("uid-1");
    let calls = node.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[1].starts_with("restrict") && calls[1].ends_with("[NoAtime, ReadOnly]"));
    assert_ne!(mode_and_group(&target).1, 77);
}

#[tokio::test(start_paused = true)]
async fn restart_mounts_nothing_twice_and_takes_up_what_was_cut_off() {
    let node = Node::new();
    node.put_claim("Bound");
    node.put_volume(&json!({}));
    let grouped = json!({"securityContext": {"fsGroup": 77}});
    let pod = claiming("uid-1", &grouped);
    node.start().ensure_mounted(&pod).await.unwrap();
    let target = node.target("uid-1");
    assert_eq!(mode_and_group(&target), (0o2770, 77));
    node.calls();
    // What a user changes meanwhile stays as it is.
    std::os::unix::fs::chown(&target, None, Some(78)).unwrap();
    node.start().ensure_mounted(&pod).await.unwrap();
    assert_eq!(mode_and_group(&target).1, 78);
    assert_eq!(node.calls(), Vec::<String>::new());
    // Without the note it is not known that the walk came to its end.
    let note = "pods/uid-1/plugins/kubernetes.io~local-volume/pv-1";
    fs::remove_file(node.root.path().join(note)).unwrap();
    node.start().ensure_mounted(&pod).await.unwrap();
    assert_eq!(mode_and_group(&target).1, 77);
    assert_eq!(node.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn volume_of_another_pod_keeps_its_group_and_an_exclusive_one_is_refused() {
    let node = Node::new();
    node.put_claim("Bound");
    node.put_volume(&json!({}));
    let volumes = node.start();
    let grouped = |group: i64| json!({"securityContext": {"fsGroup": group}});
    volumes.ensure_mounted(&claiming("uid-1", &grouped(77))).await.unwrap();
    volumes.ensure_mounted(&claiming("uid-2", &grouped(88))).await.unwrap();
    assert_ne!(mode_and_group(&node.target("uid-2")).1, 88);
    while node.api.events().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let event = node.api.events().remove(0);
    assert_eq!(event.reason.as_deref(), Some("AlreadyMountedVolume"));
    let text = event.message.unwrap_or_default();
    assert!(
        text.starts_with("The requested fsGroup is 88, but the volume pv-1 has GID "),
        "{text}"
    );

    node.put_volume(&json!({"accessModes": ["ReadWriteOncePod"]}));
    let error = volumes.ensure_mounted(&claiming("uid-3", &json!({}))).await.unwrap_err();
    assert_eq!(
        texts(&error),
        ["MountVolume.SetUp failed for volume \"pv-1\" : volume uses the ReadWriteOncePod access \
          mode and is already in use by another pod (volume \"data\", claim ns/c)"]
    );
}
