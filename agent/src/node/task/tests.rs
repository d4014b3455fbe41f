use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use k8s_openapi::api::core::v1 as api;
use serde_json::{Value, json};

use super::*;
use crate::boundary::{
    ApiError, CgroupDriver, ImageError, LocalImage, RegistryAuth, RuntimeCondition, RuntimeStatus,
    RuntimeVersion,
};
use crate::config::Limits;
use crate::config::resolve::{Surroundings, resolve};
use crate::events::EventsTask;
use crate::model::{HandlerFeatures, RuntimeFeatures};
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_host::FakeMachine;

/// A runtime that says what it is told to say.
struct Facts {
    status: Mutex<Result<RuntimeStatus, RuntimeError>>,
    cidrs: Mutex<Vec<String>>,
    refused_cidrs: AtomicU32,
}

fn condition(ready: bool) -> RuntimeCondition {
    RuntimeCondition { ready, reason: "Reason".into(), message: "message".into() }
}

fn runtime_status(network: bool) -> Result<RuntimeStatus, RuntimeError> {
    Ok(RuntimeStatus {
        runtime: condition(true),
        network: condition(network),
        features: RuntimeFeatures {
            handlers: [("runc".to_owned(), HandlerFeatures::default())].into(),
            supplemental_groups_policy: None,
        },
    })
}

#[async_trait]
impl RuntimeFacts for Facts {
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        Ok(RuntimeVersion { name: "containerd".into(), version: "2.1.4".into() })
    }

    async fn status(&self) -> Result<RuntimeStatus, RuntimeError> {
        self.status.lock().unwrap().clone()
    }

    async fn cgroup_driver(&self) -> Result<CgroupDriver, RuntimeError> {
        Ok(CgroupDriver::Cgroupfs)
    }

    async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<(), RuntimeError> {
        if self.refused_cidrs.load(Ordering::Relaxed) > 0 {
            self.refused_cidrs.fetch_sub(1, Ordering::Relaxed);
            return Err(RuntimeError::Unavailable("away".into()));
        }
        self.cidrs.lock().unwrap().push(pod_cidr.to_owned());
        Ok(())
    }
}

/// One image, nothing else.
struct Images;

#[async_trait]
impl ImageService for Images {
    async fn image_status(&self, _: &str) -> Result<Option<LocalImage>, ImageError> {
        Ok(None)
    }

    async fn pull_image(
        &self,
        image: &str,
        _: Option<&RegistryAuth>,
    ) -> Result<String, ImageError> {
        Ok(image.to_owned())
    }

    async fn list_images(&self) -> Result<Vec<LocalImage>, ImageError> {
        Ok(vec![LocalImage {
            id: "1".into(),
            tags: vec!["image:1".into()],
            size_bytes: 7,
            ..LocalImage::default()
        }])
    }

    async fn remove_image(&self, _: &str) -> Result<(), ImageError> {
        Ok(())
    }

    async fn image_fs(&self) -> Result<(u64, String), ImageError> {
        Ok((0, "/".to_owned()))
    }
}

struct World {
    api: FakeApi,
    machine: Arc<FakeMachine>,
    facts: Arc<Facts>,
    pleg: watch::Sender<Option<String>>,
    view: watch::Receiver<NodeView>,
}

/// The defaults of a node without a configuration file.
fn config() -> AgentConfig {
    let around = Surroundings { hostname: "node-1".to_owned(), ..Surroundings::default() };
    resolve(serde_json::from_value(json!({})).unwrap(), around).unwrap()
}

fn start_with(api: FakeApi, config: AgentConfig, network_ready: bool) -> World {
    let machine = Arc::new(FakeMachine::default());
    let facts = Arc::new(Facts {
        status: Mutex::new(runtime_status(network_ready)),
        cidrs: Mutex::default(),
        refused_cidrs: AtomicU32::new(0),
    });
    let limits = Limits { event_qps: 50, event_burst: 100, registry_qps: 5, registry_burst: 10 };
    let (events, events_task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits);
    tokio::spawn(events_task.run());
    let (pleg, pleg_health) = watch::channel(None);
    let parts = NodeParts {
        reservations: Reservations::parse(&config.node).unwrap(),
        config: Arc::new(config),
        api: Some(Arc::new(api.clone())),
        machine: machine.clone(),
        runtime: facts.clone(),
        images: Arc::new(Images),
        pleg_health,
        events,
    };
    let (view, task) = NodeTask::new(parts);
    tokio::spawn(task.run());
    World { api, machine, facts, pleg, view }
}

fn start() -> World {
    start_with(FakeApi::new("node-1"), config(), true)
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

impl World {
    fn status(&self) -> Value {
        serde_json::to_value(self.api.node().unwrap().status.unwrap()).unwrap()
    }

    fn ready(&self) -> (String, String) {
        let status = self.status();
        let conditions = status["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|c| c["type"] == "Ready").unwrap();
        (
            ready["status"].as_str().unwrap().to_owned(),
            ready["message"].as_str().unwrap().to_owned(),
        )
    }

    fn count(&self, call: &str) -> usize {
        self.api.calls().iter().filter(|line| line.starts_with(call)).count()
    }

    fn reasons(&self) -> Vec<String> {
        self.api.events().into_iter().filter_map(|event| event.reason).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn new_node_is_registered_and_ready_within_a_second() {
    let world = start();
    pass(1000).await;
    assert_eq!(world.ready().0, "True");
    let status = world.status();
    assert_eq!(status["nodeInfo"]["containerRuntimeVersion"], "containerd://2.1.4");
    assert_eq!(status["addresses"][0]["address"], "192.0.2.10");
    let features = json!({"recursiveReadOnlyMounts": false, "userNamespaces": false});
    assert_eq!(status["runtimeHandlers"], json!([{"name": "runc", "features": features}]));
    let view = world.view.borrow().clone();
    assert_eq!(view.labels()["kubernetes.io/hostname"], "node-1");
    assert_eq!((view.runtime_problem, view.network_problem), (None, None));
    assert_eq!(view.ips.len(), 1);
    assert!(world.reasons().contains(&"Starting".to_owned()));
    assert!(world.reasons().contains(&"NodeHasSufficientMemory".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn network_that_comes_up_makes_the_node_ready_at_once() {
    let world = start_with(FakeApi::new("node-1"), config(), false);
    pass(3000).await;
    let (ready, message) = world.ready();
    assert_eq!(ready, "False");
    assert_eq!(
        message,
        "container runtime network not ready: NetworkReady=false reason:Reason message:message"
    );
    assert!(world.view.borrow().network_problem.is_some());
    *world.facts.status.lock().unwrap() = runtime_status(true);
    pass(500).await;
    assert_eq!(world.ready().0, "True");
    pass(1000).await;
    assert!(world.reasons().contains(&"NodeReady".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn runtime_that_falls_silent_makes_the_node_not_ready_in_thirty_seconds() {
    let world = start();
    pass(1000).await;
    *world.facts.status.lock().unwrap() = Err(RuntimeError::Unavailable("gone".into()));
    pass(20_000).await;
    assert_eq!(world.ready().0, "True");
    pass(20_000).await;
    assert_eq!(world.ready(), ("False".to_owned(), "container runtime is down".to_owned()));
    assert_eq!(world.view.borrow().runtime_problem.as_deref(), Some("container runtime is down"));
    // The version that is published stays.
    assert_eq!(world.status()["nodeInfo"]["containerRuntimeVersion"], "containerd://2.1.4");
}

#[tokio::test(start_paused = true)]
async fn quiet_node_posts_every_five_minutes_only() {
    let world = start();
    pass(60_000).await;
    let settled = world.count("patch_node_status");
    pass(40_000).await;
    assert_eq!(world.count("patch_node_status"), settled, "{:?}", world.api.calls());
    // After a change the next report comes within 7.5 minutes, then one every 5.
    pass(1_300_000).await;
    let posts = world.count("patch_node_status") - settled;
    assert!((3..=5).contains(&posts), "{posts} posts");
}

#[tokio::test(start_paused = true)]
async fn sick_pleg_is_told_with_the_other_problems() {
    let world = start();
    pass(1000).await;
    world.pleg.send_replace(Some("pleg was last seen active 3m5s ago; threshold is 3m0s".into()));
    pass(100).await;
    assert_eq!(
        world.ready().1,
        "PLEG is not healthy: pleg was last seen active 3m5s ago; threshold is 3m0s"
    );
}

#[tokio::test(start_paused = true)]
async fn memory_pressure_comes_and_stays_for_the_transition_period() {
    let world = start();
    pass(1000).await;
    world.machine.change_capacity(|machine| machine.memory_available_bytes = 1 << 20);
    pass(11_000).await;
    assert_eq!(world.status()["conditions"][0]["status"], "True");
    assert_eq!(world.ready().0, "True");
    world.machine.change_capacity(|machine| machine.memory_available_bytes = 1 << 30);
    pass(60_000).await;
    assert_eq!(world.status()["conditions"][0]["status"], "True");
    pass(300_000).await;
    assert_eq!(world.status()["conditions"][0]["status"], "False");
    assert!(world.reasons().contains(&"NodeHasInsufficientMemory".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn existing_node_is_adopted_and_others_conditions_stay() {
    let api = FakeApi::new("node-1");
    let existing: api::Node = serde_json::from_value(json!({
        "metadata": {"name": "node-1", "uid": "uid-1", "labels": {"mine": "1"}},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"], "taints": [{"key": "t", "effect": "NoSchedule"}]},
        "status": {
            "conditions": [{"type": "NetworkUnavailable", "status": "False"}, {"type": "Ready", "status": "Unknown"}],
            "capacity": {"vendor.com/gpu": "1"},
            "nodeInfo": {"bootID": "earlier", "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""},
        },
    }))
    .unwrap();
    api.put_node(existing);
    let world = start_with(api, config(), true);
    pass(1000).await;
    let node = world.api.node().unwrap();
    let labels = node.metadata.labels.unwrap();
    assert_eq!((labels["mine"].as_str(), labels["kubernetes.io/os"].as_str()), ("1", "linux"));
    assert_eq!(node.spec.unwrap().taints.unwrap().len(), 1);
    let status = world.status();
    assert_eq!(status["conditions"][0]["type"], "NetworkUnavailable");
    assert_eq!(status["capacity"]["vendor.com/gpu"], "1");
    assert_eq!(world.ready().0, "True");
    assert_eq!(*world.facts.cidrs.lock().unwrap(), ["10.1.0.0/24"]);
    assert_eq!(world.view.borrow().pod_cidrs, ["10.1.0.0/24"]);
    pass(1000).await;
    assert!(world.reasons().contains(&"Rebooted".to_owned()));
    assert!(world.reasons().contains(&"NodeReady".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn registration_outlives_an_outage() {
    let api = FakeApi::new("node-1");
    for _ in 0..4 {
        api.fail_next("create_node", ApiError::Unavailable("down".into()));
    }
    let world = start_with(api, config(), true);
    // 100 + 200 + 400 + 800 ms.
    pass(1400).await;
    assert!(world.api.node().is_none());
    pass(200).await;
    assert_eq!(world.ready().0, "True");
}

#[tokio::test(start_paused = true)]
async fn refused_cidrs_are_told_again() {
    let world = start();
    world.facts.refused_cidrs.store(2, Ordering::Relaxed);
    pass(1000).await;
    let patch = json!({"spec": {"podCIDRs": ["10.2.0.0/24", "fd00::/64"]}});
    world.api.patch_node(patch).await.unwrap();
    pass(11_000).await;
    assert_eq!(*world.facts.cidrs.lock().unwrap(), ["10.2.0.0/24,fd00::/64"]);
}

#[tokio::test(start_paused = true)]
async fn changed_label_is_put_back_and_cordon_is_an_event() {
    let world = start();
    pass(1000).await;
    let patch = json!({"metadata": {"labels": {"kubernetes.io/arch": "other"}}, "spec": {"unschedulable": true}});
    world.api.patch_node(patch).await.unwrap();
    pass(12_000).await;
    assert_eq!(world.api.node().unwrap().metadata.labels.unwrap()["kubernetes.io/arch"], "amd64");
    assert!(world.reasons().contains(&"NodeNotSchedulable".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn unregistered_node_is_waited_for() {
    let mut config = config();
    config.node.register = false;
    let world = start_with(FakeApi::new("node-1"), config, true);
    pass(5000).await;
    assert_eq!(world.count("create_node"), 0);
    let node: api::Node = serde_json::from_value(json!({"metadata": {"name": "node-1"}})).unwrap();
    world.api.put_node(node);
    pass(8000).await;
    assert_eq!(world.ready().0, "True");
    assert_eq!(world.count("patch_node "), 0);
}
