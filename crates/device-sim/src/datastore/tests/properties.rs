use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::personality::Personality;

/// Content of an edit over few interfaces, units, pseudowires, bridge domains and VRFs, with all operations.
fn content() -> impl Strategy<Value = Element> {
    let operation = || {
        prop_oneof![
            4 => Just(""),
            1 => Just(r#" nc:operation="merge""#),
            1 => Just(r#" nc:operation="replace""#),
            1 => Just(r#" nc:operation="remove""#),
            1 => Just(r#" nc:operation="create""#),
            1 => Just(r#" nc:operation="delete""#),
        ]
    };
    let mtu = (operation(), prop_oneof![Just(600), Just(9000)])
        .prop_map(|(operation, mtu)| format!("<mtu{operation}>{mtu}</mtu>"));
    let unit = (operation(), 0..3u32, prop::option::of(mtu.clone())).prop_map(|(operation, id, mtu)| {
        format!("<unit{operation}><id>{id}</id>{}</unit>", mtu.unwrap_or_default())
    });
    let interface = (operation(), 0..3u32, prop::option::of(mtu), prop::collection::vec(unit, 0..3))
        .prop_map(|(operation, name, mtu, units)| {
            let (mtu, units) = (mtu.unwrap_or_default(), units.concat());
            format!("<interface{operation}><name>ge-{name}</name>{mtu}{units}</interface>")
        });
    let wire = (operation(), 0..3u32, 0..3u32, 0..3u32, any::<bool>()).prop_map(
        |(operation, name, port, unit, whole)| {
            let rest = match whole {
                true => format!(
                    "<vc-id>1</vc-id><peer>x</peer><interface>ge-{port}</interface><unit>{unit}</unit>"
                ),
                false => format!("<unit>{unit}</unit>"),
            };
            format!("<pseudowire{operation}><name>p{name}</name>{rest}</pseudowire>")
        },
    );
    let member = (operation(), 0..3u32, 0..3u32, 0..3u32, any::<bool>()).prop_map(
        |(operation, id, port, unit, whole)| {
            let rest = if whole {
                format!("<interface>ge-{port}</interface><unit>{unit}</unit>")
            } else {
                String::new()
            };
            format!("<member{operation}><id>m{id}</id>{rest}</member>")
        },
    );
    let members = move || prop::collection::vec(member.clone(), 0..3);
    let domain =
        (operation(), 0..2u32, any::<bool>(), members()).prop_map(|(operation, name, whole, members)| {
            let rest = if whole { "<vpn-id>9</vpn-id>" } else { "" };
            format!(
                "<bridge-domain{operation}><name>b{name}</name>{rest}{}</bridge-domain>",
                members.concat()
            )
        });
    let route = (operation(), 0..2u32, any::<bool>()).prop_map(|(operation, prefix, whole)| {
        let rest = if whole { "<next-hop>192.0.2.1</next-hop>" } else { "" };
        format!("<static-route{operation}><prefix>10.{prefix}.0.0/16</prefix>{rest}</static-route>")
    });
    let vrf = (operation(), 0..2u32, any::<bool>(), members(), prop::collection::vec(route, 0..2)).prop_map(
        |(operation, name, whole, members, routes)| {
            let rest = if whole { "<route-distinguisher>1:1</route-distinguisher>" } else { "" };
            let (members, routes) = (members.concat(), routes.concat());
            format!("<vrf{operation}><name>v{name}</name>{rest}{members}{routes}</vrf>")
        },
    );
    let some = |strategy: BoxedStrategy<String>| prop::collection::vec(strategy, 0..3);
    (some(interface.boxed()), some(wire.boxed()), some(domain.boxed()), some(vrf.boxed())).prop_map(
        |(interfaces, wires, domains, vrfs)| {
            config(&format!(
                r#"<interfaces xmlns="urn:turnup:sim">{}</interfaces>
                   <pseudowires xmlns="urn:turnup:sim">{}</pseudowires>
                   <bridge-domains xmlns="urn:turnup:sim">{}</bridge-domains>
                   <vrfs xmlns="urn:turnup:sim">{}</vrfs>"#,
                interfaces.concat(),
                wires.concat(),
                domains.concat(),
                vrfs.concat()
            ))
        },
    )
}

fn options() -> impl Strategy<Value = (DefaultOperation, TestOption, ErrorOption)> {
    use {DefaultOperation as D, ErrorOption as E, TestOption as T};
    (
        prop_oneof![4 => Just(D::Merge), 1 => Just(D::Replace), 1 => Just(D::None)],
        prop_oneof![3 => Just(T::TestThenSet), 1 => Just(T::Set), 1 => Just(T::TestOnly)],
        prop_oneof![2 => Just(E::RollbackOnError), 1 => Just(E::StopOnError), 1 => Just(E::ContinueOnError)],
    )
}

type Options = (DefaultOperation, TestOption, ErrorOption);

fn edits() -> impl Strategy<Value = Vec<(Element, Options)>> {
    prop::collection::vec((content(), options()), 0..6)
}

fn apply(device: &mut Datastores, edits: &[(Element, Options)]) {
    for (config, (default_operation, test_option, error_option)) in edits {
        let edit = Edit {
            default_operation: *default_operation,
            test_option: *test_option,
            error_option: *error_option,
            config,
        };
        let before = device.candidate.clone();
        let refused = device.edit_candidate(A, edit).is_err();
        let nothing_kept =
            *error_option == ErrorOption::RollbackOnError || *test_option == TestOption::TestOnly;
        if (refused && nothing_kept) || *test_option == TestOption::TestOnly {
            assert_eq!(device.candidate, before);
        }
    }
}

/// Validity of a configuration as the module's text has it, found by looking at all of it.
fn is_valid(leaves: &BTreeMap<String, String>) -> bool {
    leaves.keys().all(|path| {
        let Some((entry, leaf)) = path.rsplit_once('/') else { return true };
        // Prefixes as keys have slashes in them.
        let list =
            entry.rsplit_once('[').and_then(|(list, _)| list.rsplit_once('/')).map_or("", |(_, list)| list);
        let get = |name: &str| leaves.get(&format!("{entry}/{name}"));
        let unit_exists = || match (get("interface"), get("unit")) {
            (Some(interface), Some(unit)) => leaves
                .contains_key(&format!("/interfaces/interface[name='{interface}']/unit[id='{unit}']/id")),
            _ => false,
        };
        match (list, leaf) {
            ("pseudowire", "name") => get("vc-id").is_some() && get("peer").is_some() && unit_exists(),
            ("bridge-domain", "name") => get("vpn-id").is_some(),
            ("vrf", "name") => get("route-distinguisher").is_some(),
            ("static-route", "prefix") => get("next-hop").is_some(),
            ("member", "id") => unit_exists(),
            _ => true,
        }
    })
}

fn texts<'l>(leaves: impl Iterator<Item = (&'l Path, &'l str)>) -> BTreeMap<String, String> {
    leaves.map(|(path, value)| (path.to_string(), value.to_owned())).collect()
}

fn running(device: &Datastores) -> BTreeMap<String, String> {
    texts(View::plain(device.running()).under(&[]))
}

fn try_commit(device: &mut Datastores, parameters: &Commit) -> bool {
    match device.plan_commit(A, parameters, Instant::now()) {
        Ok(transition) => {
            device.apply(transition);
            true
        }
        Err(_) => false,
    }
}

/// Filters with what matches and what doesn't.
fn filter_strategy() -> impl Strategy<Value = Element> {
    let parts = prop_oneof![
        Just("<interfaces xmlns='urn:turnup:sim'/>"),
        Just("<interfaces xmlns='urn:turnup:sim'><interface><name>ge-1</name></interface></interfaces>"),
        Just("<interfaces><interface><name>ge-0</name><unit/></interface></interfaces>"),
        Just("<interfaces><interface><name>ge-0</name><unit><id>1</id></unit></interface></interfaces>"),
        Just(
            "<interfaces><interface><name>ge-0</name><unit><id>2</id><mtu/></unit></interface></interfaces>"
        ),
        Just("<interfaces><interface><mtu>600</mtu></interface></interfaces>"),
        Just("<interfaces><interface><name/></interface></interfaces>"),
        Just("<interfaces><interface><name>ge-2</name><mtu>600</mtu><unit/></interface></interfaces>"),
        Just("<pseudowires xmlns='urn:turnup:sim'><pseudowire><name>p1</name></pseudowire></pseudowires>"),
        Just("<pseudowires><pseudowire><unit>1</unit></pseudowire></pseudowires>"),
        Just("<pseudowires><pseudowire><name>p0</name><peer/><state/></pseudowire></pseudowires>"),
        Just("<pseudowires xmlns='urn:other'/>"),
        Just("<bridge-domains><bridge-domain><state>up</state></bridge-domain></bridge-domains>"),
        Just("<bridge-domains><bridge-domain><name>b1</name><mac-count/></bridge-domain></bridge-domains>"),
        Just("<vrfs><vrf><name>v0</name><member><id>m1</id></member></vrf></vrfs>"),
        Just("<vrfs xmlns='urn:turnup:sim'><vrf><name>v1</name><static-route/><route-count/></vrf></vrfs>"),
        Just("<vrfs><vrf><static-route><prefix>10.0.0.0/16</prefix><next-hop/></static-route></vrf></vrfs>"),
        Just("<system><clock/></system>"),
        Just("<system xmlns='urn:turnup:sim'><clock><current-datetime/></clock></system>"),
        Just("<system><clock><offset/></clock></system>"),
    ];
    // Without namespace, any is meant; the surrounding element would else give it its own.
    prop::collection::vec(parts, 0..4).prop_map(|parts| {
        let parts = parts.into_iter().map(|part| match part.contains("xmlns") {
            true => part.to_owned(),
            false => part.replacen('>', " xmlns=''>", 1),
        });
        config(&parts.collect::<String>())
    })
}

/// What sessions do, and time.
#[derive(Debug, Clone)]
enum Step {
    Edit(Element, Options),
    Commit(Commit),
    Cancel(Option<String>),
    Lock(Datastore),
    Unlock(Datastore),
    Discard,
    Validate,
    Close,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<(SessionId, Step)>> {
    let token = || prop::option::of(prop_oneof![3 => Just("t".to_owned()), 1 => Just("u".to_owned())]);
    let timeout = prop::option::of((1..90u64).prop_map(Duration::from_secs));
    let commit = (timeout, token(), token()).prop_map(|(confirmed, persist, persist_id)| Commit {
        confirmed,
        persist,
        persist_id,
    });
    let datastore = || prop_oneof![Just(Datastore::Running), Just(Datastore::Candidate)];
    let step = prop_oneof![
        4 => (content(), options()).prop_map(|(config, options)| Step::Edit(config, options)),
        4 => commit.prop_map(Step::Commit),
        1 => token().prop_map(Step::Cancel),
        1 => datastore().prop_map(Step::Lock),
        1 => datastore().prop_map(Step::Unlock),
        1 => Just(Step::Discard),
        1 => Just(Step::Validate),
        1 => Just(Step::Close),
        2 => (0..60u64).prop_map(Step::Pass),
    ];
    prop::collection::vec((prop_oneof![Just(A), Just(B)], step), 0..20)
}

/// Makes a planned change, of which every `old` is what running has.
fn make(device: &mut Datastores, transition: Transition) {
    for change in &transition.changes {
        assert_eq!(device.running().get(&change.path), change.old.as_ref(), "{}", change.path);
    }
    device.apply(transition);
}

fn take(device: &mut Datastores, session: SessionId, step: Step, now: &mut Instant) {
    match step {
        Step::Edit(config, (default_operation, test_option, error_option)) => {
            let edit = Edit { default_operation, test_option, error_option, config: &config };
            let _ = device.edit_candidate(session, edit);
        }
        Step::Commit(commit) => {
            let planned = match device.plan_commit(session, &commit, *now) {
                Ok(transition) => Some(transition),
                Err(_) => device.plan_refused_commit(session, &commit, *now),
            };
            planned.into_iter().for_each(|transition| make(device, transition));
        }
        Step::Cancel(persist_id) => {
            let planned = device.plan_cancel(session, persist_id.as_deref());
            planned.into_iter().for_each(|transition| make(device, transition));
        }
        Step::Lock(datastore) => drop(device.lock(session, datastore)),
        Step::Unlock(datastore) => drop(device.unlock(session, datastore)),
        Step::Discard => drop(device.discard_changes(session)),
        Step::Validate => drop(device.validate(Source::Datastore(Datastore::Candidate))),
        Step::Close => {
            device.plan_session_end(session).into_iter().for_each(|transition| make(device, transition));
            device.close_session(session);
            device.open_session(session);
        }
        Step::Pass(seconds) => *now += Duration::from_secs(seconds),
    }
    device.plan_expiry(*now).into_iter().for_each(|transition| make(device, transition));
}

proptest! {
    #[test]
    fn every_personality_stays_valid_and_comes_to_rest(
        personality in prop::sample::select(Personality::ALL.to_vec()), steps in steps(),
    ) {
        let mut device = device().with_personality(personality);
        let mut now = Instant::now();
        for (session, step) in steps {
            take(&mut device, session, step, &mut now);
            let running = running(&device);
            prop_assert!(is_valid(&running), "{:?}", running);
            for (path, value) in device.candidate.iter().chain(&device.startup) {
                prop_assert_ne!(device.running().get(path), value.as_ref(), "an entry that says the same as running");
            }
            prop_assert!(device.pending.is_none() || !device.timers.is_empty(), "pending without a timer");
        }
        for session in [A, B] {
            take(&mut device, session, Step::Close, &mut now);
        }
        for _ in 0..100 {
            take(&mut device, A, Step::Pass(5_400), &mut now);
        }
        device.discard_changes(A).unwrap();
        prop_assert!(device.holds().is_nothing(), "{:?}", device.holds());
    }

    #[test]
    fn running_is_always_valid_and_a_valid_candidate_is_always_accepted(rounds in prop::collection::vec(edits(), 1..4)) {
        let mut device = device();
        for edits in rounds {
            apply(&mut device, &edits);
            let candidate = texts(device.view(Datastore::Candidate).unwrap().under(&[]));
            let accepted = try_commit(&mut device, &Commit::default());
            prop_assert_eq!(accepted, is_valid(&candidate), "{:?}", candidate);
            if accepted {
                prop_assert_eq!(running(&device), candidate);
                prop_assert!(!device.candidate_is_changed());
            } else {
                device.discard_changes(A).unwrap();
            }
            // The index is what it would be if it were made anew.
            prop_assert_eq!(&Datastores::new(device.running().clone()).running, &device.running);
        }
    }

    #[test]
    fn a_rollback_restores_exactly(
        base in edits(), first in edits(), second in edits(), discarded in edits(),
    ) {
        let mut device = device();
        apply(&mut device, &base);
        try_commit(&mut device, &Commit::default());
        device.discard_changes(A).unwrap();
        let before = device.running.clone();
        let persist = Some("t".to_owned());
        let begin = Commit { confirmed: Some(Duration::from_secs(1)), persist: persist.clone(), persist_id: None };
        let more = Commit { persist_id: persist, ..begin.clone() };
        apply(&mut device, &first);
        let begun = try_commit(&mut device, &begin);
        device.discard_changes(A).unwrap();
        apply(&mut device, &second);
        try_commit(&mut device, if begun { &more } else { &begin });
        device.discard_changes(A).unwrap();
        apply(&mut device, &discarded);
        device.discard_changes(A).unwrap();
        if let Some(rollback) = device.plan_reboot() {
            device.apply(rollback);
        }
        prop_assert_eq!(&device.running, &before);
        prop_assert_eq!(&device.candidate, &Overlay::new());
    }

    #[test]
    fn the_changes_of_a_commit_undo_it(base in edits(), edits in edits()) {
        let mut device = device();
        apply(&mut device, &base);
        try_commit(&mut device, &Commit::default());
        device.discard_changes(A).unwrap();
        let before = device.running.clone();
        apply(&mut device, &edits);
        if let Ok(transition) = device.plan_commit(A, &Commit::default(), Instant::now()) {
            let inverse: Vec<Change> = transition
                .changes
                .iter()
                .map(|change| Change { path: change.path.clone(), old: change.new.clone(), new: change.old.clone() })
                .collect();
            prop_assert!(inverse.iter().all(|change| change.old != change.new), "a change that changes nothing");
            device.apply(transition);
            device.restore(&inverse);
            prop_assert_eq!(&device.running, &before);
        }
    }

    #[test]
    fn a_filter_selects_the_same_by_the_short_way(base in edits(), filter in filter_strategy()) {
        let mut device = device();
        apply(&mut device, &base);
        try_commit(&mut device, &Commit::default());
        let whole = device.get(Timestamp::UNIX_EPOCH, Vec::new, None);
        let keys = BTreeMap::from([
            ("interface".to_owned(), vec!["name".to_owned()]),
            ("unit".to_owned(), vec!["id".to_owned()]),
            ("pseudowire".to_owned(), vec!["name".to_owned()]),
            ("bridge-domain".to_owned(), vec!["name".to_owned()]),
            ("vrf".to_owned(), vec!["name".to_owned()]),
            ("member".to_owned(), vec!["id".to_owned()]),
            ("static-route".to_owned(), vec!["prefix".to_owned()]),
        ]);
        let expected = turnup_netconf::filter::subtree(&whole, &filter, &keys);
        prop_assert_eq!(device.get(Timestamp::UNIX_EPOCH, Vec::new, Some(&filter)), expected);
    }
}
