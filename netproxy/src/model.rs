//! Services and endpoints as the rules need them.
//!
//! **What.** Turns Service and EndpointSlice objects into service ports and endpoints of one
//! family, and keeps track of what changed.
//! **Owns.** [`changes::ServiceMap`], the followed state; held by the proxy task.
//! **Invariants.** The outcome depends on the objects only, never on the order or the number of
//! the changes that brought them. An object that cannot be read never hides another one.
//! **Source.** `pkg/proxy` service and endpoint slice trackers, v1.36.

pub mod changes;
pub mod endpoint;
pub mod port_facts;
pub mod service_port;
pub mod slices;
pub mod traffic_policy;
