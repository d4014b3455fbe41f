use super::*;

/// A cgroup of the given files, `controller/name`; v2 has no controllers.
fn files<'a>(known: &'a [(&str, &str)]) -> impl Fn(&str, &str) -> Option<String> + 'a {
    move |controller, name| {
        let wanted =
            if controller.is_empty() { name.to_owned() } else { format!("{controller}/{name}") };
        let found = known.iter().find(|(path, _)| *path == wanted)?;
        Some(found.1.to_owned())
    }
}

const V1: &[(&str, &str)] = &[
    ("cpuacct/cpuacct.usage", "2000000000\n"),
    ("cpuacct/cpuacct.stat", "user 150\nsystem 50\n"),
    ("cpu/cpu.shares", "102\n"),
    ("cpu/cpu.cfs_quota_us", "20000\n"),
    ("cpu/cpu.cfs_period_us", "100000\n"),
    (
        "cpu/cpu.stat",
        "nr_periods 10\nnr_throttled 4\nthrottled_time 5000\nnr_bursts 0\nburst_time 0\n",
    ),
    ("memory/memory.usage_in_bytes", "1000\n"),
    ("memory/memory.limit_in_bytes", "4096\n"),
    ("memory/memory.memsw.limit_in_bytes", "6144\n"),
    ("memory/memory.soft_limit_in_bytes", "9223372036854771712\n"),
    ("memory/memory.max_usage_in_bytes", "1500\n"),
    ("memory/memory.failcnt", "7\n"),
    ("memory/memory.kmem.usage_in_bytes", "64\n"),
    ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    (
        "memory/memory.stat",
        "rss 1\ntotal_cache 500\ntotal_rss 400\ntotal_mapped_file 30\ntotal_swap 12\n\
         total_pgfault 9\ntotal_pgmajfault 3\ntotal_inactive_file 300\ntotal_active_file 200\n",
    ),
    ("pids/pids.current", "5\n"),
    ("pids/pids.max", "max\n"),
    ("blkio/blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\nTotal 4096\n"),
    ("blkio/blkio.throttle.io_serviced_recursive", "8:0 Read 1\nTotal 1\n"),
];

const V2: &[(&str, &str)] = &[
    (
        "cpu.stat",
        "usage_usec 2000000\nuser_usec 1500000\nsystem_usec 500000\nnr_periods 10\n\
         nr_throttled 4\nthrottled_usec 5\nnr_bursts 0\nburst_usec 0\n",
    ),
    ("cpu.weight", "4\n"),
    ("cpu.max", "20000 100000\n"),
    ("cpu.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=10\n"),
    ("memory.current", "1000\n"),
    ("memory.max", "4096\n"),
    ("memory.min", "0\n"),
    ("memory.peak", "1500\n"),
    ("memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\n"),
    (
        "memory.stat",
        "anon 400\nfile 500\nkernel 64\nfile_mapped 30\ninactive_file 300\nactive_file 200\n\
         pgfault 9\npgmajfault 3\n",
    ),
    ("memory.swap.current", "12\n"),
    ("memory.swap.max", "2048\n"),
    ("pids.current", "5\n"),
    ("pids.max", "max\n"),
    ("io.stat", "8:0 rbytes=4096 wbytes=0 rios=1 wios=0\n"),
];

#[test]
fn both_versions_tell_the_same_of_the_same_load() {
    let one = read_v1(&files(V1), Detail::Full).unwrap();
    let two = read_v2(&files(V2), Detail::Full).unwrap();
    assert_eq!(one.cpu, two.cpu);
    assert_eq!(one.memory, two.memory);
    assert_eq!(one.swap, two.swap);
    let (one, two) = (one.more.unwrap(), two.more.unwrap());
    assert_eq!(one.cpu.throttling, two.cpu.throttling);
    assert_eq!((one.cpu.quota_us, one.cpu.period_us), (two.cpu.quota_us, two.cpu.period_us));
    // Weights are coarser than shares.
    assert_eq!((one.cpu.shares, two.cpu.shares), (Some(102), Some(80)));
    assert_eq!((one.pids, one.io), (two.pids, two.io));
    assert_eq!((one.memory.swap_limit, two.memory.swap_limit), (Some(6144), Some(2048)));
    assert_eq!(
        MemoryDetail { swap_limit: None, ..one.memory },
        MemoryDetail { swap_limit: None, ..two.memory }
    );
    assert_eq!(one.pressure, Pressures::default());
    assert_eq!(two.pressure.cpu.unwrap().some.total_us, 10);
}

#[test]
fn working_set_is_usage_without_unused_file_pages() {
    let usage = read_v1(&files(V1), Detail::Essential).unwrap();
    let memory = usage.memory.unwrap();
    assert_eq!((memory.usage, memory.working_set), (1000, 700));
    assert_eq!(memory.limit, Some(4096));
    assert_eq!(usage.swap, Some(SwapUsage { usage: 12, limit: Some(2048) }));
    assert_eq!(usage.more, None);
}

#[test]
fn working_set_is_never_below_zero() {
    let files = files(&[
        ("memory.current", "100\n"),
        ("memory.stat", "anon 1\nfile 1\ninactive_file 4096\n"),
    ]);
    assert_eq!(read_v2(&files, Detail::Essential).unwrap().memory.unwrap().working_set, 0);
}

#[test]
fn topmost_cgroup_of_v2_sums_up_its_memory() {
    let files = files(&[
        ("cpu.stat", "usage_usec 1\n"),
        ("memory.stat", "anon 400\nfile 500\ninactive_file 300\n"),
    ]);
    let usage = read_v2(&files, Detail::Full).unwrap();
    let memory = usage.memory.unwrap();
    assert_eq!((memory.usage, memory.working_set, memory.limit), (900, 600, None));
    assert_eq!(usage.swap, None);
}

#[test]
fn a_missing_figure_is_left_out_and_a_missing_cgroup_is_none() {
    assert_eq!(read_v1(&files(&[]), Detail::Full), None);
    assert_eq!(read_v2(&files(&[]), Detail::Full), None);
    let only_cpu = [("cpuacct/cpuacct.usage", "5\n")];
    let usage = read_v1(&files(&only_cpu), Detail::Full).unwrap();
    assert_eq!(usage.cpu, Some(CpuUsage { total_ns: 5, user_ns: None, system_ns: None }));
    assert_eq!((usage.memory, usage.swap), (None, None));
    let more = usage.more.unwrap();
    assert_eq!((more.cpu, more.memory), (CpuDetail::default(), MemoryDetail::default()));
}
