//! Live rules, and those of somebody else.

use netproxy::config::IpFamily;

use super::network::{run, run_with_input};
use super::topology::FAMILIES;

/// The binaries of a family start so.
pub const fn iptables(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "iptables",
        IpFamily::V6 => "ip6tables",
    }
}

/// All live rules of iptables and our table of nftables, line by line, without counters,
/// comments and times.
pub fn live(family: IpFamily) -> Vec<String> {
    let text = without_counters(&run(&format!("{}-save", iptables(family)), &[]));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.extend(live_nft(family));
    lines
}

/// The family in the words of nftables.
pub const fn nft_family(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "ip",
        IpFamily::V6 => "ip6",
    }
}

/// Our table of nftables; nothing when there is none. Elements are sorted, because the kernel
/// lists them as it likes.
fn live_nft(family: IpFamily) -> Vec<String> {
    let family = nft_family(family);
    if !run("nft", &["list", "tables", family]).contains("kube-proxy") {
        return Vec::new();
    }
    let text = run("nft", &["--stateless", "list", "table", family, "kube-proxy"]);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("elements = {") {
        found.extend(before.lines().map(str::to_owned));
        // Verdicts and comments have no braces.
        let (elements, after) = after.split_once('}').unwrap();
        let mut elements: Vec<_> =
            elements.split(',').map(|element| element.trim().to_owned()).collect();
        elements.sort();
        found.extend(elements);
        rest = after;
    }
    found.extend(rest.lines().map(str::to_owned));
    found
}

/// What is in one of two and not in the other, for messages.
pub fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// Live rules of the nat table.
pub fn live_nat(family: IpFamily) -> String {
    without_counters(&run(&format!("{}-save", iptables(family)), &["-t", "nat"]))
}

fn without_counters(saved: &str) -> String {
    let kept = saved.lines().filter(|line| !line.starts_with('#')).map(|line| {
        line.split_once(" [").filter(|_| line.starts_with(':')).map_or(line, |(chain, _)| chain)
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// Rules that a proxy must not touch: chains with names close to ours, matches it does not know,
/// comments that look like something else, and jumps beside its own. The chain KUBE-FIREWALL is
/// the kubelet's as much as the proxy's.
const FOREIGN: &str = r#"*mangle
:PREROUTING ACCEPT
:SOMEBODY-ELSE -
-A PREROUTING -j SOMEBODY-ELSE
-A SOMEBODY-ELSE -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1400
-A SOMEBODY-ELSE -m ttl --ttl-lt 3 -j MARK --set-xmark 0x1234/0xffff
COMMIT
*nat
:PREROUTING ACCEPT
:POSTROUTING ACCEPT
:KUBERNETES-SVC -
:MY-KUBE-SVC-HW2XM7FRY33HE -
-A PREROUTING -m comment --comment "a \"quoted\" -j KUBE-SERVICES comment" -j KUBERNETES-SVC
-A POSTROUTING -m mark --mark 0x1/0x1 -j MASQUERADE
-A KUBERNETES-SVC -m limit --limit 3/hour --limit-burst 7 -j MY-KUBE-SVC-HW2XM7FRY33HE
-A MY-KUBE-SVC-HW2XM7FRY33HE -m statistic --mode nth --every 3 --packet 1 -j RETURN
COMMIT
*filter
:FORWARD ACCEPT
:KUBE-FIREWALL -
:EMPTY -
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A FORWARD -m comment --comment "kubernetes service portals" -m recent --name kube --set
-A FORWARD -p tcp -m multiport --dports 1,2:3 -m string --string "KUBE-FW-" --algo bm -j EMPTY
COMMIT
"#;

/// Adds rules of somebody else to every table, in both families.
pub fn plant_foreign_rules() {
    for family in FAMILIES {
        let input = match family {
            IpFamily::V4 => FOREIGN.to_owned(),
            // There is no such loopback network, and hop limits have another name.
            IpFamily::V6 => {
                let kept = FOREIGN.lines().filter(|line| !line.contains("127.0.0.0/8"));
                let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
                kept.replace("-m ttl --ttl-lt", "-m hl --hl-lt")
            }
        };
        let restore = format!("{}-restore", iptables(family));
        run_with_input(&restore, &["--noflush"], &input);
    }
}

/// The live lines that the rules of [`plant_foreign_rules`] make.
pub fn live_foreign(family: IpFamily) -> Vec<String> {
    let foreign =
        ["SOMEBODY-ELSE", "KUBERNETES-SVC", "MY-KUBE-SVC", "EMPTY", "0x1/0x1", "--name kube "];
    let is_foreign = |line: &String| foreign.iter().any(|word| line.contains(word));
    live(family).into_iter().filter(is_foreign).collect()
}
