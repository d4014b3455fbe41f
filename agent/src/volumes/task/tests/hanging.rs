//! A mount that never answers, and the pods beside it.

use super::*;
use crate::volumes::threads::PATIENCE;

fn memory_pod(uid: &str) -> Pod {
    pod_with(uid, &[json!({"name": "shm", "emptyDir": {"medium": "Memory"}})])
}

fn memory_of(node: &Node, uid: &str) -> PathBuf {
    let root = node.root.path().canonicalize().unwrap();
    root.join("pods").join(uid).join("volumes/kubernetes.io~empty-dir/shm")
}

/// Lets everything go on when a test ends, however it ends: its runtime waits for all threads.
struct AtTheEnd(Arc<FakeMounter>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// Lets the others work until `done`. The clock stands still while work goes on.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

/// Starts the removal of a pod and returns when its unmounting hangs.
async fn hang_removal(
    node: &Node,
    volumes: &VolumesHandle,
    pod: &Pod,
) -> tokio::task::JoinHandle<Result<(), VolumeError>> {
    let place = memory_of(node, pod.uid().as_str());
    node.mounter.hang("unmount", &place);
    let (volumes, uid) = (volumes.clone(), pod.uid().clone());
    let removal = tokio::spawn(async move { volumes.release(&uid).await });
    until(|| node.mounter.has_called("unmount", &place)).await;
    removal
}

#[tokio::test(start_paused = true)]
async fn unmount_that_hangs_blocks_no_other_pod() {
    let node = Node::new();
    let _end = AtTheEnd(Arc::clone(&node.mounter));
    let volumes = node.start();
    let (a, b) = (memory_pod("uid-a"), memory_pod("uid-b"));
    volumes.ensure_mounted(&a).await.unwrap();
    let removal = hang_removal(&node, &volumes, &a).await;

    // Set-up and tear-down of the other go on, before and after the first is given up on.
    volumes.ensure_mounted(&b).await.unwrap();
    volumes.release(b.uid()).await.unwrap();
    assert!(!removal.is_finished());
    tokio::time::advance(PATIENCE).await;
    let told = removal.await.unwrap().unwrap_err();
    assert_eq!(told.to_string(), "removing volumes takes too long and still goes on");
    volumes.ensure_mounted(&b).await.unwrap();
    volumes.release(b.uid()).await.unwrap();

    // Nothing of the hanging pod is touched meanwhile, not even to make it anew.
    assert!(matches!(volumes.release(a.uid()).await, Err(VolumeError::Hangs(_))));
    assert!(matches!(volumes.ensure_mounted(&a).await, Err(VolumeError::Hangs(_))));
    assert!(memory_of(&node, "uid-a").exists());

    node.mounter.let_go();
    while volumes.release(a.uid()).await.is_err() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn files_of_others_are_refreshed_while_a_pod_hangs() {
    let node = Node::new();
    let _end = AtTheEnd(Arc::clone(&node.mounter));
    node.put_root_ca("old");
    let volumes = node.start();
    let memory = json!({"name": "shm", "emptyDir": {"medium": "Memory"}});
    let hanging = pod_with("uid-a", &[kube_api_access(), memory]);
    volumes.ensure_mounted(&hanging).await.unwrap();
    volumes.ensure_mounted(&pod_with("uid-1", &[kube_api_access()])).await.unwrap();
    let _removal = hang_removal(&node, &volumes, &hanging).await;
    node.put_root_ca("new");
    let file = node.volume("projected", "access").join("ca.crt");
    until(|| fs::read_to_string(&file).is_ok_and(|text| text == "new")).await;
}

#[tokio::test(start_paused = true)]
async fn change_during_other_work_is_on_disk_afterwards() {
    let node = Node::new();
    let _end = AtTheEnd(Arc::clone(&node.mounter));
    node.put_root_ca("old");
    let volumes = node.start();
    let pod = pod_with("uid-1", &[kube_api_access(), json!({"name": "cache", "emptyDir": {}})]);
    volumes.ensure_mounted(&pod).await.unwrap();
    let root = node.root.path().canonicalize().unwrap();
    let place = root.join("pods/uid-1/volume-subpaths/cache/main/0");
    node.mounter.hang("bind_open", &place);
    let part = crate::volumes::WantedSubPath {
        index: 0,
        volume: "cache".to_owned(),
        path: "a".to_owned(),
    };
    let binding = {
        let volumes = volumes.clone();
        tokio::spawn(async move { volumes.bind_sub_paths(&pod, "main", vec![part]).await })
    };
    until(|| node.mounter.has_called("bind_open", &place)).await;
    node.put_root_ca("new");
    // Long enough for the change to be heard of while the pod is busy.
    tokio::time::advance(Duration::from_secs(1)).await;
    node.mounter.let_go();
    binding.await.unwrap().unwrap();
    let file = node.volume("projected", "access").join("ca.crt");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(read(file), "new");
}
