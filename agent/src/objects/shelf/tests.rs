use super::*;
use crate::testing::fake_api::FakeApi;
use serde_json::json;

fn state(version: &str) -> State<api::ConfigMap> {
    let object = json!({"metadata": {"name": "cm", "resourceVersion": version}});
    Some(Arc::new(serde_json::from_value(object).unwrap()))
}

#[tokio::test]
async fn watch_that_begins_anew_is_no_news() {
    let mut shelf = Shelf::<api::ConfigMap>::new(Arc::new(FakeApi::new("n1")));
    let key = ("ns".to_owned(), "cm".to_owned());
    shelf.keep(key.clone());
    for (state, is_news) in [
        (state("1"), false),
        (state("1"), false),
        (state("2"), true),
        (None, true),
        (None, false),
        (state("2"), true),
    ] {
        assert_eq!(shelf.take(&key, state.clone()), is_news, "{state:?}");
    }
}
