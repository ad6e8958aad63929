//! API tokens.

use turnup_core::policy::Role;
use turnup_store::{NewToken, testing::Database};

use crate::support::{count, in_s, now};

#[tokio::test]
async fn made_once_found_by_its_secret_and_revoked() {
    let database = Database::new().await;
    let store = database.store();
    let roles = vec![Role::Provisioner, Role::Operator];
    let token = NewToken { name: "crm".to_owned(), roles: roles.clone(), expires_at: Some(in_s(60)) };
    let secret = store.create_token(&token, now()).await.unwrap().unwrap();
    assert!(secret.starts_with("tu_") && secret.len() == 67, "{secret}");
    assert_eq!(store.create_token(&token, now()).await.unwrap(), None, "the name is taken");
    let found = store.token(&secret).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), &found.roles), ("crm", &roles));
    assert!(found.is_valid(now()) && found.is_valid(in_s(59)) && !found.is_valid(in_s(61)));
    assert!(store.token("tu_else").await.unwrap().is_none());
    assert!(store.token("").await.unwrap().is_none());
    assert!(store.revoke_token("crm", now()).await.unwrap());
    assert!(!store.revoke_token("crm", now()).await.unwrap());
    assert!(!store.revoke_token("nobody", now()).await.unwrap());
    assert!(!store.token(&secret).await.unwrap().unwrap().is_valid(now()));
    assert_eq!(store.tokens().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_secret_is_stored_nowhere() {
    let database = Database::new().await;
    let store = database.store();
    let token = NewToken { name: "crm".to_owned(), roles: vec![Role::Auditor], expires_at: None };
    let secret = store.create_token(&token, now()).await.unwrap().unwrap();
    let other = NewToken { name: "portal".to_owned(), ..token };
    assert_ne!(store.create_token(&other, now()).await.unwrap().unwrap(), secret);
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let inner = &secret[3..];
    let sql = format!(
        "SELECT count(*) FROM tokens WHERE tokens::text LIKE '%{inner}%' OR tokens::text LIKE '%{hex}%'"
    );
    assert_eq!(count(&database, &sql).await, 0);
    assert_eq!(count(&database, "SELECT count(*) FROM tokens WHERE length(digest) = 32").await, 2);
}
