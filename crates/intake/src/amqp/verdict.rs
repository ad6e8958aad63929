//! What is to become of a message: pure but for the order's acceptance itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use turnup_broker::{Delivery, MAX_BODY_BYTES, Outgoing};
use turnup_core::{
    order::check_key,
    policy::{Permission, Role},
    problem::{Fault, Problem},
};

use crate::{
    accept::{Outcome, order::Origin},
    auth, json,
};

/// What a message says about itself.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) message_id: Option<String>,
    pub(crate) user: Option<String>,
    correlation_id: Option<String>,
    /// Where the answer goes. None: nowhere.
    reply_to: Option<String>,
    /// It wants its answer in a queue of ours, where it would be taken for something else.
    wants_our_queue: bool,
}

/// What is to become of a message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Its order is durable: answer, acknowledge.
    Accepted(Option<Outgoing>),
    /// It was refused.
    Refused {
        /// Why.
        problem: Problem,
        /// The answer, if one is wanted.
        answer: Option<Outgoing>,
        /// Whether it is told as an event.
        tell: bool,
        /// Whether it is parked; if not, it is acknowledged.
        park: bool,
    },
    /// Something is away: try again.
    Later,
}

impl Asked {
    /// `prefix`: first word of our own queues' names.
    pub(crate) fn new(delivery: &Delivery, prefix: &str) -> Self {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self::from_properties(
            filled(&delivery.message_id),
            filled(&delivery.user_id),
            filled(&delivery.correlation_id),
            filled(&delivery.reply_to),
            prefix,
        )
    }

    fn from_properties(
        message_id: Option<String>,
        user: Option<String>,
        correlation_id: Option<String>,
        reply_to: Option<String>,
        prefix: &str,
    ) -> Self {
        let ours = reply_to
            .as_ref()
            .is_some_and(|queue| queue.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')));
        // As is usual where a request carries no id of its own for its answer.
        let correlation_id = correlation_id.or_else(|| message_id.clone());
        Self { message_id, user, correlation_id, reply_to: reply_to.filter(|_| !ours), wants_our_queue: ours }
    }

    /// Who orders, by the grants; and the order as JSON.
    pub(crate) fn check(
        &self,
        body: &[u8],
        grants: &BTreeMap<String, Vec<Role>>,
    ) -> Result<(Value, Origin), Verdict> {
        let origin = self.origin(grants).map_err(|problem| self.refused(problem, false))?;
        let value = json::read(body).map_err(|why| self.refused(Problem::unreadable(why), true))?;
        Ok((value, origin))
    }

    fn origin(&self, grants: &BTreeMap<String, Vec<Role>>) -> Result<Origin, Problem> {
        let Some(user) = &self.user else {
            let detail = "set the message's user_id to the broker's user, who must be in amqp_grants";
            return Err(Problem { detail: detail.to_owned(), ..Problem::unauthenticated() });
        };
        let Some(roles) = grants.get(user) else {
            let detail = "this user of the broker may not order; an administrator can add it to amqp_grants";
            return Err(Problem::forbidden(detail));
        };
        auth::require(roles, Permission::OrderCreate)?;
        if self.wants_our_queue {
            return Err(Problem::forbidden(
                "reply_to names one of turnup's own queues; use a queue of yours",
            ));
        }
        if let Some(why) = self.message_id.as_deref().and_then(|id| check_key(id).err()) {
            let detail = format!("the message_id must have {why}");
            return Err(Problem::invalid(vec![Fault::new("", "bad_key", detail)]));
        }
        Ok(Origin::new(format!("amqp:{user}"), self.message_id.clone()))
    }

    /// `unreadable`: parked whoever asked, for people to look at.
    fn refused(&self, problem: Problem, unreadable: bool) -> Verdict {
        let answer = self.answer(&json!({"problem": problem}));
        let silent = answer.is_none();
        Verdict::Refused { problem, answer, tell: silent, park: silent || unreadable }
    }

    fn answer(&self, body: &Value) -> Option<Outgoing> {
        let reply_to = self.reply_to.as_ref()?;
        let bytes = body.to_string();
        if bytes.len() > MAX_BODY_BYTES {
            tracing::warn!(bytes = bytes.len(), "an answer is too large for a message");
            return None;
        }
        Some(Outgoing::reply(reply_to.as_str(), self.correlation_id.clone(), bytes))
    }
}

/// The verdict once the order was tried.
pub(crate) fn judge(asked: &Asked, outcome: Result<Outcome, Problem>) -> Verdict {
    match outcome {
        Ok(outcome) => Verdict::Accepted(match asked.reply_to {
            Some(_) => asked.answer(&json!({"accepted": outcome.into_order()})),
            None => None,
        }),
        Err(problem) if problem.status == 503 => Verdict::Later,
        Err(problem) => asked.refused(problem, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(user: Option<&str>, reply_to: Option<&str>) -> Asked {
        Asked::from_properties(
            Some("m-1".to_owned()),
            user.map(str::to_owned),
            None,
            reply_to.map(str::to_owned),
            "turnup",
        )
    }

    fn grants() -> BTreeMap<String, Vec<Role>> {
        BTreeMap::from([("crm".to_owned(), vec![Role::Provisioner]), ("eye".to_owned(), vec![Role::Auditor])])
    }

    fn refusal(asked: &Asked, body: &[u8]) -> (String, bool, bool, bool) {
        match asked.check(body, &grants()) {
            Err(Verdict::Refused { problem, answer, tell, park }) => {
                (problem.code, answer.is_some(), tell, park)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_granted_users_may_order() {
        let (_, origin) = asked(Some("crm"), None).check(b"{}", &grants()).unwrap();
        assert_eq!((origin.requester.as_str(), origin.key.as_deref()), ("amqp:crm", Some("m-1")));
        let code = |user| refusal(&asked(user, None), b"{}").0;
        assert_eq!(code(None), "unauthenticated");
        assert_eq!(code(Some("mallory")), "forbidden");
        assert_eq!(code(Some("eye")), "forbidden");
    }

    #[test]
    fn refusals_are_answered_or_else_told_and_parked() {
        let code = "forbidden".to_owned();
        assert_eq!(refusal(&asked(Some("eye"), Some("q")), b"{}"), (code.clone(), true, false, false));
        assert_eq!(refusal(&asked(Some("eye"), None), b"{}"), (code, false, true, true));
        let code = "unreadable".to_owned();
        assert_eq!(refusal(&asked(Some("crm"), Some("q")), b"{"), (code.clone(), true, false, true));
        assert_eq!(refusal(&asked(Some("crm"), None), b"{"), (code, false, true, true));
    }

    #[test]
    fn answers_never_go_into_our_own_queues() {
        let (code, answered, ..) = refusal(&asked(Some("crm"), Some("turnup.due")), b"{}");
        assert_eq!((code.as_str(), answered), ("forbidden", false));
        asked(Some("crm"), Some("turnups.answers")).check(b"{}", &grants()).unwrap();
        asked(Some("crm"), Some("amq.rabbitmq.reply-to.x")).check(b"{}", &grants()).unwrap();
    }

    #[test]
    fn what_is_away_is_tried_again() {
        let away = Err(Problem::unavailable("x"));
        assert!(matches!(judge(&asked(Some("crm"), None), away), Verdict::Later));
    }
}
