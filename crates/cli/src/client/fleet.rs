//! `turnup fleet`

use std::time::Duration;

use super::{
    http::Api,
    output::{Format, json, line, table, text},
    table::whole,
};
use crate::failure::Failure;

pub(crate) async fn run(api: &Api, format: Format, watch: bool) -> Result<(), Failure> {
    loop {
        let fleet = api.get("/v1/fleet").await?;
        if format == Format::Json {
            json(&fleet)?;
        } else {
            let regions = fleet["regions"].as_array().cloned().unwrap_or_default();
            table(
                &regions,
                &[
                    whole(0, "region", "/region"),
                    whole(1, "workers", "/workers"),
                    whole(2, "urgent waiting", "/queues/urgent/ready"),
                    whole(2, "normal waiting", "/queues/normal/ready"),
                    whole(2, "bulk waiting", "/queues/bulk/ready"),
                ],
            );
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
