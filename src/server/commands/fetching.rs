//! `fetch`, which no person types: other commands of the command line ask the server for objects and
//! symbol tables of peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use grid_keys::NodeId;
use grid_modules::Peer as Contact;
use grid_promises::modules::ModuleName;
use grid_promises::{ContentId, Message};

use super::super::context::Context;
use super::super::driver::Event;
use super::{Answer, Progress, answer, resolve};
use crate::control::answer::{FetchedReport, FoundPeer, FoundReport, TableReport};
use crate::exit::{Failure, Outcome};
use crate::store::Store;

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

/// Carries out what a message under `fetch` asks.
pub(super) async fn fetch(
    context: &Context,
    message: &Message,
    progress: &Progress,
) -> Outcome<Answer> {
    let words = message.args.iter().map(|word| std::str::from_utf8(word));
    let words: Vec<&str> = words
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::usage("the command is not text"))?;
    match words.as_slice() {
        ["symbols", peer] => symbols(context, peer, progress).await,
        ["object", id, peers @ ..] => object(context, id, peers, progress).await,
        ["find", name] => find(context, name).await,
        _ => Err(Failure::usage(
            "fetch takes \"symbols PEER\", \"object ID [PEER ...]\" or \"find NAME\"",
        )),
    }
}

/// Whoever is slow to read misses a sentence.
fn teller(progress: &Progress) -> impl Fn(String) + Send + Sync + use<> {
    let progress = progress.clone();
    move |text| {
        let _ = progress.try_send(text);
    }
}

async fn symbols(context: &Context, peer: &str, progress: &Progress) -> Outcome<Answer> {
    let contact = choose(&peers(context).await?, peer).await?;
    let (fetching, tell) = (context.modules.fetching(), teller(progress));
    let table = fetching.symbols_of(&contact, Some(&tell)).await;
    let table = table.map_err(|error| Failure::from(&*error))?;
    answer(&TableReport {
        peer: contact.node.to_string(),
        table: table.table.to_string(),
        missing: table.missing,
    })
}

async fn object(
    context: &Context,
    id: &str,
    named: &[&str],
    progress: &Progress,
) -> Outcome<Answer> {
    let id: ContentId = id
        .parse()
        .map_err(|error| Failure::usage(format!("\"{id}\" is not a content id: {error}")))?;
    let peers = peers(context).await?;
    let mut from = Vec::new();
    for peer in named {
        from.push(choose(&peers, peer).await?);
    }
    if named.is_empty() {
        from = everybody(&peers);
    }
    let (fetching, tell) = (context.modules.fetching(), teller(progress));
    let had = fetching.fetch(id, &from, Some(&tell)).await;
    let had = had.map_err(|error| Failure::from(&*error))?;
    answer(&FetchedReport {
        id: had.id.to_string(),
        bytes: had.bytes,
        from: had.from.iter().map(ToString::to_string).collect(),
    })
}

async fn find(context: &Context, name: &str) -> Outcome<Answer> {
    // Another name stands in nobody's table.
    let peers = match name.parse::<ModuleName>() {
        Ok(name) => {
            let all = everybody(&peers(context).await?);
            context.modules.fetching().find(name.as_str(), &all).await
        }
        Err(_) => BTreeMap::new(),
    };
    let found = peers.iter().map(|(peer, descriptor)| FoundPeer {
        peer: peer.to_string(),
        descriptor: descriptor.to_string(),
    });
    answer(&FoundReport {
        peers: found.collect(),
    })
}

/// Every node that can be asked: known ones, and those that are connected.
async fn peers(context: &Context) -> Outcome<Peers> {
    let mut peers = Peers::new();
    let home = context.home.clone();
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
    for connection in context.endpoint.connections() {
        let peer = peers.entry(connection.peer).or_default();
        peer.is_connected = true;
        if !peer.addresses.contains(&connection.remote) {
            peer.addresses.push(connection.remote);
        }
    }
    let status = context.ask(Event::Status).await?;
    for member in status.networks.iter().flat_map(|network| &network.peers) {
        if let Ok(node) = member.node.parse::<NodeId>()
            && let Some(peer) = peers.get_mut(&node)
        {
            peer.is_member = true;
            peer.labels.insert(member.name.clone());
        }
    }
    peers.remove(&context.node());
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
        let places = resolve(word).await?;
        meant = matching(peers, word, &places);
    }
    match meant.as_slice() {
        [one] => Ok(one.clone()),
        [] if peers.is_empty() => Err(Failure::usage(format!(
            "there is no peer \"{word}\", nor any other; `grid exchange-keys HOST:PORT` makes a \
             node a peer"
        ))),
        [] => Err(Failure::usage(format!(
            "there is no peer \"{word}\"; there are {}; `grid exchange-keys HOST:PORT` makes a \
             node a peer",
            list(peers, peers.keys())
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
