//! Deployments: how one went, and what was said to its devices.

use serde_json::json;
use turnup_core::{id::DeploymentId, name::DeviceName, problem::Problem};
use turnup_store::DeploymentView;

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
};

async fn find(call: &Call, id: DeploymentId) -> Result<(DeploymentView, serde_json::Value), Refusal> {
    let found = call.app.store.deployment(id).await?;
    let (view, orders) = found.ok_or_else(|| Problem::not_found(format!("there is no deployment {id}")))?;
    let orders = json!(orders);
    Ok((view, orders))
}

pub(super) async fn show(call: Call) -> Answer {
    let (view, orders) = find(&call, call.deployment_id()?).await?;
    let mut body = serde_json::to_value(&view)
        .map_err(|_| Problem::internal("the deployment could not be written as JSON"))?;
    body["orders"] = orders;
    ok(&body)
}

pub(super) async fn transcript(call: Call) -> Answer {
    let id = call.deployment_id()?;
    let device = call.query.parsed::<DeviceName>("device")?;
    find(&call, id).await?;
    let items = call.app.store.transcripts(id, device.as_ref().map(DeviceName::as_str)).await?;
    ok(&json!({"deployment": id, "items": items}))
}
