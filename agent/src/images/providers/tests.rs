use std::path::PathBuf;
use std::sync::Mutex as StdMutex;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::model::PodSource;
use crate::testing::fake_api::FakeApi;

/// Answers what it is told to and keeps the requests.
#[derive(Default)]
struct Script {
    answer: StdMutex<Value>,
    requests: StdMutex<Vec<Value>>,
}

#[async_trait]
impl CredentialPlugins for Script {
    async fn run(&self, call: PluginCall) -> Result<Vec<u8>, PluginError> {
        let request = serde_json::from_slice(&call.input).unwrap();
        self.requests.lock().unwrap().push(request);
        Ok(self.answer.lock().unwrap().to_string().into_bytes())
    }
}

fn answer(scope: &str, lasts: Option<&str>) -> Value {
    let mut answer = json!({
        "kind": "CredentialProviderResponse",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType": scope,
        "auth": {"*.r.test": {"username": "u", "password": "p"}},
    });
    if let Some(lasts) = lasts {
        answer["cacheDuration"] = lasts.into();
    }
    answer
}

fn plugin(token: Option<TokenAttributes>) -> CredentialProvider {
    CredentialProvider {
        name: "plugin".to_owned(),
        program: PathBuf::from("/plugins/plugin"),
        match_images: vec!["*.r.test".to_owned(), "other.test/team".to_owned()],
        default_cache_duration: Duration::from_secs(60),
        api_version: "credentialprovider.kubelet.k8s.io/v1".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
        token,
    }
}

fn token(cache: TokenCache) -> TokenAttributes {
    TokenAttributes {
        audience: "registry".to_owned(),
        cache,
        required: true,
        required_annotations: vec!["id".to_owned()],
        optional_annotations: vec!["extra".to_owned()],
    }
}

struct Bench {
    script: Arc<Script>,
    api: FakeApi,
    providers: Providers,
}

fn bench(token: Option<TokenAttributes>, answer: Value) -> Bench {
    let script = Arc::new(Script::default());
    *script.answer.lock().unwrap() = answer;
    let api = FakeApi::new("n");
    let objects: Arc<dyn ObjectsApi> = Arc::new(api.clone());
    let providers = Providers::new(vec![plugin(token)], script.clone(), Some(objects));
    Bench { script, api, providers }
}

fn pod(uid: &str) -> Pod {
    let object = json!({
        "metadata": {"uid": uid, "name": uid, "namespace": "ns"},
        "spec": {"serviceAccountName": "robot", "containers": []},
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

impl Bench {
    async fn ask(&self, uid: &str, image: &str) -> Vec<TrackedAuth> {
        let image = ImageReference::parse(image).unwrap();
        self.providers.credentials(&pod(uid), &image).await
    }

    fn asked(&self) -> usize {
        self.script.requests.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn plugin_is_asked_about_images_that_match() {
    let bench = bench(None, answer("Image", Some("0s")));
    let found = bench.ask("u", "a.r.test/team/a:1").await;
    assert_eq!((found[0].auth.username.as_str(), &found[0].source), ("u", &CredentialSource::Node));
    let request = bench.script.requests.lock().unwrap()[0].clone();
    let expected = json!({
        "kind": "CredentialProviderRequest",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "image": "a.r.test/team/a",
    });
    assert_eq!(request, expected);
    for (image, times) in [("r.test/a", 1), ("other.test/b", 1), ("other.test/team/b", 2)] {
        bench.ask("u", image).await;
        assert_eq!(bench.asked(), times, "{image}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_for_their_scope_and_time() {
    // scope, time, image asked next, after seconds, calls in all
    for (scope, lasts, image, seconds, calls) in [
        ("Image", None, "a.r.test/x:2", 59, 1),
        ("Image", None, "a.r.test/x:2", 61, 2),
        ("Image", None, "a.r.test/y", 0, 2),
        ("Registry", None, "a.r.test/y", 0, 1),
        ("Registry", None, "b.r.test/y", 0, 2),
        ("Global", None, "b.r.test/y", 0, 1),
        ("Global", Some("5s"), "b.r.test/y", 6, 2),
        ("Global", Some("0s"), "a.r.test/x:1", 0, 2),
    ] {
        let bench = bench(None, answer(scope, lasts));
        assert_eq!(bench.ask("u", "a.r.test/x:1").await.len(), 1);
        tokio::time::advance(Duration::from_secs(seconds)).await;
        bench.ask("u", image).await;
        assert_eq!(bench.asked(), calls, "{scope} {lasts:?} {image} {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_answers_give_no_credentials() {
    for bad in
        [json!({}), json!("text"), answer("Elsewhere", None), answer("Image", Some("soon")), {
            let mut other = answer("Image", None);
            other["apiVersion"] = "credentialprovider.kubelet.k8s.io/v1beta1".into();
            other
        }]
    {
        let bench = bench(None, bad.clone());
        assert_eq!(bench.ask("u", "a.r.test/x").await, [], "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn token_of_the_pods_account_is_handed_on() {
    for (cache, calls) in [(TokenCache::ServiceAccount, 1), (TokenCache::Token, 2)] {
        let bench = bench(Some(token(cache)), answer("Image", None));
        assert_eq!(bench.ask("u", "a.r.test/x").await, [], "there is no such account");
        let account = json!({"metadata": {"name": "robot", "namespace": "ns", "uid": "account",
            "annotations": {"id": "7", "unrelated": "x"}}});
        bench.api.put_service_account(serde_json::from_value(account).unwrap());
        let found = bench.ask("u", "a.r.test/x").await;
        let request = bench.script.requests.lock().unwrap()[0].clone();
        assert_eq!(request["serviceAccountToken"], "token-of-ns-robot");
        assert_eq!(request["serviceAccountAnnotations"], json!({"id": "7"}));
        let origin = Origin { uid: "account".into(), namespace: "ns".into(), name: "robot".into() };
        let expected = match cache {
            TokenCache::ServiceAccount => CredentialSource::ServiceAccount(origin),
            TokenCache::Token => CredentialSource::Pod,
        };
        assert_eq!(found[0].source, expected);
        bench.ask("u", "a.r.test/x").await;
        assert_eq!(bench.asked(), 1);
        bench.ask("v", "a.r.test/x").await;
        assert_eq!(bench.asked(), calls, "{cache:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn account_without_a_required_annotation_is_not_asked_for() {
    let bench = bench(Some(token(TokenCache::Token)), answer("Image", None));
    let account = json!({"metadata": {"name": "robot", "namespace": "ns", "uid": "account"}});
    bench.api.put_service_account(serde_json::from_value(account).unwrap());
    assert_eq!(bench.ask("u", "a.r.test/x").await, []);
    assert_eq!(bench.asked(), 0);
}
