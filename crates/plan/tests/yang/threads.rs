//! Many threads check with one set at once, and each hears only of its own violations.

use std::{sync::Barrier, thread};

use crate::{boxed, check, in_box};

#[test]
fn threads_share_a_set() {
    let (yang, threads) = (boxed(), 16);
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (yang, start) = (yang.clone(), &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..300 {
                    let name = format!("t{thread}-{round}");
                    let good = in_box(&format!("<item><name>{name}</name><size>1</size></item>"));
                    assert!(check(&yang, &[], &good).is_empty());
                    let bad = in_box(&format!(
                        "<item><name>{name}</name><size>{name}</size></item><word>{name}</word>"
                    ));
                    let found = check(&yang, &[], &bad);
                    assert!(
                        found.len() >= 2 && found.iter().all(|found| found.contains(&name)),
                        "{found:#?}"
                    );
                }
            });
        }
    });
}
