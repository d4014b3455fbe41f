//! One snapshot in which every figure is there.

use std::sync::Arc;

use jiff::Timestamp;

use super::types::{
    ContainerSample, Extent, GroupSample, MachineFacts, Measured, NodeSample, PodSample,
    SandboxSample, Snapshot, StoreSample, VolumeSample,
};
use crate::boundary::{
    CgroupDetail, CgroupUsage, CpuDetail, CpuTopology, CpuUsage, DeviceIo, DiskUsage, FsUsage,
    InterfaceUsage, LayerUsage, MachineCapacity, MachineIdentity, MemoryDetail, MemoryUsage,
    NetworkUsage, PidsUsage, Pressure, Pressures, ProcessUsage, RuntimeFs, Stall, SwapUsage,
    Throttling, Traffic,
};
use crate::testing::build::{at, pod, runtime};
use crate::volumes::ClaimName;

/// When it was taken, with a part of a second.
pub(super) fn taken() -> Timestamp {
    at(2000) + jiff::SignedDuration::from_millis(250)
}

pub(super) fn measured(path: &str, cpu_ms: u64, memory: u64) -> Measured {
    let stall = Stall { total_us: 1_500_000, avg10: 1.5, avg60: 0.5, avg300: 0.0 };
    let pressure = Some(Pressure { some: stall, full: Stall::default() });
    let more = CgroupDetail {
        cpu: CpuDetail {
            shares: Some(102),
            quota_us: Some(20_000),
            period_us: Some(100_000),
            throttling: Some(Throttling {
                periods: 10,
                throttled_periods: 4,
                throttled_ns: 500_000_000,
                burst_periods: Some(0),
                burst_ns: Some(0),
            }),
        },
        memory: MemoryDetail {
            max_usage: Some(memory * 2),
            failures: Some(3),
            kernel: Some(64),
            reservation: None,
            swap_limit: Some(6144),
            oom_kills: Some(1),
        },
        pids: PidsUsage { current: Some(5), max: None },
        io: vec![DeviceIo {
            major: 8,
            minor: 0,
            device: "/dev/sda".to_owned(),
            read_bytes: 4096,
            write_bytes: 8192,
            reads: 1,
            writes: 2,
        }],
        pressure: Pressures { cpu: pressure, memory: pressure, io: pressure },
    };
    Measured {
        path: path.into(),
        usage: CgroupUsage {
            at: Some(taken()),
            cpu: Some(CpuUsage {
                total_ns: cpu_ms * 1_000_000,
                user_ns: Some(cpu_ms * 750_000),
                system_ns: Some(cpu_ms * 250_000),
            }),
            memory: Some(MemoryUsage {
                usage: memory + 300,
                working_set: memory,
                rss: Some(400),
                cache: Some(500),
                mapped_file: Some(30),
                active_file: Some(200),
                inactive_file: Some(300),
                page_faults: Some(9),
                major_page_faults: Some(2),
                limit: Some(4096),
            }),
            swap: Some(SwapUsage { usage: 12, limit: Some(2048) }),
            more: Some(Box::new(more)),
        },
        nano_cores: Some(cpu_ms * 1000),
    }
}

fn fs(device: &str) -> FsUsage {
    FsUsage {
        capacity: 1_000_000,
        available: 600_000,
        used: 300_000,
        inodes: 1000,
        inodes_free: 900,
        device: device.to_owned(),
    }
}

fn network() -> NetworkUsage {
    let interface = InterfaceUsage {
        name: "eth0".to_owned(),
        rx: Traffic { bytes: 100, packets: 10, errors: 1, dropped: 2 },
        tx: Traffic { bytes: 200, packets: 20, errors: 3, dropped: 4 },
    };
    NetworkUsage { default: Some("eth0".to_owned()), interfaces: vec![interface] }
}

fn processes() -> ProcessUsage {
    ProcessUsage {
        processes: 2,
        descriptors: 12,
        sockets: 3,
        soft_limits: vec![("max_open_files", 1024)],
    }
}

fn web() -> PodSample {
    let desired = pod("shop/web").uid("u1").container("app").build();
    let held = runtime(&desired).sandbox(0).running("app", 0).build();
    let folder = "/kubepods/podu1";
    PodSample {
        pod: Arc::new(held),
        measured: Some(measured(folder, 2100, 1100)),
        sandbox: Some(SandboxSample {
            id: "s1".to_owned(),
            created_at: Some(at(1000)),
            measured: Some(measured("/kubepods/podu1/s1", 100, 100)),
            network: Some(network()),
            processes: Some(ProcessUsage { processes: 1, ..ProcessUsage::default() }),
        }),
        containers: vec![ContainerSample {
            id: "c1".to_owned(),
            name: "app".to_owned(),
            image: "shop/web:1".to_owned(),
            created_at: Some(at(1001)),
            started_at: Some(at(1002)),
            measured: Some(measured("/kubepods/podu1/c1", 2000, 1000)),
            processes: Some(processes()),
            layer: Some(LayerUsage {
                container: "c1".to_owned(),
                at: Some(at(1999)),
                mountpoint: "/var/lib/containerd".to_owned(),
                used: Some(5000),
                inodes: Some(5),
            }),
            layer_fs: Some(fs("/dev/sdb")),
            logs: Some(DiskUsage { bytes: 700, inodes: 1 }),
        }],
        logs: Some(DiskUsage::default()),
        etc_hosts: Some(DiskUsage { bytes: 30, inodes: 1 }),
        volumes: Arc::new(vec![
            VolumeSample {
                name: "scratch".to_owned(),
                at: Some(at(1990)),
                used: DiskUsage { bytes: 2000, inodes: 2 },
                fs: fs("/dev/sda"),
                ephemeral: true,
                claim: None,
            },
            VolumeSample {
                name: "memory".to_owned(),
                at: Some(at(1990)),
                used: DiskUsage { bytes: 9000, inodes: 9 },
                fs: fs("tmpfs"),
                ephemeral: false,
                claim: None,
            },
            VolumeSample {
                name: "data".to_owned(),
                at: Some(at(1990)),
                used: DiskUsage { bytes: 400_000, inodes: 40 },
                fs: fs("/dev/sdc"),
                ephemeral: false,
                claim: Some(ClaimName {
                    namespace: "shop".to_owned(),
                    name: "web-data".to_owned(),
                }),
            },
        ]),
    }
}

/// A pod of which only the sandbox is there.
fn starting() -> PodSample {
    let desired = pod("shop/starting").uid("u2").container("app").build();
    PodSample {
        pod: Arc::new(runtime(&desired).sandbox(0).build()),
        measured: Some(measured("/kubepods/podu2", 1, 1)),
        sandbox: None,
        containers: Vec::new(),
        logs: None,
        etc_hosts: None,
        volumes: Arc::default(),
    }
}

/// A node with one pod that runs and one that starts.
pub(super) fn snapshot() -> Snapshot {
    let facts = MachineFacts {
        node_name: "node-1".to_owned(),
        identity: MachineIdentity {
            machine_id: "m1".to_owned(),
            system_uuid: "y1".to_owned(),
            boot_id: "b1".to_owned(),
            kernel_version: "6.1.0".to_owned(),
            os_image: "Test OS".to_owned(),
            ..MachineIdentity::default()
        },
        booted: Some(at(0)),
        started: Some(at(500)),
        topology: CpuTopology { physical_cores: 2, sockets: 1 },
    };
    let store = RuntimeFs {
        at: Some(at(1999)),
        mountpoint: "/var/lib/containerd".to_owned(),
        used: Some(70_000),
        inodes: Some(70),
    };
    Snapshot {
        at: taken(),
        extent: Extent { storage: true, processes: true },
        facts: Arc::new(facts),
        node: NodeSample {
            measured: Some(measured("/", 90_000, 3000)),
            network: Some(network()),
            fs: Some(fs("/dev/sda")),
            image_fs: Some(StoreSample { store, fs: Some(fs("/dev/sdb")) }),
            container_fs: None,
            capacity: Some(MachineCapacity {
                cpus: 4,
                memory_bytes: 4096,
                pid_max: 32_768,
                processes: 200,
                ..MachineCapacity::default()
            }),
            processes: None,
        },
        groups: vec![
            GroupSample {
                name: Some("pods"),
                measured: measured("/kubepods", 3000, 1500),
                processes: None,
            },
            GroupSample {
                name: None,
                measured: measured("/kubepods/burstable", 0, 0),
                processes: None,
            },
        ],
        pods: vec![starting(), web()],
    }
}

/// The same as it is for readers of CPU and memory alone.
pub(super) fn essential() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.extent = Extent::default();
    let root = snapshot.node.measured.take();
    snapshot.node = NodeSample { measured: root, ..NodeSample::default() };
    for pod in &mut snapshot.pods {
        for container in &mut pod.containers {
            if let Some(measured) = &mut container.measured {
                measured.usage.more = None;
            }
        }
    }
    snapshot
}
