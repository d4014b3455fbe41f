//! Makes metrics known to a registry.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry,
};

/// Makes and registers metrics. Names, labels and buckets are constants of this module's
/// neighbours, each name used once, so that nothing here can fail.
pub(super) struct Register<'a>(pub &'a Registry);

impl Register<'_> {
    fn add<T: Collector + Clone + 'static>(&self, metric: prometheus::Result<T>) -> T {
        let metric = metric.expect("names, labels and buckets are constants of the right form");
        self.0.register(Box::new(metric.clone())).expect("each name is used once");
        metric
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(Opts::new(name, help)))
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(Opts::new(name, help)))
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, labels))
    }
}

/// A part of the metrics that nobody sees, for those who are not given one.
macro_rules! unseen {
    ($part:ty) => {
        impl Default for $part {
            /// Metrics on no page.
            fn default() -> Self {
                Self::new(&$crate::metrics::register::Register(&prometheus::Registry::new()))
            }
        }
    };
}
pub(super) use unseen;
