//! Addresses of the machine on which a restricted list lets NodePorts answer.
//!
//! **Owns.** What matched last, and the watch that tells of changes; nothing is polled.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tracing::warn;

use crate::config::ProxyConfig;
use crate::machine::{AddressWatch, Machine};

/// The local addresses within the configured networks.
pub(crate) struct NodeAddresses {
    machine: Arc<dyn Machine>,
    networks: Vec<IpNet>,
    watch: Option<Box<dyn AddressWatch>>,
    matching: Vec<IpAddr>,
    readable: bool,
}

impl NodeAddresses {
    /// Reads them, and watches them if networks are configured at all. Has to be called within a
    /// tokio runtime.
    pub(crate) fn start(config: &ProxyConfig, machine: Arc<dyn Machine>) -> Self {
        let networks = config.node_port_addresses.networks().to_vec();
        // Watched before they are read, so that no change falls between.
        let watch = if networks.is_empty() { None } else { watch(&*machine) };
        let mut addresses = Self { machine, networks, watch, matching: Vec::new(), readable: true };
        addresses.read();
        addresses
    }

    /// Those that match, in order; empty without networks. They are read anew only where nothing
    /// tells of changes. Elsewhere a look for one family would hide a change from
    /// [`changed`](Self::changed), and so from the other family.
    pub(crate) fn current(&mut self) -> &[IpAddr] {
        if self.watch.is_none() || !self.readable {
            self.read();
        }
        &self.matching
    }

    fn read(&mut self) {
        if self.networks.is_empty() {
            return;
        }
        match self.machine.local_addresses() {
            Ok(mut found) => {
                found.retain(|address| self.networks.iter().any(|net| net.contains(address)));
                found.sort_unstable();
                found.dedup();
                self.matching = found;
                self.readable = true;
            }
            Err(error) => {
                if self.readable {
                    warn!(%error, "cannot list local addresses, node ports keep those known");
                }
                self.readable = false;
            }
        }
    }

    /// Waits until others match than before. Never ends where nothing is watched. Cancel safe: a
    /// change that was told is looked at before the next wait.
    pub(crate) async fn changed(&mut self) {
        loop {
            let told = match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            };
            if let Err(error) = told {
                self.lose_watch(&error);
            }
            let before = self.matching.clone();
            self.read();
            if self.matching != before {
                return;
            }
        }
    }

    /// From now on addresses are read with each sync only.
    fn lose_watch(&mut self, error: &io::Error) {
        warn!(%error, "changes of local addresses are no longer told, node ports follow them late");
        self.watch = None;
    }
}

fn watch(machine: &dyn Machine) -> Option<Box<dyn AddressWatch>> {
    machine
        .watch_addresses()
        .inspect_err(|error| {
            warn!(%error, "cannot watch local addresses, node ports follow them late");
        })
        .ok()
}

#[cfg(test)]
mod tests;
