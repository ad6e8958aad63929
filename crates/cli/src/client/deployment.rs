//! `turnup deployment …`

use clap::Subcommand;
use serde_json::Value;
use turnup_core::lifecycle::DeploymentState;

use super::{
    http::{Api, encode, query},
    order,
    output::{Format, field, indented, items, json as print_json, print, text},
    paint::Paint,
    xml::pretty,
};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum DeploymentCommand {
    /// Show one deployment: its state, and each device's steps and failures
    Show { id: String },
    /// Show what was said to the devices and what they answered, as XML; secrets are masked
    Transcript {
        id: String,
        /// Only of this device
        #[arg(long)]
        device: Option<String>,
    },
}

pub(crate) async fn run(
    api: &Api,
    format: Format,
    paint: Paint,
    command: DeploymentCommand,
) -> Result<(), Failure> {
    match command {
        DeploymentCommand::Show { id } => {
            let id = api.resolve("deployments", &id).await?;
            let deployment = api.get(&path(&id)).await?;
            if format == Format::Json {
                return print_json(&deployment);
            }
            let mut lines = order::of_deployment(&deployment, paint);
            let named = [
                ("transaction", "transaction_id"),
                ("phase", "phase"),
                ("orders", "orders"),
                ("in doubt", "in_doubt_since"),
                ("confirm by", "confirm_by"),
                ("dispatched", "created_at"),
                ("heard of", "updated_at"),
            ];
            for (at, (name, key)) in named.iter().filter(|(_, key)| !deployment[*key].is_null()).enumerate() {
                lines.insert(at + 1, field(name, text(deployment.get(*key))));
            }
            print(&lines);
            Ok(())
        }
        DeploymentCommand::Transcript { id, device } => {
            let id = api.resolve("deployments", &id).await?;
            let filter = query([("device", device.as_deref())]);
            let transcript = api.get(&format!("{}/transcript?{filter}", path(&id))).await?;
            if format == Format::Json {
                return print_json(&transcript);
            }
            print(&transcript_lines(&transcript));
            Ok(())
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/deployments/{}", encode(id))
}

fn transcript_lines(transcript: &Value) -> Vec<String> {
    let kept = items(&transcript["items"]);
    if kept.is_empty() {
        let state = transcript["state"].as_str().and_then(|word| word.parse::<DeploymentState>().ok());
        return vec![match state {
            Some(DeploymentState::Committed) => {
                "the deployment succeeded, and a worker keeps no transcript of such unless it is configured to \
                 (worker.transcripts = \"all\")"
            }
            Some(state) if !state.is_final() => {
                "the deployment has not ended; its transcript is kept at its end, if something went wrong"
            }
            _ => {
                "no transcript is kept: no device was contacted, it is too long ago (scheduler.keep_transcripts_days), \
                 or the worker keeps none (worker.transcripts)"
            }
        }
        .to_owned()];
    }
    let mut out = Vec::new();
    for part in kept {
        out.push(format!(
            "{}  attempt {}  worker {}",
            text(part.get("device")),
            part["attempt"],
            text(part.get("worker"))
        ));
        for exchange in items(&part["exchanges"]) {
            out.extend(of_exchange(exchange));
        }
    }
    out
}

fn of_exchange(exchange: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(count) = exchange["left_out_before"].as_u64() {
        out.push(format!("  … {count} exchanges are left out here …"));
    }
    let took = exchange["took_us"].as_f64().unwrap_or(0.0) / 1000.0;
    let note = exchange["note"].as_str().map(|note| format!("  {note}")).unwrap_or_default();
    out.push(format!("  {}  {}  {took:.1} ms{note}", text(exchange.get("at")), text(exchange.get("step"))));
    for rpc in items(&exchange["rpcs"]) {
        out.push("    sent".to_owned());
        out.extend(indented(&pretty(rpc["request"].as_str().unwrap_or_default()), "      "));
        match rpc["reply"].as_str() {
            Some(reply) => {
                out.push("    answer".to_owned());
                out.extend(indented(&pretty(reply), "      "));
            }
            None => out.push("    no answer".to_owned()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_transcript_is_read_from_top_to_bottom() {
        let transcript = json!({"items": [{
            "device": "pe1", "attempt": 1, "worker": "w1", "exchanges": [
                {"step": "connect", "at": "2027-01-15T08:00:00Z", "took_us": 4000, "note": "session 7 opened"},
                {"step": "commit", "at": "2027-01-15T08:00:01Z", "took_us": 1500, "left_out_before": 3, "rpcs": [
                    {"request": "<commit xmlns=\"urn:x\"><confirmed/></commit>", "reply": "<rpc-reply><ok/></rpc-reply>"},
                    {"request": "<a> <!-- 9 bytes left out --> </b>"},
                ]},
            ],
        }]});
        assert_eq!(
            transcript_lines(&transcript),
            [
                "pe1  attempt 1  worker w1",
                "  2027-01-15T08:00:00Z  connect  4.0 ms  session 7 opened",
                "  … 3 exchanges are left out here …",
                "  2027-01-15T08:00:01Z  commit  1.5 ms",
                "    sent",
                "      <commit xmlns=\"urn:x\">",
                "        <confirmed/>",
                "      </commit>",
                "    answer",
                "      <rpc-reply>",
                "        <ok/>",
                "      </rpc-reply>",
                "    sent",
                "      <a> <!-- 9 bytes left out --> </b>",
                "    no answer",
            ]
        );
        let none = |state: &str| transcript_lines(&json!({"state": state, "items": []}))[0].clone();
        assert!(none("rolled_back").contains("keep_transcripts_days"));
        assert!(none("committed").contains("succeeded"));
        assert!(none("running").contains("has not ended"));
    }
}
