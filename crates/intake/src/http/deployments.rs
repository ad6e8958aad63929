//! Deployments: how one went, and what was said to its devices.

use serde_json::json;
use turnup_core::{id::OrderId, name::DeviceName, problem::Problem};
use turnup_store::{DeploymentView, IdOf};

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    resolve,
};

/// The deployment that the path names, and its orders.
async fn find(call: &Call) -> Result<(DeploymentView, Vec<OrderId>), Refusal> {
    let id = resolve::deployment_id(call).await?;
    match call.app.store.deployment(id).await? {
        Some(found) => Ok(found),
        None => Err(resolve::missing(call, IdOf::Deployment, id.0).await?.into()),
    }
}

pub(super) async fn show(call: Call) -> Answer {
    let (view, orders) = find(&call).await?;
    let mut body = serde_json::to_value(&view)
        .map_err(|_| Problem::internal("the deployment could not be written as JSON"))?;
    body["orders"] = json!(orders);
    ok(&body)
}

pub(super) async fn transcript(call: Call) -> Answer {
    let device = call.query.parsed::<DeviceName>("device")?;
    let (view, _) = find(&call).await?;
    let items = call.app.store.transcripts(view.id, device.as_ref().map(DeviceName::as_str)).await?;
    ok(&json!({"deployment": view.id, "state": view.state, "items": items}))
}
