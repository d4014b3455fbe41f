//! cri-proto
