//! Sends spans to an OpenTelemetry collector: OTLP over HTTP, protobuf bodies.
//!
//! Spans wait in a bounded queue for a thread of the SDK, which sends them in batches. What finds
//! the queue full is dropped; the log says so when it begins, and how many there were at the end.
//! The SDK's variables set the rest: `OTEL_BSP_MAX_QUEUE_SIZE` and its siblings,
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`.
//!
//! Source: OpenTelemetry Protocol 1.10, "OTLP/HTTP".

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use futures_util::future::join;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Uri, client::conn::http1, header::HOST, http::HeaderValue};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};

/// How long the collector may take for a batch: the protocol's default.
const BATCH_MAX: Duration = Duration::from_secs(10);
/// How long the end of the node may wait for the last batches.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Bytes of the collector's answer; it says what it did not take, in a sentence.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const SERVICE: &str = "evenkeel";

/// What sends spans; dropping it sends what waits, for [`FLUSH_MAX`] at most.
pub(crate) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// An exporter to the collector at `url`, of which `ratio` of all traces is sampled.
    ///
    /// # Errors
    ///
    /// `url` is not `http://HOST[:PORT]/PATH`, or the SDK's variables are wrong.
    pub(crate) fn to(url: &str, ratio: f64) -> Result<Self> {
        let expected =
            || format!("--tracing-otlp: expected http://HOST[:PORT]/PATH, found {url:?}");
        let uri: Uri = url.parse().with_context(expected)?;
        ensure!(uri.scheme_str() == Some("http") && uri.authority().is_some(), expected());
        ensure!(
            (0.0..=1.0).contains(&ratio),
            "--tracing-otlp.sample-ratio: expected 0 to 1, found {ratio}"
        );
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new()?)
            .with_endpoint(url)
            .with_protocol(Protocol::HttpBinary)
            .build()
            .context("cannot start the exporter of traces")?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .build();
        Ok(Self(provider))
    }

    /// What makes spans of it.
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer(SERVICE)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // What was not sent, the SDK says in the log.
        let _ = self.0.shutdown_with_timeout(FLUSH_MAX);
    }
}

/// One request on a connection of its own; there is one about every second.
struct Collector {
    /// On the SDK's thread, so that no worker of the node waits for a collector.
    runtime: Runtime,
}

impl Collector {
    fn new() -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().context("cannot reach for a collector")?;
        Ok(Self { runtime })
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The SDK's thread waits for this future and does nothing else.
        self.runtime.block_on(async { timeout(BATCH_MAX, post(request)).await? })
    }
}

async fn post(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("the URL has no host")?.clone();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    parts.uri = path.parse()?;
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((authority.host(), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    };
    // The connection ends with the exchange, which owns the sender.
    let (answer, _) = join(exchange, connection).await;
    answer
}
