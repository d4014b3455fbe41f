//! The node's certificates.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, Registry};

use super::register::{Register, unseen};
use super::seconds;

/// A minute, an hour, four, a day, a week, a month, three, six, a year, four years.
const ROTATION_BUCKETS: [f64; 10] = [
    60.0,
    3600.0,
    14_400.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
    124_416_000.0,
];

/// When a certificate ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// noded does not renew it, so nothing is shown.
    #[default]
    NotRenewed,
    /// There is none, or it cannot be used.
    Missing,
    At(Timestamp),
}

#[derive(Default)]
struct Ends {
    client: End,
    serving: End,
}

/// The node's certificates. Cheap to clone.
#[derive(Clone)]
pub struct CertificateMetrics {
    ends: Arc<Mutex<Ends>>,
    client_errors: IntCounter,
    serving_errors: IntCounter,
    serving_age: Histogram,
}

unseen!(CertificateMetrics);

impl CertificateMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            ends: Arc::default(),
            client_errors: register.counter(
                "kubelet_certificate_manager_client_expiration_renew_errors",
                "How often the client certificate could not be renewed",
            ),
            serving_errors: register.counter(
                "kubelet_server_expiration_renew_errors",
                "How often the serving certificate could not be renewed",
            ),
            serving_age: register.histogram(
                "kubelet_certificate_manager_server_rotation_seconds",
                "Age in seconds of the serving certificates that were replaced",
                &ROTATION_BUCKETS,
            ),
        }
    }

    /// The client certificate that noded renews ends then; `None` when there is none.
    pub fn client(&self, not_after: Option<Timestamp>) {
        self.with_ends(|ends| ends.client = not_after.map_or(End::Missing, End::At));
    }

    /// The serving certificate that noded renews ends then; `None` when there is none.
    pub fn serving(&self, not_after: Option<Timestamp>) {
        self.with_ends(|ends| ends.serving = not_after.map_or(End::Missing, End::At));
    }

    /// The client certificate could not be renewed.
    pub fn client_failed(&self) {
        self.client_errors.inc();
    }

    /// The serving certificate could not be renewed.
    pub fn serving_failed(&self) {
        self.serving_errors.inc();
    }

    /// A serving certificate of this age was replaced.
    pub fn serving_replaced(&self, age: Duration) {
        self.serving_age.observe(seconds(age));
    }

    /// How long the certificates are valid from `now` on, in whole seconds: below 0 when one has
    /// ended, infinite when there is none.
    pub(super) fn families(&self, now: Timestamp) -> Vec<MetricFamily> {
        let registry = Registry::new();
        let register = Register(&registry);
        let show = |name, help, end: End| {
            let left = match end {
                End::NotRenewed => return,
                End::Missing => f64::INFINITY,
                End::At(end) => end.duration_since(now).as_secs() as f64,
            };
            register.gauge(name, help).set(left);
        };
        let (client, serving) = self.with_ends(|ends| (ends.client, ends.serving));
        show(
            "kubelet_certificate_manager_client_ttl_seconds",
            "Seconds that the client certificate is valid",
            client,
        );
        show(
            "kubelet_certificate_manager_server_ttl_seconds",
            "Seconds that the serving certificate is valid",
            serving,
        );
        registry.gather()
    }

    fn with_ends<T>(&self, with: impl FnOnce(&mut Ends) -> T) -> T {
        with(&mut self.ends.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
