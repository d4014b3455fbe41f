use std::time::Duration;

use super::times;

const LOG: &str = r#"time="2026-01-01T23:59:59.900000000Z" level=info msg="RunPodSandbox for name:\"a\"  uid:\"1\"  namespace:\"bench\""
time="2026-01-02T00:00:00.000000000Z" level=info msg="RunPodSandbox for name:\"b\"  uid:\"2\"  namespace:\"bench\""
time="2026-01-02T00:00:00.100000000Z" level=info msg="RunPodSandbox for name:\"a\"  uid:\"1\"  namespace:\"bench\" returns sandbox id \"s\""
time="2026-01-02T00:00:00.150000000Z" level=info msg="connecting to shim s"
time="2026-01-02T00:00:00.200000000Z" level=info msg="CreateContainer within sandbox \"s\" for container name:\"pause\""
time="2026-01-02T00:00:00.210000000Z" level=info msg="CreateContainer within sandbox \"s\" for name:\"pause\" returns container id \"c\""
time="2026-01-02T00:00:00.300000000Z" level=info msg="StartContainer for \"c\""
time="2026-01-02T00:00:00.340000000Z" level=info msg="StartContainer for \"c\" returns successfully"
"#;

#[test]
fn calls_of_a_pod_are_added_up_without_the_gaps_between() {
    let times = times(LOG);
    let millis = times["a"].as_secs_f64() * 1000.0;
    assert!((millis - 250.0).abs() < 0.01, "{millis}");
    assert_eq!(times.get("b"), None::<&Duration>, "its call has not returned");
}
