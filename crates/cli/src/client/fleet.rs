//! `turnup fleet`

use std::time::Duration;

use super::{
    http::Api,
    output::{Format, json, line, table, text},
};
use crate::failure::Failure;

pub(crate) async fn run(api: &Api, format: Format, watch: bool) -> Result<(), Failure> {
    loop {
        let fleet = api.get("/v1/fleet").await?;
        if format == Format::Json {
            json(&fleet)?;
        } else {
            let regions = fleet["regions"].as_array().cloned().unwrap_or_default();
            line(table(
                &regions,
                &[
                    ("region", "/region"),
                    ("workers", "/workers"),
                    ("urgent", "/queues/urgent"),
                    ("normal", "/queues/normal"),
                    ("bulk", "/queues/bulk"),
                ],
            ));
            for (state, count) in fleet["orders"].as_object().into_iter().flatten() {
                line(format!("{state:<14} {}", text(Some(count))));
            }
        }
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
