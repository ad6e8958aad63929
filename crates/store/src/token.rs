use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;
use turnup_core::policy::Role;
use uuid::Uuid;

use crate::{
    Store, StoreError,
    order::{optional_time, time},
    pool::statement,
};

/// A token as shown: never the secret, of which only a SHA-256 is kept.
#[derive(Debug, Clone, Serialize)]
pub struct TokenView {
    /// Its id.
    pub id: Uuid,
    /// Its unique name: the requester of the orders made with it.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// When it was made.
    #[serde(serialize_with = "time")]
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(serialize_with = "optional_time")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(serialize_with = "optional_time")]
    pub revoked_at: Option<Timestamp>,
}

impl TokenView {
    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its unique name.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

fn view(row: &Row) -> Result<TokenView, StoreError> {
    let roles: Vec<String> = row.get("roles");
    Ok(TokenView {
        id: row.get("id"),
        name: row.get("name"),
        roles: roles.iter().map(|role| role.parse()).collect::<Result<_, _>>()?,
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        revoked_at: row.get("revoked_at"),
    })
}

fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

impl Store {
    /// Makes a token and returns its secret, `tu_…`, which is shown this once. None: the name is taken.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn create_token(&self, token: &NewToken, now: Timestamp) -> Result<Option<String>, StoreError> {
        let secret = format!("tu_{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "create_token");
            let roles: Vec<&str> = token.roles.iter().map(|role| role.word()).collect();
            let made = client
                .execute(
                    &statement,
                    &[&Uuid::now_v7(), &token.name, &digest(&secret), &roles, &now, &token.expires_at],
                )
                .await?;
            Ok((made == 1).then_some(secret))
        })
        .await
    }

    /// The token with this secret, valid or not.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn token(&self, secret: &str) -> Result<Option<TokenView>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "token");
            client.query_opt(&statement, &[&digest(secret)]).await?.as_ref().map(view).transpose()
        })
        .await
    }

    /// All tokens.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "tokens");
            client.query(&statement, &[]).await?.iter().map(view).collect()
        })
        .await
    }

    /// Revokes the token of this name. False: there is none that is not revoked already.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn revoke_token(&self, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "revoke_token");
            Ok(client.execute(&statement, &[&name, &now]).await? == 1)
        })
        .await
    }
}
