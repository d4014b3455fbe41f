//! Pure. A snapshot to the answer of `/stats/summary`.

use jiff::Timestamp;

use super::summary_types::{
    ContainerStats, CpuStats, FsStats, InterfaceStats, IoStats, MemoryStats, NetworkStats,
    NodeStats, PodReference, PodStats, ProcessStats, PsiFigures, PsiStats, PvcReference,
    RlimitStats, RuntimeStats, Summary, SwapStats, Time, VolumeStats,
};
use super::types::{
    ContainerSample, GroupSample, Measured, PodSample, Snapshot, StoreSample, VolumeSample,
};
use crate::boundary::{
    DiskUsage, FsUsage, InterfaceUsage, NetworkUsage, Pressure, Pressures, Stall,
};

#[cfg(test)]
mod tests;

/// The interface that CNI plugins name so (kubelet v1.36); taken where no route tells.
const USUAL_INTERFACE: &str = "eth0";

/// All figures. Pods without a container that runs are left out.
pub fn build_summary(snapshot: &Snapshot) -> Summary {
    let mut summary = build_cpu_and_memory_summary(snapshot);
    let node = &snapshot.node;
    summary.node.io = node.measured.as_ref().and_then(io);
    summary.node.network = node.network.as_ref().map(|network| self::network(network, snapshot.at));
    summary.node.fs = node.fs.as_ref().map(|fs| file_system(fs, snapshot.at));
    let images = node.image_fs.as_ref().map(store);
    let containers = node.container_fs.as_ref().map(store).or_else(|| images.clone());
    summary.node.runtime =
        images.is_some().then_some(RuntimeStats { image_fs: images, container_fs: containers });
    summary.node.rlimit = node.capacity.as_ref().map(|capacity| RlimitStats {
        time: Time(Some(snapshot.at)),
        maxpid: capacity.pid_max,
        curproc: capacity.processes,
    });
    for (pod, stats) in running(snapshot).zip(&mut summary.pods) {
        add_to_pod(stats, pod, snapshot);
    }
    summary
}

/// CPU, memory and swap alone.
pub fn build_cpu_and_memory_summary(snapshot: &Snapshot) -> Summary {
    let measured = snapshot.node.measured.as_ref();
    Summary {
        node: NodeStats {
            node_name: snapshot.facts.node_name.clone(),
            system_containers: snapshot.groups.iter().filter_map(|g| group(g, snapshot)).collect(),
            start_time: Time(snapshot.facts.booted),
            cpu: measured.and_then(cpu),
            memory: measured.and_then(memory),
            swap: measured.and_then(swap),
            ..NodeStats::default()
        },
        pods: running(snapshot).map(pod).collect(),
    }
}

fn running(snapshot: &Snapshot) -> impl Iterator<Item = &PodSample> {
    snapshot.pods.iter().filter(|pod| !pod.containers.is_empty())
}

/// `None` for a cgroup that the summary has no name for.
fn group(group: &GroupSample, snapshot: &Snapshot) -> Option<ContainerStats> {
    let measured = &group.measured;
    Some(ContainerStats {
        name: group.name?.to_owned(),
        start_time: Time(snapshot.facts.started),
        cpu: cpu(measured),
        memory: memory(measured),
        io: io(measured),
        swap: swap(measured),
        ..ContainerStats::default()
    })
}

fn pod(sample: &PodSample) -> PodStats {
    let measured = sample.measured.as_ref();
    PodStats {
        pod_ref: PodReference {
            name: sample.pod.full_name.name.to_string(),
            namespace: sample.pod.full_name.namespace.to_string(),
            uid: sample.pod.uid.to_string(),
        },
        start_time: Time(sample.sandbox.as_ref().and_then(|sandbox| sandbox.created_at)),
        containers: sample.containers.iter().map(container).collect(),
        cpu: measured.and_then(cpu),
        memory: measured.and_then(memory),
        swap: measured.and_then(swap),
        ..PodStats::default()
    }
}

fn container(sample: &ContainerSample) -> ContainerStats {
    let measured = sample.measured.as_ref();
    ContainerStats {
        name: sample.name.clone(),
        start_time: Time(sample.created_at),
        cpu: measured.and_then(cpu),
        memory: measured.and_then(memory),
        swap: measured.and_then(swap),
        ..ContainerStats::default()
    }
}

/// What a pod has beyond CPU and memory.
fn add_to_pod(stats: &mut PodStats, sample: &PodSample, snapshot: &Snapshot) {
    stats.io = sample.measured.as_ref().and_then(io);
    let network = sample.sandbox.as_ref().and_then(|sandbox| sandbox.network.as_ref());
    stats.network = network.map(|network| self::network(network, snapshot.at));
    stats.volume = sample.volumes.iter().map(volume).collect();
    for (sample, stats) in sample.containers.iter().zip(&mut stats.containers) {
        stats.io = sample.measured.as_ref().and_then(io);
        stats.rootfs = layer(sample);
        stats.logs = sample.logs.map(|logs| on_node(logs, snapshot));
    }
    stats.ephemeral_storage = ephemeral_storage(sample, snapshot);
    let of_containers = sample.containers.iter().map(|container| container.processes.as_ref());
    let counted: Vec<u64> = of_containers.flatten().map(|usage| usage.processes).collect();
    stats.process_stats =
        (!counted.is_empty()).then(|| ProcessStats { process_count: counted.iter().sum() });
}

/// Layers, logs, hosts file and volumes of the node's disk; `None` when none of it is known.
fn ephemeral_storage(sample: &PodSample, snapshot: &Snapshot) -> Option<FsStats> {
    let layers = sample.containers.iter().filter_map(|container| {
        let layer = container.layer.as_ref()?;
        Some(DiskUsage { bytes: layer.used?, inodes: layer.inodes.unwrap_or(0) })
    });
    let logs = sample.containers.iter().filter_map(|container| container.logs);
    let volumes = sample.volumes.iter().filter(|volume| volume.ephemeral).map(|volume| volume.used);
    let others = sample.logs.into_iter().chain(sample.etc_hosts);
    let all = layers.chain(logs).chain(volumes).chain(others).reduce(|sum, usage| sum + usage)?;
    Some(on_node(all, snapshot))
}

fn cpu(measured: &Measured) -> Option<CpuStats> {
    let usage = measured.usage.cpu?;
    Some(CpuStats {
        time: Time(measured.usage.at),
        usage_nano_cores: measured.nano_cores,
        usage_core_nano_seconds: Some(usage.total_ns),
        psi: pressures(measured).cpu.map(psi),
    })
}

fn memory(measured: &Measured) -> Option<MemoryStats> {
    let usage = measured.usage.memory?;
    Some(MemoryStats {
        time: Time(measured.usage.at),
        available_bytes: usage.limit.map(|limit| limit.saturating_sub(usage.working_set)),
        usage_bytes: Some(usage.usage),
        working_set_bytes: Some(usage.working_set),
        rss_bytes: usage.rss,
        page_faults: usage.page_faults,
        major_page_faults: usage.major_page_faults,
        psi: pressures(measured).memory.map(psi),
    })
}

fn swap(measured: &Measured) -> Option<SwapStats> {
    let usage = measured.usage.swap?;
    Some(SwapStats {
        time: Time(measured.usage.at),
        swap_available_bytes: usage.limit.map(|limit| limit.saturating_sub(usage.usage)),
        swap_usage_bytes: Some(usage.usage),
    })
}

/// `None` where the kernel keeps no pressure, for there is nothing else to tell.
fn io(measured: &Measured) -> Option<IoStats> {
    let psi = pressures(measured).io.map(psi)?;
    Some(IoStats { time: Time(measured.usage.at), psi: Some(psi) })
}

fn pressures(measured: &Measured) -> Pressures {
    measured.usage.more.as_ref().map(|more| more.pressure).unwrap_or_default()
}

fn psi(pressure: Pressure) -> PsiStats {
    let figures = |stall: Stall| PsiFigures {
        total: stall.total_us,
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    };
    PsiStats { full: figures(pressure.full), some: figures(pressure.some) }
}

fn network(usage: &NetworkUsage, at: Timestamp) -> NetworkStats {
    let name = usage.default.as_deref().unwrap_or(USUAL_INTERFACE);
    let default = usage.interfaces.iter().find(|interface| interface.name == name);
    NetworkStats {
        time: Time(Some(at)),
        default: default.map(interface).unwrap_or_default(),
        interfaces: usage.interfaces.iter().map(interface).collect(),
    }
}

fn interface(usage: &InterfaceUsage) -> InterfaceStats {
    InterfaceStats {
        name: usage.name.clone(),
        rx_bytes: Some(usage.rx.bytes),
        rx_errors: Some(usage.rx.errors),
        tx_bytes: Some(usage.tx.bytes),
        tx_errors: Some(usage.tx.errors),
    }
}

/// A file system as a whole.
fn file_system(fs: &FsUsage, at: Timestamp) -> FsStats {
    FsStats {
        used_bytes: Some(fs.used),
        inodes_used: Some(fs.inodes.saturating_sub(fs.inodes_free)),
        ..what_is_free(Some(fs), Some(at))
    }
}

/// The figures of a file system that all its users share.
fn what_is_free(fs: Option<&FsUsage>, at: Option<Timestamp>) -> FsStats {
    FsStats {
        time: Time(at),
        available_bytes: fs.map(|fs| fs.available),
        capacity_bytes: fs.map(|fs| fs.capacity),
        inodes_free: fs.map(|fs| fs.inodes_free),
        inodes: fs.map(|fs| fs.inodes),
        ..FsStats::default()
    }
}

/// What somebody uses of the node's own file system.
fn on_node(usage: DiskUsage, snapshot: &Snapshot) -> FsStats {
    FsStats {
        used_bytes: Some(usage.bytes),
        inodes_used: Some(usage.inodes),
        ..what_is_free(snapshot.node.fs.as_ref(), Some(snapshot.at))
    }
}

fn store(sample: &StoreSample) -> FsStats {
    FsStats {
        used_bytes: sample.store.used,
        inodes_used: sample.store.inodes,
        ..what_is_free(sample.fs.as_ref(), sample.store.at)
    }
}

fn layer(sample: &ContainerSample) -> Option<FsStats> {
    let layer = sample.layer.as_ref()?;
    Some(FsStats {
        used_bytes: layer.used,
        inodes_used: layer.inodes,
        ..what_is_free(sample.layer_fs.as_ref(), layer.at)
    })
}

fn volume(sample: &VolumeSample) -> VolumeStats {
    VolumeStats {
        fs: FsStats {
            used_bytes: Some(sample.used.bytes),
            inodes_used: Some(sample.used.inodes),
            ..what_is_free(Some(&sample.fs), sample.at)
        },
        name: sample.name.clone(),
        pvc_ref: sample.claim.as_ref().map(|claim| PvcReference {
            name: claim.name.clone(),
            namespace: claim.namespace.clone(),
        }),
    }
}
