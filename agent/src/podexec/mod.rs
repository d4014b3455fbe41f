//! Turning a plan into runtime calls: the configs the runtime is given, and the calls themselves.

pub mod container_config;
pub mod dns;
pub mod env;
pub mod field_ref;
#[cfg(test)]
pub mod fixtures;
pub mod hostname;
pub mod labels;
pub mod linux_resources;
pub mod log_paths;
pub mod mounts;
pub mod node_facts;
pub mod sandbox_config;
pub mod security_context;
pub mod service_env;

pub use container_config::{
    ContainerConfigError, ContainerInputs, ImageInput, build_container_config,
};
pub use node_facts::{Allocatable, CgroupFacts, NodeFacts};
pub use sandbox_config::{SandboxInputs, build_sandbox_config};
