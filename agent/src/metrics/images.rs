//! Pulls of images.

use std::time::Duration;

use prometheus::HistogramVec;

use super::register::{Register, unseen};
use super::seconds;

const BUCKETS: [f64; 18] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0,
    1200.0, 1800.0, 2700.0, 3600.0,
];

const MEBI: u64 = 1024 * 1024;
const GIBI: u64 = 1024 * MEBI;

/// Classes of size, each for images above so many bytes.
const SIZES: [(u64, &str); 12] = [
    (0, "0-10MB"),
    (10 * MEBI, "10MB-100MB"),
    (100 * MEBI, "100MB-500MB"),
    (500 * MEBI, "500MB-1GB"),
    (GIBI, "1GB-5GB"),
    (5 * GIBI, "5GB-10GB"),
    (10 * GIBI, "10GB-20GB"),
    (20 * GIBI, "20GB-30GB"),
    (30 * GIBI, "30GB-40GB"),
    (40 * GIBI, "40GB-60GB"),
    (60 * GIBI, "60GB-100GB"),
    (100 * GIBI, "GT100GB"),
];

/// Pulls of images. Cheap to clone.
#[derive(Clone)]
pub struct ImageMetrics(HistogramVec);

unseen!(ImageMetrics);

impl ImageMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self(register.histograms(
            "kubelet_image_pull_duration_seconds",
            "Seconds that the pull of an image took, by its size",
            &BUCKETS,
            &["image_size_in_bytes"],
        ))
    }

    /// An image of this size in bytes was pulled; 0 is unknown.
    pub fn pulled(&self, size: u64, took: Duration) {
        self.0.with_label_values(&[size_class(size)]).observe(seconds(took));
    }
}

/// The class of a size in bytes, as the kubelet names it.
fn size_class(size: u64) -> &'static str {
    let class = SIZES.iter().rev().find(|(above, _)| size > *above);
    class.map_or("N/A", |(_, name)| name)
}
