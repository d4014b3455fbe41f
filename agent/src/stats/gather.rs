//! Reads one snapshot.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::places::container_cgroup;
use super::rates::Rates;
use super::task::StatsParts;
use super::types::{
    ContainerSample, Extent, GroupSample, Measured, NodeSample, PodSample, SandboxSample, Snapshot,
    StoreSample, VolumeSamples,
};
use crate::boundary::{
    Detail, FsUsage, LayerUsage, ProcessUsage, RuntimeError, RuntimeFileSystems, RuntimeFs,
};
use crate::model::qos::QosClass;
use crate::model::{Container, ContainerState, PodUid, RuntimePod, Sandbox, SandboxState};
use crate::podexec::log_paths::pod_log_dir;
use crate::volumes::PodLayout;

/// How long the runtime may take; what it has not told by then is left out of this snapshot.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(5);

const CLASSES: [QosClass; 3] = [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort];

/// What the runtime has told.
#[derive(Default)]
pub(super) struct FromRuntime {
    layers: HashMap<String, LayerUsage>,
    stores: RuntimeFileSystems,
    pub trouble: Option<RuntimeError>,
}

/// Asks the runtime for layers and file systems. What fails is empty, with the reason.
pub(super) async fn ask_runtime(parts: &StatsParts) -> FromRuntime {
    let late = |_| Err(RuntimeError::DeadlineExceeded("figures of the runtime".to_owned()));
    let (layers, stores) = futures::join!(
        timeout(RUNTIME_PATIENCE, parts.runtime.layers()),
        timeout(RUNTIME_PATIENCE, parts.runtime.file_systems()),
    );
    let mut told = FromRuntime::default();
    match layers.unwrap_or_else(late) {
        Ok(layers) => {
            let by_id = layers.into_iter().map(|layer| (layer.container.clone(), layer));
            told.layers = by_id.collect();
        }
        Err(error) => told.trouble = Some(error),
    }
    match stores.unwrap_or_else(|_| {
        Err(RuntimeError::DeadlineExceeded("file systems of the runtime".to_owned()))
    }) {
        Ok(stores) => told.stores = stores,
        Err(error) => told.trouble = Some(error),
    }
    told
}

/// What one snapshot is made from. It is used up on a thread that may block.
pub(super) struct Gathering {
    pub parts: Arc<StatsParts>,
    pub extent: Extent,
    pub told: FromRuntime,
    pub volumes: Arc<VolumeSamples>,
    pub before: Rates,
    pub after: Rates,
    /// File systems by path, each asked for once.
    pub file_systems: HashMap<PathBuf, Option<FsUsage>>,
}

impl Gathering {
    /// The snapshot, and the counts that the next one is compared with. Blocks for some
    /// milliseconds with a hundred pods.
    pub fn snapshot(mut self) -> (Snapshot, Rates) {
        let at = (self.parts.clock)();
        let node = self.node();
        let groups = self.groups();
        let pods = self.pods();
        let facts = Arc::clone(&self.parts.facts);
        let snapshot = Snapshot { at, extent: self.extent, facts, node, groups, pods };
        (snapshot, self.after)
    }

    fn detail(&self) -> Detail {
        if self.extent.full() { Detail::Full } else { Detail::Essential }
    }

    fn measure(&mut self, path: &Path) -> Option<Measured> {
        let usage = self.parts.usage.cgroup(path, self.detail())?;
        let counted = usage.at.zip(usage.cpu).map(|(at, cpu)| (at, cpu.total_ns));
        let nano_cores =
            counted.and_then(|counted| self.before.measure(&mut self.after, path, counted));
        Some(Measured { path: path.to_owned(), usage, nano_cores })
    }

    fn processes(&self, path: &Path) -> Option<ProcessUsage> {
        let pids = self.parts.usage.own_pids(path);
        if self.extent.processes {
            return Some(self.parts.usage.processes(&pids));
        }
        let processes = pids.len() as u64;
        self.extent.storage.then(|| ProcessUsage { processes, ..ProcessUsage::default() })
    }

    fn file_system(&mut self, path: &Path) -> Option<FsUsage> {
        if let Some(known) = self.file_systems.get(path) {
            return known.clone();
        }
        let found = self.parts.usage.file_system(path).ok();
        self.file_systems.insert(path.to_owned(), found.clone());
        found
    }

    fn store(&mut self, store: Option<RuntimeFs>) -> Option<StoreSample> {
        let store = store?;
        let fs = self.file_system(Path::new(&store.mountpoint));
        Some(StoreSample { store, fs })
    }

    fn node(&mut self) -> NodeSample {
        let root = Path::new("/");
        let mut node = NodeSample { measured: self.measure(root), ..NodeSample::default() };
        if !self.extent.storage {
            return node;
        }
        let root_dir = self.parts.root_dir.clone();
        let stores = std::mem::take(&mut self.told.stores);
        node.network = self.parts.usage.network(0).ok();
        node.fs = self.file_system(&root_dir);
        // The same place named twice is one.
        let apart = |fs: &RuntimeFs| {
            stores.images.as_ref().is_none_or(|images| images.mountpoint != fs.mountpoint)
        };
        node.container_fs = self.store(stores.containers.clone().filter(apart));
        node.image_fs = self.store(stores.images.clone());
        node.capacity = self.parts.machine.capacity().ok();
        if self.extent.processes {
            node.processes = self.processes(root);
        }
        node
    }

    /// The cgroups of noded, of the runtime and of all pods; the QoS classes too when the page that
    /// shows them is asked for.
    fn groups(&mut self) -> Vec<GroupSample> {
        let parts = Arc::clone(&self.parts);
        let own = parts.usage.cgroup_of(0);
        let runtime = parts.usage.listener(&parts.runtime_endpoint);
        let runtime = runtime.and_then(|pid| parts.usage.cgroup_of(pid));
        let kubepods = parts.names.kubepods();
        let mut wanted = vec![
            (Some("kubelet"), own),
            (Some("runtime"), runtime),
            (Some("pods"), Some(kubepods)),
        ];
        if self.extent.processes {
            let classes = [QosClass::Burstable, QosClass::BestEffort];
            wanted.extend(classes.map(|class| (None, Some(parts.names.qos(class)))));
        }
        let group = |(name, path): (Option<&'static str>, Option<PathBuf>)| {
            // What runs in the topmost cgroup is not counted apart from the rest.
            let path = path.filter(|path| path != Path::new("/"))?;
            let measured = self.measure(&path)?;
            let processes = self.extent.processes.then(|| self.processes(&path)).flatten();
            Some(GroupSample { name, measured, processes })
        };
        wanted.into_iter().filter_map(group).collect()
    }

    /// The pods' cgroups, by pod.
    fn pod_cgroups(&self) -> HashMap<PodUid, PathBuf> {
        let names = &self.parts.names;
        let mut found = HashMap::new();
        for class in CLASSES {
            let place = names.qos(class);
            for name in self.parts.cgroups.children(&place).unwrap_or_default() {
                if let Some(uid) = names.pod_of(&name) {
                    found.insert(uid, place.join(name));
                }
            }
        }
        found
    }

    fn pods(&mut self) -> Vec<PodSample> {
        let runtime = (self.parts.pods)().runtime;
        let places = self.pod_cgroups();
        let mut pods: Vec<&Arc<RuntimePod>> =
            runtime.values().filter(|pod| is_alive(pod)).collect();
        pods.sort_by_key(|pod| (&pod.full_name.namespace, &pod.full_name.name));
        pods.into_iter().map(|pod| self.pod(pod, places.get(&pod.uid))).collect()
    }

    fn pod(&mut self, pod: &Arc<RuntimePod>, place: Option<&PathBuf>) -> PodSample {
        let children = place.and_then(|place| self.parts.cgroups.children(place).ok());
        let children = children.unwrap_or_default();
        let cgroup = |id: &str| container_cgroup(place?, &children, id);
        let running: Vec<&Container> =
            pod.containers.iter().filter(|container| container.is_running()).collect();
        let places: Vec<Option<PathBuf>> =
            running.iter().map(|container| cgroup(container.id.as_str())).collect();
        let sandbox = pod.newest_sandbox();
        let sandbox_place = sandbox.and_then(|sandbox| cgroup(sandbox.id.as_str()));
        let logs = pod_log_dir(&self.parts.pod_logs_dir, &pod.full_name, &pod.uid);
        let containers = running.iter().zip(&places);
        let mut sample = PodSample {
            pod: Arc::clone(pod),
            measured: place.and_then(|place| self.measure(place)),
            sandbox: sandbox.map(|sandbox| self.sandbox(sandbox, sandbox_place.as_ref(), &places)),
            containers: containers
                .map(|(c, place)| self.container(c, place.as_ref(), &logs))
                .collect(),
            logs: None,
            etc_hosts: None,
            volumes: Arc::default(),
        };
        if self.extent.storage {
            sample.logs = self.parts.usage.files_usage(&logs).ok();
            let layout = PodLayout::new(&self.parts.root_dir, &pod.uid).ok();
            let hosts = layout.map(|layout| layout.hosts_file());
            sample.etc_hosts = hosts.and_then(|path| self.parts.usage.disk_usage(&path).ok());
            sample.volumes = self.volumes.get(&pod.uid).cloned().unwrap_or_default();
        }
        sample
    }

    /// The network is that of the sandbox's first process, else of a container's: they share it.
    fn sandbox(
        &mut self,
        sandbox: &Sandbox,
        place: Option<&PathBuf>,
        others: &[Option<PathBuf>],
    ) -> SandboxSample {
        let mut sample = SandboxSample {
            id: sandbox.id.to_string(),
            created_at: Some(sandbox.created_at),
            ..SandboxSample::default()
        };
        if self.extent.storage {
            let mut inside = place.into_iter().chain(others.iter().flatten());
            let pid = inside.find_map(|place| self.parts.usage.own_pids(place).first().copied());
            sample.network = pid.and_then(|pid| self.parts.usage.network(pid).ok());
        }
        if self.extent.processes {
            sample.measured = place.and_then(|place| self.measure(place));
            sample.processes = place.and_then(|place| self.processes(place));
        }
        sample
    }

    fn container(
        &mut self,
        container: &Container,
        place: Option<&PathBuf>,
        logs: &Path,
    ) -> ContainerSample {
        let mut sample = ContainerSample {
            id: container.id.to_string(),
            name: container.name.clone(),
            image: container.image.clone(),
            created_at: Some(container.created_at),
            started_at: match &container.state {
                ContainerState::Running { started_at } => Some(*started_at),
                _ => None,
            },
            measured: place.and_then(|place| self.measure(place)),
            ..ContainerSample::default()
        };
        if self.extent.storage {
            sample.processes = place.and_then(|place| self.processes(place));
            sample.layer = self.told.layers.remove(container.id.as_str());
            let mountpoint = sample.layer.as_ref().map(|layer| layer.mountpoint.clone());
            sample.layer_fs = mountpoint
                .filter(|mountpoint| !mountpoint.is_empty())
                .and_then(|mountpoint| self.file_system(Path::new(&mountpoint)));
            sample.logs = self.parts.usage.files_usage(&logs.join(&container.name)).ok();
        }
        sample
    }
}

/// Whether something of the pod runs, its sandbox at least.
fn is_alive(pod: &RuntimePod) -> bool {
    pod.newest_sandbox().is_some_and(|sandbox| sandbox.state == SandboxState::Ready)
        || pod.containers.iter().any(Container::is_running)
}
