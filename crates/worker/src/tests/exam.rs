//! Device exams: what is found is true of the device, the profile that follows is the shipped one, and nothing is left.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use turnup_core::{
    ask::{Answer as Reply, Ask, Question},
    exam::{
        Answer, Exam, ExamOptions, ExamReport, Findings, Probe,
        deviation::{Deviation, deviations},
        scratch::Scratch,
        verdict::{differences, profile_of},
    },
    failure::FailureClass,
    message::DeviceWork,
    name::PlatformName,
    profile::{ListMoves, Locks, Profile, Profiles, Startup},
};
use turnup_device_sim::{
    Personality,
    behaviour::{Act, Behaviour, Fault},
    datastore::Kind,
};
use turnup_netconf::{
    operation::{Datastore, EditConfig, Operation},
    xml::Element,
};
use uuid::Uuid;

use super::lab::Lab;
use crate::{exam, serve::Shared};

fn platform(name: &str) -> PlatformName {
    PlatformName::new(name).unwrap()
}

fn shipped(name: &str) -> Profile {
    Profiles::shipped().unwrap().of(&platform(name))
}

fn scratch_of(name: &str) -> Vec<Scratch> {
    Profiles::shipped().unwrap().scratches(&platform(name))
}

pub(super) fn exam_of(name: &str, options: ExamOptions) -> Exam {
    Exam { id: Uuid::now_v7(), scratches: scratch_of(name), options }
}

fn device(lab: &Lab) -> DeviceWork {
    DeviceWork { edits: Vec::new(), ..lab.deployment(&[1], "x").devices.remove(0) }
}

async fn ask(lab: &Lab, work: DeviceWork, exam: Exam) -> Reply {
    ask_shared(&lab.shared, work, exam).await
}

pub(super) async fn ask_shared(shared: &Shared, work: DeviceWork, exam: Exam) -> Reply {
    let time = Duration::from_secs(exam.options.time_s.into());
    let ask = Ask { device: work, question: Question::Exam(Box::new(exam.clone())), timeout_ms: 1 };
    let shutdown = CancellationToken::new();
    let answer = exam::answer(shared, &ask, &exam, Instant::now() + time, &shutdown);
    tokio::time::timeout(Duration::from_secs(300), answer).await.unwrap()
}

fn report(reply: Reply) -> ExamReport {
    assert!(reply.failures.is_empty(), "{:#?}", reply.failures);
    *reply.exam.unwrap()
}

async fn lab_of(personality: Personality, profile: Profile) -> Lab {
    Lab::of_personality(1, personality, profile).await
}

/// Runs an exam on a device of a personality with the shipped profile of its name; what others have configured there
/// is there afterwards, and nothing else.
async fn examined(personality: Personality, profile: Profile) -> (Findings, ExamReport) {
    let options = ExamOptions::default();
    let name =
        if personality.name == "default" || personality.name == "trim" { "sim" } else { personality.name };
    let lab = lab_of(personality, profile).await;
    configure(
        &lab,
        "<vrfs xmlns=\"urn:turnup:sim\"><vrf><name>red</name><route-distinguisher>65000:1</route-distinguisher></vrf></vrfs>",
    )
    .await;
    let before = lab.device(1).running();
    let own = lab.simulator.journal().unwrap().len();
    let exam = exam_of(name, options);
    let report = report(ask(&lab, device(&lab), exam).await);
    assert_eq!(report.left, Vec::<String>::new(), "{}", personality.name);
    assert!(report.is_clean && report.running_compared, "{}: {report:#?}", personality.name);
    assert_eq!(lab.device(1).running(), before, "{}", personality.name);
    assert!(lab.device(1).holds().is_nothing(), "{}: {:?}", personality.name, lab.device(1).holds());
    let unknown: Vec<_> =
        report.findings.iter().filter(|finding| matches!(finding.answer, Answer::Unknown(_))).collect();
    assert!(unknown.is_empty(), "{}: {unknown:#?}", personality.name);
    let journal = lab.simulator.journal().unwrap();
    assert!(journal.len() > own + 5, "{}", personality.name);
    for record in &journal[own..] {
        let is_scratch = record.changes.iter().all(|change| change.path.contains("turnup-exam"));
        assert!(is_scratch && record.kind != Kind::Saved, "{}: {record:?}", personality.name);
    }
    (Findings::new(&report.findings), report)
}

fn sections(findings: &Findings) -> Vec<(Probe, &'static str)> {
    deviations(findings).into_iter().map(|Deviation { probe, section, .. }| (probe, section)).collect()
}

/// The shipped profile is what the exam of its personality gives, in every key that the exam determines. A pause after
/// hello may be longer than what was seen to be needed.
fn assert_profile(name: &str, findings: &Findings, profile: &Profile) {
    let derived = profile_of(findings).profile;
    let comparable =
        |profile: &Profile| Profile { settle_ms: 0, list_moves: ListMoves::default(), ..profile.clone() };
    assert_eq!(comparable(&derived), comparable(profile), "{name}");
    assert!(derived.settle_ms <= profile.settle_ms.max(20), "{name}: {}", derived.settle_ms);
    let settled = Profile { settle_ms: profile.settle_ms.max(derived.settle_ms), ..profile.clone() };
    assert_eq!(differences(&settled, findings), [], "{name}");
}

fn assert_deviates(name: &str, findings: &Findings, wanted: &[(Probe, &str)]) {
    let found = sections(findings);
    for expected in wanted {
        assert!(found.contains(expected), "{name}: {expected:?} is missing in {found:#?}");
    }
}

async fn by_the_letter() {
    let profile = shipped("sim");
    let (findings, report) = examined(Personality::DEFAULT, profile.clone()).await;
    assert_profile("sim", &findings, &profile);
    assert_eq!(sections(&findings), []);
    assert!(report.findings.len() >= 60, "{}", report.findings.len());
    assert_eq!(report.scratch.as_deref(), Some("sim /interfaces/interface"));
    assert_eq!(findings.number(Probe::Sessions), Some(8));
    assert_eq!(findings.text(Probe::ValuesChecked), Some("edit-config"));
    assert!(findings.number(Probe::CommitTime).is_some());
    assert_eq!(
        findings.list(Probe::Spelling).unwrap(),
        [
            "mtu: 01500 comes back as 1500",
            "unit/ipv6/address: 2001:DB8:0:0::1 comes back as 2001:db8::1",
            "unit/ipv6/prefix-length: 064 comes back as 64"
        ]
    );
}

async fn netopeer2() {
    let profile = shipped("netopeer2");
    let (findings, _) = examined(Personality::NETOPEER2, profile.clone()).await;
    assert_profile("netopeer2", &findings, &profile);
    assert_deviates(
        "netopeer2",
        &findings,
        &[
            (Probe::TimerLockRunning, "RFC 6241 §8.4.1"),
            (Probe::DirtyLockOther, "RFC 6241 §7.5"),
            (Probe::RefusedCommit, "RFC 6241 §8.4.1"),
            (Probe::ExtendPersistId, "RFC 6241 §8.4.1"),
        ],
    );
    assert_eq!(findings.is(Probe::ExtendSamePersist), Some(true));
    assert_eq!(findings.is(Probe::PendingLockOwn), Some(false));
    assert_eq!(profile_of(&findings).profile.locks, Locks::Candidate);
}

/// It is not emptied by its exam.
async fn clixon() {
    let profile = shipped("clixon");
    let (findings, _) = examined(Personality::CLIXON, profile.clone()).await;
    assert_profile("clixon", &findings, &profile);
    assert_deviates(
        "clixon",
        &findings,
        &[
            (Probe::KillEndsSession, "RFC 6241 §7.9"),
            (Probe::DirtyUnlock, "RFC 6241 §8.3.5.2"),
            (Probe::DirtyLoss, "RFC 6241 §8.3.5.2"),
            (Probe::ConfirmNothing, "RFC 6241 §8.4.5.1"),
            (Probe::ConfirmLate, "RFC 6241 §8.4.5.1"),
            (Probe::CandidateAfterCancel, "RFC 6241 §7.5"),
            (Probe::RefusedCommit, "RFC 6241 §8.4.1"),
            (Probe::PendingLockOther, "RFC 6241 §7.5"),
        ],
    );
    assert_eq!(findings.text(Probe::ValuesChecked), Some("validate"));
    assert_eq!(findings.is(Probe::ExtendPersistId), Some(true));
    assert_eq!(findings.list(Probe::Spelling), Some(&[][..]), "kept as written");
    for hazard in [Probe::ExtendSamePersist, Probe::ConfirmWrong] {
        let answer = findings.get(hazard).unwrap();
        assert!(matches!(answer, Answer::NotTried(why) if why.contains("--dangerous")), "{answer:?}");
    }
    let keys: Vec<&str> = differences(&Profile::default(), &findings).iter().map(|d| d.key).collect();
    assert_eq!(keys, ["discard_before_edit"], "what is wrong with another profile is named");
}

async fn yuma() {
    let profile = shipped("yuma");
    let (findings, _) = examined(Personality::YUMA, profile.clone()).await;
    assert_profile("yuma", &findings, &profile);
    assert_deviates(
        "yuma",
        &findings,
        &[
            (Probe::CancelLocked, "RFC 6241 §8.4.4.1"),
            (Probe::TimerLockRunning, "RFC 6241 §8.4.1"),
            (Probe::TimerWhileBusy, "RFC 6241 §8.4.1"),
            (Probe::ValidateKeeps, "RFC 6241 §8.6.4.1"),
        ],
    );
}

/// Its timer counts minutes; here it counts units of five seconds, for which the same is done.
async fn junos() {
    let personality = Personality { timeout_unit: Duration::from_secs(5), ..Personality::JUNOS };
    let profile = Profile { confirm_timeout_step_s: 5, ..shipped("junos") };
    let (findings, _) = examined(personality, profile.clone()).await;
    assert_profile("junos", &findings, &profile);
    assert_deviates(
        "junos",
        &findings,
        &[
            (Probe::LockRunning, "RFC 6241 §7.5"),
            (Probe::TimerUnit, "RFC 6241 §8.4.5.1"),
            (Probe::ErrorUnknownElement, "RFC 7950 §8.3.1"),
        ],
    );
    assert!(matches!(findings.get(Probe::Base11), Some(Answer::NotTried(_))));
    assert!(matches!(findings.get(Probe::CancelUnlocked), Some(Answer::NotTried(_))));
}

/// Personalities that differ in little.
async fn small(personality: Personality, name: &str, wanted: &[(Probe, &str)]) -> Findings {
    let profile = shipped(name);
    let (findings, _) = examined(personality, profile.clone()).await;
    assert_profile(personality.name, &findings, &profile);
    assert_deviates(personality.name, &findings, wanted);
    findings
}

/// An exam waits for timers most of the time, so several run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exam_finds_the_shipped_profile_of_open_servers_and_what_they_do_otherwise() {
    tokio::join!(by_the_letter(), netopeer2(), clixon(), yuma());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exam_finds_the_shipped_profile_of_routers_and_what_they_do_otherwise() {
    let nokia = small(Personality::NOKIA_SROS, "nokia-sros", &[(Probe::LockBoth, "RFC 6241 §7.5")]);
    let huawei = small(Personality::HUAWEI_VRP, "huawei-vrp", &[]);
    let iosxr = small(Personality::IOSXR, "iosxr", &[(Probe::LockRunning, "RFC 6241 §7.5")]);
    let iosxe = small(Personality::IOSXE, "iosxe", &[]);
    let trim = small(Personality::TRIM, "sim", &[]);
    let ((), _, huawei, _, iosxe, trim) = tokio::join!(junos(), nokia, huawei, iosxr, iosxe, trim);
    assert_eq!(huawei.text(Probe::DefaultsBasic), Some("report-all"));
    assert_eq!(huawei.is(Probe::DefaultsTagged), Some(true));
    assert_eq!(profile_of(&iosxe).profile.startup, Startup::Rpc);
    assert_eq!(trim.text(Probe::DefaultsBasic), Some("trim"));
}

/// The probes that empty running of such a server find that out, and give back what it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dangerous_probes_give_an_emptied_running_back() {
    let lab = lab_of(Personality::CLIXON, shipped("clixon")).await;
    configure(&lab, "<interfaces xmlns=\"urn:turnup:sim\"><interface><name>ge-0</name><mtu>9000</mtu></interface></interfaces>").await;
    let before = lab.device(1).running();
    let options = ExamOptions { dangerous: true, ..ExamOptions::default() };
    let report = report(ask(&lab, device(&lab), exam_of("clixon", options)).await);
    let findings = Findings::new(&report.findings);
    assert_eq!(findings.is(Probe::ConfirmWrong), Some(false), "{report:#?}");
    assert!(report.is_clean, "{:#?}", report.left);
    assert_eq!(lab.device(1).running(), before);
    assert!(lab.device(1).holds().is_nothing(), "{:?}", lab.device(1).holds());
    let remark = report.findings.iter().find(|finding| finding.probe == Probe::ExtendSamePersist).unwrap();
    assert!(remark.remark.as_deref().unwrap().contains("was put back"), "{remark:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidate_only_commits_nothing() {
    let lab = lab_of(Personality::DEFAULT, Profile::default()).await;
    let journal = lab.simulator.journal().unwrap().len();
    let options = ExamOptions { candidate_only: true, ..ExamOptions::default() };
    let report = report(ask(&lab, device(&lab), exam_of("sim", options)).await);
    assert!(report.is_clean, "{report:#?}");
    assert_eq!(lab.simulator.journal().unwrap().len(), journal, "running was never changed");
    let findings = Findings::new(&report.findings);
    assert!(
        matches!(findings.get(Probe::EmptyCommit), Some(Answer::NotTried(why)) if why.contains("candidate-only"))
    );
    assert_eq!(findings.is(Probe::DirtyUnlock), Some(true));
    assert!(findings.list(Probe::Spelling).is_some(), "values are read from the candidate");
    lab.assert_clean(1);
}

async fn configure(lab: &Lab, xml: &str) {
    let mut session = lab.open(1).await;
    let content: Vec<Element> = crate::work::parse(xml).unwrap().into_children().collect();
    let by = Instant::now() + Duration::from_secs(10);
    for operation in
        [Operation::edit_config(EditConfig::new(Datastore::Candidate, content)), Operation::commit()]
    {
        assert!(!session.rpc(&operation, by).await.unwrap().is_error());
    }
    session.close(by).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_of_someone_in_the_scratch_is_not_touched() {
    let lab = lab_of(Personality::DEFAULT, Profile::default()).await;
    let text = |xml: &str| {
        xml.replace("turnup-exam", "lo77").replacen("<mtu>", "<description>turnup-exam</description><mtu>", 0)
    };
    let sim = scratch_of("sim").remove(0);
    let scratch = Scratch {
        create: text(&sim.create).replace("<description>lo77<", "<description>turnup-exam<"),
        changed: text(&sim.changed),
        respelled: String::new(),
        invalid: String::new(),
        incomplete: String::new(),
        ..sim
    };
    configure(&lab, "<interfaces xmlns=\"urn:turnup:sim\"><interface><name>lo77</name><description>management</description></interface></interfaces>").await;
    let before = lab.device(1).running();
    let exam = Exam { scratches: vec![scratch], ..exam_of("sim", ExamOptions::default()) };
    let reply = ask(&lab, device(&lab), exam).await;
    assert!(reply.failures[0].message.contains("it is someone's"), "{reply:#?}");
    assert_eq!(lab.device(1).running(), before);
    lab.assert_clean(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_of_someone_in_the_candidate_are_kept() {
    let lab = lab_of(Personality::DEFAULT, Profile::default()).await;
    let mut session = lab.open(1).await;
    let xml = "<interfaces xmlns=\"urn:turnup:sim\"><interface><name>ge-7</name></interface></interfaces>";
    let content: Vec<Element> = crate::work::parse(xml).unwrap().into_children().collect();
    let by = Instant::now() + Duration::from_secs(60);
    let edit = Operation::edit_config(EditConfig::new(Datastore::Candidate, content));
    assert!(!session.rpc(&edit, by).await.unwrap().is_error());
    let reply = ask(&lab, device(&lab), exam_of("sim", ExamOptions::default())).await;
    assert_eq!(reply.failures[0].class, FailureClass::Busy, "{reply:#?}");
    assert!(lab.device(1).candidate_is_changed(), "the edit of someone is still there");
    session.close(by).await;
}

/// What a worker that died has left is found by the next exam: the scratch in running, in the candidate, and a
/// pending commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_exam_removes_what_an_earlier_one_left() {
    let left = async |personality: Personality| {
        let lab = lab_of(personality, Profile::default()).await;
        let create = scratch_of("sim").remove(0).create;
        configure(&lab, &create).await;
        let mut dead = lab.open(1).await;
        let changed: Vec<Element> =
            crate::work::parse(&scratch_of("sim")[0].changed).unwrap().into_children().collect();
        let by = Instant::now() + Duration::from_secs(10);
        let token = Uuid::now_v7().to_string();
        let commit = crate::work::commit_provisionally(Some(&token), 300);
        for operation in
            [Operation::edit_config(EditConfig::new(Datastore::Candidate, changed.clone())), commit]
        {
            assert!(!dead.rpc(&operation, by).await.unwrap().is_error());
        }
        drop(dead);
        let work = DeviceWork { pending_tokens: vec![token], ..device(&lab) };
        let options = ExamOptions { careful: true, ..ExamOptions::default() };
        let report = report(ask(&lab, work, exam_of("sim", options)).await);
        assert!(report.is_clean && report.tokens_cancelled, "{}: {:#?}", personality.name, report.left);
        assert!(lab.device(1).running().is_empty(), "{}", personality.name);
        assert!(lab.device(1).holds().is_nothing(), "{}", personality.name);
    };
    tokio::join!(left(Personality::DEFAULT), left(Personality::CLIXON), left(Personality::YUMA));
}

/// Each fault costs the probes that it hits, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_without_answer_costs_only_itself() {
    let lab = lab_of(Personality::DEFAULT, Profile::default()).await;
    // The first validate is that of the scratch, before the exam begins.
    let faults = vec![
        Fault::before("validate", Act::Drop).at(2),
        Fault::before("get-schema", Act::Hang),
        Fault::after("confirmed-commit", Act::Drop).at(3),
    ];
    lab.behave(1, Behaviour { faults, ..Behaviour::default() }).await;
    let report = report(ask(&lab, device(&lab), exam_of("sim", ExamOptions::default())).await);
    assert!(report.is_clean, "{report:#?}");
    let unknown: Vec<Probe> = report
        .findings
        .iter()
        .filter(|finding| matches!(finding.answer, Answer::Unknown(_)))
        .map(|finding| finding.probe)
        .collect();
    assert!(unknown.contains(&Probe::Validate) && unknown.contains(&Probe::GetSchema), "{unknown:?}");
    assert!(unknown.len() < 10, "{unknown:?}");
    assert!(lab.device(1).running().is_empty());
    lab.assert_clean(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_that_is_rewritten_is_found_and_not_told() {
    let lab =
        lab_of(Personality { timeout_unit: Duration::from_secs(1), ..Personality::JUNOS }, shipped("junos"))
            .await;
    configure(&lab, "<interfaces xmlns=\"urn:turnup:sim\"><interface><name>ge-1</name><unit><id>1</id></unit></interface></interfaces>").await;
    let wire = |inner: &str| {
        format!(
            "<pseudowires xmlns=\"urn:turnup:sim\"><pseudowire><name>turnup-exam</name><vc-id>7</vc-id><peer>192.0.2.9</peer><interface>ge-1</interface><unit>1</unit>{inner}</pseudowire></pseudowires>"
        )
    };
    let scratch = Scratch {
        name: "wire".to_owned(),
        entry: "pseudowires/pseudowire".to_owned(),
        create: wire(""),
        changed: wire("<description>x</description>"),
        secret: wire("<authentication-key>hunter2</authentication-key>"),
        default_leaf: "control-word".to_owned(),
        ..Scratch::default()
    };
    let exam = Exam { scratches: vec![scratch], ..exam_of("junos", ExamOptions::default()) };
    let report = report(ask(&lab, device(&lab), exam).await);
    assert_eq!(Findings::new(&report.findings).text(Probe::Secret), Some("rewritten"));
    assert!(report.is_clean, "{report:#?}");
    assert!(!serde_json::to_string(&report).unwrap().contains("hunter2"));
}

/// Devices that change running at once, or commit for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn device_without_confirmed_commits_is_never_changed() {
    for kind in [turnup_device_sim::Profile::WritableRunning, turnup_device_sim::Profile::Candidate] {
        let lab = lab_of(Personality::DEFAULT, Profile::default()).await;
        lab.behave(1, Behaviour { profile: kind, ..Behaviour::default() }).await;
        let report = report(ask(&lab, device(&lab), exam_of("sim", ExamOptions::default())).await);
        assert!(report.is_clean, "{kind:?}: {report:#?}");
        let changes: usize = lab.simulator.journal().unwrap().iter().map(|record| record.changes.len()).sum();
        assert_eq!(changes, 0, "{kind:?}");
        let findings = Findings::new(&report.findings);
        assert_eq!(findings.is(Probe::LockRunning), Some(true), "{kind:?}");
        assert!(matches!(findings.get(Probe::TimerRollsBack), Some(Answer::NotTried(_))), "{kind:?}");
        lab.assert_clean(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_limit_is_counted() {
    let lab = lab_of(Personality::DEFAULT, Profile::default()).await;
    let options = ExamOptions { candidate_only: true, sessions: 3, ..ExamOptions::default() };
    let report = report(ask(&lab, device(&lab), exam_of("sim", options)).await);
    assert_eq!(Findings::new(&report.findings).number(Probe::Sessions), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_worker_ends_the_exam_and_cleans_up() {
    let lab = lab_of(Personality::DEFAULT, Profile::default()).await;
    let exam = exam_of("sim", ExamOptions::default());
    let ask = Ask { device: device(&lab), question: Question::Exam(Box::new(exam.clone())), timeout_ms: 1 };
    let shutdown = CancellationToken::new();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        shutdown.cancel();
    };
    let by = Instant::now() + Duration::from_secs(240);
    let (reply, ()) = tokio::join!(exam::answer(&lab.shared, &ask, &exam, by, &shutdown), stop);
    let report = report(reply);
    assert_eq!(report.stopped.as_deref(), Some("the worker is stopping"));
    assert!(report.is_clean, "{report:#?}");
    lab.assert_clean(1);
}
