use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::boundary::ApiError;
use crate::testing::fake_authn::FakeAuthn;

const FINE: Access = Access(&["pods", "proxy"]);

fn authorizer() -> (Authorizer, Arc<FakeAuthn>) {
    let api = Arc::new(FakeAuthn::default());
    let ttls = (Duration::from_secs(300), Duration::from_secs(30));
    let reviews = Some(AccessReviews::new(api.clone(), ttls));
    (Authorizer { reviews, node_name: "node-1".to_owned() }, api)
}

fn jane() -> Caller {
    Caller { user: "jane".to_owned(), ..Caller::default() }
}

#[tokio::test]
async fn the_method_is_asked_for_by_its_verb_of_the_api() {
    let (authorizer, api) = authorizer();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        authorizer.authorize(&jane(), &method, Access::PROXY).await.unwrap_err();
    }
    // HEAD, OPTIONS and the rest are one question, asked once.
    let wanted = ["get", "create", "update", "patch", "delete", ""];
    assert_eq!(api.calls(), wanted.map(|verb| format!("jane {verb} proxy")));
}

#[tokio::test]
async fn the_finer_subresource_is_asked_for_first_and_one_grant_is_enough() {
    let (authorizer, api) = authorizer();
    api.grant("jane", "get", "pods");
    authorizer.authorize(&jane(), &Method::GET, FINE).await.unwrap();
    assert_eq!(api.calls(), ["jane get pods"]);
    api.grant("jane", "create", "proxy");
    authorizer.authorize(&jane(), &Method::POST, FINE).await.unwrap();
    assert_eq!(api.calls()[1..], ["jane create pods", "jane create proxy"]);
}

#[tokio::test]
async fn a_refusal_names_user_verb_and_all_subresources() {
    let (authorizer, _) = authorizer();
    let denied = authorizer.authorize(&jane(), &Method::HEAD, FINE).await.unwrap_err();
    let words = "Forbidden (user=jane, verb=, resource=nodes, subresource(s)=[pods proxy])\n";
    assert_eq!(denied.to_string(), words);
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_what_was_allowed_goes_on_and_the_rest_is_an_error() {
    let (authorizer, api) = authorizer();
    api.grant("jane", "get", "pods");
    authorizer.authorize(&jane(), &Method::GET, FINE).await.unwrap();
    api.fail(ApiError::Unavailable("away".to_owned()));
    authorizer.authorize(&jane(), &Method::GET, FINE).await.unwrap();
    let denied = authorizer.authorize(&jane(), &Method::PUT, FINE).await.unwrap_err();
    let words = "Authorization error (user=jane, verb=update, resource=nodes, subresource=pods)";
    assert_eq!(denied.to_string(), words);
    tokio::time::advance(Duration::from_secs(301)).await;
    let denied = authorizer.authorize(&jane(), &Method::GET, FINE).await.unwrap_err();
    assert!(matches!(denied, Denied::Unknown { .. }), "{denied}");
}

#[tokio::test]
async fn without_reviews_everything_is_allowed() {
    let authorizer = Authorizer { reviews: None, node_name: "node-1".to_owned() };
    authorizer.authorize(&jane(), &Method::DELETE, FINE).await.unwrap();
}
