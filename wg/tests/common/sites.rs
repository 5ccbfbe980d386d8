//! Two hosts with a cable between them. Each is a thread in namespaces of its own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use grid_keys::WgPublicKey;
use grid_wg::{
    Backend, BackendChoice, Desired, DesiredPeer, Mtu, Observed, ObservedPeer, Place, Plan,
    Routing, open, plan,
};
use nix::unistd::gettid;

use super::{enter_namespaces, ip, key, net, nets, psk};

type Task = Box<dyn FnOnce() + Send>;

/// A thread that does what it is told, in its own namespaces.
pub(crate) struct Host {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Host {
    /// The path of its network namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.tid)
    }

    pub(crate) fn new() -> Self {
        let (tasks, inbox): (_, Receiver<Task>) = channel();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            enter_namespaces();
            ready.send(gettid().as_raw()).unwrap();
            inbox.iter().for_each(|task| task());
        });
        let tid = is_ready.recv().unwrap();
        Self {
            tasks: Some(tasks),
            thread: Some(thread),
            tid,
        }
    }

    pub(crate) fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        let task: Task = Box::new(move || drop(answer.send(task())));
        self.tasks.as_ref().unwrap().send(task).unwrap();
        answered
            .recv_timeout(Duration::from_secs(60))
            .expect("the host did as it was told")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.tasks.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// Two hosts, connected: 198.51.100.1 and .2.
pub(crate) fn cable() -> (Host, Host) {
    let (left, right) = (Host::new(), Host::new());
    let there = right.tid.to_string();
    left.run(move || {
        ip(&[
            "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &there,
        ]);
        ip(&["addr", "add", "198.51.100.1/24", "dev", "cable"]);
        ip(&["link", "set", "cable", "up"]);
    });
    right.run(|| {
        ip(&["addr", "add", "198.51.100.2/24", "dev", "cable"]);
        ip(&["link", "set", "cable", "up"]);
    });
    (left, right)
}

/// A host with one WireGuard interface, 10.7.0.N.
pub(crate) struct Site {
    host: Host,
    /// Where the interface lives, if not in the host's own namespace.
    pub(crate) inside: Option<Host>,
    backend: Option<Box<dyn Backend>>,
    pub(crate) desired: Desired,
    n: u8,
}

impl Site {
    pub(crate) fn new(host: Host, name: &str, n: u8, choice: BackendChoice, place: &Place) -> Self {
        let place = place.clone();
        let backend = host.run(move || open(choice, &place).unwrap());
        let desired = Desired {
            name: name.parse().unwrap(),
            private_key: key(n),
            listen_port: 51_820,
            mtu: Mtu::DEFAULT,
            fwmark: None,
            addresses: nets(&[&format!("10.7.0.{n}/16"), &format!("fd07::{n}/64")]),
            peers: Default::default(),
            routes: Default::default(),
            routing: Routing::default(),
        };
        Self {
            host,
            inside: None,
            backend: Some(backend),
            desired,
            n,
        }
    }

    pub(crate) fn key(&self) -> WgPublicKey {
        self.desired.private_key.public()
    }

    pub(crate) fn outer(&self) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, self.n], 51_820))
    }

    pub(crate) fn inner(&self) -> IpAddr {
        IpAddr::from([10, 7, 0, self.n])
    }

    /// Runs something where the interface is, with this site's addresses.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(Spot) -> T + Send + 'static,
    ) -> T {
        let spot = Spot {
            inner: self.inner(),
        };
        let host = self.inside.as_ref().unwrap_or(&self.host);
        host.run(move || task(spot))
    }

    /// Runs something where the sockets are.
    pub(crate) fn outside<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.host.run(task)
    }

    fn with_backend<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut dyn Backend, &Desired) -> T + Send + 'static,
    ) -> T {
        let mut backend = self.backend.take().unwrap();
        let desired = self.desired.clone();
        let (backend, result) = self.host.run(move || {
            let result = task(&mut *backend, &desired);
            (backend, result)
        });
        self.backend = Some(backend);
        result
    }

    /// Applies the difference between what is wanted and what is there.
    pub(crate) fn reconcile(&mut self) -> Plan {
        self.with_backend(|backend, desired| {
            let own = desired.private_key.public();
            let observed = backend.observe(&desired.name, &own).unwrap();
            let plan = plan(desired, &observed);
            backend.apply(&plan).unwrap();
            plan
        })
    }

    pub(crate) fn peer(&mut self, key: WgPublicKey) -> ObservedPeer {
        self.with_backend(move |backend, desired| {
            let own = desired.private_key.public();
            let Observed { interface, .. } = backend.observe(&desired.name, &own).unwrap();
            interface.unwrap().peers.remove(&key).unwrap()
        })
    }

    /// Whether a packet through the tunnel is answered within two seconds.
    pub(crate) fn ping(&mut self, other: &mut Self) -> bool {
        self.ping_between(self.inner(), other.inner(), other)
    }

    pub(crate) fn ping_from(&mut self, from: IpAddr, other: &mut Self) -> bool {
        self.ping_between(from, other.inner(), other)
    }

    /// As [`ping`](Self::ping), to another address of the other site.
    pub(crate) fn ping_to(&mut self, to: IpAddr, other: &mut Self) -> bool {
        self.ping_between(self.inner(), to, other)
    }

    fn ping_between(&mut self, from: IpAddr, to: IpAddr, other: &mut Self) -> bool {
        let (ready, is_ready) = channel();
        let listener = other.run(move |_| {
            let socket = UdpSocket::bind((to, 0)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(3)))
                .unwrap();
            ready.send(socket.local_addr().unwrap()).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 2000];
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    socket.send_to(&buffer[..length], from).unwrap();
                }
            })
        });
        let to = is_ready.recv().unwrap();
        let answered = self.run(move |_| {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            let question = [0x5a; 1300];
            socket.send_to(&question, to).unwrap();
            let mut answer = [0; 2000];
            matches!(socket.recv_from(&mut answer), Ok((length, _)) if answer[..length] == question)
        });
        listener.join().unwrap();
        answered
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(backend) = self.backend.take() {
            self.host.run(move || drop(backend));
        }
    }
}

/// Where a task runs.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    inner: IpAddr,
}

impl Spot {
    pub(crate) fn inner(self) -> IpAddr {
        self.inner
    }
}

/// Makes each site want the other as a peer.
pub(crate) fn introduce(a: &mut Site, b: &mut Site) {
    let peer = |other: &Site| DesiredPeer {
        preshared_key: Some(psk(42)),
        endpoint: Some(other.outer()),
        allowed_ips: [net(&format!("{}/32", other.inner()))].into(),
        keepalive: None,
    };
    let (at_a, at_b) = (peer(b), peer(a));
    a.desired.peers.insert(b.key(), at_a);
    b.desired.peers.insert(a.key(), at_b);
}

/// Makes two sites peers of each other.
pub(crate) fn meet(a: &mut Site, b: &mut Site) {
    introduce(a, b);
    a.reconcile();
    b.reconcile();
}

/// Sends packets in both directions, and checks what both ends have measured.
pub(crate) fn check_traffic(a: &mut Site, b: &mut Site) {
    assert!(a.ping(b), "a reaches b");
    assert!(b.ping(a), "b reaches a");
    let (at_a, at_b) = (a.peer(b.key()), b.peer(a.key()));
    for peer in [&at_a, &at_b] {
        assert!(
            peer.latest_handshake
                .is_some_and(|time| time.elapsed().is_ok_and(|d| d.as_secs() < 60))
        );
        assert!(peer.rx_bytes > 2600 && peer.tx_bytes > 2600, "{peer:?}");
    }
    assert!(
        at_a.rx_bytes <= at_b.tx_bytes && at_b.rx_bytes <= at_a.tx_bytes,
        "{at_a:?} {at_b:?}"
    );
}
