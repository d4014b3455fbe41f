use super::cleanup;
use crate::config::IpFamily;
use crate::testing::FakeIptables;

#[tokio::test]
async fn our_chains_and_every_rule_that_leads_to_them_go() {
    let iptables = FakeIptables::new(IpFamily::V4);
    let foreign = "*filter\n:KUBE-FIREWALL - [0:0]\n:MINE - [0:0]\n\
        -A INPUT -j KUBE-FIREWALL\n-A INPUT -j MINE\nCOMMIT\n";
    iptables.set(foreign);
    let before = iptables.saved();
    iptables.set(&format!(
        "{foreign}*filter\n:KUBE-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]\n\
         -A FORWARD -j KUBE-FORWARD\n-A FORWARD -o eth0 -j KUBE-SERVICES\nCOMMIT\n\
         *nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n:KUBE-SEP-A - [0:0]\n\
         -A KUBE-SERVICES -j KUBE-SVC-A\n-A KUBE-SVC-A -j KUBE-SEP-A\n\
         -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\nCOMMIT\n\
         *mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n"
    ));
    assert!(cleanup(&*iptables, IpFamily::V4).await.unwrap());
    assert_eq!(iptables.saved(), before);
    assert!(!cleanup(&*iptables, IpFamily::V4).await.unwrap());
}
