//! Turning a plan into runtime calls: the configs the runtime is given, and the calls themselves.

pub mod container_config;
pub mod dns;
pub mod env;
pub mod env_file;
mod execute;
pub mod field_ref;
#[cfg(test)]
pub mod fixtures;
pub mod hooks;
pub mod hostname;
pub mod labels;
pub mod linux_resources;
pub mod log_paths;
pub mod mounts;
pub mod node_facts;
mod node_supplies;
mod report;
pub mod sandbox_config;
pub mod security_context;
mod security_profiles;
pub mod service_env;
mod start_container;
mod stop_container;
pub mod sub_path;
mod supplies;

pub use container_config::{
    ContainerConfigError, ContainerInputs, ImageInput, build_container_config, needed_sub_paths,
};
pub use execute::{BringUp, ClearError, ClearScope, Executor, SandboxUse};
pub use hooks::{HookDone, HookError, HookTarget};
pub use node_facts::{Allocatable, CgroupFacts, NodeFacts};
pub use node_supplies::NodeSupplies;
pub use report::{
    StartFailure, StepReport, Trouble, back_off_event, deadline_event, hook_fallback_event,
    kill_failed_event, network_event, network_text, pre_stop_event, pre_stop_failed_event,
    rejected_event, sandbox_changed_event, steady, step_event, stop_event, trouble_text,
    waiting_message,
};
pub use sandbox_config::{SandboxInputs, build_sandbox_config};
pub use supplies::{
    ImageFailure, ImageSupply, Instance, PodSupplies, SandboxSupply, SupplyError, VolumeImage,
};
