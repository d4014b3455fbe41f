//! adapters/linux
