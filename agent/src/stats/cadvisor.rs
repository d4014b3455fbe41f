//! Pure. A snapshot to the page `/metrics/cadvisor`.
//!
//! Names, labels and conditions follow cAdvisor v0.56 `metrics/prometheus.go` with the kubelet's
//! labels (v1.36 `pkg/kubelet/server/server.go`): `container`, `id`, `image`, `name`, `namespace`,
//! `pod`, each empty where it is not known. A figure that the kernel does not tell has no series,
//! where cAdvisor shows 0. Also shown for containers is what their writable layers take, which
//! cAdvisor knows of no containerd. Left out are families that cAdvisor fills with zeros unless it is
//! told to measure them, which the kubelet does not, and those of the machine's disks.

use jiff::Timestamp;

use super::exposition::{Exposition, count, epoch_seconds, seconds};
use super::machine_page;
use super::types::{ContainerSample, Measured, PodSample, Snapshot};
use crate::boundary::{
    CgroupDetail, DeviceIo, FsUsage, InterfaceUsage, MemoryUsage, NetworkUsage, Pressure,
    ProcessUsage, Throttling,
};

mod families;

#[cfg(test)]
mod tests;

use families::FAMILIES;

/// The six labels of every series.
type Identity<'a> = [(&'static str, &'a str); 6];

/// One thing that has series.
struct Subject<'a> {
    identity: Identity<'a>,
    measured: &'a Measured,
    started: Option<Timestamp>,
    network: Option<&'a NetworkUsage>,
    processes: Option<&'a ProcessUsage>,
    /// Device, what is used of it, and the file system.
    disks: Vec<(&'a str, u64, &'a FsUsage)>,
}

/// The page of a snapshot.
pub fn render_cadvisor(snapshot: &Snapshot) -> String {
    let mut page = Exposition::default();
    machine_page::add_version(&mut page, snapshot);
    for (name, kind, help) in FAMILIES {
        page.family(name, *kind, help);
    }
    for subject in subjects(snapshot) {
        add_subject(&mut page, &subject, snapshot.at);
    }
    page.sample("container_scrape_error", &[], 0.0, None);
    machine_page::add_machine(&mut page, snapshot);
    page.render()
}

/// The page when there are no figures.
pub fn render_failed_cadvisor() -> String {
    let mut page = Exposition::default();
    for (name, kind, help) in FAMILIES {
        page.family(name, *kind, help);
    }
    page.sample("container_scrape_error", &[], 1.0, None);
    page.render()
}

fn identity<'a>(
    id: &'a str,
    (namespace, pod): (&'a str, &'a str),
    (container, name, image): (&'a str, &'a str, &'a str),
) -> Identity<'a> {
    [
        ("container", container),
        ("id", id),
        ("image", image),
        ("name", name),
        ("namespace", namespace),
        ("pod", pod),
    ]
}

fn id(measured: &Measured) -> &str {
    measured.path.to_str().unwrap_or_default()
}

fn subjects(snapshot: &Snapshot) -> Vec<Subject<'_>> {
    let nothing = (("", ""), ("", "", ""));
    let node = &snapshot.node;
    let root = node.measured.iter().map(|measured| Subject {
        identity: identity(id(measured), nothing.0, nothing.1),
        measured,
        started: snapshot.facts.booted,
        network: node.network.as_ref(),
        processes: node.processes.as_ref(),
        disks: node_disks(snapshot),
    });
    let groups = snapshot.groups.iter().map(|group| Subject {
        identity: identity(id(&group.measured), nothing.0, nothing.1),
        measured: &group.measured,
        started: None,
        network: None,
        processes: group.processes.as_ref(),
        disks: Vec::new(),
    });
    root.chain(groups).chain(snapshot.pods.iter().flat_map(pod_subjects)).collect()
}

/// The node's disks, one series for each device.
fn node_disks(snapshot: &Snapshot) -> Vec<(&str, u64, &FsUsage)> {
    let node = &snapshot.node;
    let store = node.image_fs.as_ref().and_then(|store| store.fs.as_ref());
    let layers = node.container_fs.as_ref().and_then(|store| store.fs.as_ref());
    let mut disks: Vec<(&str, u64, &FsUsage)> = Vec::new();
    for fs in node.fs.iter().chain(store).chain(layers) {
        if disks.iter().all(|(device, ..)| *device != fs.device) {
            disks.push((&fs.device, fs.used, fs));
        }
    }
    disks
}

fn pod_subjects(sample: &PodSample) -> Vec<Subject<'_>> {
    let name = (&*sample.pod.full_name.namespace, &*sample.pod.full_name.name);
    let sandbox = sample.sandbox.as_ref();
    let created = sandbox.and_then(|sandbox| sandbox.created_at);
    let whole = sample.measured.iter().map(|measured| Subject {
        identity: identity(id(measured), name, ("", "", "")),
        measured,
        started: created,
        network: None,
        processes: None,
        disks: Vec::new(),
    });
    let sandbox = sandbox.and_then(|sandbox| {
        let measured = sandbox.measured.as_ref()?;
        Some(Subject {
            identity: identity(id(measured), name, ("", &sandbox.id, "")),
            measured,
            started: created,
            network: sandbox.network.as_ref(),
            processes: sandbox.processes.as_ref(),
            disks: Vec::new(),
        })
    });
    let containers = sample.containers.iter().filter_map(|container| {
        let measured = container.measured.as_ref()?;
        Some(Subject {
            identity: identity(
                id(measured),
                name,
                (&container.name, &container.id, &container.image),
            ),
            measured,
            started: container.started_at.or(container.created_at),
            network: None,
            processes: container.processes.as_ref(),
            disks: layer_disk(container).into_iter().collect(),
        })
    });
    whole.chain(sandbox).chain(containers).collect()
}

fn layer_disk(container: &ContainerSample) -> Option<(&str, u64, &FsUsage)> {
    let fs = container.layer_fs.as_ref()?;
    Some((&fs.device, container.layer.as_ref()?.used?, fs))
}

/// Writes the series of one subject, each at the time its cgroup was read.
struct Writer<'a> {
    page: &'a mut Exposition,
    identity: &'a Identity<'a>,
    at: Option<Timestamp>,
}

impl Writer<'_> {
    fn some(&mut self, name: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.page.sample(name, self.identity, value, self.at);
        }
    }

    fn count(&mut self, name: &'static str, value: Option<u64>) {
        self.some(name, value.map(count));
    }

    fn seconds(&mut self, name: &'static str, nanoseconds: Option<u64>) {
        self.some(name, nanoseconds.map(seconds));
    }

    /// A figure of the cgroup's settings, which has no time.
    fn setting(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.page.sample(name, self.identity, count(value), None);
        }
    }

    fn with(&mut self, name: &'static str, more: &[(&str, &str)], value: f64) {
        let labels: Vec<(&str, &str)> = self.identity.iter().chain(more).copied().collect();
        self.page.sample(name, &labels, value, self.at);
    }
}

fn add_subject(page: &mut Exposition, subject: &Subject<'_>, now: Timestamp) {
    let usage = &subject.measured.usage;
    let mut writer = Writer { page, identity: &subject.identity, at: Some(now) };
    writer.some("container_last_seen", Some(count(u64::try_from(now.as_second()).unwrap_or(0))));
    if let Some(started) = subject.started {
        writer.page.sample(
            "container_start_time_seconds",
            writer.identity,
            epoch_seconds(started).floor(),
            None,
        );
    }
    writer.at = usage.at;
    if let Some(cpu) = usage.cpu {
        writer.with(
            "container_cpu_usage_seconds_total",
            &[("cpu", "total")],
            seconds(cpu.total_ns),
        );
        writer.seconds("container_cpu_user_seconds_total", cpu.user_ns);
        writer.seconds("container_cpu_system_seconds_total", cpu.system_ns);
    }
    if let Some(memory) = &usage.memory {
        add_memory(&mut writer, memory);
    }
    writer.count("container_memory_swap", usage.swap.map(|swap| swap.usage));
    if let Some(more) = &usage.more {
        add_detail(&mut writer, more, usage.memory.as_ref());
    }
    if let Some(network) = subject.network {
        network.interfaces.iter().for_each(|interface| add_interface(&mut writer, interface));
    }
    if let Some(processes) = subject.processes {
        add_processes(&mut writer, processes);
    }
    for (device, used, fs) in &subject.disks {
        let device = [("device", *device)];
        writer.with("container_fs_usage_bytes", &device, count(*used));
        writer.with("container_fs_limit_bytes", &device, count(fs.capacity));
        writer.with("container_fs_inodes_total", &device, count(fs.inodes));
        writer.with("container_fs_inodes_free", &device, count(fs.inodes_free));
    }
}

fn add_memory(writer: &mut Writer<'_>, memory: &MemoryUsage) {
    writer.count("container_memory_usage_bytes", Some(memory.usage));
    writer.count("container_memory_working_set_bytes", Some(memory.working_set));
    writer.count("container_memory_rss", memory.rss);
    writer.count("container_memory_cache", memory.cache);
    writer.count("container_memory_mapped_file", memory.mapped_file);
    writer.count("container_memory_total_active_file_bytes", memory.active_file);
    writer.count("container_memory_total_inactive_file_bytes", memory.inactive_file);
    for (kind, value) in [("pgfault", memory.page_faults), ("pgmajfault", memory.major_page_faults)]
    {
        let Some(value) = value else { continue };
        for scope in ["container", "hierarchy"] {
            let labels = [("failure_type", kind), ("scope", scope)];
            writer.with("container_memory_failures_total", &labels, count(value));
        }
    }
}

fn add_detail(writer: &mut Writer<'_>, more: &CgroupDetail, memory: Option<&MemoryUsage>) {
    writer.setting("container_spec_cpu_period", more.cpu.period_us);
    writer.setting("container_spec_cpu_quota", more.cpu.quota_us);
    writer.setting("container_spec_cpu_shares", more.cpu.shares);
    // 0 is no limit, as cAdvisor has it.
    if let Some(memory) = memory {
        let limit = |limit: Option<u64>| Some(limit.unwrap_or(0));
        writer.setting("container_spec_memory_limit_bytes", limit(memory.limit));
        writer.setting("container_spec_memory_swap_limit_bytes", limit(more.memory.swap_limit));
        let reservation = limit(more.memory.reservation);
        writer.setting("container_spec_memory_reservation_limit_bytes", reservation);
    }
    if let Some(throttling) = more.cpu.throttling.filter(|_| more.cpu.quota_us.is_some()) {
        add_throttling(writer, throttling);
    }
    writer.count("container_memory_kernel_usage", more.memory.kernel);
    writer.count("container_memory_max_usage_bytes", more.memory.max_usage);
    writer.count("container_memory_failcnt", more.memory.failures);
    writer.count("container_oom_events_total", more.memory.oom_kills);
    if let Some(threads) = more.pids.current {
        writer.count("container_threads", Some(threads));
        writer.count("container_threads_max", Some(more.pids.max.unwrap_or(0)));
    }
    more.io.iter().for_each(|device| add_device(writer, device));
    let pressure = &more.pressure;
    let pairs = [
        (
            "container_pressure_cpu_waiting_seconds_total",
            "container_pressure_cpu_stalled_seconds_total",
            pressure.cpu,
        ),
        (
            "container_pressure_memory_waiting_seconds_total",
            "container_pressure_memory_stalled_seconds_total",
            pressure.memory,
        ),
        (
            "container_pressure_io_waiting_seconds_total",
            "container_pressure_io_stalled_seconds_total",
            pressure.io,
        ),
    ];
    for (waiting, stalled, pressure) in pairs {
        let Some(Pressure { some, full }) = pressure else { continue };
        writer.seconds(waiting, Some(some.total_us.saturating_mul(1000)));
        writer.seconds(stalled, Some(full.total_us.saturating_mul(1000)));
    }
}

fn add_throttling(writer: &mut Writer<'_>, throttling: Throttling) {
    writer.count("container_cpu_cfs_periods_total", Some(throttling.periods));
    writer.count("container_cpu_cfs_throttled_periods_total", Some(throttling.throttled_periods));
    writer.seconds("container_cpu_cfs_throttled_seconds_total", Some(throttling.throttled_ns));
    writer.count("container_cpu_cfs_burst_periods_total", throttling.burst_periods);
    writer.seconds("container_cpu_cfs_burst_seconds_total", throttling.burst_ns);
}

fn add_device(writer: &mut Writer<'_>, device: &DeviceIo) {
    let name = [("device", &*device.device)];
    writer.with("container_fs_reads_bytes_total", &name, count(device.read_bytes));
    writer.with("container_fs_reads_total", &name, count(device.reads));
    writer.with("container_fs_writes_bytes_total", &name, count(device.write_bytes));
    writer.with("container_fs_writes_total", &name, count(device.writes));
    let (major, minor) = (device.major.to_string(), device.minor.to_string());
    for (operation, bytes) in [("Read", device.read_bytes), ("Write", device.write_bytes)] {
        let labels = [
            ("device", &*device.device),
            ("major", &*major),
            ("minor", &*minor),
            ("operation", operation),
        ];
        writer.with("container_blkio_device_usage_total", &labels, count(bytes));
    }
}

fn add_interface(writer: &mut Writer<'_>, interface: &InterfaceUsage) {
    let name = [("interface", &*interface.name)];
    let (rx, tx) = (interface.rx, interface.tx);
    for (family, value) in [
        ("container_network_receive_bytes_total", rx.bytes),
        ("container_network_receive_packets_total", rx.packets),
        ("container_network_receive_packets_dropped_total", rx.dropped),
        ("container_network_receive_errors_total", rx.errors),
        ("container_network_transmit_bytes_total", tx.bytes),
        ("container_network_transmit_packets_total", tx.packets),
        ("container_network_transmit_packets_dropped_total", tx.dropped),
        ("container_network_transmit_errors_total", tx.errors),
    ] {
        writer.with(family, &name, count(value));
    }
}

fn add_processes(writer: &mut Writer<'_>, processes: &ProcessUsage) {
    writer.count("container_processes", Some(processes.processes));
    writer.count("container_file_descriptors", Some(processes.descriptors));
    writer.count("container_sockets", Some(processes.sockets));
    for (name, limit) in &processes.soft_limits {
        #[expect(clippy::cast_precision_loss, reason = "the format knows only floating point")]
        let limit = *limit as f64;
        writer.with("container_ulimits_soft", &[("ulimit", name)], limit);
    }
}
