//! `fetch`, which no person types: other commands ask the server for objects and symbol tables of peers,
//! and for peers that have a name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use grid_keys::NodeId;
use grid_modules::Peer as Contact;
use grid_promises::ContentId;
use grid_promises::modules::ModuleName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::{Caller, Served, asking, served};
use crate::console::output;
use crate::control::client::Client;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::node::host_port::HostPort;
use crate::node::{NodeHandle, Progress};
use crate::store::Store;
use crate::values::text;

/// How long the server may say nothing while it fetches.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to ask peers for a name.
const FINDING: Duration = Duration::from_secs(15);
/// How much of a node id has to be given, in characters.
const PREFIX: usize = 4;
/// How many peers a sentence lists.
const LISTED: usize = 8;

/// A node that can be asked.
#[derive(Clone, Debug, Default)]
struct Peer {
    labels: BTreeSet<String>,
    addresses: Vec<SocketAddr>,
    /// Whether a person made it a peer.
    is_known: bool,
    /// Whether it is a member of a network of this node.
    is_member: bool,
    is_connected: bool,
}

type Peers = BTreeMap<NodeId, Peer>;

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// To have the symbol table of a peer in the store, with the descriptors and promise texts that it
    /// leads to.
    Symbols {
        /// The peer: its node id or the beginning of it, a name, or where it is.
        peer: String,
    },
    /// To have an object in the store.
    Object {
        /// The object.
        #[serde(with = "text")]
        id: ContentId,
        /// Who is asked; everybody, if nobody is named.
        #[serde(default)]
        peers: Vec<String>,
    },
    /// To find the peers whose tables have a name.
    Find {
        /// The name.
        #[serde(with = "text")]
        name: ModuleName,
    },
}

/// What was fetched.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FetchReport {
    /// A symbol table.
    Table(TableReport),
    /// An object.
    Fetched(FetchedReport),
    /// Peers.
    Found(FoundReport),
}

/// A symbol table of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// The peer.
    pub peer: String,
    /// The symbol table that it stands by. It is in the store, with the descriptors and promise texts
    /// that it leads to.
    pub table: String,
    /// Names of the table of which the descriptor or the promise text could not be had, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedReport {
    /// The object. It is in the store.
    pub id: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// The nodes that gave it, or parts of it; none if it was here.
    pub from: Vec<String>,
}

/// Who has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundReport {
    /// Those whose symbol tables have the name.
    pub peers: Vec<FoundPeer>,
}

/// A peer whose symbol table has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundPeer {
    /// The peer.
    pub peer: String,
    /// The descriptor that the name stands for there.
    pub descriptor: String,
}

impl Served for Request {
    const PROMISE: Promise = texts::FETCH;
    type Report = FetchReport;

    // What is fetched is in the store.
    const RELIES_ON_THE_SERVER: bool = false;

    fn patience(&self) -> Duration {
        match self {
            Self::Find { .. } => FINDING,
            _ => PATIENCE,
        }
    }

    async fn handle(self, node: &NodeHandle, progress: &Progress) -> Outcome<FetchReport> {
        let peers = peers(node).await?;
        match self {
            Self::Symbols { peer } => {
                let contact = choose(&peers, &peer).await?;
                let tell = teller(progress);
                let table = node.fetching().symbols_of(&contact, Some(&tell)).await;
                let table = table.map_err(|error| Failure::from(&*error))?;
                Ok(FetchReport::Table(TableReport {
                    peer: contact.node.to_string(),
                    table: table.table.to_string(),
                    missing: table.missing,
                }))
            }
            Self::Object { id, peers: named } => {
                let mut from = Vec::new();
                for peer in &named {
                    from.push(choose(&peers, peer).await?);
                }
                if named.is_empty() {
                    from = everybody(&peers);
                }
                let tell = teller(progress);
                let had = node.fetching().fetch(id, &from, Some(&tell)).await;
                let had = had.map_err(|error| Failure::from(&*error))?;
                Ok(FetchReport::Fetched(FetchedReport {
                    id: had.id.to_string(),
                    bytes: had.bytes,
                    from: had.from.iter().map(ToString::to_string).collect(),
                }))
            }
            Self::Find { name } => {
                let found = node
                    .fetching()
                    .find(name.as_str(), &everybody(&peers))
                    .await;
                let found = found.iter().map(|(peer, descriptor)| FoundPeer {
                    peer: peer.to_string(),
                    descriptor: descriptor.to_string(),
                });
                Ok(FetchReport::Found(FoundReport {
                    peers: found.collect(),
                }))
            }
        }
    }
}

/// Whoever is slow to read misses a sentence.
fn teller(progress: &Progress) -> impl Fn(String) + Send + Sync + use<> {
    let progress = progress.clone();
    move |text| {
        let _ = progress.try_send(text);
    }
}

/// A peer that has a name in its table.
pub struct Namesake {
    /// The peer's node id.
    pub peer: String,
    /// The descriptor that the name leads to there.
    pub module: Option<ContentId>,
}

impl Namesake {
    /// As much of the node id as a person needs to name the peer.
    #[must_use]
    pub fn short(&self) -> &str {
        short(&self.peer)
    }
}

/// As much of a node id as a person needs to name a peer.
#[must_use]
pub fn short(peer: &str) -> &str {
    peer.get(..10).unwrap_or(peer)
}

/// The peer's symbol table, and who the peer is. The table, the descriptors and the promise texts are
/// in the store then; the code is not.
///
/// # Errors
/// The peer is not known, cannot be reached, or takes no part in this.
pub fn symbols_of(client: &mut Client, peer: &str) -> Outcome<(String, ContentId)> {
    let peer = peer.to_owned();
    let answered = served::call(client, &Request::Symbols { peer }, output::say)?;
    let unreadable = || Failure::failed("the server's answer cannot be read");
    match answered.report {
        FetchReport::Table(TableReport { peer, table, .. }) => {
            Ok((peer, table.parse().map_err(|_| unreadable())?))
        }
        _ => Err(unreadable()),
    }
}

/// Has the server get an object from peers into the store.
///
/// # Errors
/// Nobody who could be asked has it.
pub fn object(caller: &Caller, id: &ContentId) -> Outcome {
    asking::with_server(caller, |mut client| {
        let (id, peers) = (*id, Vec::new());
        served::call(&mut client, &Request::Object { id, peers }, output::say).map(drop)
    })
}

/// The peers whose tables have a name. None if no server runs: nobody is asked for a slip of the
/// fingers then.
#[must_use]
pub fn find(home: &Home, name: &str) -> Vec<Namesake> {
    let ask = || {
        // Another name stands in nobody's table.
        let name = name.parse().ok()?;
        let mut client = Client::connect(home).ok()??;
        let answered = served::call(&mut client, &Request::Find { name }, |_| {}).ok()?;
        let FetchReport::Found(FoundReport { peers }) = answered.report else {
            return None;
        };
        let namesakes = peers.into_iter().map(|found| Namesake {
            peer: found.peer,
            module: found.descriptor.parse().ok(),
        });
        Some(namesakes.collect())
    };
    ask().unwrap_or_default()
}

/// Every node that can be asked: known ones, and those that are connected.
async fn peers(node: &NodeHandle) -> Outcome<Peers> {
    let mut peers = Peers::new();
    let home = node.home().clone();
    let known = tokio::task::spawn_blocking(move || Store::look(&home).peers().0);
    let known = known
        .await
        .map_err(|_| Failure::failed("the known peers could not be read"))?;
    for known in known {
        let peer = peers.entry(known.node).or_default();
        peer.labels.extend(known.label);
        peer.addresses = known.addresses;
        peer.is_known = true;
    }
    for connection in node.connections() {
        let peer = peers.entry(connection.peer).or_default();
        peer.is_connected = true;
        if !peer.addresses.contains(&connection.remote) {
            peer.addresses.push(connection.remote);
        }
    }
    let status = node.status().await?;
    for member in status.networks.iter().flat_map(|network| &network.peers) {
        if let Ok(id) = member.node.parse::<NodeId>()
            && let Some(peer) = peers.get_mut(&id)
        {
            peer.is_member = true;
            peer.labels.insert(member.name.clone());
        }
    }
    peers.remove(&node.node());
    Ok(peers)
}

/// Those who are asked if nobody is named.
fn everybody(peers: &Peers) -> Vec<Contact> {
    let all = peers
        .iter()
        .filter(|(_, peer)| peer.is_known || (peer.is_member && peer.is_connected));
    all.map(contact).collect()
}

fn contact((node, peer): (&NodeId, &Peer)) -> Contact {
    Contact {
        node: *node,
        addresses: peer.addresses.clone(),
    }
}

/// The node that a person means.
///
/// # Errors
/// None, or more than one: says which there are.
async fn choose(peers: &Peers, word: &str) -> Outcome<Contact> {
    let mut meant = matching(peers, word, &[]);
    // A place of a known peer, by a name that has to be looked up.
    if meant.is_empty() && word.contains(':') {
        let places = word.parse::<HostPort>()?.resolve().await?;
        meant = matching(peers, word, &places);
    }
    match meant.as_slice() {
        [one] => Ok(one.clone()),
        [] if peers.is_empty() => Err(Failure::usage(format!(
            "there is no peer \"{word}\", nor any other; {}",
            advice::makes_a_peer()
        ))),
        [] => Err(Failure::usage(format!(
            "there is no peer \"{word}\"; there are {}; {}",
            list(peers, peers.keys()),
            advice::makes_a_peer()
        ))),
        several => Err(Failure::usage(format!(
            "\"{word}\" can be several peers: {}; name one by more of its id",
            list(peers, several.iter().map(|contact| &contact.node))
        ))),
    }
}

fn matching(peers: &Peers, word: &str, places: &[SocketAddr]) -> Vec<Contact> {
    // A whole id means one node, whatever others are called.
    if let Ok(node) = word.parse::<NodeId>() {
        return peers
            .get_key_value(&node)
            .map(contact)
            .into_iter()
            .collect();
    }
    let is_meant = |(node, peer): &(&NodeId, &Peer)| {
        (word.len() >= PREFIX && node.to_string().starts_with(word))
            || peer.labels.contains(word)
            || places.iter().any(|place| peer.addresses.contains(place))
            || word
                .parse()
                .is_ok_and(|place: SocketAddr| peer.addresses.contains(&place))
    };
    peers.iter().filter(is_meant).map(contact).collect()
}

fn list<'a>(peers: &Peers, nodes: impl Iterator<Item = &'a NodeId>) -> String {
    let each = nodes.map(|node| {
        let labels = peers.get(node).map(|peer| &peer.labels);
        let labels: Vec<&str> = labels.into_iter().flatten().map(String::as_str).collect();
        match labels.as_slice() {
            [] => node.short(),
            labels => format!("{} ({})", node.short(), labels.join(", ")),
        }
    });
    let mut each: Vec<String> = each.collect();
    let more = each.len().saturating_sub(LISTED);
    each.truncate(LISTED);
    if more > 0 {
        each.push(format!("{more} more"));
    }
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use grid_keys::{NodeKey, Secret};

    fn peers() -> (Peers, Vec<NodeId>) {
        let node = |byte| NodeKey::from_seed(&Secret::new([byte; 32])).id();
        let nodes: Vec<NodeId> = (1..=3).map(node).collect();
        let peer = |label: &str, place: &str, is_known| Peer {
            labels: [label.to_owned()].into(),
            addresses: vec![place.parse().unwrap()],
            is_known,
            is_member: !is_known,
            is_connected: false,
        };
        let all = [
            peer("box", "127.0.0.1:7", true),
            peer("attic", "127.0.0.1:8", true),
            peer("box", "[::1]:9", false),
        ];
        (nodes.iter().copied().zip(all).collect(), nodes)
    }

    #[tokio::test]
    async fn a_peer_is_named_by_id_prefix_label_or_place() {
        let (peers, nodes) = peers();
        let attic = nodes[1];
        let id = attic.to_string();
        for word in [&id[..], &id[..4], "attic", "127.0.0.1:8"] {
            assert_eq!(choose(&peers, word).await.unwrap().node, attic, "{word}");
        }
        assert_eq!(choose(&peers, "[::1]:9").await.unwrap().node, nodes[2]);
        let unknown = NodeKey::from_seed(&Secret::new([9; 32])).id().to_string();
        for (word, said) in [
            ("box", "several"),
            (&id[..3], "there is no peer"),
            ("cellar", "(attic)"),
            ("127.0.0.1:99", "there is no peer"),
            ("127.0.0.1:0", "HOST:PORT"),
            (&unknown, "there is no peer"),
        ] {
            let failure = choose(&peers, word).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.text.contains(said), "{word}: {}", failure.text);
        }
        let failure = choose(&Peers::new(), "box").await.unwrap_err();
        assert!(failure.text.contains("exchange-keys"), "{}", failure.text);
    }

    #[test]
    fn everybody_is_who_is_known_or_a_member_that_is_connected() {
        let (mut peers, nodes) = peers();
        assert_eq!(everybody(&peers).len(), 2);
        peers.get_mut(&nodes[2]).unwrap().is_connected = true;
        assert_eq!(everybody(&peers).len(), 3);
        peers.get_mut(&nodes[2]).unwrap().is_member = false;
        assert_eq!(everybody(&peers).len(), 2);
    }
}
