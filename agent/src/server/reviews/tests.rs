use serde_json::json;

use super::*;
use crate::testing::fake_authn::FakeAuthn;

const TTL: Duration = Duration::from_secs(120);

fn tokens() -> (TokenReviews, Arc<FakeAuthn>) {
    let api = Arc::new(FakeAuthn::default());
    (TokenReviews::new(api.clone(), TTL), api)
}

#[test]
fn a_question_is_about_a_subresource_of_this_node() {
    let caller = Caller {
        user: "jane".to_owned(),
        uid: "1".to_owned(),
        groups: vec!["a".to_owned()],
        extra: vec![("k".to_owned(), vec!["v".to_owned()])],
    };
    let question =
        Question { caller: &caller, verb: "get", node_name: "node-1", subresource: "pods" };
    let wanted = json!({
        "resourceAttributes": {
            "name": "node-1", "resource": "nodes", "subresource": "pods", "verb": "get",
            "version": "v1",
        },
        "user": "jane", "uid": "1", "groups": ["a"], "extra": {"k": ["v"]},
    });
    assert_eq!(serde_json::to_value(spec(question)).unwrap(), wanted);
}

#[tokio::test(start_paused = true)]
async fn what_a_token_stands_for_is_kept_for_its_time_whether_somebody_or_nobody() {
    let (tokens, api) = tokens();
    api.token("known", "bot", &[]);
    for (token, user) in [("known", Some("bot")), ("unknown", None)] {
        let token = BearerToken::new(token);
        let before = api.calls().len();
        for _ in 0..3 {
            let found = tokens.review(&token).await.unwrap();
            assert_eq!(found.map(|caller| caller.user).as_deref(), user);
        }
        assert_eq!(api.calls().len(), before + 1);
        tokio::time::advance(TTL).await;
        tokens.review(&token).await.unwrap();
        assert_eq!(api.calls().len(), before + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_put_five_times_while_the_server_is_away_and_once_when_it_refuses() {
    let (tokens, api) = tokens();
    let token = BearerToken::new("known");
    api.fail(ApiError::Unavailable("away".to_owned()));
    let began = tokio::time::Instant::now();
    tokens.review(&token).await.unwrap_err();
    assert_eq!(api.calls().len(), 5);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    api.fail(ApiError::Forbidden("no".to_owned()));
    let error = tokens.review(&token).await.unwrap_err();
    assert_eq!((&*error.to_string(), api.calls().len()), ("not allowed: no", 6));
    api.mend();
    api.token("known", "bot", &[]);
    assert!(tokens.review(&token).await.unwrap().is_some(), "an error is not kept");
}
