//! adapters/cri
