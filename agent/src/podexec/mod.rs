//! podexec
