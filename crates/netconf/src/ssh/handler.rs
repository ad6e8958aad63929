//! Callbacks of russh.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Msg};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelId, ChannelOpenFailure};

use super::connect::MAX_WORDS;
use super::host_key::PinnedHostKey;
use crate::clean;

/// Ends the connection.
const REFUSED: russh::Error = russh::Error::RequestDenied;

/// Callbacks of russh: the check of the host key, and news of the end.
pub(super) struct Handler {
    pub(super) pinned: Option<PinnedHostKey>,
    pub(super) presented: Arc<OnceLock<PublicKey>>,
    pub(super) closed: Arc<AtomicBool>,
    /// The device's description of why it refused a channel.
    pub(super) refusal: Arc<OnceLock<String>>,
}

impl client::Handler for Handler {
    type Error = russh::Error;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let key = presented.public_key();
        let trusted = self.pinned.as_ref().is_none_or(|pinned| pinned.matches(&key));
        // Certificates aren't offered, so there is one key per connection.
        let _ = self.presented.set(key);
        Ok(trusted)
    }

    async fn channel_close(&mut self, _: ChannelId, _: &mut client::Session) -> Result<(), russh::Error> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        _: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let _ = self.refusal.set(clean::line(description, MAX_WORDS));
        Ok(())
    }

    async fn channel_eof(&mut self, _: ChannelId, _: &mut client::Session) -> Result<(), russh::Error> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }

    // A NETCONF server opens no channels (RFC 6242 §3). russh would accept each and keep it: a device could
    // fill the memory with them. Whatever opens one is cut off.

    async fn should_accept_unknown_server_channel(&mut self, _: ChannelId, _: &str) -> bool {
        false
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(REFUSED)
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(REFUSED)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(REFUSED)
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(REFUSED)
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(REFUSED)
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(REFUSED)
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Err(REFUSED)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        self.closed.store(true, Ordering::Release);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}
