use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::boundary::{PluginCall, PluginError, RuntimeError};
use crate::config::VerificationPolicy;
use crate::events::EventsTask;
use crate::model::PodSource;
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_images::FakeImages;

struct NoPlugins;

#[async_trait]
impl CredentialPlugins for NoPlugins {
    async fn run(&self, call: PluginCall) -> Result<Vec<u8>, PluginError> {
        panic!("no plugin is configured, {} was called", call.program.display())
    }
}

/// The slice on fakes, its clock following tokio's.
struct Bench {
    store: FakeImages,
    api: FakeApi,
    images: ImagesHandle,
    root: tempfile::TempDir,
}

fn limits() -> Limits {
    Limits { event_qps: 50, event_burst: 100, registry_qps: 5, registry_burst: 10 }
}

fn pulls(parallel: Option<u32>) -> ImagePulls {
    ImagePulls { parallel, verification: VerificationPolicy::default(), providers: Vec::new() }
}

fn bench_with(pulls: ImagePulls) -> Bench {
    let (store, api) = (FakeImages::default(), FakeApi::new("n"));
    let root = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (events, task) = EventsTask::new(Arc::new(api.clone()), "n", &limits());
    tokio::spawn(task.run());
    let (secrets, objects_task, _) = crate::objects::new(Arc::new(api.clone()));
    tokio::spawn(objects_task.run());
    let deps = ImagesDeps {
        service: Arc::new(store.clone()),
        content: Some(Arc::new(store.clone())),
        secrets: Some(secrets),
        objects: Some(Arc::new(api.clone())),
        plugins: Arc::new(NoPlugins),
        events,
        clock: Arc::new(move || {
            let elapsed = Instant::now().duration_since(begun);
            Timestamp::UNIX_EPOCH + elapsed
        }),
        root_dir: root.path().to_owned(),
        docker_config: DockerConfigFiles::default(),
        metrics: ImageMetrics::default(),
        starts: PodStarts::default(),
    };
    Bench { store, api, images: ImagesHandle::new(deps, &pulls, &limits()), root }
}

fn bench() -> Bench {
    bench_with(pulls(None))
}

fn pod(uid: &str, image: &str, policy: &str, secret: Option<&str>) -> Pod {
    let secrets: Vec<_> = secret.iter().map(|name| json!({"name": name})).collect();
    let object = json!({
        "metadata": { "uid": uid, "name": uid, "namespace": "ns" },
        "spec": {
            "containers": [{ "name": "c", "image": image, "imagePullPolicy": policy }],
            "imagePullSecrets": secrets,
        },
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl Bench {
    async fn ensure(&self, pod: &Pod) -> Result<PresentImage, ImagePullError> {
        self.ensure_telling(pod, None).await
    }

    async fn ensure_telling(
        &self,
        pod: &Pod,
        news: Option<&PullNews>,
    ) -> Result<PresentImage, ImagePullError> {
        let target = ImageTarget::Container(&pod.spec().containers[0]);
        self.images.ensure(&EnsureImage { pod, target, news }).await
    }

    fn pulls(&self) -> Vec<String> {
        let calls = self.store.calls().into_iter();
        calls.filter_map(|call| call.strip_prefix("pull_image ").map(str::to_owned)).collect()
    }

    fn put_secret(&self, name: &str, user: &str) {
        let config = json!({"auths": {"r.test": {"username": user, "password": "p"}}});
        let secret = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}")},
            "type": "kubernetes.io/dockerconfigjson",
        });
        let mut secret: api::Secret = serde_json::from_value(secret).unwrap();
        let data = k8s_openapi::ByteString(config.to_string().into_bytes());
        secret.data = Some([(".dockerconfigjson".to_owned(), data)].into());
        self.api.put_secret(secret);
    }

    fn refuse_pull(&self) {
        let error = RuntimeError::Refused { code: "Unknown".into(), message: "no entry".into() };
        self.store.fail_next("pull_image", error.into());
    }
}

async fn later_by(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn policy_decides_whether_the_registry_is_asked() {
    for (policy, present, pulls, reason) in [
        ("Always", true, 1, None),
        ("Always", false, 1, None),
        ("IfNotPresent", true, 0, None),
        ("IfNotPresent", false, 1, None),
        ("Never", true, 0, None),
        ("Never", false, 0, Some(reason::ERR_IMAGE_NEVER_PULL)),
    ] {
        let bench = bench();
        bench.store.publish("x:1");
        if present {
            bench.store.put("x:1", 7);
        }
        let result = bench.ensure(&pod("u", "x:1", policy, None)).await;
        assert_eq!(bench.pulls().len(), pulls, "{policy} {present}");
        assert_eq!(result.err().map(|error| error.reason), reason, "{policy} {present}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_name_is_never_asked_for() {
    let bench = bench();
    let error = bench.ensure(&pod("u", "Bad Name", "Always", None)).await.unwrap_err();
    assert_eq!((error.reason, error.retry_at), (reason::INVALID_IMAGE_NAME, None));
    assert_eq!(bench.store.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn failed_pull_backs_off_and_doubles() {
    let bench = bench();
    bench.store.publish("x:1");
    let pod = pod("u", "x:1", "Always", None);
    bench.refuse_pull();
    let first = bench.ensure(&pod).await.unwrap_err();
    assert_eq!((first.reason, first.retry_at), (reason::ERR_IMAGE_PULL, Some(at(10))));
    assert_eq!(first.message, "no entry");
    later_by(5).await;
    let held = bench.ensure(&pod).await.unwrap_err();
    assert_eq!((held.reason, held.retry_at), (reason::IMAGE_PULL_BACK_OFF, Some(at(10))));
    let expected =
        "Back-off pulling image \"x:1\": ErrImagePull: no entry (next try at 1970-01-01T00:00:10Z)";
    assert_eq!(held.message, expected);
    assert_eq!(bench.pulls().len(), 1);
    later_by(5).await;
    bench.refuse_pull();
    assert_eq!(bench.ensure(&pod).await.unwrap_err().retry_at, Some(at(30)));
    later_by(20).await;
    assert!(bench.ensure(&pod).await.is_ok());
    bench.refuse_pull();
    assert_eq!(bench.ensure(&pod).await.unwrap_err().retry_at, Some(at(40)));
}

#[tokio::test(start_paused = true)]
async fn two_pods_share_one_pull_and_it_outlives_its_asker() {
    let bench = bench();
    bench.store.publish("x:1");
    bench.store.hold_pulls();
    let (one, two) = (pod("u", "x:1", "IfNotPresent", None), pod("v", "x:1", "IfNotPresent", None));
    let both = async { tokio::join!(bench.ensure(&one), bench.ensure(&two)) };
    let gone = tokio::time::timeout(Duration::from_secs(1), both).await;
    assert!(gone.is_err(), "the pull is held");
    let again = async { tokio::join!(bench.ensure(&one), bench.ensure(&two)) };
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.store.release_pulls();
    };
    let ((first, second), ()) = tokio::join!(again, release);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(bench.pulls(), ["x:1"]);
}

#[tokio::test(start_paused = true)]
async fn image_pulled_with_a_secret_is_not_for_everybody() {
    let bench = bench();
    let image = "r.test/a:1";
    bench.store.publish(image);
    bench.put_secret("right", "reader");
    bench.put_secret("copy", "reader");
    bench.put_secret("other", "stranger");
    let owner = pod("owner", image, "IfNotPresent", Some("right"));
    bench.ensure(&owner).await.unwrap();
    assert_eq!(bench.pulls(), [format!("{image} reader")]);
    for (uid, secret) in [("again", "right"), ("twin", "copy")] {
        bench.ensure(&pod(uid, image, "IfNotPresent", Some(secret))).await.unwrap();
        bench.ensure(&pod(uid, image, "Never", Some(secret))).await.unwrap();
        assert_eq!(bench.pulls().len(), 1, "{uid} has shown the credential");
    }
    // Whoever has none or another one has to ask the registry himself.
    bench.refuse_pull();
    let stranger = bench.ensure(&pod("none", image, "IfNotPresent", None)).await.unwrap_err();
    assert_eq!(stranger.reason, reason::ERR_IMAGE_PULL);
    let never = bench.ensure(&pod("never", image, "Never", None)).await.unwrap_err();
    assert_eq!(never.reason, reason::ERR_IMAGE_NEVER_PULL);
    assert!(never.message.contains("does not have the proper credentials"), "{}", never.message);
    bench.ensure(&pod("else", image, "IfNotPresent", Some("other"))).await.unwrap();
    assert_eq!(bench.pulls()[1..], [image.to_owned(), format!("{image} stranger")]);
}

#[tokio::test(start_paused = true)]
async fn pods_with_different_credentials_do_not_share_a_pull() {
    let bench = bench();
    let image = "r.test/a:1";
    bench.store.publish(image);
    bench.put_secret("right", "reader");
    bench.store.hold_pulls();
    let (owner, stranger) =
        (pod("u", image, "IfNotPresent", Some("right")), pod("v", image, "IfNotPresent", None));
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.store.release_pulls();
    };
    let (first, second, ()) = tokio::join!(bench.ensure(&owner), bench.ensure(&stranger), release);
    assert!(first.is_ok() && second.is_ok());
    let mut pulls = bench.pulls();
    pulls.sort();
    assert_eq!(pulls, [image.to_owned(), format!("{image} reader")]);
}

#[tokio::test(start_paused = true)]
async fn every_credential_is_tried_in_turn() {
    let mut bench = bench();
    let image = "r.test/a:1";
    bench.store.publish(image);
    bench.put_secret("login", "reader");
    let config = json!({"auths": {"r.test": {"username": "node", "password": "p"}}});
    std::fs::write(bench.root.path().join("config.json"), config.to_string()).unwrap();
    let inner = Arc::get_mut(&mut bench.images.inner).unwrap();
    inner.docker_config = DockerConfigFiles::of_node(bench.root.path());
    bench.refuse_pull();
    bench.ensure(&pod("u", image, "IfNotPresent", Some("login"))).await.unwrap();
    assert_eq!(bench.pulls(), [format!("{image} reader"), format!("{image} node")]);
    // The node's credential is everybody's.
    bench.ensure(&pod("v", image, "IfNotPresent", None)).await.unwrap();
    assert_eq!(bench.pulls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn serial_pulls_wait_for_each_other_and_parallel_ones_for_a_place() {
    for (parallel, under_way) in [(Some(1), 1), (Some(2), 2), (None, 3)] {
        let bench = bench_with(pulls(parallel));
        bench.store.hold_pulls();
        let pods = ["a", "b", "c"].map(|name| {
            bench.store.publish(&format!("{name}:1"));
            pod(name, &format!("{name}:1"), "IfNotPresent", None)
        });
        let all = futures::future::join_all(pods.iter().map(|pod| bench.ensure(pod)));
        let look = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(bench.pulls().len(), under_way, "{parallel:?}");
            bench.store.release_pulls();
        };
        let (results, ()) = tokio::join!(all, look);
        assert!(results.iter().all(Result::is_ok));
    }
}

#[tokio::test(start_paused = true)]
async fn pulls_beyond_the_burst_fail_without_reaching_the_registry() {
    let bench = bench();
    let pods: Vec<Pod> = (0..12)
        .map(|number| {
            let image = format!("x:{number}");
            bench.store.publish(&image);
            pod(&image, &image, "IfNotPresent", None)
        })
        .collect();
    let all = futures::future::join_all(pods.iter().map(|pod| bench.ensure(pod))).await;
    let failed: Vec<_> = all.into_iter().filter_map(Result::err).collect();
    assert_eq!((bench.pulls().len(), failed.len()), (10, 2));
    assert_eq!(failed[0].reason, reason::ERR_IMAGE_PULL);
    assert_eq!(failed[0].message, "pull QPS exceeded");
}

#[tokio::test(start_paused = true)]
async fn long_pull_tells_how_far_it_is() {
    let bench = bench();
    bench.store.publish("r.test/a:1");
    bench.store.hold_pulls();
    bench.store.put_manifest("r.test", "a", &[("sha256:l", 200)]);
    bench.store.put_ingest("layer-sha256:l", 50, 200);
    let (news, mut heard) = watch::channel(None);
    let pod = pod("u", "r.test/a:1", "Always", None);
    let watch = async {
        let mut told = Vec::new();
        while told.len() < 3 {
            heard.changed().await.unwrap();
            let message: String = heard.borrow_and_update().clone().unwrap();
            let message = message.rsplit_once("\": ").unwrap().1.to_owned();
            told.push((Instant::now(), message));
            match told.len() {
                1 => bench.store.put_ingest("layer-sha256:l", 150, 200),
                2 => bench.store.finish_ingest("layer-sha256:l"),
                _ => {}
            }
        }
        bench.store.release_pulls();
        told
    };
    let begun = Instant::now();
    let (result, told) = tokio::join!(bench.ensure_telling(&pod, Some(&news)), watch);
    result.unwrap();
    let told: Vec<(u64, &str)> =
        told.iter().map(|(at, text)| ((*at - begun).as_secs(), text.as_str())).collect();
    assert_eq!(
        told,
        [
            (5, "downloading, 25% (50 B of 200 B)"),
            (15, "downloading, 75% (150 B of 200 B)"),
            (25, "unpacking (200 B downloaded)"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn runtime_without_content_store_is_asked_once() {
    let bench = bench();
    bench.store.publish("a:1");
    bench.store.hold_pulls();
    bench.store.fail_next("ingests", RuntimeError::Unimplemented("x".to_owned()).into());
    let (news, heard) = watch::channel(None);
    let pod = pod("u", "a:1", "Always", None);
    let release = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        bench.store.release_pulls();
    };
    let (result, ()) = tokio::join!(bench.ensure_telling(&pod, Some(&news)), release);
    result.unwrap();
    assert_eq!(heard.borrow().as_deref(), Some("Pulling image \"a:1\": in progress"));
    let looks = bench.store.calls().into_iter().filter(|call| call.starts_with("ingests"));
    assert_eq!(looks.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_tell_what_users_know() {
    let bench = bench();
    bench.store.publish("r.test/a");
    bench.store.publish("r.test/a:latest");
    let pod = pod("u", "r.test/a", "Always", Some("missing"));
    bench.refuse_pull();
    bench.ensure(&pod).await.unwrap_err();
    bench.ensure(&pod).await.unwrap_err();
    later_by(10).await;
    bench.ensure(&pod).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut told: Vec<String> = bench
        .api
        .events()
        .into_iter()
        .map(|event| {
            format!("{} {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default())
        })
        .collect();
    told.sort();
    told.dedup();
    assert_eq!(
        told,
        [
            "BackOff Back-off pulling image \"r.test/a\"",
            "Failed Error: ErrImagePull",
            "Failed Error: ImagePullBackOff",
            "Failed Failed to pull image \"r.test/a\": no entry",
            "FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (missing); attempting to pull the image may not succeed.",
            "Pulled Successfully pulled image \"r.test/a\" in 0s (0s including waiting). Image size: 1 bytes.",
            "Pulling Pulling image \"r.test/a\"",
        ]
    );
}
