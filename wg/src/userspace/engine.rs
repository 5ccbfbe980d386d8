//! The thread that owns a device, and the handle by which other threads reach it.
//!
//! One thread per device: it waits for packets, commands and a tick every second. Dropping the
//! [`Engine`] ends the thread, and with it the TUN interface and the UDP port, before it returns.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::Zeroizing;

use super::device::{ConfigureError, Device};
use crate::if_name::IfName;
use crate::observed::ObservedDevice;
use crate::step::Step;
use crate::uapi;

const TICK: Duration = Duration::from_secs(1);
/// A device answers between two packets; one that takes longer than this is broken.
const ANSWER: Duration = Duration::from_secs(10);

/// What others may ask of a device.
enum Command {
    /// Carry out steps; those that concern neither WireGuard nor the MTU are skipped.
    Apply {
        replace_peers: bool,
        steps: Vec<Step>,
        answer: Sender<Result<(), ConfigureError>>,
    },
    /// Report the state.
    Observe(Sender<ObservedDevice>),
    /// Report the state in the format of the configuration protocol, including keys.
    Describe(Sender<Zeroizing<String>>),
    Stop,
}

/// The device's thread has ended: somebody else removed its interface, or it failed.
#[derive(Debug)]
pub(super) struct Stopped;

/// Reaches a device from other threads.
#[derive(Clone)]
pub(super) struct Handle {
    commands: Sender<Command>,
    wake: Arc<UnixStream>,
}

/// A running device.
pub(super) struct Engine {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Carries out WireGuard steps on the device.
    pub(super) fn apply(
        &self,
        replace_peers: bool,
        steps: Vec<Step>,
    ) -> Result<Result<(), ConfigureError>, Stopped> {
        self.ask(|answer| Command::Apply {
            replace_peers,
            steps,
            answer,
        })
    }

    /// The device's state.
    pub(super) fn observe(&self) -> Result<ObservedDevice, Stopped> {
        self.ask(Command::Observe)
    }

    /// The device's state in the format of the configuration protocol. Includes the private key.
    pub(super) fn describe(&self) -> Result<Zeroizing<String>, Stopped> {
        self.ask(Command::Describe)
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Stopped> {
        let (answer, answered) = channel();
        self.send(command(answer))?;
        answered.recv_timeout(ANSWER).map_err(|_| Stopped)
    }

    fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).map_err(|_| Stopped)?;
        // If the pipe is full, the thread is about to wake up anyway.
        let _ = (&*self.wake).write(&[0]);
        Ok(())
    }
}

impl Engine {
    /// Starts the thread for a device on this TUN interface.
    pub(super) fn start(name: &IfName, tun: File) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (commands, inbox) = channel();
        let running = Running {
            device: Device::new(tun),
            inbox,
            woken,
        };
        let thread = Builder::new()
            .name(format!("wg-{name}"))
            .spawn(move || running.run())?;
        let handle = Handle {
            commands,
            wake: Arc::new(wake),
        };
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.handle.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // Even a thread that panicked has dropped its device.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Running {
    device: Device,
    inbox: Receiver<Command>,
    woken: UnixStream,
}

/// Which sources have input.
struct Ready {
    commands: bool,
    tun: bool,
    tun_gone: bool,
    udp4: bool,
    udp6: bool,
}

impl Running {
    fn run(mut self) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            let Ok(ready) = self.wait(next_tick) else {
                return;
            };
            if ready.tun_gone || (ready.commands && !self.serve_commands()) {
                return;
            }
            if ready.udp4 {
                self.device.serve_udp(true);
            }
            if ready.udp6 {
                self.device.serve_udp(false);
            }
            if ready.tun && self.device.serve_tun().is_err() {
                return;
            }
            let now = Instant::now();
            if now >= next_tick {
                self.device.tick(now);
                next_tick = now + TICK;
            }
        }
    }

    /// Waits for input or the next tick. A device without peers has no ticks.
    fn wait(&self, next_tick: Instant) -> nix::Result<Ready> {
        let timeout = if self.device.peers.is_empty() {
            PollTimeout::NONE
        } else {
            let left = next_tick
                .saturating_duration_since(Instant::now())
                .as_millis();
            PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX).saturating_add(1))
        };
        let udp = self.device.udp();
        let (v4, v6) = (
            udp.and_then(|u| u.v4.as_ref()),
            udp.and_then(|u| u.v6.as_ref()),
        );
        let woken = self.woken.as_fd();
        let wanted = |there: bool| {
            if there {
                PollFlags::POLLIN
            } else {
                PollFlags::empty()
            }
        };
        let mut fds = [
            PollFd::new(woken, PollFlags::POLLIN),
            PollFd::new(self.device.tun().as_fd(), PollFlags::POLLIN),
            PollFd::new(v4.map_or(woken, AsFd::as_fd), wanted(v4.is_some())),
            PollFd::new(v6.map_or(woken, AsFd::as_fd), wanted(v6.is_some())),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        let [commands, tun, udp4, udp6] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        Ok(Ready {
            commands: !commands.is_empty(),
            tun: tun.contains(PollFlags::POLLIN),
            tun_gone: tun.intersects(gone),
            udp4: v4.is_some() && !udp4.is_empty(),
            udp6: v6.is_some() && !udp6.is_empty(),
        })
    }

    /// False: the thread is to end.
    fn serve_commands(&mut self) -> bool {
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
                Ok(command) => self.serve(command),
            }
        }
    }

    /// Handles a command. Whoever sent it may have given up waiting for the answer.
    fn serve(&mut self, command: Command) {
        match command {
            Command::Apply {
                replace_peers,
                steps,
                answer,
            } => {
                if replace_peers {
                    self.device.peers.clear();
                }
                let _ = answer.send(steps.iter().try_for_each(|step| self.step(step)));
            }
            Command::Observe(answer) => {
                let _ = answer.send(self.device.observe());
            }
            Command::Describe(answer) => {
                let state = self.device.observe();
                let _ = answer.send(uapi::describe(self.device.private_key(), &state));
            }
            Command::Stop => {}
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), ConfigureError> {
        match step {
            Step::Configure(change) => self.device.configure(change),
            Step::SetPeer(change) => self.device.set_peer(change),
            Step::RemovePeer(key) => {
                self.device.peers.remove(key);
                Ok(())
            }
            Step::SetMtu(mtu) => {
                self.device.set_mtu(mtu.get());
                Ok(())
            }
            Step::Create
            | Step::RemoveRule(_)
            | Step::RemoveRoute(_)
            | Step::LinkUp
            | Step::RemoveAddress(_)
            | Step::AddAddress(_)
            | Step::AddRoute(_)
            | Step::AddRule(_) => Ok(()),
        }
    }
}
