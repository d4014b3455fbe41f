//! Generates the message types and the client and server stubs from `proto/` with protox, so
//! that no protoc binary is needed. The generated code stays in the build directory.

use std::error::Error;

const PROTOS: [&str; 7] = [
    "runtime/v1.proto",
    "containerd/content.proto",
    "containerd/events.proto",
    "containerd/images.proto",
    "containerd/service.proto",
    "containerd/types.proto",
    "grpc/health.proto",
];

/// Messages that hold secrets; `src/redact.rs` says how they are printed instead.
const SECRET_HOLDERS: [&str; 2] = [".runtime.v1.AuthConfig", ".runtime.v1.KeyValue"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let mut config = tonic_prost_build::Config::new();
    // Events are told apart by the full name of their message.
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .skip_debug(SECRET_HOLDERS)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
