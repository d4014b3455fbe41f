use std::time::Duration;

use super::*;
use crate::model::{ContainerState, RuntimePod};
use crate::testing::build::{at, exited, pod, runtime};
use crate::testing::clock::paused_clock;
use crate::testing::fake_runtime::FakeRuntime;

struct Ground {
    root: tempfile::TempDir,
    fake: FakeRuntime,
    runtime: watch::Sender<Option<Arc<RuntimePods>>>,
    task: RotationTask,
}

impl Ground {
    fn new(max_files: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (fake, _wakes) = FakeRuntime::new(paused_clock());
        let (runtime, seen) = watch::channel(None);
        let parts = RotationParts {
            root: root.path().to_owned(),
            rotation: LogRotation {
                max_size: Some(10),
                max_files,
                workers: 1,
                interval: Duration::from_secs(10),
            },
            runtime: seen,
            containers: Arc::new(fake.clone()),
            clock: paused_clock(),
        };
        let ground = Self { root, fake, runtime, task: RotationTask::new(parts) };
        ground.show(ContainerState::Running { started_at: at(1) });
        ground
    }

    /// One container in that state.
    fn show(&self, state: ContainerState) {
        let log_path = self.root.path().join("0.log").display().to_string();
        let pod = pod("ns/a").container("c").build();
        let held: RuntimePod = runtime(&pod)
            .container_with("c", 0, |container| {
                container.state = state;
                container.log_path = log_path;
            })
            .build();
        let pods: RuntimePods = [(held.uid.clone(), Arc::new(held))].into();
        self.runtime.send_replace(Some(Arc::new(pods)));
    }

    fn write(&self, name: &str, bytes: usize) {
        std::fs::write(self.root.path().join(name), "x".repeat(bytes)).unwrap();
    }

    /// One round; what was asked of the runtime in it.
    async fn round(&mut self) -> Vec<String> {
        let before = self.fake.calls().len();
        self.task.round().await;
        self.fake.calls().split_off(before)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

const REOPENED: [&str; 1] = ["reopen_log c-0"];

#[tokio::test(start_paused = true)]
async fn large_log_of_a_running_container_is_renamed_and_begun_anew() {
    let mut ground = Ground::new(5);
    ground.write("0.log", 9);
    assert!(ground.round().await.is_empty());
    ground.write("0.log", 10);
    assert_eq!(ground.round().await, REOPENED);
    assert_eq!(ground.names(), ["0.log.20260102-001640"]);
    assert!(ground.task.troubles.is_empty());
}

#[tokio::test(start_paused = true)]
async fn ended_container_and_switched_off_rotation_leave_all_as_it_is() {
    let mut ground = Ground::new(5);
    ground.write("0.log", 10);
    ground.show(exited(0, 5));
    assert!(ground.round().await.is_empty());
    ground.show(ContainerState::Running { started_at: at(1) });
    ground.task.parts.rotation.max_size = None;
    assert!(ground.round().await.is_empty());
    assert_eq!(ground.names(), ["0.log"]);
}

#[tokio::test(start_paused = true)]
async fn older_logs_are_compressed_and_kept_up_to_their_number() {
    let mut ground = Ground::new(3);
    for _ in 0..4 {
        ground.write("0.log", 10);
        assert_eq!(ground.round().await, REOPENED);
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    ground.write("0.log", 1);
    assert_eq!(ground.names(), ["0.log", "0.log.20260102-001700.gz", "0.log.20260102-001710"]);
}

#[tokio::test(start_paused = true)]
async fn log_gets_its_name_back_when_the_runtime_fails_and_is_tried_again() {
    let mut ground = Ground::new(5);
    ground.write("0.log", 10);
    for _ in 0..2 {
        ground.fake.fail_next("reopen_log", RuntimeError::Unavailable("down".to_owned()));
        ground.round().await;
        assert_eq!(ground.names(), ["0.log"]);
        assert_eq!(ground.task.troubles.len(), 1);
    }
    ground.round().await;
    assert_eq!(ground.names(), ["0.log.20260102-001640"]);
    assert!(ground.task.troubles.is_empty());
}

#[tokio::test(start_paused = true)]
async fn missing_log_is_begun_by_the_runtime() {
    let mut ground = Ground::new(5);
    ground.write("0.log.20260102-000000", 10);
    assert_eq!(ground.round().await, REOPENED);
    assert_eq!(ground.names(), ["0.log.20260102-000000"]);
}
