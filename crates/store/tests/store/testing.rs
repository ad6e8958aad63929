//! The test databases themselves.

use turnup_store::testing::Database;

use crate::support::{add, count};

#[tokio::test]
async fn each_has_its_own_and_it_goes_even_on_a_panic() {
    let one = Database::new().await;
    let two = Database::new().await;
    assert_ne!(one.url(), two.url());
    add(one.store(), &["d1"]).await;
    assert_eq!(count(&two, "SELECT count(*) FROM devices").await, 0);
    let name = two.url().rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let there = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(count(&one, &there).await, 1);
    let task = tokio::spawn(async move {
        let _two = two;
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(count(&one, &there).await, 0);
}
