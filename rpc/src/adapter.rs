//! The node's [`Api`] behind the server.

use std::sync::Arc;

use crate::{
    answer::Answer,
    api::{self, Api, Request},
    dispatch::{BodyLimits, Dispatch, Patience, Rules},
    envelope::EnvelopeLimits,
    error::RpcError,
    limits::ANSWERS_BYTES_MAX,
    places::PlaceGauge,
};

impl Dispatch for Api {
    fn rules(&self) -> Rules {
        let config = &self.config;
        Rules {
            body: BodyLimits {
                envelope: EnvelopeLimits {
                    bytes_max: config.request_bytes_max,
                    batch_max: config.batch_max,
                    depth_max: config.depth_max,
                },
                response_bytes_max: config.response_bytes_max,
                answers_bytes_max: ANSWERS_BYTES_MAX.max(config.response_bytes_max),
            },
            connections_max: config.connections_max,
            cors: config.cors.clone(),
            patience: Patience::default(),
        }
    }

    fn executions(&self) -> PlaceGauge {
        self.places.gauge()
    }

    async fn dispatch(self: &Arc<Self>, request: Request<'_>) -> Result<Answer, RpcError> {
        self.log.called(request.method);
        let result = api::dispatch(self, request).await;
        if let Err(error) = &result {
            self.log.failed(&request, error);
        }
        result
    }
}
