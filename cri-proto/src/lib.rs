//! Generated types and gRPC stubs, client and server, of what a node agent says to a container
//! runtime and to the containers in it.
//!
//! - [`runtime::v1`]: the Container Runtime Interface, complete as of `k8s.io/cri-api` v0.36.3.
//! - [`containerd`]: the event stream of containerd and those of its events that tell of a change
//!   in a pod; the reading side of its content store, which shows how far a pull is.
//! - [`grpc`]: the health service that containers can have for probes.
//!
//! A container runtime's messages may be larger than tonic's limit of 4 MiB: clients have to raise
//! it with `max_decoding_message_size` (the kubelet's limit is 16 MiB).
//!
//! An event's type URL is the bare message name, which [`prost::Name::full_name`] returns:
//! compare it and decode the value; `prost_types::Any::to_msg` refuses a URL without a slash.
//!
//! Nothing here knows the agent. The sources are in `proto/`, `tests/wire_contract.rs` compares
//! them with the published descriptors. Messages that hold secrets print without them.

#![forbid(unsafe_code)]

mod redact;

/// The Container Runtime Interface.
pub mod runtime {
    #[allow(
        clippy::all,
        clippy::struct_excessive_bools,
        clippy::too_many_lines,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("runtime.v1");
    }
}

/// containerd's own API, as far as its event stream and its content store go; laid out as its protobuf packages are.
pub mod containerd {
    /// What happened to containers, tasks and sandboxes.
    #[allow(clippy::all, reason = "generated code")]
    pub mod events {
        tonic::include_proto!("containerd.events");
    }

    /// The envelope that carries any event.
    #[allow(clippy::all, reason = "generated code")]
    pub mod types {
        tonic::include_proto!("containerd.types");
    }

    /// containerd's services.
    pub mod services {
        /// The event stream.
        pub mod events {
            #[allow(clippy::all, reason = "generated code")]
            pub mod v1 {
                tonic::include_proto!("containerd.services.events.v1");
            }
        }

        /// The content store.
        pub mod content {
            #[allow(clippy::all, clippy::too_many_lines, reason = "generated code")]
            pub mod v1 {
                tonic::include_proto!("containerd.services.content.v1");
            }
        }

        /// What happened to images.
        pub mod images {
            #[allow(clippy::all, reason = "generated code")]
            pub mod v1 {
                tonic::include_proto!("containerd.services.images.v1");
            }
        }
    }
}

/// Services that every gRPC server may have.
pub mod grpc {
    /// Whether a server can take requests.
    pub mod health {
        #[allow(clippy::all, reason = "generated code")]
        pub mod v1 {
            tonic::include_proto!("grpc.health.v1");
        }
    }
}
