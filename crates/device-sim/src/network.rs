//! A device's place in the network: listening, or refusing connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep};
use turnup_netconf::server::{Listening, listen};

use crate::device::SimDevice;
use crate::simulator::SimulatorError;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long it may take until a listener that was dropped is gone.
const REBIND_TIMEOUT: Duration = Duration::from_secs(5);

/// How a device is reached.
#[derive(Debug)]
pub(crate) enum Network {
    /// It listens. Dropping this cuts all connections.
    Up(#[allow(dead_code, reason = "held for what dropping it does")] Listening),
    /// Connections are refused. The socket keeps the port from being given to others.
    Down(TcpSocket),
    /// Neither, in between and after a shutdown.
    Off,
}

/// A socket at this address that doesn't listen yet, and its address.
pub(crate) fn bind(address: SocketAddr) -> Result<(TcpSocket, SocketAddr), SimulatorError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Else the connections of an earlier process would keep the port for a minute.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    bind().map_err(|error| SimulatorError::Listen { address, error })
}

impl Network {
    /// Refuses connections from now on and cuts those that are open.
    pub(crate) async fn go_down(&mut self, device: &SimDevice) -> Result<(), SimulatorError> {
        if let Self::Up(_) = self {
            *self = Self::Off;
        }
        let deadline = Instant::now() + REBIND_TIMEOUT;
        while let Self::Off = self {
            match bind(device.address()) {
                Ok((socket, _)) => *self = Self::Down(socket),
                Err(error) if Instant::now() >= deadline => return Err(error),
                // The task that accepts connections is being ended.
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        }
        Ok(())
    }

    /// Accepts connections from now on.
    pub(crate) fn go_up(&mut self, device: &Arc<SimDevice>) -> Result<(), SimulatorError> {
        match std::mem::replace(self, Self::Off) {
            Self::Down(socket) => {
                let fail = |error| SimulatorError::Listen { address: device.address(), error };
                let listener = socket.listen(BACKLOG).map_err(fail)?;
                let listening =
                    listen(listener, device.next_boot(), device.server_options()).map_err(fail)?;
                *self = Self::Up(listening);
            }
            other => *self = other,
        }
        Ok(())
    }
}
