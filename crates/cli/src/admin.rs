//! Commands of whoever runs turnup: they talk to the database and the broker, not to an intake.

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};
use turnup_broker::{Broker, declare, parked, topology};
use turnup_core::policy::Role;
use turnup_store::{NewToken, Store};

use crate::{
    client::{
        output::{Format, json as print_json, line, table},
        table::{cut, whole},
    },
    config::Config,
    failure::Failure,
};

/// The store that the configuration names.
pub(crate) fn store(config: &Config) -> Result<Store, Failure> {
    Ok(Store::new(&turnup_store::Settings {
        url: config.database.url.clone(),
        max_connections: config.database.max_connections,
        timeout_ms: config.database.timeout_ms,
    })?)
}

/// The broker that the configuration names. `who` is shown in its list of connections.
pub(crate) fn broker(config: &Config, who: &str) -> Result<Broker, Failure> {
    let mut settings = turnup_broker::Settings::new(config.broker.url.clone());
    settings.prefix.clone_from(&config.broker.prefix);
    settings.ladder_levels = config.broker.ladder_levels;
    settings.heartbeat_s = config.broker.heartbeat_s;
    settings.publish_window = config.broker.publish_window;
    settings.connection_name = format!("turnup {who}");
    Broker::new(settings).map_err(|error| Failure::Usage(error.to_string()))
}

/// The exchanges, queues and bindings that the configuration asks for.
pub(crate) fn table_of(config: &Config, broker: &Broker) -> topology::Table {
    let options = topology::Options {
        regions: config.regions.iter().map(ToString::to_string).collect(),
        ladder_levels: config.broker.ladder_levels,
        events_max_bytes: config.broker.events_max_bytes,
        events_max_age_days: config.broker.events_max_age_days,
    };
    topology::Table::new(broker.names(), &options)
}

pub(crate) async fn migrate(config: &Config) -> Result<(), Failure> {
    let (before, now) = store(config)?.migrate().await?;
    line(if before == now {
        format!("database: schema version {now}, nothing to do")
    } else {
        format!("database: schema version {before} -> {now}")
    });
    let broker = broker(config, "migrate")?;
    let table = table_of(config, &broker);
    declare(&broker, &table).await?;
    line(format!("broker: {} exchanges and {} queues are there", table.exchanges.len(), table.queues.len()));
    Ok(())
}

pub(crate) async fn reconcile(config: &Config) -> Result<(), Failure> {
    let reach = turnup_scheduler::reach_ms(config.broker.ladder_levels);
    let swept = store(config)?.reconcile(Timestamp::now(), reach).await?;
    line(format!("sent again: {} scheduled orders, {} deployments", swept.orders, swept.deployments));
    Ok(())
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its secret is shown this once
    Create {
        /// Unique name: shown as the requester of orders
        name: String,
        /// provisioner (orders), operator (and devices), auditor (reads), designer (publishes definitions) or admin
        /// (all); several with commas; docs/operating.md has the rights of each
        #[arg(long, value_delimiter = ',', required = true)]
        role: Vec<Role>,
        /// RFC 3339 time after which it opens nothing
        #[arg(long)]
        expires: Option<Timestamp>,
    },
    /// List tokens
    List,
    /// Revoke a token
    Revoke { name: String },
}

pub(crate) async fn token(config: &Config, format: Format, command: TokenCommand) -> Result<(), Failure> {
    let store = store(config)?;
    match command {
        TokenCommand::Create { name, role, expires } => {
            turnup_core::order::check_key(&name).map_err(|error| Failure::Usage(format!("name: {error}")))?;
            let token = NewToken { name: name.clone(), roles: role, expires_at: expires };
            let secret = store.create_token(&token, Timestamp::now()).await?.ok_or_else(|| {
                Failure::Refused(format!("there is a token {name:?} already; choose another name"))
            })?;
            if format == Format::Json {
                print_json(&json!({"name": name, "token": secret}))
            } else {
                line(secret);
                Ok(())
            }
        }
        TokenCommand::List => {
            let tokens = serde_json::to_value(store.tokens().await?)
                .map_err(|error| Failure::Failed(error.to_string()))?;
            if format == Format::Json {
                return print_json(&tokens);
            }
            table(
                tokens.as_array().map_or(&[][..], Vec::as_slice),
                &[
                    whole(0, "name", "/name"),
                    whole(1, "roles", "/roles"),
                    whole(4, "created", "/created_at"),
                    whole(2, "expires", "/expires_at"),
                    whole(3, "revoked", "/revoked_at"),
                ],
            );
            Ok(())
        }
        TokenCommand::Revoke { name } => {
            if store.revoke_token(&name, Timestamp::now()).await? {
                line(format!("{name} is revoked; intakes notice within seconds"));
                Ok(())
            } else {
                Err(Failure::Failed(format!("there is no token {name:?} that is not revoked")))
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ParkedCommand {
    /// List parked messages
    List {
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one with its body. Values of orders and secrets of deployments are left out
    Show {
        id: String,
        /// The body as it is, with all values and secrets
        #[arg(long)]
        raw: bool,
    },
    /// Send one to where it came from again
    Replay { id: String },
    /// Drop one for good
    Drop { id: String },
}

fn parked_json(parked: &parked::Parked) -> Value {
    json!({
        "id": parked.id, "reason": parked.reason, "queue": parked.queue, "exchange": parked.exchange,
        "routing_key": parked.routing_key, "user_id": parked.user_id, "size_bytes": parked.size_bytes,
        "at": parked.at.map(turnup_core::event::time), "correlation_id": parked.correlation_id,
    })
}

/// Stands for a value of a parked message.
const LEFT_OUT: &str = "(not shown; --raw shows it)";

/// The body of a parked message without what may be secret in it. Which values of an order are secret only its
/// definition says, so all are left out; of a deployment the configuration is, and a text that can't be read.
fn without_secrets(body: &str) -> Value {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return LEFT_OUT.into() };
    if !value.is_object() {
        return LEFT_OUT.into();
    }
    leave_out(&mut value, false);
    value
}

/// Leaves out the values of everything that holds content, and with `all` every value.
fn leave_out(value: &mut Value, all: bool) {
    const CONTENT: [&str; 9] =
        ["attributes", "edit", "inverse", "filter", "after", "before", "joint", "footprint", "changes"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| leave_out(item, all)),
        Value::Object(map) => {
            for (name, value) in map {
                leave_out(value, all || CONTENT.contains(&name.as_str()));
            }
        }
        value if all => *value = LEFT_OUT.into(),
        _ => {}
    }
}

pub(crate) async fn parked(config: &Config, format: Format, command: ParkedCommand) -> Result<(), Failure> {
    let broker = broker(config, "parked")?;
    match command {
        ParkedCommand::List { limit } => {
            let items: Vec<Value> = parked::list(&broker, limit).await?.iter().map(parked_json).collect();
            if format == Format::Json {
                return print_json(&Value::Array(items));
            }
            table(
                &items,
                &[
                    whole(0, "id", "/id"),
                    whole(2, "at", "/at"),
                    cut(3, 12, "queue", "/queue"),
                    whole(4, "from", "/user_id"),
                    cut(1, 20, "reason", "/reason"),
                ],
            );
        }
        ParkedCommand::Show { id, raw } => {
            let (parked, body) = parked::show(&broker, &id).await?;
            let mut shown = parked_json(&parked);
            let text = String::from_utf8_lossy(&body).into_owned();
            shown["body"] = if raw {
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            } else {
                without_secrets(&text)
            };
            print_json(&shown)?;
        }
        ParkedCommand::Replay { id } => {
            let parked = parked::replay(&broker, &id).await?;
            line(format!("{} was sent to {} again", parked.id, parked.exchange));
        }
        ParkedCommand::Drop { id } => {
            let parked = parked::drop(&broker, &id).await?;
            line(format!("{} is gone", parked.id));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parked_bodies_are_shown_without_what_may_be_secret() {
        let order = r#"{"kind": "provision", "schema": "x", "attributes": {"pw": "hunter2", "deep": [{"pin": 1234}]},
            "endpoints": [{"role": "a", "device": "pe1", "attributes": {"key": "hunter2"}}]}"#;
        let shown = without_secrets(order);
        assert_eq!((&shown["kind"], &shown["endpoints"][0]["device"]), (&json!("provision"), &json!("pe1")));
        let deployment = r#"{"schema": "turnup.deployment.v1", "devices": [{"device": "pe1",
            "edits": [{"order": "O", "edit": "hunter2", "inverse": "1234", "after": {"contains": "hunter2"}}],
            "audit": {"config": {"footprint": "hunter2"}}}]}"#;
        for body in [order, deployment, "hunter2 1234", "\"hunter2\"", "[1234]"] {
            let shown = without_secrets(body).to_string();
            assert!(!shown.contains("hunter2") && !shown.contains("1234"), "{shown}");
        }
        assert_eq!(without_secrets(deployment)["devices"][0]["edits"][0]["order"], "O");
    }
}
