//! Fetches one object, from the first request to the last byte: asks every peer that may have it, groups
//! their offers by manifest, and follows up one group after another.
//!
//! No peer is trusted. A whole object is checked against its id, a chunk against the manifest that the same
//! peer gave, and the assembled chunks against the id again. Peers that gave another manifest are not asked
//! for the chunks of this one, so that nobody is blamed for what another said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_promises::ContentId;
use grid_promises::modules::fetch::FetchRequest;
use grid_promises::modules::{Manifest, Progress};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::download::{Download, End, Standing};
use super::error::FetchError;
use super::partial::{Partial, free};
use super::peer_client::{Patience, PeerClient};
use super::peer_failure::{PeerFailure, PeerFailures};
use super::verify::{Miss, Offered, keep, weigh};
use super::wanted::{Obtained, Transfer, Wanted};
use crate::objects::{CacheError, Objects};
use crate::peer::Peer;

/// How long to wait for an offer: the peer may have to hash a large object first.
const OFFERING: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(20),
};
/// How long to wait for a chunk, which may share a slow line with others.
const GIVING: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(25),
};
/// How often a peer whose connection ended is asked again, and after how long, doubling each time.
const RETURNS: u32 = 4;
const RETURN_AFTER: Duration = Duration::from_millis(250);
/// How often to look for peers that are late.
const TICK: Duration = Duration::from_millis(200);
/// How long one manifest may bring nothing while somebody offers another one.
const STALLED: Duration = Duration::from_secs(5);
/// How much of the disk stays free, in bytes.
const SPARE: u64 = 32 << 20;

/// What a session works with.
#[derive(Clone)]
pub(super) struct Resources {
    pub(super) client: Arc<PeerClient>,
    pub(super) objects: Objects,
    /// `cache/partial/`.
    pub(super) partials: PathBuf,
}

/// What a peer did.
enum Event {
    Offered(NodeId, Result<Offered, PeerFailure>),
    Chunk(NodeId, u32, ContentId, Result<(), Miss>),
}

pub(super) struct Session {
    resources: Resources,
    wanted: Wanted,
    peers: BTreeMap<NodeId, Peer>,
    /// Those that lied before: asked only when the others have failed.
    last: Vec<NodeId>,
    failure: BTreeMap<NodeId, PeerFailure>,
    returns: BTreeMap<NodeId, u32>,
    /// How many have not yet said what they have.
    unanswered: usize,
    tasks: JoinSet<Event>,
    /// The manifests that were offered, and by whom.
    manifests: BTreeMap<ContentId, (Arc<Manifest>, BTreeSet<NodeId>)>,
    false_manifests: BTreeSet<ContentId>,
    active: Option<(ContentId, Download)>,
    transfer: watch::Sender<Transfer>,
}

impl Session {
    pub(super) fn new(
        resources: Resources,
        wanted: Wanted,
        from: &[Peer],
        transfer: watch::Sender<Transfer>,
    ) -> Self {
        let peers: BTreeMap<NodeId, Peer> = from
            .iter()
            .map(|contact| (contact.node, contact.clone()))
            .collect();
        let is_liar = |node: &&NodeId| resources.client.is_liar(node);
        let last = peers.keys().filter(is_liar).copied().collect();
        Self {
            resources,
            wanted,
            peers,
            last,
            failure: BTreeMap::new(),
            returns: BTreeMap::new(),
            unanswered: 0,
            tasks: JoinSet::new(),
            manifests: BTreeMap::new(),
            false_manifests: BTreeSet::new(),
            active: None,
            transfer,
        }
    }

    /// Runs until the object is here or no peer is left to ask. Ends early when nobody waits for it any more;
    /// what has been downloaded stays for the next attempt.
    pub(super) async fn run(mut self) -> Result<Obtained, FetchError> {
        let outcome = self.session().await;
        self.tasks.abort_all();
        if let Some((_, download)) = self.active.take() {
            download.leave().await;
        }
        outcome
    }

    async fn session(&mut self) -> Result<Obtained, FetchError> {
        let first = self.peers.keys().filter(|node| !self.last.contains(node));
        for node in first.copied().collect::<Vec<_>>() {
            self.ask(node, Duration::ZERO);
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(obtained) = self.follow_up().await? {
                return Ok(obtained);
            }
            self.ask_for_chunks();
            if self.tasks.is_empty() && self.active.is_none() {
                return Err(FetchError::of(
                    &self.wanted,
                    PeerFailures(self.failure.clone()),
                ));
            }
            let nobody_waits = self.transfer.clone();
            tokio::select! {
                () = nobody_waits.closed() => return Err(FetchError::GivenUp(self.wanted.id)),
                event = self.tasks.join_next(), if !self.tasks.is_empty() => match event {
                    Some(Ok(event)) => {
                        if let Some(obtained) = self.take(event).await? {
                            return Ok(obtained);
                        }
                    }
                    // A task panicked; nothing is known about its request.
                    Some(Err(_)) => return Err(FetchError::GivenUp(self.wanted.id)),
                    None => {}
                },
                _ = tick.tick() => {
                    self.look();
                    self.pass_over().await;
                }
            }
        }
    }

    fn look(&mut self) {
        if let Some((_, download)) = &mut self.active {
            download.note(Instant::now());
            let (here, peers) = (download.bytes_here(), download.source_count());
            self.transfer.send_modify(|transfer| {
                transfer.here = here;
                transfer.peers = peers;
            });
        }
    }

    /// Turns to another manifest if the peers that gave this one do not deliver its chunks.
    async fn pass_over(&mut self) {
        let Some((active, download)) = &self.active else {
            return;
        };
        let active = *active;
        let others = self.manifests.iter();
        let has_other = others
            .filter(|(id, _)| **id != active)
            .any(|(_, (_, peers))| !peers.is_empty());
        if !has_other || download.stalled(Instant::now()) < STALLED {
            return;
        }
        if let Some((_, download)) = self.active.take() {
            download.leave().await;
        }
        let silent = self.manifests.remove(&active);
        for peer in silent.map(|(_, peers)| peers).unwrap_or_default() {
            self.disappointed(peer, PeerFailure::Silent);
        }
    }

    /// Asks a peer for an offer.
    fn ask(&mut self, node: NodeId, after: Duration) {
        let Some(contact) = self.peers.get(&node).cloned() else {
            return;
        };
        let (resources, wanted) = (self.resources.clone(), self.wanted);
        self.unanswered += 1;
        self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            let request = FetchRequest::Object(wanted.id);
            let answer = resources.client.request(&contact, &request, OFFERING).await;
            let offered = match answer {
                Ok(bytes) => weigh(&resources.objects, wanted, bytes).await,
                Err(failure) => Err(failure),
            };
            Event::Offered(contact.node, offered)
        });
    }

    async fn take(&mut self, event: Event) -> Result<Option<Obtained>, FetchError> {
        match event {
            Event::Offered(peer, offered) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                match offered {
                    Ok(Offered::Stored(bytes)) => {
                        return Ok(Some(Obtained {
                            id: self.wanted.id,
                            bytes,
                            from: vec![peer],
                        }));
                    }
                    Ok(Offered::Manifest(id, manifest)) => self.offered(peer, id, manifest),
                    Ok(Offered::Unstored(error)) => return Err(self.unstored(&error)),
                    Err(failure) => self.disappointed(peer, failure),
                }
            }
            Event::Chunk(peer, index, manifest, outcome) => {
                let Some((id, download)) = &mut self.active else {
                    return Ok(None);
                };
                // It belongs to a manifest that was given up since.
                if *id != manifest {
                    return Ok(None);
                }
                match outcome {
                    Ok(()) => download.came(peer, index),
                    Err(Miss::Peer(failure)) => {
                        if download.failed(peer, index, &failure) == Standing::Goes {
                            self.disappointed(peer, failure);
                        }
                    }
                    Err(Miss::Disk(error)) => {
                        return Err(FetchError::Store(self.wanted.id, error));
                    }
                }
            }
        }
        Ok(None)
    }

    fn offered(&mut self, peer: NodeId, id: ContentId, manifest: Arc<Manifest>) {
        if self.false_manifests.contains(&id) {
            return self.disappointed(peer, PeerFailure::Lied(false_manifest(&self.wanted.id)));
        }
        let (_, peers) = self
            .manifests
            .entry(id)
            .or_insert_with(|| (manifest, BTreeSet::new()));
        peers.insert(peer);
        if let Some((active, download)) = &mut self.active
            && *active == id
        {
            download.add_source(peer);
        }
    }

    /// A peer delivers nothing, or nothing more.
    fn disappointed(&mut self, peer: NodeId, failure: PeerFailure) {
        for (_, peers) in self.manifests.values_mut() {
            peers.remove(&peer);
        }
        if let PeerFailure::Lied(what) = &failure {
            self.resources.client.note_lie(peer, what);
        }
        // The connection may come back: the server may have been restarted.
        if let PeerFailure::Lost(_) = &failure {
            let returns = self.returns.entry(peer).or_default();
            *returns += 1;
            if *returns <= RETURNS {
                let after = RETURN_AFTER * (1 << *returns);
                self.failure.insert(peer, failure);
                return self.ask(peer, after);
            }
        }
        self.failure.insert(peer, failure);
    }

    /// Finishes, gives up, or starts a download, if it is time.
    async fn follow_up(&mut self) -> Result<Option<Obtained>, FetchError> {
        loop {
            match &self.active {
                Some((_, download)) if download.is_complete() => {
                    if let Some(obtained) = self.finish().await? {
                        return Ok(Some(obtained));
                    }
                }
                // Others may still give the same manifest: wait for them.
                Some((_, download)) if download.is_stuck() && self.unanswered == 0 => {
                    if let Some((_, download)) = self.active.take() {
                        download.leave().await;
                    }
                }
                Some(_) => return Ok(None),
                None => match self.best() {
                    Some(id) => self.begin(id).await?,
                    None => {
                        if self.unanswered == 0 {
                            for node in std::mem::take(&mut self.last) {
                                self.ask(node, Duration::ZERO);
                            }
                        }
                        return Ok(None);
                    }
                },
            }
        }
    }

    /// The manifest to follow: the one that most peers gave; of these the shortest, which costs least if it is
    /// false.
    fn best(&self) -> Option<ContentId> {
        let open = self
            .manifests
            .iter()
            .filter(|(_, (_, peers))| !peers.is_empty());
        open.min_by_key(|(id, (manifest, peers))| {
            (std::cmp::Reverse(peers.len()), manifest.length(), **id)
        })
        .map(|(id, _)| *id)
    }

    async fn begin(&mut self, id: ContentId) -> Result<(), FetchError> {
        let Some((manifest, peers)) = self.manifests.get(&id).cloned() else {
            return Ok(());
        };
        let (partial, progress) = self.open(Arc::clone(&manifest)).await?;
        let before = progress.bytes_here();
        let mut download = Download::new(&self.wanted.id, manifest, partial, progress);
        let total = download.manifest.length();
        for peer in peers {
            download.add_source(peer);
        }
        self.transfer.send_replace(Transfer {
            here: before,
            before,
            total,
            peers: download.source_count(),
        });
        self.active = Some((id, download));
        Ok(())
    }

    /// Opens the file if the disk has room for it.
    async fn open(&self, manifest: Arc<Manifest>) -> Result<(Partial, Progress), FetchError> {
        let (id, folder) = (self.wanted.id, self.resources.partials.clone());
        let refused = move |error: String| FetchError::Store(id, error);
        let opening = tokio::task::spawn_blocking(move || {
            let (partial, progress) = Partial::open(&folder, &id, &manifest)
                .map_err(|error| refused(format!("{}: {error}", folder.display())))?;
            let needed = manifest.length() - progress.bytes_here();
            match free(&folder) {
                Some(free) if free < needed.saturating_add(SPARE) => {
                    if progress.chunks_here() == 0 {
                        partial.discard();
                    }
                    Err(FetchError::NoSpace {
                        id,
                        needed,
                        free,
                        path: folder.display().to_string().into(),
                    })
                }
                _ => Ok((partial, progress)),
            }
        });
        opening.await.unwrap_or(Err(FetchError::GivenUp(id)))
    }

    async fn finish(&mut self) -> Result<Option<Obtained>, FetchError> {
        let Some((manifest, download)) = self.active.take() else {
            return Ok(None);
        };
        let from: Vec<NodeId> = download.givers().iter().copied().collect();
        let id = self.wanted.id;
        match download.finish(id, self.resources.objects.clone()).await {
            End::Stored(put) => Ok(Some(Obtained {
                id,
                bytes: put.len,
                from,
            })),
            End::FalseManifest => {
                self.false_manifests.insert(manifest);
                let gave = self.manifests.remove(&manifest);
                for peer in gave.map(|(_, peers)| peers).unwrap_or_default() {
                    self.disappointed(peer, PeerFailure::Lied(false_manifest(&id)));
                }
                Ok(None)
            }
            End::Failed(error) => Err(self.unstored(&error)),
        }
    }

    fn ask_for_chunks(&mut self) {
        let Some((manifest_id, download)) = &mut self.active else {
            return;
        };
        for (peer, index) in download.next(Instant::now()) {
            let Some(contact) = self.peers.get(&peer).cloned() else {
                continue;
            };
            let (client, manifest_id) = (Arc::clone(&self.resources.client), *manifest_id);
            let (manifest, partial) = (
                Arc::clone(&download.manifest),
                Arc::clone(download.partial()),
            );
            let request = FetchRequest::Chunk(self.wanted.id, index);
            self.tasks.spawn(async move {
                let outcome = match client.request(&contact, &request, GIVING).await {
                    Ok(bytes) => keep(bytes, index, manifest, partial).await,
                    Err(failure) => Err(Miss::Peer(failure)),
                };
                Event::Chunk(contact.node, index, manifest_id, outcome)
            });
        }
    }

    fn unstored(&self, error: &CacheError) -> FetchError {
        FetchError::Store(self.wanted.id, error.to_string())
    }
}

fn false_manifest(id: &ContentId) -> String {
    format!("its manifest of {id} is false: the chunks fit, and are not that object")
}
