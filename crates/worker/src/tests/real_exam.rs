//! A device exam of Debian's netconfd.

use turnup_core::{
    exam::{
        Answer, ExamOptions, Findings, Probe,
        deviation::deviations,
        verdict::{differences, profile_of},
    },
    message::DeviceWork,
    profile::{Locks, Profiles},
};

use super::{
    exam::{ask_shared, exam_of},
    real::Real,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exam_of_netconfd_gives_the_profile_of_yuma() {
    let Some(real) = Real::start() else { return };
    let work = real.deployment("eth0", "ethernetCsmacd").devices.remove(0);
    let work = DeviceWork { edits: Vec::new(), ..work };
    let reply = ask_shared(real.shared(), work, exam_of("ietf", ExamOptions::default())).await;
    assert!(reply.failures.is_empty(), "{:#?}", reply.failures);
    let report = reply.exam.unwrap();
    let findings = Findings::new(&report.findings);
    let named: Vec<String> = deviations(&findings)
        .iter()
        .map(|deviation| format!("{} {}: {}", deviation.probe, deviation.section, deviation.text))
        .collect();
    eprintln!("{:#?}\n{named:#?}", report.findings);
    assert!(report.is_clean && report.running_compared, "{:#?}", report.left);
    let unknown: Vec<_> =
        report.findings.iter().filter(|finding| matches!(finding.answer, Answer::Unknown(_))).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    for probe in [Probe::CancelLocked, Probe::ValidateKeeps, Probe::TimerWhileBusy] {
        assert_eq!(findings.is(probe), Some(false), "{probe}");
    }
    assert_eq!(profile_of(&findings).profile.locks, Locks::Candidate);
    let yuma = Profiles::shipped().unwrap().of(&"yuma".parse().unwrap());
    assert_eq!(differences(&yuma, &findings), []);
}
