//! The life of a home, cut at every operation and every byte; and homes that are not as they should
//! be.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use grid_keys::{NodeKey, Secret, WgSecretKey};
use grid_promises::core::{Change, Expected, Issued, NetworkRecord};
use grid_promises::network::accept::{Action, Rule};
use grid_promises::network::act::ActId;
use grid_promises::network::admission::RawLink;
use grid_promises::network::charter::{AdmissionRule, Charter};
use grid_promises::network::invite::Bootstrap;
use grid_promises::network::member::{Claim, Ipv6Claim, MemberPromise, Standing, possession};
use grid_promises::network::name::{Label, NetworkName};
use grid_promises::network::statement::Signed;
use grid_promises::{Timestamp, texts};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;
use grid_files::FileError;
use grid_files::crash::{CutDisk, OWNER};

/// Other than by default in everything.
fn elsewhere() -> InterfaceOptions {
    InterfaceOptions {
        backend: Backend::Userspace,
        netns: Some("box".parse().unwrap()),
        routing: grid_wg::Routing {
            table: table("7").unwrap(),
            metric: Some(50),
        },
    }
}

fn key(byte: u8) -> NodeKey {
    NodeKey::from_seed(&Secret::new([byte; 32]))
}

fn charter(name: &str) -> Signed<Charter> {
    let founder = key(1);
    let nonce = [3; 16];
    let body = Charter {
        name: name.parse().unwrap(),
        ipv4: "10.9.0.0/16".parse().unwrap(),
        ipv6: Charter::ipv6_prefix(&founder.id(), &nonce),
        founder: founder.id(),
        owners: vec![founder.id()],
        admission: AdmissionRule::Invite,
        contract: texts::JOIN_WIREGUARD_NET.id(),
        created: Timestamp(1_700_000_000),
        nonce,
        recovery: None,
    };
    Signed::sign(body, &founder).unwrap()
}

fn promise(charter: &Signed<Charter>, wireguard: &WgSecretKey, sequence: u64) -> Vec<u8> {
    let node = key(1);
    let body = MemberPromise {
        network: charter.network(),
        node: node.id(),
        sequence,
        issued: Timestamp(1_700_000_000),
        expires: Timestamp(1_700_003_600),
        standing: Standing::Promised,
        public_key: wireguard.public(),
        possession: wireguard.sign(&possession(&charter.network(), &node.id())),
        ipv6: Ipv6Claim {
            address: "fd00::1".parse().unwrap(),
            modifier: 7,
        },
        ipv4: Claim {
            address: "10.9.0.7".parse().unwrap(),
            number: 0,
        },
        wireguard: Vec::new(),
        quic: Vec::new(),
        prefixes: Vec::new(),
        label: Label::from_host_name("box"),
        admission: Vec::new(),
        receipts: Vec::new(),
    };
    Signed::sign(body, &node).unwrap().bytes().to_vec()
}

fn record(name: &str) -> NetworkRecord {
    let charter = charter(name);
    let wireguard = WgSecretKey::from_bytes(&Secret::new([9; 32]));
    NetworkRecord {
        promise: Some(promise(&charter, &wireguard, 1)),
        charter,
        secret: Some(Secret::new([5; 32])),
        private_key: Some(wireguard),
        listen_port: 51820,
        admission: Some(vec![link(3)]),
        statements: vec![vec![7; 20]],
        rules: Vec::new(),
        judge: None,
        expected: Vec::new(),
        issued: Vec::new(),
        bootstrap: nodes(1),
        awaited: vec![ActId([4; 32])],
    }
}

fn link(byte: u8) -> RawLink {
    RawLink {
        grant: vec![1, byte],
        used: vec![byte],
        seen: None,
    }
}

fn nodes(count: u8) -> Vec<Bootstrap> {
    (0..count)
        .map(|number| Bootstrap {
            node: key(number + 10).id(),
            quic: vec!["192.0.2.1:51821".parse().unwrap()],
        })
        .collect()
}

fn codes() -> Vec<Expected> {
    vec![Expected {
        code: "4K7J-2M3P-QR8T".parse().unwrap(),
        until: Timestamp(1_700_003_600),
    }]
}

fn invites() -> Vec<Issued> {
    vec![Issued {
        invite: NodeKey::from_seed(&Secret::new([9; 32])).id(),
        uses: 5,
        issued: Timestamp(1_700_000_000),
        expires: Timestamp(1_700_086_400),
    }]
}

fn rules() -> Vec<Rule> {
    vec![Rule {
        action: Action::Accept,
        prefix: "192.168.7.0/24".parse().unwrap(),
        from: Some(key(2).id()),
    }]
}

/// Found, join, claim, rules, leave, join again, and be as if it had never been.
fn life() -> Vec<(&'static str, Change)> {
    let joined = record("b");
    let key = joined.private_key.clone().unwrap();
    let next = promise(&joined.charter, &key, 2);
    let network = |record| Change::Network(Box::new(record));
    vec![
        ("a", network(record("a"))),
        ("b", network(joined)),
        ("b", Change::Promise(next)),
        ("b", Change::Admission(vec![link(2)])),
        ("b", Change::Statements(vec![vec![1; 30], vec![2; 40]])),
        (
            "b",
            Change::Rules {
                rules: rules(),
                judge: Some(grid_promises::ContentId::of(b"a judge")),
            },
        ),
        ("b", Change::Expected(codes())),
        ("b", Change::Issued(invites())),
        ("b", Change::Awaited(vec![ActId([5; 32])])),
        ("b", Change::Left(nodes(2))),
        ("b", network(record("b"))),
        ("b", Change::Left(nodes(0))),
        ("b", Change::Removed),
        ("a", Change::Removed),
    ]
}

type Seen = Vec<(NetworkRecord, InterfaceOptions)>;

fn home() -> Home {
    Home::find(Some(Path::new("/h"))).unwrap()
}

fn on(disk: CutDisk) -> Store<CutDisk> {
    Store::on(&home(), disk, OWNER)
}

fn seen<D: Disk>(store: &Store<D>) -> Seen {
    let whole = |loaded| match loaded {
        Loaded::Whole(stored) => {
            assert!(stored.complaints.is_empty(), "{:?}", stored.complaints);
            (stored.record, stored.interface)
        }
        Loaded::Broken { name, error } => panic!("{name}: {error}"),
    };
    store.networks().unwrap().into_iter().map(whole).collect()
}

fn name(text: &str) -> NetworkName {
    text.parse().unwrap()
}

fn unfinished<D: Disk>(disk: &D, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in disk.list(folder).unwrap() {
        let path = folder.join(&entry.name);
        if entry.name.ends_with(atomic::UNFINISHED) {
            found.push(path);
        } else if entry.is_dir {
            unfinished(disk, &path, found);
        }
    }
}

/// The two states that a restart may find, and the disks that were judged already.
struct Judge<'a> {
    before: &'a Seen,
    after: &'a Seen,
    judged: HashSet<BTreeMap<PathBuf, Option<Vec<u8>>>>,
}

impl<'a> Judge<'a> {
    fn new(before: &'a Seen, after: &'a Seen) -> Self {
        Self {
            before,
            after,
            judged: HashSet::new(),
        }
    }

    /// A restart on this disk: it loads, and it is the state before or after. `None` if the very
    /// same disk was judged before.
    fn restart(&mut self, disk: CutDisk, at: &str) -> Option<Store<CutDisk>> {
        let store = on(disk);
        store.recover().unwrap();
        if !self.judged.insert(store.disk.tree()) {
            return None;
        }
        let now = seen(&store);
        // Not `assert_eq`: the records are long, and which of them it is helps nobody.
        assert!(
            now == *self.before || now == *self.after,
            "{at}: neither before nor after"
        );
        let mut left = Vec::new();
        unfinished(&store.disk, Path::new("/h"), &mut left);
        assert!(left.is_empty(), "{at}: left behind: {left:?}");
        Some(store)
    }

    /// Recovers, cut at every place, and again.
    fn cut_recovery(&mut self, disk: &CutDisk, at: &str) {
        let trial = on(disk.whole());
        trial.recover().unwrap();
        for cut in 0..trial.disk.used() {
            let store = on(disk.cut_after(cut));
            assert!(store.recover().is_err());
            for crashed in store.disk.crashed() {
                self.restart(crashed, &format!("{at}, and at {cut} of the recovery"));
            }
        }
    }
}

/// Runs `step` on `disk`, cut at every place, and looks at every restart that may follow. Returns
/// how many places there were.
fn cut_everywhere(
    disk: &CutDisk,
    before: &Seen,
    after: &Seen,
    what: &str,
    step: impl Fn(&Store<CutDisk>) -> Result<(), StoreError>,
) -> u64 {
    let trial = on(disk.whole());
    step(&trial).unwrap();
    let units = trial.disk.used();
    let mut judge = Judge::new(before, after);
    for cut in 0..units {
        let store = on(disk.cut_after(cut));
        let outcome = step(&store);
        assert!(
            outcome.is_err() && store.disk.is_cut(),
            "{what}, cut at {cut}: {outcome:?}"
        );
        for (variant, crashed) in store.disk.crashed().into_iter().enumerate() {
            let at = format!("{what}, cut at {cut}, variant {variant}");
            if let Some(restarted) = judge.restart(crashed, &at) {
                step(&restarted).unwrap();
                assert_eq!(seen(&restarted), *after, "{at}, done again");
            }
        }
        if !store.disk.is_mid_write() {
            judge.cut_recovery(&store.disk, &format!("{what}, cut at {cut}"));
        }
    }
    // What a step reported done survives a power cut at once.
    let mut judge = Judge::new(after, after);
    for (variant, crashed) in trial.disk.crashed().into_iter().enumerate() {
        judge.restart(crashed, &format!("{what}, done, variant {variant}"));
    }
    units
}

#[test]
fn a_cut_anywhere_leaves_the_state_before_or_after() {
    let mut disk = CutDisk::new(&[Path::new("/h")]);
    on(disk.clone()).prepare().unwrap();
    let store = on(disk);
    store.prepare().unwrap();
    disk = store.disk;
    let mut before = Vec::new();
    let mut units = 0;
    for (number, (network, change)) in life().iter().enumerate() {
        let done = on(disk.whole());
        let apply = |store: &Store<CutDisk>| {
            store.apply(&name(network), change, &InterfaceOptions::default())
        };
        apply(&done).unwrap();
        let after = seen(&done);
        assert_ne!(before, after, "step {number} changes something");
        let what = format!("step {number} ({network})");
        units += cut_everywhere(&disk, &before, &after, &what, apply);
        disk = done.disk;
        before = after;
    }
    assert!(units > 2_000, "only {units} places were cut");
}

#[test]
fn a_trial_leaves_the_home_as_it_was() {
    let store = on(CutDisk::new(&[Path::new("/h")]));
    store.prepare().unwrap();
    let before = store.disk.tree();
    store.probe().unwrap();
    assert_eq!(store.disk.tree(), before);
    // A full disk takes the name of a file and not its content.
    let full = on(store.disk.cut_after(100));
    full.probe().unwrap_err();
    // What is left of an interrupted trial hinders no other.
    let next = on(full.disk.whole());
    next.probe().unwrap();
    assert_eq!(next.disk.tree(), before);
}

#[test]
fn the_key_survives_or_was_never_there() {
    let store = on(CutDisk::new(&[Path::new("/h")]));
    store.prepare().unwrap();
    let fresh = || ChaCha20Rng::from_seed([4; 32]);
    let trial = on(store.disk.whole());
    let made = trial.ensure_node_key(&mut fresh()).unwrap().id();
    for cut in 0..trial.disk.used() {
        let cut_store = on(store.disk.cut_after(cut));
        cut_store.ensure_node_key(&mut fresh()).unwrap_err();
        for crashed in cut_store.disk.crashed() {
            let found = on(crashed).node_key().unwrap();
            assert!(found.is_none_or(|key| key.id() == made), "cut at {cut}");
        }
    }
    for crashed in trial.disk.crashed() {
        assert_eq!(on(crashed).node_key().unwrap().unwrap().id(), made);
    }
}

#[test]
fn the_file_system_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::find(Some(&dir.path().join("deep/home"))).unwrap();
    let store = Store::open(&home).unwrap();
    let model = on(CutDisk::new(&[Path::new("/h")]));
    model.prepare().unwrap();
    for (network, change) in life() {
        let leftover = home.nets().join("b.new.tmp");
        fs::create_dir(&leftover).unwrap();
        fs::write(leftover.join("charter"), "x").unwrap();
        fs::write(home.path().join("config.tmp"), "x").unwrap();
        store.apply(&name(network), &change, &elsewhere()).unwrap();
        model.apply(&name(network), &change, &elsewhere()).unwrap();
        store.recover().unwrap();
        assert_eq!(seen(&store), seen(&model));
        let mut left = Vec::new();
        unfinished(&store.disk, home.path(), &mut left);
        assert!(left.is_empty(), "{left:?}");
        let again = Store::open(&home).unwrap();
        assert_eq!(seen(&again), seen(&model));
    }
    assert!(fs::read_dir(home.nets()).unwrap().next().is_none());
}

/// Commands that start at once on a new home each look at whose it is, and one makes the key.
#[test]
fn who_looks_at_a_home_that_is_being_made_disturbs_nobody() {
    for round in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path())).unwrap();
        let made = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let store = Store::open(&home).unwrap();
                    while !made.load(std::sync::atomic::Ordering::Relaxed) {
                        store.check_machine().unwrap();
                        store.ensure_config().unwrap();
                        fs::remove_file(home.config()).ok();
                    }
                });
            }
            let store = Store::open(&home).unwrap();
            let key = store.node_key_or_new(&mut ChaCha20Rng::from_seed([round; 32]));
            let config = store.ensure_config().and_then(|()| store.recover());
            made.store(true, std::sync::atomic::Ordering::Relaxed);
            key.unwrap();
            config.unwrap();
        });
    }
}

#[test]
fn what_holds_secrets_is_closed_to_others() {
    let (_dir, home, store) = filled();
    let _lock = ServerLock::take(&home).unwrap();
    store
        .become_another(false, &mut ChaCha20Rng::from_seed([4; 32]))
        .unwrap();
    let foo = Change::Network(Box::new(record("foo")));
    let options = InterfaceOptions::default();
    store.apply(&name("foo"), &foo, &options).unwrap();
    store.ensure_config().unwrap();
    let mut folders = vec![home.path().to_owned()];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
    assert!(home.nets().join("foo/wireguard.key").exists());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn filled() -> (tempfile::TempDir, Home, Store) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::find(Some(&dir.path().join("home"))).unwrap();
    let store = Store::open(&home).unwrap();
    for network in ["foo", "whole"] {
        let change = Change::Network(Box::new(record(network)));
        store
            .apply(&name(network), &change, &InterfaceOptions::default())
            .unwrap();
    }
    (dir, home, store)
}

/// What is wrong with "foo"; "whole" must be unharmed.
fn broken(store: &Store) -> Option<String> {
    let mut loaded = store.networks().unwrap().into_iter();
    let foo = match loaded.next() {
        Some(Loaded::Broken { name, error }) => {
            assert_eq!(name, "foo");
            Some(error.to_string())
        }
        Some(Loaded::Whole(_)) => None,
        None => panic!("foo is gone"),
    };
    let Some(Loaded::Whole(whole)) = loaded.next() else {
        panic!("the other network suffers");
    };
    assert_eq!(whole.record, record("whole"));
    foo
}

#[test]
fn damage_stops_the_network_that_it_is_in_and_no_other() {
    for (file, what, word) in [
        ("charter", Some(""), "empty"),
        ("charter", Some("junk"), "damaged"),
        ("charter", None, "missing"),
        ("wireguard.key", Some(""), "empty"),
        ("wireguard.key", Some("AAAA"), "cut short"),
        ("wireguard.key", None, "missing"),
        ("network.secret", Some("AAAA"), "cut short"),
        ("network.secret", None, "missing"),
        ("admission", Some("\u{1}"), "damaged"),
        ("promise", Some("x"), "damaged"),
        ("rules", Some("accept everything\n"), "line 1"),
        ("settings", Some("listen_port = "), "settings:1:"),
        ("settings", None, "missing"),
        ("left", Some("x"), "damaged"),
    ] {
        let (_dir, home, store) = filled();
        let path = home.nets().join("foo").join(file);
        match what {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).ok();
        let error = broken(&store).unwrap_or_else(|| panic!("{file} {what:?} passed"));
        assert!(error.contains(word), "{file} {what:?}: {error}");
        assert!(error.contains(file), "{file} {what:?}: {error}");
    }
}

#[test]
fn what_can_be_had_again_is_done_without() {
    for file in ["statements", "bootstrap", "expected", "invites"] {
        let (_dir, home, store) = filled();
        fs::write(home.nets().join("foo").join(file), "junk").unwrap();
        let loaded = store.networks().unwrap();
        let Some(Loaded::Whole(foo)) = loaded.first() else {
            panic!("{loaded:?}");
        };
        let mut expected = record("foo");
        match file {
            "statements" => expected.statements.clear(),
            "bootstrap" => expected.bootstrap.clear(),
            // There were no codes, and no invites.
            _ => assert!(expected.expected.is_empty() && expected.issued.is_empty()),
        }
        assert_eq!(foo.record, expected);
        assert_eq!(foo.complaints.len(), 1);
        assert_eq!(foo.lack.is_some(), file == "statements");
    }
}

/// A power cut leaves the same, so that nothing is called damaged; but an owner may have lost what it decided.
#[test]
fn statements_without_an_end_are_said_to_lack_something() {
    let lack = |change: &dyn Fn(&Path)| {
        let (_dir, home, store) = filled();
        change(&home.nets().join("foo/statements"));
        match store.networks().unwrap().into_iter().next() {
            Some(Loaded::Whole(foo)) => {
                assert!(foo.complaints.is_empty(), "{:?}", foo.complaints);
                foo.lack
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lack(&|_| ()), None);
    let append = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.extend([0, 0, 0, 9]);
        fs::write(path, bytes).unwrap();
    };
    let gone = |path: &Path| fs::remove_file(path).unwrap();
    for change in [&append as &dyn Fn(&Path), &gone] {
        let why = lack(change).unwrap();
        assert!(why.contains("foo/statements"), "{why}");
    }
}

#[test]
fn secrets_that_others_can_open_are_refused_and_left_alone() {
    for bits in [0o640, 0o604, 0o660, 0o644] {
        let (_dir, home, store) = filled();
        let path = home.nets().join("foo/wireguard.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let error = broken(&store).unwrap();
        assert!(
            error.contains(&format!("chmod 600 {}", path.display())),
            "{error}"
        );
        assert_eq!(mode(&path), bits);
    }
}

#[test]
fn links_and_folders_in_the_place_of_a_key_are_refused() {
    let (_dir, home, store) = filled();
    let path = home.nets().join("foo/wireguard.key");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(home.nets().join("whole/wireguard.key"), &path).unwrap();
    assert!(broken(&store).unwrap().contains("not a regular file"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(broken(&store).unwrap().contains("not a regular file"));
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(broken(&store).unwrap().contains("not a regular file"));
}

#[test]
fn a_home_of_another_user_or_open_to_others_is_refused() {
    let (_dir, home, store) = filled();
    let other = Store {
        me: store.me + 1,
        ..Store::look(&home)
    };
    assert!(
        other
            .check_home()
            .unwrap_err()
            .to_string()
            .contains("--home")
    );
    assert!(matches!(
        other.networks().unwrap().first(),
        Some(Loaded::Broken {
            error: StoreError::File(FileError::OtherOwner { .. }),
            ..
        })
    ));
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let error = Store::open(&home).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn a_folder_of_another_name_is_not_the_network() {
    let (_dir, home, store) = filled();
    fs::rename(home.nets().join("foo"), home.nets().join("fool")).unwrap();
    let loaded = store.networks().unwrap();
    let Some(Loaded::Broken { name, error }) = loaded.first() else {
        panic!("{loaded:?}");
    };
    assert_eq!(name, "fool");
    assert!(error.to_string().contains("\"foo\""), "{error}");
}

#[test]
fn known_peers_read_back_and_a_damaged_one_costs_itself() {
    let (_dir, home, store) = filled();
    let peer = KnownPeer {
        node: key(3).id(),
        addresses: vec!["[2001:db8::1]:51821".parse().unwrap()],
        since: Timestamp(1_700_000_000),
        label: Some("box \"x\"".to_owned()),
    };
    store.save_peer(&peer).unwrap();
    let other = home.peers().join(key(4).id().to_string());
    fs::write(other, "addresses = 1").unwrap();
    fs::write(home.peers().join("readme"), "hello").unwrap();
    let (peers, complaints) = store.peers();
    assert_eq!(peers, [peer]);
    assert_eq!(complaints.len(), 2);
}

#[test]
fn nothing_secret_is_printed() {
    let (_dir, _home, store) = filled();
    let text = format!("{:?}", store.networks().unwrap());
    assert!(text.contains("[redacted]"));
    let key = files::encode_secret(&[9; 32]);
    assert!(!text.contains(std::str::from_utf8(&key).unwrap().trim()));
    assert!(!text.contains("9, 9, 9"), "{text}");
}

#[test]
fn no_home_with_networks_becomes_another_node_unasked() {
    let (_dir, home, store) = filled();
    let mut entropy = ChaCha20Rng::from_seed([5; 32]);
    let (key, networks) = store.become_another(false, &mut entropy).unwrap();
    assert_eq!(networks.len(), 2);
    let foo = Change::Network(Box::new(record("foo")));
    let options = InterfaceOptions::default();
    store.apply(&name("foo"), &foo, &options).unwrap();
    let path = home.keys().join("node.key");
    let whole = fs::read(&path).unwrap();
    for left in [None, Some(&whole[..20])] {
        match left {
            None => fs::remove_file(&path).unwrap(),
            Some(part) => fs::write(&path, part).unwrap(),
        }
        let error = store.node_key_or_new(&mut entropy).unwrap_err();
        assert!(matches!(error, StoreError::NoKey { .. }), "{error}");
        let told = crate::exit::Failure::from(error).text;
        assert!(told.contains("from a backup") && told.contains("generate-keys --new"));
        assert!(!told.contains("move it away"), "{told}");
        assert_eq!(fs::read(&path).ok().as_deref(), left, "nothing was changed");
        assert!(store.is_of_a_node().unwrap());
        fs::write(&path, &whole).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(store.node_key_or_new(&mut entropy).unwrap().id(), key.id());
    }
    fs::remove_file(&path).unwrap();
    let (another, networks) = store.become_another(false, &mut entropy).unwrap();
    assert_ne!(another.id(), key.id());
    assert_eq!(networks, ["foo"]);
    assert_eq!(
        store.node_key_or_new(&mut entropy).unwrap().id(),
        another.id()
    );
}
