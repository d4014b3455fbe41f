//! What keeps files fresh: objects, the pod itself, tokens; also after a restart.

use super::*;

fn labelled(base: &Pod, version: u64, value: &str) -> Pod {
    let mut object = (**base.object()).clone();
    object.metadata.labels = Some([("a".to_owned(), value.to_owned())].into());
    object.metadata.resource_version = Some(version.to_string());
    Pod::new(Arc::new(object), base.source()).unwrap()
}

fn labels_volume() -> Value {
    let items = json!({"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]});
    json!({"name": "info", "downwardAPI": items})
}

fn only_token() -> Value {
    json!({"name": "access", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]}})
}

/// Lets everything happen that is due.
async fn moment() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn changed_labels_of_a_running_pod_reach_the_files_at_once() {
    let node = Node::new();
    let volumes = node.start();
    let old = labelled(&pod_with("uid-1", &[labels_volume()]), 1, "1");
    volumes.ensure_mounted(&old).await.unwrap();
    let file = node.volume("downward-api", "info").join("l");
    let new = labelled(&old, 2, "2");
    node.want(&[&new]);
    moment().await;
    assert_eq!(read(&file), "a=\"2\"");
    // A container that is being made still holds the pod as it was.
    volumes.ensure_mounted(&old).await.unwrap();
    moment().await;
    assert_eq!(read(&file), "a=\"2\"");
}

#[tokio::test(start_paused = true)]
async fn news_of_the_status_leave_volumes_alone() {
    let node = Node::new();
    node.put_root_ca("CA");
    let volumes = node.start();
    let pod = pod_with("uid-1", &[kube_api_access()]);
    volumes.ensure_mounted(&pod).await.unwrap();
    node.mounter.take_calls();
    let mut object = (**pod.object()).clone();
    object.status = Some(Default::default());
    node.want(&[&Pod::new(Arc::new(object), pod.source()).unwrap()]);
    moment().await;
    assert_eq!(node.mounter.take_calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn pods_of_an_earlier_noded_are_kept_fresh_without_being_asked() {
    let node = Node::new();
    node.put_root_ca("old");
    node.api.limit_tokens(Duration::from_secs(600));
    let pod = labelled(&pod_with("uid-1", &[kube_api_access(), labels_volume()]), 1, "1");
    node.earlier().ensure_mounted(&pod).await.unwrap();
    let access = node.volume("projected", "access");
    let token = read(access.join("token"));

    let _volumes = node.start();
    node.want(&[&pod]);
    moment().await;
    node.put_root_ca("new");
    moment().await;
    assert_eq!(read(access.join("ca.crt")), "new");
    node.want(&[&labelled(&pod, 2, "2")]);
    moment().await;
    assert_eq!(read(node.volume("downward-api", "info").join("l")), "a=\"2\"");
    assert_eq!(read(access.join("token")), token);
    tokio::time::sleep(Duration::from_secs(500)).await;
    assert_ne!(read(access.join("token")), token);
}

#[tokio::test(start_paused = true)]
async fn pod_without_volumes_on_disk_is_left_to_its_worker() {
    let node = Node::new();
    let volumes = node.start();
    let pod = pod_with("uid-1", &[labels_volume()]);
    node.want(&[&pod]);
    moment().await;
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), []);
    // Nor does the end of a pod bring it back.
    volumes.ensure_mounted(&pod).await.unwrap();
    volumes.release(pod.uid()).await.unwrap();
    node.want(&[&labelled(&pod, 2, "2")]);
    moment().await;
    assert_eq!(volumes.known_pod_dirs().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn one_missing_object_does_not_keep_others_from_being_fresh_after_a_restart() {
    let node = Node::new();
    node.put_root_ca("old");
    let put = |name: &str| {
        let object = json!({"metadata": {"namespace": "ns", "name": name}, "data": {"k": "v"}});
        node.api.put_config_map(serde_json::from_value(object).unwrap());
    };
    put("gone");
    let gone = json!({"name": "gone", "configMap": {"name": "gone"}});
    let pod = pod_with("uid-1", &[kube_api_access(), gone]);
    node.earlier().ensure_mounted(&pod).await.unwrap();
    node.api.remove_config_map("ns", "gone");
    let volumes = node.start();
    node.want(&[&pod]);
    moment().await;
    node.put_root_ca("new");
    moment().await;
    assert_eq!(read(node.volume("projected", "access").join("ca.crt")), "new");
    assert_eq!(read(node.volume("configmap", "gone").join("k")), "v");
    volumes.ensure_mounted(&pod).await.unwrap_err();
    put("gone");
    moment().await;
    volumes.ensure_mounted(&pod).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unchanged_content_is_not_rewritten_across_restarts_and_rounds() {
    let node = Node::new();
    node.put_root_ca("CA");
    node.api.limit_tokens(Duration::from_secs(3600));
    let pod = pod_with("uid-1", &[kube_api_access(), labels_volume()]);
    node.earlier().ensure_mounted(&pod).await.unwrap();
    let generations = || {
        ["projected/access", "downward-api/info"].map(|volume| {
            let (plugin, name) = volume.split_once('/').unwrap();
            let data = node.volume(plugin, name).join("..data");
            let inode = fs::metadata(data.join(".")).unwrap().ino();
            (fs::read_link(data).unwrap(), inode)
        })
    };
    let before = generations();
    for _ in 0..3 {
        let volumes = node.start();
        node.want(&[&pod]);
        volumes.ensure_mounted(&pod).await.unwrap();
        tokio::time::sleep(REFRESH * 3).await;
        assert_eq!(generations(), before);
    }
    assert_eq!(node.count("request_token"), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_minute_token_is_renewed_once_per_window() {
    let node = Node::new();
    node.api.limit_tokens(Duration::from_secs(600));
    let volumes = node.start();
    let pod = pod_with("uid-1", &[only_token()]);
    volumes.ensure_mounted(&pod).await.unwrap();
    let file = node.volume("projected", "access").join("token");
    let mut seen = vec![read(&file)];
    // An hour in steps of a second: each token is there well before the one before it ends.
    for _ in 0..3600 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let token = read(&file);
        if seen.last() != Some(&token) {
            seen.push(token);
        }
    }
    // 80 % of ten minutes, up to 10 s earlier: one every 470 to 481 s.
    assert_eq!(node.count("request_token"), 1 + 3600 / 475);
    assert_eq!(seen.len(), 1 + 3600 / 475);
}

#[tokio::test(start_paused = true)]
async fn outage_at_renewal_keeps_the_token_and_tries_again() {
    let node = Node::new();
    node.api.limit_tokens(Duration::from_secs(600));
    let volumes = node.start();
    let pod = pod_with("uid-1", &[only_token()]);
    volumes.ensure_mounted(&pod).await.unwrap();
    let file = node.volume("projected", "access").join("token");
    let first = read(&file);
    for _ in 0..3 {
        node.api.fail_next("request_token", ApiError::Unavailable("down".to_owned()));
    }
    tokio::time::sleep(Duration::from_secs(482)).await;
    // The renewal and perhaps the first try after it have failed.
    let asked = node.count("request_token");
    assert!((2..=3).contains(&asked), "{asked}");
    assert_eq!(read(&file), first);
    // 5, 10 and 20 s, each up to half as long again.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(node.count("request_token"), 5);
    assert_ne!(read(&file), first);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_asked_for_once_although_a_pod_waits_for_something_else() {
    let node = Node::new();
    let volumes = node.start();
    let second = json!({"name": "again", "projected": {"sources": [
        {"serviceAccountToken": {"path": "t", "expirationSeconds": 3607}}]}});
    let pod = pod_with("uid-1", &[kube_api_access(), second]);
    for _ in 0..3 {
        volumes.ensure_mounted(&pod).await.unwrap_err();
    }
    node.put_root_ca("CA");
    moment().await;
    volumes.ensure_mounted(&pod).await.unwrap();
    assert_eq!(node.count("request_token"), 1);
    assert_eq!(read(node.volume("projected", "again").join("t")), "token-of-ns-app");
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_kept_fresh_are_told_once() {
    let node = Node::new();
    node.put_root_ca("CA");
    let volumes = node.start();
    volumes.ensure_mounted(&pod_with("uid-1", &[kube_api_access()])).await.unwrap();
    node.api.remove_config_map("ns", "kube-root-ca.crt");
    tokio::time::sleep(REFRESH * 3).await;
    let events = node.api.events();
    let told: Vec<_> = events.iter().map(|e| (e.reason.as_deref(), e.message.as_deref())).collect();
    let message = "MountVolume.SetUp failed for volume \"access\" : \
                   configmap \"kube-root-ca.crt\" not found";
    assert_eq!(told, [(Some("FailedMount"), Some(message))]);
}

#[tokio::test(start_paused = true)]
async fn new_ephemeral_container_gets_a_volume_nobody_mounted_before() {
    let node = Node::new();
    let volumes = node.start();
    let base = pod(json!({"metadata": {"uid": "uid-1"}, "spec": {
        "containers": [{"name": "main"}], "volumes": [{"name": "cache", "emptyDir": {}}]}}));
    assert!(volumes.ensure_mounted(&base).await.unwrap().get("cache").is_none());
    let debugger = json!({"name": "debugger", "image": "i",
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]});
    let mut object = (**base.object()).clone();
    object.spec.as_mut().unwrap().ephemeral_containers =
        Some(vec![serde_json::from_value(debugger).unwrap()]);
    let debugged = Pod::new(Arc::new(object), base.source()).unwrap();
    node.want(&[&debugged]);
    moment().await;
    assert!(volumes.ensure_mounted(&debugged).await.unwrap().get("cache").is_some());
}

#[tokio::test(start_paused = true)]
async fn mount_point_of_another_volume_is_in_the_files() {
    let node = Node::new();
    node.put_root_ca("CA");
    let volumes = node.start();
    let files = json!({"name": "files", "configMap": {"name": "kube-root-ca.crt"}});
    let pod = pod(json!({"metadata": {"uid": "uid-1"}, "spec": {
        "containers": [{"name": "main", "volumeMounts": [
            {"name": "files", "mountPath": "/etc/app"},
            {"name": "cache", "mountPath": "/etc/app/cache"}]}],
        "volumes": [files, {"name": "cache", "emptyDir": {}}]}}));
    volumes.ensure_mounted(&pod).await.unwrap();
    let files = node.volume("configmap", "files");
    assert!(files.join("cache").is_dir());
    node.put_root_ca("new");
    moment().await;
    assert_eq!(read(files.join("ca.crt")), "new");
    assert!(files.join("cache").is_dir());
}
