//! Pure. How usage is measured.

use std::time::Duration;

use super::resolve::Reader;
use super::wire::KubeletConfiguration;

#[cfg(test)]
mod tests;

const FIELD: &str = "volumeStatsAggPeriod";

/// Default of kubelet v1.36.
const PERIOD: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsConfig {
    /// `volumeStatsAggPeriod`: volumes are looked at no more often; `None` (a negative value) is
    /// never. 1 min by default.
    pub volumes_period: Option<Duration>,
}

pub(super) fn resolve(reader: &mut Reader, wire: &KubeletConfiguration) -> StatsConfig {
    let text = wire.volume_stats_agg_period.as_ref();
    let negative = text.and_then(|text| text.strip_prefix('-')).map(str::to_owned);
    let period = reader.duration(FIELD, negative.as_ref().or(text), PERIOD);
    StatsConfig { volumes_period: negative.is_none().then_some(period) }
}
