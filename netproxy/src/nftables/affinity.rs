//! Pure. Numbers of services with session affinity and of their endpoints.
//!
//! A number follows from the name, or from the address of the endpoint, unless it is taken. So it
//! stays the same over syncs, and with rare exceptions over restarts, and the clients that the
//! kernel remembers keep their endpoints. An exception costs them their endpoint, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::state::Class;
use crate::model::service_port::ServicePortName;

/// Number of services with affinity that fit: all 16 bit numbers with the highest bit, except the
/// last, which traffic control uses for itself.
const SERVICES: u16 = 0x7fff;
/// Number of endpoints of one service that fit: all 16 bit numbers except the first and the last.
const ENDPOINTS: u16 = 0xfffe;

/// The numbers given out.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    services: BTreeMap<Arc<ServicePortName>, ServiceClasses>,
    taken: BTreeSet<u16>,
}

/// The numbers of one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceClasses {
    /// The class of the service.
    pub class: Class,
    endpoints: BTreeMap<SocketAddr, u16>,
}

impl ServiceClasses {
    /// The class of an endpoint; nothing when the numbers of the service have run out.
    pub fn endpoint(&self, address: SocketAddr) -> Option<Class> {
        let endpoint = *self.endpoints.get(&address)?;
        Some(Class { service: self.class.service, endpoint })
    }
}

impl Classes {
    /// The numbers of a service port with these endpoints, the old ones where there are any.
    /// Nothing when the numbers for services have run out.
    pub fn assign(
        &mut self,
        name: &Arc<ServicePortName>,
        endpoints: impl Iterator<Item = SocketAddr> + Clone,
    ) -> Option<&ServiceClasses> {
        if !self.services.contains_key(name) {
            let text = format!("{name}/{}", name.protocol.name());
            let number = free(hash(&text), SERVICES, |n| self.taken.contains(&n))?;
            self.taken.insert(number);
            let class = Class { service: 0x8000 | number, endpoint: 0 };
            let fresh = ServiceClasses { class, endpoints: BTreeMap::new() };
            self.services.insert(name.clone(), fresh);
        }
        let classes = self.services.get_mut(name)?;
        let wanted: BTreeSet<SocketAddr> = endpoints.clone().collect();
        classes.endpoints.retain(|address, _| wanted.contains(address));
        let mut taken: BTreeSet<u16> = classes.endpoints.values().copied().collect();
        for address in endpoints {
            if classes.endpoints.contains_key(&address) {
                continue;
            }
            // 0 is the service itself.
            let is_taken = |number: u16| taken.contains(&(number + 1));
            let Some(number) = free(hash(&address.to_string()), ENDPOINTS, is_taken) else { break };
            taken.insert(number + 1);
            classes.endpoints.insert(address, number + 1);
        }
        Some(classes)
    }

    /// Gives the numbers of a service port back.
    pub fn release(&mut self, name: &ServicePortName) {
        if let Some(classes) = self.services.remove(name) {
            self.taken.remove(&(classes.class.service & 0x7fff));
        }
    }
}

/// The first number below `count` that is free, starting at the one that `start` falls on.
fn free(start: u32, count: u16, is_taken: impl Fn(u16) -> bool) -> Option<u16> {
    let start = u16::try_from(start % u32::from(count)).ok()?;
    (start..count).chain(0..start).find(|number| !is_taken(*number))
}

/// FNV-1a: short, the same on every machine and in every version.
fn hash(text: &str) -> u32 {
    text.bytes()
        .fold(0x811c_9dc5, |sum: u32, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
