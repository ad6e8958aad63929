//! Probes of values: how they are read, in which spelling they come back, secrets, order. They look at running, with
//! the scratch in force for a moment, or at the candidate where nothing may be committed.

use turnup_core::exam::{Answer, Probe};
use turnup_netconf::{
    namespace,
    operation::{Datastore, Operation, WithDefaultsMode},
    xml::Element,
};

use super::{
    Examiner,
    commits::LONG_S,
    peer::{Halt, Peer, edit, said},
};

const CANDIDATE: Datastore = Datastore::Candidate;
/// Most values that are named.
const MAX_VALUES: usize = 20;

/// Puts content where it can be read: running where that may be committed, else the candidate.
async fn show(examiner: &mut Examiner<'_>, peer: &mut Peer, content: &[Element]) -> Result<Datastore, Halt> {
    let confirms = examiner.can.confirmed_commit_1_1() || examiner.can.confirmed_commit_1_0();
    if examiner.options.candidate_only || !confirms || examiner.known(Probe::TimerRollsBack) == Some(false) {
        examiner.stage(peer, content).await?;
        return Ok(CANDIDATE);
    }
    let (persist, seconds) = (examiner.persist(), examiner.timer_s(LONG_S));
    examiner.stage(peer, content).await?;
    examiner.commit_staged(peer, seconds, persist.as_deref()).await?;
    Ok(Datastore::Running)
}

/// The entry as the device shows it.
async fn shown(examiner: &Examiner<'_>, peer: &mut Peer, datastore: Datastore) -> Result<Element, Halt> {
    let place = examiner.place()?;
    let data = peer.read(datastore, Some(&place.filter())).await?;
    place.entry_of(&data).cloned().ok_or_else(|| {
        let keys = "its key may come back in another spelling";
        Halt::unknown(format!("the scratch was accepted, and can't be read back; {keys}"))
    })
}

/// Filters, and the with-defaults modes.
pub(super) async fn in_force(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let mut peer = examiner.take_main().await?;
    let datastore = show(examiner, &mut peer, &place.create).await?;
    let data = peer.read(datastore, Some(&place.filter())).await?;
    let has_entry = place.entry_of(&data).is_some();
    let has_more = !place.without_entry(&data).is_empty();
    match (has_entry, has_more) {
        (true, false) => examiner.found(Probe::FilterSubtree, Answer::Yes),
        (true, true) => {
            examiner.found_with(Probe::FilterSubtree, Answer::No, "more than was asked for comes back")
        }
        (false, _) => examiner.found_with(Probe::FilterSubtree, Answer::No, "the entry is not selected"),
    }
    let result = defaults(examiner, &mut peer, datastore).await;
    examiner.main = Some(peer);
    result
}

/// How the leaf with a default is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Absent,
    Plain,
    Tagged,
}

fn leaf_in(entry: &Element, leaf: &str) -> Shown {
    match entry.own_child(leaf) {
        None => Shown::Absent,
        Some(leaf) => match leaf.attribute_ns(namespace::DEFAULT, "default") {
            Some("true" | "1") => Shown::Tagged,
            _ => Shown::Plain,
        },
    }
}

async fn defaults(examiner: &mut Examiner<'_>, peer: &mut Peer, datastore: Datastore) -> Result<(), Halt> {
    let place = examiner.place()?;
    let Some(leaf) = place.default_leaf.clone() else {
        return Err(Halt::not_tried("the scratch names no leaf with a default"));
    };
    let basic = leaf_in(&shown(examiner, peer, datastore).await?, &leaf);
    let used = match basic {
        Shown::Absent => "explicit or trim",
        Shown::Plain => "report-all",
        Shown::Tagged => "report-all-tagged",
    };
    let announced = examiner.can.with_defaults();
    let text = match &announced {
        Some(modes) if used.split(" or ").any(|mode| mode == modes.basic_mode) => modes.basic_mode.clone(),
        Some(modes) => format!("{} is announced, used is {used}", modes.basic_mode),
        None => format!("{used}, not announced"),
    };
    examiner.found(Probe::DefaultsBasic, Answer::Text(text));
    for (probe, mode, name, wanted) in [
        (Probe::DefaultsExplicit, WithDefaultsMode::Explicit, "explicit", Shown::Absent),
        (Probe::DefaultsTagged, WithDefaultsMode::ReportAllTagged, "report-all-tagged", Shown::Tagged),
        (Probe::DefaultsReportAll, WithDefaultsMode::ReportAll, "report-all", Shown::Plain),
        (Probe::DefaultsTrim, WithDefaultsMode::Trim, "trim", Shown::Absent),
    ] {
        let offered = announced.as_ref().is_some_and(|modes| {
            modes.basic_mode == name || modes.also_supported.iter().any(|mode| mode == name)
        });
        if !offered {
            examiner.found(probe, Answer::NotTried("the hello does not offer it".to_owned()));
            continue;
        }
        let read = Operation::get_config(datastore, Some(&place.filter())).with_defaults(mode);
        let reply = peer.ask(read).await?;
        let entry = reply.data().and_then(|data| place.entry_of(data));
        match entry.map(|entry| leaf_in(entry, &leaf)) {
            Some(found) if found == wanted => examiner.found(probe, Answer::Yes),
            Some(found) => {
                let remark = format!(
                    "{leaf} is {}",
                    match found {
                        Shown::Absent => "absent",
                        Shown::Plain => "there, not tagged",
                        Shown::Tagged => "there, tagged",
                    }
                );
                examiner.found_with(probe, Answer::No, remark);
            }
            None => examiner.found_with(probe, Answer::No, said(&reply)),
        }
    }
    Ok(())
}

/// How a value came back.
fn compare(written: &Element, read: Option<&Element>, path: &str, out: &mut Vec<String>) {
    let Some(read) = read else {
        out.push(format!("{path} lost"));
        return;
    };
    if written.is_leaf() {
        let (was, is) = (written.text(), read.text());
        if was != is {
            out.push(format!("{path}: {was} comes back as {is}"));
        } else if written.expanded_text() != read.expanded_text() {
            out.push(format!("{path}: the prefix of {is} has another namespace"));
        }
        return;
    }
    for child in written.children() {
        let same: Vec<&Element> = read.children().filter(|other| other.same_name(child)).collect();
        let twin = match same.as_slice() {
            [] => None,
            [only] => Some(*only),
            several => several.iter().copied().find(|other| {
                other.children().next().map(Element::text) == child.children().next().map(Element::text)
            }),
        };
        compare(child, twin, &format!("{path}/{}", child.name()), out);
    }
}

/// Which values come back in another spelling.
pub(super) async fn spelling(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let content = place.respelled.clone().unwrap_or_else(|| place.create.clone());
    let mut peer = examiner.take_main().await?;
    let datastore = show(examiner, &mut peer, &content).await?;
    let entry = shown(examiner, &mut peer, datastore).await?;
    let mut found = Vec::new();
    if let Some(written) = place.entry_in(&content) {
        for child in written.children() {
            let twin = entry.children().find(|other| other.same_name(child));
            compare(child, twin, child.name(), &mut found);
        }
    }
    found.truncate(MAX_VALUES);
    let remark = match (place.respelled.is_some(), datastore) {
        (false, _) => "the scratch has no 'respelled' values",
        (true, Datastore::Candidate) => "in the candidate; running may show others",
        (true, _) => "all others are kept as written",
    };
    examiner.found_with(Probe::Spelling, Answer::List(found), remark);
    examiner.main = Some(peer);
    Ok(())
}

/// How a secret comes back. Its value is in no finding.
pub(super) async fn secret(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let content = place.secret.clone().ok_or_else(|| Halt::not_tried("the scratch has no 'secret'"))?;
    let mut peer = examiner.take_main().await?;
    let datastore = show(examiner, &mut peer, &content).await?;
    let entry = shown(examiner, &mut peer, datastore).await?;
    let written = place.entry_in(&content).and_then(|entry| entry.children().last().cloned());
    let read = written.as_ref().and_then(|leaf| entry.children().find(|other| other.same_name(leaf)));
    let answer = match (written.as_ref(), read) {
        (None, _) => Answer::Unknown("the scratch's 'secret' has no leaf".to_owned()),
        (Some(_), None) => Answer::Text("hidden".to_owned()),
        (Some(written), Some(read)) if written.text() == read.text() => Answer::Text("as written".to_owned()),
        (Some(_), Some(_)) => Answer::Text("rewritten".to_owned()),
    };
    examiner.found(Probe::Secret, answer);
    examiner.main = Some(peer);
    Ok(())
}

/// Whether `yang:insert` places an entry before another one.
pub(super) async fn user_order(examiner: &mut Examiner<'_>) -> Result<(), Halt> {
    let place = examiner.place()?;
    let content =
        place.ordered.clone().ok_or_else(|| Halt::not_tried("the scratch has no 'ordered' list"))?;
    let mut peer = examiner.take_main().await?;
    examiner.stage(&mut peer, &content).await?;
    let moved = place.edited(&content, |entry| {
        let last = entry.nodes_mut().iter_mut().rev().find_map(|node| match node {
            turnup_netconf::xml::Node::Element(element) => Some(element),
            turnup_netconf::xml::Node::Text(_) => None,
        });
        if let Some(last) = last {
            last.set_attribute_ns(namespace::YANG, "insert", "first");
        }
    });
    let reply = peer.ask(edit(CANDIDATE, &moved)).await?;
    if reply.is_error() {
        examiner.found_with(Probe::UserOrder, Answer::No, format!("refused: {}", said(&reply)));
    } else {
        let entry = shown(examiner, &mut peer, CANDIDATE).await?;
        let written = place.entry_in(&content).cloned();
        let last = written.as_ref().and_then(|entry| entry.children().next_back());
        let first = last.and_then(|last| entry.children().find(|other| other.same_name(last)));
        let key = |element: &Element| match element.children().next() {
            Some(key) => key.text().into_owned(),
            None => element.text().into_owned(),
        };
        examiner.says(Probe::UserOrder, first.map(key) == last.map(key));
    }
    examiner.main = Some(peer);
    Ok(())
}
