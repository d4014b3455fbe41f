//! Ports and events without a machine.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::events::{ProxyEvent, ProxyEvents};
use crate::http::{OpenPort, Ports, Reply, RouteTable, Wildcard};

/// Ports in memory: open ones can be asked, the next ones can be made to fail.
#[derive(Clone, Default)]
pub struct FakePorts(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: BTreeMap<SocketAddr, RouteTable>,
    errors: VecDeque<io::ErrorKind>,
    tries: usize,
}

impl FakePorts {
    pub fn new() -> Self {
        Self::default()
    }

    /// The next port is not opened.
    pub fn fail_next(&self, error: io::ErrorKind) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).errors.push_back(error);
    }

    /// The open ports.
    pub fn open_ports(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    /// How often a port was to be opened.
    pub fn tries(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tries
    }

    /// What an open port answers.
    pub async fn ask(&self, address: &str, path: &str) -> Reply {
        let address = address.parse().unwrap_or_else(|_| panic!("{address} is no address"));
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner).open[&address].clone();
        table.answer(path).await
    }
}

impl Ports for FakePorts {
    fn open(&self, address: SocketAddr, _: Wildcard, table: RouteTable) -> io::Result<OpenPort> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.tries += 1;
        if let Some(error) = state.errors.pop_front() {
            return Err(error.into());
        }
        if state.open.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.open.insert(address, table);
        Ok(OpenPort::new(Closing { ports: self.clone(), address }))
    }
}

struct Closing {
    ports: FakePorts,
    address: SocketAddr,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.ports.0.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&self.address);
    }
}

/// Keeps events.
#[derive(Clone, Default)]
pub struct FakeEvents(Arc<Mutex<Vec<ProxyEvent>>>);

impl FakeEvents {
    pub fn new() -> Self {
        Self::default()
    }

    /// The events since the last call.
    pub fn take(&self) -> Vec<ProxyEvent> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ProxyEvents for FakeEvents {
    fn publish(&self, event: ProxyEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}
