//! The test surroundings of noded: a real control plane, real containerd, real kernel.
//!
//! A test binary calls [`runner::run`] with its tests. Everything then happens in namespaces of
//! its own ([`isolation`]), and each test gets a [`TestContext`]:
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use integration::{TestContext, node::NodeOptions, pods};
//!
//! async fn pod_runs(context: Arc<TestContext>) -> anyhow::Result<()> {
//!     let cluster = context.cluster().await?;
//!     let node = context.node(NodeOptions::default()).await?;
//!     let namespace = context.namespace().await?;
//!     cluster.create(&pods::pause_pod(&namespace, "a", node.name())).await?;
//!     pods::wait_ready(&cluster, &pods::path(&namespace, "a"), Duration::from_secs(30)).await?;
//!     Ok(())
//! }
//! # fn main() { integration::runner::run(integration::tests![pod_runs]); }
//! ```
//!
//! | part | module |
//! |---|---|
//! | control plane, `kubectl`, objects | [`real_cluster`], [`api_client`], [`watch`], [`resource`] |
//! | certificates and kubeconfigs | [`pki`] |
//! | segment with nodes and an outsider | [`netns`], [`namespaces`] |
//! | node: files, containerd, agent | [`node`], [`node_space`], [`real_runtime`] |
//! | faults between agent and containerd | [`cri_proxy`] |
//! | noded, or kubelet and kube-proxy | [`agent_process`], [`peers`], [`agent_config`] |
//! | a proxy alone, the rules it wrote | [`proxy_host`], [`saved_rules`] |
//! | `kubeadm join` | [`kubeadm`] |
//! | a booted machine with systemd | [`vm`] |
//! | cluster DNS | [`dns`] |
//! | `kubectl top`, pages of metrics | [`metrics_server`], [`exposition`] |
//! | pods, what happens inside them | [`pods`], [`in_pod`], [`story`] |
//! | claims and the volumes behind them | [`claims`] |
//! | a registry to pull from | [`registry`] |
//! | Services, packets | [`services`], [`traffic`] |
//! | picking, running and reporting tests | [`runner`], [`context`], [`artifacts`], [`wait`] |
//! | built binaries and images | [`ground`] |
//! | what programs print | [`console`] |

pub mod agent_config;
pub mod agent_process;
pub mod api_client;
pub mod artifacts;
pub mod claims;
pub mod console;
pub mod context;
pub mod cri_proxy;
pub mod daemon;
pub mod dns;
pub mod exposition;
pub mod ground;
pub mod in_pod;
pub mod isolation;
pub mod kubeadm;
pub mod kubectl;
pub mod metrics_server;
pub mod namespaces;
pub mod netns;
pub mod node;
pub mod node_space;
pub mod peers;
pub mod pki;
pub mod pods;
pub mod proxy_host;
pub mod real_cluster;
pub mod real_runtime;
pub mod registry;
pub mod resource;
pub mod runner;
pub mod saved_rules;
pub mod services;
pub mod story;
pub mod traffic;
pub mod vm;
pub mod wait;
pub mod watch;

pub use context::TestContext;
