use super::*;
use crate::volumes::{BoundSubPaths, WantedSubPath};

fn part(index: usize, volume: &str, path: &str) -> WantedSubPath {
    WantedSubPath { index, volume: volume.to_owned(), path: path.to_owned() }
}

fn binds(node: &Node) -> Vec<String> {
    let mut calls = node.mounter.take_calls();
    calls.retain(|call| !call.starts_with("list"));
    calls
}

#[tokio::test(start_paused = true)]
async fn parts_are_bound_once_also_by_the_next_agent_and_go_with_the_pod() {
    let node = Node::new();
    let pod = pod_with(
        "uid-1",
        &[
            json!({"name": "shm", "emptyDir": {"medium": "Memory"}}),
            json!({"name": "disk", "emptyDir": {}}),
        ],
    );
    let wanted = || vec![part(0, "shm", "a"), part(2, "disk", "b/c")];
    let volumes = node.start();
    volumes.ensure_mounted(&pod).await.unwrap();
    let bound = volumes.bind_sub_paths(&pod, "main", wanted()).await.unwrap();
    let dir = node.root.path().join("pods/uid-1/volume-subpaths");
    let places = BoundSubPaths::from([(0, dir.join("shm/main/0")), (2, dir.join("disk/main/2"))]);
    assert_eq!(bound, places);
    assert!(node.volume("empty-dir", "disk").join("b/c").is_dir());
    assert_eq!(binds(&node).len(), 3);
    // Another container has a place of its own.
    let other = volumes.bind_sub_paths(&pod, "other", vec![part(0, "shm", "a")]).await.unwrap();
    assert_eq!(other[&0], dir.join("shm/other/0"));
    assert_eq!(binds(&node).len(), 1);

    let volumes = node.start();
    volumes.ensure_mounted(&pod).await.unwrap();
    assert_eq!(volumes.bind_sub_paths(&pod, "main", wanted()).await.unwrap(), places);
    assert_eq!(binds(&node), Vec::<String>::new());
    volumes.release(pod.uid()).await.unwrap();
    let unmounts = binds(&node);
    assert_eq!(unmounts.len(), 4);
    assert!(unmounts[3].ends_with("kubernetes.io~empty-dir/shm"), "{unmounts:?}");
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_a_container_without_parts() {
    let node = Node::new();
    let volumes = node.start();
    let pod = pod_with("uid-1", &[]);
    assert_eq!(volumes.bind_sub_paths(&pod, "main", vec![]).await.unwrap(), BoundSubPaths::new());
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_bound_for_a_pod_that_is_gone() {
    let node = Node::new();
    let volumes = node.start();
    let pod = pod_with("uid-1", &[json!({"name": "disk", "emptyDir": {}})]);
    volumes.ensure_mounted(&pod).await.unwrap();
    volumes.release(pod.uid()).await.unwrap();
    assert!(volumes.bind_sub_paths(&pod, "main", vec![part(0, "disk", "a")]).await.is_err());
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn foreign_mount_inside_a_part_stops_the_removal() {
    let node = Node::new();
    let volumes = node.start();
    let pod = pod_with("uid-1", &[json!({"name": "disk", "emptyDir": {}})]);
    volumes.ensure_mounted(&pod).await.unwrap();
    let bound = volumes.bind_sub_paths(&pod, "main", vec![part(0, "disk", "a")]).await.unwrap();
    let inside = bound[&0].join("foreign");
    node.mounter.add_mount(inside.to_str().unwrap(), "ext4");
    node.mounter.take_calls();
    let error = volumes.release(pod.uid()).await.unwrap_err();
    assert!(matches!(error, VolumeError::StillMounted(path) if path == inside));
    assert_eq!(binds(&node), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn path_of_an_item_that_leads_out_of_the_volume_is_refused() {
    let node = Node::new();
    let volumes = node.start();
    for path in ["../escaped", "a/../../escaped", "/escaped", "..escaped"] {
        let item = json!({"path": path, "fieldRef": {"fieldPath": "metadata.name"}});
        for volume in [
            json!({"name": "info", "downwardAPI": {"items": [item]}}),
            json!({"name": "info", "projected": {"sources": [{"downwardAPI": {"items": [item]}}]}}),
        ] {
            let pod = pod_with("uid-1", std::slice::from_ref(&volume));
            let error = volumes.ensure_mounted(&pod).await.unwrap_err();
            let message = error.event_messages().join(" ");
            assert!(
                message.starts_with("MountVolume.SetUp failed for volume \"info\""),
                "{path}: {message}"
            );
            volumes.release(pod.uid()).await.unwrap();
        }
    }
    let names: Vec<_> = fs::read_dir(node.root.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
