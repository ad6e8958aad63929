//! `turnup order undo`: the order that takes a completed one back.

use clap::Args;
use serde_json::{Value, json};

use super::{PlanView, follow, path, plan::Source, show_plan, when};
use crate::{
    client::{
        http::Api,
        output::{Format, warn},
        paint::Paint,
    },
    failure::Failure,
};

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// The order to take back
    id: String,
    /// Take the service back to its state before this order, and so undo the later orders of the service too
    #[arg(long)]
    to_before: bool,
    /// Show the plan only; store nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    view: PlanView,
    /// Start at this time (RFC 3339, such as 2030-01-31T22:00:00Z) instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Wait until the new order has ended; exit code 1 if it did not complete
    #[arg(long)]
    watch: bool,
    /// Deploy only the plan with this hash (--dry-run shows it); if the plan is another when the order starts, it
    /// becomes Invalid and nothing is touched
    #[arg(long, value_name = "HASH")]
    approved_plan: Option<String>,
    /// The upstream system's own id of the new order
    #[arg(long)]
    external_id: Option<String>,
    /// Why, for people
    #[arg(long)]
    description: Option<String>,
}

pub(crate) async fn run(api: &Api, format: Format, paint: Paint, undo: &Undo) -> Result<(), Failure> {
    if let Some(past) = undo.at.as_deref().and_then(when::past) {
        warn(past);
    }
    let path = format!("{}/undo{}", path(&api.resolve("orders", &undo.id).await?), undo.query());
    if undo.dry_run {
        let plan = api.patient().post(&path, &undo.request()).await?;
        return show_plan(format, paint, &plan, Source::Options, None, &undo.view);
    }
    let (created, order) = api.create(&path, &undo.request()).await?;
    follow(api, format, paint, created, &order, undo.watch).await
}

impl Undo {
    fn query(&self) -> String {
        let flags = [
            ("to_before", self.to_before),
            ("dry_run", self.dry_run),
            ("on_device", self.dry_run && self.view.on_device),
        ];
        let flags: Vec<String> =
            flags.iter().filter(|(_, set)| *set).map(|(name, _)| format!("{name}=true")).collect();
        if flags.is_empty() { String::new() } else { format!("?{}", flags.join("&")) }
    }

    fn request(&self) -> Value {
        let mut request = json!({"schedule": self.at.as_deref().unwrap_or("now")});
        let given = [
            ("approved_plan", &self.approved_plan),
            ("external_id", &self.external_id),
            ("description", &self.description),
        ];
        for (field, value) in given {
            if let Some(value) = value {
                request[field] = json!(value);
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo() -> Undo {
        Undo {
            id: "O".to_owned(),
            to_before: false,
            dry_run: false,
            view: PlanView { on_device: true, xml: false },
            at: None,
            watch: false,
            approved_plan: None,
            external_id: None,
            description: None,
        }
    }

    #[test]
    fn options_become_query_and_request() {
        assert_eq!(undo().query(), "");
        assert_eq!(undo().request(), json!({"schedule": "now"}));
        let undo = Undo {
            to_before: true,
            dry_run: true,
            at: Some("2030-01-31T22:00:00Z".to_owned()),
            description: Some("wrong site".to_owned()),
            ..undo()
        };
        assert_eq!(undo.query(), "?to_before=true&dry_run=true&on_device=true");
        assert_eq!(undo.request(), json!({"schedule": "2030-01-31T22:00:00Z", "description": "wrong site"}));
    }
}
