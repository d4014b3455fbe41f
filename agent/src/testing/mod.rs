//! Doubles and builders for tests.
//!
//! **Rules**: a fake keeps state, logs its calls and takes queued errors; a builder has defaults,
//! so that a test sets only what it is about.

pub mod build;
pub mod certificates;
pub mod clock;
pub mod fake_api;
pub mod fake_authn;
pub mod fake_csrs;
pub mod fake_dialer;
pub mod fake_host;
pub mod fake_images;
pub mod fake_runtime;
pub mod fake_supplies;
pub mod fake_usage;
pub mod merge_patch;
pub mod observe;
pub mod signer;
