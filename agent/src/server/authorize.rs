//! Whether a caller may do what it asks for: the verb of its method on a subresource of this node.
//!
//! Source: kubelet v1.36 `pkg/kubelet/server/auth.go` and the filter in `server.go`.

use http::Method;

use super::review_cache::ReviewError;
use super::reviews::{AccessReviews, Question};
use super::route::{Access, Caller};

#[cfg(test)]
mod tests;

/// Why a call is not answered. The texts are the kubelet's, and what the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error(
        "Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
        subresources.join(" ")
    )]
    Forbidden { user: String, verb: &'static str, subresources: &'static [&'static str] },
    #[error(
        "Authorization error (user={user}, verb={verb}, resource=nodes, subresource={subresource})"
    )]
    Unknown {
        user: String,
        verb: &'static str,
        subresource: &'static str,
        #[source]
        cause: ReviewError,
    },
}

/// Decides what callers may do.
pub struct Authorizer {
    /// `None` allows everything to everybody who is known.
    pub reviews: Option<AccessReviews>,
    pub node_name: String,
}

impl Authorizer {
    /// Whether the caller may use `method` on one of the subresources.
    pub async fn authorize(
        &self,
        caller: &Caller,
        method: &Method,
        Access(subresources): Access,
    ) -> Result<(), Denied> {
        let Some(reviews) = &self.reviews else { return Ok(()) };
        let verb = verb(method);
        for subresource in subresources {
            let question = Question { caller, verb, node_name: &self.node_name, subresource };
            match reviews.review(question).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(cause) => {
                    let user = caller.user.clone();
                    return Err(Denied::Unknown { user, verb, subresource, cause });
                }
            }
        }
        Err(Denied::Forbidden { user: caller.user.clone(), verb, subresources })
    }
}

/// Pure: the API's verb for a method. HEAD and the rest have none, so that only those who may do
/// everything pass.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}
