//! Pure. Balancing over endpoints, session affinity, and the endpoints themselves.

use std::net::SocketAddr;

use super::chains::{self, endpoint_chain};
use super::cluster_ip;
use super::ruleset::{ChainName, Match, Probability, Rule, Target};
use super::service::{PortView, ServiceRules};
use crate::input::TrafficPolicy;
use crate::model::endpoint::Endpoint;

/// One reachable endpoint with its text and chain.
struct Reachable<'a> {
    endpoint: &'a Endpoint,
    text: String,
    chain: ChainName,
}

/// KUBE-SVC, KUBE-SVL and KUBE-SEP of the service port.
pub(super) fn plan(view: &PortView<'_>, rules: &mut ServiceRules) {
    // Parallel to `used.reachable`, which is ascending.
    let reachable: Vec<Reachable<'_>> = view
        .used
        .reachable
        .iter()
        .map(|position| {
            let endpoint = &view.facts.endpoints[*position];
            let text = endpoint.text();
            let chain = endpoint_chain(&view.port.name, &text);
            Reachable { endpoint, text, chain }
        })
        .collect();
    let pick = |positions: &[usize]| -> Vec<&Reachable<'_>> {
        positions
            .iter()
            .filter_map(|position| {
                let index = view.used.reachable.binary_search(position).ok()?;
                reachable.get(index)
            })
            .collect()
    };
    // A Local way in without local endpoints has a rule in filter and needs no chain, so only
    // sets that are not empty get one.
    for (policy, chain, positions) in [
        (TrafficPolicy::Cluster, &view.chains.cluster, &view.used.cluster),
        (TrafficPolicy::Local, &view.chains.local, &view.used.local),
    ] {
        if positions.is_empty() {
            continue;
        }
        let is_internal = view.port.internal_policy == policy && view.facts.has_internal();
        let head = is_internal.then(|| cluster_ip::masquerade(view)).flatten();
        let mut chain_rules: Vec<Rule> = head.into_iter().collect();
        balance(view, &pick(positions), &mut chain_rules);
        rules.own(chain.clone(), chain_rules);
    }
    for endpoint in &reachable {
        rules.own(endpoint.chain.clone(), endpoint_rules(view, endpoint));
    }
}

fn balance(view: &PortView<'_>, endpoints: &[&Reachable<'_>], rules: &mut Vec<Rule>) {
    let start = |endpoint: &Reachable<'_>| {
        if view.context.endpoint_comments {
            Rule::remark(format!("{} -> {}", view.title, endpoint.text))
        } else {
            Rule::default()
        }
    };
    if let Some(seconds) = view.port.affinity_seconds {
        rules.extend(endpoints.iter().map(|endpoint| {
            start(endpoint)
                .when(Match::RecentlySeen { list: endpoint.chain.clone(), seconds })
                .jump(endpoint.chain.clone())
        }));
    }
    for (position, endpoint) in endpoints.iter().enumerate() {
        let left = endpoints.len() - position;
        let rule = start(endpoint);
        let rule =
            if left > 1 { rule.when(Match::Random(Probability::one_of(left))) } else { rule };
        rules.push(rule.jump(endpoint.chain.clone()));
    }
}

fn endpoint_rules(view: &PortView<'_>, reachable: &Reachable<'_>) -> Vec<Rule> {
    let start = || {
        if view.context.endpoint_comments {
            Rule::remark(view.title.as_str())
        } else {
            Rule::default()
        }
    };
    let address = reachable.endpoint.address;
    // An endpoint that reaches itself through the service must see the answer come from the
    // service, so it must not see its own address as the client's.
    let hairpin = start().source_within(address.into()).jump(chains::MARK_MASQ);
    let translate = if view.port.affinity_seconds.is_some() {
        start().when(Match::RememberClient { list: reachable.chain.clone() })
    } else {
        start()
    };
    let target = Target::Dnat(SocketAddr::new(address, reachable.endpoint.port));
    vec![hairpin, translate.transport(view.port.name.protocol, None).then(target)]
}
