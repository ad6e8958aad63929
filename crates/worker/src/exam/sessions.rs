//! Probes of SSH, sessions and messages. They change nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use turnup_core::exam::{Answer, Probe};
use turnup_netconf::{
    namespace,
    operation::{Datastore, Filter, Operation},
    ssh::learn_algorithms,
    xml::Element,
};

use super::{
    Examiner,
    peer::{Halt, Peer, said},
};
use crate::{ask::modules, classify::Step as Phase};

/// Sessions whose first request is sent right after hello.
const FIRST_REQUESTS: usize = 4;
/// Pauses between hello and first request that are tried, in milliseconds.
const PAUSES_MS: [u64; 7] = [0, 20, 50, 100, 250, 500, 1_000];
/// How long a first request may take.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// How often an idle session is looked at.
const IDLE_LOOK: Duration = Duration::from_millis(500);
/// RPCs that save running, by the module that has them.
const SAVE_RPCS: [(&str, &str, &str); 1] = [(
    "http://cisco.com/yang/cisco-ia",
    "cisco-ia",
    r#"<save-config xmlns="http://cisco.com/yang/cisco-ia"/>"#,
)];

/// A namespace that no device knows.
const EXAMPLE: &str = "urn:turnup:exam";

fn nothing() -> Operation {
    Operation::get_config(Datastore::Running, Some(&Filter::Subtree(Vec::new())))
}

fn count(number: usize) -> Answer {
    Answer::Number(u64::try_from(number).unwrap_or(u64::MAX))
}

/// What SSH algorithms the device offers.
pub(super) async fn algorithms(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let offer = learn_algorithms(&examiner.work.target)
        .await
        .ok_or_else(|| Halt::unknown("the device does not tell its algorithms"))?;
    let weak = offer.weak_needed().into_iter().map(|weak| weak.name().to_owned()).collect();
    examiner.found(Probe::SshKeyExchange, Answer::List(offer.key_exchange));
    examiner.found(Probe::SshHostKeys, Answer::List(offer.host_keys));
    examiner.found(Probe::SshWeak, Answer::List(weak));
    Ok(())
}

/// How fast sessions open, and whether their first request may follow at once.
pub(super) async fn opening(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let mut fastest = Duration::MAX;
    for pause in PAUSES_MS {
        let mut answered = 0;
        while answered < FIRST_REQUESTS {
            let began = Instant::now();
            let mut peer = examiner.open_with(Duration::from_millis(pause), true).await?;
            fastest = fastest.min(began.elapsed().saturating_sub(Duration::from_millis(pause)));
            let by = Instant::now() + FIRST_ANSWER;
            match timeout_at(by, peer.ask(nothing())).await {
                Ok(Ok(_)) => peer.close().await,
                _ => break,
            }
            answered += 1;
        }
        if answered == FIRST_REQUESTS {
            let ms = u64::try_from(fastest.as_millis()).unwrap_or(u64::MAX);
            examiner.found(Probe::ConnectTime, Answer::Number(ms));
            let remark = format!("{FIRST_REQUESTS} sessions in a row");
            examiner.found_with(Probe::FirstRequest, Answer::Number(pause), remark);
            return Ok(());
        }
    }
    Err(Halt::unknown("no pause after hello had all first requests answered"))
}

/// Both base versions, and the end of a session.
pub(super) async fn framing(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let settle = Duration::from_millis(examiner.asked.profile.settle_ms);
    let offers =
        [(Probe::Base11, true, examiner.can.base_1_1()), (Probe::Base10, false, examiner.can.base_1_0())];
    for (probe, chunked, offered) in offers {
        if !offered {
            examiner.found(probe, Answer::NotTried("the hello does not offer it".to_owned()));
            continue;
        }
        let works = match examiner.open_with(settle, chunked).await {
            Ok(mut peer) => {
                let answers = peer.ask(nothing()).await.is_ok();
                let framed = peer.session().is_chunked() == chunked;
                peer.close().await;
                answers && framed
            }
            Err(_) => false,
        };
        examiner.says(probe, works);
    }
    let mut peer = examiner.open().await?;
    let closed = peer.ask(Operation::close_session()).await;
    match closed {
        Ok(reply) => examiner.accepted(Probe::CloseSession, &reply),
        Err(Halt::Silent(why) | Halt::Unknown(why) | Halt::NotTried(why)) => {
            examiner.found_with(Probe::CloseSession, Answer::No, why);
        }
    }
    Ok(())
}

/// Pipelining, an empty filter, an unknown operation.
pub(super) async fn messages(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let peer = examiner.main().await?;
    // The session checks that each reply has the message-id of its request.
    let replies = peer.all(&[nothing(), nothing(), nothing()]).await?;
    let unknown = peer.ask(Operation::new(Element::new(EXAMPLE, "no-such-operation"))).await?;
    examiner.says(Probe::Pipelining, replies.len() == 3);
    match replies.last().and_then(|reply| reply.data()) {
        Some(data) => examiner.says(Probe::FilterEmpty, data.is_leaf()),
        None => {
            let why = replies.last().map(said).unwrap_or_default();
            examiner.found_with(Probe::FilterEmpty, Answer::No, why);
        }
    }
    examiner.refused(Probe::ErrorUnknownRpc, Phase::Check, &unknown);
    Ok(())
}

/// Attributes of `<rpc>`, on a session of its own: servers exist whose reply to them is no XML.
pub(super) async fn attributes(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let mut peer = examiner.open().await?;
    match peer.ask(nothing().with_rpc_attribute(EXAMPLE, "request", "1")).await {
        Ok(reply) => {
            examiner.says(Probe::AttributesEchoed, reply.attribute_ns(EXAMPLE, "request") == Some("1"));
            peer.close().await;
        }
        Err(Halt::Silent(why) | Halt::Unknown(why) | Halt::NotTried(why)) => {
            examiner.found_with(Probe::AttributesEchoed, Answer::No, why);
        }
    }
    Ok(())
}

/// Where the device says which YANG modules it has.
pub(super) async fn models(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    examiner.found(Probe::HelloModules, count(examiner.can.modules().len()));
    let peer = examiner.main().await?;
    let get = |filter: Element| Operation::get(Some(&Filter::Subtree(vec![filter])));
    let library =
        [Element::new(modules::LIBRARY, "modules-state"), Element::new(modules::LIBRARY, "yang-library")];
    let mut listed = 0;
    for filter in library {
        let reply = peer.ask(get(filter)).await?;
        listed = listed.max(reply.data().map_or(0, |data| modules::of_library(data).len()));
    }
    let schemas = peer.ask(get(Element::new(namespace::MONITORING, "netconf-state"))).await?;
    let schemas = schemas.data().map(modules::of_monitoring).unwrap_or_default();
    let text = match schemas.first() {
        None => None,
        Some(schema) => {
            let revision = schema.revision.as_deref();
            Some(peer.ask(Operation::get_schema(&schema.name, revision)).await?)
        }
    };
    examiner.found(Probe::YangLibrary, count(listed));
    examiner.found(Probe::Monitoring, count(schemas.len()));
    match text {
        None => {
            let why = "ietf-netconf-monitoring lists no schema".to_owned();
            examiner.found(Probe::GetSchema, Answer::NotTried(why));
        }
        Some(reply) => {
            let has_text = reply.data().is_some_and(|data| !data.raw_text().trim().is_empty());
            examiner.says(Probe::GetSchema, has_text);
        }
    }
    Ok(())
}

/// How running is kept over a reboot. Nothing is saved.
pub(super) async fn startup(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    examiner.says(Probe::Startup, examiner.can.startup());
    let listed = examiner.can.modules();
    let known = SAVE_RPCS.iter().find(|(namespace, name, _)| {
        listed.iter().any(|module| module.namespace == *namespace || module.name == *name)
    });
    match known {
        Some((_, module, rpc)) => {
            let remark = format!("of module {module}; not called");
            examiner.found_with(Probe::SaveRpc, Answer::Text((*rpc).to_owned()), remark);
        }
        None => {
            let why = "the hello lists no module that is known to have one".to_owned();
            examiner.found(Probe::SaveRpc, Answer::NotTried(why));
        }
    }
    Ok(())
}

/// How many sessions can be open.
pub(super) async fn at_once(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let most = usize::from(examiner.options.sessions);
    // The exam's own session counts as well.
    examiner.main().await?;
    let mut peers: Vec<Peer> = Vec::new();
    let mut refused = None;
    while peers.len() + 1 < most {
        match examiner.open().await {
            Ok(peer) => peers.push(peer),
            Err(Halt::Silent(why) | Halt::Unknown(why) | Halt::NotTried(why)) => {
                refused = Some(why);
                break;
            }
        }
    }
    let mut working = 1;
    for peer in &mut peers {
        working += usize::from(peer.ask(nothing()).await.is_ok());
    }
    for peer in peers {
        peer.close().await;
    }
    let remark = refused.map_or_else(|| "as many as were tried".to_owned(), |why| format!("then: {why}"));
    examiner.found_with(Probe::Sessions, count(working), remark);
    Ok(())
}

/// After how long an idle session is closed; only on request.
pub(super) async fn idle(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let wait = Duration::from_secs(examiner.options.idle_s.into());
    if wait.is_zero() {
        return Err(Halt::not_tried("only with --idle SECONDS"));
    }
    let peer = examiner.open().await?;
    let began = Instant::now();
    let by = (began + wait).min(examiner.probing_by);
    while Instant::now() < by {
        if !peer.is_usable() {
            examiner.found(Probe::IdleTimeout, Answer::Number(began.elapsed().as_secs()));
            return Ok(());
        }
        sleep(IDLE_LOOK).await;
    }
    peer.close().await;
    let seconds = began.elapsed().as_secs();
    examiner.found(Probe::IdleTimeout, Answer::Text(format!("none within {seconds} s")));
    Ok(())
}
