use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::NodeAddress;
use netproxy::metrics::BuildFacts;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::boundary::ApiError;
use crate::metrics::{NodeCounts, NodeMetrics};
use crate::testing::fake_csrs::FakeCsrs;
use crate::testing::signer::{Signer, Words};

const NODE: &str = "node-1";

/// Wall clock that goes with the paused one of Tokio.
fn clock() -> WallClock {
    let begun = Instant::now();
    let base: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
    Arc::new(move || base + begun.elapsed())
}

/// A node's certificate, its signer and the task that keeps it.
struct Bench {
    dir: tempfile::TempDir,
    clock: WallClock,
    signer: Arc<Signer>,
    files: CredentialFiles,
    purpose: Purpose,
    wanted: watch::Sender<Option<Wanted>>,
    key: watch::Receiver<Option<Arc<CertifiedKey>>>,
    publication: Option<watch::Sender<Option<Arc<CertifiedKey>>>>,
    metrics: NodeMetrics,
}

/// Seconds of validity before and after the signature.
type Validity = (i64, i64);

impl Bench {
    fn new(purpose: Purpose) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (key, shown) = watch::channel(None);
        let (kubernetes_version, own_version) = Default::default();
        let build = BuildFacts { kubernetes_version, own_version };
        let wanted = (purpose == Purpose::Client).then(|| Wanted::client(NODE));
        Self {
            files: CredentialFiles::new(dir.path().join("pki"), purpose.file_prefix()),
            dir,
            clock: clock(),
            signer: Arc::default(),
            purpose,
            wanted: watch::channel(wanted).0,
            key: shown,
            publication: Some(key),
            metrics: NodeMetrics::new(NODE, &build),
        }
    }

    fn words(&self, validity: Validity) -> Words {
        Words::around(NODE, (self.clock)(), validity)
    }

    /// Puts a certificate where the newest one is.
    fn put(&self, words: &Words) {
        let (certificate, key) = self.signer.pair(words);
        fs::create_dir_all(self.dir.path().join("pki")).unwrap();
        let fresh = self.dir.path().join("pki/fresh");
        fs::write(&fresh, format!("{certificate}{key}")).unwrap();
        fs::rename(&fresh, self.files.current()).unwrap();
    }

    /// A signer that signs at the first look, for so long and with these names.
    fn signs(&self, validity: Validity, names: &'static [&'static str]) -> Arc<FakeCsrs> {
        let (signer, clock) = (Arc::clone(&self.signer), Arc::clone(&self.clock));
        self.decides(move |csr, _| {
            let words = Words::around(NODE, clock(), validity).with_names(names);
            Some(signer.issued(csr, &words))
        })
    }

    fn decides(
        &self,
        decide: impl FnMut(&CertificateSigningRequest, usize) -> Option<Value> + Send + 'static,
    ) -> Arc<FakeCsrs> {
        Arc::new(FakeCsrs::new(decide))
    }

    fn task(&mut self, renewal: Option<Renewal>) -> CertificateTask {
        CertificateTask::new(CertificateParts {
            purpose: self.purpose,
            sources: Sources { files: Some(self.files.clone()), kubeconfig: None },
            renewal,
            wanted: self.wanted.subscribe(),
            publication: self.publication.take().unwrap(),
            clock: Arc::clone(&self.clock),
            random: || 0.5,
        })
    }

    fn start(&mut self, api: &Arc<FakeCsrs>) -> tokio::task::JoinHandle<String> {
        self.start_with(api, None)
    }

    fn start_with(
        &mut self,
        api: &Arc<FakeCsrs>,
        bootstrap: Option<ConnectBootstrap>,
    ) -> tokio::task::JoinHandle<String> {
        let api = Arc::clone(api) as Arc<dyn CsrApi>;
        let files = self.files.clone();
        tokio::spawn(
            self.task(Some(Renewal {
                files,
                api,
                bootstrap,
                metrics: self.metrics.certificates.clone(),
            }))
            .run(),
        )
    }

    /// Seconds until the certificate is another one.
    async fn change(&mut self) -> u64 {
        let begun = Instant::now();
        self.key.borrow_and_update();
        self.key.changed().await.unwrap();
        begun.elapsed().as_secs()
    }

    fn current(&self) -> Vec<u8> {
        self.key.borrow().as_ref().unwrap().cert[0].to_vec()
    }

    /// What the file of the newest certificate holds.
    fn kept(&self) -> Vec<u8> {
        let sources = Sources { files: Some(self.files.clone()), kubeconfig: None };
        sources.best((self.clock)()).map(|kept| kept.key.cert[0].to_vec()).unwrap_or_default()
    }

    /// The value of a metric; `None` while it is not shown.
    fn metric(&self, name: &str) -> Option<f64> {
        let page = self.metrics.page(&NodeCounts::default(), (self.clock)());
        let mut lines = page.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value.parse().unwrap())
    }

    fn errors(&self) -> usize {
        let name = match self.purpose {
            Purpose::Client => "kubelet_certificate_manager_client_expiration_renew_errors",
            Purpose::Serving => "kubelet_server_expiration_renew_errors",
        };
        self.metric(name).unwrap() as usize
    }
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

fn addresses(texts: &[&str]) -> Option<Wanted> {
    let address =
        |text: &&str| NodeAddress { type_: "InternalIP".to_owned(), address: (*text).to_owned() };
    Wanted::serving(NODE, &texts.iter().map(address).collect::<Vec<_>>())
}

fn refusal(kind: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": "True", "reason": "R", "message": "no"}]})
}

#[tokio::test(start_paused = true)]
async fn client_certificate_is_renewed_in_time_with_a_new_key() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((0, 1000)));
    let api = bench.signs((0, 1000), &[]);
    let _task = bench.start(&api);
    let first = bench.current();
    assert_eq!(bench.kept(), first);
    assert_eq!(bench.change().await, 800);
    let second = bench.current();
    assert_ne!(second, first);
    assert_eq!(bench.kept(), second);
    // So many that both were signed by then, and no more.
    assert_eq!(api.names().len(), 1);
    assert_eq!(bench.change().await, 800);
    assert_eq!(api.names().len(), 2);
    assert_eq!(bench.errors(), 0);
    let left = bench.metric("kubelet_certificate_manager_client_ttl_seconds").unwrap();
    assert!((998.0..=1000.0).contains(&left), "{left}");
    let serving = bench.metric("kubelet_certificate_manager_server_ttl_seconds");
    assert_eq!(serving, None, "it is not renewed");
}

#[tokio::test(start_paused = true)]
async fn age_of_a_replaced_serving_certificate_is_counted() {
    let mut bench = Bench::new(Purpose::Serving);
    bench.wanted.send_replace(addresses(&["10.0.0.1"]));
    let api = bench.signs((0, 1000), &["10.0.0.1"]);
    let _task = bench.start(&api);
    assert_eq!(bench.metric("kubelet_certificate_manager_server_ttl_seconds"), Some(f64::INFINITY));
    bench.change().await;
    bench.change().await;
    let age = bench.metric("kubelet_certificate_manager_server_rotation_seconds_sum").unwrap();
    assert!((800.0..=801.0).contains(&age), "{age}");
}

#[tokio::test(start_paused = true)]
async fn serving_certificate_that_is_there_is_used_and_nothing_asked() {
    let mut bench = Bench::new(Purpose::Serving);
    bench.put(&bench.words((0, 100_000)).with_names(&["10.0.0.1"]));
    let api = bench.signs((0, 1000), &[]);
    let _task = bench.start(&api);
    assert_eq!(bench.current(), bench.kept());
    bench.wanted.send(addresses(&["10.0.0.1"])).unwrap();
    seconds(50_000).await;
    assert!(api.calls().is_empty(), "{:?}", api.calls());
}

#[tokio::test(start_paused = true)]
async fn serving_certificate_is_asked_for_once_the_node_has_an_address() {
    let mut bench = Bench::new(Purpose::Serving);
    let api = bench.signs((0, 100_000), &["10.0.0.1", "10.0.0.2"]);
    let _task = bench.start(&api);
    seconds(10_000).await;
    assert!(api.calls().is_empty() && bench.key.borrow().is_none());
    bench.wanted.send(addresses(&["10.0.0.1"])).unwrap();
    assert!(bench.change().await <= 1);
    // An address that the signer put in already.
    bench.wanted.send(addresses(&["10.0.0.2"])).unwrap();
    seconds(100).await;
    assert_eq!(api.names().len(), 1);
    let name = bench.files.current();
    assert!(name.ends_with("kubelet-server-current.pem") && name.exists());
}

#[tokio::test(start_paused = true)]
async fn changed_addresses_end_a_request_that_waits_and_make_another() {
    let mut bench = Bench::new(Purpose::Serving);
    let (signer, clock) = (Arc::clone(&bench.signer), Arc::clone(&bench.clock));
    let first = Mutex::new(None);
    // Nobody decides on the first request.
    let api = bench.decides(move |csr, _| {
        let name = csr.metadata.name.clone();
        if *first.lock().unwrap().get_or_insert_with(|| name.clone()) == name {
            return None;
        }
        let words = Words::around(NODE, clock(), (0, 1000)).with_names(&["10.0.0.2"]);
        Some(signer.issued(csr, &words))
    });
    let _task = bench.start(&api);
    bench.wanted.send(addresses(&["10.0.0.1"])).unwrap();
    seconds(100).await;
    assert_eq!((api.names().len(), bench.errors()), (1, 0));
    bench.wanted.send(addresses(&["10.0.0.2"])).unwrap();
    assert!(bench.change().await <= 1);
    assert_eq!(api.names().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn denied_request_is_followed_by_others_ever_more_slowly() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((0, 1000)));
    let api = bench.decides(|_, _| Some(refusal("Denied")));
    let _task = bench.start(&api);
    let before = bench.current();
    seconds(801).await;
    // 2, 4, 8 and 16 s, then 32 s, each a little more and a look at the request.
    for (wait, requests) in [(0, 1), (3, 2), (5, 3), (9, 4), (18, 5), (35, 6), (35, 7)] {
        seconds(wait).await;
        assert_eq!(api.names().len(), requests, "{wait}");
    }
    assert_eq!(bench.errors(), 7);
    // It is used on to its end and beyond: the server's clock is the one that counts.
    seconds(1000).await;
    assert_eq!(bench.current(), before);
}

#[tokio::test(start_paused = true)]
async fn failure_of_the_signer_is_tried_again() {
    let mut bench = Bench::new(Purpose::Client);
    let (signer, clock) = (Arc::clone(&bench.signer), Arc::clone(&bench.clock));
    let api = bench.decides(move |csr, looks| match looks {
        1 => Some(refusal("Failed")),
        _ => Some(signer.issued(csr, &Words::around(NODE, clock(), (0, 1000)))),
    });
    let _task = bench.start(&api);
    assert_eq!(bench.change().await, 2);
    assert_eq!((api.names().len(), bench.errors()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn server_that_is_away_is_asked_again_with_another_key() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((0, 1000)));
    let api = bench.signs((0, 1000), &[]);
    for _ in 0..3 {
        api.fail_next(ApiError::Unavailable("no route".to_owned()));
    }
    let _task = bench.start(&api);
    assert_eq!(bench.change().await, 814);
    assert_eq!(api.calls(), ["create", "create", "create", "create", "get"]);
    assert_eq!(bench.errors(), 3);
}

#[tokio::test(start_paused = true)]
async fn request_that_nobody_decides_on_is_made_anew_after_a_quarter_of_an_hour() {
    let mut bench = Bench::new(Purpose::Serving);
    bench.wanted.send_replace(addresses(&["10.0.0.1"]));
    let api = bench.decides(|_, _| None);
    let _task = bench.start(&api);
    seconds(899).await;
    assert_eq!((api.names().len(), bench.errors()), (1, 0));
    seconds(5).await;
    assert_eq!((api.names().len(), bench.errors()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn certificate_that_somebody_puts_there_is_taken() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((0, 1000)));
    let api = bench.signs((0, 1000), &[]);
    let _task = bench.start(&api);
    seconds(100).await;
    bench.put(&bench.words((0, 10_000)));
    bench.change().await;
    assert_eq!(bench.current(), bench.kept());
    seconds(7000).await;
    assert!(api.calls().is_empty(), "renewal follows the new one");
    bench.change().await;
    assert_eq!(api.names().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn certificate_put_there_ends_a_request_that_waits() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((0, 1000)));
    let api = bench.decides(|_, _| None);
    let _task = bench.start(&api);
    seconds(810).await;
    assert_eq!(api.names().len(), 1);
    bench.put(&bench.words((0, 100_000)));
    bench.change().await;
    let calls = api.calls().len();
    seconds(10_000).await;
    assert_eq!(api.calls().len(), calls);
    assert_eq!(bench.errors(), 0);
}

#[tokio::test(start_paused = true)]
async fn certificate_whose_file_is_lost_is_replaced() {
    let removed = |path: &PathBuf| fs::remove_file(path).unwrap();
    let garbled = |path: &PathBuf| fs::write(path, "-----BEGIN CERT").unwrap();
    for lose in [removed as fn(&PathBuf), garbled] {
        let mut bench = Bench::new(Purpose::Client);
        bench.put(&bench.words((0, 100_000)));
        let api = bench.signs((0, 100_000), &[]);
        let _task = bench.start(&api);
        seconds(5).await;
        let before = bench.current();
        lose(&bench.files.current());
        seconds(5).await;
        // Somebody may be writing it.
        assert!(api.calls().is_empty());
        assert_eq!(bench.current(), before);
        bench.change().await;
        assert_eq!(bench.kept(), bench.current());
        assert_eq!(api.names().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn file_that_is_back_soon_was_not_lost() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((0, 100_000)));
    let api = bench.signs((0, 100_000), &[]);
    let _task = bench.start(&api);
    seconds(1).await;
    let text = fs::read(bench.files.current()).unwrap();
    fs::remove_file(bench.files.current()).unwrap();
    seconds(8).await;
    fs::write(bench.files.current(), text).unwrap();
    seconds(1000).await;
    assert!(api.calls().is_empty(), "{:?}", api.calls());
}

#[tokio::test(start_paused = true)]
async fn without_renewal_files_are_followed_and_nothing_is_asked() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((0, 1000)));
    let task = bench.task(None);
    let running = tokio::spawn(task.run());
    seconds(5000).await;
    bench.put(&bench.words((0, 1000)));
    bench.change().await;
    assert_eq!(bench.current(), bench.kept());
    assert!(!running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn ended_credential_is_replaced_with_the_bootstrap_one() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((1000, -1)));
    let own = bench.decides(|_, _| None);
    let helping = bench.signs((0, 1000), &[]);
    let connect = {
        let helping = Arc::clone(&helping);
        move || Ok(Arc::clone(&helping) as Arc<dyn CsrApi>)
    };
    let _task = bench.start_with(&own, Some(Box::new(connect)));
    assert!(bench.change().await <= 1);
    assert_eq!((own.names().len(), helping.names().len()), (0, 1));
    // The next one is asked for with the certificate itself.
    seconds(810).await;
    assert_eq!((own.names().len(), helping.names().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn broken_bootstrap_credential_leaves_the_own_one_to_ask_with() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((1000, -1)));
    // This machine's clock is ahead, so that the server takes what seems to have ended.
    let own = bench.signs((0, 1000), &[]);
    let _task = bench.start_with(&own, Some(Box::new(|| Err("no such file".to_owned()))));
    assert_eq!(bench.change().await, 2);
    assert_eq!(bench.errors(), 1);
}

#[tokio::test(start_paused = true)]
async fn ended_credential_that_the_server_refuses_ends_the_daemon() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((1000, -100)));
    let api = bench.decides(|_, _| None);
    for _ in 0..100 {
        api.fail_next(ApiError::Forbidden("Unauthorized".to_owned()));
    }
    let begun = Instant::now();
    let text = bench.start(&api).await.unwrap();
    assert!((300..340).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(text.contains("certificate ended at 2026-11-29T11:58:20Z"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn ended_credential_is_lived_with_while_the_server_is_away() {
    let mut bench = Bench::new(Purpose::Client);
    bench.put(&bench.words((1000, -100)));
    let api = bench.decides(|_, _| None);
    for _ in 0..10_000 {
        api.fail_next(ApiError::Unavailable("no route".to_owned()));
    }
    let task = bench.start(&api);
    seconds(20_000).await;
    assert!(!task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_wrong_makes_no_storm_of_requests() {
    // Validity as this machine sees it; requests within an hour at most.
    let table: [(Validity, usize); 4] = [
        // The signer's clock is a day behind, or ahead.
        ((87_400, -85_400), 13),
        ((-85_400, 87_400), 1),
        // A minute, dated back as by kube-controller-manager.
        ((300, 60), 130),
        ((300, 0), 13),
    ];
    for (validity, most) in table {
        let mut bench = Bench::new(Purpose::Client);
        let api = bench.signs(validity, &[]);
        let task = bench.start(&api);
        seconds(3600).await;
        let requests = api.names().len();
        assert!((1..=most).contains(&requests), "{validity:?}: {requests}");
        assert!(!task.is_finished() && bench.key.borrow().is_some());
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn certificate_for_another_key_is_neither_kept_nor_used() {
    let mut bench = Bench::new(Purpose::Client);
    let (signer, clock) = (Arc::clone(&bench.signer), Arc::clone(&bench.clock));
    let other = Mutex::new(None);
    let api = bench.decides(move |csr, _| {
        let mut other = other.lock().unwrap();
        let status = signer.issued(csr, &Words::around(NODE, clock(), (0, 1000)));
        Some(other.get_or_insert(status).clone())
    });
    // The first request gets its own certificate, the others get that one, too.
    let _task = bench.start(&api);
    bench.change().await;
    let first = bench.current();
    seconds(900).await;
    assert!(bench.errors() > 0);
    assert_eq!((bench.current(), bench.kept()), (first.clone(), first));
}

#[tokio::test(start_paused = true)]
async fn signer_that_leaves_names_out_is_not_asked_without_pause() {
    let mut bench = Bench::new(Purpose::Serving);
    bench.wanted.send_replace(addresses(&["10.0.0.1", "10.0.0.2"]));
    let api = bench.signs((0, 100_000), &["10.0.0.1"]);
    let _task = bench.start(&api);
    bench.change().await;
    seconds(3600).await;
    assert!((50..130).contains(&api.names().len()), "{}", api.names().len());
}
