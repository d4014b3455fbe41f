//! The proxy part.
