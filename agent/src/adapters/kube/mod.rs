//! adapters/kube
