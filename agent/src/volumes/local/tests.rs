use super::*;
use crate::boundary::MountEntry;
use crate::config::Limits;
use crate::events::EventsTask;
use crate::podexec::fixtures::pod;
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_host::{FakeMachine, FakeMounter};
use crate::volumes::ClaimName;
use crate::volumes::claims::BoundSource;
use serde_json::json;

struct Fixture {
    root: tempfile::TempDir,
    disk: tempfile::TempDir,
    api: FakeApi,
    mounter: Arc<FakeMounter>,
    teller: Teller,
    locals: LocalVolumes,
}

impl Fixture {
    fn new() -> Self {
        let api = FakeApi::new("n1");
        let limits = Limits { event_qps: 0, event_burst: 0, registry_qps: 0, registry_burst: 0 };
        let (events, task) = EventsTask::new(Arc::new(api.clone()), "n1", &limits);
        tokio::spawn(task.run());
        let dir = || tempfile::tempdir().unwrap();
        let teller = Teller { events, machine: Arc::new(FakeMachine::default()) };
        let (mounter, locals) = (Arc::default(), LocalVolumes::default());
        Self { root: dir(), disk: dir(), api, mounter, teller, locals }
    }

    fn mount(&self, pod: &Pod) -> LocalMount {
        let path = self.disk.path().to_str().unwrap().to_owned();
        LocalMount {
            layout: PodLayout::new(self.root.path(), pod.uid()).unwrap(),
            pods_dir: layout::pods_dir(self.root.path()),
            mounter: self.mounter.clone(),
            bound: BoundVolume {
                claim: ClaimName { namespace: "ns".to_owned(), name: "c".to_owned() },
                name: "pv".to_owned(),
                source: BoundSource::Local { path: path.clone(), options: Vec::new() },
                read_only: false,
                exclusive: false,
            },
            path,
            options: Vec::new(),
            group: Some(77),
        }
    }

    fn mounts(&self) -> Vec<MountEntry> {
        self.mounter.list(self.root.path()).unwrap()
    }

    /// Messages of events, as soon as there are so many.
    async fn told(&self, count: usize) -> Vec<String> {
        self.api.wait_for_calls(count).await;
        self.api.events().into_iter().filter_map(|event| event.message).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn long_walk_is_told_and_ends_with_whoever_waits_for_it() {
    let fixture = Fixture::new();
    let pod = pod(json!({}));
    let busy = fixture.locals.walks.acquire_many(u32::try_from(WALKS).unwrap()).await.unwrap();
    {
        let work = fixture.locals.set_up(&pod, fixture.mount(&pod), &fixture.teller);
        let mut work = std::pin::pin!(work);
        let told = tokio::select! {
            _ = &mut work => panic!("all walks are taken"),
            told = fixture.told(2) => told,
        };
        let place = "uid-1/volumes/kubernetes.io~local-volume/pv";
        let first = format!("Setting volume ownership for {place} is taking longer than expected");
        assert!(told.iter().any(|text| text.starts_with(&first)), "{told:?}");
        let second = format!("Setting volume ownership for {place}, processed 0 files.");
        assert!(told.contains(&second), "{told:?}");
    }
    drop(busy);
    // The volume is mounted; the next try hands it over.
    assert_eq!(fixture.mounts().len(), 1);
    let made = fixture.locals.set_up(&pod, fixture.mount(&pod), &fixture.teller).await.unwrap();
    assert!(belongs_to_group(&made.host_path, 77));
    assert_eq!(fixture.mounts().len(), 1);
    assert!(fixture.locals.turns.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn failed_mount_leaves_no_directory() {
    let fixture = Fixture::new();
    let pod = pod(json!({}));
    fixture.mounter.fail_next("bind_directory", std::io::ErrorKind::PermissionDenied);
    let error = fixture.locals.set_up(&pod, fixture.mount(&pod), &fixture.teller).await;
    assert!(matches!(error, Err(SetUpCause::Mount(_))));
    let target = fixture.mount(&pod).target().unwrap();
    assert!(!target.exists());
    fixture.locals.set_up(&pod, fixture.mount(&pod), &fixture.teller).await.unwrap();
    assert!(target.exists());
}

#[tokio::test(start_paused = true)]
async fn policy_spares_a_tree_whose_top_is_right() {
    let policy = |policy: &str| {
        let security = json!({"fsGroup": 77, "fsGroupChangePolicy": policy});
        pod(json!({"spec": {"securityContext": security}}))
    };
    for (policy, pod) in [ON_ROOT_MISMATCH, "Always"].map(|name| (name, policy(name))) {
        let fixture = Fixture::new();
        let target = fixture.mount(&pod).target().unwrap();
        // The fake mounter binds nothing, so the target itself plays the volume.
        std::fs::create_dir_all(&target).unwrap();
        let file = target.join("file");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&target, None, Some(77)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o2770);
        std::fs::set_permissions(&target, mode).unwrap();
        fixture.locals.set_up(&pod, fixture.mount(&pod), &fixture.teller).await.unwrap();
        assert_eq!(group_of(&file).unwrap() == 77, policy == "Always", "{policy}");
    }
}
