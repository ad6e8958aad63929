//! Identifiers: UUIDv7 newtypes, so that an order's id can't be passed where a service's is wanted.

use uuid::Uuid;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> { Uuid::parse_str(text).map(Self) }
        }
    };
}

id!(
    /// A service order.
    OrderId
);
id!(
    /// A service: what a completed provision order leaves in the network.
    ServiceId
);
id!(
    /// A deployment: one network transaction in one region. It is the `persist` id on the devices
    /// (RFC 6241 §8.4.1) and the shard key of state changes.
    DeploymentId
);
