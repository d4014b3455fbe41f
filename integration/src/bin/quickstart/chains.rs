//! Pure. The part of the NAT table that carries one Service.

use std::collections::BTreeSet;

/// Chains with rules of all Services.
const SHARED: [&str; 2] = ["KUBE-SERVICES", "KUBE-NODEPORTS"];

/// The lines of an `iptables-save` output that a packet to the Service `NAMESPACE/NAME` can meet:
/// the jumps from the built-in chains, the Service's own rules, marking and masquerading. Chain
/// declarations and other Services are left out.
pub fn of_service(saved: &str, service: &str) -> Vec<String> {
    let own = [format!("\"{service}"), format!(" {service} "), format!(" {service}:")];
    let names_it = |line: &str| own.iter().any(|name| line.contains(name.as_str()));
    let rules: Vec<&str> = saved.lines().filter(|line| line.starts_with("-A ")).collect();
    // Its own chains have rules that do not name it, such as the way from KUBE-EXT to KUBE-SVC.
    let chains: BTreeSet<&str> = rules
        .iter()
        .filter(|line| names_it(line))
        .map(|line| chain_of(line))
        .filter(|chain| !SHARED.contains(chain))
        .collect();
    let is_met = |line: &&&str| {
        let chain = chain_of(line);
        let is_entry = !chain.starts_with("KUBE-") && line.contains("-j KUBE-");
        let is_plain = matches!(chain, "KUBE-MARK-MASQ" | "KUBE-POSTROUTING")
            || (chain == "KUBE-SERVICES" && line.contains("-j KUBE-NODEPORTS"));
        is_entry || is_plain || chains.contains(chain) || names_it(line)
    };
    rules.iter().filter(is_met).map(|line| (*line).to_owned()).collect()
}

fn chain_of(rule: &str) -> &str {
    rule.split_whitespace().nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests;
