//! Sets are compiled once and shared, and no more are kept than said.

use std::{num::NonZeroUsize, thread};

use turnup_plan::{ModuleText, YangCache};

use crate::{BOX, text};

fn set(i: usize) -> Vec<ModuleText> {
    vec![text("m", &format!("module m {{ namespace \"urn:m\"; prefix m; leaf x{i} {{ type string; }} }}"))]
}

#[test]
fn the_one_not_asked_for_longest_goes() {
    let cache = YangCache::new(NonZeroUsize::new(2).unwrap());
    assert!(cache.is_empty());
    let digests: Vec<String> =
        (0..2).map(|i| cache.get_or_compile(set(i)).unwrap().digest().to_owned()).collect();
    assert!(cache.get(&digests[0]).is_some());
    let held = cache.get(&digests[1]).unwrap();
    assert!(cache.get(&digests[0]).is_some());
    cache.get_or_compile(set(2)).unwrap();
    assert_eq!(cache.len(), 2);
    assert!(cache.get(&digests[0]).is_some());
    assert!(cache.get(&digests[1]).is_none());
    // Who has it keeps it.
    assert_eq!(held.check("<x1 xmlns=\"urn:m\">v</x1>", &|_| false), Ok(()));
}

#[test]
fn a_bad_set_is_not_kept() {
    let cache = YangCache::new(NonZeroUsize::MIN);
    assert!(cache.get_or_compile(vec![text("m", "module m {")]).is_err());
    assert!(cache.is_empty());
    assert!(cache.get_or_compile(set(0)).is_ok());
}

#[test]
fn many_who_want_the_same_set_share_it() {
    let cache = YangCache::new(NonZeroUsize::MIN);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let yang = cache.get_or_compile(vec![text("box", BOX)]).unwrap();
                assert_eq!(yang.check("<box xmlns=\"urn:box\"/>", &|_| false), Ok(()));
            });
        }
    });
    assert_eq!(cache.len(), 1);
}
