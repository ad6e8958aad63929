//! On a NETCONF server that nobody here wrote: Debian's netconfd (yuma123) behind OpenSSH. Said aloud where
//! it isn't installed; required with `TURNUP_REQUIRE_NETCONFD=1`.

use std::{
    collections::BTreeMap, net::TcpListener, path::PathBuf, process::Command, sync::atomic::AtomicBool,
};

use secrecy::SecretString;
use turnup_core::{
    ask::{Ask, Question},
    audit::{AuditWork, Check, CheckAsk, CheckCondition, ConfigAudit, ConfigWork, Drift, Test},
    failure::FailureClass,
    id::{DeploymentId, OrderId},
    lifecycle::DeploymentEvent,
    message::{
        self, Condition, Deployment, DeviceEdit, DeviceWork, InForce, Limits, Part, Purpose, StateChange,
    },
    name::{CredentialRef, DeviceName, PlatformName, RegionName},
    profile::Profiles,
};
use turnup_netconf::{
    operation::{Datastore, EditConfig, Operation},
    ssh::Credentials,
    xml::Element,
};
use uuid::Uuid;

use super::lab::{self, Scheduler, Stage, Told, classes, in_force, reported, steps};
use crate::{Assignment, CredentialSource, SecretSource, ask::answer, serve::Shared};

const IETF: &str = "urn:ietf:params:xml:ns:yang:ietf-interfaces";
const IANA: &str = "urn:ietf:params:xml:ns:yang:iana-if-type";

pub(super) struct Real {
    base: PathBuf,
    port: u16,
    shared: Shared,
    scheduler: Scheduler,
    told: Told,
    held: AtomicBool,
}

fn script(base: &PathBuf, extra: &str, arguments: &[&str]) -> std::process::Output {
    script_with(base, extra, &[], arguments)
}

fn script_with(
    base: &PathBuf,
    extra: &str,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> std::process::Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/netconfd");
    let mut command = Command::new(script);
    command.args(arguments).env("BASE", base).env("EXTRA", extra).envs(variables.iter().copied());
    command.output().unwrap()
}

impl Drop for Real {
    fn drop(&mut self) {
        script(&self.base, "", &["stop"]);
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

impl Real {
    /// Two servers; `None` where there can be none.
    pub(super) fn start() -> Option<Self> {
        Self::start_as("")
    }

    /// Two servers with these arguments.
    pub(super) fn start_as(extra: &str) -> Option<Self> {
        Self::start_with(extra, &[])
    }

    /// Two servers with these arguments, and variables of the script.
    pub(super) fn start_with(extra: &str, variables: &[(&str, &str)]) -> Option<Self> {
        // Ports of which two in a row are free now.
        let port = (0..50)
            .find_map(|_| {
                let first = TcpListener::bind("127.0.0.1:0").ok()?;
                let port = first.local_addr().ok()?.port();
                TcpListener::bind(("127.0.0.1", port.checked_add(1)?)).ok().map(|_| port)
            })
            .unwrap();
        let base = std::env::temp_dir().join(format!("turnup-wk-{port}"));
        if !script(&base, "", &["check"]).status.success() {
            assert_ne!(
                std::env::var("TURNUP_REQUIRE_NETCONFD").as_deref(),
                Ok("1"),
                "netconfd is required here"
            );
            eprintln!("SKIPPED: netconfd is not installed; 'scripts/netconfd install' gets it");
            return None;
        }
        let output = script_with(&base, extra, variables, &["start", "2", &port.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let username = std::fs::read_to_string(base.join("user")).unwrap().trim().to_owned();
        let source = CredentialSource { username, secret: SecretSource::PrivateKeyFile(base.join("client")) };
        let assignment = Assignment {
            worker_name: "worker-of-the-lab".to_owned(),
            regions: vec![RegionName::new("lab").unwrap()],
            credentials: BTreeMap::from([(CredentialRef::new("lab").unwrap(), source)]),
        };
        let scheduler = Scheduler::default();
        *scheduler.take_over.lock().unwrap() = Some(2);
        let shared = Shared::new(lab::settings(), assignment);
        Some(Self { base, port, shared, scheduler, told: Told::default(), held: AtomicBool::new(true) })
    }

    /// What the worker's deployments and exams share.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn credentials(&self) -> Credentials {
        let read = |file: &str| std::fs::read_to_string(self.base.join(file)).unwrap();
        Credentials::private_key(read("user").trim(), SecretString::from(read("client")))
    }

    /// A deployment of one interface of this name and type to both.
    pub(super) fn deployment(&self, name: &str, kind: &str) -> Deployment {
        let order = OrderId(Uuid::now_v7());
        let known = std::fs::read_to_string(self.base.join("known_hosts")).unwrap();
        let devices = (0..2).map(|n| {
            let place = format!("[127.0.0.1]:{} ", self.port + n);
            DeviceWork {
                device: DeviceName::new(format!("nc{n}")).unwrap(),
                address: "127.0.0.1".to_owned(),
                port: self.port + n,
                platform: PlatformName::new("ietf").unwrap(),
                host_key: known.lines().find_map(|line| line.strip_prefix(&place)).map(str::to_owned),
                credential: Some(CredentialRef::new("lab").unwrap()),
                epoch: 1,
                profile: Profiles::shipped().unwrap().of(&PlatformName::new("ietf").unwrap()),
                pending_tokens: Vec::new(),
                before_confirm: None,
                inside: turnup_core::nodes::NodeFacts::default(),
                edits: vec![edit(order, name, if n == 1 { kind } else { "ethernetCsmacd" })],
                audit: None,
            }
        });
        Deployment {
            deployment: DeploymentId(Uuid::now_v7()),
            attempt: 1,
            generation: 1,
            region: RegionName::new("lab").unwrap(),
            orders: vec![order],
            purpose: Purpose::Change,
            past_unknown: false,
            devices: devices.collect(),
            limits: Limits { lock_wait_ms: 600, confirm_timeout_s: 30, ..Limits::default() },
        }
    }

    pub(super) async fn run(&self, deployment: &Deployment, is_repeat: bool) -> StateChange {
        let Self { shared, scheduler, told, held, .. } = self;
        reported(lab::run(shared, scheduler, told, held, deployment, is_repeat).await)
    }

    /// Runs a stage of a part over several regions to its report.
    pub(super) async fn stage(
        &self,
        deployment: &Deployment,
        stage: message::Stage,
        is_repeat: bool,
    ) -> StateChange {
        let Self { shared, scheduler, told, held, .. } = self;
        let part = Part { stage, attempt: deployment.attempt, deployment: deployment.clone() };
        reported(lab::run_part(shared, scheduler, told, held, &part, is_repeat).await)
    }

    /// As another worker would be.
    pub(super) async fn forget_sessions(&self) {
        self.shared.pool.close_all().await;
    }

    /// Names of the interfaces of each.
    pub(super) async fn interfaces(&self, deployment: &Deployment) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        for work in &deployment.devices {
            let mut session = lab::open(work, &self.credentials()).await;
            let reply = lab::ask(&mut session, Operation::get_config(Datastore::Running, None)).await;
            let interfaces = reply.data().and_then(|data| data.child(IETF, "interfaces")).cloned();
            let interfaces = interfaces.unwrap_or_else(|| Element::new(IETF, "interfaces"));
            found.push(
                interfaces
                    .children()
                    .filter_map(|i| Some(i.own_child("name")?.text().into_owned()))
                    .collect(),
            );
        }
        found
    }
}

pub(super) fn edit(order: OrderId, name: &str, kind: &str) -> DeviceEdit {
    let interface = |attribute: &str, inside: &str| {
        format!(
            r#"<interfaces xmlns="{IETF}"><interface{attribute}><name>{name}</name>{inside}</interface></interfaces>"#
        )
    };
    let inside = format!(
        r#"<description>A &amp; B</description><type xmlns:i="{IANA}">i:{kind}</type><enabled>true</enabled>"#
    );
    let merge = interface("", &inside);
    let filter = interface("", "");
    let remove = r#" xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0" nc:operation="remove""#;
    DeviceEdit {
        order,
        edit: merge.clone(),
        inverse: interface(remove, ""),
        filter: filter.clone(),
        after: Condition::Contains(merge),
        before: Condition::Lacks(filter),
        keys: BTreeMap::from([("interface".to_owned(), vec!["name".to_owned()])]),
        nodes: turnup_core::nodes::NodeFacts::default(),
        joint: Vec::new(),
        whole: None,
    }
}

#[tokio::test]
async fn netconfd_there_and_back_and_refused_and_locked() {
    let Some(real) = Real::start() else { return };
    let provision = real.deployment("eth1", "ethernetCsmacd");
    let report = real.run(&provision, false).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(real.interfaces(&provision).await, [["eth1"], ["eth1"]]);

    let refused = real.deployment("eth2", "noSuchType");
    let report = real.run(&refused, false).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:#?}");
    assert_eq!(classes(&report, 0), [FailureClass::Undone]);
    assert!(classes(&report, 1).iter().all(|class| *class == FailureClass::Invalid), "{report:#?}");
    assert!(!steps(&report, 0).contains(&"connect"), "warm: {report:#?}");
    assert_eq!(real.interfaces(&refused).await, [["eth1"], ["eth1"]]);

    // Someone else is at it.
    let mut other = lab::open(&provision.devices[1], &real.credentials()).await;
    lab::ask(&mut other, Operation::lock(Datastore::Running)).await;
    let locked = real.deployment("eth3", "ethernetCsmacd");
    let report = real.run(&locked, false).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:#?}");
    assert_eq!(classes(&report, 1), [FailureClass::Busy], "{report:#?}");
    let holder = format!("session {}", other.session_id());
    assert!(report.devices[1].failures[0].message.contains(&holder), "{report:#?}");
    drop(other);

    let mut gone = real.deployment("eth1", "ethernetCsmacd");
    for work in &mut gone.devices {
        work.edits = vec![lab::reversed(edit(gone.orders[0], "eth1", "ethernetCsmacd"))];
    }
    let report = real.run(&gone, false).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(real.interfaces(&gone).await, [Vec::<String>::new(), Vec::new()]);
}

#[tokio::test]
async fn netconfd_after_a_worker_has_died() {
    use Stage::{Committed, Confirmed, Prepared};
    let Some(real) = Real::start() else { return };
    let stages =
        [[Some(Prepared), None], [Some(Committed), Some(Committed)], [Some(Confirmed), Some(Committed)]];
    for (n, stages) in stages.into_iter().enumerate() {
        let deployment = real.deployment(&format!("eth{n}"), "ethernetCsmacd");
        for (work, stage) in deployment.devices.iter().zip(stages) {
            if let Some(stage) = stage {
                drop(lab::leave_at(work, &real.credentials(), &deployment, stage).await);
            }
        }
        let report = real.run(&deployment, true).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{stages:?} {report:#?}");
        assert_eq!(in_force(&report), [InForce::New; 2]);
        let found = real.interfaces(&deployment).await;
        assert!(found.iter().all(|names| names.contains(&format!("eth{n}"))), "{stages:?} {found:?}");
    }
}

#[tokio::test]
async fn netconfd_modifies_and_redeploys() {
    let Some(real) = Real::start() else { return };
    let mut deployment = real.deployment("eth1", "ethernetCsmacd");
    assert_eq!(real.run(&deployment, false).await.event, DeploymentEvent::Committed);
    let wrap = |attribute: &str, inside: &str| {
        format!(
            r#"<interfaces xmlns="{IETF}" xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0"><interface{attribute}><name>eth1</name>{inside}</interface></interfaces>"#
        )
    };
    let kind = format!(r#"<type xmlns:i="{IANA}">i:ethernetCsmacd</type>"#);
    // Another description, and no "enabled" any more.
    let modified = wrap("", &format!("<description>C</description>{kind}"));
    let gone = wrap("", "<enabled/>");
    let taken_out = wrap("", r#"<description>C</description><enabled nc:operation="remove"/>"#);
    let before = deployment.devices[0].edits[0].after.clone();
    for edit in deployment.devices.iter_mut().flat_map(|work| &mut work.edits) {
        edit.edit.clone_from(&taken_out);
        edit.inverse = wrap("", "<description>A &amp; B</description><enabled>true</enabled>");
        edit.after =
            Condition::All(vec![Condition::Contains(modified.clone()), Condition::Lacks(gone.clone())]);
        edit.before = before.clone();
    }
    deployment.deployment = DeploymentId(Uuid::now_v7());
    let report = real.run(&deployment, false).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    // Everything anew, as it was first.
    let inside = format!("<description>A &amp; B</description>{kind}<enabled>true</enabled>");
    for edit in deployment.devices.iter_mut().flat_map(|work| &mut work.edits) {
        edit.edit = wrap(r#" nc:operation="replace""#, &inside);
        edit.inverse.clone_from(&taken_out);
        std::mem::swap(&mut edit.after, &mut edit.before);
    }
    deployment.deployment = DeploymentId(Uuid::now_v7());
    let report = real.run(&deployment, false).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(real.interfaces(&deployment).await, [["eth1"], ["eth1"]]);
}

fn audit(name: &str) -> AuditWork {
    let DeviceEdit { edit, filter, keys, .. } = edit(OrderId(Uuid::now_v7()), name, "ethernetCsmacd");
    let check = |name: &str, path: &str, test: Test, value: &str| Check {
        name: name.to_owned(),
        ask: CheckAsk::Get(filter.clone()),
        conditions: vec![CheckCondition { path: path.to_owned(), test, value: value.to_owned() }],
    };
    let path = format!("/interfaces/interface[name='{name}']");
    AuditWork {
        config: Some(ConfigWork {
            footprint: edit,
            filter: filter.clone(),
            owned: vec![path.clone()],
            keys,
            nodes: turnup_core::nodes::NodeFacts::default(),
        }),
        checks: vec![
            check("kind", &format!("{path}/type"), Test::Is, "ethernetCsmacd"),
            check("text", &format!("{path}/description"), Test::Matches, "A . B"),
        ],
    }
}

#[tokio::test]
async fn netconfd_is_audited() {
    let Some(real) = Real::start() else { return };
    let provision = real.deployment("eth1", "ethernetCsmacd");
    assert_eq!(real.run(&provision, false).await.event, DeploymentEvent::Committed);
    let mut look = real.deployment("eth1", "ethernetCsmacd");
    look.purpose = Purpose::Audit;
    for work in &mut look.devices {
        work.edits.clear();
        work.audit = Some(audit("eth1"));
    }
    let audits = async |deployment: &Deployment| {
        let report = real.run(deployment, false).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
        report.devices.into_iter().map(|device| device.audit.unwrap()).collect::<Vec<_>>()
    };
    for found in audits(&look).await {
        assert_eq!(found.config, ConfigAudit::InSync, "{found:#?}");
        assert!(found.checks.iter().all(|check| check.passed), "{found:#?}");
    }

    // Somebody works on one of them by hand.
    let mut by_hand = lab::open(&look.devices[0], &real.credentials()).await;
    let changed = format!(
        r#"<interfaces xmlns="{IETF}"><interface><name>eth1</name><description>by hand</description><enabled xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0" nc:operation="delete"/><link-up-down-trap-enable>enabled</link-up-down-trap-enable></interface></interfaces>"#
    );
    let changed = crate::work::parse(&changed).unwrap().into_children();
    let edit = EditConfig::new(Datastore::Candidate, changed);
    lab::ask(&mut by_hand, Operation::edit_config(edit)).await;
    lab::ask(&mut by_hand, Operation::commit()).await;
    let found = audits(&look).await;
    assert_eq!((found[0].config, found[1].config), (ConfigAudit::Drifted, ConfigAudit::InSync));
    let mut drifts: Vec<(Drift, &str)> =
        found[0].differences.iter().map(|d| (d.drift, d.path.rsplit('/').next().unwrap())).collect();
    drifts.sort_by_key(|(_, name)| *name);
    let wanted = [
        (Drift::Changed, "description"),
        (Drift::Missing, "enabled"),
        (Drift::Extra, "link-up-down-trap-enable"),
    ];
    assert_eq!(drifts, wanted, "{found:#?}");
    assert!(found[0].checks[0].passed);
    assert!(found[0].checks[1].evidence.contains("\"by hand\", wanted what matches A . B"), "{found:#?}");

    script(&real.base, "", &["stop"]);
    for found in audits(&look).await {
        assert_eq!(found.config, ConfigAudit::Unreachable, "{found:#?}");
        assert!(found.checks.iter().all(|check| !check.passed));
    }
}

#[tokio::test]
async fn netconfd_is_asked() {
    let Some(real) = Real::start() else { return };
    let deployment = real.deployment("eth1", "noSuchType");
    let ask = async |n: usize, question: Question| {
        let ask = Ask { device: deployment.devices[n].clone(), question, timeout_ms: 20_000 };
        let by = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        answer(&real.shared, &ask, by).await
    };
    let check = ask(0, Question::Check).await;
    assert!(check.failures.is_empty(), "{check:#?}");
    let check = check.check.unwrap();
    assert_eq!((check.trusted, check.method.as_deref()), (Some(true), Some("confirmed-commit:1.1")));
    let module = check.modules.iter().find(|module| module.name == "ietf-interfaces").unwrap();
    assert_eq!(module.namespace.as_deref(), Some(IETF));
    assert!(check.modules.iter().any(|module| module.name == "iana-if-type"));

    let wanted = ["ietf-interfaces", "no-such-module"].map(|name| (name.to_owned(), None)).to_vec();
    let texts = ask(0, Question::Schemas(wanted)).await;
    assert!(texts.schemas[0].text.starts_with("module ietf-interfaces"), "{texts:#?}");
    assert_eq!(texts.failures[0].path.as_deref(), Some("no-such-module"), "{texts:#?}");

    for round in 0..2 {
        let taken = ask(0, Question::TryEdit).await;
        assert!(taken.failures.is_empty(), "{round} {taken:#?}");
        let refused = ask(1, Question::TryEdit).await;
        assert!(!refused.failures.is_empty());
        assert!(refused.failures.iter().all(|f| f.class == FailureClass::Invalid), "{round} {refused:#?}");
    }
    // Nothing is left in the candidate that a commit of somebody else would take along.
    for work in &deployment.devices {
        let mut other = lab::open(work, &real.credentials()).await;
        lab::ask(&mut other, Operation::lock(Datastore::Candidate)).await;
        lab::ask(&mut other, Operation::commit()).await;
    }
    assert_eq!(real.interfaces(&deployment).await, [Vec::<String>::new(), Vec::new()]);
    // And it is as good as before.
    let provision = real.deployment("eth1", "ethernetCsmacd");
    assert_eq!(real.run(&provision, false).await.event, DeploymentEvent::Committed);
}
