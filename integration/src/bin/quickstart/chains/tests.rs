use super::of_service;

const SAVED: &str = r#"*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -i eth0 -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -j KUBE-SVC-A
-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m comment --comment "demo/web cluster IP" -j KUBE-SVC-B
-A KUBE-SERVICES -m comment --comment "last" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-B -m comment --comment "demo/web -> 10.244.0.2:80" -j KUBE-SEP-C
-A KUBE-SEP-C -p tcp -m comment --comment demo/web -m tcp -j DNAT --to-destination 10.244.0.2:80
-A KUBE-EXT-B -m comment --comment "masquerade traffic for demo/web external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-B -j KUBE-SVC-B
-A KUBE-SVC-A -m comment --comment "default/kubernetes:https -> 172.30.0.1:6443" -j KUBE-SEP-D
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
"#;

#[test]
fn only_what_a_packet_to_the_service_meets_is_kept() {
    let kept = of_service(SAVED, "demo/web");
    let targets: Vec<&str> = kept.iter().filter_map(|line| line.split("-j ").nth(1)).collect();
    assert_eq!(
        targets,
        [
            "KUBE-SERVICES",
            "KUBE-SVC-B",
            "KUBE-NODEPORTS",
            "KUBE-SEP-C",
            "DNAT --to-destination 10.244.0.2:80",
            "KUBE-MARK-MASQ",
            "KUBE-SVC-B",
            "MARK --set-xmark 0x4000/0x4000",
        ]
    );
}
