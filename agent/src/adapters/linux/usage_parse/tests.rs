use super::*;

#[test]
fn limits_without_bound_are_none() {
    for (text, limit) in [
        ("max\n", None),
        ("-1\n", None),
        ("9223372036854771712\n", None),
        ("", None),
        ("67108864\n", Some(67_108_864)),
    ] {
        assert_eq!(parse_limit(text), limit, "{text:?}");
    }
}

#[test]
fn flat_keyed_files_skip_what_is_malformed() {
    let stat = FlatKeyed::parse("cache 4096\nrss\ntotal_rss x\nswap 0\n");
    assert_eq!(stat.get("cache"), Some(4096));
    assert_eq!(stat.get("swap"), Some(0));
    assert_eq!((stat.get("rss"), stat.get("total_rss")), (None, None));
}

#[test]
fn cpu_max_knows_quota_and_period() {
    assert_eq!(parse_cpu_max("50000 100000\n"), (Some(50_000), Some(100_000)));
    assert_eq!(parse_cpu_max("max 100000\n"), (None, Some(100_000)));
    assert_eq!(parse_cpu_max(""), (None, None));
}

#[test]
fn pressure_has_both_lines() {
    let text = "some avg10=97.56 avg60=76.38 avg300=73.20 total=779333528\n\
                full avg10=0.00 avg60=0.50 avg300=0.00 total=12\n";
    let pressure = parse_pressure(text).unwrap();
    let some = Stall { total_us: 779_333_528, avg10: 97.56, avg60: 76.38, avg300: 73.20 };
    assert_eq!(pressure.some, some);
    assert_eq!(pressure.full, Stall { total_us: 12, avg60: 0.5, ..Stall::default() });
    assert_eq!(parse_pressure("\n"), None);
}

#[test]
fn disk_figures_of_both_versions_mean_the_same() {
    let v2 = parse_io_stat(
        "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n253:16 \nx:1 rbytes=1\n",
    );
    let v1 = parse_blkio(
        "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 8192\n8:0 Total 12288\nTotal 12288\n",
        "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
    );
    let expected = DeviceIo {
        major: 8,
        read_bytes: 4096,
        write_bytes: 8192,
        reads: 1,
        writes: 2,
        ..DeviceIo::default()
    };
    assert_eq!(v2, v1);
    assert_eq!(v1, [expected]);
    assert_eq!(parse_blkio("Total 0\n", "Total 0\n"), []);
}

#[test]
fn loopback_and_ends_of_pods_are_left_out() {
    let text = "Inter-|   Receive   |  Transmit\n face |bytes packets errs drop\n    \
                lo: 3193 29 0 0 0 0 0 0 3193 29 0 0 0 0 0 0\n\
                veth12: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                eth0: 100 10 1 2 0 0 0 0 200 20 3 4 0 0 0 0\n\
                short: 1 2 3\n";
    assert_eq!(
        parse_net_dev(text),
        [InterfaceUsage {
            name: "eth0".to_owned(),
            rx: Traffic { bytes: 100, packets: 10, errors: 1, dropped: 2 },
            tx: Traffic { bytes: 200, packets: 20, errors: 3, dropped: 4 },
        }]
    );
}

#[test]
fn default_interface_is_that_of_the_best_default_route() {
    let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
    let slow = "wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n";
    let fast = "ens3\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    let half = "tun0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n";
    let near = "ens3\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    let all = [head, slow, fast, half, near].concat();
    assert_eq!(parse_default_interface(&all).as_deref(), Some("ens3"));
    assert_eq!(parse_default_interface(&[head, near].concat()), None);

    let zero = "0".repeat(32);
    let v6 =
        |name: &str| format!("{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 1 {name}\n");
    assert_eq!(parse_default_interface_v6(&v6("eth0")).as_deref(), Some("eth0"));
    assert_eq!(parse_default_interface_v6(&v6("lo")), None);
}

#[test]
fn open_files_limit_may_be_none() {
    let text = |soft: &str| format!("Limit Soft Hard Units\nMax open files  {soft}  4096  files\n");
    assert_eq!(parse_open_files_limit(&text("1024")), Some(1024));
    assert_eq!(parse_open_files_limit(&text("unlimited")), Some(-1));
    assert_eq!(parse_open_files_limit("Max processes 1 1\n"), None);
}

#[test]
fn a_process_counted_in_two_cgroups_has_none_of_its_own() {
    assert_eq!(
        parse_own_cgroup("0::/system.slice/kubelet.service\n").as_deref(),
        Some("/system.slice/kubelet.service")
    );
    assert_eq!(
        parse_own_cgroup("4:memory:/a\n3:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/c\n").as_deref(),
        Some("/a")
    );
    assert_eq!(parse_own_cgroup("4:memory:/a\n3:cpu:/\n0::/\n"), None);
    assert_eq!(parse_own_cgroup(""), None);
}

#[test]
fn boot_time_is_found() {
    assert_eq!(parse_boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    assert_eq!(parse_boot_time("cpu 1 2\n"), None);
}
