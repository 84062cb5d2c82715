//! Which browsers may call: the CORS headers, and what is refused without them.
//!
//! A request with an `Origin` comes from a web page. If that origin is not allowed it is refused
//! whatever its method: CORS alone would let a page send (only not read), and browsers do not apply
//! it to `WebSocket` at all.

use hyper::{
    HeaderMap,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_MAX_AGE, HeaderValue, ORIGIN, VARY,
    },
};

/// The origins that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cors {
    /// No page may.
    Off,
    /// Every page may.
    Any,
    /// Pages of these origins may.
    Listed(Vec<HeaderValue>),
}

/// An origin in the list is not a header value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin: {0:?}")]
pub struct BadOrigin(String);

impl Cors {
    /// Reads the configured list; `*` in it means any.
    pub(super) fn new(origins: Option<&[String]>) -> Result<Self, BadOrigin> {
        let Some(origins) = origins else { return Ok(Self::Off) };
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self::Any);
        }
        let value =
            |origin: &String| HeaderValue::from_str(origin).map_err(|_| BadOrigin(origin.clone()));
        origins.iter().map(value).collect::<Result<_, _>>().map(Self::Listed)
    }

    /// True if the request comes from no page, or from one that may call.
    pub(super) fn allows(&self, request: &HeaderMap) -> bool {
        let Some(origin) = request.get(ORIGIN) else { return true };
        match self {
            Self::Off => false,
            Self::Any => true,
            Self::Listed(origins) => origins.contains(origin),
        }
    }

    /// Adds what an answer to `origin` needs. Call it only for allowed requests.
    pub(super) fn mark(&self, origin: Option<HeaderValue>, answer: &mut HeaderMap) {
        match (self, origin) {
            (Self::Any, _) => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            (Self::Listed(_), Some(origin)) => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                answer.insert(VARY, HeaderValue::from_static("origin"));
            }
            (Self::Listed(_), None) => {
                answer.insert(VARY, HeaderValue::from_static("origin"));
            }
            (Self::Off, _) => {}
        }
    }

    /// Adds what a preflight asks for.
    pub(super) fn mark_preflight(&self, answer: &mut HeaderMap) {
        if *self == Self::Off {
            return;
        }
        let methods = HeaderValue::from_static("GET, POST, OPTIONS");
        let headers = HeaderValue::from_static("content-type, authorization, x-api-key");
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
}
