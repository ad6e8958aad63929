//! A device as the server of turnup-netconf sees it.

use std::sync::Arc;

use secrecy::ExposeSecret;
use turnup_netconf::capability::Capabilities;
use turnup_netconf::message::Rpc;
use turnup_netconf::server::{self, HostKeyPair, Outcome, Proof};

use super::{GARBAGE, SimDevice};
use crate::behaviour::Greeting;
use crate::datastore::SessionId;
use crate::personality::Kill;

/// A device from one start to the next, as the server sees it. Session numbers begin anew at every start.
#[derive(Debug)]
pub(crate) struct Served {
    pub(super) device: Arc<SimDevice>,
    pub(super) boot: u32,
}

impl Served {
    fn session(&self, number: u32) -> SessionId {
        SessionId { boot: self.boot, number }
    }
}

impl server::Device for Served {
    fn host_key(&self) -> HostKeyPair {
        let wrong = self.device.lock().play.behaviour.wrong_host_key;
        self.device.host_key_pair(if wrong { "wrong host key" } else { "host key" })
    }

    fn capabilities(&self) -> Capabilities {
        let state = self.device.lock();
        state.play.behaviour.profile.restrict(state.datastores.personality()).capabilities()
    }

    fn authenticate(&self, username: &str, proof: Proof<'_>) -> bool {
        let shared = &self.device.shared;
        if username != shared.username || self.device.lock().play.behaviour.refuse_authentication {
            return false;
        }
        match proof {
            Proof::Password(given) => {
                shared.password.as_ref().is_some_and(|password| password.expose_secret() == given)
            }
            Proof::PublicKey(key) => shared.authorized_keys.iter().any(|authorized| authorized == key),
            _ => false,
        }
    }

    async fn rpc(&self, session_id: u32, request: &Rpc) -> Outcome {
        self.device.rpc(self.session(session_id), &request.operation).await
    }

    fn greeting(&self) -> server::Greeting {
        match self.device.lock().play.behaviour.greeting {
            Greeting::Hello => server::Greeting::Hello,
            Greeting::Silence => server::Greeting::Silence,
            Greeting::Drop => server::Greeting::Drop,
            Greeting::Garbage => server::Greeting::Raw(GARBAGE.to_vec()),
        }
    }

    fn session_opened(&self, session_id: u32, _: &str) {
        let mut state = self.device.lock();
        if state.boot == self.boot + 1 {
            state.datastores.open_session(self.session(session_id));
        }
    }

    fn kill_ends(&self, session_id: u32) -> bool {
        let mut state = self.device.lock();
        if state.datastores.personality().kill_session == Kill::EndsSession {
            return true;
        }
        self.device.session_is_gone(&mut state, self.session(session_id));
        state.datastores.open_session(self.session(session_id));
        false
    }

    fn session_closed(&self, session_id: u32) {
        let session = self.session(session_id);
        let mut state = self.device.lock();
        self.device.session_is_gone(&mut state, session);
    }
}
